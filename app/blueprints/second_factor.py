"""The second factor in one's own profile: set up with an app, recovery codes, another app, turned off. Works without scripts."""

from __future__ import annotations

from typing import Any

import segno
from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from app.blueprints import sessions
from app.blueprints.access import keep_changes, signed_in, viewer
from app.blueprints.auth_paths import safe_next
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.errors import Invalid, ProductError, TooMany
from app.core.extensions import db
from app.domain.one_time_codes import readable
from app.models import User
from app.services import second_factor
from app.strings import t

blueprint = Blueprint("second_factor", __name__, url_prefix="/profile/second-factor")


def qr_code(address: str) -> Markup:
    """Drawn here as SVG, black on white in both themes (cameras want it so), with the quiet border the standard asks for."""
    drawn = segno.make(address, error="m", micro=False)
    return Markup(drawn.svg_inline(omitsize=True, border=4, light="#fff", svgclass="qr", lineclass=None))


def _user() -> User:
    return db.session.get_one(User, viewer().id)


def _page(status: int = 200, **context: Any) -> Response:
    factor = second_factor.of(viewer().id)
    shown: dict[str, Any] = {
        "on": factor is not None, "since": factor.confirmed_at if factor else None, "left": second_factor.codes_left(viewer().id),
        "asking": [seat.name for seat in viewer().seats if seat.second_factor_required], "errors": {}, "set_up": None, "codes": None,
        "target": safe_next(request.args.get("next")), "message": None, "open_form": None,
    }  # fmt: skip
    return page_or_fragment("settings/second_factor.html", status=status, **shown | context)


def _refused(refusal: ProductError, form: str, **context: Any) -> Response:
    """The page again with what was wrong; the count of a wrong guess is kept."""
    keep_changes()
    message = None if isinstance(refusal, Invalid) else refusal.message
    answer = _page(refusal.status, errors=refusal.details if isinstance(refusal, Invalid) else {}, message=message, open_form=form, **context)
    if isinstance(refusal, TooMany):
        answer.headers["Retry-After"] = str(refusal.retry_after_s)
    return answer


def _drawn(found: second_factor.SetUp) -> dict[str, Any]:
    return {"secret": readable(found.secret), "qr": qr_code(found.address), "address": found.address}


@blueprint.get("")
@signed_in
def index() -> Response:
    return _page()


@blueprint.post("/begin")
@signed_in
def begin() -> ResponseReturnValue:
    """The secret is shown in this answer only."""
    try:
        found = second_factor.begin(_user(), request.form.get("password", ""), request.form.get("otp", ""), sessions.caller())
    except ProductError as refusal:
        return _refused(refusal, "begin")
    return _page(set_up=_drawn(found))


@blueprint.post("/confirm")
@signed_in
def confirm() -> ResponseReturnValue:
    user = _user()
    try:
        codes = second_factor.confirm(user, request.form.get("otp", ""), viewer().session_id)
    except Invalid as wrong:
        found = second_factor.begun(user)
        return _page(422, errors=wrong.details, set_up=_drawn(found) if found else None)
    except ProductError as refusal:
        return _refused(refusal, "begin")
    return _page(codes=codes)


@blueprint.post("/codes")
@signed_in
def new_codes() -> ResponseReturnValue:
    try:
        codes = second_factor.new_codes(_user(), request.form.get("otp", ""), sessions.caller())
    except ProductError as refusal:
        return _refused(refusal, "codes")
    return _page(codes=codes)


@blueprint.post("/off")
@signed_in
def turn_off() -> ResponseReturnValue:
    try:
        second_factor.turn_off(_user(), request.form.get("otp", ""), sessions.caller())
    except ProductError as refusal:
        return _refused(refusal, "off")
    return after_post(url_for(".index"), toast=t("second_factor.is_off"))
