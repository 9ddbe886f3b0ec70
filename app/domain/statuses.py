"""The closed sets of states. How a delivery moves between them is in ``delivery_edges``."""

from __future__ import annotations

from enum import StrEnum

from app.domain.words import Word


class DeliveryStatus(StrEnum):
    QUEUED = "queued"
    LEASED = "leased"
    COMMITTING = "committing"
    SENT = "sent"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    CANCELLED = "cancelled"


#: The states in which a row is some engine's.
HELD_BY_US = frozenset({DeliveryStatus.LEASED, DeliveryStatus.COMMITTING})


def shelf_of(status: str) -> str:
    """Where indexes find a row of this status, as the column ``deliveries.shelf`` says it: those an engine holds lie together."""
    return "held" if status in HELD_BY_US else str(status)


class DeliveryKind(Word):
    CAMPAIGN_STEP = "campaign_step"
    WARMUP = "warmup"
    REPLY = "reply"
    TEST = "test"
    WITHDRAWAL = "withdrawal"
    NOTICE = "notice"
    DIGEST = "digest"
    ACCOUNT = "account"


class EnrollmentStatus(StrEnum):
    WAITING = "waiting"
    IN_FLIGHT = "in_flight"
    NEEDS_ATTENTION = "needs_attention"
    HELD = "held"
    PAUSED = "paused"
    REPLIED = "replied"
    BOUNCED = "bounced"
    UNSUBSCRIBED = "unsubscribed"
    STOPPED = "stopped"
    FINISHED = "finished"
    SKIPPED = "skipped"
    FAILED = "failed"


class CampaignStatus(StrEnum):
    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    STOPPED = "stopped"


class SenderStatus(StrEnum):
    CONNECTING = "connecting"
    ACTIVE = "active"
    PAUSED = "paused"
    AUTH_FAILED = "auth_failed"


class ConversationStatus(StrEnum):
    OPEN = "open"
    SNOOZED = "snoozed"
    CLOSED = "closed"


class Channel(StrEnum):
    EMAIL = "email"
    LINKEDIN = "linkedin"


class Direction(StrEnum):
    IN = "in"
    OUT = "out"


class Role(StrEnum):
    ADMIN = "admin"
    AGENT = "agent"
    VIEWER = "viewer"


D = DeliveryStatus

DELIVERY_ENDED = frozenset({D.SENT, D.DELIVERED, D.BOUNCED, D.COMPLAINED, D.FAILED, D.CANCELLED})
DELIVERY_LEFT_THE_HOUSE = frozenset({D.SENT, D.DELIVERED, D.BOUNCED, D.COMPLAINED})

ENROLLMENT_ACTIVE = frozenset(
    {
        EnrollmentStatus.WAITING,
        EnrollmentStatus.IN_FLIGHT,
        EnrollmentStatus.NEEDS_ATTENTION,
        EnrollmentStatus.HELD,
        EnrollmentStatus.PAUSED,
    }
)
ENROLLMENT_ENDED = frozenset(EnrollmentStatus) - ENROLLMENT_ACTIVE

CAMPAIGN_EDGES: dict[CampaignStatus, frozenset[CampaignStatus]] = {
    CampaignStatus.DRAFT: frozenset({CampaignStatus.RUNNING, CampaignStatus.STOPPED}),
    CampaignStatus.RUNNING: frozenset({CampaignStatus.PAUSED, CampaignStatus.FINISHED, CampaignStatus.STOPPED}),
    CampaignStatus.PAUSED: frozenset({CampaignStatus.RUNNING, CampaignStatus.STOPPED}),
    CampaignStatus.FINISHED: frozenset({CampaignStatus.RUNNING, CampaignStatus.STOPPED}),
    CampaignStatus.STOPPED: frozenset(),
}
