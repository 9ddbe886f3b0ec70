"""Who is in a client, and who may log in at all: with their roles, sessions and links that are still out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.core.clock import machine_now
from app.core.extensions import db
from app.domain.statuses import Role
from app.models import Client, Membership, OneTimeLink, SecondFactor, User, UserSession


@dataclass(frozen=True)
class Member:
    """One colleague of a client. Times are machine time. ``pending``: never here, no password yet; ``invited``: this client brought them in."""

    id: int
    client_id: int
    user_id: int
    email: str
    name: str
    role: str
    timezone: str
    is_operator: bool
    disabled_at: datetime | None
    pending: bool
    link_until: datetime | None
    last_seen_at: datetime | None
    created_at: datetime
    invited: bool
    second_factor: bool

    @property
    def may_be_invited_again(self) -> bool:
        return self.pending and self.invited and self.disabled_at is None and not self.is_operator


@dataclass(frozen=True)
class Login:
    """Somebody who may log in. ``seats``: (client, role); ``sessions``: how many are open."""

    user: User
    seats: tuple[tuple[str, str], ...]
    sessions: int
    last_seen_at: datetime | None
    link_until: datetime | None
    second_factor: bool


def _has_factor() -> ColumnElement[bool]:
    return exists().where(SecondFactor.user_id == User.id, SecondFactor.confirmed_at.is_not(None))


def _last_seen() -> ColumnElement[Any]:
    return select(func.max(UserSession.last_seen_at)).where(UserSession.user_id == User.id).scalar_subquery()


def _link_until() -> ColumnElement[Any]:
    unused = select(func.max(OneTimeLink.expires_at)).where(
        OneTimeLink.user_id == User.id, OneTimeLink.purpose == "invite", OneTimeLink.used_at.is_(None), OneTimeLink.expires_at > machine_now()
    )  # fmt: skip
    return unused.scalar_subquery()


def _members(where: ColumnElement[bool]) -> Select[Any]:
    return (
        select(Membership, User, _link_until().label("link_until"), _last_seen().label("last_seen"), _has_factor().label("factor"))
        .join(User, User.id == Membership.user_id)
        .where(where)
    )


def members(client_id: int) -> list[Member]:
    """Admins first, then by name."""
    rows = db.session.execute(_members(Membership.client_id == client_id).order_by(Membership.role, func.lower(User.name), User.id))
    return [_member(row) for row in rows]


def member(seat_id: int, client_id: int) -> Member | None:
    row = db.session.execute(_members(and_(Membership.id == seat_id, Membership.client_id == client_id))).first()
    return _member(row) if row else None


def _member(row: Any) -> Member:
    seat, user = row.Membership, row.User
    return Member(
        id=seat.id, client_id=seat.client_id, user_id=user.id, email=user.email, name=user.name, role=seat.role, timezone=user.timezone,
        is_operator=user.is_operator, disabled_at=user.disabled_at, pending=user.password_hash is None and row.last_seen is None, link_until=row.link_until,
        last_seen_at=row.last_seen, created_at=seat.created_at, invited=seat.invited,
        second_factor=row.factor,
    )  # fmt: skip


def logins(search: str = "", *, after: int = 0, limit: int = 100) -> list[Login]:
    """Of the whole installation, by id; ``search`` in name and address. For operators: the caller's scope decides which seats show."""
    open_ones = select(func.count()).where(
        UserSession.user_id == User.id, UserSession.revoked_at.is_(None), UserSession.expires_at > machine_now()
    )  # fmt: skip
    statement = (
        select(
            User, open_ones.scalar_subquery().label("sessions"), _last_seen().label("last_seen"), _link_until().label("link_until"),
            _has_factor().label("factor"),
        )
        .where(User.id > after)
        .order_by(User.id)
        .limit(limit)
    )
    if search:
        statement = statement.where(or_(_holds(User.name, search), _holds(User.email_key, search)))
    rows = db.session.execute(statement).all()
    seats = _seats([row.User.id for row in rows])
    return [Login(row.User, tuple(seats.get(row.User.id, ())), row.sessions, row.last_seen, row.link_until, row.factor) for row in rows]


def _holds(column: InstrumentedAttribute[str], word: str) -> ColumnElement[bool]:
    return func.lower(column).contains(word.lower(), autoescape=True)


def can_administer(seat: Any = Membership, person: Any = User) -> ColumnElement[bool]:
    """An admin's seat whose person can log in: neither switched off nor an invitation that nobody has followed."""
    return and_(seat.role == Role.ADMIN, person.disabled_at.is_(None), or_(~seat.invited, person.password_hash.is_not(None)))


def left_without_admin(user_id: int) -> list[str]:
    """Names of the clients this person is an admin of and in which no other admin can log in."""
    own, other, person = aliased(Membership), aliased(Membership), aliased(User)
    others = (
        select(other.id).join(person, person.id == other.user_id)
        .where(other.client_id == own.client_id, other.user_id != user_id, can_administer(other, person))
    )  # fmt: skip
    found = select(Client.name).join(own, own.client_id == Client.id).where(own.user_id == user_id, own.role == Role.ADMIN, ~others.exists())
    return list(db.session.scalars(found.order_by(Client.name)))


def _seats(user_ids: Sequence[int]) -> dict[int, list[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = {}
    rows = db.session.execute(
        select(Membership.user_id, Client.name, Membership.role)
        .join(Client, Client.id == Membership.client_id)
        .where(Membership.user_id.in_(user_ids))
        .order_by(Client.name)
    )
    for user_id, client, role in rows:
        found.setdefault(user_id, []).append((client, role))
    return found
