"""A week's hours as a person writes them in one line: ``Mon–Fri 09:00–17:00; Sat 10:00–12:00``."""

from __future__ import annotations

import re

from app.domain.calendar_settings import WEEKDAYS, grouped_days, parse_clock
from app.domain.working_time import WeekWindows
from app.strings import t

LONGEST = 500
EXAMPLE = t("hours.week_example")
_DAY = "(?:mon|tue|wed|thu|fri|sat|sun)"
_PART = re.compile(rf"(?P<days>{_DAY}(?: ?[-–,] ?{_DAY})*)? ?(?P<spans>[\d:–, -]+)", re.IGNORECASE)
_SPAN = re.compile(r"(\d{1,2}(?::\d\d)?)[-–](\d{1,2}(?::\d\d)?)")


def read_week(text: str) -> list[dict[str, object]]:
    """The line as windows {weekday, from, to}; without days it means every day. Raises ValueError with a sentence."""
    if len(text) > LONGEST:
        raise ValueError(t("fields.use_at_most", limit=LONGEST))
    windows: list[dict[str, object]] = []
    for part in filter(None, (part.strip() for part in re.split(r"[;\n]", text))):
        found = _PART.fullmatch(re.sub(r"\s+", " ", part))
        if found is None:
            raise ValueError(EXAMPLE)
        spans = [_span(piece) for piece in found["spans"].replace(" ", "").split(",") if piece]
        if not spans:
            raise ValueError(EXAMPLE)
        for day in _days(found["days"]):
            windows += [{"weekday": day, "from": opens, "to": closes} for opens, closes in spans]
    return windows


def write_week(windows: WeekWindows) -> str:
    """The reverse of ``read_week``."""
    return "; ".join(grouped_days(windows))


def _span(piece: str) -> tuple[str, str]:
    found = _SPAN.fullmatch(piece)
    if found is None:
        raise ValueError(EXAMPLE)
    opens, closes = (word if ":" in word else f"{word}:00" for word in found.groups())
    if parse_clock(opens) >= parse_clock(closes):
        raise ValueError(t("hours.span_ends_before", opens=opens, closes=closes))
    return opens, closes


def _days(words: str | None) -> list[int]:
    if not words:
        return list(range(7))
    days: list[int] = []
    for piece in words.replace(" ", "").split(","):
        first, _, last = piece.replace("–", "-").partition("-")
        begin = _number(first)
        end = _number(last) if last else begin
        days += [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]
    return days


def _number(name: str) -> int:
    return WEEKDAYS.index(name.capitalize())
