"""Rehearsals of a campaign by program: ask for one, read the reports."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields

from app.blueprints.api.campaigns import DRAFT, ONE, READ, present
from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page
from app.blueprints.api.schemas import Moment, Shown, Strict, one_of, whole
from app.models import Campaign, CampaignRehearsal
from app.models.campaign import REHEARSAL_STATES
from app.services import rehearsals


class NewRehearsal(Strict):
    days = whole(1, 60, load_default=60, metadata={"description": "how many days to look ahead at most"})
    replies_percent = whole(0, 100, load_default=0, metadata={"description": "how many in a hundred messages are answered"})
    seed = whole(0, 1_000_000, load_default=1, metadata={"description": "another seed: other people answer"})


class RehearsalShown(Shown):
    id = fields.Integer(required=True)
    campaign_id = fields.Integer(required=True)
    status = one_of(REHEARSAL_STATES)
    days = fields.Integer(required=True)
    replies_percent = fields.Integer(required=True)
    seed = fields.Integer(required=True)
    error = fields.String(required=True, metadata={"description": "why there is no report, with what to do"})
    report = fields.Dict(
        keys=fields.String(), required=True, attribute="result",
        metadata={"description": "what `flask simulate --json` prints; empty until it is done"},
    )  # fmt: skip
    created_at = Moment(required=True)
    finished_at = Moment(required=True, allow_none=True)


@api_route("GET", f"{ONE}/rehearsals", READ, object_of=Campaign, list_of=RehearsalShown, summary="The newest rehearsals of a campaign")
def list_rehearsals(campaign: Campaign) -> Page:
    """Newest first, ten at most."""
    return Page(rehearsals.newest(g.client.id, present(campaign).id), None)


@api_route(
    "POST", f"{ONE}/rehearsals", DRAFT, object_of=Campaign, body=NewRehearsal, response=RehearsalShown, status=201,
    summary="Rehearse a campaign in a throw-away database",
)  # fmt: skip
def ask(campaign: Campaign, body: dict[str, Any]) -> CampaignRehearsal:
    """Nothing leaves and no row of the campaign changes. It is worked on in the background; read the report with GET."""
    return rehearsals.ask(g.client.id, present(campaign).id, by=g.viewer.id, **body)
