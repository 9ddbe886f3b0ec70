"""The list of addresses never to be contacted: searched, counted, exported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Select, func, select

from app.core.extensions import db
from app.domain.address import email_key
from app.models import Campaign, GlobalSuppression, Suppression, User

EXPORT_ROWS = 200_000


@dataclass(frozen=True)
class SuppressionLine:
    """``by``: the person's name where one did it; ``campaign``: the campaign whose message led to it."""

    id: int
    email: str
    reason: str
    source: str
    note: str
    at: datetime
    by: str | None
    campaign: str | None
    campaign_id: int | None


def _lines(client_id: int) -> Select[Any]:
    statement = (
        select(
            Suppression.id, Suppression.email, Suppression.reason, Suppression.source, Suppression.note, Suppression.at,
            User.name.label("by"), Campaign.name.label("campaign"), Suppression.campaign_id,
        )
        .outerjoin(User, User.id == Suppression.created_by)
        .outerjoin(Campaign, (Campaign.id == Suppression.campaign_id) & (Campaign.client_id == Suppression.client_id))
        .where(Suppression.client_id == client_id)
        .order_by(Suppression.id.desc())
    )  # fmt: skip
    return cast(Select[Any], statement)


def _searched(statement: Select[Any], search: str, reason: str) -> Select[Any]:
    if search:
        escaped = email_key(search).replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        statement = statement.where(Suppression.email_key.like(f"%{escaped}%"))
    return statement.where(Suppression.reason == reason) if reason else statement


def page(client_id: int, *, search: str = "", reason: str = "", before_id: int | None = None, limit: int = 100) -> list[SuppressionLine]:
    """Newest first; ``before_id``: the last id of the page before."""
    statement = _searched(_lines(client_id), search, reason).limit(limit)
    if before_id is not None:
        statement = statement.where(Suppression.id < before_id)
    return [SuppressionLine(**row) for row in db.session.execute(statement).mappings()]


def export(client_id: int) -> Iterator[SuppressionLine]:
    """Every row, newest first, at most EXPORT_ROWS."""
    for row in db.session.execute(_lines(client_id).limit(EXPORT_ROWS)).mappings():
        yield SuppressionLine(**row)


def counts(client_id: int) -> dict[str, int]:
    """How many of each reason."""
    statement = select(Suppression.reason, func.count()).where(Suppression.client_id == client_id).group_by(Suppression.reason)
    return {row[0]: row[1] for row in db.session.execute(statement)}


def suppressed_at(client_id: int, email: str) -> Suppression | None:
    return db.session.scalar(select(Suppression).where(Suppression.client_id == client_id, Suppression.email_key == email_key(email)))


def everywhere(search: str = "", limit: int = 200) -> list[GlobalSuppression]:
    """The list of the whole installation, newest first."""
    statement = select(GlobalSuppression).order_by(GlobalSuppression.id.desc()).limit(limit)
    if search:
        statement = statement.where(GlobalSuppression.email_key.contains(email_key(search), autoescape=True))
    return list(db.session.scalars(statement))
