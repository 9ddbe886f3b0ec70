"""Campaigns by program: shape, steps, leads, preview, test, start, pause, resume, stop, progress."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from sqlalchemy import func, select

from app.blueprints.api.campaign_schemas import (
    CampaignChange,
    CampaignLeadShown,
    CampaignQuery,
    CampaignShown,
    CampaignWhole,
    Changed,
    Confirmed,
    Enrolled,
    LeadAction,
    LeadsToAdd,
    NewCampaign,
    NewStep,
    PeopleQuery,
    PreviewShown,
    Sent,
    StatusShown,
    StepChange,
    StepShown,
    TestSend,
    Texts,
    WhichPreview,
    windows_of,
)  # fmt: skip
from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, page_of
from app.core.errors import Forbidden, NotFound
from app.core.extensions import db
from app.domain.permissions import Permission
from app.models import Campaign, Enrollment, Step
from app.queries import campaign_people, campaign_progress
from app.queries import campaigns as queries
from app.services import campaign_leads, campaign_steps, campaigns, launch
from app.services import preview as previews
from app.services.test_send import send_test
from app.strings import t

READ, DRAFT, LAUNCH, STOP = (
    Permission.CAMPAIGNS_READ, Permission.CAMPAIGNS_DRAFT, Permission.CAMPAIGNS_LAUNCH, Permission.CAMPAIGNS_STOP,
)  # fmt: skip
ONE = "/campaigns/<int:row_id>"


def present(campaign: Campaign) -> Campaign:
    if campaign.deleted_at is not None:
        raise NotFound
    return campaign


def _typed(body: dict[str, Any]) -> dict[str, Any]:
    """The body in the shape the services read."""
    if "windows" in body:
        body["windows"] = windows_of(body["windows"])
    return body


@api_route("GET", "/campaigns", READ, query=CampaignQuery, list_of=CampaignShown, summary="List campaigns")
def list_campaigns(query: dict[str, Any]) -> Page:
    statement = select(Campaign).where(Campaign.client_id == g.client.id, Campaign.deleted_at.is_(None))
    if query.get("status"):
        statement = statement.where(Campaign.status == query["status"])
    if query.get("q"):
        statement = statement.where(Campaign.name.icontains(query["q"].strip(), autoescape=True))
    return page_of(statement, query, Campaign.id)


@api_route("POST", "/campaigns", DRAFT, body=NewCampaign, response=CampaignWhole, status=201, summary="Make a draft campaign")
def create(body: dict[str, Any]) -> Campaign:
    """Only ``name`` is needed; what is left out takes the client's usual values."""
    return campaigns.create(g.client.id, _typed(body), by=g.viewer.id)


@api_route("GET", ONE, READ, object_of=Campaign, response=CampaignWhole, summary="One campaign")
def show(campaign: Campaign) -> Campaign:
    return present(campaign)


@api_route("PATCH", ONE, DRAFT, object_of=Campaign, body=CampaignChange, response=CampaignWhole, summary="Change a campaign")
def change(campaign: Campaign, body: dict[str, Any]) -> Campaign:
    version = body.pop("version", None)
    return campaigns.edit(g.client.id, present(campaign).id, _typed(body), by=g.viewer.id, version=version)


@api_route("DELETE", ONE, DRAFT, object_of=Campaign, status=204, summary="Remove a campaign")
def remove(campaign: Campaign) -> None:
    """A draft, or one that was stopped or has finished; 409 while it runs."""
    campaigns.delete(g.client.id, present(campaign).id, by=g.viewer.id)


@api_route("POST", f"{ONE}/duplicate", DRAFT, object_of=Campaign, response=CampaignWhole, status=201, summary="Copy a campaign as a draft")
def duplicate(campaign: Campaign) -> Campaign:
    return campaigns.duplicate(g.client.id, present(campaign).id, by=g.viewer.id)


# Steps


@api_route("GET", f"{ONE}/steps", READ, object_of=Campaign, list_of=StepShown, summary="The steps in their order")
def list_steps(campaign: Campaign) -> Page:
    return Page(queries.steps(g.client.id, present(campaign).id), None)


@api_route("POST", f"{ONE}/steps", DRAFT, object_of=Campaign, body=NewStep, response=StepShown, status=201, summary="Add a step")
def add_step(campaign: Campaign, body: dict[str, Any]) -> Step:
    """409 ``needs_confirmation`` when leads of a running campaign are already past its place."""
    line = queries.steps(g.client.id, present(campaign).id)
    after, confirmed = body.pop("after", line[-1].id if line else None), body.pop("confirmed")
    return campaign_steps.add_step(g.client.id, present(campaign).id, body, after=after, by=g.viewer.id, confirmed=confirmed)


@api_route("PATCH", "/steps/<int:row_id>", DRAFT, object_of=Step, body=StepChange, response=StepShown, summary="Change a step")
def change_step(step: Step, body: dict[str, Any]) -> Step:
    version = body.pop("version", None)
    return campaign_steps.edit_step(g.client.id, step.campaign_id, step.id, body, by=g.viewer.id, seen=version)


@api_route("DELETE", "/steps/<int:row_id>", DRAFT, object_of=Step, query=Confirmed, status=204, summary="Remove a step")
def remove_step(step: Step, query: dict[str, Any]) -> None:
    """409 ``needs_confirmation`` when leads of a running campaign would lose it."""
    campaign_steps.delete_step(g.client.id, step.campaign_id, step.id, by=g.viewer.id, confirmed=query["confirmed"])


# Leads


@api_route("GET", f"{ONE}/leads", READ, object_of=Campaign, query=PeopleQuery, list_of=CampaignLeadShown, summary="The leads of a campaign")
def list_leads(campaign: Campaign, query: dict[str, Any]) -> Page:
    """Where each lead's walk stands, and why it waits."""
    found, cursor = campaign_people.people(
        g.client.id, present(campaign).id, status=query.get("status"), reason=query.get("reason"), search=query.get("q", ""),
        cursor=query.get("cursor"), limit=query["limit"],
    )  # fmt: skip
    return Page(found, cursor)


@api_route(
    "POST", f"{ONE}/leads", Permission.CAMPAIGNS_ENROLL, object_of=Campaign, body=LeadsToAdd, response=Enrolled, summary="Put leads into a campaign"
)
def add_leads(campaign: Campaign, body: dict[str, Any]) -> Any:
    """Give ``lead_ids`` or ``import_id``. A finished campaign runs again."""
    return campaign_leads.add_leads(
        g.client.id, present(campaign).id, lead_ids=body.get("lead_ids"), import_id=body.get("import_id"),
        allow_elsewhere=body["allow_elsewhere"], by=g.viewer.id,
    )  # fmt: skip


@api_route(
    "POST", f"{ONE}/leads/act", Permission.LEADS_PAUSE, object_of=Campaign, body=LeadAction, response=Changed,
    summary="Pause, resume, skip or remove leads of a campaign",
)
def act_on_leads(campaign: Campaign, body: dict[str, Any]) -> dict[str, int]:
    """``remove`` needs ``campaigns.enroll`` as well."""
    ids, number = body["lead_ids"], present(campaign).id
    if body["action"] == "remove" and not g.viewer.may(Permission.CAMPAIGNS_ENROLL, g.client):
        raise Forbidden(t("api.leads_out_admin_only"))
    known = select(func.count()).where(Enrollment.client_id == g.client.id, Enrollment.campaign_id == number, Enrollment.lead_id.in_(ids))
    if not db.session.scalar(known):
        raise NotFound
    if body["action"] == "remove":
        for lead_id in ids:
            campaign_leads.remove_lead(g.client.id, number, lead_id, by=g.viewer.id)
        return {"changed": len(ids)}
    act = {"pause": campaign_leads.pause_leads, "resume": campaign_leads.resume_leads, "skip": campaign_leads.skip_leads}[body["action"]]
    return {"changed": act(g.client.id, number, ids, by=g.viewer.id)}


# Preview, test, the four big buttons


def _public_url() -> str:
    return str(current_app.extensions["settings"].public_url)


def _texts(body: dict[str, Any]) -> dict[str, Any] | None:
    return {name: body[name] for name in ("subject", "text", "html") if name in body} or None


@api_route("POST", f"{ONE}/preview", READ, object_of=Campaign, body=Texts, response=PreviewShown, summary="What a lead would really get")
def preview(campaign: Campaign, body: dict[str, Any]) -> Any:
    """Rendered by the renderer that sends; nothing is stored. Give texts to see unsaved ones."""
    return previews.preview(
        g.client.id, present(campaign).id, step_id=body.get("step_id"), lead_id=body.get("lead_id"), texts=_texts(body), public_url=_public_url()
    )


@api_route("GET", f"{ONE}/preview", READ, object_of=Campaign, query=WhichPreview, response=PreviewShown, summary="What a lead would get, as stored")
def preview_stored(campaign: Campaign, query: dict[str, Any]) -> Any:
    return previews.preview(
        g.client.id, present(campaign).id, step_id=query.get("step_id"), lead_id=query.get("lead_id"), public_url=_public_url()
    )


@api_route(
    "POST", f"{ONE}/test", Permission.CAMPAIGNS_TEST, object_of=Campaign, body=TestSend, response=Sent, status=201,
    summary="Send a step to your own address",
)
def test(campaign: Campaign, body: dict[str, Any]) -> dict[str, int]:
    steps = queries.steps(g.client.id, present(campaign).id)
    step_id = body.get("step_id") or (steps[0].id if steps else 0)
    delivery = send_test(
        g.client.id, campaign.id, step_id, user_id=g.viewer.id, sender_id=body.get("mailbox_id"), lead_id=body.get("lead_id"),
        texts=_texts(body), public_url=_public_url(),
    )  # fmt: skip
    return {"delivery_id": delivery}


@api_route("POST", f"{ONE}/launch", LAUNCH, object_of=Campaign, response=CampaignWhole, summary="Start a campaign")
def start(campaign: Campaign) -> Campaign:
    """422 with the launch checks that stand in the way."""
    return launch.start(g.client.id, present(campaign).id, by=g.viewer.id)


@api_route("POST", f"{ONE}/pause", STOP, object_of=Campaign, response=CampaignWhole, summary="Pause a campaign")
def pause(campaign: Campaign) -> Campaign:
    """No permit is given after this answer."""
    return launch.pause(g.client.id, present(campaign).id, by=g.viewer.id)


@api_route("POST", f"{ONE}/resume", LAUNCH, object_of=Campaign, response=CampaignWhole, summary="Resume a paused campaign")
def resume(campaign: Campaign) -> Campaign:
    return launch.resume(g.client.id, present(campaign).id, by=g.viewer.id)


@api_route("POST", f"{ONE}/stop", STOP, object_of=Campaign, response=CampaignWhole, summary="Stop a campaign for good")
def stop(campaign: Campaign) -> Campaign:
    """Final: what waits is cancelled. Duplicate it to begin again."""
    return launch.stop(g.client.id, present(campaign).id, by=g.viewer.id)


@api_route("GET", f"{ONE}/status", READ, object_of=Campaign, response=StatusShown, summary="Progress of a campaign")
def status(campaign: Campaign) -> dict[str, Any]:
    """Every number from the rows themselves; after a pause or stop also what was still on its way."""
    number = present(campaign).id
    done = campaign_progress.progress(g.client.id, number)
    stopped = campaign_progress.stop_state(g.client.id, number)
    return {
        **vars(done), "status": campaign.status, "waiting": campaign_progress.waiting_for(g.client.id, number),
        "next_events": campaign_progress.next_events(g.client.id, number), "in_flight": stopped.in_flight,
        "outstanding": stopped.outstanding, "sent_since_stop": stopped.sent_since,
    }  # fmt: skip
