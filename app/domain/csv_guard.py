"""Cells of a spreadsheet: what we export must not become a formula, what we import must not hold control characters."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from app.strings import t

_FORMULA_STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
#: A dangerous sign right after a separator or quote: a reader with another separator would begin a cell there.
_INNER_FORMULA = re.compile(r"([,;|\t\"'])([=+\-@])")
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def safe_cell(value: object) -> str:
    """A cell for an export: what could be taken for a formula gets an apostrophe in front; plain numbers stay."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return str(value)
    text = _CONTROLS.sub("", str(value))
    if _NUMBER.fullmatch(text):
        return text
    text = _INNER_FORMULA.sub(r"\1'\2", text)
    return f"'{text}" if _begins_formula(text) else text


def _begins_formula(text: str) -> bool:
    """Also when nothing follows: a lone tab may lie in front of something once a reader has joined cells."""
    first = text.lstrip(" \u00a0\ufeff")[:1]
    return first != "" and first in _FORMULA_STARTS


def original_cell(text: str) -> str:
    """What `safe_cell` was given, for importing our own exports again."""
    if text[:1] == "'" and _begins_formula(text[1:]):
        text = text[1:]
    return re.sub(r"([,;|\t\"'])'([=+\-@])", r"\1\2", text)


def write_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A whole table as CSV (CRLF, comma, UTF-8 text), every cell made safe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([safe_cell(cell) for cell in header])
    for row in rows:
        writer.writerow([safe_cell(cell) for cell in row])
    return out.getvalue()


def refusal(text: str, longest: int = 1_000) -> str | None:
    """Why an imported value cannot be taken into a one-line field, as a sentence; None when it can."""
    if len(text) > longest:
        return t("fields.longer_than", limit=longest)
    if "\n" in text or "\r" in text:
        return t("fields.holds_line_break")
    if _CONTROLS.search(text):
        return t("fields.holds_controls")
    return None
