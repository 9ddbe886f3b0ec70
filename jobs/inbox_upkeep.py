"""Upkeep of the inbox: snoozed conversations come back, idle ones close."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from app.core import clock
from app.core.db import transaction
from app.core.queue import Job
from app.services.inbox import upkeep
from jobs.base import tick


@tick(Job.WAKE_SNOOZED)
def wake_snoozed() -> int:
    """Every batch in a transaction of its own, until none is due."""
    return _all(upkeep.wake_snoozed)


@tick(Job.CLOSE_IDLE)
def close_idle_conversations() -> int:
    return _all(upkeep.close_idle)


def _all(batch: Callable[[datetime], int]) -> int:
    done = 0
    while True:
        with transaction():
            count = batch(clock.now())
        done += count
        if count < upkeep.BATCH:
            return done
