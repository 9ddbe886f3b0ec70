"""The few figures every page shows: the live card and the counts beside the menu. Cheap: each is one indexed count."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, or_, select

from app.core.extensions import db
from app.domain.statuses import DeliveryStatus, SenderStatus
from app.models import Conversation, Delivery, Sender, Switch


@dataclass(frozen=True)
class LiveFigures:
    mailboxes_active: int = 0
    mailboxes: int = 0
    sent_today: int = 0
    allowed_today: int = 0
    unread: int = 0
    stopped: bool = False
    counts: dict[str, int] = field(default_factory=dict)  # by the menu's keys


NOTHING = LiveFigures()


def live_figures(client_id: int, day_start: datetime) -> LiveFigures:
    """Figures of one client; ``day_start`` is the beginning of its local day, in product time."""
    active = Sender.status == SenderStatus.ACTIVE
    mailboxes, working, allowed = db.session.execute(
        select(
            func.count(), func.count().filter(active), func.coalesce(func.sum(Sender.daily_cap).filter(active), 0)
        ).where(Sender.client_id == client_id, Sender.deleted_at.is_(None))
    ).one()
    sent = db.session.scalar(
        select(func.count()).where(
            Delivery.client_id == client_id,
            Delivery.status.in_(
                [DeliveryStatus.SENT, DeliveryStatus.DELIVERED, DeliveryStatus.BOUNCED, DeliveryStatus.COMPLAINED]
            ),
            Delivery.due_at >= day_start,
            Delivery.sent_at >= day_start,
        )
    )
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
    return LiveFigures(working, mailboxes, sent or 0, int(allowed), unread or 0, bool(stopped), {"inbox": unread or 0})
