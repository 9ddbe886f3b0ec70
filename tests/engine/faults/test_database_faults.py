"""PostgreSQL is stopped as by a power cut and started again, and every statement of the sending road loses its connection.

What was committed is there afterwards, what was not never happened; the engine believes neither without having heard it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from flask import Flask

from app import create_app
from app.core.config import libpq_url
from app.core.db import JOBS_ROLE, use_database_role
from app.core.extensions import db
from jobs.sending import shards
from launch.servers import Postgres
from sandbox.mail.sink import SinkRates, counts_by_message_id
from tests import factories
from tests.conftest import ROOT, settings_for
from tests.engine import workers
from tests.engine.faults.cutting import MODES, CuttingProxy, Plan
from tests.engine.faults.harness import Keeper, judge, sending, settle
from tests.engine.workers import Database
from tests.patience import in_time

STOPS = int(os.environ.get("EMBERPOST_DATABASE_STOPS", "3"))
CUTS = int(os.environ.get("EMBERPOST_STATEMENT_CUTS", "1"))
RATES = SinkRates(drop_before=0.03, drop_after=0.03, defer=0.04, delay=0.1, delay_s=0.1, seed=5)
MAILBOXES = 24
STUCK_S = 60.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Postgres]:
    """A PostgreSQL of this test's own, with everything that makes commits durable."""
    server = Postgres(tmp_path / "own", sync=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_app(cluster: Postgres, redis_url: str) -> Iterator[Flask]:
    from flask_migrate import upgrade

    flask_app = create_app(settings_for(cluster.url, redis_url))
    use_database_role(JOBS_ROLE)
    with flask_app.app_context():
        upgrade(directory=str(ROOT / "migrations"))
        db.engine.dispose()
        yield flask_app
        db.session.remove()
        db.engine.dispose()


def stop_at_once(server: Postgres) -> None:
    """``pg_ctl stop -m immediate``: no shutdown checkpoint, recovery at the next start."""
    assert server.process is not None
    server.process.send_signal(signal.SIGQUIT)
    server.process.wait(30)


def ready(settings) -> Database:
    """A connection as soon as there is a server again."""
    end = time.monotonic() + 30
    while True:
        try:
            return Database(settings)
        except psycopg.OperationalError:
            in_time(time.monotonic() < end, "no server again within 30 s")
            time.sleep(0.05)


@pytest.mark.serial
@pytest.mark.slow
def test_postgresql_stopped_at_once_and_restarted_doubles_nothing_loses_nothing_and_leaves_nothing_stuck(own_app, cluster, redis_url, tmp_path):
    dice, counted = random.Random(51), tmp_path / "accepted"
    settings = settings_for(cluster.url, redis_url, lease_seconds=5, drain_seconds=5)
    with ExitStack() as stack:
        port = stack.enter_context(workers.sink(counted, RATES))
        client = factories.make_client()
        boxes = [factories.make_mailbox(client, smtp_port=port, daily_cap=1_000_000) for _ in range(MAILBOXES)]
        campaign = factories.make_campaign(client, mailboxes=tuple(boxes), steps=1)
        step, numbers = factories.first_step(campaign).id, [box.id for box in boxes]
        campaign = type("Named", (), {"id": campaign.id, "client_id": client.id})
        db.session.remove()
        parent = stack.enter_context(workers.zygote(tmp_path / "log"))
        stack.enter_context(Keeper(settings))
        engines = [parent.start(settings) for _ in range(2)]
        restarts = 0
        for number in range(STOPS):
            with contextlib.closing(ready(settings)) as database:
                workers.enrol_many(database, campaign, step, numbers, f"s{number}", 200)
            time.sleep(dice.uniform(0.3, 1.5))
            stop_at_once(cluster)
            time.sleep(dice.choice((0.0, 0.0, 1.0)))
            cluster.start()
            for index, pid in enumerate(engines):
                if pid in parent.ended:  # what a supervisor does
                    engines[index], restarts = parent.start(settings), restarts + 1
        with contextlib.closing(ready(settings)) as database:
            took = settle(database, lambda: counts_by_message_id(counted), STUCK_S)
            for pid in engines:
                parent.kill(pid, signal.SIGTERM)
            assert [parent.wait(pid, 20) for pid in engines] == [0, 0], (tmp_path / "log").read_text()[-2000:]
            judge(database, counts_by_message_id(counted))
            total = database.one("SELECT count(*) FROM deliveries")
        print(f"\n{STOPS} immediate stops, {total} messages, {restarts} processes restarted, calm after {took:.1f} s")


@pytest.mark.serial
@pytest.mark.slow
def test_a_connection_cut_at_any_statement_of_the_road_doubles_nothing_and_loses_nothing(app, database_url, redis_url, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "RENEW_SECONDS", 0.2)  # else its statements come by every five seconds only
    counted, plan = tmp_path / "accepted", Plan(passes=CUTS)
    settings = settings_for(database_url, redis_url, lease_seconds=2, drain_seconds=3, dispatch_batch=40)
    server_port = int(database_url.rsplit(":", 1)[1].split("/")[0])
    with ExitStack() as stack:
        port = stack.enter_context(workers.sink(counted, RATES))
        client = factories.make_client()
        boxes = [factories.make_mailbox(client, smtp_port=port, daily_cap=1_000_000) for _ in range(MAILBOXES)]
        campaign = factories.make_campaign(client, mailboxes=tuple(boxes), steps=1)
        step, numbers = factories.first_step(campaign).id, [box.id for box in boxes]
        database = stack.enter_context(contextlib.closing(Database(settings)))
        stack.enter_context(Keeper(settings))
        proxy = stack.enter_context(CuttingProxy(server_port, libpq_url(database_url), plan))
        through = database_url.replace(f":{server_port}/", f":{proxy.port}/")
        with sending(settings_for(through, redis_url, lease_seconds=2, drain_seconds=3, dispatch_batch=40)) as process:
            enough = keep_cutting(database, plan, process.engine.ring, lambda tag: workers.enrol_many(database, campaign, step, numbers, tag, 120))
            took = settle(database, lambda: counts_by_message_id(counted), STUCK_S)
        judge(database, counts_by_message_id(counted))
        by_mode = {mode: sum(count for (_, how), count in plan.cuts.items() if how == mode) for mode in MODES}
        print(f"\n{len(plan.seen)} statements, cuts {by_mode}, {sum(counts_by_message_id(counted).values())} messages, calm after {took:.1f} s")
        assert enough, plan.uncut()
        # four of them ride: of claim, bytes, permit and the outcome of what was accepted; which ones come by often enough is the run's
        assert by_mode["uncommitted"] >= 2, plan.cuts


def keep_cutting(database: Database, plan: Plan, ring, enrol) -> bool:
    """Messages flow until every statement that is seen has been cut in every mode. Whether it came to that."""
    sent = "SELECT count(*) FROM deliveries WHERE status = 'sent'"
    began = calm_since = time.monotonic()
    before = 0
    while time.monotonic() - began < 240 * max(1, CUTS):
        if database.one("SELECT count(*) FROM deliveries WHERE status = 'queued'") < 60:
            enrol(f"c{time.monotonic_ns()}")
        if not plan.on and database.one(sent) > 20:
            plan.on, calm_since, before = True, time.monotonic(), database.one(sent)
        if plan.uncut() or database.one(sent) < before + 100:
            calm_since = time.monotonic()
        elif time.monotonic() - calm_since > 1:
            break
        ring()  # a claim that failed is otherwise tried again after a second
        time.sleep(0.03)
    plan.on = False
    print(f"cutting took {time.monotonic() - began:.1f} s")
    return not plan.uncut()
