"""Logging in by API: an access token for 15 minutes, a refresh token for 30 days that changes with every use."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields

from app.blueprints import sessions
from app.blueprints.access import keep_changes
from app.blueprints.api.core import api_route
from app.blueprints.api.me import PersonShown
from app.blueprints.api.schemas import Shown, Strict, text
from app.core.errors import Forbidden, TooMany, Unauthenticated
from app.services import audit, auth, second_factor
from app.strings import t


class Login(Strict):
    email = text(320, required=True)
    password = text(1024, required=True, load_only=True)
    otp = text(64, load_only=True, metadata={"description": "a code of the authenticator app or a recovery code, where a second factor is on"})


class Refresh(Strict):
    refresh_token = text(4096, required=True)


class TokensShown(Shown):
    access_token = fields.String(required=True)
    refresh_token = fields.String(required=True)
    expires_in = fields.Integer(required=True, metadata={"description": "seconds until the access token ends"})
    user = fields.Nested(PersonShown, required=True)


@api_route("POST", "/auth/login", public=True, body=Login, response=TokensShown, summary="Log in", tag="auth")
def login(body: dict[str, Any]) -> dict[str, Any]:
    """Refuses with the same words whether the password is wrong or nobody has the address; waits grow with failures.

    With a second factor: 401 ``second_factor_needed`` when ``otp`` is missing (send all three again), 401 ``wrong_second_factor`` when
    it does not fit. A code works once.
    """
    caller, how = sessions.caller(), None
    try:
        user = auth.log_in(body["email"], body["password"], caller)
        if second_factor.of(user.id) is not None and body.get("otp"):
            how = second_factor.prove(user, body["otp"], caller)
    except (Unauthenticated, TooMany):
        keep_changes()
        raise
    if how is None and second_factor.of(user.id) is not None:
        raise Unauthenticated(t("api.need_otp"), code="second_factor_needed")
    audit.record("user.login", "user", user.id, user_id=user.id, after={"second_factor": how} if how else None)
    return {**sessions.start_api_session(user), "user": user}


@api_route(
    "POST",
    "/auth/refresh",
    public=True,
    body=Refresh,
    response=TokensShown,
    summary="Exchange the refresh token",
    tag="auth",
)
def refresh(body: dict[str, Any]) -> dict[str, Any]:
    """Each refresh token works once; one presented again ends the login."""
    try:
        pair, user = sessions.refresh_api_session(body["refresh_token"])
    except Unauthenticated:
        keep_changes()
        raise
    return {**pair, "user": user}


@api_route("POST", "/auth/logout", client=False, summary="End this login", tag="auth", status=204)
def logout() -> None:
    """A key has no login to end: revoke it instead."""
    if g.viewer.key_id is not None:
        raise Forbidden(t("api.key_has_no_login"))
    auth.end_session(g.viewer.id, g.viewer.session_id)
    audit.record("user.logout", "user", g.viewer.id)
