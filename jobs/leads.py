"""One action for very many leads, behind the page that asked for it."""

from __future__ import annotations

from typing import Any

from app.core.extensions import db
from app.queries.campaign_people import PeopleFilter
from app.queries.leads import LeadFilter
from app.services import lead_work


def act_on_many(found: dict[str, Any], action: str, target: int | None, newest: int, by: int | None) -> None:
    """One action for every lead that fits; idempotent, so a repeated run passes over what is done."""
    among = PeopleFilter(**found) if "reason" in found else LeadFilter(**found)
    try:
        lead_work.carry_out(among, action, target, newest, by)
    finally:
        db.session.remove()
