"""The outbox. Everything that leaves the house is first a row here; attempts say what happened; counters hold the caps.

``DeliveryColumns`` is declared once for both lanes: ``deliveries`` (outreach) now, ``warmup_deliveries`` with its capability.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, Index, LargeBinary, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.statuses import DeliveryKind, DeliveryStatus
from app.models.base import Base, BigId, Created, Json, Moment, Ref, one_of, tenant, tenant_of_history


class DeliveryColumns:
    """What claim, permit and record read and write, the same in both lanes."""

    kind: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="queued", default="queued")
    reason: Mapped[str | None]  # why it waits or was cancelled: a Reason code
    detail: Mapped[str] = mapped_column(server_default="", default="")
    due_at: Mapped[Moment]  # product time
    not_before: Mapped[Moment | None]  # machine time: the undo of an answer
    expires_at: Mapped[Moment | None]  # product time: give up retrying
    epoch: Mapped[int] = mapped_column(server_default="0", default=0)
    lease_owner: Mapped[str | None]
    leased_until: Mapped[Moment | None]  # machine time
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0", default=0)
    to_address: Mapped[str]
    email_key: Mapped[str]
    recipient_domain: Mapped[str] = mapped_column(server_default="", default="")
    recipient_provider: Mapped[str] = mapped_column(server_default="", default="")
    mime: Mapped[bytes | None] = mapped_column(LargeBinary)  # frozen under the first lease, never changed after
    message_id: Mapped[str | None]  # ours, fixed with the bytes
    provider_message_id: Mapped[str | None]
    rendered_at: Mapped[Moment | None]  # product time
    permitted_at: Mapped[Moment | None]  # machine time of the last permit
    permit_product_at: Mapped[Moment | None]  # product time of the last permit (= :now of the statement)
    counters: Mapped[list[Any] | None] = mapped_column(JSONB)  # keys the permit added to: an explicit refusal gives them back
    sent_at: Mapped[Moment | None]  # product time of the permit whose dot was accepted
    answered_at: Mapped[Moment | None]  # machine time of the outcome
    phase: Mapped[str | None]  # last phase reached
    reply_code: Mapped[int | None]
    reply_enhanced: Mapped[str | None]
    reply_text: Mapped[str | None]


#: No index holds ``status`` itself, so a permit, which changes nothing else that an index holds, enters none of them anew.
SHELF = "CASE WHEN status IN ('leased', 'committing') THEN 'held' ELSE status END"


class Delivery(DeliveryColumns, Base):
    __tablename__ = "deliveries"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    #: Where indexes find the row: its status, with ``leased`` and ``committing`` as one (decision 0097).
    shelf: Mapped[str] = mapped_column(Computed(SHELF, persisted=True))
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    sender_id: Mapped[Ref] = mapped_column(ForeignKey("senders.id"))
    shard: Mapped[int] = mapped_column(SmallInteger, Computed("mod(sender_id, 64)::smallint", persisted=True))
    campaign_id: Mapped[Ref | None] = mapped_column(ForeignKey("campaigns.id"))
    enrollment_id: Mapped[Ref | None] = mapped_column(ForeignKey("enrollments.id"))
    step_id: Mapped[Ref | None] = mapped_column(ForeignKey("steps.id"))
    lead_id: Mapped[Ref | None] = mapped_column(ForeignKey("leads.id"))
    conversation_id: Mapped[Ref | None]
    inbox_message_id: Mapped[Ref | None]  # messages.delivery_id holds the foreign key; two would be a circle
    retry_of: Mapped[Ref | None] = mapped_column(ForeignKey("deliveries.id"))
    first_of_lead: Mapped[bool] = mapped_column(server_default="false", default=False)  # counts towards new leads per day
    draft: Mapped[Json]  # what a manual reply or test send is rendered from: {subject, text, html, attachments, in_reply_to, references}
    evidence: Mapped[Json]  # what was tried to resolve an uncertain one
    resolved_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    resolved_at: Mapped[Moment | None]
    late_accept: Mapped[bool] = mapped_column(server_default="false", default=False)  # a late 2xx on a row sent again: a double
    created_at: Mapped[Created]
    __table_args__ = (
        Index("ix_deliveries_due", "shard", "due_at", "id", postgresql_where=text("shelf = 'queued'")),
        Index("ix_deliveries_held_by_us", "sender_id", postgresql_where=text("shelf = 'held'")),
        Index("ix_deliveries_uncertain", "client_id", "id", postgresql_where=text("shelf = 'uncertain'")),
        Index("ix_deliveries_failed", "client_id", "id", postgresql_where=text("shelf = 'failed'")),
        Index(None, "client_id", "shelf", "due_at"),
        Index(None, "campaign_id", "shelf", "due_at"),
        Index(None, "enrollment_id"),
        Index(None, "lead_id"),
        Index("ix_deliveries_conversation_id", "conversation_id", postgresql_where=text("conversation_id IS NOT NULL")),
        Index(None, "client_id", "email_key"),
        one_of("status", DeliveryStatus),
        one_of("kind", DeliveryKind),
        CheckConstraint("status NOT IN ('committing', 'sent') OR mime IS NOT NULL", name="bytes_before_permit"),
        CheckConstraint("(status IN ('leased', 'committing')) = (leased_until IS NOT NULL)", name="lease_while_held"),
    )


class DeliveryAttempt(Base):
    """One try: the phase reached, what the server said. One row per epoch."""

    __tablename__ = "delivery_attempts"
    delivery_id: Mapped[Ref] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[int] = tenant_of_history()
    engine: Mapped[str]
    started_at: Mapped[Created]  # machine time
    permitted_at: Mapped[Moment | None]
    ended_at: Mapped[Moment | None]
    outcome: Mapped[str | None]
    phase: Mapped[str | None]
    code: Mapped[int | None]
    enhanced: Mapped[str | None]
    text: Mapped[str | None]
    __table_args__ = (Index(None, "client_id"),)


class KnownMessageId(Base):
    """Every Message-ID under which a message of ours or of a thread is known: ours, the provider's, inbound ones."""

    __tablename__ = "known_message_ids"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant_of_history()
    message_id: Mapped[str]
    source: Mapped[str]
    delivery_id: Mapped[Ref | None]
    inbox_message_id: Mapped[Ref | None] = mapped_column(ForeignKey("messages.id"))
    thread_key: Mapped[str | None]  # the thread a mailbox sorted it into: app/domain/mail_threads.py
    __table_args__ = (
        Index("ix_known_message_ids_thread", "client_id", "thread_key", postgresql_where=text("thread_key IS NOT NULL")),
        Index("uq_known_message_ids", "client_id", "message_id", "source", unique=True),
        Index("ix_known_message_ids_of_ours", "message_id", postgresql_where=text("source IN ('ours', 'provider')")),
        Index(None, "delivery_id"),
        one_of("source", ("ours", "provider", "inbound", "outside")),
    )


class UsageCounter(Base):
    """Exact caps. ``used <= cap`` is the belt under the permit; a lowered cap is stored as greatest(cap, used)."""

    __tablename__ = "usage_counters"
    scope_kind: Mapped[str] = mapped_column(primary_key=True)
    scope_id: Mapped[str] = mapped_column(primary_key=True)
    action: Mapped[str] = mapped_column(primary_key=True)
    window_start: Mapped[Moment] = mapped_column(primary_key=True)
    used: Mapped[int] = mapped_column(server_default="0", default=0)
    cap: Mapped[int | None]
    __table_args__ = (
        CheckConstraint("used >= 0", name="not_negative"),
        CheckConstraint("cap IS NULL OR used <= cap", name="within_cap"),
    )


class Shard(Base):
    """Who looks after which senders; renewed on PostgreSQL's clock. Correctness does not rest on it."""

    __tablename__ = "shards"
    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    owner: Mapped[str | None]
    epoch: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    leased_until: Mapped[Moment | None]
    __table_args__ = (one_of("kind", ("dispatch", "read")),)
