"""*Rehearse this campaign*: ask for it, and the newest report."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Response, g, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires, viewer
from app.blueprints.campaigns.charts import BarChart, day_bars
from app.blueprints.campaigns.frame import DRAFT, READ, blueprint, campaign_page, find
from app.blueprints.htmx import after_post
from app.core.errors import Conflict
from app.services import rehearsals
from app.services.forecast import Forecast, SenderForecast

#: More bars than these do not fit a telephone; the table has every day.
BARS = 21


@blueprint.get("/<int:campaign_id>/rehearsal")
@requires(READ)
def rehearsal(campaign_id: int) -> Response:
    campaign = find(campaign_id)
    row = next(iter(rehearsals.newest(g.client.id, campaign_id)), None)
    report = _typed(row.result) if row is not None and row.result else None
    return campaign_page(
        "campaigns/rehearsal.html", "state", campaign, "launch" if campaign.status == "draft" else "show", row=row, report=report,
        chart=_chart(report) if report else None, zone=ZoneInfo(report["zone"] if report else campaign.timezone),
    )  # fmt: skip


@blueprint.post("/<int:campaign_id>/rehearse")
@requires(DRAFT)
def rehearse(campaign_id: int) -> ResponseReturnValue:
    here = url_for("campaigns.rehearsal", campaign_id=campaign_id)
    try:
        rehearsals.ask(g.client.id, campaign_id, by=viewer().id)
    except Conflict as refused:
        return after_post(here, toast=refused.message)
    return after_post(here)


def _typed(value: Any, name: str = "") -> Any:
    """The stored report with its moments and dates as such."""
    if isinstance(value, dict):
        return {key: _typed(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    if isinstance(value, str) and name.endswith("_at"):
        return datetime.fromisoformat(value)
    return date.fromisoformat(value) if isinstance(value, str) and name == "date" else value


def _chart(report: dict[str, Any]) -> BarChart:
    """The days with messages, stacked by sender, as the forecast's chart shows them."""
    days = [day for day in report["days"] if day["senders"]][:BARS]
    counts = [{line["sender"]: line["messages"] for line in day["senders"]} for day in days]
    senders = list(dict.fromkeys(address for day in counts for address in day))
    lines = tuple(SenderForecast(0, address, tuple(day.get(address, 0) for day in counts), ()) for address in senders)
    return day_bars(Forecast(report["zone"], tuple(day["date"] for day in days), lines, None, None, 0))
