"""The tenant, its switches and its settings."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, Created, Moment, Ref, one_of


class Client(Base):
    __tablename__ = "clients"
    id: Mapped[BigId]
    name: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str | None]
    postal_address: Mapped[str] = mapped_column(server_default="", default="")
    timezone: Mapped[str] = mapped_column(server_default="Asia/Kolkata", default="Asia/Kolkata")
    country: Mapped[str | None]
    language: Mapped[str] = mapped_column(server_default="en", default="en")
    plan: Mapped[str] = mapped_column(server_default="standard", default="standard")
    retention_days: Mapped[int] = mapped_column(server_default="730", default=730)
    deleted_at: Mapped[Moment | None]
    created_at: Mapped[Created]


class Switch(Base):
    """A stop. One row per instance (scope_id 0) and per client that was ever stopped; ``epoch`` counts changes.

    ``client_id`` is NULL for the instance. ``stopped_at`` is machine time, ``product_at`` what the page shows.
    """

    __tablename__ = "switches"
    id: Mapped[BigId]
    scope_kind: Mapped[str]
    scope_id: Mapped[Ref]
    client_id: Mapped[Ref | None] = mapped_column(ForeignKey("clients.id"))
    stopped: Mapped[bool] = mapped_column(server_default="false")
    epoch: Mapped[int] = mapped_column(server_default="0")
    changed_at: Mapped[Created]
    product_at: Mapped[Moment | None]
    changed_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    reason: Mapped[str] = mapped_column(server_default="", default="")
    __table_args__ = (
        UniqueConstraint("scope_kind", "scope_id"),
        Index(None, "client_id"),
        one_of("scope_kind", ("instance", "client")),
    )


class Setting(Base):
    """Caps, hours, retention, presets: live within 2 s, every version kept in the audit trail."""

    __tablename__ = "settings"
    id: Mapped[BigId]
    scope_kind: Mapped[str]
    scope_id: Mapped[Ref]
    client_id: Mapped[Ref | None] = mapped_column(ForeignKey("clients.id"))
    key: Mapped[str]
    value: Mapped[Any] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(server_default="1", default=1)
    changed_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    changed_at: Mapped[Created]
    __table_args__ = (
        UniqueConstraint("scope_kind", "scope_id", "key"),
        Index(None, "client_id"),
        one_of("scope_kind", ("instance", "client", "campaign", "sender", "user")),
    )
