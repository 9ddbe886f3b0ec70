"""What every page of one campaign shares: who may change it, its state as a mark, its tabs, and the way from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, g, url_for

from app.blueprints.access import viewer
from app.blueprints.htmx import page_or_fragment
from app.core.errors import Forbidden
from app.domain.permissions import Permission
from app.models import Campaign
from app.queries import campaigns as reading
from app.strings import t

blueprint = Blueprint("campaigns", __name__, url_prefix="/c/<slug>/campaigns")

READ, DRAFT, ENROLL = Permission.CAMPAIGNS_READ, Permission.CAMPAIGNS_DRAFT, Permission.CAMPAIGNS_ENROLL
LAUNCH, STOP = Permission.CAMPAIGNS_LAUNCH, Permission.CAMPAIGNS_STOP

#: Colour of each state; the word stands beside it.
KINDS = {"draft": "quiet", "running": "good", "paused": "attention", "finished": "waiting", "stopped": "broken"}
ICONS = {"draft": "pencil", "running": "player-play", "paused": "player-pause", "finished": "checks", "stopped": "hand-stop"}
#: The pages of a draft in the order in which they are filled in.
ORDER = ("show", "people", "schedule", "steps", "launch")


@dataclass(frozen=True)
class Tab:
    """One page of the campaign. ``number``: its place among a draft's four steps."""

    key: str
    label: str
    url: str
    icon: str
    number: int | None
    done: bool


def find(campaign_id: int) -> Campaign:
    """The campaign of this client, or NotFound."""
    return reading.campaign(g.client.id, campaign_id)


def editable(campaign: Campaign) -> bool:
    """May the viewer change it? Drafts are everybody's who drafts; what runs belongs to those who launch."""
    if campaign.status == "stopped":
        return False
    return viewer().may(DRAFT if campaign.status == "draft" else LAUNCH, g.client)


def demand_editable(campaign: Campaign) -> None:
    """Raises Forbidden for those who may only draft once the campaign has started."""
    if campaign.status != "draft" and not viewer().may(LAUNCH, g.client):
        raise Forbidden(t("campaigns.started_admin_only"))


def tabs(campaign: Campaign) -> list[Tab]:
    draft = campaign.status == "draft"
    keys = ORDER if draft else ("show", "people", "steps", "schedule")
    done = _done(campaign) if draft else {}
    icons = {"show": "activity", "people": "users", "schedule": "calendar", "steps": "mail", "launch": "send"}
    return [
        Tab(
            key, t(f"campaigns.tab_{'name' if draft and key == 'show' else key}"), url_for(f"campaigns.{key}", campaign_id=campaign.id),
            icons[key], place if draft and key != "launch" else None, done.get(key, False),
        )
        for place, key in enumerate(keys, 1)
    ]  # fmt: skip


def _done(campaign: Campaign) -> dict[str, bool]:
    """Which of the four short steps have something in them."""
    written = reading.steps(g.client.id, campaign.id)
    chosen = any(line.chosen for line in reading.senders(g.client.id, campaign.id))
    people = reading.people_counts(g.client.id, campaign.id)["all"]
    return {"show": True, "people": people > 0, "schedule": chosen, "steps": any(step.text or step.html for step in written)}


def following(campaign: Campaign, key: str) -> str:
    """Where "save and continue" leads: the next page of a draft, else the same page."""
    if campaign.status == "draft" and key in ORDER[:-1]:
        key = ORDER[ORDER.index(key) + 1]
    return url_for(f"campaigns.{key}", campaign_id=campaign.id)


def campaign_page(template: str, block: str | None, campaign: Campaign, here: str, *, status: int = 200, **context: Any) -> Response:
    """A page of one campaign, or its block."""
    shared = {
        "campaign": campaign, "here_tab": here, "tabs": tabs(campaign), "kinds": KINDS, "icons": ICONS, "can_edit": editable(campaign),
        "errors": {}, "note": "",
    }  # fmt: skip
    return page_or_fragment(template, block, status=status, **{**shared, **context})
