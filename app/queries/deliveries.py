"""Reading the outbox: lists, one delivery with its attempts, what is uncertain, what failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from app.core.errors import NotFound
from app.core.extensions import db
from app.domain.statuses import shelf_of
from app.queries.campaign_people import explain
from app.queries.places import MOST, read_cursor, write_cursor


@dataclass(frozen=True)
class DeliveryLine:
    """One outbox row. Times are product time. ``text``: the reason as a sentence; ``reply_text``: the last line heard."""

    id: int
    client_id: int
    kind: str
    status: str
    reason: str | None
    text: str
    detail: str
    campaign_id: int | None
    campaign_name: str
    enrollment_id: int | None
    step_id: int | None
    lead_id: int | None
    lead_name: str
    sender_id: int
    sender: str
    to: str
    subject: str  # of the thread's message, or of the step before it was sent
    message_id: str | None
    due_at: datetime
    sent_at: datetime | None
    attempts: int
    phase: str | None
    reply_code: int | None
    reply_text: str | None
    evidence: dict[str, Any]
    late_accept: bool
    retry_of: int | None
    conversation_id: int | None
    resolved_by: int | None
    resolved_at: datetime | None


@dataclass(frozen=True)
class AttemptLine:
    """One try (machine time)."""

    number: int
    started_at: datetime
    permitted_at: datetime | None
    ended_at: datetime | None
    outcome: str | None
    phase: str | None
    code: int | None
    text: str | None


_COLUMNS = """
SELECT d.id, d.client_id, d.kind, d.status, d.reason, d.detail, d.campaign_id, coalesce(c.name, '') AS campaign_name, d.enrollment_id,
  d.step_id, d.lead_id, coalesce(nullif(trim(l.first_name || ' ' || l.last_name), ''), l.email, '') AS lead_name, d.sender_id,
  s.address AS sender, d.to_address AS "to", coalesce(m.subject, d.draft->>'subject', t.subject, '') AS subject, d.message_id, d.due_at,
  d.sent_at, d.attempts, d.phase, d.reply_code, d.reply_text, d.evidence, d.late_accept, d.retry_of, d.conversation_id, d.resolved_by,
  d.resolved_at
FROM deliveries d JOIN senders s ON s.id = d.sender_id
LEFT JOIN campaigns c ON c.id = d.campaign_id LEFT JOIN leads l ON l.id = d.lead_id
LEFT JOIN steps t ON t.id = d.step_id LEFT JOIN messages m ON m.id = d.inbox_message_id
WHERE d.client_id = :client
"""
#: What each filter asks for; those by state and Message-ID in the words of the index that finds them.
_FILTERS = {
    "status": "d.shelf = :shelf AND d.status = :status",
    "message_id": "d.message_id = :message_id AND d.id IN (SELECT k.delivery_id FROM known_message_ids k"
    " WHERE k.client_id = :client AND k.message_id = :message_id)",
    **{name: f"d.{name} = :{name}" for name in ("kind", "campaign_id", "enrollment_id", "lead_id", "sender_id")},
}


def deliveries(
    client_id: int, *, status: str | None = None, kind: str | None = None, campaign_id: int | None = None,
    enrollment_id: int | None = None, lead_id: int | None = None, sender_id: int | None = None, message_id: str | None = None,
    cursor: str | None = None, limit: int = 50,
) -> tuple[list[DeliveryLine], str | None]:  # fmt: skip
    """Newest first, with the next cursor."""
    given = {
        "status": status, "kind": kind, "campaign_id": campaign_id, "enrollment_id": enrollment_id, "lead_id": lead_id,
        "sender_id": sender_id, "message_id": message_id,
    }  # fmt: skip
    wanted = {name: value for name, value in given.items() if value is not None}
    where = "".join(f" AND {asked}" for name, asked in _FILTERS.items() if name in wanted)
    if status is not None:
        wanted["shelf"] = shelf_of(status)
    return _page(client_id, where, wanted, cursor, limit, newest_first=True)


def _page(
    client_id: int, where: str, values: dict[str, Any], cursor: str | None, limit: int, *, newest_first: bool
) -> tuple[list[DeliveryLine], str | None]:
    """One page by id. ``where`` is made of our own names only; values travel as parameters."""
    limit = max(1, min(limit, MOST))
    place = read_cursor(cursor, 1)
    if place is not None:
        where += " AND d.id < :place" if newest_first else " AND d.id > :place"
    order = " ORDER BY d.id DESC LIMIT :limit" if newest_first else " ORDER BY d.id LIMIT :limit"
    given = {**values, "client": client_id, "place": place[0] if place else None, "limit": limit + 1}
    lines = [_line(row) for row in db.session.execute(text(_COLUMNS + where + order), given)]
    return lines[:limit], write_cursor(lines[limit - 1].id) if len(lines) > limit else None


def _line(row: Any) -> DeliveryLine:
    return DeliveryLine(**row._mapping, text=explain(row.reason).text)


def delivery(client_id: int, delivery_id: int) -> DeliveryLine:
    """Raises NotFound."""
    row = db.session.execute(text(_COLUMNS + " AND d.id = :id"), {"client": client_id, "id": delivery_id}).first()
    if row is None:
        raise NotFound
    return _line(row)


def attempts(client_id: int, delivery_id: int) -> list[AttemptLine]:
    """Oldest first. A try that nobody ended (its process died), and whose message has been called off, says so, without a time."""
    rows = db.session.execute(
        text(
            "SELECT a.epoch, a.started_at, a.permitted_at, a.ended_at, CASE WHEN off.id IS NULL THEN a.outcome ELSE 'called_off' END AS outcome,"
            " a.phase, a.code, coalesce(a.text, off.reason) AS text FROM delivery_attempts a LEFT JOIN deliveries off"
            " ON off.id = a.delivery_id AND off.status = 'cancelled' AND a.outcome IS NULL AND a.permitted_at IS NULL"
            " WHERE a.client_id = :client AND a.delivery_id = :id ORDER BY a.epoch"
        ),
        {"client": client_id, "id": delivery_id},
    )
    return [AttemptLine(*row) for row in rows]


def uncertain(client_id: int, *, cursor: str | None = None, limit: int = 50) -> tuple[list[DeliveryLine], str | None]:
    """The page *Not sure*: oldest first."""
    return _page(client_id, " AND d.shelf = 'uncertain'", {}, cursor, limit, newest_first=False)


def failed(client_id: int, *, cursor: str | None = None, limit: int = 50) -> tuple[list[DeliveryLine], str | None]:
    """The page *Failed*: newest first, only those nothing was decided about yet."""
    return _page(client_id, " AND d.shelf = 'failed' AND d.resolved_at IS NULL", {}, cursor, limit, newest_first=True)


def counts(client_id: int) -> dict[str, int]:
    """{"uncertain": n, "failed": n}: what a person should look at."""
    row = db.session.execute(
        text(
            "SELECT (SELECT count(*) FROM deliveries WHERE client_id = :client AND shelf = 'uncertain') AS uncertain,"
            " (SELECT count(*) FROM deliveries WHERE client_id = :client AND shelf = 'failed' AND resolved_at IS NULL) AS failed"
        ),
        {"client": client_id},
    ).one()
    return {"uncertain": row.uncertain, "failed": row.failed}
