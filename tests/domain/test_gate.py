from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest

from app.domain.gate import KIND_RULES, Cancel, Counted, Decision, GateFacts, Send, WaitUntil, decide
from app.domain.limits import Caps, LimitFacts, counter_keys, limits
from app.domain.reasons import Reason
from app.domain.statuses import CampaignStatus, DeliveryKind, EnrollmentStatus, SenderStatus

NOW = datetime(2026, 11, 23, 10, 17, 33, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
FREE = GateFacts(now=NOW)
LIMIT_FACTS = LimitFacts(
    now=NOW,
    client_id=3,
    sender_id=5,
    sender_zone="Asia/Kolkata",
    sender_domain="mail.acme.com",
    recipient_provider="gmail",
    campaign_id=7,
    campaign_zone="America/New_York",
    first_of_lead=True,
)
CAPS = Caps(10, 10, 10, 10, 10, 10, 10)
K = DeliveryKind
STEP = {K.CAMPAIGN_STEP}
WITH_SENDER = {K.CAMPAIGN_STEP, K.WARMUP, K.REPLY, K.TEST, K.WITHDRAWAL}


def full(kind: DeliveryKind, reason: Reason) -> dict[str, Any]:
    found = limits(kind, LIMIT_FACTS, CAPS)
    return {"counted": tuple(Counted(entry, 5_000 if entry.reason is reason else 0) for entry in found)}


#: In order of precedence: what objects, the answer, and the kinds it binds. Written from the rules, not from the code.
OBJECTIONS: list[tuple[dict[str, Any] | Reason, Decision, set[DeliveryKind]]] = [
    ({"suppressed_global": True}, Cancel(Reason.SUPPRESSED_GLOBAL), STEP),
    ({"suppressed_client": True}, Cancel(Reason.SUPPRESSED_CLIENT), STEP),
    ({"enrollment_status": EnrollmentStatus.REPLIED}, Cancel(Reason.REPLIED), STEP),
    ({"sender_status": SenderStatus.AUTH_FAILED}, WaitUntil(Reason.SENDER_AUTH_FAILED), WITH_SENDER),
    ({"provider_backoff_until": LATER}, WaitUntil(Reason.PROVIDER_BACKOFF, LATER), WITH_SENDER),
    (Reason.DOMAIN_BULK_GATE, WaitUntil(Reason.DOMAIN_BULK_GATE), WITH_SENDER - {K.WITHDRAWAL}),
    ({"campaign_status": CampaignStatus.STOPPED}, Cancel(Reason.STOPPED_CAMPAIGN), STEP),
    ({"instance_stopped": True}, WaitUntil(Reason.STOPPED_INSTANCE), WITH_SENDER),
    ({"client_stopped": True}, WaitUntil(Reason.STOPPED_CLIENT), {K.CAMPAIGN_STEP, K.WARMUP}),
    ({"campaign_status": CampaignStatus.PAUSED}, WaitUntil(Reason.CAMPAIGN_PAUSED), STEP),
    ({"sender_stopped": True}, WaitUntil(Reason.STOPPED_SENDER), WITH_SENDER),
    ({"circuit_open": True}, WaitUntil(Reason.CIRCUIT_OPEN), WITH_SENDER),
    ({"previous_uncertain": True}, WaitUntil(Reason.PREVIOUS_UNCERTAIN), STEP),
    ({"due_at": LATER}, WaitUntil(Reason.DELAY_NOT_OVER, LATER), set(K)),
    (Reason.SENDER_DAY_CAP, WaitUntil(Reason.SENDER_DAY_CAP), {K.CAMPAIGN_STEP, K.WARMUP}),
    ({"closed": Reason.HOLIDAY, "opens_at": LATER}, WaitUntil(Reason.HOLIDAY, LATER), STEP),
    ({"gap_until": LATER}, WaitUntil(Reason.MIN_GAP, LATER), {K.CAMPAIGN_STEP, K.WARMUP, K.WITHDRAWAL}),
]


def facts_with(kind: DeliveryKind, *objections: dict[str, Any] | Reason) -> GateFacts:
    facts = FREE
    counted: dict[Any, Counted] = {}
    for objection in objections:
        if isinstance(objection, Reason):
            for entry in full(kind, objection)["counted"]:
                counted[entry.limit.key] = max(entry, counted.get(entry.limit.key, entry), key=lambda one: one.used)
        else:
            facts = replace(facts, **objection)
    return replace(facts, counted=tuple(counted.values()))


def same(found: Decision, wanted: Decision) -> bool:
    if isinstance(wanted, WaitUntil) and wanted.until is None and isinstance(found, WaitUntil):
        return found.reason is wanted.reason
    return found == wanted


@pytest.mark.parametrize("kind", DeliveryKind)
@pytest.mark.parametrize("row", range(len(OBJECTIONS)))
def test_each_objection_binds_exactly_its_kinds(kind: DeliveryKind, row: int) -> None:
    objection, wanted, kinds = OBJECTIONS[row]
    found = decide(kind, facts_with(kind, objection))
    if kind in kinds:
        assert same(found, wanted)
    else:
        assert isinstance(found, Send)


@pytest.mark.parametrize("kind", DeliveryKind)
def test_of_two_objections_the_higher_one_is_named(kind: DeliveryKind) -> None:
    binding = [entry for entry in OBJECTIONS if kind in entry[2]]
    for (first, wanted, _), (second, _, _) in combinations(binding, 2):
        if isinstance(first, dict) and isinstance(second, dict) and set(first) & set(second):
            continue
        assert same(decide(kind, facts_with(kind, first, second)), wanted), (first, second)


@pytest.mark.parametrize("kind", DeliveryKind)
def test_what_nothing_objects_to_is_sent(kind: DeliveryKind) -> None:
    assert decide(kind, FREE) == Send()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (EnrollmentStatus.REPLIED, Reason.REPLIED),
        (EnrollmentStatus.BOUNCED, Reason.BOUNCED),
        (EnrollmentStatus.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
        (EnrollmentStatus.STOPPED, Reason.STOPPED_CAMPAIGN),
        (EnrollmentStatus.FINISHED, Reason.FINISHED),
        (EnrollmentStatus.SKIPPED, Reason.SKIPPED),
        (EnrollmentStatus.FAILED, Reason.REFUSED),
    ],
)
def test_an_ended_sequence_cancels_with_its_own_reason(status: EnrollmentStatus, reason: Reason) -> None:
    assert decide(K.CAMPAIGN_STEP, replace(FREE, enrollment_status=status)) == Cancel(reason)
    elsewhere = replace(FREE, enrollment_status=status, enrollment_reason=Reason.REPLIED_ELSEWHERE)
    assert decide(K.CAMPAIGN_STEP, elsewhere) == Cancel(Reason.REPLIED_ELSEWHERE)


def test_what_can_be_freed_again_waits() -> None:
    def ask(**facts: Any) -> Decision:
        return decide(K.CAMPAIGN_STEP, replace(FREE, **facts))

    held = EnrollmentStatus.HELD
    assert ask(enrollment_status=EnrollmentStatus.PAUSED) == WaitUntil(Reason.LEAD_PAUSED)
    assert ask(enrollment_status=EnrollmentStatus.NEEDS_ATTENTION) == WaitUntil(Reason.NEEDS_ATTENTION_VARIABLE)
    assert ask(enrollment_status=held, held_until=LATER) == WaitUntil(Reason.OUT_OF_OFFICE_UNTIL, LATER)
    assert ask(enrollment_status=held, held_until=NOW) == Send()
    assert ask(enrollment_status=held, enrollment_reason=Reason.ANSWERED_ELSEWHERE) == WaitUntil(
        Reason.ANSWERED_ELSEWHERE
    )
    assert ask(campaign_status=CampaignStatus.DRAFT) == WaitUntil(Reason.DRAFT)
    assert ask(sender_status=None) == WaitUntil(Reason.NO_SENDER)
    assert ask(sender_status=SenderStatus.CONNECTING) == WaitUntil(Reason.SENDER_CONNECTING)
    assert ask(sender_status=SenderStatus.PAUSED) == WaitUntil(Reason.SENDER_PAUSED)


@pytest.mark.parametrize(
    ("reason", "until"),
    [
        (Reason.INSTANCE_MINUTE_CAP, datetime(2026, 11, 23, 10, 18, tzinfo=UTC)),
        (Reason.INSTANCE_HOUR_CAP, datetime(2026, 11, 23, 11, 0, tzinfo=UTC)),
        (Reason.CLIENT_HOUR_CAP, datetime(2026, 11, 23, 11, 0, tzinfo=UTC)),
        (Reason.SENDER_HOUR_CAP, datetime(2026, 11, 23, 11, 0, tzinfo=UTC)),
        (Reason.SENDER_DAY_CAP, datetime(2026, 11, 23, 18, 30, tzinfo=UTC)),
        (Reason.CAMPAIGN_DAY_CAP, datetime(2026, 11, 24, 5, 0, tzinfo=UTC)),
        (Reason.NEW_LEADS_CAP, datetime(2026, 11, 24, 5, 0, tzinfo=UTC)),
        (Reason.DOMAIN_BULK_GATE, datetime(2026, 11, 24, 0, 0, tzinfo=UTC)),
    ],
)
def test_every_full_cap_says_when_it_frees_itself(reason: Reason, until: datetime) -> None:
    assert decide(K.CAMPAIGN_STEP, facts_with(K.CAMPAIGN_STEP, reason)) == WaitUntil(reason, until)


def test_a_cap_is_full_at_its_number_and_not_before() -> None:
    limit = next(entry for entry in limits(K.WARMUP, LIMIT_FACTS, CAPS) if entry.reason is Reason.SENDER_DAY_CAP)
    assert decide(K.WARMUP, replace(FREE, counted=(Counted(limit, 9),))) == Send()
    assert isinstance(decide(K.WARMUP, replace(FREE, counted=(Counted(limit, 10),))), WaitUntil)


def test_an_answer_to_somebody_suppressed_leaves_with_a_warning() -> None:
    assert decide(K.REPLY, replace(FREE, suppressed_client=True)) == Send((Reason.SUPPRESSED_CLIENT,))


def test_the_table_speaks_of_every_kind_and_what_is_held_by_a_cap_is_counted() -> None:
    assert set(KIND_RULES) == set(DeliveryKind)
    for rule in KIND_RULES.values():
        assert rule.sender_count or not rule.sender_cap
        assert rule.house_count or not rule.house_cap


def test_each_kind_counts_where_the_rules_say() -> None:
    def counted(kind: DeliveryKind) -> set[tuple[str, str]]:
        return {(key.scope_kind, key.action) for key in counter_keys(kind, LIMIT_FACTS)}

    house = {("instance", "minute"), ("instance", "hour"), ("client", "hour")}
    sender = {("sender", "day"), ("sender", "hour"), ("domain", "day")}
    assert counted(K.CAMPAIGN_STEP) == house | sender | {("campaign", "day"), ("campaign", "new_leads")}
    assert counted(K.WARMUP) == counted(K.REPLY) == counted(K.TEST) == house | sender
    assert counted(K.WITHDRAWAL) == counted(K.NOTICE) == counted(K.DIGEST) == counted(K.ACCOUNT) == set()


def test_a_persons_answer_is_counted_but_only_the_provider_holds_it() -> None:
    capped = [entry.reason for entry in limits(K.REPLY, LIMIT_FACTS, CAPS) if entry.cap is not None]
    assert capped == [Reason.DOMAIN_BULK_GATE]


def test_counters_use_the_right_clock_and_come_in_locking_order() -> None:
    keys = counter_keys(K.CAMPAIGN_STEP, LIMIT_FACTS)
    assert keys == sorted(keys)
    starts = {(key.scope_kind, key.action): key.window_start for key in keys}
    assert starts["sender", "day"] == datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    assert starts["campaign", "day"] == datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
    assert starts["instance", "minute"] == datetime(2026, 11, 23, 10, 17, tzinfo=UTC)
    assert [key.scope_id for key in keys if key.scope_kind == "domain"] == ["acme.com>gmail"]
    assert starts["client", "hour"] == datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def test_the_bulk_gate_is_for_gmail_and_for_domains_that_are_not_ready() -> None:
    def gate(facts: LimitFacts, caps: Caps) -> list[int | None]:
        return [entry.cap for entry in limits(K.WARMUP, facts, caps) if entry.reason is Reason.DOMAIN_BULK_GATE]

    assert gate(LIMIT_FACTS, CAPS) == [4_900]
    assert gate(LIMIT_FACTS, replace(CAPS, bulk_ready=True)) == [None]
    assert gate(replace(LIMIT_FACTS, recipient_provider="microsoft"), CAPS) == [None]
    assert gate(replace(LIMIT_FACTS, recipient_provider="other"), CAPS) == []
