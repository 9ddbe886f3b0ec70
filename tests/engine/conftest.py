"""The sending engine against real servers: PostgreSQL, Redis, and the rehearsal's mail server that counts what it takes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import inspect, text

from app.core import bell
from app.core.bell import Bell
from app.core.config import libpq_url
from app.core.extensions import db
from app.services import auditing, recounting
from app.services.outbox.plain import plain_connection
from jobs.dispatch import Process
from sandbox.mail.server import MailConfig, RunningMailServer
from tests import factories
from tests.conftest import settings_for
from tests.engine.edges import unwatch, watch
from tests.patience import in_time


@contextmanager
def states_watched(database_url: str) -> Iterator[None]:
    """No statement of the product changes a state except along an edge of the table. (Other tests write states as they need them.)"""
    with psycopg.connect(libpq_url(database_url), autocommit=True) as owner:
        watch(owner)
    yield
    with psycopg.connect(libpq_url(database_url), autocommit=True) as owner:
        unwatch(owner)


@pytest.fixture(autouse=True)
def balanced_ledger(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test of the sending road the ledger's equation holds and the stored evidence proves that nothing left twice."""
    if "app" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("app")
    with states_watched(request.getfixturevalue("database_url")):
        yield
        db.session.rollback()  # a test's own last look would hold the table, and the trigger on it could not be taken off
        if request.node.get_closest_marker("out_of_balance") is None:
            assert_balanced()


@contextmanager
def unwritable(owner: psycopg.Connection[Any], delivery_id: int) -> Iterator[None]:
    """For a while no statement changes this row, as if it had changed under its lock. ``owner``: the tables' owner, in autocommit."""
    owner.execute("CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    owner.execute(f"CREATE TRIGGER stay BEFORE UPDATE ON deliveries FOR EACH ROW WHEN (OLD.id = {int(delivery_id)}) EXECUTE FUNCTION stay()".encode())
    try:
        yield
    finally:
        owner.execute("DROP TRIGGER stay ON deliveries")
        owner.execute("DROP FUNCTION stay()")


def assert_balanced() -> None:
    """The equation and the proof, now. Also for tests that look in between."""
    db.session.rollback()
    found, proof = recounting.balance(), auditing.no_doubles(plain_connection())
    db.session.rollback()
    assert found.faults == {}
    assert {sentence: ids for sentence, ids in proof.found.items() if ids} == {}, proof.counts


@pytest.fixture
def mail() -> Iterator[RunningMailServer]:
    with RunningMailServer(MailConfig(keep_outside=True, report_unknown=False)) as server:
        yield server


@pytest.fixture
def engine(app: Flask, database_url: str, redis_url: str) -> Callable[..., Any]:
    """``with engine(): …`` runs a whole sending process's threads inside the test."""

    @contextmanager
    def running(**changes: Any) -> Iterator[Process]:
        redis = changes.pop("redis_url", redis_url)
        settings = settings_for(database_url, redis, **{"drain_seconds": 2, **changes})
        bell.use_bell(Bell(redis, settings.instance_id))
        process = Process(settings).start()
        try:
            yield process
        finally:
            process.drain()

    return running


class Story:
    """A client with one mailbox at the counting server, and leads with a message due."""

    def __init__(self, mail: RunningMailServer, leads: int = 1, mailboxes: int = 1, **mailbox: Any) -> None:
        self.mail = mail
        self.client = factories.make_client()
        self.mailboxes = [
            factories.make_mailbox(self.client, smtp_port=mail.ports.smtp, imap_port=mail.ports.imap, **mailbox)
            for _ in range(mailboxes)
        ]
        for box in self.mailboxes:
            mail.add_account(box.address, "secret-of-the-mailbox")
        self.campaign = factories.make_campaign(self.client, mailboxes=tuple(self.mailboxes))
        self.leads: list[Any] = []
        self.enrollments: list[Any] = []
        self.deliveries: list[Any] = []
        for number in range(leads):
            self.add(self.mailboxes[number % mailboxes])

    @property
    def mailbox(self) -> Any:
        return self.mailboxes[0]

    def add(self, mailbox: Any = None, lead: dict[str, Any] | None = None, **values: Any) -> Any:
        """One more lead with its first message due."""
        mailbox = mailbox or self.mailbox
        person = factories.make_lead(self.client, **(lead or {}))
        enrollment = factories.make_enrollment(self.campaign, person, mailbox, status="in_flight")
        delivery = factories.make_delivery(enrollment, person, mailbox, first_of_lead=True, **values)
        self.leads.append(person)
        self.enrollments.append(enrollment)
        self.deliveries.append(delivery)
        return delivery


@pytest.fixture
def story(app: Flask, mail: RunningMailServer) -> Callable[..., Story]:
    def make(**values: Any) -> Story:
        return Story(mail, **values)

    return make


def fresh(row: Any) -> Any:
    """The row as it is now."""
    db.session.rollback()
    return db.session.get(type(row), inspect(row).identity[0], populate_existing=True)


def statuses() -> dict[str, int]:
    db.session.rollback()
    found = db.session.execute(text("SELECT status, count(*) FROM deliveries GROUP BY status")).all()
    return dict(found)  # type: ignore[arg-type]


def stopped(pid: int) -> bool:
    """Whether a process has been frozen (SIGSTOP)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    return False


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until something holds; its value. Fails with the last value."""
    end = time.monotonic() + seconds
    value = condition()
    while not value and time.monotonic() < end:
        time.sleep(0.02)
        value = condition()
    in_time(bool(value), f"not within {seconds} s: {value!r}; deliveries: {statuses()}")
    return value
