"""Nightly recount of counters, hourly check of the ledger equation, and what is kept no longer."""

from __future__ import annotations

import logging

from app.core import clock
from app.core.db import lock_hot, transaction
from app.core.queue import Job
from app.services import recounting, retention
from jobs.base import tick

log = logging.getLogger("emberpost.counting")


@tick(Job.RECOUNT)
def recount() -> int:
    with transaction():
        lock_hot()
        drifts = recounting.recount(clock.now())
    if drifts:
        log.warning("counters had drifted", extra={"facts": {drift.what: (drift.was, drift.is_) for drift in drifts}})
    return len(drifts)


@tick(Job.LEDGER_EQUATION)
def check_ledger() -> dict[str, list[int]]:
    with transaction():
        found = recounting.check_ledger()
    if found:
        log.error("the ledger equation does not hold", extra={"facts": found})
    return found


@tick(Job.RETENTION)
def forget_old() -> None:
    for forget in retention.ALL:
        while True:
            with transaction():
                done = forget(clock.now())
            if done < retention.AT_ONCE:
                break
