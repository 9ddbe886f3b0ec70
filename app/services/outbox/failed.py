"""What a server refused for good: a person tries again, skips the step, or never writes to the address again."""

from __future__ import annotations

from typing import Any

from app.core import clock
from app.core.bell import DISPATCH, live_after_commit, ring_after_commit
from app.core.errors import Conflict, NotFound
from app.services import audit, suppressions
from app.services.outbox import again
from app.services.outbox.advancing import StepLeft, advance
from app.services.outbox.plain import Connection, plain_connection, rows, run
from app.strings import t

_ROW = """
SELECT id, client_id, status, kind, enrollment_id, step_id, to_address, campaign_id, resolved_at FROM deliveries WHERE id = %(id)s
"""
_RESOLVED = """
UPDATE deliveries SET resolved_by = %(by)s, resolved_at = clock_timestamp(), detail = %(how)s
WHERE id = %(id)s AND status = 'failed' AND resolved_at IS NULL RETURNING id
"""
_REOPEN = """
UPDATE enrollments SET status = %(status)s, reason = NULL, detail = '', ended_at = NULL
WHERE id = %(id)s AND status IN ('failed', 'bounced') RETURNING last_sent_at
"""


def try_again(client_id: int, delivery_id: int, *, by: int | None) -> int:
    """Send it once more; the id of the new delivery. Raises NotFound, Conflict."""
    row = _open(client_id, delivery_id)
    connection = plain_connection()
    _lock_and_resolve(connection, row, by, "tried_again")
    fresh = again.send_again(connection, row.id, clock.now())
    if row.enrollment_id is not None:
        run(connection, _REOPEN, {"id": row.enrollment_id, "status": "in_flight"})
    _told(row, by, "delivery.retry")
    ring_after_commit(DISPATCH)
    return fresh


def skip_step(client_id: int, delivery_id: int, *, by: int | None) -> None:
    """The lead goes on with the step after this one. Raises NotFound, Conflict."""
    row = _open(client_id, delivery_id)
    if row.enrollment_id is None or row.step_id is None:
        raise Conflict(t("deliveries.no_step_to_skip"))
    connection = plain_connection()
    _lock_and_resolve(connection, row, by, "skipped")
    before = rows(connection, _REOPEN, {"id": row.enrollment_id, "status": "in_flight"})
    advance(connection, [StepLeft(row.enrollment_id, row.campaign_id, row.step_id, clock.now())])
    if before:
        values = {"id": row.enrollment_id, "at": before[0].last_sent_at}
        run(connection, "UPDATE enrollments SET last_sent_at = %(at)s WHERE id = %(id)s", values)
    _told(row, by, "delivery.skip")


def suppress(client_id: int, delivery_id: int, *, by: int | None) -> None:
    """Never write to this address again. Takes the hot lock. Raises NotFound, Conflict."""
    row = _open(client_id, delivery_id)
    suppressions.suppress(
        client_id, row.to_address, "manual", "person", campaign_id=row.campaign_id, delivery_id=row.id, by=by
    )
    _lock_and_resolve(plain_connection(), row, by, "suppressed")
    _told(row, by, "delivery.suppress")


def _open(client_id: int, delivery_id: int) -> Any:
    found = rows(plain_connection(), _ROW, {"id": delivery_id})
    if not found or found[0].client_id != client_id:
        raise NotFound
    if found[0].status != "failed" or found[0].resolved_at is not None:
        raise Conflict(t("deliveries.decided_already"))
    return found[0]


def _lock_and_resolve(connection: Connection, row: Any, by: int | None, how: str) -> None:
    if row.enrollment_id is not None:
        run(connection, "SELECT id FROM enrollments WHERE id = %(id)s FOR NO KEY UPDATE", {"id": row.enrollment_id})
    if not rows(connection, _RESOLVED, {"id": row.id, "by": by, "how": how}):
        raise Conflict(t("deliveries.decided_already"))


def _told(row: Any, by: int | None, action: str) -> None:
    audit.record(action, "delivery", row.id, client_id=row.client_id, user_id=by)
    live_after_commit(row.client_id, "counters")
