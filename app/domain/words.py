"""Enumerations whose members are looked up for each message."""

from __future__ import annotations

from enum import StrEnum


class Word(StrEnum):
    """Hashes as its text does: an enumeration's own hash is written in Python, and costs more than the look-up it is for."""

    __hash__ = str.__hash__
