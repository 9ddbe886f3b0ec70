"""Waiting for what comes by itself. That it did not come in time is told apart from an assertion: the machine may have been slow, so a whole
run asks such a test once more (launch/again.py), while a broken promise of a proof is never asked about twice.
"""

from __future__ import annotations

import os


class OutOfTime(Exception):
    """What was waited for did not come within its time."""


def in_time(still: bool, what: str) -> None:
    """Raise OutOfTime with what was waited for when the time is over."""
    if not still:
        raise OutOfTime(what)


def times_slower() -> float:
    """How much longer things may take here just now: the machine's load by twice its processors, at least 1. A test's own load is in that."""
    return max(1.0, os.getloadavg()[0] / (2 * (os.cpu_count() or 1)))
