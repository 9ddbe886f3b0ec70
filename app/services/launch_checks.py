"""What stands in the way of a start: each check with its state, its sentence, and where to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import reduce

from sqlalchemy import select, text

from app.core.extensions import db
from app.domain.calendar_settings import describe
from app.domain.reasons import Reason
from app.domain.working_time import next_open
from app.models import Campaign, CampaignSender, Client, Mailbox, Step
from app.queries import campaigns as reading
from app.queries.campaign_calendars import calendar_of, own_hours, through
from app.queries.campaign_people import explain
from app.queries.missing_values import missing, needed, own_values
from app.services.campaign_shape import text_problems
from app.services.forecast import Forecast
from app.strings import t

NAMED = 20


class CheckState(StrEnum):
    OK = "ok"
    WARN = "warn"
    BLOCKING = "blocking"


@dataclass(frozen=True)
class Check:
    """``key`` names the check; ``fix`` where to mend it: steps, schedule, senders, people, client, mailboxes, operator or "".

    ``step_id``: the step at fault. ``clocks``: for an empty intersection, (whose, its hours as a line) of both.
    """

    key: str
    state: CheckState
    sentence: str
    fix: str = ""
    step_id: int | None = None
    clocks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SkippedGroup:
    """Leads that would not be written to: a reason code, its sentence, how many, the first of them (lead id, name).

    ``starts``: they get the first messages and stop before a later one.
    """

    reason: str
    text: str
    count: int
    who: tuple[tuple[int, str], ...] = ()
    starts: bool = False


OK, WARN, BLOCKING = CheckState.OK, CheckState.WARN, CheckState.BLOCKING


def all_checks(
    campaign: Campaign, ahead: Forecast | None, leads: int, skipped: Iterable[SkippedGroup], public_url: str, now: datetime
) -> Iterator[Check]:
    """Every check in the order of the page; without a forecast those of speed are left out."""
    steps = reading.steps(campaign.client_id, campaign.id)
    yield from _steps(steps)
    yield from _senders(campaign)
    yield from _hours(campaign, now)
    yield from _people(leads, skipped)
    if ahead is not None:
        yield from _capacity(steps, ahead, leads)
    yield from _leaving(campaign, public_url)


def _steps(steps: list[Step]) -> Iterator[Check]:
    faults = list(_faulty(steps))
    if not steps:
        yield Check("steps", BLOCKING, t("checks.no_message"), "steps")
    elif not steps[0].subject.strip():
        yield Check("subject", BLOCKING, t("checks.no_subject"), "steps", steps[0].id)
    yield from faults
    if steps and steps[0].subject.strip() and not faults:
        yield Check("steps", OK, t("checks.texts_good", n=len(steps)), "steps")


def _faulty(steps: list[Step]) -> Iterator[Check]:
    for number, step in enumerate(steps, 1):
        if not step.text.strip() and not step.html.strip():
            yield Check("text", BLOCKING, t("checks.no_text", number=number), "steps", step.id)
        for name in ("subject", "text", "html"):
            for problem in text_problems(name, getattr(step, name)):
                sentence = t("checks.text_wrong", number=number, name=name, line=problem.line, column=problem.column, said=problem.message)
                yield Check("template", BLOCKING, sentence, "steps", step.id)


def _chosen(campaign: Campaign) -> list[Mailbox]:
    joined = select(Mailbox).join(CampaignSender, CampaignSender.sender_id == Mailbox.id)
    chosen = joined.where(CampaignSender.campaign_id == campaign.id, Mailbox.deleted_at.is_(None))
    return list(db.session.scalars(chosen.order_by(CampaignSender.position, Mailbox.id)))


def _senders(campaign: Campaign) -> Iterator[Check]:
    mailboxes = _chosen(campaign)
    active = [mailbox for mailbox in mailboxes if mailbox.status == "active"]
    if not mailboxes:
        yield Check("senders", BLOCKING, t("checks.no_mailbox"), "senders")
    elif not active:
        yield Check("senders", BLOCKING, t("checks.none_active"), "mailboxes")
    else:
        yield Check("senders", OK, t("checks.mailboxes", active=len(active), chosen=len(mailboxes)), "senders")
    for mailbox in mailboxes:
        if mailbox.status != "active" and active:
            known = mailbox.status if mailbox.status in ("connecting", "paused", "auth_failed") else "waits"
            yield Check("sender", WARN, t(f"checks.mailbox_{known}", address=mailbox.address, status=mailbox.status), "mailboxes")


def _hours(campaign: Campaign, now: datetime) -> Iterator[Check]:
    calendar = calendar_of(campaign)
    if calendar is None or next_open(calendar, now) is None:
        yield Check("hours", BLOCKING, t("checks.never_open"), "schedule")
        return
    empty = False
    for mailbox in _chosen(campaign):
        own = own_hours(mailbox)
        if own is not None and next_open(through(calendar, mailbox), now) is None:
            empty = True
            clocks = ((t("checks.the_campaign"), describe(calendar)), (mailbox.address, describe(own)))
            sentence = t("checks.never_open_together", address=mailbox.address)
            yield Check("hours", BLOCKING, sentence, "schedule", clocks=clocks)
    if not empty:
        yield Check("hours", OK, describe(calendar), "schedule")


def _people(leads: int, skipped: Iterable[SkippedGroup]) -> Iterator[Check]:
    if leads == 0:
        yield Check("people", BLOCKING, t("checks.nobody"), "people")
    else:
        yield Check("people", OK, t("checks.leads_start", n=leads), "people")
    for group in skipped:
        yield Check(f"{'stops' if group.starts else 'skipped'}_{group.reason}", WARN, f"{group.count} × {group.text}", "people")


def _capacity(steps: list[Step], ahead: Forecast, leads: int) -> Iterator[Check]:
    """Follow-ups come first in a queue by age: where caps are small, each lead's next message comes later than its delay says."""
    planned = leads * len(steps)
    if not planned or ahead.first_at is None:
        return
    sent = sum(ahead.totals)
    if ahead.beyond and sent < planned:
        sentence = t("checks.too_slow", days=len(ahead.days), sent=sent, planned=planned)
        yield Check("capacity", WARN if len(ahead.days) >= 14 else OK, sentence, "senders")


def _leaving(campaign: Campaign, public_url: str) -> Iterator[Check]:
    address = db.session.execute(select(Client.postal_address).where(Client.id == campaign.client_id)).scalar_one()
    if not address.strip():
        sentence = t("checks.no_postal")
        yield Check("postal_address", BLOCKING, sentence, "client")
    if public_url:
        yield Check("way_out", OK, t("checks.way_out"), "steps")
    else:
        sentence = t("checks.no_public_address")
        yield Check("way_out", WARN, sentence, "operator")


# Who would not be written to. The first reason of each lead counts.
_SKIPPED = """
SELECT reason, count(*) AS n, (array_agg(lead_id ORDER BY id))[1:20] AS leads, (array_agg(name ORDER BY id))[1:20] AS names FROM (
  SELECT e.id, e.lead_id, coalesce(nullif(trim(l.first_name || ' ' || l.last_name), ''), l.email, '') AS name, CASE
    WHEN EXISTS (SELECT 1 FROM global_suppressions g WHERE g.email_key = l.email_key) THEN 'suppressed_global'
    WHEN EXISTS (SELECT 1 FROM suppressions p WHERE p.client_id = e.client_id AND p.email_key = l.email_key) THEN 'suppressed_client'
    WHEN l.bounced_at IS NOT NULL THEN 'bounced'
    WHEN l.email_key IS NULL THEN 'needs_attention_address'
    WHEN {first} THEN 'needs_attention_variable' WHEN {later} THEN 'later' END AS reason
  FROM enrollments e JOIN leads l ON l.id = e.lead_id {own}
  WHERE e.campaign_id = :campaign AND e.client_id = :client
    AND e.status IN ('waiting', 'in_flight', 'needs_attention', 'held', 'paused')) x
WHERE reason IS NOT NULL GROUP BY reason ORDER BY n DESC, reason
"""


def skipped_leads(campaign: Campaign) -> list[SkippedGroup]:
    """Leads of the campaign that would not be written to, or stop before a later message for a missing value; most frequent first."""
    steps = reading.steps(campaign.client_id, campaign.id)
    first, later = needed(steps[:1]), needed(steps[1:])
    (firsts, values), (laters, more) = missing(first, "f"), missing(later, "l")
    tests = {"{first}": " OR ".join(firsts) or "false", "{later}": " OR ".join(laters) or "false", "{own}": own_values([*firsts, *laters])}
    statement = text(reduce(lambda said, place: said.replace(place, tests[place]), tests, _SKIPPED))
    rows = db.session.execute(statement, {"campaign": campaign.id, "client": campaign.client_id, **values, **more})
    sentences = {
        Reason.NEEDS_ATTENTION_VARIABLE: t("checks.value_missing", names=", ".join(first)),
        "later": t("checks.later_value_missing", names=", ".join(later)),
    }
    groups = []
    for row in rows:
        starts = row.reason == "later"
        reason = str(Reason.NEEDS_ATTENTION_VARIABLE) if starts else row.reason
        sentence = sentences.get(row.reason) or explain(row.reason).text
        groups.append(SkippedGroup(reason, sentence, row.n, tuple(zip(row.leads, row.names, strict=True)), starts))
    return groups


def going(campaign: Campaign, skipped: Iterable[SkippedGroup]) -> int:
    """How many leads would start."""
    active = text(
        "SELECT count(*) FROM enrollments WHERE campaign_id = :id"
        " AND status IN ('waiting', 'in_flight', 'needs_attention', 'held', 'paused')"
    )
    return int(db.session.execute(active, {"id": campaign.id}).scalar_one()) - sum(group.count for group in skipped if not group.starts)
