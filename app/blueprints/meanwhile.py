"""A form that somebody else overtook: what is stored now, shown below what was typed, so that neither is lost.

A form carries a print of each value it was filled with (its hidden field ``loaded``). What a person did not touch since then takes what
is stored now, so that saving again writes only what they changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.domain.fingerprint import fingerprint
from app.strings import t

LONGEST = 200


def stored_now(typed: Mapping[str, Any], stored: Mapping[str, Any], longest: int = LONGEST) -> dict[str, list[str]]:
    """For each stored value that says something else than what was typed: a sentence with it, as the forms show errors.

    ``longest``: characters shown of one value.
    """
    return {name: [t("frame.stored_now", value=_words(value, longest))] for name, value in stored.items() if name in typed and not _same(typed[name], value)}


def loaded(shown: Mapping[str, Any]) -> str:
    """The prints of the values that a form is filled with, for its hidden field ``loaded``."""
    return json.dumps({name: _print(value, value) for name, value in shown.items()})


def with_untouched(typed: Mapping[str, Any], stored: Mapping[str, Any], prints: str | None) -> dict[str, Any]:
    """What was typed; fields that still say what the form was filled with (``prints``, see ``loaded``) say what is stored now.

    A field that the form did not have, and that nobody typed into, is untouched too. Without readable prints all is typed.
    """
    seen = _read(prints)
    if seen is None:
        return dict(typed)
    nothing = _print("", "")
    left = {name: stored[name] for name, value in typed.items() if name in stored and _print(value, stored[name]) == seen.get(name, nothing)}
    return {**typed, **left}


def _read(prints: str | None) -> dict[str, Any] | None:
    try:
        found = json.loads(prints or "")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _print(value: Any, like: Any) -> str:
    """``like``: the stored value; a tick is sent as a word or not at all."""
    return fingerprint(bool(value) if isinstance(like, bool) else _plain(value))


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
