"""The append-only timeline that analytics count, and the trail of what people changed."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, Created, Json, Moment, Ref, one_of, tenant_of_history

KINDS = (
    "connection_request_sent", "connection_accepted", "connection_accepted_historical", "message_sent", "message_received",
    "mail_bounced", "unsubscribed", "complained", "invitation_withdrawn", "reply_automatic", "enrollment_started",
    "enrollment_ended", "warmup_sent", "warmup_received", "warmup_rescued",
)


class Activity(Base):
    __tablename__ = "activities"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant_of_history()
    kind: Mapped[str]
    channel: Mapped[str | None]
    campaign_id: Mapped[Ref | None]
    enrollment_id: Mapped[Ref | None]
    step_id: Mapped[Ref | None]
    lead_id: Mapped[Ref | None]
    sender_id: Mapped[Ref | None]
    delivery_id: Mapped[Ref | None]
    message_id: Mapped[Ref | None]
    meta: Mapped[Json]
    at: Mapped[Moment]  # product time, UTC
    created_at: Mapped[Created]
    __table_args__ = (
        Index(None, "client_id", "at"),
        Index(None, "client_id", "lead_id", "at"),
        Index(None, "campaign_id", "kind", "at"),
        one_of("kind", KINDS),
    )


class AuditEntry(Base):
    """Who changed what, when, from where. Append-only by grant. ``client_id`` NULL: the instance."""

    __tablename__ = "audit_entries"
    id: Mapped[BigId]
    client_id: Mapped[Ref | None] = mapped_column(ForeignKey("clients.id"))
    user_id: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    action: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[str]
    before: Mapped[Json]
    after: Mapped[Json]
    address: Mapped[str] = mapped_column(server_default="", default="")
    at: Mapped[Created]
    __table_args__ = (Index(None, "client_id", "id"),)


class AuditSeal(Base):
    """The seal of one entry: SHA-256 over the seal before it in the chain and the entry. ``chain``: the client's id, 0: the instance."""

    __tablename__ = "audit_seals"
    entry_id: Mapped[Ref] = mapped_column(ForeignKey("audit_entries.id"), primary_key=True)
    client_id: Mapped[Ref | None] = mapped_column(ForeignKey("clients.id"), index=True)
    chain: Mapped[Ref]
    number: Mapped[Ref]
    digest: Mapped[bytes]
    sealed_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("chain", "number"),)
