"""Stop means stop: switches of the instance, a client, a campaign, a sender, each under the exclusive hot lock.

After the commit no permit can be given that the switch forbids: permits hold the lock shared until they have committed, the
lock's queue is fair, and the next permit reads the switch. *Stopped* is when every permit older than the stop is answered or
too old for a dot to follow; rows that still wait for an answer are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.core import clock
from app.core.bell import DISPATCH, SETTINGS, live_after_commit, ring_after_commit
from app.core.db import lock_hot
from app.core.errors import Conflict
from app.services import audit
from app.services.outbox.plain import Connection, plain_connection, rows, run
from app.strings import t

#: No dot is written later than this after its permit (seconds; the channel enforces it).
DOT_WITHIN_S = 5

_SET = """
INSERT INTO switches (scope_kind, scope_id, client_id, stopped, epoch, changed_at, product_at, changed_by, reason)
VALUES (%(kind)s, %(scope)s, %(client)s, %(stopped)s, 1, clock_timestamp(), %(now)s, %(by)s, %(reason)s)
ON CONFLICT (scope_kind, scope_id) DO UPDATE SET stopped = excluded.stopped, epoch = switches.epoch + 1,
  changed_at = clock_timestamp(), product_at = excluded.product_at, changed_by = excluded.changed_by, reason = excluded.reason
WHERE switches.stopped <> excluded.stopped
RETURNING epoch
"""

_TRAIL = """
INSERT INTO audit_entries (action, object_kind, object_id, before, after)
VALUES (%(action)s, 'instance', '0', '{}', jsonb_build_object('reason', %(reason)s::text))
"""
_STOPPED_BECAUSE = """
SELECT 1 AS one FROM switches WHERE scope_kind = 'instance' AND stopped AND changed_by IS NULL AND reason = %(reason)s
"""


def _turn(kind: str, scope_id: int, client_id: int | None, stopped: bool, by: int | None, reason: str) -> bool:
    lock_hot()
    values = {
        "kind": kind, "scope": scope_id, "client": client_id, "stopped": stopped, "now": clock.now(), "by": by, "reason": reason,
    }  # fmt: skip
    if not stopped and not state(kind, scope_id).stopped:
        return False
    changed = bool(rows(plain_connection(), _SET, values))
    if changed:
        verb = "switch.stop" if stopped else "switch.release"
        audit.record(verb, kind, scope_id, client_id=client_id, user_id=by, after={"reason": reason})
        ring_after_commit(SETTINGS)
        ring_after_commit(DISPATCH)
        if client_id is not None:
            live_after_commit(client_id, "switches", "campaigns")
    return changed


def stop_instance(*, by: int | None, reason: str = "") -> bool:
    """Nothing leaves this installation (alarms and account mail excepted). False when it was stopped already."""
    return _turn("instance", 0, None, True, by, reason)


def stop_by_the_system(connection: Connection, reason: str) -> None:
    """Stop the instance because of what the product found out itself. The caller holds the hot lock exclusively."""
    values = {"kind": "instance", "scope": 0, "client": None, "stopped": True, "now": clock.now(), "by": None, "reason": reason}
    if rows(connection, _SET, values):
        run(connection, _TRAIL, {"action": "switch.stop", "reason": reason})


def release_by_the_system(connection: Connection, reason: str) -> bool:
    """Release the instance if this very reason stopped it; a person's stop stays. The caller holds the hot lock exclusively."""
    mine = rows(connection, _STOPPED_BECAUSE, {"reason": reason})
    if not mine:
        return False
    values = {"kind": "instance", "scope": 0, "client": None, "stopped": False, "now": clock.now(), "by": None, "reason": ""}
    rows(connection, _SET, values)
    run(connection, _TRAIL, {"action": "switch.release", "reason": reason})
    return True


def release_instance(*, by: int | None) -> bool:
    """Overdue messages keep their order and leave at the ordinary pace. Raises Conflict while a recovery is needed."""
    lock_hot()
    if rows(plain_connection(), "SELECT 1 AS one FROM instance WHERE facts ? 'recovery'"):
        raise Conflict(t("doctor.recover_first"), code="recovery_needed")
    return _turn("instance", 0, None, False, by, "")


def stop_client(client_id: int, *, by: int | None, reason: str = "") -> bool:
    """Nothing of this client's campaigns leaves. False when it was stopped already."""
    return _turn("client", client_id, client_id, True, by, reason)


def release_client(client_id: int, *, by: int | None) -> bool:
    return _turn("client", client_id, client_id, False, by, "")


@dataclass(frozen=True)
class StopState:
    """How far a stop has come. ``stopped_at`` is product time; the counts are rows of this scope now.

    ``in_flight``: permits a dot may still follow. ``outstanding``: answers still waited for after that. ``sent_since``: permits
    committed after the stop; anything but 0 is a fault of ours.
    """

    stopped: bool
    stopped_at: datetime | None = None
    in_flight: int = 0
    outstanding: int = 0
    sent_since: int = 0

    @property
    def stopping(self) -> bool:
        return self.stopped and self.in_flight > 0


_WHERE = {
    "client": "d.client_id = %(scope)s AND d.kind IN ('campaign_step', 'warmup')",
    "campaign": "d.campaign_id = %(scope)s",
    "sender": "d.sender_id = %(scope)s",
}
_SINCE = {
    "instance": "SELECT stopped, changed_at AS at, product_at FROM switches WHERE scope_kind = 'instance' AND scope_id = %(scope)s",
    "client": "SELECT stopped, changed_at AS at, product_at FROM switches WHERE scope_kind = 'client' AND scope_id = %(scope)s",
    "campaign": "SELECT status IN ('paused', 'stopped') AS stopped, status_at AS at, status_product_at AS product_at"
    " FROM campaigns WHERE id = %(scope)s",
    "sender": "SELECT status = 'paused' AS stopped, status_since AS at, status_product_at AS product_at"
    " FROM senders WHERE id = %(scope)s",
}
# a page sees the rows of one client only: the counts over all of them come from a function of the owner
_OVER_ALL = "SELECT fresh, old, since FROM emberpost_permits_since(%(at)s, %(dot)s)"
_COUNTS = """
SELECT count(*) FILTER (WHERE d.status = 'committing' AND d.permitted_at >= clock_timestamp() - %(dot)s * interval '1 s') AS fresh,
       count(*) FILTER (WHERE d.status = 'committing' AND d.permitted_at < clock_timestamp() - %(dot)s * interval '1 s') AS old,
       count(*) FILTER (WHERE d.permitted_at > %(at)s) AS since
FROM deliveries d WHERE (d.status = 'committing' OR d.permitted_at > %(at)s) AND
"""


def state(kind: str, scope_id: int = 0) -> StopState:
    """How far the stop of an ``instance``, ``client``, ``campaign`` or ``sender`` has come."""
    connection = plain_connection()
    found: list[Any] = rows(connection, _SINCE[kind], {"scope": scope_id})
    if not found or not found[0].stopped or found[0].at is None:
        return StopState(bool(found and found[0].stopped))
    values = {"scope": scope_id, "at": found[0].at, "dot": DOT_WITHIN_S}
    counts = rows(connection, _OVER_ALL if kind == "instance" else _COUNTS + _WHERE[kind], values)[0]
    return StopState(True, found[0].product_at or found[0].at, counts.fresh, counts.old, counts.since)
