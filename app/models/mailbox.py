"""Senders: whatever a delivery leaves through. A mailbox is one; a LinkedIn account will be the other.

The columns the permit locks and reads (status, caps, gap, next_at) live on ``senders``, so one gate serves both channels.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, column_property, mapped_column

from app.domain.statuses import Channel, SenderStatus
from app.models.base import Base, BigId, Created, Json, Moment, Ref, one_of, tenant


class Sender(Base):
    __table_args__: Any
    __tablename__ = "senders"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    channel: Mapped[str]
    address: Mapped[str]
    address_key: Mapped[str]
    domain: Mapped[str]
    display_name: Mapped[str] = mapped_column(server_default="", default="")
    timezone: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="connecting", default="connecting")
    status_reason: Mapped[str] = mapped_column(server_default="", default="")
    status_since: Mapped[Created]  # machine time of the last change
    status_product_at: Mapped[Moment | None]
    status_epoch: Mapped[int] = mapped_column(server_default="0", default=0)
    daily_cap: Mapped[int] = mapped_column(server_default="40", default=40)
    hourly_cap: Mapped[int | None]
    min_gap_s: Mapped[int] = mapped_column(server_default="120", default=120)
    next_at: Mapped[Moment | None]  # product time: nothing with a gap leaves before
    backoff_until: Mapped[Moment | None]  # product time: the provider asked us to wait
    uncertain_streak: Mapped[int] = mapped_column(server_default="0", default=0)
    deleted_at: Mapped[Moment | None]
    created_at: Mapped[Created]
    __mapper_args__ = {"polymorphic_on": "channel"}
    __table_args__ = (
        Index(None, "client_id", "status"),
        # one live sender per address and channel on the whole instance: two clients never share a login
        Index("uq_senders_live_address", "channel", "address_key", unique=True, postgresql_where="deleted_at IS NULL"),
        one_of("channel", Channel),
        one_of("status", SenderStatus),
        CheckConstraint("daily_cap >= 0 AND min_gap_s >= 0", name="not_negative"),
    )

    @property
    def stands_since(self) -> datetime:
        """Product time of the last change of status; what was written before that was kept has machine time only."""
        return self.status_product_at or self.status_since


class Mailbox(Sender):
    __tablename__ = "mailboxes"
    id: Mapped[Ref] = mapped_column(ForeignKey("senders.id"), primary_key=True)
    # its own copy of the tenant column: row-level security reads it on this table too
    client_id: Mapped[int] = column_property(mapped_column(BigInteger, ForeignKey("clients.id"), nullable=False), Sender.client_id)
    provider: Mapped[str] = mapped_column(server_default="", default="")
    credential_kind: Mapped[str] = mapped_column(server_default="password", default="password")
    smtp_host: Mapped[str]
    smtp_port: Mapped[int]
    smtp_security: Mapped[str]
    smtp_user: Mapped[str]
    smtp_secret: Mapped[str | None]  # sealed for "mailboxes.smtp_secret:<id>"
    imap_host: Mapped[str]
    imap_port: Mapped[int]
    imap_security: Mapped[str]
    imap_user: Mapped[str]
    imap_secret: Mapped[str | None]  # sealed for "mailboxes.imap_secret:<id>"
    oauth_provider: Mapped[str | None]
    oauth_refresh_secret: Mapped[str | None]  # sealed for "mailboxes.oauth_refresh_secret:<id>"
    save_to_sent: Mapped[str] = mapped_column(server_default="unknown", default="unknown")
    sent_folder: Mapped[str] = mapped_column(server_default="", default="")  # "": found by itself
    junk_folder: Mapped[str] = mapped_column(server_default="", default="")
    show_all_mail: Mapped[bool] = mapped_column(server_default="false", default=False)
    own_hours: Mapped[Json]  # warm-up's hours; a campaign heeds them only with restrict_campaigns
    restrict_campaigns: Mapped[bool] = mapped_column(server_default="false", default=False)
    read_since: Mapped[Moment | None]  # product time of connecting: older mail is not read …
    older_since: Mapped[Moment | None]  # … unless somebody asked for it: back to here (product time)
    read_status: Mapped[str] = mapped_column(server_default="idle", default="idle")
    read_error: Mapped[str] = mapped_column(server_default="", default="")
    last_read_at: Mapped[Moment | None]
    verified_at: Mapped[Moment | None]
    verify_result: Mapped[Json]
    __mapper_args__ = {"polymorphic_identity": "email", "inherit_condition": id == Sender.id}
    __table_args__ = (
        Index(None, "client_id"),
        one_of("credential_kind", ("password", "xoauth2")),
        one_of("smtp_security", ("none", "starttls", "tls")),
        one_of("imap_security", ("none", "starttls", "tls")),
        one_of("save_to_sent", ("unknown", "provider", "append", "never")),
    )


class FolderState(Base):
    """How far one folder is read. The cursor and the rows it stands for change in one transaction."""

    __tablename__ = "folder_states"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    mailbox_id: Mapped[Ref] = mapped_column(ForeignKey("mailboxes.id"))
    folder: Mapped[str]
    role: Mapped[str]
    uidvalidity: Mapped[Ref] = mapped_column(server_default="0", default=0)
    last_uid: Mapped[Ref] = mapped_column(server_default="0", default=0)
    highest_modseq: Mapped[Ref] = mapped_column(server_default="0", default=0)
    checked_at: Mapped[Moment | None]
    full_check_at: Mapped[Moment | None]
    older_since: Mapped[Moment | None]  # older mail was read back to here
    __table_args__ = (
        UniqueConstraint("mailbox_id", "folder"),
        Index(None, "client_id"),
        one_of("role", ("inbox", "sent", "junk", "other")),
    )


class SeenUid(Base):
    """Which message a UID was, per UIDVALIDITY: makes re-reading after a renumbering find the same rows again."""

    __tablename__ = "seen_uids"
    folder_state_id: Mapped[Ref] = mapped_column(ForeignKey("folder_states.id"), primary_key=True)
    uidvalidity: Mapped[Ref] = mapped_column(primary_key=True)
    uid: Mapped[Ref] = mapped_column(primary_key=True)
    client_id: Mapped[int] = tenant()
    identity: Mapped[str]  # Message-ID + date + size, hashed
    seen_at: Mapped[Created]
    __table_args__ = (Index(None, "client_id"), Index(None, "folder_state_id", "identity"))
