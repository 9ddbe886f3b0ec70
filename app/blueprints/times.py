"""Moments as people read them: in the reader's zone, the sender's on hover. Everything shown is product time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import g
from markupsafe import Markup

from app.core import clock
from app.strings import t


def zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def reader_zone() -> ZoneInfo:
    viewer = g.get("viewer")
    return zone(viewer.timezone if viewer else None)


def full(at: datetime, where: ZoneInfo | None = None) -> str:
    """``Mon 23 Nov 2026, 09:07:11 (Asia/Kolkata)``."""
    where = where or reader_zone()
    return f"{at.astimezone(where):%a %-d %b %Y, %H:%M:%S} ({where.key})"


def short(at: datetime, now: datetime | None = None) -> str:
    """The shortest text that is still clear: ``09:07`` today, ``Tue 09:07`` within a week, ``23 Nov``, ``23 Nov 2025``."""
    local, today = at.astimezone(reader_zone()), (now or clock.now()).astimezone(reader_zone())
    days = (today.date() - local.date()).days
    if days == 0:
        return f"{local:%H:%M}"
    if abs(days) < 7:
        return f"{local:%a %H:%M}"
    return f"{local:%-d %b}" if local.year == today.year else f"{local:%-d %b %Y}"


def day_name(at: datetime) -> str:
    """The heading of a day in a list: today, yesterday, or ``Monday 23 November``."""
    local, today = at.astimezone(reader_zone()).date(), clock.now().astimezone(reader_zone()).date()
    if local == today:
        return t("frame.today")
    if local == today - timedelta(days=1):
        return t("frame.yesterday")
    if local == today + timedelta(days=1):
        return t("frame.tomorrow")
    return f"{local:%A %-d %B}" if local.year == today.year else f"{local:%A %-d %B %Y}"


def moment(at: datetime | None, sender_zone: str | None = None, *, machine: bool = False) -> Markup:
    """A ``<time>`` in the reader's zone; the full moment, and the sender's if another, on hover.

    ``machine``: the moment is machine time (sessions), which a rehearsal's clock does not follow.
    """
    if at is None:
        return Markup('<span class="quiet">{}</span>').format(t("frame.never"))
    title = full(at)
    if sender_zone and zone(sender_zone) != reader_zone():
        title += "\n" + t("frame.sender_zone", time=full(at, zone(sender_zone)))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        title,
        short(at, clock.machine_now() if machine else None),
    )


def agent_name(agent: str) -> str:
    """``Firefox on Linux`` out of a User-Agent, or ``curl``, or nothing."""
    browsers = (
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    )
    systems = (
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS", "Mac"),
        ("Linux", "Linux"),
    )
    browser = next((name for mark, name in browsers if mark in agent), "")
    system = next((name for mark, name in systems if mark in agent), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or agent.partition("/")[0].partition(" ")[0][:40]
