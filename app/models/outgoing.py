"""What we tell a client's own programs: where to, what happened, and each call with its tries. All moments but one are machine time."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, Created, Json, Moment, Ref, one_of, tenant

ENDPOINT_STATES = ("on", "off", "broken")
CALL_STATES = ("queued", "leased", "delivered", "failed")
_NEW_ID = text("'evt_' || replace(gen_random_uuid()::text, '-', '')")


def _endpoint() -> Mapped[int]:
    return mapped_column(ForeignKey("outgoing_endpoints.id", ondelete="CASCADE"))


class OutgoingEndpoint(Base):
    """One address of a client that is told of events. ``broken``: it failed for days, or said 410, and was switched off by itself."""

    __tablename__ = "outgoing_endpoints"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    url: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="", default="")
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    state: Mapped[str] = mapped_column(server_default="on", default="on")
    state_why: Mapped[str] = mapped_column(server_default="", default="")  # of broken: failing or gone
    state_at: Mapped[Created]
    failures: Mapped[int] = mapped_column(server_default="0", default=0)  # in a row, of the kind that lets it rest
    rests_until: Mapped[Moment | None]
    failing_since: Mapped[Moment | None]  # the first failure after which nothing was accepted
    last_success_at: Mapped[Moment | None]
    last_failure_at: Mapped[Moment | None]
    created_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[Created]
    __table_args__ = (Index(None, "client_id"), one_of("state", ENDPOINT_STATES))


class OutgoingSecret(Base):
    """A secret events are signed with, sealed for its row. Several are valid while one is changed."""

    __tablename__ = "outgoing_secrets"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    endpoint_id: Mapped[Ref] = _endpoint()
    signing_secret: Mapped[str] = mapped_column(server_default="", default="")
    created_at: Mapped[Created]
    ends_at: Mapped[Moment | None]
    __table_args__ = (Index(None, "client_id"), Index(None, "endpoint_id"))


class OutgoingEvent(Base):
    """Something happened that an endpoint wants to know; written by triggers in the transaction in which it happened.

    ``body`` is NULL until its calls are made. The ids have no foreign keys: what they name may be gone before the event is told.
    """

    __tablename__ = "outgoing_events"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    kind: Mapped[str]
    webhook_id: Mapped[str] = mapped_column(server_default=_NEW_ID)  # the same on every try, for every endpoint
    campaign_id: Mapped[Ref | None]
    enrollment_id: Mapped[Ref | None]
    step_id: Mapped[Ref | None]
    lead_id: Mapped[Ref | None]
    sender_id: Mapped[Ref | None]
    delivery_id: Mapped[Ref | None]
    message_id: Mapped[Ref | None]
    facts: Mapped[Json]
    occurred_at: Mapped[Moment | None]  # product time; NULL until told where the writer knew only created_at
    body: Mapped[str | None]
    created_at: Mapped[Created]
    __table_args__ = (
        Index(None, "client_id", "kind", "created_at"),
        Index("ix_outgoing_events_untold", "id", postgresql_where=text("body IS NULL")),
        Index(None, "created_at"),
    )


class OutgoingCall(Base):
    """One event for one endpoint, until it was accepted or given up."""

    __tablename__ = "outgoing_calls"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    endpoint_id: Mapped[Ref] = _endpoint()
    event_id: Mapped[Ref] = mapped_column(ForeignKey("outgoing_events.id", ondelete="CASCADE"))
    kind: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="queued", default="queued")
    epoch: Mapped[int] = mapped_column(server_default="0", default=0)
    tries: Mapped[int] = mapped_column(SmallInteger, server_default="0", default=0)  # since it was queued; a redelivery begins anew
    due_at: Mapped[Created]
    leased_until: Mapped[Moment | None]
    created_at: Mapped[Created]
    ended_at: Mapped[Moment | None]
    last_status: Mapped[int | None]
    last_error: Mapped[str] = mapped_column(server_default="", default="")
    __table_args__ = (
        UniqueConstraint("endpoint_id", "event_id"),
        Index("ix_outgoing_calls_due", "endpoint_id", "due_at", "id", postgresql_where=text("status = 'queued'")),
        Index("ix_outgoing_calls_leases", "leased_until", postgresql_where=text("status = 'leased'")),
        Index(None, "endpoint_id", "status", "id"),
        Index(None, "event_id"),
        Index(None, "client_id", "id"),
        one_of("status", CALL_STATES),
    )


class OutgoingTry(Base):
    """One request: when, how long, and of the answer its status and length. Never its words."""

    __tablename__ = "outgoing_tries"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    call_id: Mapped[Ref] = mapped_column(ForeignKey("outgoing_calls.id", ondelete="CASCADE"))
    at: Mapped[Created]
    ms: Mapped[int]
    status: Mapped[int | None]
    length: Mapped[int | None]
    error: Mapped[str] = mapped_column(server_default="", default="")
    __table_args__ = (Index(None, "client_id"), Index(None, "call_id", "id"))
