"""The sequence tick: holds whose time is over are released, walks of stopped campaigns end, due leads get their next message,
ended campaigns finish.
"""

from __future__ import annotations

import time
from datetime import datetime

from app.core import clock
from app.core.db import transaction
from app.core.queue import Job
from app.services import schedule_state
from app.services.ending import AT_ONCE, end_stopped
from app.services.enrollments import release_due_holds
from app.services.sequencing import Planned, finish_campaigns, note_reasons, plan_batch
from jobs.base import tick as scheduled

#: Machine seconds after which a tick leaves the rest to the next one.
LONGEST_S = 40.0
HOLDS_AT_ONCE = 500


def run(now: datetime) -> Planned:
    """Everything that is due at ``now`` (product time), in transactions of its own."""
    ends_at = time.monotonic() + LONGEST_S
    released = HOLDS_AT_ONCE
    while released == HOLDS_AT_ONCE:
        with transaction():
            released = release_due_holds(now, HOLDS_AT_ONCE)
    ended = AT_ONCE
    while ended == AT_ONCE:
        with transaction():
            ended = end_stopped(now)
    done = Planned()
    while time.monotonic() < ends_at:
        with transaction():
            batch = plan_batch(now)
        if not batch.changed:
            break
        done.add(batch)
    with transaction():
        note_reasons(now)
    with transaction():
        finish_campaigns(now)
    return done


@scheduled(Job.SEQUENCE_TICK)
def tick() -> None:
    """Also rung by a launch: while the schedule is paused it makes nothing, whoever rang."""
    with transaction():
        paused = schedule_state.paused_now()
    if not paused:
        run(clock.now())
