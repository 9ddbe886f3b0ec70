"""The sequence tick's work: every lead whose time has come gets its next message, no more than its sender can still send.

Set-based and in short transactions: rooms of senders and campaigns are counted once per batch, the due leads of senders with
room are locked (skipping what somebody else holds) in the order in which they are due, and rows are born with one statement.
What cannot be born keeps its place and its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from app.core.bell import DISPATCH, live_after_commit, ring_after_commit
from app.core.extensions import db
from app.domain.address import recipient_provider
from app.domain.reasons import Reason
from app.domain.sequence import StepNode
from app.domain.statuses import EnrollmentStatus
from app.domain.working_time import closed_reason, next_open
from app.queries.campaign_steps import nodes_of, ways_on
from app.services.enrollments import Ended, end_locked
from app.services.outbox import calendars
from app.services.outbox.plain import plain_connection, rows, run
from app.services.sequence_rooms import Rooms, count_rooms

#: A message is made out at most this long (product time) before it is due.
HORIZON = timedelta(minutes=15)
#: How many leads one transaction looks at.
BATCH = 5_000
SENDERS_AT_ONCE = 50

_DUE = (
    """
SELECT e.id, e.client_id, e.campaign_id, e.lead_id, e.sender_id, e.next_at, e.last_step_id, l.email, l.email_key,
  l.bounced_at IS NOT NULL AS bounced,
  EXISTS (SELECT 1 FROM suppressions p WHERE p.client_id = e.client_id AND p.email_key = l.email_key) AS suppressed_client,
  EXISTS (SELECT 1 FROM global_suppressions g WHERE g.email_key = l.email_key) AS suppressed_global, """
    + calendars.COLUMNS
    + """
FROM unnest(%(senders)s::bigint[]) AS r (sender_id)
CROSS JOIN LATERAL (
  SELECT n.* FROM enrollments n
  WHERE n.sender_id = r.sender_id AND n.status = 'waiting' AND n.next_at <= %(until)s
    AND n.campaign_id = ANY (%(open)s::bigint[])
    AND (n.last_step_id IS NOT NULL OR n.campaign_id <> ALL (%(no_new)s::bigint[]))
    AND EXISTS (SELECT 1 FROM campaign_senders k WHERE k.campaign_id = n.campaign_id AND k.sender_id = n.sender_id)
  ORDER BY n.next_at, n.id LIMIT %(look)s FOR UPDATE OF n SKIP LOCKED) e
JOIN campaigns c ON c.id = e.campaign_id JOIN leads l ON l.id = e.lead_id
JOIN senders s ON s.id = e.sender_id LEFT JOIN mailboxes b ON b.id = e.sender_id
ORDER BY e.next_at, e.id
"""
)

_BEAR = """
WITH born AS (
  INSERT INTO deliveries (idempotency_key, client_id, kind, sender_id, campaign_id, enrollment_id, step_id, lead_id, due_at,
                          to_address, email_key, recipient_domain, recipient_provider, first_of_lead)
  SELECT 'step:' || g.enrollment_id || ':' || g.step_id, g.client_id, 'campaign_step', g.sender_id, g.campaign_id, g.enrollment_id,
         g.step_id, g.lead_id, g.due_at, g.to_address, g.email_key, g.domain, g.provider, g.first
  FROM unnest(%(clients)s::bigint[], %(senders)s::bigint[], %(campaigns)s::bigint[], %(enrollments)s::bigint[], %(steps)s::bigint[],
              %(leads)s::bigint[], %(dues)s::timestamptz[], %(to)s::text[], %(keys)s::text[], %(domains)s::text[],
              %(providers)s::text[], %(firsts)s::bool[]) WITH ORDINALITY
       AS g (client_id, sender_id, campaign_id, enrollment_id, step_id, lead_id, due_at, to_address, email_key, domain, provider, first, n)
  ORDER BY g.n ON CONFLICT (idempotency_key) DO NOTHING RETURNING enrollment_id)
UPDATE enrollments e SET next_step_id = g.step_id,
  status = CASE WHEN born.enrollment_id IS NOT NULL THEN 'in_flight' ELSE e.status END,
  reason = CASE WHEN born.enrollment_id IS NOT NULL THEN NULL ELSE 'in_flight' END,
  -- a message of this step exists already and is neither on its way nor sent: looked at again tomorrow, never sent twice
  next_at = CASE WHEN born.enrollment_id IS NOT NULL THEN g.due_at ELSE %(tomorrow)s END
FROM unnest(%(enrollments)s::bigint[], %(steps)s::bigint[], %(dues)s::timestamptz[]) AS g (id, step_id, due_at)
LEFT JOIN born ON born.enrollment_id = g.id WHERE e.id = g.id
"""
_LATER = """
UPDATE enrollments e SET next_at = g.at, reason = g.reason
FROM unnest(%(ids)s::bigint[], %(ats)s::timestamptz[], %(reasons)s::text[]) AS g (id, at, reason) WHERE e.id = g.id
"""
_NO_ADDRESS = "UPDATE enrollments SET status = 'needs_attention', reason = 'needs_attention_address' WHERE id = ANY (%(ids)s::bigint[])"


@dataclass
class Planned:
    """What one batch did: messages made out, walks that ended, leads put off to the next opening, leads a person must look at."""

    born: int = 0
    ended: int = 0
    put_off: int = 0
    attention: int = 0

    @property
    def changed(self) -> int:
        return self.born + self.ended + self.put_off + self.attention

    def add(self, other: Planned) -> None:
        self.born += other.born
        self.ended += other.ended
        self.put_off += other.put_off
        self.attention += other.attention


@dataclass
class _Batch:
    """What was decided for the leads of one batch."""

    now: datetime
    rooms: Rooms
    births: list[tuple[Any, StepNode, datetime]] = field(default_factory=list)
    later: list[tuple[int, datetime, str]] = field(default_factory=list)
    ends: list[tuple[Any, EnrollmentStatus, Reason]] = field(default_factory=list)
    attention: list[int] = field(default_factory=list)


def plan_batch(now: datetime) -> Planned:
    """One batch in the present transaction: take the due leads of senders with room. Call until nothing changes."""
    until = now + HORIZON
    rooms = count_rooms(now, until)
    planned = Planned()
    ready = [sender for sender, room in rooms.senders.items() if room > 0]
    ways: dict[int, dict[int | None, StepNode | None]] = {}
    while ready and planned.changed == 0:  # senders whose first leads are all held by something else must not hide the others
        some, ready = ready[:SENDERS_AT_ONCE], ready[SENDERS_AT_ONCE:]
        batch = _Batch(now, rooms)
        for row in _due(some, rooms, until):
            if row.campaign_id not in ways:
                ways[row.campaign_id] = ways_on(nodes_of(row.campaign_id))
            _decide(batch, row, ways[row.campaign_id].get(row.last_step_id), until)
        planned.add(_write(batch))
    return planned


def _due(senders: Sequence[int], rooms: Rooms, until: datetime) -> list[Any]:
    return rows(
        plain_connection(),
        _DUE,
        {
            "senders": list(senders), "until": until, "open": rooms.open_campaigns, "no_new": rooms.without_new_leads,
            "look": max(100, BATCH // len(senders)),
        },
    )  # fmt: skip


def _decide(batch: _Batch, row: Any, step: StepNode | None, until: datetime) -> None:
    if step is None:
        batch.ends.append((row, EnrollmentStatus.FINISHED, Reason.FINISHED))
    elif row.suppressed_global or row.suppressed_client:
        reason = Reason.SUPPRESSED_GLOBAL if row.suppressed_global else Reason.SUPPRESSED_CLIENT
        batch.ends.append((row, EnrollmentStatus.SKIPPED, reason))
    elif row.bounced:
        batch.ends.append((row, EnrollmentStatus.BOUNCED, Reason.BOUNCED))
    elif not row.email_key:
        batch.attention.append(row.id)
    else:
        _decide_time(batch, row, step, until)


def _decide_time(batch: _Batch, row: Any, step: StepNode, until: datetime) -> None:
    """Born now, or put off to the opening, or left in its place because its sender or campaign has no room."""
    calendar = calendars.calendar_of(row)
    at = max(row.next_at, batch.now)
    opening = next_open(calendar, at, row.id) if calendar is not None else None
    if calendar is None or opening is None:
        batch.later.append((row.id, batch.now + timedelta(days=1), str(Reason.OUTSIDE_WINDOW)))
    elif opening > until:
        batch.later.append((row.id, opening, str(closed_reason(calendar, at, row.id) or Reason.OUTSIDE_WINDOW)))
    elif batch.rooms.take(row.sender_id, row.campaign_id, first=row.last_step_id is None):
        batch.births.append((row, step, opening))


def _write(batch: _Batch) -> Planned:
    connection = plain_connection()
    if batch.births:
        run(connection, _BEAR, _columns(batch))
        ring_after_commit(DISPATCH)
    if batch.later:
        ids, ats, reasons = zip(*batch.later, strict=True)
        run(connection, _LATER, {"ids": list(ids), "ats": list(ats), "reasons": list(reasons)})
    if batch.attention:
        run(connection, _NO_ADDRESS, {"ids": batch.attention})
    groups: dict[tuple[int, EnrollmentStatus, Reason], list[Ended]] = {}
    for row, status, reason in batch.ends:
        groups.setdefault((row.client_id, status, reason), []).append(Ended(row.id, row.campaign_id, row.lead_id))
    for (client_id, status, reason), ended in groups.items():
        end_locked(client_id, ended, status, reason, batch.now)
    for client_id, campaign_id in sorted({(row.client_id, row.campaign_id) for row, *_ in batch.births}):
        live_after_commit(client_id, f"campaign-{campaign_id}")
    return Planned(len(batch.births), len(batch.ends), len(batch.later), len(batch.attention))


def _columns(batch: _Batch) -> dict[str, Any]:
    domains = [row.email_key.rpartition("@")[2] for row, *_ in batch.births]
    providers = {domain: str(recipient_provider(domain)) for domain in set(domains)}
    births = batch.births
    return {
        "clients": [row.client_id for row, *_ in births],
        "senders": [row.sender_id for row, *_ in births],
        "campaigns": [row.campaign_id for row, *_ in births],
        "enrollments": [row.id for row, *_ in births],
        "steps": [step.id for _, step, _ in births],
        "leads": [row.lead_id for row, *_ in births],
        "dues": [due for *_, due in births],
        "to": [row.email for row, *_ in births],
        "keys": [row.email_key for row, *_ in births],
        "domains": domains,
        "providers": [providers[domain] for domain in domains],
        "firsts": [row.last_step_id is None for row, *_ in births],
        "tomorrow": batch.now + timedelta(days=1),
    }


_NOTE = """
WITH held AS (SELECT * FROM unnest(%(senders)s::bigint[], %(reasons)s::text[]) AS h (sender_id, reason)),
 filled AS (SELECT * FROM unnest(%(campaigns)s::bigint[], %(why)s::text[]) AS f (campaign_id, reason)),
 late AS (
  SELECT e.id, CASE
    WHEN NOT EXISTS (SELECT 1 FROM campaign_senders k WHERE k.campaign_id = e.campaign_id AND k.sender_id = e.sender_id) THEN 'no_sender'
    WHEN h.reason IS NOT NULL THEN h.reason
    WHEN f.reason = 'campaign_day_cap' OR (f.reason = 'new_leads_cap' AND e.last_step_id IS NULL) THEN f.reason
    ELSE 'min_gap' END AS reason
  FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id AND c.status = 'running'
  LEFT JOIN held h ON h.sender_id = e.sender_id LEFT JOIN filled f ON f.campaign_id = e.campaign_id
  WHERE e.status = 'waiting' AND e.next_at <= %(now)s),
 chosen AS (
  SELECT e.id, late.reason FROM enrollments e JOIN late ON late.id = e.id WHERE e.reason IS DISTINCT FROM late.reason
  ORDER BY e.id LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED)
UPDATE enrollments e SET reason = chosen.reason FROM chosen WHERE e.id = chosen.id
"""


def note_reasons(now: datetime, limit: int = 20_000) -> int:
    """Write down why leads that are due still wait. Returns how many reasons changed."""
    rooms = count_rooms(now, now + HORIZON)
    values = {
        "senders": list(rooms.held), "reasons": [str(reason) for reason in rooms.held.values()],
        "campaigns": list(rooms.full), "why": [str(reason) for reason in rooms.full.values()],
        "now": now, "limit": limit,
    }  # fmt: skip
    return run(plain_connection(), _NOTE, values)


_FINISH = text(
    "UPDATE campaigns c SET status = 'finished', finished_at = :now, status_at = clock_timestamp(), status_product_at = :now,"
    " status_epoch = status_epoch + 1, version = version + 1"
    " WHERE c.status = 'running' AND EXISTS (SELECT 1 FROM enrollments e WHERE e.campaign_id = c.id)"
    " AND NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.campaign_id = c.id"
    "   AND e.status IN ('waiting', 'in_flight', 'needs_attention', 'held', 'paused'))"
    " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.campaign_id = c.id AND d.shelf IN ('held', 'uncertain'))"
    " RETURNING c.id, c.client_id"
)


def finish_campaigns(now: datetime) -> list[int]:
    """Campaigns in which every walk has ended are finished; their ids."""
    found = db.session.execute(_FINISH, {"now": now}).all()
    for campaign_id, client_id in found:
        live_after_commit(client_id, "campaigns", f"campaign-{campaign_id}")
    return [row[0] for row in found]
