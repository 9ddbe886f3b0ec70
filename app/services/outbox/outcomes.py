"""What became of an attempt, written in batches. Only the holder of the present epoch may write a result.

The one exception is a late 2xx: it turns ``uncertain`` into ``sent``, and on a row that a person sent again meanwhile it is
recorded as a double. An explicit refusal gives the counters back; whose fault it was decides who is touched: the recipient's
ends or delays the row, the sender's or provider's pauses the sender and leaves the lead alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.core.db import HOT_LOCK
from app.core.failpoints import Name, point
from app.domain.kind_rules import KIND_RULES
from app.domain.limits import CounterKey
from app.domain.rates import next_retry
from app.domain.reasons import Reason
from app.services.outbox import accepted, calendars, counters
from app.services.outbox.outcome import Outcome as Outcome
from app.services.outbox.outcome import What as What
from app.services.outbox.plain import DELIVERIES, Connection, Question, for_table, rows, run, several

_ROWS = (
    """
SELECT d.id, d.epoch, d.client_id, d.kind, d.status, d.sender_id, d.campaign_id, d.enrollment_id, d.step_id, d.lead_id,
       d.to_address, d.email_key, d.attempts, d.rendered_at, d.counters, d.due_at, d.inbox_message_id, """
    + calendars.COLUMNS
    + """
FROM {table} d JOIN senders s ON s.id = d.sender_id LEFT JOIN mailboxes b ON b.id = d.sender_id
LEFT JOIN campaigns c ON c.id = d.campaign_id WHERE d.id = ANY (%(ids)s::bigint[])
"""
)
# What an accepted message needs before it is locked: no calendar is read for it.
_HOT = "SELECT pg_advisory_xact_lock(%(key)s)"
_WHOSE = "SELECT sender_id, enrollment_id FROM {table} WHERE id = ANY (%(ids)s::bigint[])"
# Nothing is written to the sender of an accepted message unless it has unanswered ones to be forgotten.
_LOCK_SENDERS = """
SELECT id FROM senders WHERE id = ANY (%(ids)s::bigint[]) AND (uncertain_streak > 0 OR id = ANY (%(changed)s::bigint[]))
ORDER BY id FOR NO KEY UPDATE
"""
_LOCK_ENROLLMENTS = "SELECT id FROM enrollments WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE"

_SETTLE = """
WITH given AS (
  SELECT * FROM unnest(%(ids)s::bigint[], %(epochs)s::int[], %(statuses)s::text[], %(reasons)s::text[], %(details)s::text[],
      %(dues)s::timestamptz[], %(tries)s::int[], %(phases)s::text[], %(codes)s::int[], %(enhanced)s::text[],
      %(texts)s::text[], %(forget)s::bool[], %(outcomes)s::text[])
    AS g (id, epoch, status, reason, detail, due_at, tries, phase, code, enhanced, text, forget, outcome)),
 settled AS (
  UPDATE {table} d
  SET status = g.status, reason = g.reason, detail = g.detail, due_at = coalesce(g.due_at, d.due_at),
      attempts = d.attempts + g.tries, phase = g.phase, reply_code = nullif(g.code, 0), reply_enhanced = g.enhanced,
      reply_text = g.text, leased_until = NULL, lease_owner = NULL, answered_at = clock_timestamp(),
      counters = CASE WHEN g.status = 'uncertain' THEN d.counters END,
      mime = CASE WHEN g.forget AND d.permitted_at IS NULL THEN NULL ELSE d.mime END,
      message_id = CASE WHEN g.forget AND d.permitted_at IS NULL THEN NULL ELSE d.message_id END
  FROM given g
  WHERE d.id = g.id AND d.epoch = g.epoch
    AND (coalesce(d.status, '') = 'committing' OR (coalesce(d.status, '') = 'leased' AND g.status <> 'uncertain'))
  RETURNING d.id, d.epoch, d.status, g.outcome),
 tries AS (
  UPDATE delivery_attempts a SET ended_at = clock_timestamp(), outcome = g.outcome, phase = g.phase, code = nullif(g.code, 0),
         enhanced = g.enhanced, text = g.text
  FROM given g WHERE a.delivery_id = g.id AND a.epoch = g.epoch AND a.ended_at IS NULL)
SELECT id, epoch FROM settled
"""


@dataclass(slots=True)
class _Change:
    """What one outcome does to its row."""

    outcome: Outcome
    row: Any
    status: str
    reason: str | None
    due_at: datetime | None = None
    tries: int = 0
    forget: bool = False
    detail: str = ""


def record(connection: Connection, outcomes: Iterable[Outcome], now: datetime, table: str = DELIVERIES) -> list[tuple[int, str]]:
    """Write a batch; call inside a transaction that begins and ends here. Returns (client, topic) pairs for the open pages."""
    wanted = list(outcomes)
    good = [one for one in wanted if one.what is What.ACCEPTED]
    others = [one for one in wanted if one.what is not What.ACCEPTED]
    found, whose = _read(connection, wanted, others, table)
    changes = [_change(one, found[one.delivery_id], now) for one in others if one.delivery_id in found]
    taken = {
        change.row.id: Counter(counters.from_json(entry) for entry in change.row.counters or ()) if change.row.status == "committing"
        else Counter[CounterKey]()
        for change in changes
    }  # fmt: skip
    keys = sorted({key for keys in taken.values() for key in keys})
    senders, whole = _locked(connection, keys, changes, whose, [accepted.whole_question(good, table)] if good else [])
    last = None if changes else Name.OUTCOME_BEFORE_COMMIT
    topics = accepted.record_accepted(connection, good, whole, senders, table, last) if good else []
    settled = _settle(connection, changes, table)
    held = [change for change in changes if (change.row.id, change.outcome.epoch) in settled]
    counters.give_back(connection, _sum(taken[change.row.id] for change in held if change.status != "uncertain"))
    _effects(connection, held, now)
    point(Name.OUTCOME_BEFORE_COMMIT)
    return topics + [topic for change in held for topic in topics_of(change.row)]


def topics_of(row: Any) -> list[tuple[int, str]]:
    """Which open pages a changed delivery concerns."""
    found = [(row.client_id, "counters")]
    if row.campaign_id is not None:
        found.append((row.client_id, f"campaign-{row.campaign_id}"))
    return found


def _read(connection: Connection, wanted: list[Outcome], others: list[Outcome], table: str) -> tuple[dict[int, Any], list[Any]]:
    """Before the locks: the rows of what was not accepted, and whose each one is. Whoever suppresses takes the hot lock first."""
    hot: list[Question] = [(_HOT, {"key": HOT_LOCK})] if any(outcome.suppress for outcome in others) else []
    whole: list[Question] = [(for_table(_ROWS, table), {"ids": [one.delivery_id for one in others]})] if others else []
    said: list[Any] = [one for one in wanted if one.sender_id]
    unsaid = [one.delivery_id for one in wanted if not one.sender_id]
    whose: list[Question] = [(for_table(_WHOSE, table), {"ids": unsaid})] if unsaid else []
    found = several(connection, [*hot, *whole, *whose])
    return {row.id: row for row in found[len(hot)]} if whole else {}, said + found[-1] if whose else said


def _locked(
    connection: Connection, keys: list[CounterKey], changes: list[_Change], whose: list[Any], last: list[Question]
) -> tuple[set[int], list[Any]]:
    """Take the locks of the batch in everybody's order; the senders that are locked, and what ``last`` found."""
    locks = counters.locking(keys, [])
    senders = len(locks)
    locks.append((_LOCK_SENDERS, {"ids": sorted({row.sender_id for row in whose}), "changed": [change.row.sender_id for change in changes]}))
    enrollments = sorted({row.enrollment_id for row in whose if row.enrollment_id is not None})
    if enrollments:
        locks.append((_LOCK_ENROLLMENTS, {"ids": enrollments}))
    found = several(connection, [*locks, *last])
    return {row.id for row in found[senders]}, found[-1]


def _sum(parts: Iterable[Counter[CounterKey]]) -> dict[CounterKey, int]:
    total: Counter[CounterKey] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)


def _change(outcome: Outcome, row: Any, now: datetime) -> _Change:
    return _CHANGES[outcome.what](outcome, row, now)


def _refused(outcome: Outcome, row: Any, _now: datetime) -> _Change:
    return _Change(outcome, row, "failed", Reason.BOUNCED if outcome.suppress else Reason.REFUSED, tries=1)


def _later(outcome: Outcome, row: Any, now: datetime) -> _Change:
    """The retry ladder, inside the calendar; given up after it, the row has failed."""
    at = next_retry(row.attempts + 1, row.rendered_at or now, now, outcome.wait_s)
    if at is not None and KIND_RULES[row.kind].calendar:
        at = calendars.opening_after(calendars.calendar_of(row), at, row.enrollment_id)
    if at is None:
        return _Change(outcome, row, "failed", Reason.REFUSED, tries=1)
    return _Change(outcome, row, "queued", Reason.PROVIDER_BACKOFF, due_at=at, tries=1)


def _trouble(outcome: Outcome, row: Any, _now: datetime) -> _Change:
    reasons = {"auth_failed": Reason.SENDER_AUTH_FAILED, "paused": Reason.SENDER_PAUSED}
    return _Change(outcome, row, "queued", reasons.get(outcome.pause_sender, Reason.PROVIDER_BACKOFF))


def _returned(outcome: Outcome, row: Any, _now: datetime) -> _Change:
    return _Change(outcome, row, "queued", None)


def _unknown(outcome: Outcome, row: Any, _now: datetime) -> _Change:
    return _Change(outcome, row, "uncertain", Reason.PREVIOUS_UNCERTAIN)


def _unwritable(outcome: Outcome, row: Any, _now: datetime) -> _Change:
    """Waits for a person where a lead can be corrected; what a person wrote fails visibly."""
    if row.enrollment_id is None:
        return _Change(outcome, row, "failed", outcome.reason, detail=outcome.text)
    return _Change(outcome, row, "queued", outcome.reason, forget=True, detail=outcome.text)


_CHANGES: dict[What, Callable[[Outcome, Any, datetime], _Change]] = {
    What.REFUSED: _refused,
    What.LATER: _later,
    What.TROUBLE: _trouble,
    What.RETURNED: _returned,
    What.UNKNOWN: _unknown,
    What.UNWRITABLE: _unwritable,
}


def _settle(connection: Connection, changes: list[_Change], table: str) -> set[tuple[int, int]]:
    if not changes:
        return set()
    values = {
        "ids": [change.row.id for change in changes],
        "epochs": [change.outcome.epoch for change in changes],
        "statuses": [change.status for change in changes],
        "reasons": [None if change.reason is None else str(change.reason) for change in changes],
        "details": [change.detail for change in changes],
        "dues": [change.due_at for change in changes],
        "tries": [change.tries for change in changes],
        "phases": [change.outcome.phase or None for change in changes],
        "codes": [change.outcome.code for change in changes],
        "enhanced": [change.outcome.enhanced or None for change in changes],
        "texts": [_storable(change.outcome.text) or None for change in changes],
        "forget": [change.forget for change in changes],
        "outcomes": [f"{change.outcome.what}:{change.outcome.reason}".rstrip(":") for change in changes],
    }
    return {(row.id, row.epoch) for row in rows(connection, for_table(_SETTLE, table), values)}


def _storable(text: str) -> str:
    return text.replace("\x00", "")[:2_000]


_END_FAILED = """
UPDATE enrollments e SET status = g.status, reason = g.reason, detail = g.detail, ended_at = %(now)s, next_at = NULL
FROM unnest(%(ids)s::bigint[], %(statuses)s::text[], %(reasons)s::text[], %(details)s::text[]) AS g (id, status, reason, detail)
WHERE e.id = g.id AND e.status IN ('waiting', 'in_flight', 'held', 'paused', 'needs_attention')
"""
_ATTENTION = """
UPDATE enrollments e SET status = 'needs_attention', reason = g.reason, detail = g.detail
FROM unnest(%(ids)s::bigint[], %(reasons)s::text[], %(details)s::text[]) AS g (id, reason, detail)
WHERE e.id = g.id AND e.status IN ('waiting', 'in_flight')
"""
_HOLD = """
UPDATE enrollments SET status = 'held', reason = 'previous_uncertain', held_until = NULL
WHERE id = ANY (%(ids)s::bigint[]) AND status IN ('waiting', 'in_flight')
"""
_REST = """
UPDATE senders s SET backoff_until = greatest(s.backoff_until, g.until),
  status = CASE WHEN g.status <> '' AND s.status = 'active' THEN g.status ELSE s.status END,
  status_reason = CASE WHEN g.status <> '' AND s.status = 'active' THEN g.reason ELSE s.status_reason END,
  status_since = CASE WHEN g.status <> '' AND s.status = 'active' THEN clock_timestamp() ELSE s.status_since END,
  status_product_at = CASE WHEN g.status <> '' AND s.status = 'active' THEN %(now)s ELSE s.status_product_at END,
  status_epoch = s.status_epoch + CASE WHEN g.status <> '' AND s.status = 'active' THEN 1 ELSE 0 END
FROM unnest(%(ids)s::bigint[], %(untils)s::timestamptz[], %(statuses)s::text[], %(reasons)s::text[])
     AS g (id, until, status, reason)
WHERE s.id = g.id
"""
# five unanswered messages without an answered one between them: the sender rests until a person looks
_STREAK = """
UPDATE senders s SET uncertain_streak = s.uncertain_streak + 1,
  status = CASE WHEN g.rests THEN 'paused' ELSE s.status END,
  status_reason = CASE WHEN g.rests THEN 'circuit_open' ELSE s.status_reason END,
  status_since = CASE WHEN g.rests THEN clock_timestamp() ELSE s.status_since END,
  status_product_at = CASE WHEN g.rests THEN %(now)s ELSE s.status_product_at END,
  status_epoch = s.status_epoch + g.rests::int
FROM (SELECT id, uncertain_streak >= 4 AND status = 'active' AS rests FROM senders WHERE id = %(id)s FOR NO KEY UPDATE) g
WHERE s.id = g.id
"""


def _effects(connection: Connection, held: list[_Change], now: datetime) -> None:
    """What the settled outcomes do to leads and senders."""
    failed = [change for change in held if change.status == "failed"]
    of_leads = [change for change in failed if change.row.enrollment_id is not None]
    if of_leads:
        values = {
            "ids": [change.row.enrollment_id for change in of_leads],
            "statuses": ["bounced" if change.outcome.suppress else "failed" for change in of_leads],
            "reasons": [str(change.reason) for change in of_leads],
            "details": [_storable(change.outcome.text) for change in of_leads],
            "now": now,
        }
        run(connection, _END_FAILED, values)
    _suppress(connection, [change for change in failed if change.outcome.suppress], now)
    unwritable = [change for change in held if change.outcome.what is What.UNWRITABLE and change.row.enrollment_id is not None]
    if unwritable:
        values = {
            "ids": [change.row.enrollment_id for change in unwritable],
            "reasons": [change.outcome.reason for change in unwritable],
            "details": [_storable(change.outcome.text) for change in unwritable],
        }
        run(connection, _ATTENTION, values)
    unknown = [change for change in held if change.status == "uncertain"]
    if unknown:
        hold_for_uncertain(connection, [change.row for change in unknown], now)
    _rest(connection, [change for change in held if change.outcome.what is What.TROUBLE], now)


def hold_for_uncertain(connection: Connection, uncertain: list[Any], now: datetime) -> None:
    """The leads wait for evidence or a person; a sender with five in a row rests. Rows: enrollment_id, sender_id."""
    run(connection, _HOLD, {"ids": [row.enrollment_id for row in uncertain if row.enrollment_id is not None]})
    for row in sorted(uncertain, key=lambda row: row.sender_id):
        run(connection, _STREAK, {"id": row.sender_id, "now": now})


def _rest(connection: Connection, troubled: list[_Change], now: datetime) -> None:
    by_sender: dict[int, _Change] = {}
    for change in troubled:
        before = by_sender.get(change.row.sender_id)
        if before is None or not before.outcome.pause_sender:
            by_sender[change.row.sender_id] = change
    if not by_sender:
        return
    waits = [change.outcome.wait_s for change in by_sender.values()]
    values = {
        "ids": list(by_sender),
        "untils": [None if wait is None else now + timedelta(seconds=wait) for wait in waits],
        "statuses": [change.outcome.pause_sender for change in by_sender.values()],
        "reasons": [change.outcome.reason for change in by_sender.values()],
        "now": now,
    }
    run(connection, _REST, values)


_SUPPRESS = """
INSERT INTO suppressions (client_id, email, email_key, reason, source, campaign_id, delivery_id, at)
VALUES (%(client)s, %(email)s, %(key)s, 'bounced', 'bounce', %(campaign)s, %(delivery)s, %(now)s) ON CONFLICT DO NOTHING
"""
_BOUNCED_LEAD = "UPDATE leads SET bounced_at = coalesce(bounced_at, %(now)s) WHERE client_id = %(client)s AND email_key = %(key)s"
_BOUNCED_ACTIVITY = """
INSERT INTO activities (client_id, kind, channel, campaign_id, enrollment_id, step_id, lead_id, sender_id, delivery_id, meta, at)
VALUES (%(client)s, 'mail_bounced', 'email', %(campaign)s, %(enrollment)s, %(step)s, %(lead)s, %(sender)s, %(delivery)s,
        jsonb_build_object('text', %(text)s::text), %(now)s)
"""
_OTHER_WALKS = """
WITH others AS (
  SELECT e.id FROM enrollments e JOIN leads l ON l.id = e.lead_id
  WHERE l.client_id = %(client)s AND l.email_key = %(key)s
    AND e.status IN ('waiting', 'in_flight', 'held', 'paused', 'needs_attention') ORDER BY e.id FOR NO KEY UPDATE OF e),
 ended AS (
  UPDATE enrollments e SET status = 'bounced', reason = 'bounced', ended_at = %(now)s, next_at = NULL FROM others
  WHERE e.id = others.id RETURNING e.id)
UPDATE deliveries d SET status = 'cancelled', reason = 'bounced', leased_until = NULL, lease_owner = NULL
FROM ended WHERE d.enrollment_id = ended.id AND d.status IN ('queued', 'leased')
"""


def _suppress(connection: Connection, bounced: list[_Change], now: datetime) -> None:
    """The address does not exist: nobody of this client writes to it again (the hot lock is held exclusively)."""
    for change in bounced:
        row = change.row
        values = {
            "client": row.client_id, "email": row.to_address, "key": row.email_key, "campaign": row.campaign_id, "now": now,
            "delivery": row.id, "enrollment": row.enrollment_id, "step": row.step_id, "lead": row.lead_id,
            "sender": row.sender_id, "text": _storable(change.outcome.text),
        }  # fmt: skip
        for statement in (_SUPPRESS, _BOUNCED_LEAD, _BOUNCED_ACTIVITY, _OTHER_WALKS):
            run(connection, statement, values)
