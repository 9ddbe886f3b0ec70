"""A campaign's hours as they are written in forms and JSON → `Calendar`, with an error for each field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.domain.public_holidays import UnknownCountry, normalise_country, weekend_of
from app.domain.working_time import (
    DEFAULT_WINDOWS,
    MINUTES_PER_DAY,
    SATURDAY_SUNDAY,
    Calendar,
    WeekendMode,
    WeekWindows,
)
from app.strings import t

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MAX_WINDOWS = 200
MAX_CLOSED_DAYS = 1_000
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)|24:00", re.ASCII)


class CalendarError(ValueError):
    """`fields`: name of the field → sentences about it."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        super().__init__("; ".join(f"{name}: {' '.join(texts)}" for name, texts in fields.items()))
        self.fields = dict(fields)


@lru_cache(maxsize=1_024)
def known_zone(name: str) -> bool:
    """Is this an IANA zone we can compute with?"""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return bool(name)


def parse_clock(text: object) -> int:
    """`"09:30"` → 570, `"24:00"` → 1440; ValueError otherwise."""
    match = _CLOCK.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(t("hours.clock_shape"))
    return MINUTES_PER_DAY if match[1] is None else int(match[1]) * 60 + int(match[2])


def format_clock(minute: int) -> str:
    """570 → `"09:30"`, 1440 → `"24:00"`."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _merged(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    result: list[tuple[int, int]] = []
    for opens, closes in sorted(spans):
        if result and opens <= result[-1][1]:
            result[-1] = (result[-1][0], max(closes, result[-1][1]))
        else:
            result.append((opens, closes))
    return tuple(result)


def _one_window(entry: object) -> tuple[int, tuple[int, int]]:
    if not isinstance(entry, Mapping):
        raise ValueError(t("hours.window_parts"))
    weekday = entry.get("weekday")
    if isinstance(weekday, bool) or not isinstance(weekday, int) or not 0 <= weekday <= 6:
        raise ValueError(t("hours.weekday_number"))
    opens, closes = parse_clock(entry.get("from")), parse_clock(entry.get("to"))
    if opens >= closes:
        raise ValueError(t("hours.ends_before", day=WEEKDAYS[weekday], opens=format_clock(opens), closes=format_clock(closes)))
    return weekday, (opens, closes)


def parse_windows(entries: object) -> WeekWindows:
    """`[{"weekday": 0, "from": "09:00", "to": "17:00"}, …]` → windows by weekday; ValueError with a sentence."""
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise ValueError(t("hours.windows_shape"))
    if not entries:
        raise ValueError(t("hours.one_window"))
    if len(entries) > MAX_WINDOWS:
        raise ValueError(t("hours.too_many_windows", limit=MAX_WINDOWS))
    days: list[list[tuple[int, int]]] = [[] for _ in WEEKDAYS]
    for entry in entries:
        weekday, span = _one_window(entry)
        days[weekday].append(span)
    return tuple(_merged(spans) for spans in days)


def windows_as_json(windows: WeekWindows) -> list[dict[str, object]]:
    """The reverse of `parse_windows`."""
    return [
        {"weekday": weekday, "from": format_clock(opens), "to": format_clock(closes)}
        for weekday, spans in enumerate(windows)
        for opens, closes in spans
    ]


def parse_dates(entries: object) -> frozenset[date]:
    """ISO dates (or date objects); ValueError with a sentence."""
    if entries is None:
        return frozenset()
    if not isinstance(entries, Sequence) or isinstance(entries, str) or len(entries) > MAX_CLOSED_DAYS:
        raise ValueError(t("hours.closed_days_shape", limit=MAX_CLOSED_DAYS))
    days = set()
    for entry in entries:
        try:
            days.add(entry if type(entry) is date else date.fromisoformat(str(entry)))
        except ValueError:
            raise ValueError(t("hours.not_a_date", given=str(entry)[:20])) from None
    return frozenset(days)


def _parse_weekend(entry: object) -> tuple[WeekendMode, int]:
    if entry is None:
        return WeekendMode.CLOSED, 0
    if isinstance(entry, str):
        entry = {"mode": entry}
    if not isinstance(entry, Mapping):
        raise ValueError(t("hours.weekend_shape"))
    mode, percent = entry.get("mode", "closed"), entry.get("percent")
    if percent is not None and "mode" not in entry:
        raise ValueError(t("hours.percent_needs_mode"))
    if mode == "closed":
        return WeekendMode.CLOSED, 0
    if mode != "reduced":
        raise ValueError(t("hours.weekend_mode"))
    if isinstance(percent, bool) or not isinstance(percent, int) or not 1 <= percent <= 100:
        raise ValueError(t("hours.weekend_percent"))
    return WeekendMode.REDUCED, percent


def parse_calendar(data: Mapping[str, Any], *, default_zone: str = "Asia/Kolkata", seed: str = "") -> Calendar:
    """Read `timezone, windows, closed_days, weekend, holidays_country`; what is missing takes the product's default.

    `seed` (the campaign's id as text) chooses who is written to on reduced weekends. Raises `CalendarError`.
    """
    errors: dict[str, list[str]] = {}

    def read(name: str, parse: Any, fallback: Any) -> Any:
        try:
            return parse(data[name]) if data.get(name) is not None else fallback
        except ValueError as error:
            errors.setdefault(name, []).append(str(error))
            return fallback

    zone = str(data.get("timezone") or default_zone)
    if not known_zone(zone):
        errors["timezone"] = [t("hours.not_a_zone", given=zone[:60])]
        zone = "UTC"
    windows = read("windows", parse_windows, DEFAULT_WINDOWS)
    closed_days = read("closed_days", parse_dates, frozenset())
    mode, percent = read("weekend", _parse_weekend, (WeekendMode.CLOSED, 0))
    try:
        country = normalise_country(str(data["holidays_country"])) if data.get("holidays_country") else ""
    except UnknownCountry as error:
        errors["holidays_country"], country = [str(error)], ""
    if errors:
        raise CalendarError(errors)
    return Calendar(
        zone=zone,
        windows=windows,
        closed_days=closed_days,
        country=country,
        weekend=mode,
        weekend_percent=percent,
        weekend_days=weekend_of(country) if country else SATURDAY_SUNDAY,
        weekend_key=seed,
    )


def grouped_days(windows: WeekWindows) -> list[str]:
    """`["Mon–Fri 09:00–17:00", "Sat 10:00–12:00"]`."""
    groups: list[str] = []
    day = 0
    while day < 7:
        last = day
        while last < 6 and windows[last + 1] == windows[day]:
            last += 1
        if windows[day]:
            name = WEEKDAYS[day] if last == day else f"{WEEKDAYS[day]}–{WEEKDAYS[last]}"
            groups.append(f"{name} " + ", ".join(f"{format_clock(a)}–{format_clock(b)}" for a, b in windows[day]))
        day = last + 1
    return groups


def describe(calendar: Calendar) -> str:
    """One line for a person: `Mon–Fri 09:00–17:00 (Europe/Berlin), closed at weekends, holidays of DE`."""
    parts = ["; ".join(grouped_days(calendar.windows)) + f" ({calendar.zone})"]
    if calendar.weekend is WeekendMode.REDUCED and calendar.weekend_percent == 100:
        parts.append(t("hours.said_open_weekends"))
    elif calendar.weekend is WeekendMode.REDUCED:
        parts.append(t("hours.said_reduced_weekends", percent=calendar.weekend_percent))
    else:
        parts.append(t("hours.said_closed_weekends"))
    if calendar.country:
        parts.append(t("hours.said_holidays", country=calendar.country))
    if calendar.closed_days:
        parts.append(t("hours.said_closed_days", n=len(calendar.closed_days)))
    if calendar.restriction is not None:
        parts.append(t("hours.said_only_within", hours=describe(calendar.restriction)))
    return ", ".join(parts)
