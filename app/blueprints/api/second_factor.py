"""The second factor by program: set up, recovery codes, turned off; an operator takes it off a login."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import g
from marshmallow import fields

from app.blueprints import sessions
from app.blueprints.access import keep_changes
from app.blueprints.api.core import api_route
from app.blueprints.api.me import person
from app.blueprints.api.schemas import Moment, Shown, Strict, text
from app.core.errors import NotFound, ProductError
from app.core.extensions import db
from app.domain.permissions import Permission
from app.models import User
from app.services import second_factor

Result = TypeVar("Result")
OTP = {"description": "a code of the authenticator app, or a recovery code"}


class SecondFactorShown(Shown):
    on = fields.Boolean(required=True)
    since = Moment(required=True, allow_none=True)
    recovery_codes_left = fields.Integer(required=True)


class SecondFactorBegin(Strict):
    password = text(1024, required=True, load_only=True)
    otp = text(64, load_only=True, metadata={"description": "needed where a second factor is on already"})


class SecondFactorBegunShown(Shown):
    secret = fields.String(required=True, metadata={"description": "base32, shown only now"})
    address = fields.String(required=True, metadata={"description": "otpauth://…, for a QR code"})


class SecondFactorCode(Strict):
    otp = text(64, required=True, load_only=True, metadata=OTP)


class RecoveryCodesShown(Shown):
    recovery_codes = fields.List(fields.String(), required=True, metadata={"description": "each works once; shown only now"})


def _counted(action: Callable[[], Result]) -> Result:
    """A wrong guess stays counted although the answer is a refusal."""
    try:
        return action()
    except ProductError:
        keep_changes()
        raise


@api_route("GET", "/me/second-factor", client=False, response=SecondFactorShown, summary="Is your second factor on?", tag="auth")
def show() -> dict[str, Any]:
    factor = second_factor.of(person().id)
    left = second_factor.codes_left(g.viewer.id)
    return {"on": factor is not None, "since": factor.confirmed_at if factor else None, "recovery_codes_left": left}


@api_route(
    "POST", "/me/second-factor", client=False, body=SecondFactorBegin, response=SecondFactorBegunShown, status=201,
    summary="Begin to set up a second factor", tag="auth",
)
def begin(body: dict[str, Any]) -> second_factor.SetUp:
    """Counts only once ``POST /api/me/second-factor/confirm`` has seen a code; within 30 minutes."""
    user = person()
    return _counted(lambda: second_factor.begin(user, body["password"], body.get("otp", ""), sessions.caller()))


@api_route(
    "POST", "/me/second-factor/confirm", client=False, body=SecondFactorCode, response=RecoveryCodesShown,
    summary="Turn the second factor on with a first code", tag="auth",
)
def confirm(body: dict[str, Any]) -> dict[str, Any]:
    """Ends every other session of yours. 409 ``not_begun`` when there is nothing to confirm."""
    return {"recovery_codes": second_factor.confirm(person(), body["otp"], g.viewer.session_id)}


@api_route(
    "POST", "/me/second-factor/recovery-codes", client=False, body=SecondFactorCode, response=RecoveryCodesShown,
    summary="Ten new recovery codes; the old ones stop", tag="auth",
)
def recovery_codes(body: dict[str, Any]) -> dict[str, Any]:
    user = person()
    return {"recovery_codes": _counted(lambda: second_factor.new_codes(user, body["otp"], sessions.caller()))}


@api_route("POST", "/me/second-factor/remove", client=False, body=SecondFactorCode, status=204, summary="Turn the second factor off", tag="auth")
def remove(body: dict[str, Any]) -> None:
    """Clients that ask for one close for you until you set it up again."""
    user = person()
    _counted(lambda: second_factor.turn_off(user, body["otp"], sessions.caller()))


@api_route(
    "DELETE", "/users/<int:user_id>/second-factor", Permission.USERS_MANAGE, client=False, status=204,
    summary="Take the second factor off a login", tag="users",
)
def reset(user_id: int) -> None:
    """For somebody who lost phone and codes; every session of theirs ends. 409 ``no_second_factor`` when there is none."""
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound
    second_factor.reset(user)
