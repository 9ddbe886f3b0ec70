"""What the pages of a campaign do besides its main verbs: counts, starters, the order of steps, who could come in, the dry run, today."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from marshmallow import fields, validate

from app.blueprints.api.campaign_schemas import MOST_LEADS, CampaignWhole, Changed, Enrolled, StepShown
from app.blueprints.api.campaigns import DRAFT, ONE, READ, present
from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, open_cursor, seal_cursor
from app.blueprints.api.schemas import Flag, Moment, PageQuery, Shown, Strict, one_of, row_id, text, whole
from app.domain.permissions import Permission
from app.domain.reasons import Reason
from app.domain.starter_sequences import STARTER_SEQUENCES, StarterSequence
from app.domain.statuses import DeliveryStatus, SenderStatus
from app.models import Campaign, Lead, Step
from app.queries import campaign_candidates, campaign_progress
from app.queries import campaigns as queries
from app.services import campaign_leads, campaign_steps, launch

ENROLL = Permission.CAMPAIGNS_ENROLL


class CountsShown(Shown):
    counts = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True, metadata={"description": "by status, and all"})


@api_route("GET", "/campaigns/counts", READ, response=CountsShown, summary="How many campaigns there are in each status")
def campaign_counts() -> dict[str, Any]:
    return {"counts": queries.status_counts(g.client.id)}


@api_route("GET", f"{ONE}/leads/counts", READ, object_of=Campaign, response=CountsShown, summary="How many leads of a campaign are in each status")
def lead_counts(campaign: Campaign) -> dict[str, Any]:
    return {"counts": queries.people_counts(g.client.id, present(campaign).id)}


# Steps


class StarterShown(Shown):
    key = fields.String(required=True)
    name = fields.String(required=True)
    description = fields.String(required=True)
    steps = fields.Function(lambda one: len(one.steps), required=True, metadata={"type": "integer"})


class WhichStarter(Strict):
    key = fields.String(required=True, validate=validate.OneOf([one.key for one in STARTER_SEQUENCES]))


class MoveBehind(Strict):
    after = row_id(required=True, allow_none=True, metadata={"description": "the step before it; null: the first place"})


class VariableShown(Shown):
    name = fields.String(required=True)
    label = fields.String(required=True)
    having = fields.Integer(required=True, metadata={"description": "how many leads have a value"})
    of = fields.Integer(required=True)


@api_route("GET", "/campaigns/starters", READ, list_of=StarterShown, summary="Sequences to begin with")
def list_starters() -> Page:
    found: tuple[StarterSequence, ...] = STARTER_SEQUENCES
    return Page(found, None)


@api_route("POST", f"{ONE}/starter", DRAFT, object_of=Campaign, body=WhichStarter, response=CampaignWhole, summary="Replace the steps of a draft by a starter")
def use_starter(campaign: Campaign, body: dict[str, Any]) -> Campaign:
    campaign_steps.use_starter(g.client.id, present(campaign).id, body["key"], by=g.viewer.id)
    return campaign


@api_route("POST", "/steps/<int:row_id>/move", DRAFT, object_of=Step, body=MoveBehind, list_of=StepShown, summary="Move a step of a draft")
def move_step(step: Step, body: dict[str, Any]) -> Page:
    """Answers with all steps in their new order. 409 once the campaign has started."""
    campaign_steps.move_step(g.client.id, step.campaign_id, step.id, body["after"], by=g.viewer.id)
    return Page(queries.steps(g.client.id, step.campaign_id), None)


@api_route("GET", f"{ONE}/variables", READ, object_of=Campaign, list_of=VariableShown, summary="What texts may name, and how many leads have it")
def list_variables(campaign: Campaign) -> Page:
    return Page(queries.variables(g.client.id, present(campaign).id), None)


# Senders and leads


class SenderShown(Shown):
    mailbox_id = fields.Integer(required=True, attribute="id")
    address = fields.String(required=True)
    status = one_of(SenderStatus)
    chosen = fields.Boolean(required=True)
    leads = fields.Integer(required=True, metadata={"description": "of this campaign, written to by it"})
    sent_today = fields.Integer(required=True)
    daily_cap = fields.Integer(required=True)


class CandidateQuery(PageQuery):
    q = text(100, metadata={"description": "part of name, address or company"})


class CandidateShown(Shown):
    lead_id = fields.Integer(required=True, attribute="id")
    name = fields.String(required=True)
    email = fields.String(required=True)
    company = fields.String(required=True)


class AllThatFit(Strict):
    q = text(100, load_default="", metadata={"description": "part of name, address or company; empty: everybody who is not in it"})
    allow_elsewhere = Flag(load_default=None, allow_none=True)


class AssignSender(Strict):
    lead_ids = fields.List(row_id(), required=True, validate=validate.Length(min=1, max=MOST_LEADS))
    mailbox_id = row_id(required=True)


@api_route("GET", f"{ONE}/senders", READ, object_of=Campaign, list_of=SenderShown, summary="Mailboxes, the chosen ones first")
def list_senders(campaign: Campaign) -> Page:
    return Page(queries.senders(g.client.id, present(campaign).id), None)


@api_route("GET", f"{ONE}/candidates", ENROLL, object_of=Campaign, query=CandidateQuery, list_of=CandidateShown, summary="Leads that are not in a campaign")
def list_candidates(campaign: Campaign, query: dict[str, Any]) -> Page:
    after = open_cursor(query["cursor"], Lead.id)[0] if query.get("cursor") else 0
    found, more = campaign_candidates.candidates(
        g.client.id, present(campaign).id, search=query.get("q", ""), after=after, limit=query["limit"]
    )
    return Page(found, seal_cursor([more]) if more is not None else None)


@api_route("POST", f"{ONE}/candidates/add", ENROLL, object_of=Campaign, body=AllThatFit, response=Enrolled, summary="Put all leads that fit into a campaign")
def add_candidates(campaign: Campaign, body: dict[str, Any]) -> Any:
    ids = campaign_candidates.candidate_ids(g.client.id, present(campaign).id, search=body["q"])
    if not ids:
        return {"enrolled": 0, "skipped": {}}
    return campaign_leads.add_leads(g.client.id, campaign.id, lead_ids=ids, allow_elsewhere=body["allow_elsewhere"], by=g.viewer.id)


@api_route("POST", f"{ONE}/leads/assign", ENROLL, object_of=Campaign, body=AssignSender, response=Changed, summary="Give leads another mailbox")
def assign_sender(campaign: Campaign, body: dict[str, Any]) -> dict[str, int]:
    """Before the first message silently, afterwards as a new thread. Leads with a message on its way keep theirs."""
    count = campaign_leads.assign_sender(g.client.id, present(campaign).id, body["lead_ids"], body["mailbox_id"], by=g.viewer.id)
    return {"changed": count}


# The dry run


class Days(Strict):
    days = whole(1, 60, load_default=14)


class ClockShown(Shown):
    whose = fields.String(required=True)
    hours = fields.String(required=True)


class CheckShown(Shown):
    key = fields.String(required=True)
    state = fields.String(required=True, metadata={"description": "ok, warn or blocking"})
    sentence = fields.String(required=True)
    fix = fields.String(required=True, metadata={"description": "where to mend it"})
    step_id = fields.Integer(required=True, allow_none=True)
    clocks = fields.List(fields.Nested(ClockShown), required=True)


class WhoShown(Shown):
    lead_id = fields.Integer(required=True)
    name = fields.String(required=True)


class SkippedShown(Shown):
    reason = one_of(Reason)
    text = fields.String(required=True)
    count = fields.Integer(required=True)
    starts = fields.Boolean(required=True, metadata={"description": "they get the first messages and stop before a later one"})
    who = fields.List(fields.Nested(WhoShown), required=True, metadata={"description": "the first of them"})


class SenderDaysShown(Shown):
    mailbox_id = fields.Integer(required=True, attribute="sender_id")
    address = fields.String(required=True)
    per_day = fields.List(fields.Integer(), required=True)
    first_per_day = fields.List(fields.Integer(), required=True)


class ForecastShown(Shown):
    zone = fields.String(required=True)
    days = fields.List(fields.Date(), required=True)
    senders = fields.List(fields.Nested(SenderDaysShown), required=True)
    totals = fields.List(fields.Integer(), required=True)
    first_at = Moment(required=True, allow_none=True)
    last_at = Moment(required=True, allow_none=True)
    beyond = fields.Integer(required=True, metadata={"description": "leads that still wait after the last day"})


class LaunchShown(Shown):
    blocked = fields.Boolean(required=True)
    leads = fields.Integer(required=True, metadata={"description": "how many would start"})
    first_at = Moment(required=True, allow_none=True)
    button = fields.String(required=True)
    checks = fields.List(fields.Nested(CheckShown), required=True)
    skipped = fields.List(fields.Nested(SkippedShown), required=True, metadata={"description": "who would not be written to, and why"})
    forecast = fields.Nested(ForecastShown, required=True)


@api_route("GET", f"{ONE}/launch", READ, object_of=Campaign, query=Days, response=LaunchShown, summary="What a start would do")
def dry_run(campaign: Campaign, query: dict[str, Any]) -> dict[str, Any]:
    """The checks, who would be left out, and what would leave on which day through which mailbox. Changes nothing."""
    url = str(current_app.extensions["settings"].public_url)
    found = launch.report(g.client.id, present(campaign).id, days=query["days"], public_url=url)
    checks = [{**vars(one), "clocks": [{"whose": whose, "hours": hours} for whose, hours in one.clocks]} for one in found.checks]
    skipped = [{**vars(one), "who": [{"lead_id": number, "name": name} for number, name in one.who]} for one in found.skipped]
    names = ("blocked", "leads", "first_at", "button", "forecast")
    return {**{name: getattr(found, name) for name in names}, "checks": checks, "skipped": skipped}


class MarkShown(Shown):
    at = Moment(required=True)
    sent = fields.Boolean(required=True, attribute="past", metadata={"description": "false: it is planned"})
    label = fields.String(required=True)
    status = one_of([*DeliveryStatus, "planned"])


class SpanShown(Shown):
    opens = Moment(required=True)
    closes = Moment(required=True)


class TodayShown(Shown):
    start = Moment(required=True)
    end = Moment(required=True)
    now = Moment(required=True)
    spans = fields.List(fields.Nested(SpanShown), required=True, metadata={"description": "when its hours are open"})
    marks = fields.List(fields.Nested(MarkShown), required=True, metadata={"description": "messages that left and that will leave"})
    sent = fields.Integer(required=True)
    planned = fields.Integer(required=True)


@api_route("GET", f"{ONE}/today", READ, object_of=Campaign, response=TodayShown, summary="The local day of a campaign")
def show_today(campaign: Campaign) -> dict[str, Any]:
    found = campaign_progress.today(g.client.id, present(campaign).id)
    return {**vars(found), "spans": [{"opens": opens, "closes": closes} for opens, closes in found.spans]}
