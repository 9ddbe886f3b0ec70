"""Campaign calendars as the sending road needs them: parsed once per version of their text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from app.domain.calendar_settings import CalendarError, parse_calendar
from app.domain.working_time import Calendar, intersect, next_open
from app.services.outbox.plain import Question


@lru_cache(maxsize=4_096)
def _parsed(zone: str, windows: str, closed_days: str, weekend: str, country: str, seed: str) -> Calendar | None:
    fields: dict[str, Any] = {
        "timezone": zone,
        "windows": json.loads(windows),
        "closed_days": json.loads(closed_days),
        "weekend": json.loads(weekend) or None,
        "holidays_country": country or None,
    }
    try:
        return parse_calendar(fields, seed=seed)
    except CalendarError:
        return None  # stored by an older version or by hand: closed until somebody looks at it


@lru_cache(maxsize=4_096)
def _own_hours(zone: str, hours: str) -> Calendar | None:
    fields: Mapping[str, Any] = json.loads(hours)
    try:
        return parse_calendar({**fields, "timezone": fields.get("timezone") or zone}) if fields.get("windows") else None
    except CalendarError:
        return None


_TEXTS = """c.windows::text AS windows, c.closed_days::text AS closed_days, c.weekend::text AS weekend,
       coalesce(c.holidays_country, '') AS country"""
#: Columns of a statement whose rows know their campaign's and sender's zone and the mailbox's own hours, from the aliases c (campaigns),
#: s (senders) and b (mailboxes): for ``Calendars``.
ZONES = """
       c.timezone AS campaign_zone, s.timezone AS sender_zone, CASE WHEN b.restrict_campaigns THEN b.own_hours::text END AS own_hours
"""
#: The same and the campaign's texts: for ``calendar_of``.
COLUMNS = f"{ZONES.rstrip()},\n       {_TEXTS}\n"

_cache: dict[tuple[Any, ...], Calendar | None] = {}


def calendar_of(row: Any) -> Calendar | None:
    """The calendar that a row (with ``COLUMNS`` and ``campaign_id``) obeys; None when it cannot be read or there is none."""
    return None if row.campaign_id is None else _calendar(row, row)


def _calendar(row: Any, texts: Any) -> Calendar | None:
    key = (row.campaign_id, row.campaign_zone, texts.windows, texts.closed_days, texts.weekend, texts.country, row.own_hours, row.sender_zone)
    if key not in _cache:
        if len(_cache) > 4_096:
            _cache.clear()
        campaign = _parsed(row.campaign_zone, texts.windows, texts.closed_days, texts.weekend, texts.country, str(row.campaign_id))
        own = _own_hours(row.sender_zone, row.own_hours) if row.own_hours else None
        _cache[key] = intersect(campaign, own) if campaign is not None and own is not None else campaign
    return _cache[key]


def texts_of(campaigns: Iterable[int | None]) -> Question:
    """What ``Calendars`` is made from: a batch's rows share few campaigns, whose texts are longer than the rows."""
    statement = f"SELECT c.id, {_TEXTS} FROM campaigns c WHERE c.id = ANY (%(ids)s::bigint[])"
    return statement, {"ids": sorted({campaign for campaign in campaigns if campaign is not None})}


class Calendars:
    """The calendars of one batch. ``texts``: the answer to ``texts_of``."""

    def __init__(self, texts: Iterable[Any] = ()) -> None:
        self._texts = {row.id: row for row in texts}
        self._known: dict[tuple[Any, ...], Calendar | None] = {}

    def of(self, row: Any) -> Calendar | None:
        """The calendar that a row (with ``ZONES`` and ``campaign_id``) obeys; None when it cannot be read or there is none."""
        key = (row.campaign_id, row.campaign_zone, row.own_hours, row.sender_zone)
        if key not in self._known:
            texts = self._texts.get(row.campaign_id)
            self._known[key] = None if texts is None else _calendar(row, texts)
        return self._known[key]


def opening_after(calendar: Calendar | None, at: datetime, key: int | None) -> datetime | None:
    """The next instant at which something with this calendar may leave; ``at`` itself where there is no calendar."""
    return at if calendar is None else next_open(calendar, at, key)
