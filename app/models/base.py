"""Columns every table shares. Ids are integers; every timestamp is timezone-aware; closed sets are text + CHECK."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Identity, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.extensions import Base

BigId = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Ref = Annotated[int, mapped_column(BigInteger)]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Created = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())]
Json = Annotated[dict[str, Any], mapped_column(JSONB, server_default="{}")]
JsonList = Annotated[list[Any], mapped_column(JSONB, server_default="[]")]


def one_of(column: str, values: Iterable[str], name: str | None = None) -> CheckConstraint:
    """CHECK that ``column`` holds one of a closed set (never a database enum: its comparison is not leakproof)."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name or column)


def tenant() -> Mapped[int]:
    """The tenant column: NOT NULL, read by row-level security."""
    return mapped_column(BigInteger, ForeignKey("clients.id"))


def tenant_of_history() -> Mapped[int]:
    """The same where the sending road writes several rows per message: without a foreign key (decision 0042)."""
    return mapped_column(BigInteger)


__all__ = ["Base", "BigId", "Created", "Json", "JsonList", "Moment", "Ref", "one_of", "tenant", "tenant_of_history"]
