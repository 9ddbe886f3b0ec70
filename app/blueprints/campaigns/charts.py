"""Geometry of the drawn figures. Places along the page are percentages, so that a drawing fits any width without scaling its words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from app.queries.campaign_progress import Today
from app.services.forecast import Forecast

PLOT_HEIGHT = 150
PLOT_LEFT, PLOT_WIDTH = 4.0, 96.0
SERIES = 6


@dataclass(frozen=True)
class Bar:
    """One piece of a stacked bar. ``x``/``width`` in percent, ``y``/``height`` in pixels; ``series`` chooses its colour."""

    x: float
    width: float
    y: float
    height: float
    series: int
    label: str


@dataclass(frozen=True)
class Word:
    x: float
    y: float
    text: str
    minor: bool = False


@dataclass(frozen=True)
class BarChart:
    """``grid``: (y, number) of the lines; ``days``: the words below; ``names``: (series, sender) of the legend."""

    height: int
    bars: tuple[Bar, ...]
    grid: tuple[tuple[float, int], ...]
    days: tuple[Word, ...]
    names: tuple[tuple[int, str], ...]


def day_bars(forecast: Forecast) -> BarChart:
    """Sends per day, stacked by sender."""
    most = _round_up(max(forecast.totals, default=0))
    slot = PLOT_WIDTH / max(1, len(forecast.days))
    bars: list[Bar] = []
    for place, day in enumerate(forecast.days):
        foot = float(PLOT_HEIGHT)
        for series, sender in enumerate(forecast.senders):
            count = sender.per_day[place]
            height = PLOT_HEIGHT * count / most
            foot -= height
            if count:
                x = PLOT_LEFT + slot * (place + 0.16)
                label = f"{day:%a %-d %b}: {count} × {sender.address}"
                bars.append(Bar(round(x, 3), round(slot * 0.68, 3), round(foot, 2), round(height, 2), series % SERIES, label))
    days = tuple(
        Word(round(PLOT_LEFT + slot * (place + 0.5), 3), PLOT_HEIGHT + 16, f"{day:%a %-d}", place % 2 == 1)
        for place, day in enumerate(forecast.days)
    )
    grid = tuple((round(PLOT_HEIGHT * (1 - part / 2), 2), most * part // 2) for part in (0, 1, 2))
    names = tuple((place % SERIES, sender.address) for place, sender in enumerate(forecast.senders) if any(sender.per_day))
    return BarChart(PLOT_HEIGHT, tuple(bars), grid, days, names)


def _round_up(number: int) -> int:
    """The next number that reads well at the top of an axis and has a whole half."""
    for step in (2, 4, 10, 20, 40, 50, 100, 200, 500):
        if number <= step:
            return step
    return -(-number // 500) * 500


@dataclass(frozen=True)
class StripMark:
    x: float
    past: bool
    status: str
    label: str
    lane: int


@dataclass(frozen=True)
class Strip:
    """Today as a line. ``spans``: (x, width) of the open hours; all in percent of the day."""

    spans: tuple[tuple[float, float], ...]
    marks: tuple[StripMark, ...]
    hours: tuple[Word, ...]
    now: float


def day_strip(today: Today, zone: ZoneInfo) -> Strip:
    """The campaign's day from midnight to midnight on its own clock."""
    length = (today.end - today.start).total_seconds()

    def place(at: datetime) -> float:
        return round(min(100.0, max(0.0, 100 * (at - today.start).total_seconds() / length)), 3)

    spans = tuple((place(opens), round(place(closes) - place(opens), 3)) for opens, closes in today.spans)
    marks = tuple(
        StripMark(place(mark.at), mark.past, mark.status, f"{mark.at.astimezone(zone):%H:%M} {mark.label}", number % 4)
        for number, mark in enumerate(today.marks)
    )
    hours = tuple(
        Word(place(at), 0, f"{at.astimezone(zone):%H}", number % 2 == 1)
        for number, at in enumerate(today.start + timedelta(hours=2 * step) for step in range(1, 12))
        if at < today.end
    )
    return Strip(spans, marks, hours, place(today.now))
