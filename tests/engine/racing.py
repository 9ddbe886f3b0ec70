"""Sending engines reduced to what races: claim, permit, dot, answer, on connections of their own, in processes that can be killed.

The dot is a line in an append-only file, written after the permit was heard and never later than 5 s after it, as a session does it.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import psycopg

from app.channels.base import Permit
from app.core.config import libpq_url
from app.core.db import take_role, use_database_role
from app.services.outbox import claiming, outcomes, permitting
from app.services.outbox.claiming import Bytes, Claim
from app.services.outbox.outcomes import Outcome, What
from app.services.outbox.permitting import Asked
from app.services.outbox.switches import DOT_WITHIN_S
from app.services.outbox.threads import Words

#: Children are forked from a server that has imported all this and holds no connection.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.engine.racing"])

LEASE_S = 60
#: Seconds to wait, the rows to ask for together, seconds until the receiver answers.
Batch = tuple[float, list[tuple[int, int]], float]
EVERYWHERE = dict.fromkeys(range(64), claiming.THE_BEGINNING)
_WORDS = Words("Hello", "Hi")


def connect(database_url: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(libpq_url(database_url), autocommit=True)
    take_role(connection)
    return connection


class Dots:
    """The receiver's book: ``<delivery> <epoch> <monotonic>`` per line, one write each, so that a kill never halves one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, asked: Asked, answer: Permit) -> None:
        if time.monotonic() - answer.granted_at <= DOT_WITHIN_S:
            os.write(self._file, b"%d %d %.6f\n" % (asked.delivery_id, asked.epoch, time.monotonic()))


def read_dots(path: Path) -> dict[int, list[float]]:
    """Delivery → when its dots were written."""
    found: dict[int, list[float]] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        number, _, at = line.split()
        found.setdefault(int(number), []).append(float(at))
    return found


def permit_and_dot(connection: psycopg.Connection[Any], dots: Dots, asked: list[Asked], now: datetime, answer_s: float) -> None:
    """One batch as an engine's ledger asks it; what was granted gets its dot, and after ``answer_s`` the receiver's answer."""
    with connection.transaction():
        answers = permitting.permit(connection, asked, now, LEASE_S)
    granted = [one for one, answer in answers.items() if answer.granted]
    for one in granted:
        dots.write(one, answers[one])
    if granted:
        time.sleep(answer_s)
        taken = [Outcome(one.delivery_id, one.epoch, What.ACCEPTED, code=250, text="Ok", words=_WORDS) for one in granted]
        with connection.transaction():
            outcomes.record(connection, taken, now)


# -- races: rows are handed in, leased already ------------------------------------------------------------------------------


def racers(database_url: str, dots_path: Path, threads: int, orders: Pipe) -> None:
    """``threads`` permitters. An order holds for each its batches: (seconds to wait, [(id, epoch), …], seconds until the answer)."""
    use_database_role("emberpost_jobs")
    dots = Dots(dots_path)
    lines = [connect(database_url) for _ in range(threads)]
    begin, end = threading.Barrier(threads + 1), threading.Barrier(threads + 1)
    work: list[list[Batch]] = []
    broken: list[str] = []

    def run(number: int) -> None:
        while True:
            begin.wait()
            try:
                for wait, batch, answer_s in work[number]:
                    time.sleep(wait)
                    permit_and_dot(lines[number], dots, [Asked(*pair) for pair in batch], datetime.now(UTC), answer_s)
            except Exception as error:
                broken.append(repr(error))
            end.wait()

    for number in range(threads):
        threading.Thread(target=run, args=(number,), daemon=True).start()
    while (order := orders.recv()) is not None:
        work[:] = order
        begin.wait()
        end.wait()
        orders.send(list(broken))
        broken.clear()


@contextmanager
def racing(database_url: str, dots_path: Path, threads: int):  # type: ignore[no-untyped-def]
    """``with racing(…) as orders``: a process of permitters at the other end of the pipe."""
    ours, theirs = processes.Pipe()
    child = processes.Process(target=racers, args=(database_url, dots_path, threads, theirs), daemon=True)
    child.start()
    try:
        yield ours
        ours.send(None)
        child.join(10)
    finally:
        child.kill()
        child.join()


# -- caps: engines that claim by themselves ------------------------------------------------------------------------------------


def owner(process: str, number: int) -> str:
    return f"{process}/{number}"


def engines(database_url: str, dots_path: Path, name: str, count: int, minute: Any, until: float) -> None:
    """``count`` engines named ``name/n``; ``minute``: shared number of minutes since noon, the product's time."""
    use_database_role("emberpost_jobs")
    dots = Dots(dots_path)
    threads = [
        threading.Thread(target=_engine, args=(database_url, dots, owner(name, number), minute, until), daemon=True) for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def noon(minute: int) -> datetime:
    return datetime(2026, 11, 24, 12, tzinfo=UTC) + timedelta(minutes=minute, seconds=1)


def _engine(database_url: str, dots: Dots, name: str, minute: Any, until: float) -> None:
    dice = random.Random(f"{name}{time.monotonic()}")
    with connect(database_url) as connection:
        while time.monotonic() < until:
            now = noon(minute.value)
            with connection.transaction():
                rows = claiming.claim(connection, Claim(name, EVERYWHERE, now, dice.randint(2, 12), LEASE_S, dice.randint(1, 6))).rows
            if not rows:
                time.sleep(dice.uniform(0.02, 0.2))
                continue
            bare = [Bytes(row.id, row.epoch, b"Subject: x\r\n\r\nx\r\n", f"<{row.id}@ourhouse.test>") for row in rows if row.mime is None]
            if bare:
                with connection.transaction():
                    claiming.store_bytes(connection, bare, now)
            permit_and_dot(connection, dots, [Asked(row.id, row.epoch) for row in rows], noon(minute.value), dice.uniform(0, 0.05))


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def tally(values: list[float]) -> str:
    """``p50/p99/most`` in milliseconds."""
    return "/".join(f"{1000 * value:.0f}" for value in (percentile(values, 0.5), percentile(values, 0.99), max(values, default=0.0))) + " ms"


__all__ = ["Counter", "Dots", "engines", "noon", "percentile", "permit_and_dot", "processes", "racing", "read_dots", "tally"]
