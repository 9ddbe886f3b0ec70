"""Names that people give to people and things: one line, as long as its place, nothing in it that is not seen."""

from __future__ import annotations

import re

from app.strings import t

#: Unicode's embeddings, overrides and isolates: what stands behind them is read in another order than it is written.
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def without_turns(text: str) -> str:
    """``text`` without characters that turn the direction of writing; letters of every direction bring their own."""
    return text if text.isascii() else _TURNS.sub("", text)


def tidy_name(raw: object, longest: int) -> str:
    """The name in one line, spaces as single ones. Raises ValueError with the sentence to show."""
    text = " ".join(without_turns(str(raw or "")).split())
    if not text:
        raise ValueError(t("fields.name_missing"))
    if len(text) > longest:
        raise ValueError(t("fields.name_too_long", limit=longest, n=len(text)))
    if _CONTROLS.search(text):
        raise ValueError(t("fields.name_controls"))
    return text
