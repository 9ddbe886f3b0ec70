"""Which counters a message adds to, what each may reach, and when a full one starts anew.

Days of a sender are days on the sender's clock, days of a campaign days on the campaign's; minutes, hours and the days
of a domain at a provider are UTC windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

from app.domain.address import RecipientProvider, registrable_domain
from app.domain.kind_rules import KIND_RULES
from app.domain.reasons import Reason
from app.domain.statuses import DeliveryKind
from app.domain.words import Word
from app.domain.working_time import day_start, local_date, next_day_start

#: A domain that once sends 5,000 a day to personal Gmail is a bulk sender for ever; we stop a hundred short of it.
GMAIL_DAY_GATE = 4_900


class Scope(Word):
    INSTANCE = "instance"
    CLIENT = "client"
    CAMPAIGN = "campaign"
    SENDER = "sender"
    DOMAIN = "domain"


class Action(Word):
    """What is counted, by the window it is counted in; new leads are counted by the day."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    NEW_LEADS = "new_leads"


class CounterKey(NamedTuple):
    """One row of `usage_counters`; the order of these keys is the order in which they are locked."""

    scope_kind: str
    scope_id: str
    action: str
    window_start: datetime


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """What decides which counters a delivery adds to. `recipient_provider` as in `domain.address`."""

    now: datetime
    client_id: int
    sender_id: int | None = None
    sender_zone: str = "UTC"
    sender_domain: str = ""
    recipient_provider: str = RecipientProvider.OTHER
    campaign_id: int | None = None
    campaign_zone: str = "UTC"
    first_of_lead: bool = False


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits as resolved from the settings; None means none. `bulk_ready` lifts the gate towards Gmail."""

    instance_minute: int | None = None
    instance_hour: int | None = None
    client_hour: int | None = None
    campaign_day: int | None = None
    new_leads_day: int | None = None
    sender_day: int | None = None
    sender_hour: int | None = None
    bulk_ready: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """One counter of one delivery: `cap` None means it is only added to; `reason` is what a full one is called."""

    key: CounterKey
    cap: int | None
    reason: Reason
    frees_at: datetime


def minute_start(at: datetime) -> datetime:
    """Start of the UTC minute."""
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def hour_start(at: datetime) -> datetime:
    """Start of the UTC hour."""
    return minute_start(at).replace(minute=0)


def _utc_day(at: datetime) -> datetime:
    return datetime.combine(at.astimezone(UTC).date(), time(), UTC)


def _local_day(zone: str, at: datetime) -> datetime:
    """The key of the local day `at` falls on: its first instant."""
    return day_start(zone, local_date(zone, at))


def counter_keys(kind: DeliveryKind, facts: LimitFacts) -> list[CounterKey]:
    """Every counter this delivery adds to, in locking order."""
    return [limit.key for limit in limits(kind, facts, Caps())]


def limits(kind: DeliveryKind, facts: LimitFacts, caps: Caps) -> list[Limit]:
    """Every counter with what it may reach for this kind, in locking order; kinds that are only counted get no caps."""
    rule = KIND_RULES[kind]
    found: list[Limit] = []
    if rule.house_count:
        found += _house(facts, caps if rule.house_cap else Caps())
    if rule.campaign_cap and facts.campaign_id is not None:
        found += _campaign(facts, caps)
    if rule.sender_count and facts.sender_id is not None:
        found += _sender(facts, caps if rule.sender_cap else Caps())
        found += _domain(facts, caps)
    return sorted(found, key=lambda limit: limit.key)


def _house(facts: LimitFacts, caps: Caps) -> list[Limit]:
    minute, hour = minute_start(facts.now), hour_start(facts.now)
    next_minute, next_hour = minute + timedelta(minutes=1), hour + timedelta(hours=1)
    instance_minute = CounterKey(Scope.INSTANCE, "0", Action.MINUTE, minute)
    instance_hour = CounterKey(Scope.INSTANCE, "0", Action.HOUR, hour)
    client_hour = CounterKey(Scope.CLIENT, str(facts.client_id), Action.HOUR, hour)
    return [
        Limit(instance_minute, caps.instance_minute, Reason.INSTANCE_MINUTE_CAP, next_minute),
        Limit(instance_hour, caps.instance_hour, Reason.INSTANCE_HOUR_CAP, next_hour),
        Limit(client_hour, caps.client_hour, Reason.CLIENT_HOUR_CAP, next_hour),
    ]


def _campaign(facts: LimitFacts, caps: Caps) -> list[Limit]:
    day, end = _local_day(facts.campaign_zone, facts.now), next_day_start(facts.campaign_zone, facts.now)
    scope_id = str(facts.campaign_id)
    key = CounterKey(Scope.CAMPAIGN, scope_id, Action.DAY, day)
    found = [Limit(key, caps.campaign_day, Reason.CAMPAIGN_DAY_CAP, end)]
    if facts.first_of_lead:
        key = CounterKey(Scope.CAMPAIGN, scope_id, Action.NEW_LEADS, day)
        found.append(Limit(key, caps.new_leads_day, Reason.NEW_LEADS_CAP, end))
    return found


def _sender(facts: LimitFacts, caps: Caps) -> list[Limit]:
    day, end = _local_day(facts.sender_zone, facts.now), next_day_start(facts.sender_zone, facts.now)
    hour = hour_start(facts.now)
    scope_id = str(facts.sender_id)
    day_key = CounterKey(Scope.SENDER, scope_id, Action.DAY, day)
    hour_key = CounterKey(Scope.SENDER, scope_id, Action.HOUR, hour)
    return [
        Limit(day_key, caps.sender_day, Reason.SENDER_DAY_CAP, end),
        Limit(hour_key, caps.sender_hour, Reason.SENDER_HOUR_CAP, hour + timedelta(hours=1)),
    ]


def _domain(facts: LimitFacts, caps: Caps) -> list[Limit]:
    """The provider's own threshold: it binds a person's answer as well, so no kind escapes it."""
    if not facts.sender_domain or facts.recipient_provider == RecipientProvider.OTHER:
        return []
    day = _utc_day(facts.now)
    gated = facts.recipient_provider == RecipientProvider.GMAIL and not caps.bulk_ready
    key = CounterKey(
        Scope.DOMAIN, f"{registrable_domain(facts.sender_domain)}>{facts.recipient_provider}", Action.DAY, day
    )
    return [Limit(key, GMAIL_DAY_GATE if gated else None, Reason.DOMAIN_BULK_GATE, day + timedelta(days=1))]
