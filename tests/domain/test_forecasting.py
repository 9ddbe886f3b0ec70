"""The days ahead: the same inputs give the same answer, and no cap, gap or window is ever broken in it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from app.domain.forecasting import CampaignPlan, Forecaster, Send, SenderPlan, Walk
from app.domain.sequence import StepNode, next_step
from app.domain.working_time import Calendar, closed_reason

MONDAY_EIGHT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
OFFICE = Calendar("UTC")
STEPS = [StepNode(1), StepNode(2, 1, delay_value=3), StepNode(3, 2, delay_value=6)]


def plan(number: int = 1, senders: tuple[int, ...] = (1,), **more: Any) -> CampaignPlan:
    ways = {last: next_step(STEPS, last) for last in (None, 1, 2, 3)}
    return CampaignPlan(number, "UTC", ways, dict.fromkeys(senders, OFFICE), **more)


def sender(number: int = 1, **more: Any) -> SenderPlan:
    return SenderPlan(number, "UTC", more.pop("daily_cap", 40), more.pop("min_gap_s", 120), MONDAY_EIGHT, **more)


def ahead(leads: int, campaign: CampaignPlan, senders: tuple[SenderPlan, ...], days: int = 30) -> list[Send]:
    forecaster = Forecaster([campaign], senders, MONDAY_EIGHT)
    for number in range(leads):
        forecaster.add(Walk(MONDAY_EIGHT, number + 1, campaign.id, senders[number % len(senders)].id))
    return forecaster.run(MONDAY_EIGHT + timedelta(days=days))


def test_one_lead_gets_each_message_at_its_delay() -> None:
    sends = ahead(1, plan(), (sender(),))
    assert [(send.step_id, f"{send.at:%a %d %H:%M}") for send in sends] == [(1, "Mon 23 09:00"), (2, "Thu 26 09:00"), (3, "Fri 04 09:00")]


def test_gap_window_and_day_cap_hold_at_every_message() -> None:
    sends = ahead(100, plan(), (sender(daily_cap=30, min_gap_s=300),))
    assert all(closed_reason(OFFICE, send.at) is None for send in sends)
    assert all(later.at - earlier.at >= timedelta(seconds=300) for earlier, later in pairwise(sends))
    assert max(Counter(send.at.date() for send in sends).values()) == 30
    assert len({(send.enrollment_id, send.step_id) for send in sends}) == len(sends)


def test_delays_run_from_the_message_before_and_never_get_shorter() -> None:
    left: dict[int, datetime] = {}
    for send in ahead(60, plan(), (sender(daily_cap=20),), days=60):
        if send.enrollment_id in left:
            assert (send.at.date() - left[send.enrollment_id].date()).days >= 3
        left[send.enrollment_id] = send.at


def test_the_campaigns_caps_bind_all_its_senders_together() -> None:
    two = (sender(1), sender(2))
    sends = ahead(50, plan(senders=(1, 2), daily_cap=10, daily_new_leads=4), two)
    assert max(Counter(send.at.date() for send in sends).values()) <= 10
    assert max(Counter(send.at.date() for send in sends if send.first).values()) == 4


def test_what_todays_counters_hold_already_is_taken_off() -> None:
    sends = ahead(10, plan(), (sender(daily_cap=8, used_today=6),), days=1)
    assert len(sends) == 2


def test_two_campaigns_share_the_day_of_their_sender() -> None:
    plans = [plan(1), plan(2)]
    forecaster = Forecaster(plans, [sender(daily_cap=10)], MONDAY_EIGHT)
    for number in range(20):
        forecaster.add(Walk(MONDAY_EIGHT, number, 1 + number % 2, 1))
    sends = forecaster.run(MONDAY_EIGHT + timedelta(hours=16))
    assert Counter(send.campaign_id for send in sends) == {1: 5, 2: 5}
    assert (forecaster.waiting(1), forecaster.waiting(2)) == (10, 10)


def test_the_same_question_has_the_same_answer_and_a_cap_of_zero_never_sends() -> None:
    senders = (sender(1, daily_cap=7), sender(2, daily_cap=9))
    assert ahead(40, plan(senders=(1, 2)), senders) == ahead(40, plan(senders=(1, 2)), senders)
    assert ahead(3, plan(), (sender(daily_cap=0),)) == []


def test_a_calendar_that_never_opens_ends_the_forecast_instead_of_hanging() -> None:
    closed = Calendar("UTC", windows=((),) * 7)
    campaign = CampaignPlan(1, "UTC", {None: STEPS[0]}, {1: closed})
    assert ahead(2, campaign, (sender(),)) == []
