"""Mailboxes as the pages list them: state, health with its reason, what they sent of their cap, when they were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text

from app.core.extensions import db
from app.domain.statuses import SenderStatus
from app.models import Mailbox

#: What the strip of figures filters by.
HEALTHY, ATTENTION, WAITING, HELD = "working", "attention", "connecting", "paused"
FILTERS = (HEALTHY, ATTENTION, WAITING, HELD)


@dataclass(frozen=True)
class MailboxLine:
    """``status_since``: product time. ``sent_today`` counts the sender's own local day; ``verify`` is {} before the first login was tried."""

    id: int
    address: str
    display_name: str
    provider: str
    timezone: str
    status: str
    status_reason: str
    status_since: datetime
    daily_cap: int
    min_gap_s: int
    sent_today: int
    queued: int
    next_at: datetime | None
    backoff_until: datetime | None
    last_read_at: datetime | None
    read_status: str
    read_error: str
    verified_at: datetime | None
    campaigns: int
    verify: Mapping[str, Any] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """Which figure of the strip it belongs to."""
        if self.status == SenderStatus.AUTH_FAILED or (self.status == SenderStatus.ACTIVE and self.read_error) or self.tripped:
            return ATTENTION
        if self.status == SenderStatus.CONNECTING:
            return ATTENTION if self.failures else WAITING
        return HELD if self.status == SenderStatus.PAUSED else HEALTHY

    @property
    def tripped(self) -> bool:
        """Paused by the machine, not by a person."""
        return self.status == SenderStatus.PAUSED and self.status_reason not in {"paused_by_person", "stopped", ""}

    @property
    def failures(self) -> int:
        return int(self.verify.get("failures", 0)) if self.verify.get("state") == "done" else 0

    @property
    def verifying(self) -> bool:
        return self.verify.get("state") in {"queued", "running"}


_LINES = """
SELECT s.id, s.address, s.display_name, m.provider, s.timezone, s.status, s.status_reason,
  coalesce(s.status_product_at, s.status_since) AS status_since, s.daily_cap, s.min_gap_s,
  coalesce(u.used, 0) AS sent_today, coalesce(q.queued, 0) AS queued,
  CASE WHEN q.queued > 0 AND s.status = 'active' THEN greatest(q.first_due, s.next_at, s.backoff_until) END AS next_at,
  s.backoff_until, m.last_read_at, m.read_status, m.read_error, m.verified_at, coalesce(c.campaigns, 0) AS campaigns,
  m.verify_result AS verify
FROM senders s JOIN mailboxes m ON m.id = s.id
LEFT JOIN usage_counters u ON u.scope_kind = 'sender' AND u.scope_id = s.id::text AND u.action = 'day'
  AND u.window_start = date_trunc('day', cast(:now AS timestamptz) AT TIME ZONE s.timezone) AT TIME ZONE s.timezone
LEFT JOIN (SELECT sender_id, count(*) AS queued, min(due_at) AS first_due FROM deliveries
           WHERE client_id = :client AND shelf IN ('queued', 'held') AND status IN ('queued', 'leased') GROUP BY sender_id) q ON q.sender_id = s.id
LEFT JOIN (SELECT x.sender_id, count(*) AS campaigns FROM campaign_senders x JOIN campaigns k ON k.id = x.campaign_id
           WHERE x.client_id = :client AND k.status IN ('running', 'paused') AND k.deleted_at IS NULL GROUP BY x.sender_id) c
  ON c.sender_id = s.id
WHERE s.client_id = :client AND s.channel = 'email' AND s.deleted_at IS NULL {only}
ORDER BY s.address_key
"""


def lines(client_id: int, now: datetime, search: str = "") -> list[MailboxLine]:
    """All mailboxes of a client, by address; ``search`` in address and name. ``now``: product time."""
    only = "AND (s.address_key LIKE :like OR lower(s.display_name) LIKE :like)" if search else ""
    escaped = search.lower().replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return _read(only, {"client": client_id, "now": now, "like": f"%{escaped}%"})


def line(client_id: int, mailbox_id: int, now: datetime) -> MailboxLine | None:
    found = _read("AND s.id = :id", {"client": client_id, "now": now, "id": mailbox_id})
    return found[0] if found else None


def _read(only: str, values: dict[str, Any]) -> list[MailboxLine]:
    return [MailboxLine(**row) for row in db.session.execute(text(_LINES.format(only=only)), values).mappings()]


@dataclass(frozen=True)
class Figures:
    total: int
    groups: dict[str, int]
    sent_today: int
    allowed_today: int


def figures(found: list[MailboxLine]) -> Figures:
    """The strip above the list."""
    groups = {name: sum(one.group == name for one in found) for name in FILTERS}
    allowed = sum(one.daily_cap for one in found if one.status == SenderStatus.ACTIVE)
    return Figures(len(found), groups, sum(one.sent_today for one in found), allowed)


@dataclass(frozen=True)
class Sent:
    """One message that left or tried to, for the mailbox's own page."""

    id: int
    kind: str
    status: str
    to_address: str
    reason: str | None
    reply_text: str | None
    due_at: datetime
    sent_at: datetime | None


def recent(client_id: int, mailbox_id: int, limit: int = 12) -> list[Sent]:
    """The newest messages of one mailbox."""
    rows = db.session.execute(
        text(
            "SELECT id, kind, status, to_address, reason, reply_text, due_at, sent_at FROM deliveries"
            " WHERE client_id = :client AND sender_id = :id ORDER BY due_at DESC, id DESC LIMIT :limit"
        ),
        {"client": client_id, "id": mailbox_id, "limit": limit},
    )
    return [Sent(**row) for row in rows.mappings()]


def older_left(mailbox: Mailbox) -> int:
    """How many folders have not been read back to where somebody asked; 1 where none was looked at yet."""
    row = db.session.execute(
        text(
            "SELECT count(*) FILTER (WHERE older_since IS NULL OR older_since > :since) AS waiting, count(*) AS known"
            " FROM folder_states WHERE mailbox_id = :id AND client_id = :client"
        ),
        {"since": mailbox.older_since, "id": mailbox.id, "client": mailbox.client_id},
    ).one()
    return int(row.waiting) if row.known else 1
