"""What a dead, frozen or cut-off process left behind: back to the queue before its permit, uncertain and visible after it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.core import clock
from app.domain.reasons import Reason
from app.services.outbox.outcomes import hold_for_uncertain
from app.services.outbox.plain import DELIVERIES, Connection, for_table, rows, run

_BACK = """
WITH dead AS (
  SELECT id FROM {table} WHERE shelf = 'held' AND status = 'leased' AND leased_until < clock_timestamp() ORDER BY id LIMIT %(limit)s
  FOR UPDATE SKIP LOCKED),
 back AS (
  UPDATE {table} d SET status = 'queued', leased_until = NULL, lease_owner = NULL FROM dead WHERE d.id = dead.id
  RETURNING d.id, d.epoch),
 tries AS (
  UPDATE delivery_attempts a SET ended_at = clock_timestamp(), outcome = 'lease_ran_out' FROM back
  WHERE a.delivery_id = back.id AND a.epoch = back.epoch AND a.ended_at IS NULL)
SELECT count(*) AS n FROM back
"""
_LOST = """
SELECT id, epoch, client_id, sender_id, enrollment_id, campaign_id FROM {table}
WHERE shelf = 'held' AND status = 'committing' AND leased_until < clock_timestamp() ORDER BY id LIMIT %(limit)s
"""
_UNSURE = """
UPDATE {table} SET status = 'uncertain', reason = %(reason)s, leased_until = NULL, lease_owner = NULL, phase = 'dot',
       answered_at = clock_timestamp()
WHERE id = ANY (%(ids)s::bigint[]) AND status = 'committing' AND leased_until < clock_timestamp() RETURNING id
"""
_LOCK_SENDERS = "SELECT id FROM senders WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE"
_LOCK_ENROLLMENTS = "SELECT id FROM enrollments WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE"


def return_dead_leases(connection: Connection, limit: int = 1_000, table: str = DELIVERIES) -> int:
    """Leases that ran out before the permit: nothing irrevocable happened, the row goes back. How many."""
    return int(rows(connection, for_table(_BACK, table), {"limit": limit})[0].n)


def show_lost_permits(connection: Connection, limit: int = 500, table: str = DELIVERIES) -> list[Any]:
    """Leases that ran out after the permit: nobody can know. The rows that became uncertain."""
    found = rows(connection, for_table(_LOST, table), {"limit": limit})
    if not found:
        return []
    run(connection, _LOCK_SENDERS, {"ids": sorted({row.sender_id for row in found})})
    run(connection, _LOCK_ENROLLMENTS, {"ids": sorted({row.enrollment_id for row in found if row.enrollment_id is not None})})
    values = {"ids": [row.id for row in found], "reason": str(Reason.PREVIOUS_UNCERTAIN)}
    unsure = {row.id for row in rows(connection, for_table(_UNSURE, table), values)}
    changed = [row for row in found if row.id in unsure]
    if changed:
        hold_for_uncertain(connection, changed, clock.now())
    return changed


_CANCEL_STOPPED = """
WITH over AS (
  SELECT d.id FROM {table} d JOIN campaigns c ON c.id = d.campaign_id
  WHERE d.shelf = 'queued' AND c.status = 'stopped' ORDER BY d.id LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED)
UPDATE {table} d SET status = 'cancelled', reason = 'stopped_campaign' FROM over WHERE d.id = over.id
"""
_END_STOPPED = """
WITH over AS (
  SELECT e.id FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id
  WHERE c.status = 'stopped' AND e.status IN ('waiting', 'in_flight', 'held', 'paused', 'needs_attention')
    AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.enrollment_id = e.id AND d.status IN ('leased', 'committing'))
  ORDER BY e.id LIMIT %(limit)s FOR NO KEY UPDATE OF e SKIP LOCKED)
UPDATE enrollments e SET status = 'stopped', reason = 'stopped_campaign', ended_at = %(now)s, next_at = NULL
FROM over WHERE e.id = over.id
"""


def cancel_stopped(connection: Connection, now: datetime, limit: int = 500, table: str = DELIVERIES) -> int:
    """A batch of what stopped campaigns still have waiting; how many rows changed. Call until it returns 0."""
    ended = run(connection, _END_STOPPED, {"limit": limit, "now": now})
    return ended + run(connection, for_table(_CANCEL_STOPPED, table), {"limit": limit})


_LEDGER = """
SELECT count(*) FILTER (WHERE status IN ('sent', 'delivered', 'bounced', 'complained') AND sent_at IS NULL) AS sent_without_time,
  count(*) FILTER (WHERE status = 'cancelled' AND coalesce(reason, '') = '') AS cancelled_without_reason,
  count(*) FILTER (WHERE status = 'failed' AND coalesce(reason, '') = '') AS failed_without_reason,
  count(*) FILTER (WHERE status = 'bounced' AND coalesce(reason, '') = '') AS bounced_without_reason,
  count(*) FILTER (WHERE status = 'uncertain' AND coalesce(reason, '') = '') AS uncertain_without_reason,
  count(*) FILTER (WHERE status IN ('leased', 'committing') AND leased_until < clock_timestamp() - interval '5 min') AS stuck
FROM {table}
"""


def ledger_faults(connection: Connection, table: str = DELIVERIES) -> dict[str, int]:
    """What is wrong within the rows themselves: no end without its reason, nothing sent without its time, no lease that nobody looks after.

    How many of each; empty when all is well.
    """
    found = rows(connection, for_table(_LEDGER, table))[0]._asdict()
    return {name: count for name, count in found.items() if count}
