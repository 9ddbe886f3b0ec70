"""People: the colleagues of a client (its admins), and every login of the installation (operators)."""

from __future__ import annotations

from typing import Any

from flask import g, request
from marshmallow import fields, validate
from sqlalchemy import select

from app.blueprints.api.core import api_route
from app.blueprints.api.me import LANGUAGE
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.api.schemas import Flag, Moment, Nothing, PageQuery, Shown, Strict, text
from app.core.db import current_scope
from app.core.errors import NotFound
from app.core.extensions import db
from app.domain.permissions import Permission
from app.domain.statuses import Role
from app.models import Client, Membership, User
from app.queries import members as queries
from app.services import audit, members, people

ROLE = validate.OneOf(list(Role))


class NewMember(Strict):
    email = text(320, shortest=3, required=True)
    name = text(120, shortest=1, required=True)
    role = fields.String(validate=ROLE, required=True)
    timezone = text(64)
    language = fields.String(validate=LANGUAGE)


class RoleChange(Strict):
    role = fields.String(validate=ROLE, required=True)


class MemberShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    user_id = fields.Integer(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True)
    role = fields.String(required=True)
    second_factor = fields.Boolean(required=True)
    pending = fields.Boolean(required=True, metadata={"description": "has not chosen a password yet"})
    last_seen_at = Moment(required=True, allow_none=True)
    created_at = Moment(required=True)


class LinkShown(Shown):
    link = fields.String(required=True, allow_none=True, metadata={"description": "works once, shown only now; null where the person can log in already"})


class InvitedShown(LinkShown):
    member = fields.Nested(MemberShown, required=True)


def _member(seat: Membership) -> queries.Member:
    found = queries.member(seat.id, seat.client_id)
    if found is None:
        raise NotFound
    return found


def _absolute(link: str | None) -> str | None:
    return request.host_url.rstrip("/") + link if link else None


@api_route("GET", "/members", Permission.MEMBERS_READ, list_of=MemberShown, summary="Colleagues of a client")
def list_members() -> Page:
    """All of them at once: a client has few."""
    return Page(queries.members(g.client.id), None)


@api_route("POST", "/members", Permission.MEMBERS_MANAGE, body=NewMember, response=InvitedShown, status=201, summary="Add a colleague")
def invite(body: dict[str, Any]) -> dict[str, Any]:
    """Nothing is mailed: hand ``link`` over yourself. It works for 72 hours."""
    found = members.invite(db.session.get_one(Client, g.client.id), body["email"], body["name"], body["role"], body.get("timezone"), body.get("language"))
    return {"member": _member(found.seat), "link": _absolute(found.link)}


@api_route("GET", "/members/<int:row_id>", Permission.MEMBERS_READ, object_of=Membership, response=MemberShown, summary="One colleague")
def show_member(seat: Membership) -> queries.Member:
    return _member(seat)


@api_route(
    "PATCH", "/members/<int:row_id>", Permission.MEMBERS_MANAGE, object_of=Membership, body=RoleChange, response=MemberShown,
    summary="Change a colleague's role",
)
def change_role(seat: Membership, body: dict[str, Any]) -> queries.Member:
    """409 ``last_admin`` when nobody would be left to administer the client."""
    members.change_role(db.session.get_one(Client, g.client.id), seat, body["role"])
    db.session.expire_all()
    return _member(seat)


@api_route("DELETE", "/members/<int:row_id>", Permission.MEMBERS_MANAGE, object_of=Membership, status=204, summary="Take a colleague out of a client")
def remove_member(seat: Membership) -> None:
    """The login stays, for other clients."""
    members.remove(seat)


@api_route(
    "POST", "/members/<int:row_id>/link", Permission.MEMBERS_MANAGE, object_of=Membership, body=Nothing, response=LinkShown,
    summary="A new link for somebody who never used theirs",
)
def link_again(seat: Membership, body: dict[str, Any]) -> dict[str, Any]:
    return {"link": _absolute(members.link_again(seat))}


# Logins of the installation


class NewUser(Strict):
    email = text(320, shortest=3, required=True)
    name = text(120, shortest=1, required=True)
    is_operator = Flag(load_default=False)
    timezone = text(64)
    language = fields.String(validate=LANGUAGE)


class UserChange(Strict):
    disabled = Flag()
    is_operator = Flag()
    name = text(120, shortest=1)
    timezone = text(64)
    language = fields.String(validate=LANGUAGE)


class UserShown(Shown):
    id = fields.Integer(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True)
    is_operator = fields.Boolean(required=True)
    timezone = fields.String(required=True)
    language = fields.String(required=True)
    disabled_at = Moment(required=True, allow_none=True)
    created_at = Moment(required=True)


class CreatedUserShown(LinkShown):
    user = fields.Nested(UserShown, required=True)


class EndedShown(Shown):
    ended = fields.Integer(required=True)


def _user(user_id: int) -> User:
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound
    return user


@api_route("GET", "/users", Permission.USERS_MANAGE, client=False, query=PageQuery, list_of=UserShown, summary="Every login of the installation")
def list_users(query: dict[str, Any]) -> Page:
    return page_of(select(User), query, User.id, descending=False)


@api_route("POST", "/users", Permission.USERS_MANAGE, client=False, body=NewUser, response=CreatedUserShown, status=201, summary="Make a login")
def create_user(body: dict[str, Any]) -> dict[str, Any]:
    """Without a client yet: an admin adds the seat by ``POST /api/members``."""
    user = people.create_user(body["email"], body["name"], operator=body["is_operator"], timezone=body.get("timezone"), language=body.get("language"))
    audit.record("user.create", "user", user.id, after={"email": user.email, "operator": user.is_operator})
    return {"user": user, "link": _absolute(members.reset_link(user))}


@api_route("GET", "/users/<int:user_id>", Permission.USERS_MANAGE, client=False, response=UserShown, summary="One login")
def show_user(user_id: int) -> User:
    return _user(user_id)


@api_route(
    "PATCH", "/users/<int:user_id>", Permission.USERS_MANAGE, client=False, body=UserChange, response=UserShown,
    summary="Switch a login off or on, or make it an operator's",
)
def change_user(user_id: int, body: dict[str, Any]) -> User:
    """Switching off ends every session and every link at once."""
    user, by = _user(user_id), current_scope().user_id or 0
    people.change_profile(user, {key: body[key] for key in ("name", "timezone", "language") if key in body})
    if "is_operator" in body:
        members.set_operator(user, body["is_operator"], by)
    if "disabled" in body:
        if body["disabled"]:
            members.disable(user, by)
        else:
            members.enable(user)
    return user


@api_route(
    "POST", "/users/<int:user_id>/end-sessions", Permission.USERS_MANAGE, client=False, body=Nothing, response=EndedShown,
    summary="Log somebody out everywhere",
)
def end_sessions(user_id: int, body: dict[str, Any]) -> dict[str, int]:
    return {"ended": members.end_sessions(_user(user_id))}


@api_route("POST", "/users/<int:user_id>/link", Permission.USERS_MANAGE, client=False, body=Nothing, response=LinkShown, summary="A link for a new password")
def reset_link(user_id: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"link": _absolute(members.reset_link(_user(user_id)))}
