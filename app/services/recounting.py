"""Counters cannot lie: they are counted again from the rows they stand for; drift is healed, written down, and shown.

``check_ledger`` is the ledger equation: what was planned is somewhere, exactly once, in a state that fits its lead's walk. What was
planned is counted on the side of those who wanted it (walks, timeline, answers, people), never by the key that makes a row unique.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from app.core.clock import machine_now
from app.core.extensions import db
from app.models import AuditEntry
from app.services.outbox import counters, sweeping
from app.services.outbox.plain import plain_connection, rows
from app.strings import t


@dataclass(frozen=True)
class Drift:
    """A counter that differed from its rows: ``what`` names it, ``was`` is what it said, ``is_`` what the rows say."""

    what: str
    was: int
    is_: int


_COUNTED = """
SELECT c.id, c.unread AS was, count(m.id) FILTER (WHERE m.direction = 'in' AND m.read_at IS NULL AND m.counts)::int AS now
FROM conversations c
LEFT JOIN (SELECT id, conversation_id, direction, read_at,
                  kind NOT IN ('bounce', 'delayed', 'delivered', 'dmarc_report') AS counts FROM messages) m ON m.conversation_id = c.id
WHERE {which} GROUP BY c.id
"""
_SUSPECT = text(f"SELECT id FROM ({_COUNTED.format(which='true')}) counted WHERE was <> now ORDER BY id")
_LOCK = text("SELECT id FROM conversations WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE")
_UNREAD = text(f"""
WITH counted AS ({_COUNTED.format(which="c.id = ANY(:ids)")})
UPDATE conversations c SET unread = counted.now, version = c.version + 1 FROM counted
WHERE c.id = counted.id AND counted.was <> counted.now RETURNING 'unread of conversation ' || c.id AS what, counted.was, counted.now
""")
# who was written to: the mark on the lead, from the first message that left
_CONTACTED = text("""
WITH firsts AS (
  SELECT d.lead_id, min(d.sent_at) AS at FROM deliveries d
  WHERE d.lead_id IS NOT NULL AND d.kind <> 'test' AND d.status IN ('sent', 'delivered', 'bounced', 'complained') GROUP BY d.lead_id)
UPDATE leads l SET contacted_at = firsts.at FROM firsts WHERE l.id = firsts.lead_id AND l.contacted_at IS NULL
RETURNING 'lead ' || l.id || ' was written to' AS what, 0 AS was, 1 AS now
""")


def recount(now: datetime) -> list[Drift]:
    """Count unread badges, leads written to, and the caps' counters again and heal them. The caller holds the hot lock exclusively.

    A badge is counted again under its lock: a message that was just arriving is seen then. Everything that was changed is written
    into the trail with what it was.
    """
    suspects = list(db.session.execute(_SUSPECT).scalars())
    db.session.execute(_LOCK, {"ids": suspects})
    drifts = [Drift(row.what, row.was, row.now) for row in db.session.execute(_UNREAD, {"ids": suspects})]
    drifts += [Drift(row.what, row.was, row.now) for row in db.session.execute(_CONTACTED)]
    drifts += [Drift(*found) for found in counters.recount(plain_connection(), now)]
    _write_down("recount.drift", [{"what": drift.what, "was": drift.was, "is": drift.is_} for drift in drifts])
    return drifts


_EQUATION: dict[str, str] = {
    t("doctor.ledger_leads_without_message"): """
        SELECT e.id FROM enrollments e WHERE e.status = 'in_flight' AND NOT EXISTS (
          SELECT 1 FROM deliveries d WHERE d.enrollment_id = e.id AND d.status IN ('queued', 'leased', 'committing', 'uncertain'))""",
    t("doctor.ledger_messages_after_end"): """
        SELECT d.id FROM deliveries d JOIN enrollments e ON e.id = d.enrollment_id
        WHERE d.kind = 'campaign_step' AND d.shelf = 'queued'
          AND e.status IN ('replied', 'bounced', 'unsubscribed', 'stopped', 'finished', 'skipped', 'failed')""",
    t("doctor.ledger_two_open"): """
        SELECT min(d.id) AS id FROM deliveries d WHERE d.kind = 'campaign_step'
          AND d.status IN ('queued', 'leased', 'committing', 'uncertain')
        GROUP BY d.enrollment_id HAVING count(*) > 1""",
    t("doctor.ledger_step_twice"): """
        SELECT min(d.id) AS id FROM deliveries d WHERE d.kind = 'campaign_step' AND d.retry_of IS NULL
          AND d.status IN ('sent', 'delivered', 'bounced', 'complained')
        GROUP BY d.enrollment_id, d.step_id HAVING count(*) > 1""",
    t("doctor.ledger_sent_without_answer"): """
        SELECT d.id FROM deliveries d WHERE d.status = 'sent' AND d.resolved_by IS NULL AND d.evidence = '{}'::jsonb
          AND NOT EXISTS (SELECT 1 FROM delivery_attempts a WHERE a.delivery_id = d.id AND a.outcome = 'accepted')""",
    t("doctor.ledger_taken_not_sent"): """
        SELECT d.id FROM deliveries d WHERE d.status IN ('queued', 'leased', 'committing', 'uncertain', 'failed') AND NOT d.late_accept
          AND EXISTS (SELECT 1 FROM delivery_attempts a WHERE a.delivery_id = d.id AND a.outcome = 'accepted')""",
    t("doctor.ledger_leads_ahead"): """
        SELECT e.id FROM enrollments e WHERE e.last_step_id IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM deliveries d WHERE d.enrollment_id = e.id AND d.step_id = e.last_step_id
            AND d.status IN ('sent', 'delivered', 'bounced', 'complained', 'failed'))""",
    t("doctor.ledger_key_of_another"): """
        SELECT d.id FROM deliveries d WHERE d.idempotency_key NOT LIKE CASE
          WHEN d.retry_of IS NOT NULL THEN 'retry:' || d.retry_of || ':%'
          WHEN d.kind = 'campaign_step' THEN 'step:' || coalesce(d.enrollment_id, 0) || ':' || coalesce(d.step_id, 0)
          WHEN d.kind = 'reply' THEN 'reply:' || coalesce(d.inbox_message_id::text, '%') ELSE d.kind || ':%' END""",
    t("doctor.ledger_timeline_twice"): """
        SELECT a.delivery_id AS id FROM activities a WHERE a.kind = 'message_sent' AND a.delivery_id IS NOT NULL
        GROUP BY a.delivery_id HAVING count(*) > 1""",
    # answers are matched by what is known alone (decision 0097)
    t("doctor.ledger_id_unknown"): """
        SELECT d.id FROM deliveries d WHERE d.message_id IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM known_message_ids k WHERE k.delivery_id = d.id AND k.message_id = d.message_id AND k.source = 'ours')""",
}

#: What is written without a foreign key (decision 0042): (table, its key, the column, the parent it names).
NAMED_UNCHECKED = (
    *((table, "id", "client_id", "clients") for table in ("activities", "conversations", "known_message_ids", "messages", "participants")),
    ("delivery_attempts", "delivery_id", "client_id", "clients"), ("delivery_attempts", "delivery_id", "delivery_id", "deliveries"),
    ("conversations", "id", "campaign_id", "campaigns"), ("conversations", "id", "sender_id", "senders"),
    ("deliveries", "id", "conversation_id", "conversations"), ("enrollments", "id", "conversation_id", "conversations"),
    ("enrollments", "id", "last_step_id", "steps"), ("enrollments", "id", "next_step_id", "steps"),
    ("known_message_ids", "id", "delivery_id", "deliveries"), ("messages", "id", "conversation_id", "conversations"),
    ("messages", "id", "delivery_id", "deliveries"), ("messages", "id", "sender_id", "senders"),
    ("participants", "id", "conversation_id", "conversations"),
)  # fmt: skip
_EQUATION[t("doctor.ledger_names_nothing")] = " UNION ALL ".join(
    f"SELECT t.{key} AS id FROM {table} t LEFT JOIN {parent} p ON p.id = t.{column} WHERE t.{column} IS NOT NULL AND p.id IS NULL"
    for table, key, column, parent in NAMED_UNCHECKED
)

#: What must have exactly one row each, counted where it was wanted, and the rows there are for it. A second row for one intention would
#: need a key of its own, which the line about keys names; so neither hides behind the other.
_INTENTIONS = """
SELECT 'steps of leads' AS what, (SELECT count(*) FROM (  -- walks that came to it, walks on their way with it, the timeline
    SELECT enrollment_id, step_id FROM deliveries WHERE kind = 'campaign_step' AND retry_of IS NULL
    UNION SELECT id, last_step_id FROM enrollments WHERE last_step_id IS NOT NULL
    UNION SELECT id, next_step_id FROM enrollments WHERE status = 'in_flight' AND next_step_id IS NOT NULL
    UNION SELECT enrollment_id, step_id FROM activities WHERE kind = 'message_sent' AND step_id IS NOT NULL) wanted) AS planned,
  (SELECT count(*) FROM deliveries WHERE kind = 'campaign_step' AND retry_of IS NULL) AS made
-- of an answer whose conversation is kept no longer the row stays, and names no message
UNION ALL SELECT 'answers of people', (SELECT count(*) FROM (
    SELECT id FROM messages WHERE direction = 'out' AND author_id IS NOT NULL
    UNION SELECT inbox_message_id FROM deliveries WHERE kind = 'reply' AND inbox_message_id IS NOT NULL AND retry_of IS NULL) wanted),
  (SELECT count(*) FROM deliveries WHERE kind = 'reply' AND inbox_message_id IS NOT NULL AND retry_of IS NULL)
UNION ALL SELECT 'messages wanted once more', (SELECT count(*) FROM (
    SELECT id FROM deliveries WHERE (status = 'cancelled' AND reason = 'resent') OR (status = 'failed' AND detail = 'tried_again')
    UNION SELECT retry_of FROM deliveries WHERE retry_of IS NOT NULL) wanted),
  (SELECT count(*) FROM deliveries WHERE retry_of IS NOT NULL)
UNION ALL SELECT 'others', n, n FROM (
    SELECT count(*) AS n FROM deliveries WHERE retry_of IS NULL AND kind <> 'campaign_step' AND (kind <> 'reply' OR inbox_message_id IS NULL)) others
"""
_STATES = "SELECT status, count(*) AS n FROM deliveries GROUP BY status"
_KEEP = text("UPDATE instance SET facts = facts || jsonb_build_object('equation', cast(:found AS jsonb)) WHERE id = 1")


@dataclass(frozen=True)
class Balance:
    """The equation at one moment: ``planned`` intentions, rows by state in ``states``; ``faults`` must be empty (sentence → ids or a count)."""

    planned: int
    states: dict[str, int]
    faults: dict[str, list[int]]

    @property
    def holds(self) -> bool:
        return not self.faults


def balance() -> Balance:
    """Ask every line of the equation now; changes nothing. Up to 50 ids for each fault (of the outbox: how many)."""
    faults: dict[str, list[int]] = {}
    for sentence, statement in _EQUATION.items():
        ids = [int(row.id) for row in db.session.execute(text(f"{statement} LIMIT 50"))]
        if ids:
            faults[sentence] = ids
    connection = plain_connection()
    for fault, count in sweeping.ledger_faults(connection).items():
        faults[fault] = [count]
    states = {row.status: int(row.n) for row in rows(connection, _STATES)}
    intentions = rows(connection, _INTENTIONS)
    for row in intentions:
        if row.planned != row.made:
            faults[t("doctor.ledger_planned_differs", what=row.what)] = [int(row.planned), int(row.made)]
    planned = sum(int(row.planned) for row in intentions)
    return Balance(planned, states, faults)


def check_ledger() -> dict[str, list[int]]:
    """The hourly look: what it found is kept for the operations page and the doctor, and every fault is written into the trail."""
    found = balance()
    kept = {"at": machine_now().isoformat(), "planned": found.planned, "states": found.states, "faults": found.faults}
    db.session.execute(_KEEP, {"found": json.dumps(kept)})
    _write_down("ledger.violated", [{"what": sentence, "ids": ids} for sentence, ids in found.faults.items()])
    return found.faults


def _write_down(action: str, entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        db.session.add(AuditEntry(action=action, object_kind="ledger", object_id="", after=entry))
    db.session.flush()
