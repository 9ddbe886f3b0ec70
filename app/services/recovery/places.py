"""Places in the caps for messages that did not pass a permit of this ledger: they count, whatever the cap says."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from app.domain.limits import CounterKey
from app.services.outbox import calendars, counters
from app.services.outbox.counters import Added
from app.services.outbox.plain import Connection, rows, run

_ROWS = (
    """
SELECT d.id, d.client_id, d.kind, d.sender_id, d.campaign_id, d.enrollment_id, d.first_of_lead, d.recipient_domain, d.counters,
       s.domain AS sender_domain, s.daily_cap, s.hourly_cap, c.daily_cap AS campaign_daily_cap, c.daily_new_leads, """
    + calendars.COLUMNS
    + """
FROM deliveries d JOIN senders s ON s.id = d.sender_id LEFT JOIN mailboxes b ON b.id = d.sender_id
LEFT JOIN campaigns c ON c.id = d.campaign_id WHERE d.id = ANY (%(ids)s::bigint[]) ORDER BY d.id
"""
)
_STORE = "UPDATE deliveries SET counters = %(counters)s WHERE id = %(id)s"


def retake(connection: Connection, ids: list[int], at: datetime) -> None:
    """Count these messages in the windows of ``at`` (product time) and nowhere else. Locks the counters: call it first."""
    house = counters.house_caps(connection)
    found = rows(connection, _ROWS, {"ids": ids})
    fresh = {row.id: counters.uses_of(row, house, at) for row in found}
    before = Counter(key for row in found for key in _taken(row))
    counters.lock(connection, {use.key for uses in fresh.values() for use in uses} | set(before))
    counters.give_back(connection, dict(before))
    added: dict[CounterKey, Added] = {}
    for uses in fresh.values():
        for use in uses:
            added.setdefault(use.key, Added(forced=True)).count += 1
    counters.add(connection, added)
    for number, uses in fresh.items():
        run(connection, _STORE, {"id": number, "counters": Jsonb([counters.as_json(use.key) for use in uses])})


def _taken(row: Any) -> list[CounterKey]:
    return [counters.from_json(entry) for entry in row.counters or ()]
