"""When a campaign may write: windows, closed days, holidays, weekends, delays. Pure; every instant is aware UTC.

Traps this module hides:
* A window is a span of *instants*, made from local wall times: a wall time that the clocks skip moves forward to the
  first one that exists, one that occurs twice takes the first. So a window on a change day may be an hour longer,
  shorter or empty, and is never entered twice.
* A day may be skipped as a whole (Samoa, 30 December 2011): it has no window and is no working day.
* "Reduced" weekends open for a stable share of the keys (enrollments): the same key gets the same answer for the same
  date, whoever asks. Without a key the question is "could anybody be written to", and the answer is yes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from zoneinfo import ZoneInfo

from app.domain.public_holidays import holidays_of_year
from app.domain.reasons import Reason

MINUTES_PER_DAY = 1440
_NO_TIME = timedelta(0)
#: How far we look for an opening before we say "never".
HORIZON_DAYS = 400

Span = tuple[datetime, datetime]
WeekWindows = tuple[tuple[tuple[int, int], ...], ...]

DEFAULT_WINDOWS: WeekWindows = (((9 * 60, 17 * 60),),) * 5 + ((), ())
SATURDAY_SUNDAY = frozenset({5, 6})


class WeekendMode(StrEnum):
    CLOSED = "closed"
    REDUCED = "reduced"


class DelayUnit(StrEnum):
    WORKING_DAYS = "working_days"
    DAYS = "days"
    HOURS = "hours"
    MINUTES = "minutes"


@dataclass(frozen=True)
class Calendar:
    """Opening hours in one zone.

    `windows`: seven tuples (Monday first) of (opens, closes) in minutes of the local day, sorted, disjoint; closes may
    be 1440 ("24:00"). `country`: code of `public_holidays`, "" for none; `holidays`: further ones. `weekend_percent`
    counts only in mode *reduced*; `weekend_key` seeds the choice (a campaign id). `restriction`: open only where this
    calendar is open too (a mailbox's own hours).
    """

    zone: str
    windows: WeekWindows = DEFAULT_WINDOWS
    closed_days: frozenset[date] = frozenset()
    holidays: frozenset[date] = frozenset()
    country: str = ""
    weekend: WeekendMode = WeekendMode.CLOSED
    weekend_percent: int = 0
    weekend_days: frozenset[int] = SATURDAY_SUNDAY
    weekend_key: str = ""
    restriction: Calendar | None = None
    _spans: dict[date, tuple[Span, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zone", ZoneInfo(self.zone))


def to_utc(naive: datetime, zone: ZoneInfo) -> datetime:
    """A local wall time as an instant: skipped ones move forward to the first that exists, double ones take the first."""
    earlier, later = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
    ahead, ahead_then = earlier.utcoffset() or _NO_TIME, later.utcoffset() or _NO_TIME
    if ahead >= ahead_then:  # equal on an ordinary day; where clocks go back the first of the two
        return (naive - ahead).replace(tzinfo=UTC)
    instant, before = earlier.astimezone(UTC), later.astimezone(UTC)
    low, high = int(before.timestamp()), int(instant.timestamp()) + 1
    offset_before = before.astimezone(zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset_before:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


@lru_cache(maxsize=65_536)
def _steady_start(zone: ZoneInfo, day: date) -> datetime | None:
    """The first instant of a local date on which the clocks stand still, so that its minutes can be counted; else None."""
    midnight = datetime.combine(day, time(), zone)
    edges = (midnight, midnight + timedelta(days=1))
    if len({edge.replace(fold=fold).utcoffset() for edge in edges for fold in (0, 1)}) > 1:
        return None
    return midnight.astimezone(UTC)


def local_date(zone: str, at: datetime) -> date:
    """The date on the wall in this zone."""
    return at.astimezone(ZoneInfo(zone)).date()


def day_start(zone: str, day: date) -> datetime:
    """The first instant of a local date."""
    return to_utc(datetime.combine(day, time()), ZoneInfo(zone))


def next_day_start(zone: str, at: datetime) -> datetime:
    """When the local day after `at` begins: the moment day caps start anew."""
    start = day_start(zone, local_date(zone, at) + timedelta(days=1))
    return start if start > at else day_start(zone, local_date(zone, at) + timedelta(days=2))


@lru_cache(maxsize=65_536)
def _share(seed: str, key: int | str, day: date) -> int:
    """A stable number 0…99 for (calendar, key, date)."""
    text = f"{seed}\x1f{key}\x1f{day.isoformat()}".encode()
    return int.from_bytes(blake2b(text, digest_size=8, key=b"weekend").digest(), "big") % 100


def _is_holiday(calendar: Calendar, day: date) -> bool:
    if day in calendar.holidays:
        return True
    return bool(calendar.country) and day in holidays_of_year(calendar.country, day.year)


def _weekday_windows(calendar: Calendar, weekday: int) -> tuple[tuple[int, int], ...]:
    """The painted windows; a reduced weekend on which nothing was painted keeps the hours of the last working day."""
    own = calendar.windows[weekday]
    if own or weekday not in calendar.weekend_days or calendar.weekend is WeekendMode.CLOSED:
        return own
    if any(calendar.windows[day] for day in calendar.weekend_days):
        return own
    working = [windows for day, windows in enumerate(calendar.windows) if day not in calendar.weekend_days and windows]
    return working[-1] if working else ()


def _day_reason(calendar: Calendar, day: date, key: int | str | None) -> Reason | None:
    """Why this whole local day is closed, or None."""
    if day in calendar.closed_days:
        return Reason.CLOSED_DAY
    if _is_holiday(calendar, day):
        return Reason.HOLIDAY
    if day.weekday() in calendar.weekend_days:
        if calendar.weekend is WeekendMode.CLOSED or calendar.weekend_percent <= 0:
            return Reason.WEEKEND
        if key is not None and _share(calendar.weekend_key, key, day) >= calendar.weekend_percent:
            return Reason.WEEKEND
    return None


def _own_spans(calendar: Calendar, day: date) -> tuple[Span, ...]:
    """The spans of one local date as instants, before the share of a reduced weekend and the restriction."""
    known = calendar._spans.get(day)
    if known is not None:
        return known
    spans: list[Span] = []
    if _day_reason(calendar, day, None) is None:
        midnight, start = datetime.combine(day, time()), _steady_start(calendar._zone, day)
        for opens, closes in _weekday_windows(calendar, day.weekday()):
            if start is not None:
                spans.append((start + timedelta(minutes=opens), start + timedelta(minutes=closes)))
                continue
            first = to_utc(midnight + timedelta(minutes=opens), calendar._zone)
            last = to_utc(midnight + timedelta(minutes=closes), calendar._zone)
            if first < last:
                spans.append((first, last))
    calendar._spans[day] = tuple(spans)
    return calendar._spans[day]


def _spans(calendar: Calendar, day: date, key: int | str | None) -> tuple[Span, ...]:
    """The spans in which one key may be written to on one local date, restriction included."""
    own = _own_spans(calendar, day)
    if not own:
        return own
    if key is not None and day.weekday() in calendar.weekend_days and _day_reason(calendar, day, key) is not None:
        return ()
    if calendar.restriction is None:
        return own
    return tuple(part for span in own for part in _common(span, calendar.restriction, key))


def _common(span: Span, other: Calendar, key: int | str | None) -> list[Span]:
    first, last = (edge.astimezone(other._zone).date() for edge in span)
    parts: list[Span] = []
    day = first
    while day <= last + timedelta(days=1):
        for opens, closes in _spans(other, day, key):
            low, high = max(span[0], opens), min(span[1], closes)
            if low < high:
                parts.append((low, high))
        day += timedelta(days=1)
    return parts


def _covering(calendar: Calendar, at: datetime, day: date, key: int | str | None) -> Span | None:
    """The window that holds `at`, which is on the local date `day`."""
    for span in _spans(calendar, day, key):
        if span[0] <= at < span[1]:
            return span
    if _steady_start(calendar._zone, day) is None:
        # Where clocks fall back across midnight the next date's window may already have begun.
        for span in _spans(calendar, day + timedelta(days=1), key):
            if span[0] <= at < span[1]:
                return span
    return None


def closed_reason(calendar: Calendar, at: datetime, key: int | str | None = None) -> Reason | None:
    """Why nothing may leave at this instant (closed_day, holiday, weekend, outside_window), or None when it may."""
    day = at.astimezone(calendar._zone).date()
    if _covering(calendar, at, day, key) is not None:
        return None
    found = _day_reason(calendar, day, key)
    if found is None and calendar.restriction is not None:
        found = closed_reason(calendar.restriction, at, key)
    return found or Reason.OUTSIDE_WINDOW


def window_bounds(calendar: Calendar, at: datetime, key: int | str | None = None) -> Span | None:
    """(opens, closes) of the window that holds `at`, else of the next one; None when none opens within 400 days.

    `opens <= at < closes` says that it is open now, and `closes` is how long a permit may be given.
    """
    if not has_windows(calendar):
        return None
    day = at.astimezone(calendar._zone).date()
    for _ in range(HORIZON_DAYS + 2):
        for span in _spans(calendar, day, key):
            if span[1] > at:
                return span
        day += timedelta(days=1)
    return None


def next_open(calendar: Calendar, at: datetime, key: int | str | None = None) -> datetime | None:
    """`at` itself when open, else the next opening; None when none comes within 400 days."""
    bounds = window_bounds(calendar, at, key)
    return None if bounds is None else max(bounds[0], at.astimezone(UTC))


def has_windows(calendar: Calendar) -> bool:
    """Is anything painted at all?"""
    return any(calendar.windows)


def is_open_day(calendar: Calendar, day: date, key: int | str | None = None) -> bool:
    """Does a window open on this local date?"""
    return bool(_spans(calendar, day, key))


def _nth_open_day(calendar: Calendar, day: date, count: int, key: int | str | None) -> date | None:
    misses = 0
    while count > 0:
        day += timedelta(days=1)
        if is_open_day(calendar, day, key):
            count, misses = count - 1, 0
        else:
            misses += 1
            if misses > HORIZON_DAYS:
                return None
    return day


def add_delay(
    calendar: Calendar, start: datetime, value: int, unit: DelayUnit, key: int | str | None = None
) -> datetime | None:
    """When a step that waits `value` `unit` after `start` is due; None when the calendar never opens.

    Working days: that many open days later, at the earliest at the same time of day. Days: calendar days at the same
    time of day. Hours, minutes: elapsed time. All of them then move forward into a window.
    """
    if value < 0:
        raise ValueError("a delay cannot be negative")
    if value == 0 or not has_windows(calendar):
        return next_open(calendar, start, key)
    if unit is DelayUnit.HOURS:
        return next_open(calendar, start + timedelta(hours=value), key)
    if unit is DelayUnit.MINUTES:
        return next_open(calendar, start + timedelta(minutes=value), key)
    local = start.astimezone(calendar._zone).replace(tzinfo=None)
    day: date | None = local.date() + timedelta(days=value)
    if unit is DelayUnit.WORKING_DAYS:
        day = _nth_open_day(calendar, local.date(), value, key)
    if day is None:
        return None
    return next_open(calendar, to_utc(datetime.combine(day, local.time()), calendar._zone), key)


def intersect(first: Calendar, second: Calendar) -> Calendar:
    """Open only where both are; days and delays keep counting in the first one's zone."""
    if first.restriction is not None:
        return replace(first, restriction=intersect(first.restriction, second))
    return replace(first, restriction=second)
