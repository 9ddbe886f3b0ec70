"""What people changed, newest first: for the page, the export and programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select

from app.core.extensions import db
from app.models import AuditEntry, AuditSeal, User
from app.queries.trail_names import names


@dataclass(frozen=True)
class Line:
    """One change. ``at`` is machine time; ``seal``: its number in the chain, None for the few seconds until it is sealed.

    ``object_name``: what the object is called today; empty for one that is gone.
    """

    id: int
    at: datetime
    user_id: int | None
    who: str | None
    action: str
    object_kind: str
    object_id: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    address: str
    seal: int | None
    object_name: str = ""

    @property
    def changes(self) -> list[tuple[str, Any, Any]]:
        """(field, before, after) of what differs."""
        names = sorted({*self.before, *self.after})
        return [(name, self.before.get(name), self.after.get(name)) for name in names if self.before.get(name) != self.after.get(name)]


def lines(client_id: int | None, *, user_id: int | None = None, kind: str = "", before_id: int | None = None, limit: int = 50) -> list[Line]:
    """Of a client (None: of the installation itself). ``kind``: the first word of the action, like ``campaign``."""
    statement = select_lines(client_id).order_by(AuditEntry.id.desc()).limit(limit)
    if user_id is not None:
        statement = statement.where(AuditEntry.user_id == user_id)
    if kind:
        statement = statement.where(AuditEntry.action.startswith(f"{kind}.", autoescape=True))
    if before_id is not None:
        statement = statement.where(AuditEntry.id < before_id)
    return lines_of(client_id, db.session.execute(statement))


def select_lines(client_id: int | None) -> Select[*tuple[Any, ...]]:
    whose = AuditEntry.client_id == client_id if client_id is not None else AuditEntry.client_id.is_(None)
    return (
        select(AuditEntry, AuditEntry.id, User.name.label("who"), AuditSeal.number.label("seal"))
        .outerjoin(User, User.id == AuditEntry.user_id)
        .outerjoin(AuditSeal, AuditSeal.entry_id == AuditEntry.id)
        .where(whose)
    )


def lines_of(client_id: int | None, rows: Iterable[Any]) -> list[Line]:
    """The rows of ``select_lines`` with the names their objects have."""
    found = [_line(row) for row in rows]
    known = names(client_id, ((line.object_kind, line.object_id) for line in found))
    return [replace(line, object_name=known.get((line.object_kind, line.object_id), "")) for line in found]


def _line(row: Any) -> Line:
    entry = row.AuditEntry
    return Line(
        id=entry.id, at=entry.at, user_id=entry.user_id, who=row.who, action=entry.action, object_kind=entry.object_kind,
        object_id=entry.object_id, before=entry.before or {}, after=entry.after or {}, address=entry.address, seal=row.seal,
    )  # fmt: skip


@dataclass(frozen=True)
class Facets:
    """What the lists of the page offer: kinds of action, and who acted."""

    kinds: list[str]
    people: list[tuple[int, str]]


def facets(client_id: int | None) -> Facets:
    whose = AuditEntry.client_id == client_id if client_id is not None else AuditEntry.client_id.is_(None)
    kinds = db.session.scalars(select(func.split_part(AuditEntry.action, ".", 1)).where(whose).distinct())
    people = db.session.execute(select(User.id, User.name).join(AuditEntry, AuditEntry.user_id == User.id).where(whose).distinct().order_by(User.name))
    return Facets(sorted(kinds), [(row.id, row.name) for row in people])
