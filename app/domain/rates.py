"""When a refused mail is tried again: 5 minutes, 15 minutes, 1, 4 and 12 hours after each other, given up after 48 h."""

from __future__ import annotations

from datetime import datetime, timedelta

RETRY_LADDER: tuple[timedelta, ...] = (
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(hours=12),
)
GIVE_UP = timedelta(hours=48)


def next_retry(attempt: int, first_try: datetime, now: datetime, hint: int | None = None) -> datetime | None:
    """When to try again after failed attempt number `attempt` (1 = the first), or None: give up.

    `hint`: seconds the server asked for; obeyed when given, and never shortened by the ladder's last rung. The caller
    moves the result forward into the calendar. Times are aware UTC, product time.
    """
    if attempt < 1:
        raise ValueError("attempts count from 1")
    rung = RETRY_LADDER[min(attempt, len(RETRY_LADDER)) - 1]
    at = now + (timedelta(seconds=hint) if hint is not None else rung)
    return at if at - first_try <= GIVE_UP else None
