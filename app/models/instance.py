"""Rows of the instance itself: what it is, its clock, its processes, its schedule, remembered API answers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, BigId, Created, Json, Moment, Ref, one_of


class Instance(Base):
    """One row. ``mode`` is decided at the first start and never changed."""

    __tablename__ = "instance"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    mode: Mapped[str]
    claimed_at: Mapped[Moment | None]
    facts: Mapped[Json]
    created_at: Mapped[Created]
    __table_args__ = (CheckConstraint("id = 1", name="one_row"), one_of("mode", ("real", "rehearsal")))


class ProductClockRow(Base):
    __tablename__ = "product_clock"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    base_machine: Mapped[Moment]
    base_product: Mapped[Moment]
    factor: Mapped[float]
    __table_args__ = (CheckConstraint("id = 1", name="one_row"), CheckConstraint("factor > 0 AND factor <= 60", name="factor"))


class ProcessBeat(Base):
    """A running process and when it was last heard of (machine time)."""

    __tablename__ = "process_beats"
    name: Mapped[str] = mapped_column(primary_key=True)  # kind@host:pid
    kind: Mapped[str] = mapped_column(index=True)
    started_at: Mapped[Created]
    seen_at: Mapped[Created]
    facts: Mapped[Json]


class ScheduledRun(Base):
    """Last run, duration and next run of each entry of the schedule."""

    __tablename__ = "scheduled_runs"
    job: Mapped[str] = mapped_column(primary_key=True)
    queued_at: Mapped[Moment | None]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]
    duration_ms: Mapped[int | None]
    next_at: Mapped[Moment | None]
    error: Mapped[str] = mapped_column(server_default="", default="")


class RememberedAnswer(Base):
    """Idempotency-Key of the API: the first answer, 24 h, per user."""

    __tablename__ = "remembered_answers"
    id: Mapped[BigId]
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id"))
    key: Mapped[str]
    request_hash: Mapped[str]
    status: Mapped[int | None]
    body: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("user_id", "key"), Index(None, "created_at"))
