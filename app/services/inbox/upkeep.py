"""What happens to conversations by themselves: snoozed ones come back, idle ones close. Across all clients, for jobs."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from app.core.extensions import db
from app.services.inbox.reply import changed

IDLE = timedelta(days=30)
BATCH = 500

_WAKE = text(
    "UPDATE conversations SET status = 'open', snoozed_until = NULL, unread = greatest(unread, 1), version = version + 1"
    " WHERE id IN (SELECT id FROM conversations WHERE status = 'snoozed' AND snoozed_until <= :now"
    " ORDER BY snoozed_until LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED) RETURNING client_id, id"
)
_CLOSE = text(
    "UPDATE conversations SET status = 'closed', closed_at = :now, version = version + 1"
    " WHERE id IN (SELECT id FROM conversations WHERE status = 'open' AND last_message_at <= :before"
    " ORDER BY id LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED) RETURNING client_id, id"
)


def wake_snoozed(now: datetime) -> int:
    """Bring back, as unread, what was snoozed until now (product time). At most BATCH; how many."""
    return _run(_WAKE, now=now)


def close_idle(now: datetime) -> int:
    """Close what was open and silent for 30 days of product time; unread or undecided ones stay in those scopes. How many."""
    return _run(_CLOSE, now=now, before=now - IDLE)


def _run(statement: Any, **values: Any) -> int:
    touched: dict[int, list[int]] = defaultdict(list)
    for row in db.session.execute(statement, {**values, "limit": BATCH}):
        touched[row.client_id].append(row.id)
    for client_id, ids in touched.items():
        changed(client_id, ids)
    return sum(map(len, touched.values()))
