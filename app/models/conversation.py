"""The inbox: conversations, their people, their messages and attachments; raw bytes in ``blobs``.

What the sending road writes per message names its parents without foreign keys where no parent is ever deleted (decision 0042).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.statuses import Channel, ConversationStatus, Direction
from app.models.base import Base, BigId, Created, Json, JsonList, Moment, Ref, one_of, tenant, tenant_of_history


class Blob(Base):
    """Bytes by content, apart per client. Local disk is only a cache."""

    __tablename__ = "blobs"
    client_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("clients.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    bytes: Mapped[bytes] = mapped_column(LargeBinary)
    size: Mapped[int]
    created_at: Mapped[Created]


class Conversation(Base):
    __tablename__ = "conversations"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant_of_history()
    channel: Mapped[str] = mapped_column(server_default="email", default="email")
    sender_id: Mapped[Ref]
    lead_id: Mapped[Ref | None] = mapped_column(ForeignKey("leads.id"))
    campaign_id: Mapped[Ref | None]
    subject: Mapped[str] = mapped_column(server_default="", default="")
    subject_base: Mapped[str] = mapped_column(server_default="", default="")
    status: Mapped[str] = mapped_column(server_default="open", default="open")
    snoozed_until: Mapped[Moment | None]  # product time
    assignee_id: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    unread: Mapped[int] = mapped_column(server_default="0", default=0)
    in_inbox: Mapped[bool] = mapped_column(server_default="false", default=False)  # true once somebody wrote to us
    is_other: Mapped[bool] = mapped_column(server_default="false", default=False)  # matched nothing; only with show_all_mail
    needs_match: Mapped[bool] = mapped_column(server_default="false", default=False)  # ambiguous: a person decides
    looks_automatic: Mapped[bool] = mapped_column(server_default="false", default=False)
    last_direction: Mapped[str | None]
    last_message_at: Mapped[Moment | None]  # product time
    last_inbound_at: Mapped[Moment | None]
    snippet: Mapped[str] = mapped_column(server_default="", default="")
    display_name: Mapped[str] = mapped_column(server_default="", default="")  # who the list shows
    display_address: Mapped[str] = mapped_column(server_default="", default="")
    closed_at: Mapped[Moment | None]
    version: Mapped[int] = mapped_column(server_default="1", default=1)  # ETag; every change adds one
    created_at: Mapped[Created]
    __table_args__ = (
        Index("ix_conversations_list", "client_id", "status", sql("last_message_at DESC"), sql("id DESC"), postgresql_where=sql("in_inbox")),
        Index("ix_conversations_unread", "client_id", sql("last_message_at DESC"), postgresql_where=sql("in_inbox AND unread > 0")),
        Index("ix_conversations_assignee", "client_id", "assignee_id", sql("last_message_at DESC"), postgresql_where=sql("in_inbox")),
        Index(None, "client_id", "lead_id"),
        Index(None, "client_id", "sender_id", "subject_base"),
        Index("ix_conversations_snoozed", "snoozed_until", postgresql_where=sql("status = 'snoozed'")),
        one_of("channel", Channel),
        one_of("status", ConversationStatus),
    )


class Participant(Base):
    __tablename__ = "participants"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant_of_history()
    conversation_id: Mapped[Ref]
    lead_id: Mapped[Ref | None] = mapped_column(ForeignKey("leads.id"))
    name: Mapped[str] = mapped_column(server_default="", default="")
    address: Mapped[str]
    address_key: Mapped[str]
    __table_args__ = (UniqueConstraint("conversation_id", "address_key"), Index(None, "client_id", "address_key"))


class Message(Base):
    """One utterance. Inbound: from ``raw_sha256``. Outbound: ``delivery_id`` says how far it got."""

    __tablename__ = "messages"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant_of_history()
    conversation_id: Mapped[Ref | None]  # NULL: kept as headers only
    sender_id: Mapped[Ref]  # our side
    direction: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="human", default="human")  # Verdict kind for inbound
    external_id: Mapped[str]  # Message-ID, or a hash of the bytes where there is none
    delivery_id: Mapped[Ref | None]
    author_id: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    from_name: Mapped[str] = mapped_column(server_default="", default="")
    from_address: Mapped[str] = mapped_column(server_default="", default="")
    from_key: Mapped[str] = mapped_column(server_default="", default="")
    to_line: Mapped[JsonList]
    cc_line: Mapped[JsonList]
    subject: Mapped[str] = mapped_column(server_default="", default="")
    text: Mapped[str] = mapped_column(server_default="", default="")  # what a person wrote, whole
    has_html: Mapped[bool] = mapped_column(server_default="false", default=False)
    snippet: Mapped[str] = mapped_column(server_default="", default="")
    in_reply_to: Mapped[str | None]
    references: Mapped[JsonList]
    raw_sha256: Mapped[str | None]
    size: Mapped[int] = mapped_column(server_default="0", default=0)
    headers_only: Mapped[bool] = mapped_column(server_default="false", default=False)
    folder_role: Mapped[str | None]
    sent_at: Mapped[Moment | None]  # Date header, or product time of leaving
    received_at: Mapped[Moment]  # product time it was read or written here
    read_at: Mapped[Moment | None]
    match_rule: Mapped[str | None]
    match_version: Mapped[str | None]
    match_candidates: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    verdict: Mapped[Json]
    warnings: Mapped[JsonList]
    created_at: Mapped[Created]
    __table_args__ = (
        UniqueConstraint("sender_id", "external_id", "direction"),
        Index(None, "client_id", "conversation_id", "received_at"),
        Index(None, "conversation_id", "received_at"),
        Index(None, "delivery_id"),
        Index("ix_messages_headers_only", "received_at", postgresql_where=sql("headers_only")),
        one_of("direction", Direction),
    )


class Attachment(Base):
    __tablename__ = "attachments"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    message_id: Mapped[Ref] = mapped_column(ForeignKey("messages.id"), index=True)
    position: Mapped[int]
    filename: Mapped[str]
    content_type: Mapped[str]
    size: Mapped[int]
    sha256: Mapped[str]
    content_id: Mapped[str | None]
    inline: Mapped[bool] = mapped_column(server_default="false", default=False)
    __table_args__ = (Index(None, "client_id"),)


class InboundEvent(Base):
    """The raw thing that arrived, before anybody understood it. No client: who it belongs to is found out later."""

    __tablename__ = "inbound_events"
    id: Mapped[BigId]
    source: Mapped[str]
    account: Mapped[str]
    dedupe_key: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    facts: Mapped[Json]  # e.g. {mailbox_id, folder, uid, uidvalidity, internaldate}
    status: Mapped[str] = mapped_column(server_default="new", default="new")
    attempts: Mapped[int] = mapped_column(server_default="0", default=0)
    next_try_at: Mapped[Moment | None]
    error: Mapped[str] = mapped_column(server_default="", default="")
    kind: Mapped[str] = mapped_column(server_default="", default="")  # what it says it is, once somebody has looked
    body_sha256: Mapped[str | None]  # stays when the body is forgotten
    seen: Mapped[int] = mapped_column(server_default="1", default=1)  # how often it arrived; only the first counts
    code_version: Mapped[str] = mapped_column(server_default="", default="")  # which code failed on it last
    received_at: Mapped[Created]  # machine time
    processed_at: Mapped[Moment | None]
    __table_args__ = (
        UniqueConstraint("source", "account", "dedupe_key"),
        Index("ix_inbound_events_new", "id", postgresql_where=sql("status = 'new'")),
        Index("ix_inbound_events_dead", "status", "id", postgresql_where=sql("status IN ('ignored', 'quarantined')")),
        one_of("status", ("new", "done", "ignored", "quarantined")),
    )
