"""How long somebody is left alone who is away."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from app.domain.calendar_settings import parse_calendar
from app.domain.return_dates import find_return_date, held_until
from app.domain.working_time import Calendar, closed_reason

MONDAY = date(2026, 11, 30)


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 9), ("Asia/Kolkata", 3.5), ("America/New_York", 14), ("Pacific/Auckland", -4)])
@pytest.mark.parametrize(
    ("words", "day"),
    [
        ("I am back on Monday, 7 December.", 8), ("Away until Sunday, December 6, 2026.", 8), ("Away until 5 December.", 8),
        ("Ich bin ab dem 07.12.2026 wieder da.", 8), ("Away until Friday, 4 December.", 7), ("Away until 3 December.", 4),
    ],
)  # fmt: skip
def test_a_hold_ends_a_working_day_after_the_first_one_back_however_the_notice_says_it(words: str, day: int, zone: str, hour: float) -> None:
    named = find_return_date(words, MONDAY)
    assert named is not None
    until = held_until(parse_calendar({"timezone": zone}), named)
    assert (until - datetime(2026, 12, day, tzinfo=UTC)).total_seconds() == hour * 3600, "at that day's opening on the campaign's clock"


def test_a_hold_over_a_reduced_weekend_ends_when_that_very_walk_may_be_written_to() -> None:
    calendar = parse_calendar({"timezone": "UTC", "weekend": {"mode": "reduced", "percent": 30}}, seed="7")
    ends = {key: held_until(calendar, date(2026, 12, 4), key) for key in range(40)}
    assert all(closed_reason(calendar, at, key) is None for key, at in ends.items())
    assert {at.day for at in ends.values()} == {5, 6, 7}


def test_a_holiday_is_nobodys_first_day_back_and_a_calendar_without_hours_holds_a_day() -> None:
    assert held_until(parse_calendar({"timezone": "UTC", "holidays_country": "DE"}), date(2026, 12, 25)) == datetime(2026, 12, 29, 9, tzinfo=UTC)
    assert held_until(Calendar("UTC", windows=((),) * 7), date(2026, 12, 24)) == datetime(2026, 12, 25, tzinfo=UTC)
