"""The row of a campaign, locked for a change, and the word to open pages that it changed."""

from __future__ import annotations

from sqlalchemy import select

from app.core.bell import live_after_commit
from app.core.errors import NotFound
from app.core.extensions import db
from app.models import Campaign


def locked(client_id: int, campaign_id: int) -> Campaign:
    """The campaign's row, locked until the transaction ends. Raises NotFound."""
    statement = select(Campaign).where(
        Campaign.id == campaign_id, Campaign.client_id == client_id, Campaign.deleted_at.is_(None)
    )
    found = db.session.scalar(statement.with_for_update().execution_options(populate_existing=True))
    if found is None:
        raise NotFound
    return found


def tell(client_id: int, campaign_id: int) -> None:
    """Open pages of this campaign and of the list look again after the commit."""
    live_after_commit(client_id, "campaigns", f"campaign-{campaign_id}")
