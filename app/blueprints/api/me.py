"""Oneself: who am I and for whom do I work; name, zone, language, password, the places where one is logged in."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields, validate

from app.blueprints import sessions as tokens
from app.blueprints.access import keep_changes
from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.api.schemas import Flag, Moment, Nothing, PageQuery, Shown, Strict, text
from app.core.clock import machine_now
from app.core.errors import Forbidden, ProductError
from app.core.extensions import db
from app.domain.languages import LANGUAGES
from app.domain.permissions import permissions_of
from app.models import User, UserSession
from app.queries import sessions as queries
from app.services import auth, people
from app.strings import t

LANGUAGE = validate.OneOf(sorted(LANGUAGES))


class PersonShown(Shown):
    id = fields.Integer(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True)
    is_operator = fields.Boolean(required=True)
    timezone = fields.String(required=True)
    language = fields.String(required=True)


class SeatShown(Shown):
    client_id = fields.Integer(required=True)
    name = fields.String(required=True)
    slug = fields.String(required=True)
    role = fields.String(required=True, allow_none=True)
    second_factor_required = fields.Boolean(required=True)
    closed = fields.Boolean(required=True, metadata={"description": "asks for a second factor that you have not set up: everything of it is 403"})
    permissions = fields.List(fields.String(), required=True)


class MeShown(PersonShown):
    second_factor = fields.Boolean(required=True)
    clients = fields.List(fields.Nested(SeatShown), required=True)


class ProfileChange(Strict):
    name = text(120, shortest=1)
    timezone = text(64)
    language = fields.String(validate=LANGUAGE)
    theme = fields.String(validate=validate.OneOf(people.THEMES))
    shortcuts_on = Flag()


class PasswordChange(Strict):
    current_password = text(1024, required=True, load_only=True)
    new_password = text(1024, required=True, load_only=True)


class SessionShown(Shown):
    id = fields.Integer(required=True)
    kind = fields.String(required=True, metadata={"description": "page or api"})
    address = fields.String(required=True)
    agent = fields.String(required=True)
    created_at = Moment(required=True)
    last_seen_at = Moment(required=True)
    expires_at = Moment(required=True)
    current = fields.Function(lambda row: row.id == g.viewer.session_id, required=True, metadata={"type": "boolean", "description": "the one that asks"})


class EndedSessionsShown(Shown):
    ended = fields.Integer(required=True)


def person() -> User:
    """Whoever logged in themselves. A key is a program: it changes nothing of its maker. Raises Forbidden."""
    if g.viewer.key_id is not None:
        raise Forbidden(t("api.key_cannot"))
    return db.session.get_one(User, g.viewer.id)


@api_route("GET", "/me", client=False, response=MeShown, summary="The user behind the token", tag="auth")
def me() -> dict[str, Any]:
    user = db.session.get_one(User, g.viewer.id)
    seats = [
        {
            "client_id": seat.id, "name": seat.name, "slug": seat.slug, "role": seat.role,
            "second_factor_required": seat.second_factor_required, "closed": seat.closed,
            "permissions": sorted(permissions_of(seat.role, operator=g.viewer.is_operator)),
        }
        for seat in g.viewer.seats
    ]  # fmt: skip
    fields_of = ("id", "email", "name", "is_operator", "timezone", "language")
    return {key: getattr(user, key) for key in fields_of} | {"second_factor": g.viewer.second_factor, "clients": seats}


@api_route("PATCH", "/me", client=False, body=ProfileChange, response=PersonShown, summary="Change your profile", tag="auth")
def change_me(body: dict[str, Any]) -> User:
    user = person()
    people.change_profile(user, body)
    return user


@api_route("POST", "/me/password", client=False, body=PasswordChange, status=204, summary="Change your password", tag="auth")
def change_password(body: dict[str, Any]) -> None:
    """Ends every other session of yours. Wrong current passwords wait longer and longer."""
    user = person()
    try:
        people.change_password(user, body["current_password"], body["new_password"], g.viewer.session_id, tokens.caller())
    except ProductError:
        keep_changes()
        raise


@api_route("GET", "/me/sessions", client=False, query=PageQuery, list_of=SessionShown, summary="Where you are logged in", tag="auth")
def list_sessions(query: dict[str, Any]) -> Page:
    person()
    return page_of(queries.living(g.viewer.id, machine_now() - auth.IDLE), query, UserSession.id)


@api_route("DELETE", "/me/sessions/<int:session_id>", client=False, status=204, summary="Log out in one place", tag="auth")
def end_session(session_id: int) -> None:
    person()
    people.end_session(g.viewer.id, session_id)


@api_route("POST", "/me/end-sessions", client=False, body=Nothing, response=EndedSessionsShown, summary="Log out everywhere else", tag="auth")
def end_sessions(body: dict[str, Any]) -> dict[str, int]:
    person()
    return {"ended": people.end_other_sessions(g.viewer.id, g.viewer.session_id)}
