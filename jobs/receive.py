"""Raw arrivals: what the bell tells of, and what a sweep finds when it was lost or has to be tried again."""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter
from collections.abc import Sequence

from app.core.db import transaction
from app.core.extensions import db
from app.core.queue import Job, enqueue, looking
from app.services.receiving import breaker, events
from app.services.receiving.effects import TooEarly
from jobs.base import tick

log = logging.getLogger("emberpost.receive")
AT_ONCE = 50
BELL_SECONDS = 1.5  # a job on this queue is short: what is left gets a job of its own
SWEEP_SECONDS = 20.0


def arrived() -> int:
    """Something was kept: work through everything that is due. Returns how many were settled."""
    looking(Job.INBOUND_ARRIVED)
    settled, more = work_through(BELL_SECONDS)
    if more:
        enqueue(Job.INBOUND_ARRIVED, timeout_s=60)
    return settled


@tick(Job.INBOUND_SWEEP)
def sweep() -> None:
    """Try every kept event whose time has come; the fifth failure quarantines it."""
    work_through(SWEEP_SECONDS)


def work_through(seconds: float) -> tuple[int, bool]:
    """(how many events were settled, whether time ran out). Each has a transaction of its own; several workers may do this at once."""
    until = time.monotonic() + seconds
    settled, after = 0, 0
    while True:
        with transaction():
            batch = events.due(AT_ONCE, after)
        if not batch:
            return settled, False
        good: Counter[int] = Counter()
        bad: Counter[int] = Counter()
        for one in batch:
            outcome = _try(one)
            settled += outcome in ("done", "ignored", "quarantined")
            if one.webhook_source is not None:
                good[one.webhook_source] += outcome in ("done", "ignored")
                bad[one.webhook_source] += outcome == "failed"
        _tell_breakers(good, bad)
        after = batch[-1].id
        if time.monotonic() > until:
            return settled, True


def _tell_breakers(good: Counter[int], bad: Counter[int]) -> None:
    if good or bad:
        with transaction():
            for source_id in sorted({*good, *bad}):
                breaker.tally(source_id, good[source_id], bad[source_id])


def _try(one: events.Due) -> str | None:
    try:
        with transaction():
            return events.process(one.id).status
    except Exception as problem:
        words = traceback.format_exc()
        with transaction():
            now = events.failed(one.id, words)
        if now == "quarantined":
            log.error("an arrival was quarantined", extra={"facts": {"event": one.id, "error": words[-500:]}})
        return "early" if isinstance(problem, TooEarly) else "failed"
    finally:
        db.session.remove()


def replay(event_ids: Sequence[int] | None = None) -> int:
    """For operators: quarantined events (all, or these) are tried again by the next sweep. Returns how many."""
    with transaction():
        return events.replay(event_ids)
