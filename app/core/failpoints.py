"""Named places on the sending road where a test lets a process die or freeze; nothing at all in a real instance.

``EMBERPOST_FAILPOINTS`` is a comma-separated list of ``name@count=action``: at the ``count``-th passing of ``name`` the process
kills itself (``kill``) or stops as if frozen (``stop``), without any clean-up, as a power cut would. Settings refuse it
outside a rehearsal. Names are an enum, so a test can prove that every one of them was hit.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum


class Name(StrEnum):
    """In the order in which one message passes them."""

    CLAIM_BEFORE_COMMIT = "claim_before_commit"
    CLAIM_COMMITTED = "claim_committed"
    RENDERED = "rendered"
    BYTES_BEFORE_COMMIT = "bytes_before_commit"
    BYTES_STORED = "bytes_stored"
    CONNECTED = "connected"
    BODY_WRITTEN = "body_written"
    PERMIT_BEFORE_COMMIT = "permit_before_commit"
    PERMIT_COMMITTED = "permit_committed"
    BEFORE_DOT = "before_dot"
    AFTER_DOT = "after_dot"
    ANSWERED = "answered"
    OUTCOME_BEFORE_COMMIT = "outcome_before_commit"
    OUTCOME_RECORDED = "outcome_recorded"


class _Trap:
    def __init__(self, count: int, action: str) -> None:
        self.left = count
        self.action = action


_traps: dict[str, _Trap] = {}


def arm(specification: str) -> None:
    """Arm the traps of ``specification`` in this process (replacing earlier ones). Raises ValueError for an unknown name."""
    _traps.clear()
    for entry in filter(None, (part.strip() for part in specification.split(","))):
        place, _, action = entry.partition("=")
        name, _, count = place.partition("@")
        if action not in ("", "kill", "stop"):
            raise ValueError(f"a failpoint kills or stops, not {action!r}")
        _traps[Name(name)] = _Trap(int(count or 1), action or "kill")


def armed() -> bool:
    """Whether any trap is set in this process."""
    return bool(_traps)


def waits_at(name: Name) -> bool:
    """Whether a trap is set at this very place: what would pass it without a stop takes the longer way then."""
    return name in _traps


def point(name: Name) -> None:
    """This place is being passed. Costs one dictionary look-up of an empty dictionary unless a test armed it."""
    if not _traps:
        return
    trap = _traps.get(name)
    if trap is None:
        return
    trap.left -= 1
    if trap.left == 0:
        os.kill(os.getpid(), signal.SIGSTOP if trap.action == "stop" else signal.SIGKILL)
