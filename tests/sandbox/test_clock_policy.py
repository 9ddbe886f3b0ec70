"""When the rehearsal's clock may jump, and when not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sandbox.clock_policy import LEAD_IN, OpenHours, first_monday, next_jump

BERLIN = ZoneInfo("Europe/Berlin")
HOURS = OpenHours(BERLIN)
EVENING = datetime(2026, 11, 23, 18, 0, tzinfo=BERLIN)  # a Monday
TUESDAY_OPENING = datetime(2026, 11, 24, 9, 0, tzinfo=BERLIN)


def test_a_rehearsal_starts_on_a_monday_five_minutes_before_nine() -> None:
    started = first_monday(datetime(2026, 11, 26, 3, 0, tzinfo=UTC), BERLIN).astimezone(BERLIN)
    assert (started.weekday(), started.hour, started.minute, started.day) == (0, 8, 55, 23)


def test_the_night_is_jumped_over_to_shortly_before_the_opening() -> None:
    assert next_jump(EVENING, [], 0, False, HOURS) == TUESDAY_OPENING - LEAD_IN


def test_the_weekend_is_jumped_over() -> None:
    friday = EVENING + timedelta(days=4)
    assert next_jump(friday, [], 0, False, HOURS) == datetime(2026, 11, 30, 8, 55, tzinfo=BERLIN)


def test_a_jump_stops_before_what_is_due_in_the_night() -> None:
    due = EVENING + timedelta(hours=3)
    assert next_jump(EVENING, [None, due, due + timedelta(hours=1)], 0, False, HOURS) == due - LEAD_IN


def test_nothing_jumps_in_open_hours_while_something_is_in_flight_or_a_reader_is_busy() -> None:
    noon = datetime(2026, 11, 24, 12, 0, tzinfo=BERLIN)
    assert next_jump(noon, [], 0, False, HOURS) is None
    assert next_jump(EVENING, [], 1, False, HOURS) is None
    assert next_jump(EVENING, [], 0, True, HOURS) is None


def test_what_is_just_due_holds_the_clock_but_a_stuck_row_does_not() -> None:
    assert next_jump(EVENING, [EVENING - timedelta(minutes=1)], 0, False, HOURS) is None
    assert next_jump(EVENING, [EVENING - timedelta(hours=2)], 0, False, HOURS) is not None


def test_small_steps_are_not_worth_a_jump() -> None:
    assert next_jump(EVENING, [EVENING + timedelta(minutes=20)], 0, False, HOURS) is None
    assert next_jump(datetime(2026, 11, 24, 8, 50, tzinfo=BERLIN), [], 0, False, HOURS) is None


def test_a_jump_never_goes_backwards_nor_past_what_is_next_over_a_whole_year() -> None:
    now = EVENING
    for step in range(2000):
        now += timedelta(hours=4, minutes=step % 59)
        due = now + timedelta(minutes=step * 7 % 3000)
        target = next_jump(now, [due], 0, False, HOURS)
        if target is not None:
            assert now < target < due
            assert target < HOURS.next_opening(now)
