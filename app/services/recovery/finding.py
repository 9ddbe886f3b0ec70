"""What lies in the Sent folders, set against the ledger: which held messages were sent, and what it has never heard of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.domain.headers import normal_id
from app.services.outbox import own_ids, uncertain
from app.services.outbox.gathering import House
from app.services.outbox.plain import plain_connection, rows, run
from app.services.recovery import holding, places


@dataclass(frozen=True, slots=True)
class Copy:
    """A mail in a Sent folder. ``at``: its Date, product time. ``raw``: the whole of it, where it was fetched."""

    sender_id: int
    message_id: str
    at: datetime
    to: str = ""
    raw: bytes | None = field(default=None, repr=False)


class Told(StrEnum):
    """What a copy told us."""

    NOT_OURS = "not_ours"
    KNOWN = "known"  # the ledger says so too
    FOUND = "found"  # held, and sent after all
    MADE = "made"  # the ledger had no row; now it has one, sent
    WANTED = "wanted"  # a row could be made of it: fetch the whole mail and ask again
    STRANGER = "stranger"  # its lead came after the backup and is lost with it


_ROW = """
SELECT id, status FROM deliveries WHERE id IN (
  SELECT id FROM deliveries WHERE idempotency_key = %(key)s UNION ALL
  SELECT delivery_id FROM known_message_ids WHERE message_id = ANY (%(ids)s::text[]) AND source = 'ours') ORDER BY id LIMIT 1
"""
_WALK = """
SELECT e.id FROM enrollments e JOIN steps t ON t.id = %(step)s AND t.campaign_id = e.campaign_id WHERE e.id = %(walk)s
"""
_WHEN = "UPDATE deliveries SET permit_product_at = %(at)s WHERE id = %(id)s AND status = 'uncertain'"
_BYTES = """
UPDATE deliveries SET mime = %(mime)s, message_id = %(message_id)s WHERE id = %(id)s AND status IN ('queued', 'leased') AND mime IS NULL
"""
_LEFT = frozenset({"sent", "delivered", "bounced", "complained", "failed", "cancelled"})


def attach(copy: Copy, *, number: str, began: datetime, now: datetime, house: House) -> Told:
    """Take one copy into account; in a transaction of its own, any number of times. ``number``: of this recovery."""
    opened = own_ids.open_id(copy.message_id)
    found = _row(copy, opened)
    if found is None:
        if opened is None:
            return Told.NOT_OURS
        return _make(copy, opened, number=number, began=began, now=now, house=house)
    if found.status in _LEFT:
        return Told.KNOWN
    _settle(found.id, copy, number=number, now=now, house=house)
    return Told.FOUND


def _row(copy: Copy, opened: own_ids.OwnId | None) -> Any:
    plain = normal_id(copy.message_id)
    values = {"ids": [plain, f"<{plain}>"], "key": opened.key if opened is not None and opened.key else None}
    found = rows(plain_connection(), _ROW, values)
    return found[0] if found else None


def _settle(delivery_id: int, copy: Copy, *, number: str, now: datetime, house: House) -> None:
    """Held if it was not, then sent, at the time the mail itself says."""
    connection = plain_connection()
    at = min(copy.at, now)
    holding.hold(connection, [delivery_id], number=number, at=at, house=house)
    places.retake(connection, [delivery_id], at)
    run(connection, _WHEN, {"id": delivery_id, "at": at})
    uncertain.arrived(delivery_id, "sent_folder")


def _make(copy: Copy, opened: own_ids.OwnId, *, number: str, began: datetime, now: datetime, house: House) -> Told:
    if opened.step is None:
        return Told.STRANGER  # an answer written after the backup: the reading engine files it in its thread
    walk, step = opened.step
    connection = plain_connection()
    if not rows(connection, _WALK, {"walk": walk, "step": step}):
        return Told.STRANGER
    if copy.raw is None:
        return Told.WANTED
    made = holding.make_rows(connection, [(walk, step, copy.sender_id)], cutoff=min(copy.at, now), began=began)
    if not made:
        return Told.STRANGER
    run(connection, _BYTES, {"id": made[0], "mime": copy.raw, "message_id": f"<{normal_id(copy.message_id)}>"})
    _settle(made[0], copy, number=number, now=now, house=house)
    return Told.MADE
