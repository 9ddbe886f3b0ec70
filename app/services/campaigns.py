"""Campaigns: made, edited, copied, removed; their senders. Starting and stopping is ``launch``, leads are ``campaign_leads``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select

from app.core import clock
from app.core.db import lock_hot
from app.core.errors import Conflict
from app.core.extensions import db
from app.core.queue import Job, ring_job_after_commit
from app.domain.public_holidays import UnknownCountry, normalise_country
from app.models import Campaign, CampaignSender, Client, Step
from app.queries import campaigns as reading
from app.services import audit, settings
from app.services.campaign_rows import locked, tell
from app.services.campaign_senders import replace_senders
from app.services.campaign_shape import CALENDAR_FIELDS, MAX_NAME, CampaignShape, read_campaign
from app.services.campaign_steps import replace_steps
from app.services.replanning import Shift, replan, shift
from app.strings import t

CAPS = ("daily_cap", "daily_new_leads")
COLUMNS = (*CALENDAR_FIELDS, *CAPS, "allow_elsewhere")


def create(client_id: int, values: Mapping[str, Any], *, by: int | None) -> Campaign:
    """A draft from the campaign's JSON shape (name, timezone, windows, closed_days, weekend, holidays_country, mailbox_ids,
    daily_cap, daily_new_leads, allow_elsewhere, steps). Only ``name`` is mandatory. Raises Invalid with details per field."""
    shape = read_campaign(client_id, values, _defaults(client_id), new=True)
    campaign = Campaign(client_id=client_id, status="draft", created_by=by, **shape.columns)
    db.session.add(campaign)
    db.session.flush()
    _apply_lists(campaign, shape)
    audit.record("campaign.create", "campaign", campaign.id, client_id=client_id, user_id=by, after=_snapshot(campaign))
    tell(client_id, campaign.id)
    return campaign


def _defaults(client_id: int) -> dict[str, Any]:
    """The client's zone, its usual hours and, where we know its country, the holidays there."""
    zone, country = db.session.execute(select(Client.timezone, Client.country).where(Client.id == client_id)).one()
    try:
        holidays = normalise_country(country) if country else None
    except UnknownCountry:
        holidays = None
    hours = settings.current("client", client_id, "default_windows").value
    return {"timezone": zone, "holidays_country": holidays, "windows": hours}


def edit(client_id: int, campaign_id: int, values: Mapping[str, Any], *, by: int | None, version: int | None = None) -> Campaign:
    """Change what ``values`` names (same shape as ``create``; ``steps`` only in a draft). ``version``: refuse (Conflict, code
    ``changed_meanwhile``) when somebody saved after it was read. Raises NotFound, Invalid, Conflict."""
    _win_over_permits(client_id, campaign_id, values)
    campaign = locked(client_id, campaign_id)
    if version is not None and version != campaign.version:
        raise Conflict.meanwhile("campaign")
    if campaign.status == "stopped":
        raise Conflict(t("campaigns.stopped_duplicate"))
    if values.get("steps") is not None and campaign.status != "draft":
        raise Conflict(t("campaigns.steps_one_by_one"))
    before = _snapshot(campaign)
    shape = read_campaign(client_id, values, {name: getattr(campaign, name) for name in CALENDAR_FIELDS}, new=False)
    for name, value in shape.columns.items():
        setattr(campaign, name, value)
    campaign.version += 1
    _apply_lists(campaign, shape)
    db.session.flush()
    after = _snapshot(campaign)
    changed = [name for name in after if after[name] != before[name]]
    if set(changed) & set(CALENDAR_FIELDS):
        replan(campaign)
    if set(changed) & {*CAPS, *CALENDAR_FIELDS}:
        ring_job_after_commit(Job.LOOK_AGAIN)
    audit.record(
        "campaign.update", "campaign", campaign_id, client_id=client_id, user_id=by,
        before={name: before[name] for name in changed}, after={name: after[name] for name in changed},
    )  # fmt: skip
    tell(client_id, campaign_id)
    return campaign


def calendar_change(client_id: int, campaign_id: int, values: Mapping[str, Any]) -> Shift | None:
    """What ``edit`` with these values would move in a campaign that has started; None: nothing. Raises Invalid."""
    campaign = reading.campaign(client_id, campaign_id)
    if campaign.status not in {"running", "paused"}:
        return None
    present = {name: getattr(campaign, name) for name in CALENDAR_FIELDS}
    columns = read_campaign(client_id, values, present, new=False).columns
    if all(columns.get(name, value) == value for name, value in present.items()):
        return None
    found = shift(campaign, {name: columns.get(name, value) for name, value in present.items()}, clock.now())
    return found if found.moved else None


def _win_over_permits(client_id: int, campaign_id: int, values: Mapping[str, Any]) -> None:
    """A changed cap holds for every permit after it: then the hot lock comes first, before any row is locked."""
    present = reading.campaign(client_id, campaign_id)
    if any(name in values and values[name] != getattr(present, name) for name in CAPS):
        lock_hot()


def _apply_lists(campaign: Campaign, shape: CampaignShape) -> None:
    if shape.sender_ids is not None:
        replace_senders(campaign, shape.sender_ids)
    if shape.steps is not None:
        replace_steps(campaign, shape.steps)


def _snapshot(campaign: Campaign) -> dict[str, Any]:
    values = {name: getattr(campaign, name) for name in ("name", *COLUMNS)}
    return {**values, "mailbox_ids": sender_ids(campaign.id)}


def sender_ids(campaign_id: int) -> list[int]:
    """The chosen senders in their order."""
    statement = select(CampaignSender.sender_id).where(CampaignSender.campaign_id == campaign_id)
    return list(db.session.scalars(statement.order_by(CampaignSender.position, CampaignSender.sender_id)))


def duplicate(client_id: int, campaign_id: int, *, by: int | None) -> Campaign:
    """A new draft with the same steps, calendar and senders; no leads. Its name is ``<name> (copy)``."""
    source = reading.campaign(client_id, campaign_id)
    copy = Campaign(client_id=client_id, status="draft", created_by=by, name=t("campaigns.copy_name", name=source.name[:MAX_NAME - 7]))
    for column in COLUMNS:
        setattr(copy, column, getattr(source, column))
    db.session.add(copy)
    db.session.flush()
    parent: int | None = None
    for step in reading.steps(client_id, campaign_id):
        parent = _copy_step(copy, step, parent).id
    replace_senders(copy, sender_ids(campaign_id))
    audit.record("campaign.create", "campaign", copy.id, client_id=client_id, user_id=by, after={"copy_of": campaign_id})
    tell(client_id, copy.id)
    return copy


def _copy_step(campaign: Campaign, step: Step, parent: int | None) -> Step:
    names = ("channel", "delay_value", "delay_unit", "subject", "text", "html", "branch", "position")
    copy = Step(client_id=campaign.client_id, campaign_id=campaign.id, parent_id=parent)
    for name in names:
        setattr(copy, name, getattr(step, name))
    db.session.add(copy)
    db.session.flush()
    return copy


def delete(client_id: int, campaign_id: int, *, by: int | None) -> None:
    """Remove a draft, finished or stopped campaign from the lists. Raises Conflict while it runs or is paused."""
    campaign = locked(client_id, campaign_id)
    if campaign.status in {"running", "paused"}:
        raise Conflict(t("campaigns.stop_first"))
    campaign.deleted_at = db.session.scalar(select(func.clock_timestamp()))
    campaign.version += 1
    audit.record("campaign.delete", "campaign", campaign_id, client_id=client_id, user_id=by, before={"name": campaign.name})
    tell(client_id, campaign_id)


def choose_senders(client_id: int, campaign_id: int, chosen: Sequence[int], *, by: int | None) -> None:
    """The mailboxes the campaign rotates through, in this order. Leads not yet written to are spread over them again; leads of a
    removed mailbox that were already written to wait with ``no_sender`` until a person re-assigns them."""
    edit(client_id, campaign_id, {"mailbox_ids": list(chosen)}, by=by)
