"""The senders a campaign rotates through, and which lead is written to by which of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from app.core.bell import DISPATCH, ring_after_commit
from app.core.extensions import db
from app.models import Campaign, CampaignSender
from app.services.enrolling import choose_senders as spread
from app.services.enrollments import ACTIVE

_LOADS = text(
    "SELECT x.id, (SELECT count(*) FROM enrollments e WHERE e.sender_id = x.id AND e.status = ANY(:active)"
    " AND NOT (e.campaign_id = :campaign AND e.last_step_id IS NULL))"
    " FROM unnest(cast(:senders AS bigint[])) AS x(id)"
)
# nobody has written to them and nothing is on its way: changing the sender is silent
_UNTOUCHED = text(
    "SELECT e.id, e.sender_id FROM enrollments e WHERE e.campaign_id = :campaign AND e.client_id = :client AND e.status = ANY(:active)"
    " AND e.last_step_id IS NULL AND NOT (e.sender_id = ANY(:senders))"
    " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.enrollment_id = e.id AND d.status NOT IN ('queued', 'cancelled'))"
    " ORDER BY e.id FOR UPDATE OF e"
)
_UNASSIGNED = text(
    "SELECT id, NULL::bigint FROM enrollments WHERE campaign_id = :campaign AND client_id = :client AND status = ANY(:active)"
    " AND sender_id IS NULL AND last_step_id IS NULL ORDER BY id FOR UPDATE"
)
_ASSIGN = text(
    "UPDATE enrollments e SET sender_id = x.sender_id, reason = CASE WHEN e.reason = 'no_sender' THEN NULL ELSE e.reason END"
    " FROM unnest(cast(:ids AS bigint[]), cast(:senders AS bigint[])) AS x(id, sender_id) WHERE e.id = x.id AND e.client_id = :client"
)
# rows not yet rendered follow their lead to the new sender
_ASSIGN_ROWS = text(
    "UPDATE deliveries d SET sender_id = e.sender_id FROM enrollments e WHERE d.enrollment_id = e.id AND e.id = ANY(:ids)"
    " AND d.status = 'queued' AND d.mime IS NULL AND d.sender_id IS DISTINCT FROM e.sender_id"
)


def replace_senders(campaign: Campaign, senders: Sequence[int]) -> None:
    """Write the list and spread the leads nobody has written to yet."""
    db.session.execute(text("DELETE FROM campaign_senders WHERE campaign_id = :id"), {"id": campaign.id})
    for position, sender in enumerate(senders):
        db.session.add(
            CampaignSender(campaign_id=campaign.id, sender_id=sender, client_id=campaign.client_id, position=position)
        )
    db.session.flush()
    _spread_again(campaign, senders)


def _spread_again(campaign: Campaign, senders: Sequence[int]) -> None:
    if not senders:
        return
    values = {"campaign": campaign.id, "client": campaign.client_id, "active": list(ACTIVE), "senders": list(senders)}
    waiting = [row[0] for row in db.session.execute(_UNTOUCHED, values)]
    waiting += [row[0] for row in db.session.execute(_UNASSIGNED, values)]
    if not waiting:
        return
    loads = {row[0]: row[1] for row in db.session.execute(_LOADS, values)}
    assign(campaign.client_id, waiting, [sender or senders[0] for sender in spread(waiting, loads, {})])


def assign(client_id: int, enrollment_ids: Sequence[int], senders: Sequence[int]) -> None:
    """Give locked enrollments their senders; unrendered messages move along."""
    db.session.execute(_ASSIGN, {"ids": list(enrollment_ids), "senders": list(senders), "client": client_id})
    db.session.execute(_ASSIGN_ROWS, {"ids": list(enrollment_ids)})
    ring_after_commit(DISPATCH)
