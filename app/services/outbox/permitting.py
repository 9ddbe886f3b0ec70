"""The permit: the last look, directly before the final dot. Whoever stopped, paused, answered or left before it has won.

One short transaction of several statements, each with its own snapshot, in everybody's lock order:

1. the hot lock, shared: switches, pauses, caps and suppressions cannot change until we commit (they take it exclusively);
2. the counters of the batch, made where missing (unless this connection has met them) and locked in key order;
3. the senders, then the enrollments, each in id order;
4. the deliveries with all facts that their kind must heed, read anew under those locks;
5. the answer: the first reason that holds (higher rules first), or a place within what every counter has left;
6. one UPDATE to ``committing``, and what was refused goes back to the queue or is cancelled.

The places are given one by one in the order in which the messages are due, under the locks: with several counters per
message a numbering per counter would let a message refused by one cap use up another cap's place (decision 0040).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from app.channels.base import Permit
from app.core.db import HOT_LOCK
from app.core.failpoints import Name, point
from app.domain.kind_rules import KIND_RULES, KindRule
from app.domain.limits import CounterKey, Limit
from app.domain.reasons import Reason
from app.domain.working_time import closed_reason
from app.services.outbox import calendars, counters
from app.services.outbox.calendars import Calendars
from app.services.outbox.counters import Added, HouseCaps, Use
from app.services.outbox.kinds import with_rules
from app.services.outbox.plain import DELIVERIES, Connection, Question, for_table, met_by, rows, several

#: Reasons after which nothing can free the row: it is cancelled. All others keep it.
FINAL = frozenset(
    {
        Reason.SUPPRESSED_CLIENT, Reason.SUPPRESSED_GLOBAL, Reason.STOPPED_CAMPAIGN, Reason.REPLIED,
        Reason.REPLIED_ELSEWHERE, Reason.BOUNCED, Reason.UNSUBSCRIBED, Reason.SKIPPED, Reason.REFUSED, Reason.FINISHED,
    }
)  # fmt: skip

_ABOVE_THE_BULK_GATE = FINAL - {Reason.STOPPED_CAMPAIGN} | {
    Reason.SENDER_CONNECTING, Reason.SENDER_AUTH_FAILED, Reason.PROVIDER_BACKOFF,
}  # fmt: skip
_CALENDAR = frozenset({Reason.OUTSIDE_WINDOW, Reason.WEEKEND, Reason.HOLIDAY, Reason.CLOSED_DAY})

#: How many counters one connection remembers to have met.
_MOST_MET = 50_000

#: Not a rule of the product: the row is no longer this engine's (its lease ran out, or somebody cancelled it).
NOT_MINE = "not_mine"
NO_BYTES = "no_bytes"
LEDGER_AWAY = "ledger_away"

_FACTS = """
WITH asked AS (SELECT * FROM unnest(%(ids)s::bigint[], %(epochs)s::int[]) AS a (id, epoch))
SELECT d.id, d.epoch, d.client_id, d.kind, d.sender_id, d.campaign_id, d.enrollment_id, d.due_at, d.first_of_lead, d.email_key,
       d.recipient_domain, d.permitted_at, d.attempts, d.mime IS NOT NULL AS has_bytes,
       d.status = 'leased' AND d.epoch = asked.epoch AND d.leased_until > clock_timestamp() AS mine,
       s.domain AS sender_domain, s.daily_cap, s.hourly_cap, s.min_gap_s, s.next_at,
       c.daily_cap AS campaign_daily_cap, c.daily_new_leads, e.held_until, {calendar},
       CASE
         WHEN {is suppression} AND EXISTS (SELECT 1 FROM global_suppressions g WHERE g.email_key = d.email_key)
           THEN 'suppressed_global'
         WHEN {is suppression} AND EXISTS (
           SELECT 1 FROM suppressions p WHERE p.client_id = d.client_id AND p.email_key = d.email_key) THEN 'suppressed_client'
         WHEN {is sequence} AND e.status IN ('replied', 'bounced', 'unsubscribed', 'stopped', 'finished', 'skipped', 'failed') THEN
           coalesce(e.reason, CASE e.status WHEN 'stopped' THEN 'stopped_campaign' WHEN 'failed' THEN 'refused' ELSE e.status END)
         WHEN {is needs_sender} AND s.status = 'connecting' THEN 'sender_connecting'
         WHEN {is needs_sender} AND s.status = 'auth_failed' THEN 'sender_auth_failed'
         WHEN {is needs_sender} AND s.backoff_until > %(now)s THEN 'provider_backoff'
         WHEN {is by_campaign} AND c.status = 'stopped' THEN 'stopped_campaign'
         WHEN {is by_instance} AND EXISTS (SELECT 1 FROM switches w WHERE w.scope_kind = 'instance' AND w.stopped)
           THEN 'stopped_instance'
         WHEN {is by_client} AND d.client_id IN (SELECT w.scope_id FROM switches w WHERE w.scope_kind = 'client' AND w.stopped AND w.scope_id IS NOT NULL)
           THEN 'stopped_client'
         WHEN {is by_campaign} AND c.status <> 'running' THEN CASE c.status WHEN 'paused' THEN 'campaign_paused' ELSE c.status END
         WHEN {is by_sender} AND s.status = 'paused' AND s.status_reason = 'stopped' THEN 'stopped_sender'
         WHEN {is by_sender} AND s.status = 'paused' AND s.status_reason = 'circuit_open' THEN 'circuit_open'
         WHEN {is by_sender} AND (s.status <> 'active' OR s.deleted_at IS NOT NULL) THEN 'sender_paused'
         WHEN {is sequence} AND e.status NOT IN ('waiting', 'in_flight') THEN coalesce(e.reason,
           CASE e.status WHEN 'paused' THEN 'lead_paused' WHEN 'needs_attention' THEN 'needs_attention_variable'
             ELSE 'out_of_office_until' END)
         WHEN d.late_accept THEN 'previous_uncertain'
         WHEN d.due_at > %(now)s THEN 'delay_not_over'
       END AS reason,
       e.status AS enrollment_status
FROM asked JOIN {table} d ON d.id = asked.id
JOIN senders s ON s.id = d.sender_id
LEFT JOIN mailboxes b ON b.id = d.sender_id
LEFT JOIN enrollments e ON e.id = d.enrollment_id
LEFT JOIN campaigns c ON c.id = d.campaign_id
ORDER BY d.id {lock}
"""

# Which counters, senders and enrollments a batch needs: read once before their locks, and all facts again under them.
_NEEDS = """
SELECT d.kind, d.client_id, d.sender_id, d.campaign_id, d.enrollment_id, d.first_of_lead, d.recipient_domain,
       s.domain AS sender_domain, s.timezone AS sender_zone, s.daily_cap, s.hourly_cap, c.timezone AS campaign_zone,
       c.daily_cap AS campaign_daily_cap, c.daily_new_leads
FROM {table} d JOIN senders s ON s.id = d.sender_id LEFT JOIN campaigns c ON c.id = d.campaign_id
WHERE d.id = ANY (%(ids)s::bigint[])
"""
_HOT = "SELECT pg_advisory_xact_lock_shared(%(key)s)"
_LOCKED = "FOR NO KEY UPDATE OF d"
_LOCK_SENDERS = "SELECT id FROM senders WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE"
_LOCK_ENROLLMENTS = "SELECT id FROM enrollments WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE"

_COMMIT_TO = """
WITH given AS (SELECT * FROM unnest(%(ids)s::bigint[], %(counters)s::text[]) AS g (id, counters)),
 committed AS (
UPDATE {table} d
SET status = 'committing', permitted_at = clock_timestamp(), permit_product_at = %(now)s, counters = g.counters::jsonb,
    leased_until = clock_timestamp() + make_interval(secs => %(lease)s), phase = 'permit', reason = NULL
FROM given g
WHERE d.id = g.id AND coalesce(d.status, '') = 'leased' AND d.mime IS NOT NULL
RETURNING d.id, d.epoch, d.permitted_at),
 tries AS (
UPDATE delivery_attempts a SET permitted_at = c.permitted_at FROM committed c WHERE a.delivery_id = c.id AND a.epoch = c.epoch)
SELECT {all of them} FROM committed
"""
_GAPS = "UPDATE senders s SET next_at = g.at FROM unnest(%(senders)s::bigint[], %(nexts)s::timestamptz[]) AS g (id, at) WHERE s.id = g.id"
_WALKS = "UPDATE enrollments SET status = 'in_flight', reason = NULL WHERE id = ANY (%(enrollments)s::bigint[])"

_BACK = """
WITH back AS (
  UPDATE {table} d
  SET status = CASE WHEN g.final THEN 'cancelled' ELSE 'queued' END, reason = g.reason, due_at = g.due_at,
      leased_until = NULL, lease_owner = NULL,
      mime = CASE WHEN d.permitted_at IS NULL AND d.attempts = 0 AND NOT g.final THEN NULL ELSE d.mime END,
      message_id = CASE WHEN d.permitted_at IS NULL AND d.attempts = 0 AND NOT g.final THEN NULL ELSE d.message_id END,
      rendered_at = CASE WHEN d.permitted_at IS NULL AND d.attempts = 0 AND NOT g.final THEN NULL ELSE d.rendered_at END
  FROM unnest(%(ids)s::bigint[], %(epochs)s::int[], %(reasons)s::text[], %(dues)s::timestamptz[], %(finals)s::bool[])
       AS g (id, epoch, reason, due_at, final)
  WHERE d.id = g.id AND d.epoch = g.epoch AND coalesce(d.status, '') = 'leased'
  RETURNING d.id, d.epoch, d.enrollment_id, d.reason, g.final, d.mime IS NULL AS forgotten),
 tries AS (
  UPDATE delivery_attempts a SET ended_at = clock_timestamp(), outcome = 'refused_by_us', phase = 'permit', text = back.reason
  FROM back WHERE a.delivery_id = back.id AND a.epoch = back.epoch),
 forgotten AS (
  DELETE FROM known_message_ids k USING back WHERE k.delivery_id = back.id AND back.forgotten AND k.source = 'ours'),
 ended AS (
  UPDATE enrollments e SET status = 'skipped', reason = back.reason, ended_at = %(now)s, next_at = NULL
  FROM back WHERE e.id = back.enrollment_id AND back.final AND back.reason IN ('suppressed_client', 'suppressed_global')
   AND e.status IN ('waiting', 'in_flight'))
SELECT id FROM back
"""

# An answer, a skip or a suppression has called the message off since it was claimed: the try ends here, its connection without a dot.
_CALLED_OFF = """
UPDATE delivery_attempts a SET ended_at = clock_timestamp(), outcome = 'called_off', phase = 'permit', text = d.reason
FROM unnest(%(ids)s::bigint[], %(epochs)s::int[]) AS g (id, epoch) JOIN {table} d ON d.id = g.id
WHERE a.delivery_id = g.id AND a.epoch = g.epoch AND a.ended_at IS NULL AND NOT (d.epoch = g.epoch AND d.status IN ('leased', 'committing'))
"""


class Asked(NamedTuple):
    """One question: may this row, under this epoch, be sent now?"""

    delivery_id: int
    epoch: int


@dataclass(slots=True)
class _Batch:
    """What one permit transaction has found out so far."""

    now: datetime
    caps: HouseCaps
    calendars: Calendars = field(default_factory=Calendars)
    used: dict[CounterKey, int] = field(default_factory=dict)
    added: dict[CounterKey, Added] = field(default_factory=dict)
    next_at: dict[int, datetime] = field(default_factory=dict)
    granted: list[tuple[Any, list[Use]]] = field(default_factory=list)
    refused: list[tuple[Any, Reason, datetime | None]] = field(default_factory=list)


def permit(connection: Connection, asked: list[Asked], now: datetime, lease_s: int, table: str = DELIVERIES) -> dict[Asked, Permit]:
    """Decide a batch; call inside a transaction that begins and ends here. An exception means: nobody may send.

    One row may be asked for under two epochs at once (an engine that lost a lease and claimed the row anew): each question has
    its own answer.
    """
    began = time.monotonic()
    needed: Question = (for_table(_NEEDS, table), {"ids": [one.delivery_id for one in asked]})
    _, caps, needs = several(connection, [(_HOT, {"key": HOT_LOCK}), counters.CAPS, needed])
    batch = _Batch(now, counters.caps_of(caps))
    facts = _locked_facts(connection, batch, needs, _facts(asked, now, table, _LOCKED))
    answers = {one: Permit(False, began, NOT_MINE) for one in asked}
    for row in sorted(facts, key=lambda row: (_rule(row).calendar, row.due_at, row.id)):
        if row.mine and not row.has_bytes:
            answers[Asked(row.id, row.epoch)] = Permit(False, began, NO_BYTES)
        elif row.mine:
            reason = _decide(batch, row)
            answers[Asked(row.id, row.epoch)] = Permit(reason is None, began, str(reason or ""))
    writing = [*_committing(batch, lease_s, table), *_sending_back(batch, batch.refused, table)]
    if gone := [one for one, answer in answers.items() if answer.reason == NOT_MINE]:
        writing.append((for_table(_CALLED_OFF, table), {"ids": [one.delivery_id for one in gone], "epochs": [one.epoch for one in gone]}))
    several(connection, writing, Name.PERMIT_BEFORE_COMMIT)
    point(Name.PERMIT_BEFORE_COMMIT)
    return answers


def look_early(connection: Connection, leased: list[Asked], now: datetime, table: str = DELIVERIES) -> set[int]:
    """Give back at once what a permit would refuse anyway, before a connection is opened for it; the ids given back.

    Reads without locks: it may refuse too little, and what it refuses was true a moment ago.
    """
    caps, facts = several(connection, early_questions(leased, now, table))
    return early(connection, caps, facts, now, table)


def early(connection: Connection, caps: list[Any], facts: list[Any], now: datetime, table: str = DELIVERIES) -> set[int]:
    """``look_early`` with what ``early_questions`` found."""
    texts = rows(connection, *calendars.texts_of(row.campaign_id for row in facts))
    batch = _Batch(now, counters.caps_of(caps), Calendars(texts))
    wanted = {use.key for row in facts for use in counters.uses_of(row, batch.caps, now)}
    batch.used = counters.peek(connection, wanted)
    for row in facts:
        if row.mine:
            _decide(batch, row)
    refused = [entry for entry in batch.refused if entry[1] is not Reason.MIN_GAP]
    return {row.id for found in several(connection, _sending_back(batch, refused, table)) for row in found}


def early_questions(leased: list[Asked], now: datetime, table: str = DELIVERIES) -> list[Question]:
    """What ``early`` needs to know, for whoever has more to ask in the same trip."""
    return [counters.CAPS, _facts(leased, now, table, "")]


@cache
def _facts_statement(table: str, lock: str) -> str:
    return with_rules(for_table(_FACTS.replace("{calendar}", calendars.ZONES).replace("{lock}", lock), table))


def _facts(asked: list[Asked], now: datetime, table: str, lock: str) -> Question:
    ids, epochs = [one.delivery_id for one in asked], [one.epoch for one in asked]
    return _facts_statement(table, lock), {"ids": ids, "epochs": epochs, "now": now}


def _locked_facts(connection: Connection, batch: _Batch, needs: list[Any], facts: Question) -> list[Any]:
    """Take the locks in everybody's order and read all facts behind them."""
    keys = sorted({use.key for row in needs for use in counters.uses_of(row, batch.caps, batch.now)})
    met = met_by(connection)
    locks = counters.locking(keys, [key for key in keys if key not in met])
    enrollments = sorted({row.enrollment_id for row in needs if row.enrollment_id is not None})
    further: list[Question] = [(_LOCK_SENDERS, {"ids": sorted({row.sender_id for row in needs})})]
    if enrollments:
        further.append((_LOCK_ENROLLMENTS, {"ids": enrollments}))
    further.append(calendars.texts_of(row.campaign_id for row in needs))
    found = several(connection, [*locks, *further, facts])
    batch.used = counters.by_key(keys, found[len(locks) - 1] if locks else [])
    if len(batch.used) < len(keys):
        raise RuntimeError("a counter that was there before is gone; the next permit makes it anew")
    if len(met) > _MOST_MET:
        met.clear()
    met.update(keys)
    batch.calendars = Calendars(found[-2])
    return found[-1]


def _rule(row: Any) -> KindRule:
    return KIND_RULES[row.kind]


def _decide(batch: _Batch, row: Any) -> Reason | None:
    """The first reason against this row, or None after it took its places. The order is the gate's (``domain.gate``)."""
    rule = _rule(row)
    uses = counters.uses_of(row, batch.caps, batch.now)
    reason, full = _standing(row.reason), None
    if reason is None or reason not in _ABOVE_THE_BULK_GATE:
        full = _full(batch, uses, bulk=True)
    if reason is None and full is None:
        full = _full(batch, uses, bulk=False)
    if full is not None:
        reason = full.reason
    reason = reason or _closed(batch, row, rule.calendar) or _too_soon(batch, row, rule)
    if reason is not None:
        batch.refused.append((row, reason, full.frees_at if full else None))
        return reason
    for use in uses:
        added = batch.added.setdefault(use.key, Added(cap=use.limit.cap))
        added.count += 1
        added.forced |= not use.heeded
    if rule.gap and row.min_gap_s:
        batch.next_at[row.sender_id] = batch.now + timedelta(seconds=row.min_gap_s)
    batch.granted.append((row, uses))
    return None


def _standing(code: str | None) -> Reason | None:
    if not code:
        return None
    try:
        return Reason(code)
    except ValueError:
        return Reason.LEAD_PAUSED  # a word of a person or an older version on the enrollment: it waits


def _full(batch: _Batch, uses: list[Use], *, bulk: bool) -> Limit | None:
    """Among the caps that are full, the one that keeps it waiting longest."""
    found = [use.limit for use in uses if (use.limit.reason is Reason.DOMAIN_BULK_GATE) is bulk and _is_full(batch, use)]
    return max(found, key=lambda limit: (limit.frees_at, limit.reason), default=None)


def _is_full(batch: _Batch, use: Use) -> bool:
    if not use.heeded or use.limit.cap is None:
        return False
    added = batch.added.get(use.key)
    return batch.used.get(use.key, 0) + (added.count if added else 0) >= use.limit.cap


def _too_soon(batch: _Batch, row: Any, rule: KindRule) -> Reason | None:
    if not rule.gap or not row.min_gap_s:
        return None
    free_at = batch.next_at.get(row.sender_id, row.next_at)
    return Reason.MIN_GAP if free_at is not None and free_at > batch.now else None


def _closed(batch: _Batch, row: Any, heeds: bool) -> Reason | None:
    if not heeds:
        return None
    calendar = batch.calendars.of(row)
    return Reason.OUTSIDE_WINDOW if calendar is None else closed_reason(calendar, batch.now, row.enrollment_id)


def _committing(batch: _Batch, lease_s: int, table: str) -> list[Question]:
    """What writes the permits. The rows are locked: should one have changed all the same, the statement fails and nobody may send."""
    if not batch.granted:
        return []
    values = {
        "all": len(batch.granted),
        "ids": [row.id for row, _ in batch.granted],
        "counters": ["[" + ", ".join(use.text for use in uses) + "]" for _, uses in batch.granted],
        "now": batch.now,
        "lease": lease_s,
        "senders": list(batch.next_at),
        "nexts": list(batch.next_at.values()),
        "enrollments": [row.enrollment_id for row, _ in batch.granted if row.enrollment_status == "waiting"],
    }
    if not batch.added.keys() <= batch.used.keys():
        raise RuntimeError("a sender's or campaign's zone changed under the permit; the next one sees it")
    writing: list[Question] = [(for_table(_COMMIT_TO, table), values), *counters.adding(batch.added)]
    if values["senders"]:
        writing.append((_GAPS, values))
    if values["enrollments"]:
        writing.append((_WALKS, values))
    return writing


def _sending_back(batch: _Batch, refused: list[tuple[Any, Reason, datetime | None]], table: str) -> list[Question]:
    if not refused:
        return []
    values = {
        "ids": [row.id for row, _, _ in refused],
        "epochs": [row.epoch for row, _, _ in refused],
        "reasons": [str(reason) for _, reason, _ in refused],
        "dues": [_due_again(batch, row, reason, frees_at) for row, reason, frees_at in refused],
        "finals": [reason in FINAL for _, reason, _ in refused],
        "now": batch.now,
    }
    return [(for_table(_BACK, table), values)]


def _due_again(batch: _Batch, row: Any, reason: Reason, frees_at: datetime | None) -> datetime:
    """When the row is worth another look; its old place in the queue where only a person or an event frees it."""
    if frees_at is None and reason not in _CALENDAR:
        due: datetime = row.due_at
        return due
    at = frees_at or batch.now
    if not _rule(row).calendar:
        return at
    calendar = batch.calendars.of(row)
    opening = None if calendar is None else calendars.opening_after(calendar, at, row.enrollment_id)
    return opening or at + timedelta(days=1)
