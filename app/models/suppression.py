"""Addresses never to be contacted: per client and for the whole instance. Imports can only add."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, Created, Moment, Ref, one_of, tenant

REASONS = ("unsubscribed", "bounced", "complained", "manual", "import", "left_company")


class Suppression(Base):
    __tablename__ = "suppressions"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    email: Mapped[str]
    email_key: Mapped[str]
    reason: Mapped[str]
    source: Mapped[str]  # one_click, page, reply, mailto, bounce, person, import, api
    note: Mapped[str] = mapped_column(server_default="", default="")
    campaign_id: Mapped[Ref | None]
    delivery_id: Mapped[Ref | None]
    created_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    at: Mapped[Moment]  # product time
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("client_id", "email_key"), Index(None, "client_id", "id"), one_of("reason", REASONS))


class GlobalSuppression(Base):
    __tablename__ = "global_suppressions"
    id: Mapped[BigId]
    email: Mapped[str]
    email_key: Mapped[str] = mapped_column(unique=True)
    reason: Mapped[str]
    created_by: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[Created]
