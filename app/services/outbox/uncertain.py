"""What nobody could know: left only by evidence, or by a person's decision, never by a timer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from app.core import clock
from app.core.bell import DISPATCH, live_after_commit, ring_after_commit
from app.core.errors import Conflict, NotFound
from app.domain.limits import CounterKey
from app.services import audit
from app.services.outbox import accepted, again, counters
from app.services.outbox.plain import Connection, plain_connection, rows, run
from app.strings import t

#: Proof of absence counts only this long after the last byte could have been written (machine time).
ABSENCE_AFTER = timedelta(minutes=15)

_ROW = """
SELECT id, client_id, status, enrollment_id, sender_id, campaign_id, conversation_id, permit_product_at, counters, message_id
FROM deliveries WHERE id = %(id)s
"""
_LOCK_WALK = "SELECT id FROM enrollments WHERE id = %(id)s FOR NO KEY UPDATE"
_SENT = """
UPDATE deliveries SET status = 'sent', sent_at = permit_product_at, reason = NULL, resolved_by = %(by)s,
       resolved_at = clock_timestamp(), evidence = evidence || %(evidence)s
WHERE id = %(id)s AND status = 'uncertain' RETURNING id
"""
_ABSENT = """
UPDATE deliveries SET status = 'queued', reason = NULL, counters = NULL, resolved_at = clock_timestamp(),
       evidence = evidence || %(evidence)s
WHERE id = %(id)s AND status = 'uncertain' RETURNING id
"""
_GO_ON = """
UPDATE enrollments SET status = 'in_flight', reason = NULL WHERE id = %(id)s AND status = 'held' AND reason = 'previous_uncertain'
"""
_NOTE = "UPDATE deliveries SET evidence = evidence || %(evidence)s WHERE id = %(id)s AND status = 'uncertain'"


def arrived(delivery_id: int, evidence: str) -> bool:
    """Evidence names it (a reply, a report, our copy in the Sent folder): it was sent. False when it was not uncertain."""
    return _was_sent(delivery_id, {"found": evidence}, None)


def _was_sent(delivery_id: int, evidence: dict[str, Any], by: int | None) -> bool:
    connection = plain_connection()
    found = rows(connection, _ROW, {"id": delivery_id})
    if not found or found[0].status != "uncertain":
        return False
    row = found[0]
    _lock(connection, row)
    told = {**evidence, "at": clock.now().isoformat()}
    if not rows(connection, _SENT, {"id": delivery_id, "by": by, "evidence": Jsonb(told)}):
        return False
    for client_id, topic in accepted.follow_up(connection, {delivery_id}, {}):
        live_after_commit(client_id, topic)
    return True


def _lock(connection: Connection, row: Any) -> None:
    run(connection, "SELECT id FROM senders WHERE id = %(id)s FOR NO KEY UPDATE", {"id": row.sender_id})
    if row.enrollment_id is not None:
        run(connection, _LOCK_WALK, {"id": row.enrollment_id})


def absent(connection: Connection, delivery_id: int, evidence: str) -> bool:
    """Proof of absence: the same row, with the same bytes, goes on. The caller has checked ``ABSENCE_AFTER``."""
    row = rows(connection, _ROW, {"id": delivery_id})[0]
    taken: Counter[CounterKey] = Counter(counters.from_json(entry) for entry in row.counters or ())
    counters.lock(connection, taken, make=False)
    _lock(connection, row)
    told = {"absent": evidence, "at": clock.now().isoformat()}  # a row may be proven absent more than once
    if not rows(connection, _ABSENT, {"id": delivery_id, "evidence": Jsonb(told)}):
        return False
    counters.give_back(connection, dict(taken))
    if row.enrollment_id is not None:
        run(connection, _GO_ON, {"id": row.enrollment_id})
    return True


def note(connection: Connection, delivery_id: int, evidence: dict[str, Any]) -> None:
    """Remember what was tried; the page *Not sure* shows it."""
    run(connection, _NOTE, {"id": delivery_id, "evidence": Jsonb(evidence)})


def resolve(client_id: int, delivery_id: int, outcome: str, *, by: int | None) -> int | None:
    """A person decides: ``was_sent``, or ``send_again`` (the id of the new delivery). Raises NotFound, Conflict."""
    found = rows(plain_connection(), _ROW, {"id": delivery_id})
    if not found or found[0].client_id != client_id:
        raise NotFound
    if found[0].status != "uncertain":
        raise Conflict(t("deliveries.not_uncertain"))
    fresh: int | None = None
    if outcome == "was_sent":
        if not _was_sent(delivery_id, {"person": "was_sent"}, by):  # somebody decided otherwise while this one waited
            raise Conflict(t("deliveries.not_uncertain"))
    elif outcome == "send_again":
        fresh = _send_again(found[0], by)
    else:
        raise Conflict(t("deliveries.outcome_choice"))
    audit.record("delivery.resolve", "delivery", delivery_id, client_id=client_id, user_id=by, after={"outcome": outcome})
    live_after_commit(client_id, "counters")
    return fresh


def _send_again(row: Any, by: int | None) -> int:
    connection = plain_connection()
    _lock(connection, row)
    statement = (
        "UPDATE deliveries SET status = 'cancelled', reason = 'resent', resolved_by = %(by)s, resolved_at = clock_timestamp()"
        " WHERE id = %(id)s AND status = 'uncertain' RETURNING id"
    )
    if not rows(connection, statement, {"id": row.id, "by": by}):
        raise Conflict(t("deliveries.not_uncertain"))
    fresh = again.send_again(connection, row.id, clock.now())
    if row.enrollment_id is not None:
        run(connection, _GO_ON, {"id": row.enrollment_id})
    ring_after_commit(DISPATCH)
    return fresh


@dataclass(frozen=True, slots=True)
class Question:
    """One uncertain message to look for in its sender's Sent folder."""

    delivery_id: int
    client_id: int
    message_id: str
    mailbox: Any
    may_prove_absence: bool


_QUESTIONS = """
WITH asked AS (
  SELECT d.id, row_number() OVER (PARTITION BY d.sender_id ORDER BY d.evidence ->> 'tried_at' NULLS FIRST, d.id) AS place
  FROM deliveries d WHERE d.shelf = 'uncertain' AND d.message_id IS NOT NULL)
SELECT d.id AS delivery_id, d.client_id, d.message_id, d.provider_message_id, b.id, b.imap_host, b.imap_port, b.imap_security,
       b.imap_user, b.imap_secret, b.provider, b.save_to_sent,
       d.permitted_at < clock_timestamp() - %(after)s::interval
         AND NOT EXISTS (SELECT 1 FROM process_beats p JOIN delivery_attempts a ON a.engine = p.name
               WHERE a.delivery_id = d.id AND a.epoch = d.epoch AND a.ended_at IS NULL
                 AND p.seen_at > clock_timestamp() - interval '1 min') AS over
FROM asked JOIN deliveries d ON d.id = asked.id JOIN mailboxes b ON b.id = d.sender_id JOIN senders s ON s.id = b.id
WHERE asked.place <= %(each)s AND s.deleted_at IS NULL AND b.imap_secret IS NOT NULL
ORDER BY asked.place, d.id LIMIT %(limit)s
"""
#: Of one mailbox at a time: its Sent folder is searched once for each.
_OF_ONE_MAILBOX = 100


def questions(connection: Connection, limit: int = 2_000, after: timedelta = ABSENCE_AFTER) -> list[Question]:
    """Uncertain messages whose Sent folder can be asked, those longest not looked for first. Absence proves something only where the provider always copies."""
    return [
        Question(row.delivery_id, row.client_id, row.message_id, row, bool(row.over) and row.save_to_sent == "provider")
        for row in rows(connection, _QUESTIONS, {"limit": limit, "after": after, "each": _OF_ONE_MAILBOX})
    ]


