from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.reasons import Reason
from app.domain.working_time import (
    Calendar,
    DelayUnit,
    WeekendMode,
    add_delay,
    closed_reason,
    day_start,
    intersect,
    is_open_day,
    next_day_start,
    next_open,
    to_utc,
    window_bounds,
)

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "America/Santiago",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Africa/Casablanca",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Apia",
    "UTC",
]
ALL_DAY = (((0, 1440),),) * 7
OPEN_WEEKENDS = {"weekend": WeekendMode.REDUCED, "weekend_percent": 100}


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    def spans() -> tuple[tuple[int, int], ...]:
        cuts = sorted(draw(st.sets(st.integers(0, 96), max_size=4)))
        return tuple((cuts[i] * 15, cuts[i + 1] * 15) for i in range(0, len(cuts) - 1, 2))

    return Calendar(
        zone=draw(st.sampled_from(ZONES)),
        windows=tuple(spans() for _ in range(7)),
        closed_days=frozenset(draw(st.sets(st.dates(date(2024, 1, 1), date(2025, 12, 31)), max_size=5))),
        weekend=draw(st.sampled_from(WeekendMode)),
        weekend_percent=draw(st.integers(0, 100)),
    )


@st.composite
def instants(draw: st.DrawFn) -> datetime:
    """Any minute of two years, with a liking for the hours around clock changes."""
    if draw(st.booleans()):
        change = draw(
            st.sampled_from([utc(2024, 3, 31, 1), utc(2024, 11, 3, 6), utc(2024, 10, 27, 1), utc(2024, 9, 8, 4)])
        )
        return change + timedelta(minutes=draw(st.integers(-1500, 1500)))
    return utc(2024, 1, 1) + timedelta(minutes=draw(st.integers(0, 700 * 1440)))


@pytest.mark.thorough
@settings(max_examples=300, deadline=None)
@given(calendars(), instants(), st.one_of(st.none(), st.integers(0, 5)))
def test_the_next_opening_is_open_and_nothing_before_it_is(calendar: Calendar, at: datetime, key: int | None) -> None:
    opening = next_open(calendar, at, key)
    if opening is None:
        assert closed_reason(calendar, at, key) is not None
        return
    assert opening >= at
    assert closed_reason(calendar, opening, key) is None
    assert (closed_reason(calendar, at, key) is None) == (opening == at)
    for share in (0.01, 0.5, 0.99):
        between = at + (opening - at) * share
        assert between >= opening or closed_reason(calendar, between, key) is not None


@pytest.mark.thorough
@settings(max_examples=300, deadline=None)
@given(calendars(), instants(), st.one_of(st.none(), st.integers(0, 5)))
def test_bounds_agree_with_the_answer_to_is_it_open(calendar: Calendar, at: datetime, key: int | None) -> None:
    bounds = window_bounds(calendar, at, key)
    if bounds is None:
        return
    opens, closes = bounds
    assert opens < closes
    assert (opens <= at < closes) == (closed_reason(calendar, at, key) is None)
    assert closed_reason(calendar, closes - timedelta(seconds=1), key) is None


@pytest.mark.thorough
@settings(max_examples=200, deadline=None)
@given(calendars(), instants(), st.integers(0, 30), st.sampled_from(DelayUnit))
def test_a_delay_ends_in_a_window_and_never_early(
    calendar: Calendar, start: datetime, value: int, unit: DelayUnit
) -> None:
    due = add_delay(calendar, start, value, unit)
    if due is None:
        assert next_open(calendar, start + timedelta(days=value)) is None or unit is DelayUnit.WORKING_DAYS
        return
    assert closed_reason(calendar, due) is None
    zone = ZoneInfo(calendar.zone)
    if unit is DelayUnit.HOURS:
        assert due >= start + timedelta(hours=value)
    elif unit is DelayUnit.MINUTES:
        assert due >= start + timedelta(minutes=value)
    elif unit is DelayUnit.DAYS and calendar.zone != "Pacific/Apia":
        assert due >= to_utc(start.astimezone(zone).replace(tzinfo=None) + timedelta(days=value), zone)


@pytest.mark.thorough
@settings(max_examples=200, deadline=None)
@given(calendars(), instants(), st.integers(1, 12))
def test_working_days_count_exactly_the_open_days_between(calendar: Calendar, start: datetime, value: int) -> None:
    due = add_delay(calendar, start, value, DelayUnit.WORKING_DAYS)
    if due is None:
        return
    zone = ZoneInfo(calendar.zone)
    day, last = start.astimezone(zone).date(), due.astimezone(zone).date()
    open_days = 0
    while day < last:
        day += timedelta(days=1)
        open_days += is_open_day(calendar, day)
    assert open_days >= value
    if due.astimezone(zone).time() > start.astimezone(zone).time():
        assert open_days in (value, value + 1)


def test_friday_plus_one_working_day_is_monday_at_the_same_time() -> None:
    calendar = Calendar("Europe/Berlin")
    friday = utc(2026, 11, 20, 9, 30)
    assert add_delay(calendar, friday, 1, DelayUnit.WORKING_DAYS) == utc(2026, 11, 23, 9, 30)


def test_the_same_time_of_day_survives_a_change_of_the_clocks() -> None:
    calendar = Calendar("Europe/Berlin")
    before = utc(2026, 10, 23, 8, 0)  # Friday 10:00 summer time
    assert add_delay(calendar, before, 1, DelayUnit.WORKING_DAYS) == utc(2026, 10, 26, 9, 0)  # Monday 10:00 winter


def test_a_message_sent_late_by_hand_waits_for_the_next_opening() -> None:
    calendar = Calendar("Europe/Berlin")
    sunday_night = utc(2026, 11, 22, 21, 0)  # 22:00 local, nothing is open
    assert add_delay(calendar, sunday_night, 1, DelayUnit.WORKING_DAYS) == utc(
        2026, 11, 24, 8, 0
    )  # Mon 22:00 → Tue 9:00


def test_hours_elapse_and_then_move_forward() -> None:
    calendar = Calendar("Asia/Kolkata")
    assert add_delay(calendar, utc(2026, 11, 20, 11, 0), 2, DelayUnit.HOURS) == utc(2026, 11, 23, 3, 30)
    assert add_delay(calendar, utc(2026, 11, 23, 5, 0), 90, DelayUnit.MINUTES) == utc(2026, 11, 23, 6, 30)


def test_calendar_days_count_weekends_too() -> None:
    calendar = Calendar("UTC")
    assert add_delay(calendar, utc(2026, 11, 20, 10), 3, DelayUnit.DAYS) == utc(2026, 11, 23, 10)
    assert add_delay(calendar, utc(2026, 11, 20, 10), 2, DelayUnit.DAYS) == utc(2026, 11, 23, 9)


def test_skipped_times_move_forward_and_double_ones_take_the_first() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert to_utc(datetime.fromisoformat("2026-03-29T02:30"), berlin) == utc(2026, 3, 29, 1, 0)
    assert to_utc(datetime.fromisoformat("2026-10-25T02:30"), berlin) == utc(2026, 10, 25, 0, 30)
    lord_howe = ZoneInfo("Australia/Lord_Howe")
    assert to_utc(datetime.fromisoformat("2026-10-04T02:15"), lord_howe) == utc(2026, 10, 3, 15, 30)


def test_a_window_inside_a_skipped_hour_does_not_exist_that_day() -> None:
    calendar = Calendar("Europe/Berlin", windows=(((120, 180),),) * 7, **OPEN_WEEKENDS)  # type: ignore[arg-type]
    assert not is_open_day(calendar, date(2026, 3, 29))
    assert closed_reason(calendar, utc(2026, 3, 29, 1, 0)) is Reason.OUTSIDE_WINDOW


def test_a_window_on_a_doubled_hour_is_entered_once() -> None:
    calendar = Calendar("Europe/Berlin", windows=(((120, 150),),) * 7, **OPEN_WEEKENDS)  # type: ignore[arg-type]
    assert closed_reason(calendar, utc(2026, 10, 25, 0, 10)) is None  # 02:10, first time
    assert closed_reason(calendar, utc(2026, 10, 25, 1, 10)) is Reason.OUTSIDE_WINDOW  # 02:10 again


def test_a_day_the_island_skipped_is_no_day() -> None:
    calendar = Calendar("Pacific/Apia", windows=ALL_DAY, **OPEN_WEEKENDS)  # type: ignore[arg-type]
    assert not is_open_day(calendar, date(2011, 12, 30))


def test_each_kind_of_closed_day_has_its_own_reason() -> None:
    calendar = Calendar("Europe/Berlin", country="DE", closed_days=frozenset({date(2026, 12, 24)}))
    assert closed_reason(calendar, utc(2026, 12, 23, 10)) is None
    assert closed_reason(calendar, utc(2026, 12, 23, 3)) is Reason.OUTSIDE_WINDOW
    assert closed_reason(calendar, utc(2026, 12, 24, 10)) is Reason.CLOSED_DAY
    assert closed_reason(calendar, utc(2026, 12, 25, 10)) is Reason.HOLIDAY
    assert closed_reason(calendar, utc(2026, 12, 27, 10)) is Reason.WEEKEND
    extra = Calendar("Europe/Berlin", holidays=frozenset({date(2026, 12, 22)}))
    assert closed_reason(extra, utc(2026, 12, 22, 10)) is Reason.HOLIDAY


def test_the_day_begins_and_ends_on_the_campaigns_clock() -> None:
    calendar = Calendar("Asia/Kolkata", windows=(((0, 1440),),) * 5 + ((), ()))
    assert window_bounds(calendar, utc(2026, 11, 23, 5)) == (utc(2026, 11, 22, 18, 30), utc(2026, 11, 23, 18, 30))
    assert closed_reason(calendar, utc(2026, 11, 27, 18, 29, 59)) is None
    assert closed_reason(calendar, utc(2026, 11, 27, 18, 30)) is Reason.WEEKEND


def test_a_reduced_weekend_opens_for_a_stable_share_of_the_leads() -> None:
    calendar = Calendar("UTC", weekend=WeekendMode.REDUCED, weekend_percent=30, weekend_key="campaign-7")
    saturday = utc(2026, 11, 21, 10)
    chosen = [key for key in range(2_000) if closed_reason(calendar, saturday, key) is None]
    assert 500 < len(chosen) < 700
    assert chosen == [key for key in range(2_000) if closed_reason(calendar, saturday, key) is None]
    sunday = [key for key in range(2_000) if closed_reason(calendar, saturday + timedelta(days=1), key) is None]
    assert sunday != chosen
    assert closed_reason(calendar, saturday) is None


def test_a_weekend_that_was_painted_keeps_its_own_hours() -> None:
    painted = (((540, 1020),),) * 5 + (((600, 660),), ())
    calendar = Calendar("UTC", windows=painted, weekend=WeekendMode.REDUCED, weekend_percent=100)
    assert closed_reason(calendar, utc(2026, 11, 21, 9, 30)) is Reason.OUTSIDE_WINDOW
    assert closed_reason(calendar, utc(2026, 11, 21, 10, 30)) is None
    assert closed_reason(calendar, utc(2026, 11, 22, 10, 30)) is Reason.OUTSIDE_WINDOW


def test_nothing_painted_never_opens() -> None:
    calendar = Calendar("UTC", windows=((),) * 7)
    assert next_open(calendar, utc(2026, 11, 23)) is None
    assert add_delay(calendar, utc(2026, 11, 23), 3, DelayUnit.WORKING_DAYS) is None


def test_hours_that_never_meet_never_open() -> None:
    berlin = Calendar("Europe/Berlin")
    honolulu = Calendar("Pacific/Honolulu")
    both = intersect(berlin, honolulu)
    assert next_open(both, utc(2026, 11, 23)) is None
    assert closed_reason(both, utc(2026, 11, 23, 10)) is Reason.OUTSIDE_WINDOW


@pytest.mark.thorough
@settings(max_examples=150, deadline=None)
@given(calendars(), calendars(), instants())
def test_an_intersection_is_open_exactly_where_both_are(first: Calendar, second: Calendar, at: datetime) -> None:
    both = closed_reason(intersect(first, second), at) is None
    assert both == (closed_reason(first, at) is None and closed_reason(second, at) is None)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ZONES), instants())
def test_the_next_day_begins_after_now_and_on_another_date(zone: str, at: datetime) -> None:
    start = next_day_start(zone, at)
    assert at < start <= at + timedelta(hours=50)
    assert day_start(zone, start.astimezone(ZoneInfo(zone)).date()) == start


def test_asking_is_cheap() -> None:
    calendar = Calendar("Europe/Berlin", country="DE")
    at = utc(2026, 11, 23, 10)
    closed_reason(calendar, at, 1)
    start = time.perf_counter()
    for _ in range(2_000):
        closed_reason(calendar, at, 1)
    assert (time.perf_counter() - start) / 2_000 < 100e-6  # 20 µs wanted; the rest is for a busy machine
