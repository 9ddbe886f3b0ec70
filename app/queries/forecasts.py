"""What will leave in the days ahead, from the ledger's rows through the pure forecaster; nothing is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text

from app.core.extensions import db
from app.domain.forecasting import CampaignPlan, Forecaster, HourlyCap, Send, SenderPlan, Walk
from app.domain.limits import Action, Caps, LimitFacts, Scope, limits
from app.domain.statuses import DeliveryKind
from app.domain.working_time import Calendar, add_delay
from app.models import Campaign, CampaignSender, Mailbox
from app.queries.campaign_calendars import calendar_of, through
from app.queries.campaign_steps import nodes_of, ways_on
from app.queries.missing_values import stops

_USED = text(
    "SELECT used FROM usage_counters WHERE scope_kind = :kind AND scope_id = :id AND action = :action AND window_start = :start"
)
_WALKS = text(
    "SELECT e.id, e.campaign_id, e.sender_id, e.last_step_id, e.next_at, e.status, d.step_id AS made_out, d.due_at, d.status AS left"
    " FROM enrollments e JOIN leads l ON l.id = e.lead_id LEFT JOIN LATERAL ("
    "  SELECT step_id, due_at, status FROM deliveries WHERE enrollment_id = e.id"
    "  AND status IN ('queued', 'leased', 'committing') ORDER BY id DESC LIMIT 1) d ON true"
    " WHERE e.client_id = :client AND e.campaign_id = ANY(:campaigns) AND e.sender_id IS NOT NULL"
    " AND e.status IN ('waiting', 'in_flight') AND l.email_key IS NOT NULL AND l.bounced_at IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM suppressions p WHERE p.client_id = e.client_id AND p.email_key = l.email_key)"
    " AND NOT EXISTS (SELECT 1 FROM global_suppressions g WHERE g.email_key = l.email_key)"
    " ORDER BY coalesce(d.due_at, e.next_at), e.id LIMIT :limit"
)


@dataclass(frozen=True)
class Ahead:
    """The sends of every campaign that shares a sender with this one, and how many leads of this one still wait after the span."""

    sends: tuple[Send, ...]
    waiting: int


def look_ahead(campaign: Campaign, now: datetime, until: datetime, *, most: int = 200_000, leads: int | None = None) -> Ahead:
    """Messages from ``now`` to ``until`` (product time) if this campaign runs (a draft: is started now).

    ``leads``: look only at so many leads, those due first (for the next events of a large campaign).
    """
    mailboxes = list(db.session.scalars(_chosen(campaign.id)))
    plans = [_plan(one, now) for one in _sharing(campaign, [mailbox.id for mailbox in mailboxes])]
    known = {mailbox.id: mailbox for mailbox in mailboxes}
    for plan in plans:
        for number in plan.calendars:
            known.setdefault(number, db.session.get_one(Mailbox, number))
    active = [mailbox for mailbox in known.values() if mailbox.status == "active" and mailbox.deleted_at is None]
    forecaster = Forecaster(plans, [_sender(mailbox, now) for mailbox in active], now, _shared_caps(campaign.client_id, now))
    _add_walks(forecaster, campaign, {plan.id: plan for plan in plans}, now, leads)
    return Ahead(tuple(forecaster.run(until, most)), forecaster.waiting(campaign.id))


def _chosen(campaign_id: int) -> Any:
    joined = select(Mailbox).join(CampaignSender, CampaignSender.sender_id == Mailbox.id)
    return joined.where(CampaignSender.campaign_id == campaign_id).order_by(CampaignSender.position, Mailbox.id)


def _sharing(campaign: Campaign, senders: list[int]) -> list[Campaign]:
    """This campaign and every running one that writes through one of its senders: they share caps and gaps."""
    others = select(Campaign).where(
        Campaign.client_id == campaign.client_id,
        Campaign.status == "running",
        Campaign.deleted_at.is_(None),
        Campaign.id != campaign.id,
        Campaign.id.in_(select(CampaignSender.campaign_id).where(CampaignSender.sender_id.in_(senders))),
    )
    return [campaign, *db.session.scalars(others.order_by(Campaign.id))]


def _plan(campaign: Campaign, now: datetime) -> CampaignPlan:
    own = calendar_of(campaign)
    calendars = {mailbox.id: through(own, mailbox) for mailbox in db.session.scalars(_chosen(campaign.id))} if own else {}
    facts = LimitFacts(
        now=now, client_id=campaign.client_id, campaign_id=campaign.id, campaign_zone=campaign.timezone, first_of_lead=True
    )
    used = _used(facts, Scope.CAMPAIGN)
    return CampaignPlan(
        id=campaign.id, zone=campaign.timezone, ways=ways_on(nodes_of(campaign.id)), calendars=calendars,
        daily_cap=campaign.daily_cap, daily_new_leads=campaign.daily_new_leads,
        used_today=used.get(Action.DAY, 0), new_today=used.get(Action.NEW_LEADS, 0),
    )  # fmt: skip


def _sender(mailbox: Mailbox, now: datetime) -> SenderPlan:
    facts = LimitFacts(now=now, client_id=mailbox.client_id, sender_id=mailbox.id, sender_zone=mailbox.timezone)
    free_at = max(at for at in (now, mailbox.next_at, mailbox.backoff_until) if at is not None)
    used = _used(facts, Scope.SENDER)
    return SenderPlan(
        mailbox.id, mailbox.timezone, mailbox.daily_cap, mailbox.min_gap_s, free_at, used.get(Action.DAY, 0),
        mailbox.hourly_cap, used.get(Action.HOUR, 0),
    )  # fmt: skip


_HOURLY = text(
    "SELECT scope_kind, value FROM settings WHERE (scope_kind, scope_id, key) IN"
    " (('client', :client, 'client_hour_cap'), ('instance', 0, 'instance_hour_cap'))"
)


def _shared_caps(client_id: int, now: datetime) -> list[HourlyCap]:
    """The hourly caps of the client and of the installation, where they are set."""
    facts = LimitFacts(now=now, client_id=client_id)
    return [
        HourlyCap(row.value, _used(facts, Scope(row.scope_kind)).get(Action.HOUR, 0))
        for row in db.session.execute(_HOURLY, {"client": client_id})
        if isinstance(row.value, int)
    ]


def _used(facts: LimitFacts, scope: Scope) -> dict[str, int]:
    """What today's counters of this scope hold, by action."""
    found: dict[str, int] = {}
    for limit in limits(DeliveryKind.CAMPAIGN_STEP, facts, Caps()):
        key = limit.key
        if key.scope_kind == scope:
            values = {"kind": str(key.scope_kind), "id": key.scope_id, "action": str(key.action), "start": key.window_start}
            found[str(key.action)] = db.session.scalar(_USED, values) or 0
    return found


def _add_walks(forecaster: Forecaster, campaign: Campaign, plans: dict[int, CampaignPlan], now: datetime, most: int | None) -> None:
    firsts: dict[int, datetime | None] = {}
    rows = db.session.execute(_WALKS, {"client": campaign.client_id, "campaigns": list(plans), "limit": most}).all()
    lacking: dict[int, frozenset[int]] = {}
    for number in plans:
        lacking |= stops(campaign.client_id, number, [row.id for row in rows if row.campaign_id == number])
    for row in rows:
        plan = plans[row.campaign_id]
        calendar = plan.calendars.get(row.sender_id)
        if calendar is None or row.left == "committing":
            continue
        due = row.due_at or row.next_at
        if row.campaign_id == campaign.id and campaign.status == "draft":
            due = _first_due(plan, calendar, now, row, firsts)
        if due is not None:
            none: frozenset[int] = frozenset()
            forecaster.add(Walk(max(due, now), row.id, row.campaign_id, row.sender_id, row.last_step_id, lacking.get(row.id, none)))


def _first_due(plan: CampaignPlan, calendar: Calendar, now: datetime, row: Any, known: dict[int, datetime | None]) -> datetime | None:
    """When the first step would be due if the campaign started now."""
    step = plan.ways[None]
    if step is None:
        return None
    if calendar.weekend_percent:
        return add_delay(calendar, now, step.delay_value, step.delay_unit, row.id)
    if row.sender_id not in known:
        known[row.sender_id] = add_delay(calendar, now, step.delay_value, step.delay_unit)
    return known[row.sender_id]
