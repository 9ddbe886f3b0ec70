"""Public holidays by country, from the `holidays` library (tables, no network)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import Any

from app.strings import t


class UnknownCountry(ValueError):
    """No table for this country or this part of it; `str(error)` is a sentence for a person."""


def _library(code: str, part: str | None = None) -> Any:
    # Imported on first use: it takes half a second that a page without holidays should not wait for.
    import holidays

    return holidays.country_holidays(code, subdiv=part)


@lru_cache(maxsize=1)
def supported_countries() -> tuple[str, ...]:
    """ISO codes of the countries with a table, for the select box."""
    from holidays.registry import COUNTRIES

    return tuple(sorted(entry[1] for entry in COUNTRIES.values()))


@lru_cache(maxsize=1_024)
def normalise_country(text: str) -> str:
    """`de`, `DE`, `DE-BY`, `de_by` → `DE`, `DE-BY`; raises `UnknownCountry`."""
    code, _, part = text.strip().upper().replace("_", "-").partition("-")
    if code not in supported_countries():
        raise UnknownCountry(t("hours.no_holidays", country=text[:20]))
    if part and part not in _library(code).subdivisions:
        raise UnknownCountry(t("hours.no_part", country=code, part=part[:10]))
    return f"{code}-{part}" if part else code


@lru_cache(maxsize=2_048)
def holidays_of_year(country: str, year: int) -> frozenset[date]:
    """The public holidays of one year (observed days included) for a code of `normalise_country`."""
    code, _, part = country.partition("-")
    table = _library(code, part or None)
    table.get(date(year, 1, 1))  # a look-up fills in the year
    return frozenset(table.keys())


def country_holidays(country: str, years: Iterable[int]) -> frozenset[date]:
    """The public holidays of several years; raises `UnknownCountry`."""
    code = normalise_country(country)
    return frozenset[date]().union(*(holidays_of_year(code, year) for year in years))


@lru_cache(maxsize=512)
def weekend_of(country: str) -> frozenset[int]:
    """The weekdays (0 = Monday) this country rests on; Saturday and Sunday almost everywhere."""
    code, _, part = country.partition("-")
    found = getattr(_library(code, part or None), "weekend", None)
    return frozenset(found) if found else frozenset({5, 6})


def country_names() -> tuple[tuple[str, str], ...]:
    """(ISO code, name in English) of the countries with a table, by name, for the select box."""
    from holidays.registry import COUNTRIES

    known = set(supported_countries())
    named = ((entry[1], re.sub(r"(?<=[a-z])(?=[A-Z])", " ", entry[0])) for entry in COUNTRIES.values())
    return tuple(sorted(((code, name) for code, name in named if code in known), key=lambda pair: pair[1]))
