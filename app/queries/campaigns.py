"""Reading campaigns: lists, one campaign whole, its senders, the values its leads have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text

from app.core import clock
from app.core.errors import NotFound
from app.core.extensions import db
from app.domain.personalisation import KNOWN_VARIABLES
from app.domain.sequence import in_order
from app.models import Campaign, Step
from app.queries.campaign_people import PersonLine, people, people_counts
from app.queries.campaign_steps import node_of
from app.queries.places import MOST, read_cursor, write_cursor

__all__ = ["CampaignLine", "PersonLine", "SenderLine", "VariableShare", "campaign", "campaigns", "people", "people_counts",
           "senders", "status_counts", "steps", "variables"]  # fmt: skip

@dataclass(frozen=True)
class CampaignLine:
    """One line of the list. ``done`` of ``leads`` have ended; ``contacted`` got at least one message."""

    id: int
    name: str
    status: str
    leads: int
    contacted: int
    done: int
    replied: int
    needs_attention: int
    sent: int
    created_at: datetime
    launched_at: datetime | None


@dataclass(frozen=True)
class SenderLine:
    """A mailbox, chosen for the campaign or not. ``sent_today`` on its own local day, of ``daily_cap``."""

    id: int
    address: str
    display_name: str
    status: str
    status_reason: str
    daily_cap: int
    sent_today: int
    leads: int
    chosen: bool


def campaign(client_id: int, campaign_id: int) -> Campaign:
    """Raises NotFound (also for a removed one)."""
    found = db.session.scalar(
        select(Campaign).where(Campaign.id == campaign_id, Campaign.client_id == client_id, Campaign.deleted_at.is_(None))
    )
    if found is None:
        raise NotFound
    return found


_LIST = """
WITH page AS (
  SELECT id, name, status, created_at, launched_at FROM campaigns
  WHERE client_id = :client AND deleted_at IS NULL AND (cast(:status AS text) IS NULL OR status = :status)
    AND (:search = '' OR name ILIKE '%' || :search || '%') AND (cast(:before AS bigint) IS NULL OR id < :before)
  ORDER BY id DESC LIMIT :limit)
SELECT p.id, p.name, p.status, coalesce(e.leads, 0), coalesce(e.contacted, 0), coalesce(e.done, 0), coalesce(e.replied, 0),
       coalesce(e.attention, 0), coalesce(d.sent, 0), p.created_at, p.launched_at
FROM page p
LEFT JOIN LATERAL (
  SELECT count(*) AS leads, count(*) FILTER (WHERE last_step_id IS NOT NULL) AS contacted,
         count(*) FILTER (WHERE status NOT IN ('waiting', 'in_flight', 'needs_attention', 'held', 'paused')) AS done,
         count(*) FILTER (WHERE status = 'replied') AS replied, count(*) FILTER (WHERE status = 'needs_attention') AS attention
  FROM enrollments WHERE campaign_id = p.id) e ON true
LEFT JOIN LATERAL (
  SELECT count(*) AS sent FROM deliveries WHERE campaign_id = p.id AND shelf IN ('sent', 'delivered', 'bounced', 'complained')
    AND kind = 'campaign_step') d ON true
ORDER BY p.id DESC
"""


def campaigns(
    client_id: int, *, status: str | None = None, search: str = "", cursor: str | None = None, limit: int = 50
) -> tuple[list[CampaignLine], str | None]:
    """Newest first, with the next cursor."""
    limit = max(1, min(limit, MOST))
    place = read_cursor(cursor, 1)
    wanted = search.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    values = {"client": client_id, "status": status, "search": wanted, "before": place[0] if place else None, "limit": limit + 1}
    lines = [CampaignLine(*row) for row in db.session.execute(text(_LIST), values)]
    return lines[:limit], write_cursor(lines[limit - 1].id) if len(lines) > limit else None


def status_counts(client_id: int) -> dict[str, int]:
    """How many campaigns in each status; the key ``all`` for the sum."""
    rows = db.session.execute(
        text("SELECT status, count(*) FROM campaigns WHERE client_id = :client AND deleted_at IS NULL GROUP BY status"),
        {"client": client_id},
    )
    counts = {str(row[0]): int(row[1]) for row in rows}
    return {**counts, "all": sum(counts.values())}


def steps(client_id: int, campaign_id: int) -> list[Step]:
    """The living steps in order."""
    statement = select(Step).where(Step.campaign_id == campaign_id, Step.client_id == client_id)
    found = {step.id: step for step in db.session.scalars(statement.execution_options(populate_existing=True))}
    return [found[node.id] for node in in_order([node_of(step) for step in found.values()])]


_SENDERS = """
SELECT s.id, s.address, s.display_name, s.status, s.status_reason, s.daily_cap,
       coalesce((SELECT u.used FROM usage_counters u WHERE u.scope_kind = 'sender' AND u.scope_id = s.id::text AND u.action = 'day'
         AND u.window_start <= :now AND u.window_start > cast(:now AS timestamptz) - interval '26 hours'
         AND (u.window_start AT TIME ZONE s.timezone)::date = (cast(:now AS timestamptz) AT TIME ZONE s.timezone)::date LIMIT 1), 0),
       (SELECT count(*) FROM enrollments e WHERE e.campaign_id = :campaign AND e.sender_id = s.id),
       cs.sender_id IS NOT NULL
FROM senders s LEFT JOIN campaign_senders cs ON cs.sender_id = s.id AND cs.campaign_id = :campaign
WHERE s.client_id = :client AND s.deleted_at IS NULL
ORDER BY cs.sender_id IS NULL, cs.position, s.address, s.id
"""


def senders(client_id: int, campaign_id: int, *, now: datetime | None = None) -> list[SenderLine]:
    """Every mailbox of the client, the chosen ones first in their order. ``now``: product time."""
    rows = db.session.execute(text(_SENDERS), {"client": client_id, "campaign": campaign_id, "now": now or clock.now()})
    return [SenderLine(*row) for row in rows]


@dataclass(frozen=True)
class VariableShare:
    """A variable for the editor's menu: how many of the campaign's leads (without any: of the client's) have a value."""

    name: str
    label: str
    having: int
    of: int


_LEAD_FIELDS = ("first_name", "last_name", "company", "title", "email", "linkedin_url", "timezone", "language")
_WHOSE = (
    "FROM leads l WHERE l.client_id = :client AND (NOT :enrolled OR EXISTS"
    " (SELECT 1 FROM enrollments e WHERE e.campaign_id = :campaign AND e.lead_id = l.id))"
)


def variables(client_id: int, campaign_id: int) -> list[VariableShare]:
    """Known variables first, then custom fields by name; the sender's and client's own count as always there."""
    values: dict[str, Any] = {"client": client_id, "campaign": campaign_id}
    some = text("SELECT EXISTS (SELECT 1 FROM enrollments WHERE client_id = :client AND campaign_id = :campaign)")
    values["enrolled"] = bool(db.session.scalar(some, values))
    columns = ", ".join(f"count(nullif(trim(l.{name}), '')) AS {name}" for name in _LEAD_FIELDS)
    row = db.session.execute(text(f"SELECT count(*) AS everybody, {columns} {_WHOSE}"), values).one()
    found = [
        VariableShare(known.name, known.label, getattr(row, known.name, row.everybody), row.everybody) for known in KNOWN_VARIABLES
    ]
    custom = db.session.execute(
        text(
            f"SELECT kv.key, count(*) FILTER (WHERE trim(kv.value) <> '') FROM (SELECT l.custom {_WHOSE}) x,"
            " jsonb_each_text(x.custom) kv GROUP BY kv.key ORDER BY kv.key LIMIT 200"
        ),
        values,
    )
    return found + [VariableShare(name, name, having, row.everybody) for name, having in custom]
