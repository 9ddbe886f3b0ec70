"""The dry run: what would leave on which day through whom, who would not be written to, and the button with its number."""

from __future__ import annotations

from typing import Any

from flask import Response, current_app, g, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires, viewer
from app.blueprints.campaigns.charts import day_bars
from app.blueprints.campaigns.frame import LAUNCH, READ, blueprint, campaign_page, find
from app.blueprints.htmx import after_post
from app.core.errors import Conflict, Invalid
from app.models import Campaign
from app.services import launch as launching
from app.services.launch_checks import Check
from app.strings import t


@blueprint.get("/<int:campaign_id>/launch")
@requires(READ)
def launch(campaign_id: int) -> ResponseReturnValue:
    campaign = find(campaign_id)
    if campaign.status != "draft":
        return after_post(url_for("campaigns.show", campaign_id=campaign_id))
    return _page(campaign)


def _page(campaign: Campaign, *, status: int = 200, **context: Any) -> Response:
    report = launching.report(g.client.id, campaign.id, public_url=current_app.extensions["settings"].public_url)
    return campaign_page(
        "campaigns/launch.html", "report", campaign, "launch", status=status, report=report, chart=day_bars(report.forecast), mend=_mend, **context
    )


def _mend(campaign: Campaign, check: Check) -> str:
    """The page on which this check can be mended, or nothing."""
    known = current_app.view_functions
    if check.fix == "steps":
        return url_for("campaigns.steps", campaign_id=campaign.id, step=check.step_id)
    if check.fix in {"schedule", "people"}:
        return url_for(f"campaigns.{check.fix}", campaign_id=campaign.id)
    if check.fix == "senders":
        return url_for("campaigns.schedule", campaign_id=campaign.id) + "#senders"
    endpoint = {"client": "settings.index", "mailboxes": "mailboxes.index"}.get(check.fix, "")
    return url_for(endpoint) if endpoint in known else ""


@blueprint.post("/<int:campaign_id>/launch")
@requires(LAUNCH)
def start(campaign_id: int) -> ResponseReturnValue:
    campaign = find(campaign_id)
    try:
        launching.start(g.client.id, campaign_id, by=viewer().id)
    except Conflict as refused:
        return after_post(url_for("campaigns.show", campaign_id=campaign_id), toast=refused.message)
    except Invalid as refused:
        return _page(campaign, status=422, note=refused.message)
    return after_post(url_for("campaigns.show", campaign_id=campaign_id), toast=t("campaigns.started"))
