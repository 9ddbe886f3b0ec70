"""A form that somebody else overtook: what is stored now, shown below what was typed, so that neither is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.strings import t

LONGEST = 200


def stored_now(typed: Mapping[str, Any], stored: Mapping[str, Any], longest: int = LONGEST) -> dict[str, list[str]]:
    """For each stored value that says something else than what was typed: a sentence with it, as the forms show errors.

    ``longest``: characters shown of one value.
    """
    return {name: [t("frame.stored_now", value=_words(value, longest))] for name, value in stored.items() if name in typed and not _same(typed[name], value)}


def _same(typed: Any, stored: Any) -> bool:
    if isinstance(stored, bool):
        return bool(typed) == stored
    return _plain(typed) == _plain(stored)


def _plain(value: Any) -> str:
    return "" if value is None else str(value).strip().replace("\r\n", "\n")


def _words(value: Any, longest: int) -> str:
    if isinstance(value, bool):
        return t("frame.yes" if value else "frame.no")
    text = _plain(value) or t("frame.stored_nothing")
    return text if len(text) <= longest else text[:longest] + "…"
