"""Who may hand us events over HTTP: the registry of sources, and their secrets. Both belong to the instance, not to a client."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, Created, Moment, Ref, one_of

VERIFIERS = ("standard_webhooks", "static_header")


class WebhookSource(Base):
    """One service that calls ``POST /webhooks/<token>``. All moments are machine time."""

    __tablename__ = "webhook_sources"
    id: Mapped[BigId]
    name: Mapped[str]
    verifier: Mapped[str]
    header: Mapped[str] = mapped_column(server_default="", default="")  # static_header: which header carries the secret
    address_nonce: Mapped[str]  # sealed into the token of the address: a new one makes the old address unknown
    refused: Mapped[int] = mapped_column(server_default="0", default=0)  # calls that could not prove where they came from
    refused_at: Mapped[Moment | None]
    refused_why: Mapped[str] = mapped_column(server_default="", default="")
    window_good: Mapped[int] = mapped_column(server_default="0", default=0)  # of the events worked on lately
    window_bad: Mapped[int] = mapped_column(server_default="0", default=0)
    held_until: Mapped[Moment | None]  # the breaker: events wait, no attempt is used up
    hold_s: Mapped[int] = mapped_column(server_default="0", default=0)
    created_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[Created]
    removed_at: Mapped[Moment | None]
    __table_args__ = (one_of("verifier", VERIFIERS),)


class WebhookSecret(Base):
    """A secret of a source, sealed for its row. Several may be valid at once: that is how they are changed."""

    __tablename__ = "webhook_secrets"
    id: Mapped[BigId]
    source_id: Mapped[Ref] = mapped_column(ForeignKey("webhook_sources.id"))
    sealed: Mapped[str] = mapped_column(server_default="", default="")
    created_at: Mapped[Created]
    ends_at: Mapped[Moment | None]
    __table_args__ = (Index(None, "source_id"),)
