"""What a campaign is doing now: progress, funnel, reasons for waiting, the next events, today, why a lead was not contacted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text

from app.core import clock
from app.core.errors import NotFound
from app.core.extensions import db
from app.domain.working_time import day_start, local_date, next_day_start, next_open, window_bounds
from app.models import Campaign, Enrollment
from app.queries.campaign_calendars import calendar_of
from app.queries.campaign_people import JOINED, REASON, explain, person, step_numbers
from app.queries.campaigns import campaign as one_campaign
from app.queries.campaigns import people_counts, steps
from app.queries.forecasts import look_ahead
from app.strings import t

#: Marks of one day and leads looked at for them: more could not be told apart on a strip anyway.
MOST_MARKS = 1_000
DOT_WITHIN_S = 5
_LEFT = "('sent', 'delivered', 'bounced', 'complained')"


@dataclass(frozen=True)
class StepFunnel:
    """One step in numbers, each of ``sent``: replied, bounced and unsubscribed after this step as the last one sent.

    ``queued``: made out and on its way by itself; what a hold, a pause or a missing value keeps back is not.
    """

    step_id: int
    number: int
    subject: str
    queued: int
    sent: int
    replied: int
    bounced: int
    unsubscribed: int


@dataclass(frozen=True)
class Progress:
    """``by_status``: enrollments. The denominators: ``leads``, ``contacted`` (got at least one), ``sent`` (messages)."""

    leads: int
    contacted: int
    replied: int
    bounced: int
    unsubscribed: int
    finished: int
    active: int
    sent: int
    by_status: dict[str, int]
    funnel: tuple[StepFunnel, ...]


@dataclass(frozen=True)
class WaitingFor:
    """Why leads wait just now: reason code, text, what frees it, how many, until when (if a clock does)."""

    reason: str
    text: str
    frees: str
    count: int
    until: datetime | None


@dataclass(frozen=True)
class Event:
    """Something that will leave: when, to whom, which step (counted from 1), through which sender. ``row``: it has a delivery."""

    at: datetime
    lead_id: int
    lead_name: str
    step_number: int
    sender: str
    row: bool


@dataclass(frozen=True)
class Mark:
    """A mark on today's strip: ``past`` (left, solid) or planned (outlined). ``label``: lead and step."""

    at: datetime
    past: bool
    label: str
    status: str


@dataclass(frozen=True)
class Today:
    """The campaign's local day. ``spans``: when its windows are open (UTC instants)."""

    start: datetime
    end: datetime
    now: datetime
    spans: tuple[tuple[datetime, datetime], ...]
    marks: tuple[Mark, ...]
    sent: int
    planned: int


@dataclass(frozen=True)
class StopState:
    """After a pause or stop: ``in_flight`` may still get their dot (stopping); ``outstanding`` wait for an answer only;
    ``at`` when it took effect (product time); ``sent_since`` permits after it, must be 0. ``settled``: nothing can follow."""

    status: str
    at: datetime | None
    in_flight: int
    outstanding: int
    sent_since: int
    settled: bool


@dataclass(frozen=True)
class Why:
    """Why this lead was not (or not yet) contacted: an answer with what would free it and the facts behind it."""

    reason: str
    text: str
    frees: str
    until: datetime | None
    facts: tuple[str, ...]


_STEPS = text(
    "SELECT d.step_id, count(*) FILTER (WHERE d.status IN ('leased', 'committing')"
    "  OR d.status = 'queued' AND e.status IN ('waiting', 'in_flight')) AS queued,"
    f" count(*) FILTER (WHERE d.status IN {_LEFT}) AS sent FROM deliveries d LEFT JOIN enrollments e ON e.id = d.enrollment_id"
    " WHERE d.campaign_id = :campaign AND d.client_id = :client AND d.kind = 'campaign_step' GROUP BY d.step_id"
)
_ENDS = text(
    "SELECT last_step_id, status, count(*) AS n FROM enrollments WHERE campaign_id = :campaign AND client_id = :client"
    " AND last_step_id IS NOT NULL GROUP BY last_step_id, status"
)


def progress(client_id: int, campaign_id: int) -> Progress:
    """Raises NotFound."""
    one_campaign(client_id, campaign_id)
    values = {"client": client_id, "campaign": campaign_id}
    messages = {row.step_id: row for row in db.session.execute(_STEPS, values)}
    ends: dict[tuple[int, str], int] = {(row.last_step_id, row.status): row.n for row in db.session.execute(_ENDS, values)}
    counts = people_counts(client_id, campaign_id)
    funnel = []
    for number, step in enumerate(steps(client_id, campaign_id), 1):
        row = messages.get(step.id)
        funnel.append(
            StepFunnel(
                step_id=step.id,
                number=number,
                subject=step.subject,
                queued=row.queued if row else 0,
                sent=row.sent if row else 0,
                replied=ends.get((step.id, "replied"), 0),
                bounced=ends.get((step.id, "bounced"), 0),
                unsubscribed=ends.get((step.id, "unsubscribed"), 0),
            )
        )
    active = sum(counts.get(name, 0) for name in ("waiting", "in_flight", "needs_attention", "held", "paused"))
    return Progress(
        leads=counts["all"],
        contacted=sum(ends.values()),
        replied=counts.get("replied", 0),
        bounced=counts.get("bounced", 0),
        unsubscribed=counts.get("unsubscribed", 0),
        finished=counts.get("finished", 0),
        active=active,
        sent=sum(row.sent for row in messages.values()),
        by_status={name: count for name, count in counts.items() if name != "all"},
        funnel=tuple(funnel),
    )


_WAITING = text(
    f"SELECT x.reason, count(*) AS n, min(x.at) AS at, array_agg(DISTINCT x.zone) AS zones FROM (SELECT {REASON} AS reason, s.timezone AS zone,"
    " coalesce(e.held_until, greatest(coalesce(d.due_at, e.next_at), box.backoff_until)) AS at"
    f" {JOINED} LEFT JOIN senders s ON s.id = e.sender_id WHERE e.campaign_id = :campaign AND e.client_id = :client"
    " AND e.status IN ('waiting', 'in_flight', 'needs_attention', 'held', 'paused')) x GROUP BY x.reason ORDER BY n DESC, x.reason"
)
_BY_CLOCK = {"delay_not_over", "outside_window", "weekend", "holiday", "closed_day", "out_of_office_until", "min_gap", "in_flight"}


def waiting_for(client_id: int, campaign_id: int, *, now: datetime | None = None) -> list[WaitingFor]:
    """Most frequent first. Raises NotFound."""
    now = now or clock.now()
    campaign = one_campaign(client_id, campaign_id)
    found = []
    for row in db.session.execute(_WAITING, {"client": client_id, "campaign": campaign_id, "now": now}):
        words = explain(row.reason)
        found.append(WaitingFor(row.reason, words.text, words.frees, row.n, _until(campaign, row, now)))
    return found


def _until(campaign: Campaign, row: Any, now: datetime) -> datetime | None:
    """When the first of these goes on, if a clock decides it."""
    if row.reason in _BY_CLOCK:
        return max(row.at, now) if row.at else None
    if row.reason == "provider_backoff":  # over already: the next look of the sequence lets it go on
        return row.at if row.at and row.at > now else None
    zones = {"campaign_day_cap": [campaign.timezone], "new_leads_cap": [campaign.timezone], "sender_day_cap": row.zones}
    days = [next_day_start(zone, now) for zone in zones.get(row.reason, []) if zone]
    calendar = calendar_of(campaign)
    return next_open(calendar, min(days)) if days and calendar else None


def next_events(client_id: int, campaign_id: int, *, n: int = 3, now: datetime | None = None) -> list[Event]:
    """The next messages with their times; none unless the campaign runs. Raises NotFound."""
    now = now or clock.now()
    campaign = one_campaign(client_id, campaign_id)
    if campaign.status != "running":
        return []
    ahead = look_ahead(campaign, now, now + timedelta(days=60), most=200, leads=200)
    sends = [send for send in ahead.sends if send.campaign_id == campaign_id][:n]
    people = _names([send.enrollment_id for send in sends])
    numbers = step_numbers(campaign_id)
    return [
        Event(
            send.at, people[send.enrollment_id].lead_id, people[send.enrollment_id].name, numbers.get(send.step_id, 0),
            people[send.enrollment_id].sender, people[send.enrollment_id].made_out,
        )
        for send in sends
    ]  # fmt: skip


def _names(enrollments: list[int]) -> dict[int, Any]:
    rows = db.session.execute(
        text(
            "SELECT e.id, e.lead_id, coalesce(nullif(trim(l.first_name || ' ' || l.last_name), ''), l.email, '') AS name,"
            " coalesce(s.address, '') AS sender, EXISTS (SELECT 1 FROM deliveries d WHERE d.enrollment_id = e.id"
            "  AND d.status IN ('queued', 'leased', 'committing')) AS made_out"
            " FROM enrollments e JOIN leads l ON l.id = e.lead_id LEFT JOIN senders s ON s.id = e.sender_id WHERE e.id = ANY(:ids)"
        ),
        {"ids": enrollments},
    )
    return {row.id: row for row in rows}


_PAST = text(
    "SELECT d.sent_at, d.status, d.step_id, coalesce(nullif(trim(l.first_name || ' ' || l.last_name), ''), d.to_address) AS name"
    " FROM deliveries d LEFT JOIN leads l ON l.id = d.lead_id WHERE d.campaign_id = :campaign AND d.client_id = :client"
    f" AND d.kind = 'campaign_step' AND d.shelf IN {_LEFT} AND d.sent_at >= :start AND d.sent_at < :end ORDER BY d.sent_at LIMIT :most"
)
_PAST_COUNT = text(
    "SELECT count(*) FROM deliveries d WHERE d.campaign_id = :campaign AND d.client_id = :client AND d.kind = 'campaign_step'"
    f" AND d.shelf IN {_LEFT} AND d.sent_at >= :start AND d.sent_at < :end"
)


def today(client_id: int, campaign_id: int, *, now: datetime | None = None) -> Today:
    """The strip of the campaign's local day. Raises NotFound."""
    now = now or clock.now()
    campaign = one_campaign(client_id, campaign_id)
    start, end = day_start(campaign.timezone, local_date(campaign.timezone, now)), next_day_start(campaign.timezone, now)
    numbers = step_numbers(campaign_id)
    values = {"client": client_id, "campaign": campaign_id, "start": start, "end": end, "most": MOST_MARKS}
    marks = [
        Mark(row.sent_at, True, _label(row.name, numbers.get(row.step_id)), row.status) for row in db.session.execute(_PAST, values)
    ]
    sent = db.session.execute(_PAST_COUNT, values).scalar_one()
    planned = []
    if campaign.status == "running":
        ahead = look_ahead(campaign, now, end, most=MOST_MARKS, leads=MOST_MARKS)
        planned = [send for send in ahead.sends if send.campaign_id == campaign_id]
    people = _names([send.enrollment_id for send in planned])
    marks += [
        Mark(send.at, False, _label(people[send.enrollment_id].name, numbers.get(send.step_id)), "planned") for send in planned
    ]
    return Today(start, end, now, _spans(campaign, start, end), tuple(marks), sent, len(planned))


def _label(name: str, number: int | None) -> str:
    return f"{name} · message {number}" if number else name


def _spans(campaign: Campaign, start: datetime, end: datetime) -> tuple[tuple[datetime, datetime], ...]:
    calendar = calendar_of(campaign)
    spans: list[tuple[datetime, datetime]] = []
    at = start
    while calendar is not None and at < end:
        bounds = window_bounds(calendar, at)
        if bounds is None or bounds[0] >= end:
            break
        spans.append((max(bounds[0], start), min(bounds[1], end)))
        at = bounds[1]
    return tuple(spans)


_STOPPING = text(
    "SELECT c.status, c.status_product_at AS at,"
    " count(d.id) FILTER (WHERE d.status = 'committing' AND d.permitted_at >= clock_timestamp() - :dot * interval '1 s') AS fresh,"
    " count(d.id) FILTER (WHERE d.status = 'committing' AND d.permitted_at < clock_timestamp() - :dot * interval '1 s') AS old,"
    " count(d.id) FILTER (WHERE d.permitted_at > c.status_at) AS since"
    " FROM campaigns c LEFT JOIN deliveries d ON d.campaign_id = c.id AND d.kind = 'campaign_step'"
    "  AND (d.status = 'committing' OR d.permitted_at > c.status_at)"
    " WHERE c.id = :campaign AND c.client_id = :client AND c.deleted_at IS NULL GROUP BY c.id"
)


def stop_state(client_id: int, campaign_id: int) -> StopState:
    """How far a pause or stop has come; all zero while the campaign runs or was never started. Raises NotFound."""
    row = db.session.execute(_STOPPING, {"client": client_id, "campaign": campaign_id, "dot": DOT_WITHIN_S}).first()
    if row is None:
        raise NotFound
    if row.status not in {"paused", "stopped"}:
        return StopState(row.status, row.at, 0, 0, 0, True)
    return StopState(row.status, row.at, row.fresh, row.old, row.since, row.fresh == 0)


def why(client_id: int, enrollment_id: int, *, now: datetime | None = None) -> Why:
    """Why this lead was not, or not yet, contacted. Raises NotFound."""
    walk = db.session.scalar(select(Enrollment).where(Enrollment.id == enrollment_id, Enrollment.client_id == client_id))
    line = person(client_id, walk.campaign_id, enrollment_id) if walk is not None else None
    if walk is None or line is None:
        raise NotFound
    facts = [t("campaigns.fact_mailbox", sender=line.sender) if line.sender else t("reasons.no_sender")]
    if line.step_number:
        facts.append(t("campaigns.fact_last_sent", number=line.step_number))
    else:
        facts.append(t("campaigns.fact_last_deleted") if line.last_sent_at else t("campaigns.fact_none_sent"))
    if line.detail:
        facts.append(line.detail)
    last = db.session.execute(
        text("SELECT status, reply_text FROM deliveries WHERE enrollment_id = :id ORDER BY id DESC LIMIT 1"), {"id": enrollment_id}
    ).first()
    if last is not None:
        said = t("campaigns.fact_last_answered" if last.reply_text else "campaigns.fact_last_made", status=last.status, answer=last.reply_text)
        facts.append(said)
    return Why(line.reason or line.status, line.text, line.frees, line.next_at, tuple(facts))
