"""What was put off until a cap starts anew or a window opens, looked at again: caps and calendars change meanwhile."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.domain.working_time import next_open
from app.services.outbox import calendars
from app.services.outbox.plain import DELIVERIES, Connection, for_table, rows, run

_CAPS = """
UPDATE {table} d SET due_at = %(now)s
FROM senders s
WHERE d.shelf = 'queued' AND d.due_at > %(now)s AND s.id = d.sender_id
  AND d.reason IN ('sender_day_cap', 'sender_hour_cap', 'campaign_day_cap', 'new_leads_cap')
  AND NOT EXISTS (
    SELECT 1 FROM usage_counters u
    WHERE u.scope_kind = 'sender' AND u.scope_id = d.sender_id::text AND u.window_start <= %(now)s
      AND ((u.action = 'day' AND u.window_start > %(now)s - interval '1 day' AND u.used >= s.daily_cap)
        OR (u.action = 'hour' AND u.window_start > %(now)s - interval '1 hour' AND u.used >= s.hourly_cap)))
  AND NOT EXISTS (
    SELECT 1 FROM usage_counters u JOIN campaigns c ON c.id = d.campaign_id
    WHERE u.scope_kind = 'campaign' AND u.scope_id = d.campaign_id::text AND u.window_start <= %(now)s
      AND u.window_start > %(now)s - interval '1 day'
      AND ((u.action = 'day' AND u.used >= c.daily_cap)
        OR (u.action = 'new_leads' AND d.first_of_lead AND u.used >= c.daily_new_leads)))
  AND s.daily_cap > 0
"""
# Caps that many senders share: looked at anew only after one was changed; the permit counts.
_SHARED = """
UPDATE {table} SET due_at = %(now)s
WHERE shelf = 'queued' AND due_at > %(now)s AND reason IN ('client_hour_cap', 'instance_minute_cap', 'instance_hour_cap')
"""
# One look at a time: two that take the same rows in another order would wait for each other.
_ALONE = "SELECT pg_advisory_xact_lock(%(key)s)"
_LOOKING = 0x0E3B_0A6A
_CLOSED = (
    """
SELECT DISTINCT d.campaign_id, d.sender_id, """
    + calendars.COLUMNS
    + """
FROM {table} d JOIN campaigns c ON c.id = d.campaign_id JOIN senders s ON s.id = d.sender_id
LEFT JOIN mailboxes b ON b.id = d.sender_id
WHERE d.shelf = 'queued' AND d.due_at > %(now)s AND d.reason IN ('outside_window', 'weekend', 'holiday', 'closed_day')
"""
)
_MOVE = """
UPDATE {table} SET due_at = %(at)s
WHERE shelf = 'queued' AND campaign_id = %(campaign)s AND sender_id = %(sender)s AND due_at > %(at)s
  AND reason IN ('outside_window', 'weekend', 'holiday', 'closed_day')
"""


def look_again(connection: Connection, now: datetime, table: str = DELIVERIES, *, changed: bool = False) -> int:
    """Bring forward what a raised cap or a changed calendar lets leave earlier; the permit has the last word. How many.

    ``changed``: somebody changed a cap just now, so that what waits for a cap many share is looked at too.
    """
    rows(connection, _ALONE, {"key": _LOOKING})
    moved = run(connection, for_table(_CAPS, table), {"now": now})
    if changed:
        moved += run(connection, for_table(_SHARED, table), {"now": now})
    for row in rows(connection, for_table(_CLOSED, table), {"now": now}):
        at = _opening(row, now)
        if at is not None:
            values = {"at": at, "campaign": row.campaign_id, "sender": row.sender_id}
            moved += run(connection, for_table(_MOVE, table), values)
    return moved


def _opening(row: Any, now: datetime) -> datetime | None:
    """When anybody of the campaign may be written to next; a reduced weekend's choice among leads is the permit's."""
    calendar = calendars.calendar_of(row)
    if calendar is None or calendar.weekend_percent:
        return None
    return next_open(calendar, now, None)
