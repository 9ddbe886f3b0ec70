"""The names of time zones and countries we know. Finding the zones is a walk through a thousand files, and a page asks twice."""

from __future__ import annotations

import zoneinfo
from functools import cache
from importlib.resources import files


@cache
def known_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


@cache
def sorted_zones() -> tuple[str, ...]:
    """For lists to choose from."""
    return tuple(sorted(known_zones()))


@cache
def known_countries() -> frozenset[str]:
    """The two letters of each country (ISO 3166, as the time zone database lists them)."""
    table = files("tzdata").joinpath("zoneinfo", "iso3166.tab").read_text(encoding="utf-8")
    return frozenset(line[:2] for line in table.splitlines() if line and not line.startswith("#"))
