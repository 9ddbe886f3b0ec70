"""The few figures every page shows: the live card and the counts beside the menu. Cheap: each is one indexed count."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, or_, select

from app.core.extensions import db
from app.domain.statuses import CampaignStatus, DeliveryStatus, EnrollmentStatus, SenderStatus
from app.models import Campaign, Conversation, Delivery, Enrollment, Sender, Switch


@dataclass(frozen=True)
class LiveFigures:
    mailboxes_active: int = 0
    mailboxes: int = 0
    sent_today: int = 0
    planned_today: int = 0  # sent, or due before the day ends; never more than its mailboxes may send
    allowed_today: int = 0
    unread: int = 0
    stopped: bool = False
    counts: dict[str, int] = field(default_factory=dict)  # by the menu's keys


NOTHING = LiveFigures()


def live_figures(client_id: int, day_start: datetime, day_end: datetime) -> LiveFigures:
    """Figures of one client; ``day_start`` and ``day_end`` bound its local day, in product time."""
    active = Sender.status == SenderStatus.ACTIVE
    mailboxes, working, allowed = db.session.execute(
        select(
            func.count(), func.count().filter(active), func.coalesce(func.sum(Sender.daily_cap).filter(active), 0)
        ).where(Sender.client_id == client_id, Sender.deleted_at.is_(None))
    ).one()
    sent = db.session.scalar(
        select(func.count()).where(
            Delivery.client_id == client_id,
            Delivery.shelf.in_(
                [DeliveryStatus.SENT, DeliveryStatus.DELIVERED, DeliveryStatus.BOUNCED, DeliveryStatus.COMPLAINED]
            ),
            Delivery.due_at >= day_start,
            Delivery.sent_at >= day_start,
        )
    )
    planned = max(sent or 0, min((sent or 0) + _due(client_id, day_end, int(allowed)), int(allowed)))
    unread = db.session.scalar(
        select(func.count()).where(
            Conversation.client_id == client_id,
            Conversation.in_inbox,
            Conversation.unread > 0,
            Conversation.is_other.is_(False),
        )
    )
    stopped = db.session.scalar(
        select(func.bool_or(Switch.stopped)).where(
            or_(Switch.scope_kind == "instance", (Switch.scope_kind == "client") & (Switch.scope_id == client_id))
        )
    )
    return LiveFigures(working, mailboxes, sent or 0, planned, int(allowed), unread or 0, bool(stopped), {"inbox": unread or 0})


def _due(client_id: int, before: datetime, most: int) -> int:
    """Messages of running campaigns that become due before then, counted up to ``most``: in the outbox, or a lead's next one."""
    rows = select(Delivery.id).where(
        Delivery.client_id == client_id, Delivery.shelf == DeliveryStatus.QUEUED, Delivery.due_at < before, Delivery.campaign_id.is_not(None)
    )
    walks = (
        select(Enrollment.id)
        .join(Sender, Sender.id == Enrollment.sender_id)
        .join(Campaign, Campaign.id == Enrollment.campaign_id)
        .where(
            Enrollment.client_id == client_id, Enrollment.status == EnrollmentStatus.WAITING, Enrollment.next_at < before,
            Sender.status == SenderStatus.ACTIVE, Campaign.status == CampaignStatus.RUNNING,
        )
    )  # fmt: skip
    return sum(db.session.scalar(select(func.count()).select_from(found.limit(most).subquery())) or 0 for found in (rows, walks))
