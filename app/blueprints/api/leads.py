"""Leads by program: listed, made, changed, removed."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from marshmallow import fields, validate
from sqlalchemy import select

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.api.schemas import Moment, PageQuery, Pattern, Shown, Strict, row_id, seen, text, version_shown
from app.core.errors import Conflict
from app.domain.permissions import Permission
from app.models import Lead
from app.queries import leads as queries
from app.services import leads
from app.strings import t

LONGEST = 500


class LeadFields(Strict):
    email = text(320)
    first_name = text(LONGEST)
    last_name = text(LONGEST)
    company = text(LONGEST)
    title = text(LONGEST)
    linkedin_url = text(LONGEST, allow_none=True)
    timezone = text(64, allow_none=True)
    language = text(16, allow_none=True)
    consent_note = text(LONGEST)
    custom = fields.Dict(keys=text(60), values=text(4_000), metadata={"description": "your own fields; PATCH replaces all of them"})


class NewLead(LeadFields):
    email = text(320, shortest=1, required=True)


class LeadChange(LeadFields):
    version = seen()


class LeadFilterQuery(Strict):
    q = text(200, metadata={"description": "part of name, address or company"})
    campaign_id = row_id()
    import_id = row_id()
    state = fields.String(validate=validate.OneOf(queries.STATES))
    missing = fields.String(
        validate=Pattern(f"^({'|'.join(queries.MAY_MISS)}|custom\\..{{1,60}})$"),
        metadata={"description": "leads without this field, also custom.<name>"},
    )


class LeadQuery(LeadFilterQuery, PageQuery):
    pass


def filter_of(query: dict[str, Any]) -> queries.LeadFilter:
    """What page, API, bulk actions and export look for, inside the present client."""
    return queries.LeadFilter(
        client_id=g.client.id, search=query.get("q", ""), campaign_id=query.get("campaign_id"), import_id=query.get("import_id"),
        state=query.get("state", ""), missing=query.get("missing", ""),
    )  # fmt: skip


class LeadShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    email = fields.String(required=True, allow_none=True)
    first_name = fields.String(required=True)
    last_name = fields.String(required=True)
    company = fields.String(required=True)
    title = fields.String(required=True)
    linkedin_url = fields.String(required=True, allow_none=True)
    timezone = fields.String(required=True, allow_none=True)
    language = fields.String(required=True, allow_none=True)
    consent_note = fields.String(required=True)
    custom = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    verification_status = fields.String(required=True)
    source_import_id = fields.Integer(required=True, allow_none=True)
    contacted_at = Moment(required=True, allow_none=True)
    bounced_at = Moment(required=True, allow_none=True)
    created_at = Moment(required=True)
    updated_at = Moment(required=True)
    version = version_shown(leads.version)


def _allow_reserved() -> bool:
    settings = current_app.extensions["settings"]
    return bool(settings.allow_targets) or settings.rehearsal


@api_route("GET", "/leads", Permission.LEADS_READ, query=LeadQuery, list_of=LeadShown, summary="List leads")
def list_leads(query: dict[str, Any]) -> Page:
    return page_of(queries.matching(select(Lead), filter_of(query)), query, Lead.id)


@api_route("POST", "/leads", Permission.LEADS_EDIT, body=NewLead, response=LeadShown, status=201, summary="Add a lead")
def create(body: dict[str, Any]) -> Lead:
    """409 ``duplicate_lead`` with its id when the address is a lead already."""
    return leads.create_lead(g.client.id, body, allow_reserved=_allow_reserved(), by=g.viewer.id)


@api_route("GET", "/leads/<int:row_id>", Permission.LEADS_READ, object_of=Lead, response=LeadShown, summary="One lead")
def show(lead: Lead) -> Lead:
    return lead


@api_route(
    "PATCH", "/leads/<int:row_id>", Permission.LEADS_EDIT, object_of=Lead, body=LeadChange, response=LeadShown, summary="Change a lead"
)
def change(lead: Lead, body: dict[str, Any]) -> Lead:
    """A lead that waited for a missing value goes on."""
    version = body.pop("version", None)
    return leads.change_lead(lead, body, allow_reserved=_allow_reserved(), by=g.viewer.id, seen=version)


@api_route("DELETE", "/leads/<int:row_id>", Permission.LEADS_EDIT, object_of=Lead, status=204, summary="Remove a lead")
def remove(lead: Lead) -> None:
    """409 when something was sent to it or it wrote to us: its history stays. Put its address on the do-not-contact list instead."""
    if not leads.remove_leads(lead.client_id, [lead.id], by=g.viewer.id).removed:
        raise Conflict(t("leads.has_history"), code="lead_has_history")
