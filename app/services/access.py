"""Who is asking, which clients they may enter, and the loading of what is theirs. A stranger's object does not exist."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Select, bindparam, exists, func, select

from app.core.db import Scope, enter_scope
from app.core.errors import Forbidden, NotFound
from app.core.extensions import db
from app.domain.permissions import Permission, allowed
from app.models import Client, Membership, SecondFactor, Setting, User
from app.strings import t

Row = TypeVar("Row")

#: The setting of a client, and the code of the refusal (DEFINITIONS of services/settings.py names the same).
REQUIRED = "second_factor_required"
SECOND_FACTOR_REQUIRED = "second_factor_required"

#: A key that leaked must not be able to make itself at home.
NEVER_BY_KEY = frozenset({Permission.MEMBERS_MANAGE, Permission.API_KEYS_MANAGE})


@dataclass(frozen=True)
class ClientSeat:
    """A client the viewer may enter; ``role`` None: an operator without a membership. ``closed``: it asks for a second factor they have not."""

    id: int
    name: str
    slug: str
    timezone: str
    role: str | None
    second_factor_required: bool = False
    closed: bool = False


@dataclass(frozen=True)
class Viewer:
    """The signed-in person of one request, detached from the ledger: error pages need it after a rollback."""

    id: int
    email: str
    name: str
    is_operator: bool
    timezone: str
    theme: str
    language: str
    shortcuts_on: bool
    session_id: int
    seats: tuple[ClientSeat, ...]
    second_factor: bool = False  # has one set up
    key_id: int | None = None  # acts by an API key of this person

    def seat(self, *, slug: str | None = None, client_id: int | None = None) -> ClientSeat | None:
        return next((seat for seat in self.seats if seat.slug == slug or seat.id == client_id), None)

    @property
    def open_seats(self) -> tuple[ClientSeat, ...]:
        """Those whose pages and data they may see now."""
        return tuple(seat for seat in self.seats if not seat.closed)

    @property
    def member_seats(self) -> tuple[ClientSeat, ...]:
        return tuple(seat for seat in self.seats if seat.role is not None)

    def may(self, permission: Permission, seat: ClientSeat | None) -> bool:
        if self.key_id is not None and permission in NEVER_BY_KEY:
            return False
        return allowed(seat.role if seat else None, permission, operator=self.is_operator)


# Every request begins with these: written once, because writing a statement costs more than asking it.
_WHOSE = select(
    func.emberpost_client_ids(bindparam("user_id", type_=BigInteger)).label("ids"),
    exists().where(SecondFactor.user_id == bindparam("user_id"), SecondFactor.confirmed_at.is_not(None)).label("has_one"),
)
_SEATS = (
    select(Client.id, Client.name, Client.slug, Client.timezone, Membership.role, Setting.value)
    .outerjoin(Membership, (Membership.client_id == Client.id) & (Membership.user_id == bindparam("user_id")))
    .outerjoin(Setting, (Setting.client_id == Client.id) & (Setting.key == REQUIRED))
    .where(Client.id.in_(bindparam("ids", expanding=True)))
    .order_by(Client.name, Client.id)
)


def viewer_of(user: User, session_id: int) -> Viewer:
    """Enter the scope of everything ``user`` may read, and say what that is."""
    whose = db.session.execute(_WHOSE, {"user_id": user.id}).one()
    ids = tuple(whose.ids or ())
    enter_scope(Scope(user_id=user.id, client_ids=ids))
    rows = db.session.execute(_SEATS, {"user_id": user.id, "ids": ids}).all() if ids else ()
    return Viewer(
        id=user.id,
        email=user.email,
        name=user.name,
        is_operator=user.is_operator,
        timezone=user.timezone,
        theme=user.theme,
        language=user.language,
        shortcuts_on=user.shortcuts_on,
        session_id=session_id,
        seats=tuple(_seat(row, whose.has_one) for row in rows),
        second_factor=whose.has_one,
    )


def _seat(row: Any, has_one: bool) -> ClientSeat:
    asked = row.value is True
    return ClientSeat(row.id, row.name, row.slug, row.timezone, row.role, asked, asked and not has_one)


def enter_client(viewer: Viewer, seat: ClientSeat, permission: Permission | None) -> None:
    """Narrow the scope to one client.

    Raises Forbidden when the client asks for a second factor and the viewer has none, or when their role there does not include
    ``permission``.
    """
    if seat.closed:
        raise Forbidden(
            t("auth.second_factor_asked", client=seat.name),
            code=SECOND_FACTOR_REQUIRED, details={"client_id": seat.id},
        )  # fmt: skip
    if permission is not None and not viewer.may(permission, seat):
        sentence = t("auth.role_excludes" if viewer.key_id is None else "auth.key_excludes")
        raise Forbidden(sentence, details={"permission": str(permission)})
    enter_scope(Scope(user_id=viewer.id, client_id=seat.id, client_ids=(seat.id,)))


def own(model: type[Row], row_id: int, *client_ids: int) -> Row:
    """The row if it belongs to one of ``client_ids``. Raises NotFound for what is missing and for what is a stranger's alike."""
    columns: Any = model
    row: Row | None = db.session.scalar(_owned(columns), {"row_id": row_id, "client_ids": client_ids})
    if row is None:
        raise NotFound
    return row


@cache
def _owned(model: Any) -> Select[Any]:
    """A row by its id and those it may belong to: written once for each model, as nearly every request asks it."""
    owner = getattr(model, "client_id", model.id)  # a client is its own
    statement = select(model).where(model.id == bindparam("row_id"), owner.in_(bindparam("client_ids", expanding=True)))
    return statement.where(model.deleted_at.is_(None)) if hasattr(model, "deleted_at") else statement
