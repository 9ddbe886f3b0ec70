"""What the fault tests share: engines whose loop clock can be pushed, mailboxes at servers of their own, and how a run is judged."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import text

from app.core import bell
from app.core.bell import Bell
from app.core.config import Settings
from app.core.db import transaction
from app.core.extensions import db
from app.models import Delivery, DeliveryAttempt, Enrollment, Mailbox, UsageCounter
from app.services.outbox import sweeping, uncertain
from app.services.outbox.plain import plain_connection
from jobs.dispatch import Process, production_loop
from tests import factories
from tests.channels.peers import WarpLoop
from tests.engine.conftest import fresh
from tests.engine.workers import ROOT, Database
from tests.patience import in_time


class Pushed:
    """Makes the engine's loop, and pushes its clock from the test's thread."""

    def __init__(self) -> None:
        self.loop: WarpLoop | None = None

    def __call__(self) -> WarpLoop:
        self.loop = WarpLoop()
        return self.loop

    def now(self) -> float:
        assert self.loop is not None
        return self.loop.time()

    def advance(self, seconds: float) -> None:
        """Let the engine believe that so many seconds went by; returns when it has woken up to it."""
        loop = self.loop
        assert loop is not None
        done = threading.Event()

        def push() -> None:
            loop.advance(seconds)
            loop.call_later(0, done.set)

        loop.call_soon_threadsafe(push)
        assert done.wait(10), "the engine's loop hangs"


@contextmanager
def sending(settings: Settings, loop: Callable[[], Any] = production_loop) -> Iterator[Process]:
    """A whole sending process's threads inside the test."""
    bell.use_bell(Bell(settings.redis_url, settings.instance_id))
    process = Process(settings, loop).start()
    try:
        yield process
    finally:
        process.drain()


@contextmanager
def product_process(settings: Settings, log: Path, *module: str) -> Iterator[subprocess.Popen[bytes]]:
    """One line of the Procfile, as production starts it: ``python -m …`` with the settings in its environment."""
    environment = {item.metadata["env"]: str(getattr(settings, item.name)) for item in fields(settings)}
    environment["EMBERPOST_BEHIND_HTTPS"] = ""
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", *module], env={**os.environ, **environment}, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@dataclass
class Cell:
    """One mailbox with one message due, at a server of its own."""

    name: str
    mailbox: Any
    enrollment: Any
    delivery: Any

    def row(self) -> Delivery:
        found: Delivery = fresh(self.delivery)
        return found

    def walk(self) -> Enrollment:
        found: Enrollment = fresh(self.enrollment)
        return found

    def sender(self) -> Mailbox:
        found: Mailbox = fresh(self.mailbox)
        return found

    def tries(self) -> list[DeliveryAttempt]:
        db.session.rollback()
        rows = db.session.query(DeliveryAttempt).filter_by(delivery_id=self.delivery.id).order_by(DeliveryAttempt.epoch)
        return list(rows)

    def used(self) -> int:
        """What the mailbox's day counts."""
        db.session.rollback()
        row = db.session.query(UsageCounter).filter_by(scope_kind="sender", action="day", scope_id=str(self.mailbox.id)).first()
        return row.used if row else 0


def make_cells(ports: dict[str, int], large: frozenset[str] = frozenset(), **mailbox: Any) -> dict[str, Cell]:
    """A cell for each (name, port); ``large`` ones carry six megabytes, more than the buffers between two sockets hold."""
    client = factories.make_client()
    boxes = {name: factories.make_mailbox(client, smtp_port=port, **mailbox) for name, port in ports.items()}
    campaign = factories.make_campaign(client, mailboxes=tuple(boxes.values()))
    cells = {}
    for name, box in boxes.items():
        person = factories.make_lead(client)
        walk = factories.make_enrollment(campaign, person, box, status="in_flight")
        frozen = large_mail(box.address, person.email) if name in large else {}
        cells[name] = Cell(name, box, walk, factories.make_delivery(walk, person, box, first_of_lead=True, **frozen))
    return cells


def large_mail(sender: str, to: str) -> dict[str, Any]:
    message_id = f"<large-{to}>"
    head = f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: Large\r\nMessage-ID: {message_id}\r\n\r\n"
    return {"mime": head.encode() + (b"x" * 70 + b"\r\n") * 84_000, "message_id": message_id, "rendered_at": factories.MONDAY_TEN}


def end_rests(everybody: bool = False) -> None:
    """What time does to a sender that rests and to a row on its ladder; ``everybody``: also a person, to who is paused."""
    db.session.rollback()
    db.session.execute(text("UPDATE senders SET backoff_until = NULL"))
    db.session.execute(text("UPDATE deliveries SET due_at = now() WHERE status = 'queued' AND due_at > now()"))
    if everybody:
        db.session.execute(text("UPDATE senders SET status = 'active', status_reason = '' WHERE status IN ('paused', 'auth_failed')"))
    db.session.commit()


def prolong_rests() -> None:
    """A machine so slow that a rest of 15 s ends while a test still looks must not change what it sees."""
    db.session.rollback()
    db.session.execute(text("UPDATE senders SET backoff_until = now() + interval '1 h' WHERE backoff_until < now() + interval '1 min'"))
    db.session.commit()


def sweep_once() -> None:
    with transaction():
        sweeping.return_dead_leases(plain_connection())
        sweeping.show_lost_permits(plain_connection())


class Keeper:
    """The product's sweep, more often, and what people and clocks do meanwhile: rests end, ladders are climbed.

    Speaks to PostgreSQL directly; one that is away is tried again.
    """

    def __init__(self, settings: Settings, every_s: float = 0.3, ends_rests: bool = True) -> None:
        self._settings = settings
        self._every_s = every_s
        self._ends_rests = ends_rests
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(15)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            with contextlib.suppress(psycopg.OperationalError, psycopg.InterfaceError):
                database = Database(self._settings)
                with contextlib.closing(database):
                    while not self._stop.wait(self._every_s):
                        self._once(database)

    def _once(self, database: Database) -> None:
        with database.connection.transaction():
            sweeping.return_dead_leases(database.connection)
        with database.connection.transaction():
            sweeping.show_lost_permits(database.connection)
        if self._ends_rests:
            database.run(
                "UPDATE senders SET status = 'active', uncertain_streak = 0, backoff_until = NULL"
                " WHERE status = 'paused' OR backoff_until > now()"
            )
            database.run("UPDATE deliveries SET due_at = now() WHERE status = 'queued' AND due_at > now()")


#: Later than five seconds after its permit no dot is written: what the receiver has not got by then it will never get.
UNSURE = "SELECT id, message_id FROM deliveries WHERE status = 'uncertain' AND permitted_at < clock_timestamp() - interval '6 s'"


def settle(database: Database, counts: Callable[[], dict[str, int]], seconds: float = 60.0, meanwhile: Callable[[], None] = lambda: None) -> float:
    """Wait until every row is sent, resolving uncertain ones by what the receiver really has; how long it took.

    Stands for proof of absence: their engine is dead, or has given up its socket.
    """
    began = time.monotonic()
    left: dict[str, int] = {}
    while time.monotonic() - began < seconds:
        left = dict(database.all("SELECT status, count(*) FROM deliveries GROUP BY status"))
        if set(left) == {"sent"}:
            return time.monotonic() - began
        meanwhile()
        known = counts()
        for number, message_id in database.all(UNSURE):
            with transaction():
                if known.get(message_id):
                    uncertain.arrived(number, "receiver")
                else:
                    uncertain.absent(plain_connection(), number, "receiver")
        time.sleep(0.2)
    ended = database.all("SELECT DISTINCT reason, phase, reply_code, reply_text FROM deliveries WHERE status NOT IN ('sent', 'queued', 'leased', 'committing')")
    raise AssertionError(f"stuck after {seconds} s: {left}; ended: {ended}")


def judge(database: Database, counts: dict[str, int]) -> None:
    """0 doubles, 0 lost, 0 sent without acceptance, books right: once everything is settled."""
    rows = dict(database.all("SELECT message_id, status FROM deliveries"))
    assert [key for key, count in counts.items() if count > 1] == [], "accepted twice"
    assert {key for key, status in rows.items() if status != "sent"} == set(), "lost: not sent in the end"
    assert set(counts) == set(rows), "sent without acceptance, or accepted and recorded as unsent"
    assert sweeping.ledger_faults(database.connection) == {}
    used = database.one("SELECT coalesce(sum(used), 0) FROM usage_counters WHERE scope_kind = 'sender' AND action = 'day'")
    assert used == len(rows), "the counters do not say what was sent"


def all_fresh(cells: dict[str, Cell], condition: Callable[[Cell], Any], seconds: float = 20.0) -> None:
    """Wait until something holds for every cell; names those for which it does not."""
    deadline = time.monotonic() + seconds
    while wrong := [name for name, cell in cells.items() if not condition(cell)]:
        in_time(time.monotonic() < deadline, f"not within {seconds} s: {wrong}")
        time.sleep(0.05)

