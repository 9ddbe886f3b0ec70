"""The sending process: RQ's SimpleWorker in the main thread, the engine's loop in a thread beside it.

RQ jobs on the queue ``dispatch`` only ring the engine or read its state, so no job time-out can strike a message in the middle.
SIGTERM: RQ ends, the engine claims nothing more, returns its leases and waits for what is past its permit.
``python -m jobs.dispatch``, or ``main()`` in a fork of a parent that has imported everything and holds no connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import redis
from flask import Flask
from rq import SimpleWorker
from rq.serializers import JSONSerializer
from sqlalchemy.exc import SQLAlchemyError

from app.channels.wiring import build_channels
from app.core import failpoints
from app.core.bell import bell
from app.core.config import Settings
from app.core.db import transaction
from app.core.extensions import db
from app.core.queue import QueueName, redis_queue
from app.core.witness import Witness
from app.domain.address import registrable_domain
from app.domain.smtp_replies import decide
from app.domain.smtp_reply import Phase, Reply
from app.services.outbox.plain import plain_connection
from app.services.recovery import continuity
from jobs.base import Heartbeat, start_process, wait_until_fit
from jobs.sending.bells import Listener, Teller
from jobs.sending.engine import Engine
from jobs.sending.ledger import Ledger
from jobs.sending.sent_copies import appender

log = logging.getLogger("emberpost.dispatch")

_engine: Engine | None = None


def ring() -> None:
    """RQ entry point: something may be due. Milliseconds; the engine looks by itself as well."""
    if _engine is not None:
        _engine.ring()


def state() -> dict[str, Any]:
    """RQ entry point: what the engine of this process is doing."""
    return _engine.state() if _engine is not None else {}


LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def production_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class Process:
    """All threads of one sending process, started and stopped in order.

    ``loop``: makes the loop whose clock engine and mail sessions wait on. Tests hand in one they can push forward.
    """

    def __init__(self, settings: Settings, loop: LoopFactory = production_loop) -> None:
        self._make_loop = loop
        self.owner = f"dispatch@{socket.gethostname()}:{os.getpid()}"
        self._settings = settings
        channels = build_channels(settings)
        self._teller = Teller(bell())
        self.ledger = Ledger(settings, self.owner, self._teller.tell)
        self.engine = Engine(settings, self.ledger, channels.email, appender(self.ledger, channels.reader))
        self._listener = Listener(bell(), self.engine.ring)
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)

    def start(self) -> Process:
        self._teller.start()
        self.ledger.start()
        self._thread.start()
        self._listener.start()
        return self

    def _loop(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._make_loop) as runner:
                runner.run(self.engine.run())
        except Exception:
            log.exception("the engine broke off; ending, so that the process is started anew")
            os.kill(os.getpid(), signal.SIGTERM)

    def drain(self) -> None:
        """Return leases, wait for answers, write what is still to be written."""
        self._listener.stop()
        self.engine.begin_to_drain()
        self._thread.join(self._settings.drain_seconds + 10)
        if not self.ledger.stop(patience_s=10):
            log.error("the database was away to the end: some outcomes are unwritten, the sweep will show them")
        self._teller.stop()


class Ringer(SimpleWorker):
    """RQ's part: runs the rings in this process. Signals are ours: they begin the drain once, however often they come."""

    stopping = threading.Event()

    def _install_signal_handlers(self) -> None:
        def end(number: int, frame: FrameType | None) -> None:
            if not self.stopping.is_set():
                self.stopping.set()
                self.handle_warm_shutdown_request_once(number, frame)

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)

    def handle_warm_shutdown_request_once(self, number: int, frame: FrameType | None) -> None:
        try:
            self.request_stop(number, frame)  # type: ignore[no-untyped-call]
        finally:  # it leaves by an exception while the worker waits for a job
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def execute_job(self, job, queue):  # type: ignore[no-untyped-def]
        try:
            return super().execute_job(job, queue)
        finally:
            db.session.remove()


def _listen_until_stopped() -> None:
    """Serve the queue until a signal; a Redis that is away is tried again every second."""
    stopping = Ringer.stopping

    def end(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    while not stopping.is_set():
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        try:
            worker = Ringer(
                [redis_queue(QueueName.DISPATCH)],
                connection=bell().worker_connection(),
                serializer=JSONSerializer,
                default_worker_ttl=60,
            )
            worker.work(with_scheduler=False, logging_level="WARNING")
        except redis.RedisError as error:
            log.warning("Redis is away, looking by the clock: %s", error)
        if not stopping.is_set():
            stopping.wait(1.0)


def _wait_until_fit(app: Flask) -> None:
    """Send nothing on the doctor's red rows; a signal ends the waiting and, with it, the process."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with app.app_context(), contextlib.suppress(SQLAlchemyError), transaction():  # the doctor says what is wrong then
        continuity.establish(plain_connection(), Witness(app.extensions["settings"].data_dir).highest)
    wait_until_fit(app, stopping)
    if stopping.is_set():
        raise SystemExit(0)


def warm() -> None:
    """Read what the first message would otherwise wait for (the list of public suffixes: some 50 ms; the rules of replies). Opens no connection."""
    registrable_domain("example.com")
    decide(Reply(Phase.RCPT, 550, "5.1.1", "No such user"))


def main(settings: Settings | None = None, checked: bool = True) -> None:
    """Send until SIGTERM or SIGINT, then drain. ``checked`` False: tests, whose servers give up safety on purpose."""
    app = start_process("dispatch", settings)
    warm()
    serve(app, checked)


def serve(app: Flask, checked: bool = True) -> None:
    """As ``main``, with an application that exists already: a parent may make it once and fork, for it holds no connection."""
    global _engine
    settings = app.extensions["settings"]
    failpoints.arm(settings.failpoints)
    Ringer.stopping = threading.Event()
    beat = Heartbeat(app, "dispatch").start()
    if checked:
        _wait_until_fit(app)
    # What stays for ever is not looked through again for each thousand of a batch's rows, which are gone by themselves.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    process = Process(settings).start()
    _engine = process.engine
    try:
        with app.app_context():
            _listen_until_stopped()
    finally:
        process.drain()
        beat.stop()


if __name__ == "__main__":
    main()
