"""How many requests a minute one program may make: counted in Redis for all web processes together, per login or key.

Losing Redis is no outage: each process then counts for itself and asks Redis again after a few seconds.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import redis

from app.core.bell import bell

log = logging.getLogger("emberpost.api")

WINDOW_S = 60
AWAY_S = 5.0


@dataclass(frozen=True)
class Allowance:
    """What is left of a minute. ``reset_s``: seconds until the next one begins; ``over``: this request is one too many."""

    limit: int
    remaining: int
    reset_s: int
    over: bool


class _Away:
    """Whether Redis failed a moment ago, and what this process counted meanwhile."""

    until: float = 0.0
    window: int = 0
    counts: dict[str, int] = {}  # noqa: RUF012  one per process, on purpose


def take(who: str, limit: int) -> Allowance:
    """Count one request of ``who`` (``user-7``, ``key-3``) against ``limit`` a minute (machine time)."""
    now = time.time()
    window = int(now // WINDOW_S)
    used = _shared(who, window)
    if used is None:
        used = _own(who, window)
    return Allowance(limit, max(0, limit - used), max(1, round((window + 1) * WINDOW_S - now)), used > limit)


def _shared(who: str, window: int) -> int | None:
    """The count of all processes; None while Redis is away."""
    if time.monotonic() < _Away.until:
        return None
    key = f"{bell().prefix}api-rate:{who}:{window}"
    try:
        pipe = bell().connection.pipeline()
        pipe.incr(key)
        pipe.expire(key, WINDOW_S * 2)
        return int(pipe.execute()[0])
    except redis.RedisError as error:
        log.warning("requests are counted per process, Redis is away: %s", error)
        _Away.until = time.monotonic() + AWAY_S
        return None


def _own(who: str, window: int) -> int:
    if _Away.window != window:
        _Away.window, _Away.counts = window, {}
    _Away.counts[who] = _Away.counts.get(who, 0) + 1
    return _Away.counts[who]
