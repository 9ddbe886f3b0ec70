"""Whole numbers of forms and addresses: plain digits that fit the ledger, or nothing."""

from __future__ import annotations

from collections.abc import Iterable


def whole(raw: str | None, longest: int = 18) -> int | None:
    """``raw`` as a number of at most ``longest`` plain digits; None for anything else (``²`` and ``٣`` are digits to Python)."""
    return int(raw) if raw and raw.isascii() and raw.isdigit() and len(raw) <= longest else None


def wholes(raws: Iterable[str]) -> list[int]:
    """Those of ``raws`` that are numbers."""
    return [number for number in map(whole, raws) if number is not None]
