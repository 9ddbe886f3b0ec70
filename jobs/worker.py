"""A worker of one queue: imports the product first, then listens. ``python -m jobs.worker receive|bulk``.

One queue per worker, or RQ loses its crash safety. ``receive`` runs short jobs in this process
(SimpleWorker); ``bulk`` forks a process for each job, so that an import's memory goes with it.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import Any

import redis
from flask import Flask
from rq import SimpleWorker, Worker
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from app.core.bell import bell
from app.core.config import Settings
from app.core.extensions import db
from app.core.queue import QueueName, redis_queue
from jobs.base import Heartbeat, start_process

log = logging.getLogger("emberpost.worker")


#: Somebody asked this process to end. RQ itself forgets that it was asked when saying goodbye to a lost Redis fails.
STOPPING = threading.Event()


class _Ends(BaseWorker):
    """A worker that ends when it is asked to, whether Redis is there or not; a job that runs is finished first."""

    def request_stop(self, signum: Any, frame: Any) -> None:
        STOPPING.set()
        try:
            super().request_stop(signum, frame)  # type: ignore[no-untyped-call]
        except redis.RedisError:
            self._stop_requested = True  # a job runs, and its note that it is the last cannot be written


class FreshWorker(_Ends, SimpleWorker):
    """Runs each job in this process and gives the database session back after it."""

    def execute_job(self, job, queue):  # type: ignore[no-untyped-def]
        try:
            return super().execute_job(job, queue)
        finally:
            db.session.remove()


class ForkingWorker(_Ends, Worker):
    """Forks per job; the child must not share the parent's database connections."""

    def main_work_horse(self, job, queue):  # type: ignore[no-untyped-def]
        db.engine.dispose(close=False)
        return super().main_work_horse(job, queue)


KINDS: dict[QueueName, type[BaseWorker]] = {QueueName.RECEIVE: FreshWorker, QueueName.BULK: ForkingWorker}


def work(app: Flask, queue: QueueName) -> None:
    """Listen until a signal ends it; survive a Redis that comes and goes."""
    with app.app_context():
        while not STOPPING.is_set():
            try:
                listens_on = redis_queue(queue)
                worker = KINDS[queue](
                    [listens_on], connection=bell().worker_connection(), serializer=JSONSerializer, default_worker_ttl=60
                )
                worker.work(with_scheduler=False, logging_level="WARNING")
                STOPPING.wait(1)  # it returns when asked to end, and when Redis is too slow to answer: then it listens again
            except StopRequested:
                return
            except redis.RedisError as error:
                log.warning("Redis is away, listening again in a second: %s", error)
                _wait_a_second()


def _wait_a_second() -> None:
    try:
        STOPPING.wait(1)
    except StopRequested:  # the handler of the worker that was just lost
        STOPPING.set()


def main(queue: str | None = None, settings: Settings | None = None) -> None:
    """Run the worker of ``queue`` (or of the first argument)."""
    name = QueueName(queue or sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGINT):  # until a worker that reached Redis puts its own in place
        signal.signal(number, lambda *_: STOPPING.set())
    app = start_process(f"work-{name}", settings)
    beat = Heartbeat(app, f"work-{name}").start()
    try:
        work(app, name)
    finally:
        beat.stop()


if __name__ == "__main__":
    main()
