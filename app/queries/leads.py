"""Reading leads: the filter that page, API, bulk actions and export share; figures; one lead's story."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, exists, func, or_, select, text
from sqlalchemy.sql.elements import ColumnElement

from app.core.extensions import db
from app.models import Campaign, Enrollment, ImportChange, ImportReject, Lead, LeadImport, Suppression

#: Groups a person filters by; the empty one is everybody.
STATES = ("fresh", "contacted", "replied", "bounced", "suppressed", "attention")
#: Fields whose absence is looked for, besides ``custom.<name>``.
MAY_MISS = ("first_name", "last_name", "company", "title", "linkedin_url", "timezone", "language")


@dataclass(frozen=True)
class LeadFilter:
    """What is looked for inside one client."""

    client_id: int
    search: str = ""
    campaign_id: int | None = None
    import_id: int | None = None
    state: str = ""
    missing: str = ""


def _suppressed() -> ColumnElement[bool]:
    return exists().where(Suppression.client_id == Lead.client_id, Suppression.email_key == Lead.email_key)


def _walks(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(Enrollment.client_id == Lead.client_id, Enrollment.lead_id == Lead.id, *conditions)


def _state(state: str) -> ColumnElement[bool]:
    match state:
        case "fresh":
            return and_(Lead.contacted_at.is_(None), ~_suppressed())
        case "contacted":
            return Lead.contacted_at.is_not(None)
        case "replied":
            return _walks(Enrollment.status == "replied")
        case "bounced":
            return Lead.bounced_at.is_not(None)
        case "suppressed":
            return _suppressed()
    return _walks(Enrollment.status == "needs_attention")


def _like(word: str) -> str:
    return "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


def matching(statement: Select[Any], wanted: LeadFilter) -> Select[Any]:
    """The statement narrowed to the leads that fit."""
    statement = statement.where(Lead.client_id == wanted.client_id)
    for word in wanted.search.split()[:6]:
        like = _like(word)
        columns = (Lead.email, Lead.first_name, Lead.last_name, Lead.company)
        statement = statement.where(or_(*(column.ilike(like) for column in columns)))
    if wanted.campaign_id is not None:
        statement = statement.where(_walks(Enrollment.campaign_id == wanted.campaign_id))
    if wanted.import_id is not None:
        touched = exists().where(
            ImportChange.client_id == Lead.client_id, ImportChange.lead_id == Lead.id, ImportChange.import_id == wanted.import_id
        )
        statement = statement.where(or_(Lead.source_import_id == wanted.import_id, touched))
    if wanted.state in STATES:
        statement = statement.where(_state(wanted.state))
    if wanted.missing in MAY_MISS:
        statement = statement.where(func.coalesce(getattr(Lead, wanted.missing), "") == "")
    elif wanted.missing.startswith("custom."):
        statement = statement.where(func.coalesce(Lead.custom[wanted.missing[7:]].astext, "") == "")
    return statement


def page(wanted: LeadFilter, before: int | None = None, limit: int = 50) -> tuple[list[Lead], int | None]:
    """The newest leads that fit, and the id before which the next page begins (None: this was the last)."""
    statement = matching(select(Lead), wanted).order_by(Lead.id.desc()).limit(limit + 1)
    if before is not None:
        statement = statement.where(Lead.id < before)
    found = list(db.session.scalars(statement))
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def count(wanted: LeadFilter) -> int:
    return db.session.scalar(matching(select(func.count()).select_from(Lead), wanted)) or 0


def ids(wanted: LeadFilter, limit: int) -> list[int]:
    """The newest leads that fit, at most ``limit``."""
    return list(db.session.scalars(matching(select(Lead.id), wanted).order_by(Lead.id.desc()).limit(limit)))


def ids_between(wanted: LeadFilter, after: int, newest: int, limit: int) -> list[int]:
    """Leads that fit with ids above ``after`` and up to ``newest``, the oldest first."""
    statement = matching(select(Lead.id), wanted).where(Lead.id > after, Lead.id <= newest)
    return list(db.session.scalars(statement.order_by(Lead.id).limit(limit)))


def addresses(client_id: int, lead_ids: Sequence[int]) -> list[str]:
    """The addresses of these leads, those without one left out."""
    statement = select(Lead.email).where(Lead.client_id == client_id, Lead.id.in_(lead_ids), Lead.email.is_not(None))
    return [email for email in db.session.scalars(statement.order_by(Lead.email_key)) if email]


def export(wanted: LeadFilter, limit: int) -> Iterator[Lead]:
    """The leads that fit, oldest first, read in portions."""
    statement = matching(select(Lead), wanted).order_by(Lead.id).limit(limit)
    yield from db.session.scalars(statement.execution_options(yield_per=1_000))


@dataclass(frozen=True)
class Figures:
    """How many leads there are in each group."""

    total: int
    groups: dict[str, int]


def figures(client_id: int) -> Figures:
    columns = [func.count().filter(_state(state)) for state in STATES]
    row = db.session.execute(select(func.count(), *columns).select_from(Lead).where(Lead.client_id == client_id)).one()
    return Figures(row[0], dict(zip(STATES, row[1:], strict=True)))


@dataclass(frozen=True)
class LeadLine:
    """One row of the list. ``walks``: (campaign, status) of the newest walks, at most three."""

    lead: Lead
    suppressed: bool
    walks: tuple[tuple[str, str], ...]


def lines(found: list[Lead]) -> list[LeadLine]:
    """What the list shows of these leads, in two statements."""
    if not found:
        return []
    client_id, ids = found[0].client_id, [lead.id for lead in found]
    values = {"client": client_id, "ids": ids, "keys": [lead.email_key for lead in found if lead.email_key]}
    barred = set(db.session.scalars(text("SELECT email_key FROM suppressions WHERE client_id = :client AND email_key = ANY(:keys)"), values))
    walks: dict[int, list[tuple[str, str]]] = {}
    for row in db.session.execute(
        text(
            "SELECT e.lead_id, c.name, e.status FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id"
            " WHERE e.client_id = :client AND e.lead_id = ANY(:ids) AND c.deleted_at IS NULL ORDER BY e.id DESC"
        ),
        values,
    ):
        walks.setdefault(row.lead_id, []).append((row.name, row.status))
    return [LeadLine(lead, lead.email_key in barred, tuple(walks.get(lead.id, ())[:3])) for lead in found]


@dataclass(frozen=True)
class Happening:
    """One line of a lead's story (product time)."""

    at: datetime
    kind: str
    campaign: str
    subject: str
    delivery_id: int | None
    conversation_id: int | None


def story(client_id: int, lead_id: int, limit: int = 100) -> list[Happening]:
    """What happened with one lead, newest first."""
    rows = db.session.execute(
        text(
            "SELECT a.at, a.kind, coalesce(c.name, '') AS campaign, coalesce(m.subject, '') AS subject, a.delivery_id, m.conversation_id"
            " FROM activities a LEFT JOIN campaigns c ON c.id = a.campaign_id LEFT JOIN messages m ON m.id = a.message_id"
            " WHERE a.client_id = :client AND a.lead_id = :lead ORDER BY a.at DESC, a.id DESC LIMIT :limit"
        ),
        {"client": client_id, "lead": lead_id, "limit": limit},
    )
    return [Happening(**row._mapping) for row in rows]


@dataclass(frozen=True)
class Walk:
    """A lead's walk through one campaign."""

    enrollment_id: int
    campaign_id: int
    campaign: str
    status: str
    reason: str | None
    detail: str
    next_at: datetime | None


def walks(client_id: int, lead_id: int) -> list[Walk]:
    rows = db.session.execute(
        text(
            "SELECT e.id AS enrollment_id, e.campaign_id, c.name AS campaign, e.status, e.reason, e.detail, e.next_at FROM enrollments e"
            " JOIN campaigns c ON c.id = e.campaign_id WHERE e.client_id = :client AND e.lead_id = :lead ORDER BY e.id DESC"
        ),
        {"client": client_id, "lead": lead_id},
    )
    return [Walk(**row._mapping) for row in rows]


def custom_names(client_id: int) -> list[str]:
    """The own fields any lead of this client has, the most used first (of the newest 2,000 leads)."""
    rows = db.session.execute(
        text(
            "SELECT key, count(*) AS n FROM (SELECT custom FROM leads WHERE client_id = :client ORDER BY id DESC LIMIT 2000) l,"
            " jsonb_object_keys(l.custom) AS key GROUP BY key ORDER BY n DESC, key LIMIT 40"
        ),
        {"client": client_id},
    )
    return [row.key for row in rows]


def imports(client_id: int, limit: int = 30) -> list[LeadImport]:
    """The newest imports that did or may do something."""
    statement = select(LeadImport).where(LeadImport.client_id == client_id).order_by(LeadImport.id.desc()).limit(limit)
    return list(db.session.scalars(statement))


def rejects(row: LeadImport, limit: int) -> list[ImportReject]:
    """Rows of an import that were not taken, by line."""
    statement = select(ImportReject).where(ImportReject.client_id == row.client_id, ImportReject.import_id == row.id)
    return list(db.session.scalars(statement.order_by(ImportReject.line, ImportReject.id).limit(limit)))


def kept_by_undo(row: LeadImport, limit: int = 200) -> list[Lead]:
    """Leads an undone import had created and that stay, because something was sent to them or they came by another way too."""
    created = select(ImportChange.lead_id).where(
        ImportChange.client_id == row.client_id, ImportChange.import_id == row.id, ImportChange.before.is_(None)
    )
    statement = select(Lead).where(Lead.client_id == row.client_id, Lead.id.in_(created)).order_by(Lead.id).limit(limit)
    return list(db.session.scalars(statement))


def open_campaigns(client_id: int) -> list[Campaign]:
    """Campaigns leads can be added to, the newest first."""
    statement = select(Campaign).where(Campaign.client_id == client_id, Campaign.deleted_at.is_(None), Campaign.status != "stopped")
    return list(db.session.scalars(statement.order_by(Campaign.id.desc()).limit(100)))
