"""The names of time zones this machine knows. Finding them is a walk through a thousand files, and a page asks twice."""

from __future__ import annotations

import zoneinfo
from functools import cache


@cache
def known_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


@cache
def sorted_zones() -> tuple[str, ...]:
    """For lists to choose from."""
    return tuple(sorted(known_zones()))
