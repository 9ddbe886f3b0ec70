"""The leads of one campaign: where each walk stands, and what holds it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from app.core import clock
from app.core.extensions import db
from app.domain.reasons import EXPLANATIONS, Explanation, Reason
from app.domain.sequence import in_order
from app.queries.campaign_steps import nodes_of
from app.queries.places import MOST, read_cursor, write_cursor


@dataclass(frozen=True)
class PersonLine:
    """One lead of the campaign and where its walk stands. ``text``/``frees``: why it waits or ended, what would free it."""

    enrollment_id: int
    lead_id: int
    name: str
    email: str
    company: str
    status: str
    reason: str | None
    text: str
    frees: str
    detail: str
    step_number: int | None  # the last step that was sent, counted from 1
    last_sent_at: datetime | None
    next_at: datetime | None
    sender: str


def explain(reason: str | None) -> Explanation:
    """The sentence of a reason code; empty for none or one we do not know."""
    try:
        return EXPLANATIONS[Reason(reason or "")]
    except (ValueError, KeyError):
        return Explanation("", "")


def step_numbers(campaign_id: int) -> dict[int, int]:
    """Living step → its number from 1."""
    return {node.id: number for number, node in enumerate(in_order(nodes_of(campaign_id)), 1)}


def _listed(*reasons: Reason) -> str:
    return ", ".join(f"'{one}'" for one in reasons)


#: Reasons that a time ends: the row was moved to that time, and from then on it waits for its turn only.
_TIMED = _listed(
    Reason.OUTSIDE_WINDOW, Reason.WEEKEND, Reason.HOLIDAY, Reason.CLOSED_DAY, Reason.DELAY_NOT_OVER, Reason.MIN_GAP,
    Reason.SENDER_DAY_CAP, Reason.SENDER_HOUR_CAP, Reason.CAMPAIGN_DAY_CAP, Reason.NEW_LEADS_CAP, Reason.CLIENT_HOUR_CAP,
    Reason.INSTANCE_MINUTE_CAP, Reason.INSTANCE_HOUR_CAP, Reason.DOMAIN_BULK_GATE, Reason.PROVIDER_BACKOFF,
)  # fmt: skip
#: Reasons that are read from where they stand now; one left on the row says how it was at its last try.
_ELSEWHERE = _listed(
    Reason.STOPPED_INSTANCE, Reason.STOPPED_CLIENT, Reason.STOPPED_SENDER, Reason.CAMPAIGN_PAUSED, Reason.SENDER_CONNECTING,
    Reason.SENDER_PAUSED, Reason.SENDER_AUTH_FAILED, Reason.CIRCUIT_OPEN,
)  # fmt: skip
#: Why a walk stands still, as one expression over e (enrollments), c (campaigns), d (its unfinished delivery, or NULL) and box
#: (its sender); ``:now`` is product time. A row made out is passed over by the claim while its mailbox, client or the
#: installation stands still, so nobody writes that reason down: it is read here, in the order of the permit.
REASON = f"""
  CASE WHEN e.status IN ('replied', 'bounced', 'unsubscribed', 'stopped', 'finished', 'skipped', 'failed') THEN coalesce(e.reason, e.status)
       WHEN e.status IN ('needs_attention', 'held', 'paused') THEN coalesce(e.reason,
         CASE e.status WHEN 'paused' THEN 'lead_paused' WHEN 'held' THEN 'out_of_office_until' ELSE 'needs_attention_variable' END)
       WHEN d.status = 'uncertain' THEN 'previous_uncertain'
       WHEN c.status = 'draft' THEN 'draft' WHEN c.status = 'paused' THEN 'campaign_paused'
       WHEN c.status = 'stopped' THEN 'stopped_campaign'
       WHEN e.sender_id IS NULL THEN 'no_sender'
       WHEN d.status = 'queued' THEN coalesce(CASE
         WHEN box.status = 'auth_failed' THEN 'sender_auth_failed' WHEN box.status = 'connecting' THEN 'sender_connecting'
         WHEN box.backoff_until > :now THEN 'provider_backoff'
         WHEN EXISTS (SELECT 1 FROM switches w WHERE w.scope_kind = 'instance' AND w.stopped) THEN 'stopped_instance'
         WHEN EXISTS (SELECT 1 FROM switches w WHERE w.scope_kind = 'client' AND w.scope_id = e.client_id AND w.stopped)
           THEN 'stopped_client'
         WHEN box.status = 'paused' AND box.status_reason = 'stopped' THEN 'stopped_sender'
         WHEN box.status = 'paused' AND box.status_reason = 'circuit_open' THEN 'circuit_open'
         WHEN box.status <> 'active' OR box.deleted_at IS NOT NULL THEN 'sender_paused' END,
         CASE WHEN d.reason NOT IN ({_ELSEWHERE}) AND (d.due_at > :now OR d.reason NOT IN ({_TIMED})) THEN d.reason
           WHEN d.due_at > :now THEN 'delay_not_over' WHEN box.next_at > :now THEN 'min_gap' END, 'in_flight')
       WHEN e.status = 'in_flight' THEN 'in_flight'
       ELSE coalesce(e.reason, 'delay_not_over') END
"""
JOINED = """
FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id
LEFT JOIN LATERAL (
  SELECT status, reason, due_at, sender_id FROM deliveries WHERE enrollment_id = e.id AND status IN ('queued', 'leased', 'committing', 'uncertain')
  ORDER BY id DESC LIMIT 1) d ON true
LEFT JOIN senders box ON box.id = coalesce(d.sender_id, e.sender_id)
"""
#: Which of the campaign's leads a filter means, over e, l and the reason computed above.
_FITS = """
   AND (cast(:status AS text) IS NULL OR e.status = :status)
   AND (:search = '' OR l.email ILIKE '%' || :search || '%' OR l.company ILIKE '%' || :search || '%'
        OR l.first_name || ' ' || l.last_name ILIKE '%' || :search || '%')
"""
_PEOPLE = f"""
SELECT * FROM (
 SELECT e.id AS enrollment_id, e.lead_id, trim(l.first_name || ' ' || l.last_name) AS name, coalesce(l.email, '') AS email, l.company,
        e.status, {REASON} AS reason, e.detail, e.last_step_id, e.last_sent_at,
        coalesce(CASE WHEN e.status = 'held' THEN e.held_until END, greatest(
          coalesce(CASE WHEN d.status = 'queued' THEN d.due_at END, e.next_at),
          CASE WHEN e.status IN ('waiting', 'in_flight') AND box.backoff_until > :now THEN box.backoff_until END)) AS next_at,
        coalesce(s.address, '') AS sender
 {JOINED} JOIN leads l ON l.id = e.lead_id LEFT JOIN senders s ON s.id = e.sender_id
 WHERE e.campaign_id = :campaign AND e.client_id = :client {_FITS}
   AND (cast(:after AS bigint) IS NULL OR e.id > :after) AND (cast(:one AS bigint) IS NULL OR e.id = :one)
) p WHERE (cast(:reason AS text) IS NULL OR p.reason = :reason) ORDER BY p.enrollment_id LIMIT :limit
"""


def people(
    client_id: int, campaign_id: int, *, status: str | None = None, reason: str | None = None, search: str = "",
    cursor: str | None = None, limit: int = 50, now: datetime | None = None,
) -> tuple[list[PersonLine], str | None]:  # fmt: skip
    """Leads of the campaign in the order they entered, with the next cursor. ``now``: product time."""
    limit = max(1, min(limit, MOST))
    place = read_cursor(cursor, 1)
    values: dict[str, Any] = {
        "client": client_id, "campaign": campaign_id, "status": status, "reason": reason, "search": _literal(search), "one": None,
        "after": place[0] if place else None, "limit": limit + 1, "now": now or clock.now(),
    }  # fmt: skip
    lines = _lines(campaign_id, values)
    return lines[:limit], write_cursor(lines[limit - 1].enrollment_id) if len(lines) > limit else None


def person(client_id: int, campaign_id: int, enrollment_id: int) -> PersonLine | None:
    """One line of the list."""
    values: dict[str, Any] = {
        "client": client_id, "campaign": campaign_id, "status": None, "reason": None, "search": "", "one": enrollment_id,
        "after": None, "limit": 1, "now": clock.now(),
    }  # fmt: skip
    return next(iter(_lines(campaign_id, values)), None)


def _lines(campaign_id: int, values: dict[str, Any]) -> list[PersonLine]:
    numbers = step_numbers(campaign_id)
    lines = []
    for row in db.session.execute(text(_PEOPLE), values):
        words = explain(row.reason)
        lines.append(
            PersonLine(
                enrollment_id=row.enrollment_id,
                lead_id=row.lead_id,
                name=row.name or row.email,
                email=row.email,
                company=row.company,
                status=row.status,
                reason=row.reason,
                text=words.text,
                frees=words.frees,
                detail=row.detail,
                step_number=numbers.get(row.last_step_id),
                last_sent_at=row.last_sent_at,
                next_at=row.next_at,
                sender=row.sender,
            )
        )
    return lines


def people_counts(client_id: int, campaign_id: int) -> dict[str, int]:
    """Enrollments by status; the key ``all`` for the sum."""
    rows = db.session.execute(
        text("SELECT status, count(*) FROM enrollments WHERE client_id = :client AND campaign_id = :campaign GROUP BY status"),
        {"client": client_id, "campaign": campaign_id},
    )
    counts = {str(row[0]): int(row[1]) for row in rows}
    return {**counts, "all": sum(counts.values())}


def _literal(search: str) -> str:
    return search.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


@dataclass(frozen=True)
class PeopleFilter:
    """What is looked for among the leads of one campaign; empty: anything."""

    client_id: int
    campaign_id: int
    status: str = ""
    reason: str = ""
    search: str = ""


_FITTING = f"""
SELECT {{what}} FROM (
 SELECT e.lead_id, {REASON} AS reason {JOINED} JOIN leads l ON l.id = e.lead_id
 WHERE e.campaign_id = :campaign AND e.client_id = :client {_FITS} AND e.lead_id > :after AND e.lead_id <= :newest
) p WHERE (cast(:reason AS text) IS NULL OR p.reason = :reason) {{rest}}
"""


def _fitting(found: PeopleFilter, what: str, rest: str = "", **more: int) -> Any:
    values = {
        "client": found.client_id, "campaign": found.campaign_id, "status": found.status or None, "reason": found.reason or None,
        "search": _literal(found.search), "after": 0, "newest": 2**62, "limit": 0, "now": clock.now(), **more,
    }  # fmt: skip
    return db.session.execute(text(_FITTING.format(what=what, rest=rest)), values)


def count(found: PeopleFilter) -> int:
    """How many leads of the campaign fit."""
    return int(_fitting(found, "count(*)").scalar_one())


def newest(found: PeopleFilter) -> int:
    """The highest lead id that fits; 0 for none."""
    return int(_fitting(found, "coalesce(max(lead_id), 0)").scalar_one())


def ids_between(found: PeopleFilter, after: int, newest: int, limit: int) -> list[int]:
    """Leads that fit with ids above ``after`` and up to ``newest``, the oldest first."""
    rows = _fitting(found, "lead_id", "ORDER BY lead_id LIMIT :limit", after=after, newest=newest, limit=limit)
    return list(rows.scalars())
