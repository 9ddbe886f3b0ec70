"""One campaign as it is now: funnel, today, what comes next, why leads wait; pause, resume, stop, copy, remove."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires, viewer
from app.blueprints.campaigns.charts import day_strip
from app.blueprints.campaigns.frame import (
    DRAFT,
    LAUNCH,
    READ,
    STOP,
    blueprint,
    campaign_page,
    demand_editable,
    editable,
    find,
    following,
)
from app.blueprints.htmx import after_post, wants_fragment
from app.blueprints.times import reader_zone, zone
from app.core import clock
from app.core.errors import Conflict, Invalid
from app.models import Campaign
from app.queries import campaign_progress as progress
from app.queries import campaigns as reading
from app.services import campaigns, launch
from app.strings import t


@blueprint.get("/<int:campaign_id>")
@requires(READ)
def show(campaign_id: int) -> Response:
    return _show(find(campaign_id))


def _show(campaign: Campaign, *, status: int = 200, **context: Any) -> Response:
    if campaign.status == "draft":
        return campaign_page("campaigns/name.html", "form", campaign, "show", status=status, **{"values": {"name": campaign.name}, **context})
    now = clock.now()
    day = progress.today(g.client.id, campaign.id, now=now)
    return campaign_page(
        "campaigns/show.html", "live", campaign, "show", status=status,
        progress=progress.progress(g.client.id, campaign.id),
        waiting=progress.waiting_for(g.client.id, campaign.id, now=now),
        events=progress.next_events(g.client.id, campaign.id, now=now),
        today=day, strip=day_strip(day, zone(campaign.timezone)), strip_zone=reader_zone(),
        can_remove=editable(campaign) or viewer().may(LAUNCH, g.client),
        senders=[line for line in reading.senders(g.client.id, campaign.id, now=now) if line.chosen or line.leads],
        stopping=progress.stop_state(g.client.id, campaign.id),
        **context,
    )  # fmt: skip


@blueprint.post("/<int:campaign_id>/name")
@requires(DRAFT)
def rename(campaign_id: int) -> ResponseReturnValue:
    campaign = find(campaign_id)
    demand_editable(campaign)
    values = {"name": request.form.get("name", "")}
    try:
        campaigns.edit(g.client.id, campaign_id, values, by=viewer().id)
    except Invalid as wrong:
        return _show(campaign, status=422, values=values, errors=wrong.details)
    if campaign.status == "draft" and request.form.get("then") == "next":
        return after_post(following(campaign, "show"))
    return after_post(url_for("campaigns.show", campaign_id=campaign_id), toast=t("frame.saved"))


@blueprint.post("/<int:campaign_id>/pause")
@requires(STOP)
def pause(campaign_id: int) -> ResponseReturnValue:
    return _turned(campaign_id, launch.pause)


@blueprint.post("/<int:campaign_id>/resume")
@requires(LAUNCH)
def resume(campaign_id: int) -> ResponseReturnValue:
    return _turned(campaign_id, launch.resume)


def _turned(campaign_id: int, change: Callable[..., Campaign]) -> ResponseReturnValue:
    """Pressed twice, or by two people: the second is told how it stands."""
    toast = None
    try:
        campaign = change(g.client.id, campaign_id, by=viewer().id)
    except Conflict as refused:
        campaign, toast = find(campaign_id), refused.message
    if wants_fragment() and toast is None:
        return _show(campaign)
    return after_post(url_for("campaigns.show", campaign_id=campaign_id), toast=toast)


@blueprint.post("/<int:campaign_id>/stop")
@requires(STOP)
def stop(campaign_id: int) -> ResponseReturnValue:
    """For good: the typed name confirms."""
    campaign = find(campaign_id)
    if not _typed(campaign):
        return after_post(url_for("campaigns.show", campaign_id=campaign_id), toast=t("campaigns.type_name"))
    return _turned(campaign_id, launch.stop)


def _typed(campaign: Campaign) -> bool:
    return " ".join(request.form.get("typed", "").split()).casefold() == " ".join(campaign.name.split()).casefold()


@blueprint.post("/<int:campaign_id>/duplicate")
@requires(DRAFT)
def duplicate(campaign_id: int) -> ResponseReturnValue:
    copy = campaigns.duplicate(g.client.id, campaign_id, by=viewer().id)
    return after_post(url_for("campaigns.show", campaign_id=copy.id), toast=t("campaigns.duplicated"))


@blueprint.post("/<int:campaign_id>/remove")
@requires(DRAFT)
def remove(campaign_id: int) -> ResponseReturnValue:
    campaign = find(campaign_id)
    demand_editable(campaign)
    here = url_for("campaigns.show", campaign_id=campaign_id)
    if not _typed(campaign):
        return after_post(here, toast=t("campaigns.type_name"))
    try:
        campaigns.delete(g.client.id, campaign_id, by=viewer().id)
    except Conflict as refused:
        return after_post(here, toast=refused.message)
    return after_post(url_for("campaigns.index"), toast=t("campaigns.removed", name=campaign.name))
