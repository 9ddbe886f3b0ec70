"""Campaigns, their steps (a tree), and the senders they rotate through."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.statuses import CampaignStatus, Channel
from app.models.base import Base, BigId, Created, Json, JsonList, Moment, Ref, one_of, tenant

REHEARSAL_STATES = ("queued", "running", "done", "failed")


class Campaign(Base):
    __tablename__ = "campaigns"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    name: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="draft", default="draft")
    status_epoch: Mapped[int] = mapped_column(server_default="0", default=0)
    status_at: Mapped[Moment | None]  # machine time of the last change
    status_product_at: Mapped[Moment | None]
    status_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    timezone: Mapped[str]
    windows: Mapped[JsonList]
    closed_days: Mapped[JsonList]
    weekend: Mapped[Json]
    holidays_country: Mapped[str | None]
    daily_cap: Mapped[int | None]
    daily_new_leads: Mapped[int | None]
    allow_elsewhere: Mapped[bool] = mapped_column(server_default="false", default=False)
    after_uncertain: Mapped[str] = mapped_column(server_default="hold", default="hold")
    version: Mapped[int] = mapped_column(server_default="1", default=1)
    created_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[Created]
    launched_at: Mapped[Moment | None]  # product time
    finished_at: Mapped[Moment | None]  # product time
    deleted_at: Mapped[Moment | None]
    __table_args__ = (
        Index(None, "client_id", "status"),
        one_of("status", CampaignStatus),
        one_of("after_uncertain", ("hold",)),
    )


class Step(Base):
    """Ids are immutable and never reused. A linear sequence is the tree in which each step has one child on branch ''."""

    __tablename__ = "steps"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    campaign_id: Mapped[Ref] = mapped_column(ForeignKey("campaigns.id"))
    parent_id: Mapped[Ref | None] = mapped_column(ForeignKey("steps.id"))
    branch: Mapped[str] = mapped_column(server_default="", default="")
    position: Mapped[int] = mapped_column(server_default="0", default=0)
    channel: Mapped[str] = mapped_column(server_default="email", default="email")
    delay_value: Mapped[int] = mapped_column(server_default="0", default=0)
    delay_unit: Mapped[str] = mapped_column(server_default="working_days", default="working_days")
    subject: Mapped[str] = mapped_column(server_default="", default="")
    text: Mapped[str] = mapped_column(server_default="", default="")
    html: Mapped[str] = mapped_column(server_default="", default="")
    deleted_at: Mapped[Moment | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Created]
    __table_args__ = (
        Index(None, "client_id"),
        Index(None, "campaign_id", "parent_id", "position"),
        one_of("channel", Channel),
        one_of("delay_unit", ("working_days", "days", "hours", "minutes")),
    )


class CampaignSender(Base):
    __tablename__ = "campaign_senders"
    campaign_id: Mapped[Ref] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    sender_id: Mapped[Ref] = mapped_column(ForeignKey("senders.id"), primary_key=True)
    client_id: Mapped[int] = tenant()
    position: Mapped[int] = mapped_column(server_default="0", default=0)
    __table_args__ = (Index(None, "client_id"), Index(None, "sender_id"))


class CampaignRehearsal(Base):
    """A campaign walked through in a throw-away database; ``result`` is its report without anybody's name but the senders'."""

    __tablename__ = "campaign_rehearsals"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    campaign_id: Mapped[Ref] = mapped_column(ForeignKey("campaigns.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(server_default="queued", default="queued")
    days: Mapped[int]
    replies_percent: Mapped[int]
    seed: Mapped[int]
    result: Mapped[Json]
    error: Mapped[str] = mapped_column(server_default="", default="")
    created_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[Created]
    finished_at: Mapped[Moment | None]  # machine time
    __table_args__ = (
        Index(None, "client_id", "campaign_id", "id"),
        one_of("status", REHEARSAL_STATES),
    )


class Enrollment(Base):
    """One lead's walk through one campaign. ``next_at`` is product time; ``last_step_id`` the furthest step that left."""

    __tablename__ = "enrollments"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    campaign_id: Mapped[Ref] = mapped_column(ForeignKey("campaigns.id"))
    lead_id: Mapped[Ref] = mapped_column(ForeignKey("leads.id"))
    sender_id: Mapped[Ref | None] = mapped_column(ForeignKey("senders.id"), index=True)
    status: Mapped[str] = mapped_column(server_default="waiting", default="waiting")
    reason: Mapped[str | None]  # a Reason code while it waits or after it ended
    detail: Mapped[str] = mapped_column(server_default="", default="")  # e.g. the missing variable
    next_step_id: Mapped[Ref | None]
    next_at: Mapped[Moment | None]
    held_until: Mapped[Moment | None]
    last_step_id: Mapped[Ref | None]
    last_sent_at: Mapped[Moment | None]
    paused_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    conversation_id: Mapped[Ref | None]
    enrolled_at: Mapped[Moment]  # product time
    ended_at: Mapped[Moment | None]  # product time
    __table_args__ = (
        UniqueConstraint("campaign_id", "lead_id"),
        Index(None, "client_id", "lead_id"),
        Index("ix_enrollments_due", "next_at", postgresql_where=text("status = 'waiting'")),
        Index("ix_enrollments_next", "sender_id", "next_at", "id", postgresql_where=text("status = 'waiting'")),
        Index("ix_enrollments_held", "held_until", postgresql_where=text("status = 'held' AND held_until IS NOT NULL")),
        Index(None, "campaign_id", "status"),
        one_of(
            "status",
            (
                "waiting", "in_flight", "needs_attention", "held", "paused",
                "replied", "bounced", "unsubscribed", "stopped", "finished", "skipped", "failed",
            ),
        ),
    )
