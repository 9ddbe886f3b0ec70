"""People: the colleagues of a client (its admins), and all logins of the installation (operators)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import load, requires, viewer
from app.blueprints.digits import whole
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.errors import Conflict, Invalid, NotFound
from app.core.extensions import db
from app.domain.languages import LANGUAGES
from app.domain.permissions import Permission
from app.domain.statuses import Role
from app.domain.zones import sorted_zones
from app.models import Client, Membership, User
from app.queries import members as queries
from app.services import audit, members, people, second_factor
from app.strings import t

blueprint = Blueprint("members", __name__)
PER_PAGE = 100


@blueprint.get("/c/<slug>/settings/people")
@requires(Permission.MEMBERS_READ)
def index() -> Response:
    return _index()


def _index(status: int = 200, **context: Any) -> Response:
    values = {"role": Role.AGENT, "timezone": g.client.timezone, "language": "en", **context.pop("values", {})}
    return page_or_fragment(
        "settings/people.html", "list", status=status, members=queries.members(g.client.id), roles=list(Role), values=values,
        languages=LANGUAGES,
        zones=sorted_zones(), **{"errors": {}, "handed": None, "message": None, **context},
    )  # fmt: skip


def _absolute(link: str) -> str:
    return request.host_url.rstrip("/") + link


@blueprint.post("/c/<slug>/settings/people")
@requires(Permission.MEMBERS_MANAGE)
def invite() -> ResponseReturnValue:
    """The link is shown in this answer and never again: only its hash is kept."""
    typed = {name: request.form.get(name, "").strip() for name in ("email", "name", "role", "timezone", "language")}
    try:
        found = members.invite(_client(), typed["email"], typed["name"], typed["role"], typed["timezone"], typed["language"])
    except Invalid as wrong:
        return _index(422, values=typed, errors=wrong.details)
    if found.link is None:
        return after_post(url_for(".index"), toast=t("members.added", name=found.user.name))
    return _index(handed={"name": found.user.name, "link": _absolute(found.link)})


@blueprint.post("/c/<slug>/settings/people/<int:member_id>/link")
@requires(Permission.MEMBERS_MANAGE)
def link_again(member_id: int) -> ResponseReturnValue:
    seat = load(Membership, member_id)
    try:
        link = members.link_again(seat)
    except Conflict as refusal:
        return _index(409, message=refusal.message)
    return _index(handed={"name": db.session.get_one(User, seat.user_id).name, "link": _absolute(link)})


@blueprint.post("/c/<slug>/settings/people/<int:member_id>/role")
@requires(Permission.MEMBERS_MANAGE)
def change_role(member_id: int) -> ResponseReturnValue:
    seat = load(Membership, member_id)
    try:
        members.change_role(_client(), seat, request.form.get("role", ""))
    except Invalid as wrong:
        return _index(422, message=" ".join(wrong.details["role"]))
    except Conflict as refusal:
        return _index(409, message=refusal.message)
    return after_post(_home(seat), toast=t("frame.saved"))


@blueprint.post("/c/<slug>/settings/people/<int:member_id>/remove")
@requires(Permission.MEMBERS_MANAGE)
def remove(member_id: int) -> ResponseReturnValue:
    seat = load(Membership, member_id)
    home, name = _home(seat, leaving=True), db.session.get_one(User, seat.user_id).name
    try:
        members.remove(seat)
    except Conflict as refusal:
        return _index(409, message=refusal.message)
    return after_post(home, toast=t("members.removed", name=name))


def _home(seat: Membership, *, leaving: bool = False) -> str:
    """This page, unless the person just took it away from themselves."""
    gone = seat.user_id == viewer().id and (leaving or seat.role == Role.VIEWER)
    return url_for("pages.home") if gone else url_for(".index")


def _client() -> Client:
    return db.session.get_one(Client, g.client.id)


# All logins


@blueprint.get("/operations/people")
@requires(Permission.USERS_MANAGE)
def logins() -> Response:
    return _logins()


def _logins(status: int = 200, **context: Any) -> Response:
    search = request.args.get("q", "").strip()[:320]
    after = whole(request.args.get("after"), 18) or 0
    found = queries.logins(search, after=after, limit=PER_PAGE + 1)
    more = found[PER_PAGE - 1].user.id if len(found) > PER_PAGE else None
    return page_or_fragment(
        "settings/logins.html", "list", status=status, logins=found[:PER_PAGE], search=search, more=more, after=after,
        languages=LANGUAGES,
        **{"values": {}, "errors": {}, "handed": None, "message": None, **context},
    )  # fmt: skip


@blueprint.post("/operations/people")
@requires(Permission.USERS_MANAGE)
def add_login() -> ResponseReturnValue:
    """Somebody without a client yet: an operator, or a person whom admins will give seats."""
    typed = {name: request.form.get(name, "").strip() for name in ("email", "name")}
    operator = "operator" in request.form
    try:
        user = people.create_user(typed["email"], typed["name"], operator=operator)
    except Invalid as wrong:
        return _logins(422, values={**typed, "operator": operator}, errors=wrong.details)
    audit.record("user.create", "user", user.id, after={"email": user.email, "operator": operator})
    return _logins(handed={"name": user.name, "link": _absolute(members.reset_link(user))})


@blueprint.post("/operations/people/<int:user_id>/<any(disable, enable, end_sessions, promote, demote, link, reset_factor):action>")
@requires(Permission.USERS_MANAGE)
def act(user_id: int, action: str) -> ResponseReturnValue:
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound
    try:
        handed = _done(user, action)
    except Conflict as refusal:
        return _logins(409, message=refusal.message)
    if handed:
        return _logins(handed={"name": user.name, "link": _absolute(handed)})
    said = t(f"members.did_{action}", name=user.name)
    if action == "disable" and (alone := queries.left_without_admin(user.id)):
        said += " " + t("members.nobody_administers", clients=", ".join(alone))
    return after_post(url_for(".logins"), toast=said)


@blueprint.post("/operations/people/<int:user_id>/profile")
@requires(Permission.USERS_MANAGE)
def change_login(user_id: int) -> ResponseReturnValue:
    """Time zone and language of somebody else."""
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound
    try:
        people.change_profile(user, {key: request.form.get(key, "").strip() for key in ("timezone", "language")})
    except Invalid as wrong:
        return _logins(422, message=" ".join(line for lines in wrong.details.values() for line in lines))
    return after_post(url_for(".logins"), toast=t("frame.saved"))


def _done(user: User, action: str) -> str | None:
    """Do it; the path of a link that has to be shown."""
    if action == "link":
        return members.reset_link(user)
    if action == "disable":
        members.disable(user, viewer().id)
    elif action == "enable":
        members.enable(user)
    elif action == "reset_factor":
        second_factor.reset(user)
    elif action == "end_sessions":
        members.end_sessions(user, but=viewer().session_id)
    else:
        members.set_operator(user, action == "promote", viewer().id)
    return None
