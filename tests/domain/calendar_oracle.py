"""What a calendar should say, worked out the slow and plain way: by reading the clock on the wall, never by setting it.

The product turns wall times into instants. This file only goes the other way, which knows no doubt: it walks through time minute by
minute, reads what the wall shows, and says *a wall time is the first instant at which the wall shows it or something later*. That one
sentence is both rules: a time the clocks skip moves forward to the first that exists, one that they show twice takes the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from hashlib import blake2b
from zoneinfo import ZoneInfo

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
#: No clock is further from UTC, and no change of the clocks moves a wall time by more.
FURTHEST = 27 * 60
STEP = 15  # minutes: since 1980 every clock has changed on a quarter of an hour
QUARTER = timedelta(minutes=STEP)
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)

Span = tuple[datetime, datetime]
#: What the wall is ahead of UTC, in minutes, at each quarter of an hour around a local day.
Offsets = tuple[int, ...]


@cache
def walk(offsets: Offsets) -> tuple[int, ...]:
    """For each minute 0…1440 of a local day the minute (UTC, counted from that date's 00:00 UTC) at which the wall first shows it.

    ``offsets`` begins FURTHEST minutes before 00:00 UTC of the date.
    """
    first: list[int] = []
    at = -FURTHEST
    for wanted in range(1441):
        while at + offsets[(at + FURTHEST) // STEP] < wanted:
            at += 1
        first.append(at)
        # a later wall time is never shown earlier: all before ``at`` showed less than ``wanted``
    return tuple(first)


class Zone:
    """One zone's clock, read minute by minute."""

    def __init__(self, name: str, begin: date, end: date, look_every: timedelta = timedelta(days=7)) -> None:
        self.name = name
        self._clock = ZoneInfo(name)
        self._days: dict[date, tuple[int, ...] | int] = {}
        self._quarters: dict[int, int] = {}
        instants = list(self._changes(begin, end, look_every))
        #: UTC dates on which the clocks are changed
        self.changes = sorted({instant.date() for instant in instants})
        #: zones with the same signature show the same wall all the time from ``begin`` to ``end``
        self.signature = (self._ahead(_midnight(begin)), tuple((instant, self._ahead(instant)) for instant in instants))
        self._near = {change + timedelta(days=shift) for change in self.changes for shift in range(-3, 4)}

    def _ahead(self, at: datetime) -> int:
        ahead = at.astimezone(self._clock).utcoffset()
        assert ahead is not None
        return ahead // MINUTE

    def _changes(self, begin: date, end: date, look_every: timedelta) -> Iterator[datetime]:
        """The instants at which the clocks are changed; they must lie on quarters of an hour."""
        at, last = _midnight(begin), _midnight(end)
        while at < last:
            following = at + look_every
            if self._ahead(at) != self._ahead(following):
                low, high = 0, look_every // QUARTER
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (low, middle) if self._ahead(at + middle * QUARTER) != self._ahead(at) else (middle, high)
                change = at + high * QUARTER
                assert self._ahead(change - MINUTE) == self._ahead(at), f"{self.name} changes between two quarters of an hour"
                yield change
            at = following

    def shows(self, at: datetime) -> datetime:
        """What the wall shows (naive)."""
        return at.astimezone(self._clock).replace(tzinfo=None)

    def first(self, day: date, minute: int) -> datetime:
        """The first instant at which the wall shows ``minute`` (0…1440) of ``day``, or something later."""
        known = self._days.get(day)
        if known is None:
            known = self._days[day] = self._read(day)
        return _midnight(day) + (minute - known if isinstance(known, int) else known[minute]) * MINUTE

    def _read(self, day: date) -> tuple[int, ...] | int:
        """An ordinary day is told by what its clock is ahead; one near a change is walked through."""
        if day not in self._near:
            return self._ahead(_midnight(day))
        quarter = (day - _EPOCH.date()).days * 1440 // STEP
        reach = FURTHEST // STEP
        return walk(tuple(self._at_quarter(quarter + n) for n in range(-reach, reach + 1440 // STEP + 1)))

    def _at_quarter(self, number: int) -> int:
        known = self._quarters.get(number)
        if known is None:
            known = self._quarters[number] = self._ahead(_EPOCH + number * QUARTER)
        return known


@cache
def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@dataclass
class Hours:
    """A calendar as a person would write it on paper. ``windows``: weekday → ((opens, closes) in minutes of the day, …)."""

    name: str
    windows: dict[int, tuple[tuple[int, int], ...]]
    closed: frozenset[date] = frozenset()
    holidays: frozenset[date] = frozenset()
    weekend: frozenset[int] = frozenset({5, 6})
    percent: int = 0  # of the leads that are written to at the weekend
    seed: str = ""
    within: tuple[str, Hours] | None = None  # zone and hours of a mailbox that must be open as well
    _own: dict[tuple[str, date, int | None], tuple[str, tuple[Span, ...]]] = field(default_factory=dict, repr=False)

    def day(self, zone: Zone, day: date, lead: int | None) -> tuple[str, tuple[Span, ...]]:
        """(why it is closed as a whole or "", its windows as instants) before ``within``."""
        weekend = lead if day.weekday() in self.weekend else None
        key = (zone.name, day, weekend)
        if key not in self._own:
            if len(self._own) > 20_000:
                self._own.clear()
            why = self._why(day, weekend)
            spans = [] if why else [(zone.first(day, a), zone.first(day, b)) for a, b in self.windows.get(day.weekday(), ())]
            self._own[key] = why, tuple(span for span in spans if span[0] < span[1])
        return self._own[key]

    def _why(self, day: date, lead: int | None) -> str:
        if day in self.closed:
            return "closed_day"
        if day in self.holidays:
            return "holiday"
        if day.weekday() in self.weekend and (not self.percent or (lead is not None and draw(self.seed, lead, day) >= self.percent)):
            return "weekend"
        return ""


def draw(seed: str, lead: int, day: date) -> int:
    """0…99; written down once more, because a change of it in the middle of a weekend would write to other people."""
    text = f"{seed}\x1f{lead}\x1f{day:%Y-%m-%d}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8, key=b"weekend").digest(), "big") % 100


class Oracle:
    """One calendar in one zone for one lead."""

    def __init__(self, zone: Zone, hours: Hours, lead: int | None, other: Zone | None = None) -> None:
        self.zone, self.hours, self.lead, self.other = zone, hours, lead, other
        self._spans: dict[date, tuple[Span, ...]] = {}
        self._around: dict[date, tuple[Span, ...]] = {}

    def spans(self, day: date) -> tuple[Span, ...]:
        """When something may leave on this local date."""
        known = self._spans.get(day)
        if known is None:
            known = self._spans[day] = self._work_out(day)
        return known

    def _work_out(self, day: date) -> tuple[Span, ...]:
        own = self.hours.day(self.zone, day, self.lead)[1]
        if self.hours.within is None or self.other is None:
            return own
        there = [span for shift in (-2, -1, 0, 1, 2)
                 for span in self.hours.within[1].day(self.other, day + shift * DAY, self.lead)[1]]  # fmt: skip
        both = ((max(a, c), min(b, d)) for a, b in own for c, d in there)
        return tuple(sorted(span for span in both if span[0] < span[1]))

    def around(self, day: date) -> tuple[Span, ...]:
        """The windows of the day before, this one and the next: where clocks go back over midnight their instants mingle."""
        if day not in self._around:
            self._around[day] = self.spans(day - DAY) + self.spans(day) + self.spans(day + DAY)
        return self._around[day]

    def closed(self, at: datetime) -> str:
        """Why nothing may leave at this instant, or ""."""
        day = self.zone.shows(at).date()
        if any(opens <= at < closes for opens, closes in self.around(day)):
            return ""
        why = self.hours.day(self.zone, day, self.lead)[0]
        if not why and self.hours.within is not None and self.other is not None:
            inner = Oracle(self.other, self.hours.within[1], self.lead)
            why = inner.closed(at)
        return why or "outside_window"

    def opening(self, at: datetime, days: int = 400) -> datetime | None:
        """The first instant from ``at`` on at which something may leave."""
        day = self.zone.shows(at).date() - DAY
        for _ in range(days + 3):
            for opens, closes in self.spans(day):
                if closes > at:
                    return max(opens, at)
            day += DAY
        return None

    def after(self, start: datetime, value: int, unit: str) -> datetime | None:
        """When a step that waits ``value`` ``unit`` after ``start`` (a whole minute) is due."""
        if unit in ("minutes", "hours"):
            return self.opening(start + value * (MINUTE if unit == "minutes" else 60 * MINUTE))
        shown = self.zone.shows(start)
        day = shown.date() + value * DAY
        if unit == "working_days":
            day, left = shown.date(), value
            for _ in range(400):
                if left == 0:
                    break
                day += DAY
                left -= bool(self.spans(day))
            if left:
                return None
        return self.opening(self.zone.first(day, shown.hour * 60 + shown.minute))
