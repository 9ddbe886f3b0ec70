"""Shapes of campaigns, steps, their leads and their progress. What a value may hold is checked by the services, per field."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from app.blueprints.api.schemas import (
    Flag,
    Moment,
    PageQuery,
    Pattern,
    Shown,
    Strict,
    Worked,
    one_of,
    row_id,
    seen,
    version_shown,
    whole,
)
from app.blueprints.api.schemas import text as words
from app.domain.reasons import Reason
from app.domain.statuses import ENROLLMENT_ENDED, CampaignStatus, EnrollmentStatus
from app.queries.campaigns import steps as steps_of
from app.services.campaign_steps import version as step_version
from app.services.campaigns import sender_ids
from app.strings import t

MOST_LEADS = 10_000
#: Why a walk waits or ended; one that ended without a reason says its state (``queries/campaign_people.REASON``).
WALK_REASONS = tuple(dict.fromkeys([*map(str, Reason), *sorted(map(str, ENROLLMENT_ENDED))]))
CLOCK = Pattern(r"^(([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00)$", error=t("hours.clock_shape"))
DAY = Pattern(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", error=t("hours.date_shape"))


class Window(Strict):
    weekday = whole(0, 6, required=True, metadata={"description": "0 is Monday"})
    from_ = fields.String(data_key="from", required=True, validate=CLOCK, metadata={"example": "09:00"})
    to = fields.String(required=True, validate=CLOCK, metadata={"example": "17:00", "description": "24:00 is allowed"})


def windows_of(loaded: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Windows in the shape the services read (``from`` is a word of Python, so the schema calls it ``from_``)."""
    return [{"weekday": one["weekday"], "from": one["from_"], "to": one["to"]} for one in loaded]


class Weekend(Strict):
    mode = fields.String(validate=validate.OneOf(["closed", "reduced"]))
    percent = whole(0, 100)


class Delay(Strict):
    value = whole(0, 1_000_000, required=True)
    unit = fields.String(required=True, validate=validate.OneOf(["working_days", "days", "hours", "minutes"]))


class StepFields(Strict):
    channel = fields.String(validate=validate.OneOf(["email"]))
    delay = fields.Nested(Delay)
    subject = words(998, metadata={"description": "empty: continues the thread"})
    text = words(100_000)
    html = words(100_000)


class StepChange(StepFields):
    version = seen()


class NewStep(StepFields):
    after = row_id(allow_none=True, metadata={"description": "the step before it; null: at the beginning; left out: at the end"})
    confirmed = Flag(load_default=False, metadata={"description": "although leads already past this place never get it"})


class CampaignFields(Strict):
    name = words(200)
    timezone = words(64)
    windows = fields.List(fields.Nested(Window), validate=validate.Length(max=200))
    closed_days = fields.List(fields.String(validate=DAY, metadata={"example": "2027-12-24"}), validate=validate.Length(max=400))
    weekend = fields.Nested(Weekend)
    holidays_country = words(60, allow_none=True)
    mailbox_ids = fields.List(row_id(), validate=validate.Length(max=1_000))
    daily_cap = whole(0, 100_000, allow_none=True)
    daily_new_leads = whole(0, 100_000, allow_none=True)
    allow_elsewhere = Flag()
    steps = fields.List(fields.Nested(StepFields), validate=validate.Length(max=50), metadata={"description": "all steps, only while it is a draft"})


class NewCampaign(CampaignFields):
    name = words(200, shortest=1, required=True)


class CampaignChange(CampaignFields):
    version = whole(1, metadata={"description": "refuse with 409 when somebody saved after this version was read"})


class CampaignQuery(PageQuery):
    q = words(100, metadata={"description": "part of the name"})
    status = fields.String(validate=validate.OneOf(list(CampaignStatus)))


class DelayShown(Shown):
    value = fields.Integer(required=True)
    unit = fields.String(required=True)


class WindowShown(Shown):
    weekday = fields.Integer(required=True, metadata={"description": "0 is Monday"})
    from_ = fields.String(required=True, data_key="from", attribute="from")
    to = fields.String(required=True)


class StepShown(Shown):
    id = fields.Integer(required=True)
    parent_id = fields.Integer(required=True, allow_none=True)
    channel = fields.String(required=True)
    delay = Worked(lambda step: {"value": step.delay_value, "unit": step.delay_unit}, DelayShown)
    subject = fields.String(required=True)
    text = fields.String(required=True)
    html = fields.String(required=True)
    version = version_shown(step_version)


class CampaignShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    name = fields.String(required=True)
    status = one_of(CampaignStatus)
    timezone = fields.String(required=True)
    windows = fields.List(fields.Nested(WindowShown), required=True)
    closed_days = fields.List(fields.String(), required=True)
    weekend = fields.Dict(required=True)
    holidays_country = fields.String(required=True, allow_none=True)
    daily_cap = fields.Integer(required=True, allow_none=True)
    daily_new_leads = fields.Integer(required=True, allow_none=True)
    allow_elsewhere = fields.Boolean(required=True)
    version = fields.Integer(required=True)
    created_at = Moment(required=True)
    launched_at = Moment(required=True, allow_none=True)
    finished_at = Moment(required=True, allow_none=True)


class CampaignWhole(CampaignShown):
    """One campaign with its senders and steps."""

    mailbox_ids = fields.Function(
        lambda campaign: sender_ids(campaign.id), required=True, metadata={"type": "array", "items": {"type": "integer"}},
    )  # fmt: skip
    steps = Worked(
        lambda campaign: steps_of(campaign.client_id, campaign.id), StepShown, many=True, metadata={"description": "in their order"}
    )


class Confirmed(Strict):
    confirmed = Flag(load_default=False, metadata={"description": "although leads of a running campaign lose the step"})


class WhichPreview(Strict):
    step_id = row_id()
    lead_id = row_id()


class LeadsToAdd(Strict):
    lead_ids = fields.List(row_id(), validate=validate.Length(min=1, max=MOST_LEADS))
    import_id = row_id()
    allow_elsewhere = Flag(load_default=None, allow_none=True, metadata={"description": "also leads active in another campaign"})


class Enrolled(Shown):
    enrolled = fields.Integer(required=True)
    skipped = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True, metadata={"description": "reason → how many"})


class PeopleQuery(PageQuery):
    status = fields.String(validate=validate.OneOf(list(EnrollmentStatus)))
    reason = words(60)
    q = words(200)


ORIGINAL_WORDS: dict[str, str] = {"replied": "responded", "finished": "completed"}


def _original_word(line: Any) -> str:
    """The walk in the words that the first users' programs know."""
    return ORIGINAL_WORDS.get(line.status, "messaged" if line.step_number else "pending_invite")


class CampaignLeadShown(Shown):
    id = fields.Integer(required=True, attribute="enrollment_id")
    lead_id = fields.Integer(required=True)
    name = fields.String(required=True)
    email = fields.String(required=True)
    status = one_of(EnrollmentStatus)
    state = fields.Function(
        lambda line: _original_word(line), required=True,
        metadata={"type": "string", "description": "the same in the words of the original: pending_invite, messaged, responded, completed, …"},
    )  # fmt: skip
    reason = one_of(WALK_REASONS, allow_none=True)
    text = fields.String(required=True, metadata={"description": "the reason as a sentence"})
    frees = fields.String(required=True, metadata={"description": "what would free it"})
    detail = fields.String(required=True)
    step_number = fields.Integer(required=True, allow_none=True)
    last_sent_at = Moment(required=True, allow_none=True)
    next_at = Moment(required=True, allow_none=True)
    sender = fields.String(required=True)


class LeadAction(Strict):
    action = fields.String(required=True, validate=validate.OneOf(["pause", "resume", "skip", "remove"]))
    lead_ids = fields.List(row_id(), required=True, validate=validate.Length(min=1, max=MOST_LEADS))


class Changed(Shown):
    changed = fields.Integer(required=True)


class Texts(Strict):
    step_id = row_id()
    lead_id = row_id()
    subject = words(998)
    text = words(100_000)
    html = words(100_000)


class TestSend(Texts):
    mailbox_id = row_id()


class Sent(Shown):
    delivery_id = fields.Integer(required=True)


class ProblemShown(Shown):
    field = fields.String(required=True)
    message = fields.String(required=True)
    line = fields.Integer(required=True, allow_none=True)
    column = fields.Integer(required=True, allow_none=True)


class PreviewShown(Shown):
    lead_id = fields.Integer(required=True, allow_none=True)
    lead_name = fields.String(required=True)
    to = fields.String(required=True)
    sender = fields.String(required=True)
    subject = fields.String(required=True)
    text = fields.String(required=True)
    html = fields.String(required=True)
    missing = fields.List(fields.String(), required=True)
    problems = fields.List(fields.Nested(ProblemShown), required=True)
    previous_lead_id = fields.Integer(required=True, allow_none=True)
    next_lead_id = fields.Integer(required=True, allow_none=True)


class FunnelShown(Shown):
    step_id = fields.Integer(required=True)
    number = fields.Integer(required=True)
    subject = fields.String(required=True)
    queued = fields.Integer(required=True)
    sent = fields.Integer(required=True)
    replied = fields.Integer(required=True)
    bounced = fields.Integer(required=True)
    unsubscribed = fields.Integer(required=True)


class WaitingShown(Shown):
    reason = one_of(WALK_REASONS)
    text = fields.String(required=True)
    frees = fields.String(required=True)
    count = fields.Integer(required=True)
    until = Moment(required=True, allow_none=True)


class EventShown(Shown):
    at = Moment(required=True)
    lead_id = fields.Integer(required=True)
    lead_name = fields.String(required=True)
    step_number = fields.Integer(required=True)
    sender = fields.String(required=True)


class StatusShown(Shown):
    status = one_of(CampaignStatus)
    leads = fields.Integer(required=True)
    contacted = fields.Integer(required=True)
    active = fields.Integer(required=True)
    replied = fields.Integer(required=True)
    bounced = fields.Integer(required=True)
    unsubscribed = fields.Integer(required=True)
    finished = fields.Integer(required=True)
    sent = fields.Integer(required=True)
    by_status = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    funnel = fields.List(fields.Nested(FunnelShown), required=True)
    waiting = fields.List(fields.Nested(WaitingShown), required=True)
    next_events = fields.List(fields.Nested(EventShown), required=True)
    in_flight = fields.Integer(required=True)
    outstanding = fields.Integer(required=True)
    sent_since_stop = fields.Integer(required=True)
