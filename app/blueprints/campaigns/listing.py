"""The list of campaigns, and the first of the four short steps: a name."""

from __future__ import annotations

from flask import Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires, viewer
from app.blueprints.campaigns.frame import DRAFT, ICONS, KINDS, READ, blueprint
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.errors import Invalid
from app.queries import campaigns as reading
from app.queries import deliveries
from app.services import campaigns

STATES = ("running", "paused", "draft", "finished", "stopped")


@blueprint.get("/")
@requires(READ)
def index() -> Response:
    status, search = request.args.get("status", ""), request.args.get("q", "").strip()[:100]
    cursor = request.args.get("cursor")
    lines, more = reading.campaigns(g.client.id, status=status if status in STATES else None, search=search, cursor=cursor)
    return page_or_fragment(
        "campaigns/index.html", "list", lines=lines, more=more, first=not cursor, counts=reading.status_counts(g.client.id),
        undecided=deliveries.counts(g.client.id), chosen=status if status in STATES else "", search=search, states=STATES, kinds=KINDS,
        icons=ICONS,
    )  # fmt: skip


@blueprint.get("/new")
@requires(DRAFT)
def new() -> Response:
    return page_or_fragment("campaigns/new.html", "form", values={}, errors={})


@blueprint.post("/new")
@requires(DRAFT)
def create() -> ResponseReturnValue:
    """A draft is kept from the first step on; everything but the name can wait."""
    values = {"name": request.form.get("name", "")}
    try:
        campaign = campaigns.create(g.client.id, values, by=viewer().id)
    except Invalid as wrong:
        return page_or_fragment("campaigns/new.html", "form", status=422, values=values, errors=wrong.details)
    return after_post(url_for("campaigns.people", campaign_id=campaign.id))
