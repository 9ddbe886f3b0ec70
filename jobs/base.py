"""What every background process shares: its application, its role, its heartbeat, and the lock around a tick."""

from __future__ import annotations

import functools
import logging
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask
from sqlalchemy import text

from app import create_app
from app.core.config import Settings, load_settings
from app.core.db import JOBS_ROLE, committed_alone, transaction, use_database_role
from app.core.extensions import db
from app.core.log import set_up_logging
from app.core.queue import Job
from app.services import doctor

log = logging.getLogger("emberpost.jobs")
BEAT_SECONDS = 5.0


def start_process(kind: str, settings: Settings | None = None) -> Flask:
    """Become a background process: JSON logs, the jobs role, the application. Opens no connection yet."""
    set_up_logging(kind)
    use_database_role(JOBS_ROLE)
    return create_app(settings or load_settings())


FIT_LOOK_SECONDS = 2.0


def wait_until_fit(app: Flask, stopping: threading.Event) -> None:
    """Keep a sender from starting while the doctor has red rows; says each of them, with its fix, whenever they change.

    Waiting instead of ending: a scheduler that starts a second later, or a setting that is corrected, is enough.
    """
    said: list[str] = []
    with app.app_context():
        while not stopping.is_set():
            found = doctor.reds(app.extensions["settings"])
            db.session.remove()
            if not found:
                return
            if (words := [f"{one.name}: {one.found} {one.fix}" for one in found]) != said:
                said = words
                log.error("nothing is sent until this is mended: %s", " | ".join(words))
            stopping.wait(FIT_LOOK_SECONDS)


_BEAT = (
    "INSERT INTO process_beats (name, kind, facts) VALUES (%(name)s, %(kind)s, '{}')"
    " ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp() RETURNING name"
)


class Heartbeat:
    """Says every few seconds that this process lives; forgets itself at the end. A ledger that is away is only late news."""

    def __init__(self, app: Flask, kind: str) -> None:
        self._app = app
        self._kind = kind
        self._name = f"{kind}@{socket.gethostname()}:{os.getpid()}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> Heartbeat:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        with self._app.app_context():
            while not self._stop.is_set():
                self._say(_BEAT, {"name": self._name, "kind": self._kind})
                self._stop.wait(BEAT_SECONDS)
            self._say("DELETE FROM process_beats WHERE name = %(name)s RETURNING name", {"name": self._name})

    def _say(self, statement: str, values: dict[str, str]) -> None:
        try:
            committed_alone(statement, values)
        except Exception as error:  # whatever it is, the next beat tries again
            log.warning("no heartbeat: %s", error)


def lock_number(name: str) -> int:
    """A stable advisory-lock key for a name."""
    return 0x0E3B_0000_0000 + zlib.crc32(name.encode())


@contextmanager
def only_once(name: str) -> Iterator[bool]:
    """Hold the advisory lock ``name`` on a connection of its own; yields False when another process holds it."""
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        key = {"key": lock_number(name)}
        got = bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar())
        try:
            yield got
        finally:
            if got:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)


_STARTED = text(
    "INSERT INTO scheduled_runs (job, started_at) VALUES (:job, clock_timestamp())"
    " ON CONFLICT (job) DO UPDATE SET started_at = clock_timestamp(), error = ''"
)
_FINISHED = text("UPDATE scheduled_runs SET finished_at = clock_timestamp(), duration_ms = :ms, error = :error WHERE job = :job")


def tick(job: Job) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Make a function the entry point of a scheduled job: never twice at once, its run recorded, its session cleaned up.

    The function opens its own transactions and must be idempotent: a tick may be missed, late, or repeated.
    """

    def decorate(function: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(function)
        def run() -> Any:
            with only_once(str(job)) as mine:
                return _recorded(job, function) if mine else None

        return run

    return decorate


def _recorded(job: Job, function: Callable[[], Any]) -> Any:
    began = time.monotonic()
    error = ""
    try:
        with transaction() as session:
            session.execute(_STARTED, {"job": str(job)})
        return function()
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"[:500]
        raise
    finally:
        with transaction() as session:
            session.execute(_FINISHED, {"job": str(job), "ms": round((time.monotonic() - began) * 1000), "error": error})
        db.session.remove()
