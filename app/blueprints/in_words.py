"""Values of the trail and of a setting's history as a person reads them: no brackets, no words of a programming language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.domain.calendar_settings import parse_windows
from app.domain.week_words import write_week
from app.strings import CATALOGUE, t

#: What only machines read beside the value it is made from.
_TWINS = frozenset({"address_key", "email_key", "linkedin_slug"})


def in_words(value: Any) -> str:
    """A stored value in words: yes, nothing, ``Mon–Fri 09:00–17:00``, ``one, two``."""
    if isinstance(value, bool):
        return t("frame.yes" if value else "frame.no")
    if value is None or value == "" or value == [] or value == {}:
        return t("trail.nothing")
    if isinstance(value, Mapping):
        return "; ".join(f"{field_in_words(str(name))}: {in_words(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return _week(value) or ", ".join(map(in_words, value))
    return str(value)


def _week(values: Any) -> str:
    if not all(isinstance(one, Mapping) and one.keys() == {"weekday", "from", "to"} for one in values):
        return ""
    try:
        return write_week(parse_windows([dict(one) for one in values]))
    except ValueError:
        return ""  # written by an earlier version: as it stands


def field_in_words(name: str) -> str:
    """A stored field's name; ``allow_elsewhere`` → “also if active elsewhere”."""
    key = f"trail.field_{name}"
    return str(CATALOGUE[key]) if key in CATALOGUE else name.replace("_", " ")


def changes_in_words(changes: list[tuple[str, Any, Any]]) -> list[tuple[str, str, str]]:
    """(field, before, after) of a line of the trail; before is empty where there was none."""
    shown = [change for change in changes if change[0] not in _TWINS] or changes
    return [(field_in_words(name), in_words(before) if before is not None else "", in_words(after)) for name, before, after in shown]
