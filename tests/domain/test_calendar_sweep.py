"""Every time zone there is, through the days on which its clocks change and days drawn from seven years, for twenty calendars.

What the product says is compared with an oracle that only ever reads the clock on the wall (``calendar_oracle``).
EMBERPOST_CALENDAR: ``few`` zones (40 of the 599, one test run by hand), every ``zone`` (the whole suite: change days and 40 drawn
ones), every ``day`` of 2024 to 2030 as well (30 million days of calendars, about an hour on a core).
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import available_timezones

import holidays as library
import pytest

from app.domain.working_time import (
    Calendar,
    DelayUnit,
    WeekendMode,
    add_delay,
    closed_reason,
    day_start,
    intersect,
    is_open_day,
    local_date,
    next_day_start,
    window_bounds,
)
from tests.domain.calendar_oracle import DAY, MINUTE, Hours, Oracle, Span, Zone

pytestmark = pytest.mark.slow  # the file takes long together

FIRST, LAST = date(2024, 1, 1), date(2030, 12, 31)
SIZE = os.environ.get("EMBERPOST_CALENDAR", "few")
FEW_ZONES, DRAWN_DAYS, DRAWN_CALENDARS = 40, 40, 5
SECOND = timedelta(seconds=1)
CHUNKS = 16


def every(*windows: tuple[int, int], days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)) -> dict[int, tuple[tuple[int, int], ...]]:
    return dict.fromkeys(days, windows)


def clock(text: str) -> tuple[int, int]:
    """``9:00-17:30`` in minutes of the day."""
    opens, closes = ((int(a) * 60 + int(b)) for a, b in (part.split(":") for part in text.split("-")))
    return opens, closes


@cache
def of_country(code: str) -> frozenset[date]:
    table = library.country_holidays(code, years=range(FIRST.year - 1, LAST.year + 3))
    return frozenset(table)


WORKDAYS, SUNDAYS = (0, 1, 2, 3, 4), (6,)
FIRSTS_OF_MONTHS = frozenset(date(year, month, 1) for year in range(2023, 2033) for month in range(1, 13))
DICE = random.Random(20261124)
SCATTERED = frozenset(FIRST + timedelta(days=DICE.randrange(2_600)) for _ in range(300))
BERLIN_OFFICE = Hours("a mailbox in Berlin", every(clock("6:00-22:00"), days=WORKDAYS))
NIGHT_SHIFT = Hours("a mailbox that works at night", every(clock("0:00-6:00"), clock("20:00-24:00")), percent=100)

CALENDARS = (
    Hours("office hours", every(clock("9:00-17:00"), days=WORKDAYS)),
    Hours("always", every(clock("0:00-24:00")), percent=100),
    Hours("the hours in which clocks change", every(clock("0:30-3:30")), percent=100),
    Hours("one skipped hour", every(clock("2:00-3:00")), percent=100),
    Hours("half of it", every(clock("2:30-3:00")), percent=100),
    Hours("around midnight", every(clock("0:00-1:00"), clock("23:00-24:00")), percent=100),
    Hours("the last hour of workdays", every(clock("23:00-24:00"), days=WORKDAYS)),
    Hours("Sundays at night", every(clock("1:00-4:00"), days=SUNDAYS), percent=100),
    Hours("before and after lunch", every(clock("8:15-12:00"), clock("13:00-16:45"), days=WORKDAYS)),
    Hours("five short windows", every(*(clock(f"{h}:07-{h}:22") for h in (1, 2, 3, 13, 22))), percent=100),
    Hours("one minute a week", every(clock("10:10-10:11"), days=(3,))),
    Hours("German holidays", every(clock("9:00-17:00"), days=WORKDAYS), holidays=of_country("DE")),
    Hours("Indian holidays, Sundays too", every(clock("10:00-18:30")), holidays=of_country("IN"), percent=100),
    Hours("Egypt, where Friday is the weekend", every(clock("8:00-16:00"), days=(6, 0, 1, 2, 3)), holidays=of_country("EG"),
          weekend=frozenset({4, 5})),
    Hours("closed on the first of each month", every(clock("0:00-24:00"), days=WORKDAYS), closed=FIRSTS_OF_MONTHS),
    Hours("scattered closed days", every(clock("6:00-22:00")), closed=SCATTERED, percent=100),
    Hours("a third at weekends", every(clock("9:00-17:00")), percent=33, seed="17"),
    Hours("half on Sundays at the change", every(clock("0:00-5:00")), percent=50, seed="4"),
    Hours("within an office in Berlin", every(clock("9:00-17:00"), days=WORKDAYS), within=("Europe/Berlin", BERLIN_OFFICE)),
    Hours("within the nights of Auckland", every(clock("0:00-24:00")), percent=100, within=("Pacific/Auckland", NIGHT_SHIFT)),
)  # fmt: skip
COUNTRIES = {"German holidays": "DE", "Indian holidays, Sundays too": "IN", "Egypt, where Friday is the weekend": "EG"}
#: each day tries three of them with every fifth calendar
DELAYS = (
    *((value, DelayUnit.WORKING_DAYS) for value in (1, 2, 3, 6, 9)), *((value, DelayUnit.DAYS) for value in (1, 2, 7, 30)),
    *((value, DelayUnit.HOURS) for value in (1, 5, 24)), *((value, DelayUnit.MINUTES) for value in (30, 90)),
)  # fmt: skip


def product_calendar(zone: str, hours: Hours) -> Calendar:
    calendar = Calendar(
        zone=zone,
        windows=tuple(hours.windows.get(day, ()) for day in range(7)),
        closed_days=hours.closed,
        country=COUNTRIES.get(hours.name, ""),
        weekend=WeekendMode.REDUCED if hours.percent else WeekendMode.CLOSED,
        weekend_percent=hours.percent,
        weekend_days=hours.weekend,
        weekend_key=hours.seed,
    )
    return intersect(calendar, product_calendar(*hours.within)) if hours.within else calendar


#: Zones that show the same wall all through these years, and their clock.
Family = tuple[Zone, list[str]]


@cache
def families() -> list[Family]:
    """All zones (or as many as asked for), those with the same clock together."""
    names = sorted(available_timezones())
    look_every = timedelta(days=1) if SIZE == "day" else timedelta(days=7)
    found: dict[object, Family] = {}
    for name in names[:: len(names) // FEW_ZONES] if SIZE == "few" else names:
        zone = Zone(name, FIRST - 40 * DAY, LAST + 440 * DAY, look_every)
        found.setdefault(zone.signature, (zone, []))[1].append(name)
    return list(found.values())


def shares() -> list[list[Family]]:
    """The families in CHUNKS parts of about the same work."""
    parts: list[list[Family]] = [[] for _ in range(CHUNKS)]

    def work(part: list[Family]) -> int:
        return sum(len(names) * (3 + len(zone.changes)) for zone, names in part)

    pieces = [(zone, names[start : start + 20]) for zone, names in families() for start in range(0, len(names), 20)]
    for piece in sorted(pieces, key=lambda one: -work([one])):
        min(parts, key=work).append(piece)
    return parts


@cache
def other_zone(name: str) -> Zone:
    return Zone(name, FIRST - 40 * DAY, LAST + 440 * DAY)


def days_of(zone: Zone, dice: random.Random) -> dict[date, list[int]]:
    """Each day to look at, in order, with the numbers of its calendars.

    All calendars from two days before to two days after each change; drawn days come in runs of five with some calendars.
    """
    span, everything = (LAST - FIRST).days + 1, list(range(len(CALENDARS)))
    if SIZE == "day":
        return {FIRST + timedelta(days=n): everything for n in range(span)}
    near = {change + timedelta(days=shift) for change in zone.changes if FIRST <= change <= LAST for shift in range(-2, 3)}
    chosen = dict.fromkeys(near, everything)
    while len(chosen) < len(near) + DRAWN_DAYS:
        begin, some = dice.randrange(span - 5), dice.sample(everything, DRAWN_CALENDARS)
        for shift in range(min(5, len(near) + DRAWN_DAYS - len(chosen))):
            chosen.setdefault(FIRST + timedelta(days=begin + shift), some)
    return dict(sorted(chosen.items()))


@dataclass
class Expected:
    """What the oracle says of one calendar on one day."""

    windows: list[Span]
    is_open: bool
    closed: list[tuple[datetime, str]]
    delays: list[tuple[datetime, int, DelayUnit, datetime | None]]


def expect(oracle: Oracle, day: date, begins: datetime, ends: datetime, delays: list[tuple[datetime, int, DelayUnit]]) -> Expected:
    windows = [span for span in sorted(oracle.around(day)) if span[1] > begins and span[0] < ends]
    looks = {at for span in windows for at in (span[0], span[0] - SECOND, span[1], span[1] - SECOND)}
    return Expected(
        windows,
        bool(oracle.spans(day)),
        [(at, oracle.closed(at)) for at in looks or {begins, begins + 6 * 60 * MINUTE}],
        [(*delay, oracle.after(*delay)) for delay in delays],
    )


def check_day(name: str, zone: Zone, day: date, begins: datetime, ends: datetime) -> None:
    """Each local date has one beginning of its own, where its caps begin anew."""
    assert day_start(name, day) == begins, "the day's beginning"
    for at in (begins, begins + (ends - begins) / 2, ends - SECOND):
        if zone.shows(at).date() == day:
            assert (local_date(name, at), next_day_start(name, at)) == (day, ends), f"the day at {at}"


def check_calendar(calendar: Calendar, lead: int, day: date, begins: datetime, ends: datetime, expected: Expected) -> None:
    """Walked through from window to window the day shows exactly its own, each edge is where it belongs, delays end where they should."""
    found, at = [], begins
    while (bounds := window_bounds(calendar, at, lead)) is not None and bounds[0] < ends:
        found.append(bounds)
        at = bounds[1]
    assert found == expected.windows, "windows"
    assert is_open_day(calendar, day, lead) == expected.is_open, "open day"
    for at, why in expected.closed:
        assert (closed_reason(calendar, at, lead) or "") == why, f"closed at {at}"
    for start, value, unit, due in expected.delays:
        assert add_delay(calendar, start, value, unit, lead) == due, f"{value} {unit} after {start}"


def sweep(zone: Zone, names: list[str]) -> Counter[str]:
    """One family: what is expected is worked out once, every zone of it is asked."""
    dice = random.Random(names[0])
    lead = dice.randrange(1, 1_000)
    oracles = [Oracle(zone, hours, lead, other_zone(hours.within[0]) if hours.within else None) for hours in CALENDARS]
    calendars = {name: [product_calendar(name, hours) for hours in CALENDARS] for name in names}
    told: Counter[str] = Counter()
    before = None
    for day, numbers in days_of(zone, dice).items():
        begins, ends = zone.first(day, 0), zone.first(day, 1440)
        assert before is None or begins > before, "two dates begin at once: they would count on one counter"
        before = begins
        start = begins + dice.randrange(int((ends - begins).total_seconds()) // 60 or 1) * MINUTE
        delayed = dice.sample(numbers, len(numbers) // 5)
        for number in numbers:
            oracle = oracles[number]
            delays = [(start, *delay) for delay in dice.sample(DELAYS, 3)] if number in delayed else []
            expected = expect(oracle, day, begins, ends, delays)
            for name in names:
                try:
                    check_calendar(calendars[name][number], lead, day, begins, ends, expected)
                except AssertionError as error:
                    raise AssertionError(f"{name}, {day}, {oracle.hours.name}, lead {lead}: {error}") from error
        for name in names:
            check_day(name, zone, day, begins, ends)
        told["days"] += len(names)
        told["days of calendars"] += len(names) * len(numbers)
        told["delays"] += len(names) * 3 * len(delayed)
    return told


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_zone_and_calendar_has_its_windows_where_the_wall_shows_them(chunk: int) -> None:
    told: Counter[str] = Counter()
    for zone, names in shares()[chunk]:
        told += sweep(zone, names)
        told["zones"] += len(names)
    assert told["days"] >= DRAWN_DAYS * told["zones"] > 0
    print(f"\n{dict(told)}")
