"""What the page Leads does besides one lead: figures, many at once, one lead's story, the export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, g
from marshmallow import fields, validate

from app.blueprints.api.core import api_route
from app.blueprints.api.leads import LeadFilterQuery, filter_of
from app.blueprints.api.pagination import Page
from app.blueprints.api.schemas import Moment, Shown, Strict, one_of, row_id
from app.blueprints.leads import EXPORT_ROWS, NEEDS, csv_answer, exported
from app.core.errors import Forbidden, Invalid
from app.domain.permissions import Permission
from app.domain.reasons import Reason
from app.domain.statuses import EnrollmentStatus
from app.models import Lead
from app.queries import campaigns
from app.queries import leads as queries
from app.services import audit, campaign_leads, lead_work, leads, suppressions
from app.services.leads import FIELDS
from app.strings import t

MOST_NAMED = 500
READ = Permission.LEADS_READ


class FiguresShown(Shown):
    total = fields.Integer(required=True)
    groups = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True, metadata={"description": "by state, as the filter knows them"})


@api_route("GET", "/leads/figures", READ, response=FiguresShown, summary="How many leads there are in each state")
def lead_figures() -> queries.Figures:
    return queries.figures(g.client.id)


# Many at once


class ActOnLeads(Strict):
    action = fields.String(required=True, validate=validate.OneOf(list(NEEDS)), metadata={"description": "add (to a campaign), suppress or remove"})
    lead_ids = fields.List(row_id(), validate=validate.Length(1, MOST_NAMED))
    filter = fields.Nested(LeadFilterQuery, metadata={"description": "instead of lead_ids: all that fit; {} is everybody"})
    campaign_id = row_id(metadata={"description": "for add: into which campaign"})


class WorkShown(Shown):
    action = fields.String(required=True, allow_none=True)
    running = fields.Boolean(required=True, metadata={"description": "it goes on in the background: GET /api/leads/act says how far it is"})
    total = fields.Integer(required=True)
    done = fields.Integer(required=True)
    changed = fields.Integer(required=True)
    skipped = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True, metadata={"description": "reason → how many"})
    error = fields.String(required=True, metadata={"description": "why it ended early; empty: it did not"})


@api_route("POST", "/leads/act", Permission.LEADS_EDIT, body=ActOnLeads, response=WorkShown, summary="Add, suppress or remove many leads")
def act_on_leads(body: dict[str, Any]) -> lead_work.Work:
    """Up to 2,000 (suppress: 500) are worked on before the answer, more in the background (``running``). Leads with a history are not
    removed (``skipped.kept``). Adding to campaigns needs ``campaigns.enroll``, suppressing ``suppressions.add``."""
    action, campaign_id = body["action"], body.get("campaign_id")
    if not g.viewer.may(NEEDS[action], g.client):
        raise Forbidden(t("api.role_excludes", permission=NEEDS[action]))
    if ("lead_ids" in body) == ("filter" in body):
        raise Invalid.field("lead_ids", t("api.lead_ids_or_filter"))
    if (action == "add") != (campaign_id is not None):
        raise Invalid.field("campaign_id", t("api.say_campaign") if action == "add" else t("api.only_add"))
    if campaign_id is not None:
        campaigns.campaign(g.client.id, campaign_id)
    found = filter_of(body.get("filter", {}))
    at_once = suppressions.BATCH if action == "suppress" else lead_work.AT_ONCE
    ids = body["lead_ids"] if "lead_ids" in body else queries.ids(found, at_once + 1)
    if len(ids) > at_once:
        return lead_work.Work(action, lead_work.start(found, action, campaign_id, by=g.viewer.id), by=g.viewer.id)
    changed, skipped = _DO[action](ids, campaign_id)
    return lead_work.Work(action, len(ids), len(ids), changed, skipped, running=False)


def _add(ids: list[int], campaign_id: int | None) -> tuple[int, dict[str, int]]:
    if not ids or campaign_id is None:
        return 0, {}
    done = campaign_leads.add_leads(g.client.id, campaign_id, lead_ids=ids, by=g.viewer.id)
    return done.enrolled, done.skipped


def _suppress(ids: list[int], _campaign_id: int | None) -> tuple[int, dict[str, int]]:
    return leads.suppress_leads(g.client.id, ids, by=g.viewer.id), {}


def _remove(ids: list[int], _campaign_id: int | None) -> tuple[int, dict[str, int]]:
    done = leads.remove_leads(g.client.id, ids, by=g.viewer.id)
    return done.removed, {"kept": done.kept} if done.kept else {}


_DO: dict[str, Callable[[list[int], int | None], tuple[int, dict[str, int]]]] = {"add": _add, "suppress": _suppress, "remove": _remove}


@api_route("GET", "/leads/act", READ, response=WorkShown, summary="How far the work on many leads is")
def show_work() -> lead_work.Work | dict[str, Any]:
    """The running one, or the last one for ten minutes after its end."""
    nothing: dict[str, Any] = {"action": None, "running": False, "total": 0, "done": 0, "changed": 0, "skipped": {}, "error": ""}
    return lead_work.shown(g.client.id) or nothing


# One lead


class HappeningShown(Shown):
    at = Moment(required=True)
    kind = fields.String(required=True)
    campaign = fields.String(required=True)
    subject = fields.String(required=True)
    delivery_id = fields.Integer(required=True, allow_none=True)
    conversation_id = fields.Integer(required=True, allow_none=True)


class WalkShown(Shown):
    enrollment_id = fields.Integer(required=True)
    campaign_id = fields.Integer(required=True)
    campaign = fields.String(required=True)
    status = one_of(EnrollmentStatus)
    reason = one_of(Reason, allow_none=True)
    detail = fields.String(required=True)
    next_at = Moment(required=True, allow_none=True)


@api_route("GET", "/leads/<int:row_id>/story", READ, object_of=Lead, list_of=HappeningShown, summary="What happened with a lead")
def lead_story(lead: Lead) -> Page:
    """Newest first, at most 100."""
    return Page(queries.story(g.client.id, lead.id), None)


@api_route("GET", "/leads/<int:row_id>/campaigns", READ, object_of=Lead, list_of=WalkShown, summary="A lead's walks through campaigns")
def lead_campaigns(lead: Lead) -> Page:
    return Page(queries.walks(g.client.id, lead.id), None)


@api_route("GET", "/leads/export", Permission.EXPORT, query=LeadFilterQuery, media="text/csv", summary="Leads as a table")
def export_leads(query: dict[str, Any]) -> Response:
    """All that fit the filter, as CSV that the import reads again. That it was taken out is a line of the trail."""
    names = queries.custom_names(g.client.id)
    rows = list(exported(filter_of(query), names))
    audit.record("leads.export", "client", g.client.id, after={"rows": len(rows)})
    header = [*FIELDS, *(f"custom.{name}" for name in names), "bounced_at", "contacted_at", "created_at"]
    return csv_answer(f"leads-{g.client.slug}.csv", header, rows[:EXPORT_ROWS])
