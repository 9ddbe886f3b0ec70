"""The one decision about one delivery: send, wait until (because), or cancel (because).

The checks stand in the order of precedence: law and provider, switches, health, the sequence itself, caps, calendar,
gap. The first that objects names the reason. The sending statement decides the same in SQL from the same table; this
function is what pages and previews ask, and what the statement is tested against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from app.domain.kind_rules import KIND_RULES, KindRule
from app.domain.limits import Limit
from app.domain.reasons import Reason
from app.domain.statuses import CampaignStatus, DeliveryKind, EnrollmentStatus, SenderStatus

__all__ = ["KIND_RULES", "Cancel", "Counted", "Decision", "GateFacts", "Send", "WaitUntil", "decide"]


@dataclass(frozen=True, slots=True)
class Send:
    """It may leave now. `warnings` are shown to the person who pressed send, and hold nothing."""

    warnings: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Not now. `until` None: no clock frees it, an event does (see the reason's text)."""

    reason: Reason
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Never."""

    reason: Reason


Decision = Send | WaitUntil | Cancel


@dataclass(frozen=True, slots=True)
class Counted:
    """A limit and how much of it is used."""

    limit: Limit
    used: int


@dataclass(frozen=True, slots=True)
class GateFacts:
    """Everything a decision may depend on; the defaults object to nothing."""

    now: datetime
    due_at: datetime | None = None
    suppressed_global: bool = False
    suppressed_client: bool = False
    sender_status: SenderStatus | None = SenderStatus.ACTIVE
    sender_stopped: bool = False
    provider_backoff_until: datetime | None = None
    instance_stopped: bool = False
    client_stopped: bool = False
    campaign_status: CampaignStatus = CampaignStatus.RUNNING
    circuit_open: bool = False  # paused by the brake after five messages in doubt; a person resumes it
    enrollment_status: EnrollmentStatus = EnrollmentStatus.WAITING
    enrollment_reason: Reason | None = None
    held_until: datetime | None = None
    previous_uncertain: bool = False
    counted: tuple[Counted, ...] = ()
    closed: Reason | None = None
    opens_at: datetime | None = None
    gap_until: datetime | None = None


_ENDED: dict[EnrollmentStatus, Reason] = {
    EnrollmentStatus.REPLIED: Reason.REPLIED,
    EnrollmentStatus.BOUNCED: Reason.BOUNCED,
    EnrollmentStatus.UNSUBSCRIBED: Reason.UNSUBSCRIBED,
    EnrollmentStatus.STOPPED: Reason.STOPPED_CAMPAIGN,
    EnrollmentStatus.FINISHED: Reason.FINISHED,
    EnrollmentStatus.SKIPPED: Reason.SKIPPED,
    EnrollmentStatus.FAILED: Reason.REFUSED,
}
_SENDER: dict[SenderStatus, Reason] = {
    SenderStatus.CONNECTING: Reason.SENDER_CONNECTING,
    SenderStatus.AUTH_FAILED: Reason.SENDER_AUTH_FAILED,
}
_CAMPAIGN: dict[CampaignStatus, Decision] = {
    CampaignStatus.STOPPED: Cancel(Reason.STOPPED_CAMPAIGN),
    CampaignStatus.FINISHED: Cancel(Reason.FINISHED),
    CampaignStatus.DRAFT: WaitUntil(Reason.DRAFT),
    CampaignStatus.PAUSED: WaitUntil(Reason.CAMPAIGN_PAUSED),
}


def decide(kind: DeliveryKind, facts: GateFacts) -> Decision:
    """Send, wait or cancel; pure, and the first objection in order of precedence wins."""
    rule = KIND_RULES[kind]
    for check in (_final, _provider, _switches, _sequence, _caps, _calendar, _pace):
        objection = check(rule, facts)
        if objection is not None:
            return objection
    return Send(_warnings(kind, facts))


def _final(rule: KindRule, facts: GateFacts) -> Decision | None:
    """What can never leave: suppressed people and sequences that have ended."""
    if rule.suppression and facts.suppressed_global:
        return Cancel(Reason.SUPPRESSED_GLOBAL)
    if rule.suppression and facts.suppressed_client:
        return Cancel(Reason.SUPPRESSED_CLIENT)
    if rule.sequence and facts.enrollment_status in _ENDED:
        return Cancel(facts.enrollment_reason or _ENDED[facts.enrollment_status])
    return None


def _provider(rule: KindRule, facts: GateFacts) -> Decision | None:
    if not rule.needs_sender:
        return None
    if facts.sender_status is None:
        return WaitUntil(Reason.NO_SENDER)
    if facts.sender_status in _SENDER:
        return WaitUntil(_SENDER[facts.sender_status])
    if _ahead(facts.provider_backoff_until, facts):
        return WaitUntil(Reason.PROVIDER_BACKOFF, facts.provider_backoff_until)
    return _full(facts, lambda reason: reason is Reason.DOMAIN_BULK_GATE)


def _switches(rule: KindRule, facts: GateFacts) -> Decision | None:
    if rule.by_campaign and facts.campaign_status is CampaignStatus.STOPPED:
        return _CAMPAIGN[CampaignStatus.STOPPED]  # final, so it wins over what may be released again
    if rule.by_instance and facts.instance_stopped:
        return WaitUntil(Reason.STOPPED_INSTANCE)
    if rule.by_client and facts.client_stopped:
        return WaitUntil(Reason.STOPPED_CLIENT)
    if rule.by_campaign and facts.campaign_status is not CampaignStatus.RUNNING:
        return _CAMPAIGN[facts.campaign_status]
    if rule.by_sender and facts.sender_stopped:
        return WaitUntil(Reason.STOPPED_SENDER)
    if rule.by_sender and facts.circuit_open:
        return WaitUntil(Reason.CIRCUIT_OPEN)
    if rule.by_sender and facts.sender_status is SenderStatus.PAUSED:
        return WaitUntil(Reason.SENDER_PAUSED)
    return None


def _sequence(rule: KindRule, facts: GateFacts) -> Decision | None:
    """What holds one lead, and the delay of its step."""
    if rule.sequence:
        status = facts.enrollment_status
        if status is EnrollmentStatus.NEEDS_ATTENTION:
            return WaitUntil(facts.enrollment_reason or Reason.NEEDS_ATTENTION_VARIABLE)
        if status is EnrollmentStatus.PAUSED:
            return WaitUntil(facts.enrollment_reason or Reason.LEAD_PAUSED)
        if status is EnrollmentStatus.HELD and (facts.held_until is None or _ahead(facts.held_until, facts)):
            return WaitUntil(facts.enrollment_reason or Reason.OUT_OF_OFFICE_UNTIL, facts.held_until)
        if facts.previous_uncertain:
            return WaitUntil(Reason.PREVIOUS_UNCERTAIN)
    if _ahead(facts.due_at, facts):
        return WaitUntil(Reason.DELAY_NOT_OVER, facts.due_at)
    return None


def _caps(_rule: KindRule, facts: GateFacts) -> Decision | None:
    return _full(facts, lambda reason: reason is not Reason.DOMAIN_BULK_GATE)


def _calendar(rule: KindRule, facts: GateFacts) -> Decision | None:
    if rule.calendar and facts.closed is not None:
        return WaitUntil(facts.closed, facts.opens_at)
    return None


def _pace(rule: KindRule, facts: GateFacts) -> Decision | None:
    if rule.gap and _ahead(facts.gap_until, facts):
        return WaitUntil(Reason.MIN_GAP, facts.gap_until)
    return None


def _ahead(until: datetime | None, facts: GateFacts) -> bool:
    return until is not None and until > facts.now


def _full(facts: GateFacts, wanted: Callable[[Reason], bool]) -> WaitUntil | None:
    """Among the limits that are full, the one that keeps it waiting longest."""
    full = [
        entry.limit
        for entry in facts.counted
        if wanted(entry.limit.reason) and entry.limit.cap is not None and entry.used >= entry.limit.cap
    ]
    if not full:
        return None
    last = max(full, key=lambda limit: (limit.frees_at, limit.reason))
    return WaitUntil(last.reason, last.frees_at)


def _warnings(kind: DeliveryKind, facts: GateFacts) -> tuple[Reason, ...]:
    """A person may answer somebody who wrote to us although the address is suppressed; we say so."""
    if kind is not DeliveryKind.REPLY:
        return ()
    found = []
    if facts.suppressed_global:
        found.append(Reason.SUPPRESSED_GLOBAL)
    if facts.suppressed_client:
        found.append(Reason.SUPPRESSED_CLIENT)
    return tuple(found)
