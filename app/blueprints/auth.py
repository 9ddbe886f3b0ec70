"""Logging in and out, links that work once, claiming a new instance, the profile."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from app.blueprints import sessions
from app.blueprints.access import keep_changes, public, signed_in, viewer
from app.blueprints.admission import admit
from app.blueprints.auth_paths import safe_next
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.clock import machine_now
from app.core.errors import Conflict, Invalid, NotFound, ProductError, TooMany, Unauthenticated
from app.core.extensions import db
from app.domain.languages import LANGUAGES
from app.domain.zones import known_zones, sorted_zones
from app.models import OneTimeLink, User, UserSession
from app.queries import sessions as queries
from app.services import audit, auth, people
from app.services.instance import ensure_instance
from app.strings import t

blueprint = Blueprint("auth", __name__)


@blueprint.get("/login")
@public
def log_in() -> ResponseReturnValue:
    if g.viewer is not None:
        return redirect(safe_next(request.args.get("next")))
    return page_or_fragment("auth/login.html", values={}, message=None)


@blueprint.post("/login")
@public
def try_log_in() -> ResponseReturnValue:
    email, password = request.form.get("email", ""), request.form.get("password", "")
    try:
        user = auth.log_in(email, password, sessions.caller())
    except (Unauthenticated, TooMany) as refusal:
        keep_changes()
        answer = page_or_fragment(
            "auth/login.html", status=refusal.status, values={"email": email}, message=refusal.message
        )
        if isinstance(refusal, TooMany):
            answer.headers["Retry-After"] = str(refusal.retry_after_s)
        return answer
    return admit(user, safe_next(request.args.get("next")))


@blueprint.post("/logout")
@signed_in
def log_out() -> ResponseReturnValue:
    auth.end_session(viewer().id, viewer().session_id)
    audit.record("user.logout", "user", viewer().id)
    return sessions.forget_page_session(after_post(url_for("auth.log_in"), toast=t("auth.logged_out")))


# Links that work once


@blueprint.get("/login/link/<token>")
@public
def show_link(token: str) -> ResponseReturnValue:
    """GET only shows: mail scanners open every link."""
    link, user = _link_and_user(token)
    if link is None or user is None:
        return _dead_link()
    template = "auth/link.html" if link.purpose == "login" else "auth/set_password.html"
    return page_or_fragment(template, user=user, purpose=link.purpose, errors={})


@blueprint.post("/login/link/<token>")
@public
def use_link(token: str) -> ResponseReturnValue:
    link, user = _link_and_user(token, take=True)
    if link is None or user is None:
        return _dead_link()
    if link.purpose != "login":
        try:
            auth.set_password(user, request.form.get("password", ""))
        except Invalid as wrong:
            return page_or_fragment(
                "auth/set_password.html", status=422, user=user, purpose=link.purpose, errors=wrong.details
            )
    audit.record(f"user.{link.purpose}_link", "user", user.id, user_id=user.id)
    return admit(user, safe_next(request.args.get("next")))


def _link_and_user(token: str, *, take: bool = False) -> tuple[OneTimeLink | None, User | None]:
    try:
        link = auth.find_link(token, take=take)
    except NotFound:
        return None, None
    user = db.session.scalar(select(User).where(User.id == link.user_id, User.disabled_at.is_(None)))
    return (None, None) if link.purpose == "claim" else (link, user)


def _dead_link() -> Response:
    return page_or_fragment("auth/dead_link.html", status=404)


@blueprint.get("/claim/<token>")
@public
def show_claim(token: str) -> ResponseReturnValue:
    return page_or_fragment("auth/claim.html", values={}, errors={}) if _claim_link(token) else _dead_link()


@blueprint.post("/claim/<token>")
@public
def claim(token: str) -> ResponseReturnValue:
    """Make the first operator; the same refusals as anywhere, nothing typed is lost but the password."""
    values = {key: request.form.get(key, "").strip() for key in ("email", "name", "timezone")}
    if not _claim_link(token, take=True):
        return _dead_link()
    zone = values["timezone"] if values["timezone"] in known_zones() else None
    try:
        ensure_instance(sessions.settings())
        user = people.claim_instance(values["email"], values["name"], request.form.get("password", ""), zone)
    except Invalid as wrong:
        return page_or_fragment("auth/claim.html", status=422, values=values, errors=wrong.details)
    except Conflict:
        return _dead_link()
    return sessions.start_page_session(after_post(url_for("pages.new_client")), user)


def _claim_link(token: str, *, take: bool = False) -> bool:
    try:
        return auth.find_link(token, take=take).purpose == "claim"
    except NotFound:
        return False


# The profile


@blueprint.get("/profile")
@signed_in
def profile() -> ResponseReturnValue:
    return _profile_page()


@blueprint.post("/profile")
@signed_in
def save_profile() -> ResponseReturnValue:
    form = request.form
    values = {key: form[key] for key in ("name", "timezone", "language", "theme") if key in form} | {
        "shortcuts_on": "shortcuts_on" in form
    }
    try:
        people.change_profile(_user(), values)
    except Invalid as wrong:
        return _profile_page(422, values=values, errors=wrong.details)
    return after_post(url_for("auth.profile"), toast=t("frame.saved"))


@blueprint.post("/profile/password")
@signed_in
def save_password() -> ResponseReturnValue:
    try:
        people.change_password(
            _user(), request.form.get("current_password", ""), request.form.get("new_password", ""), viewer().session_id,
            sessions.caller(),
        )
    except ProductError as wrong:
        keep_changes()
        return _profile_page(wrong.status, errors=wrong.details if isinstance(wrong, Invalid) else {"current_password": [wrong.message]})
    return after_post(url_for("auth.profile"), toast=t("auth.password_changed"))


@blueprint.post("/profile/sessions/<int:session_id>/end")
@signed_in
def end_session(session_id: int) -> ResponseReturnValue:
    people.end_session(viewer().id, session_id)
    return after_post(url_for("auth.profile"), toast=t("auth.session_ended"))


@blueprint.post("/profile/sessions/end-others")
@signed_in
def end_other_sessions() -> ResponseReturnValue:
    people.end_other_sessions(viewer().id, viewer().session_id)
    return after_post(url_for("auth.profile"), toast=t("auth.session_ended"))


def _user() -> User:
    return db.session.get_one(User, viewer().id)


def _profile_page(status: int = 200, **context: Any) -> Response:
    user = _user()
    shown = {"name": user.name, "timezone": user.timezone, "language": user.language, "theme": user.theme, "shortcuts_on": user.shortcuts_on}
    living = queries.living(user.id, machine_now() - auth.IDLE).order_by(UserSession.last_seen_at.desc())
    return page_or_fragment(
        "settings/profile.html",
        status=status,
        values=shown | context.get("values", {}),
        errors=context.get("errors", {}),
        sessions=db.session.scalars(living).all(),
        zones=sorted_zones(),
        languages=LANGUAGES,
    )
