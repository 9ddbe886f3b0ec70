"""A campaign's calendar and how a mailbox's own hours restrict it, from the stored rows."""

from __future__ import annotations

from typing import Any

from app.domain.calendar_settings import CalendarError, parse_calendar
from app.domain.working_time import Calendar, intersect
from app.models import Campaign, Mailbox


def calendar_of(campaign: Campaign) -> Calendar | None:
    """The campaign's own calendar; None when what is stored cannot be read (nothing leaves until somebody mends it)."""
    fields: dict[str, Any] = {
        "timezone": campaign.timezone,
        "windows": campaign.windows,
        "closed_days": campaign.closed_days,
        "weekend": campaign.weekend or None,
        "holidays_country": campaign.holidays_country,
    }
    try:
        return parse_calendar(fields, seed=str(campaign.id))
    except CalendarError:
        return None


def own_hours(mailbox: Mailbox) -> Calendar | None:
    """The hours to which this mailbox restricts campaigns; None: it does not."""
    hours = mailbox.own_hours or {}
    if not mailbox.restrict_campaigns or not hours.get("windows"):
        return None
    try:
        return parse_calendar({**hours, "timezone": hours.get("timezone") or mailbox.timezone})
    except CalendarError:
        return None


def through(campaign: Calendar, mailbox: Mailbox) -> Calendar:
    """When the campaign may write through this mailbox."""
    own = own_hours(mailbox)
    return campaign if own is None else intersect(campaign, own)
