"""Rings the schedule. One process leads (advisory lock), others wait to take over.

The ledger remembers when each entry is next due (``scheduled_runs``), so nothing is lost with Redis and nothing runs double
after a restart. A tick that is still waiting in its queue is not enqueued again. Delayed jobs (``core.queue.enqueue_at``) live in
rq-scheduler, whose look is part of the same loop. See docs/decisions/0003. While an operator has paused the schedule
(``services.schedule_state``) only its safety entries are rung; what came due meanwhile is rung once afterwards.
"""

from __future__ import annotations

import logging
import signal
import threading
from datetime import datetime, timedelta
from types import FrameType
from typing import Any

import redis
from sqlalchemy import text

from app.core import clock
from app.core.config import Settings
from app.core.db import transaction
from app.core.extensions import db
from app.core.queue import Job, delayed_jobs, enqueue, is_queued
from app.services import schedule_state
from jobs.base import Heartbeat, only_once, start_process
from jobs.schedule import SCHEDULE, Entry

log = logging.getLogger("emberpost.scheduler")
LOOK_SECONDS = 0.5
WAITING_AT_MOST = timedelta(minutes=5)  # a tick enqueued longer ago is taken as lost with Redis

_ROWS = text("SELECT job, next_at, queued_at, started_at, clock_timestamp() AS now FROM scheduled_runs")
_NOTE = text(
    "INSERT INTO scheduled_runs (job, next_at, queued_at) VALUES (:job, :next_at, :queued_at)"
    " ON CONFLICT (job) DO UPDATE SET next_at = :next_at, queued_at = coalesce(:queued_at, scheduled_runs.queued_at)"
)


def still_waiting(queued_at: datetime | None, started_at: datetime | None, now: datetime) -> bool:
    """Enqueued, not begun, and not so long ago that Redis must have forgotten it."""
    if queued_at is None or (started_at is not None and started_at >= queued_at):
        return False
    return now - queued_at < WAITING_AT_MOST


def look(now: datetime | None = None) -> list[Entry]:
    """Enqueue every entry that is due. ``now`` (machine time) is PostgreSQL's unless a test gives it."""
    with transaction() as session:
        moment = now or session.execute(text("SELECT clock_timestamp()")).scalar_one()
        rows = {row.job: row for row in session.execute(_ROWS)}
        paused = schedule_state.paused_now()
    due = [entry for entry in SCHEDULE if not (paused and not entry.safety) and not _comes_later(rows.get(str(entry.job)), moment)]
    waiting = {entry.job for entry in due if _waits(entry.job, rows.get(str(entry.job)), moment)}
    if due:
        with transaction() as session:
            for entry in due:
                next_at = entry.when.next_after(moment, clock.factor())
                queued_at = None if entry.job in waiting else moment
                session.execute(_NOTE, {"job": str(entry.job), "next_at": next_at, "queued_at": queued_at})
    db.session.remove()
    rung = [entry for entry in due if entry.job not in waiting]
    for entry in rung:
        enqueue(entry.job, timeout_s=entry.timeout_s)
    return rung


def _comes_later(row: Any, moment: datetime) -> bool:
    return row is not None and row.next_at is not None and row.next_at > moment


def _waits(job: Job, row: Any, moment: datetime) -> bool:
    """Noted as waiting, and really in its queue: a Redis that was emptied or away has forgotten what we noted."""
    return row is not None and still_waiting(row.queued_at, row.started_at, moment) and is_queued(job)


def _lead(stop: threading.Event) -> None:
    delayed = delayed_jobs()
    while not stop.is_set():
        try:
            look()
            delayed.enqueue_jobs()
        except redis.RedisError as error:
            log.warning("Redis is away, ticks will follow: %s", error)
        except Exception:
            log.exception("the schedule could not be looked at; trying again")
            stop.wait(2)
        stop.wait(LOOK_SECONDS)


def main(settings: Settings | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    app = start_process("scheduler", settings)
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    beat = Heartbeat(app, "scheduler").start()
    with app.app_context():
        while not stop.is_set():
            _try_to_lead(stop)
    beat.stop()


def _try_to_lead(stop: threading.Event) -> None:
    try:
        with only_once("scheduler") as mine:
            if mine:
                _lead(stop)
    except Exception as error:
        log.warning("the ledger is away: %s", error)
    stop.wait(2)


def state(rows: list[Any], now: datetime) -> bool:
    """Is a scheduler alive: does any entry lie no longer than a minute behind its time."""
    return bool(rows) and all(row.next_at is None or now - row.next_at < timedelta(minutes=1) for row in rows)


if __name__ == "__main__":
    main()
