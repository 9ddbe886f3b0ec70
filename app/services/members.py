"""Colleagues of a client: invited by a link that works once, given a role, taken out again. Operators also switch logins off.

A link that sets a password is given only to whoever brought the person in, and only until they have set one: an admin of another
client who writes the same address adds a seat and gets no link, or they could take over a login that opens more than their client.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from app.core.clock import machine_now
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.domain.address import email_key
from app.domain.languages import LANGUAGES
from app.domain.statuses import Role
from app.domain.zones import known_zones
from app.models import Client, Membership, User
from app.queries.members import can_administer
from app.services import audit, auth, people
from app.strings import t


@dataclass(frozen=True)
class Invitation:
    """The new seat, and the path of the link to hand over; None where the person can log in already or somebody else invited them."""

    seat: Membership
    user: User
    link: str | None


def invite(client: Client, email: str, name: str, role: str, timezone: str | None = None, language: str | None = None) -> Invitation:
    """Give somebody a seat in ``client``; a login is made for an address that has none. Raises Invalid per field."""
    chosen = _role(role)
    zone = timezone or client.timezone
    if zone not in known_zones():
        raise Invalid.field("timezone", t("fields.timezone_choice"))
    user = db.session.scalar(select(User).where(User.email_key == email_key(email)))
    fresh = user is None
    if user is None:
        user = people.create_user(email, name, timezone=zone, language=language or _language(client))
    elif user.disabled_at is not None:
        raise Invalid.field("email", t("members.switched_off"))
    elif seat_of(client.id, user.id) is not None:
        raise Invalid.field("email", t("members.in_list"))
    seat = people.grant(user, client, chosen)
    seat.invited = fresh
    db.session.flush()
    return Invitation(seat, user, auth.make_one_time_link(user, "invite") if fresh else None)


def _language(client: Client) -> str | None:
    """The client's, where we know it as one that people write in."""
    return client.language[:2] if client.language[:2] in LANGUAGES else None


def seat_of(client_id: int, user_id: int) -> Membership | None:
    return db.session.scalar(select(Membership).where(Membership.client_id == client_id, Membership.user_id == user_id))


def may_be_invited_again(seat: Membership, user: User) -> bool:
    """Has the person not yet set a password, and was this the client that brought them in?"""
    return seat.invited and user.password_hash is None and user.disabled_at is None and not user.is_operator


def link_again(seat: Membership) -> str:
    """A new link for somebody who never used theirs; the old ones end. Raises Conflict for whoever can log in already."""
    user = db.session.get_one(User, seat.user_id)
    if not may_be_invited_again(seat, user):
        raise Conflict(
            t("members.can_log_in"),
            code="not_pending",
        )
    auth.end_links(user.id, "invite")
    audit.record("member.link", "user", user.id, client_id=seat.client_id)
    return auth.make_one_time_link(user, "invite")


def change_role(client: Client, seat: Membership, role: str) -> Membership:
    """Takes effect with the next request. Raises Conflict when nobody would be left to administer the client."""
    chosen = _role(role)
    if chosen != Role.ADMIN:
        _keep_an_admin(seat)
    return people.grant(db.session.get_one(User, seat.user_id), client, chosen)


def remove(seat: Membership) -> None:
    """Take the seat away; the login stays, for other clients. Raises Conflict for the last admin."""
    _keep_an_admin(seat)
    audit.record("member.remove", "user", seat.user_id, client_id=seat.client_id, before={"role": seat.role})
    db.session.delete(seat)
    db.session.flush()


def _keep_an_admin(seat: Membership) -> None:
    """Another admin who can log in remains (an invitation nobody has followed is none).

    Locks the client's seats in one order, so that two admins cannot remove each other at once.
    """
    seats = db.session.execute(
        select(Membership.id, can_administer().label("can"))
        .join(User, User.id == Membership.user_id)
        .where(Membership.client_id == seat.client_id)
        .order_by(Membership.id)
        .with_for_update(of=Membership)
    ).all()
    if seat.role == Role.ADMIN and not any(row.can for row in seats if row.id != seat.id):
        raise Conflict(t("members.last_admin"), code="last_admin")


def _role(word: str) -> Role:
    if word not in set(Role):
        raise Invalid.field("role", t("members.role_choice"))
    return Role(word)


# The whole installation


def disable(user: User, by: int) -> None:
    """Switch a login off: every session ends, links die; seats stay. Raises Conflict for oneself and for the last operator."""
    if user.id == by:
        raise Conflict(t("members.own_login"), code="own_login")
    _keep_an_operator(user)
    user.disabled_at = user.disabled_at or machine_now()
    auth.end_other_sessions(user.id)
    for purpose in ("login", "invite", "reset"):
        auth.end_links(user.id, purpose)
    db.session.flush()
    audit.record("user.disable", "user", user.id)


def enable(user: User) -> None:
    user.disabled_at = None
    db.session.flush()
    audit.record("user.enable", "user", user.id)


def end_sessions(user: User, but: int | None = None) -> int:
    """Log somebody out everywhere (``but``: the session that asks); returns how many sessions ended."""
    ended = auth.end_other_sessions(user.id, but=but)
    audit.record("user.end_sessions", "user", user.id, after={"ended": ended})
    return ended


def reset_link(user: User) -> str:
    """A link for a new password, 30 minutes (72 hours for somebody who never had one). Raises Conflict for a login that is off."""
    if user.disabled_at is not None:
        raise Conflict(t("members.switch_on_first"), code="disabled")
    purpose = "reset" if user.password_hash else "invite"
    auth.end_links(user.id, purpose)
    audit.record("user.reset_link", "user", user.id)
    return auth.make_one_time_link(user, purpose)


def set_operator(user: User, on: bool, by: int) -> None:
    """Raises Conflict for one's own mark and for the last operator's."""
    if not on and user.id == by:
        raise Conflict(t("members.own_mark"), code="own_login")
    if not on:
        _keep_an_operator(user)
    before, user.is_operator = user.is_operator, on
    db.session.flush()
    audit.record("user.operator", "user", user.id, before={"operator": before}, after={"operator": on})


def _keep_an_operator(user: User) -> None:
    rows = db.session.scalars(
        select(User.id).where(User.is_operator, User.disabled_at.is_(None)).order_by(User.id).with_for_update()
    ).all()
    if user.is_operator and not [row for row in rows if row != user.id]:
        raise Conflict(t("members.last_operator"), code="last_operator")
