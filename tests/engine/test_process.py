"""The sending process as a whole: it ends gently, survives its servers' absence, and shares its work."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import text

from app.core.config import libpq_url
from app.core.extensions import db
from app.models import Shard
from jobs import upkeep
from jobs.dispatch import Process
from jobs.sending.ledger import Claimed, Haul
from sandbox.mail.faults import Phase, Rates, ScriptedReply
from tests import factories
from tests.conftest import settings_for
from tests.engine import workers
from tests.engine.conftest import fresh, statuses, stopped, until
from tests.engine.workers import Database

pytestmark = pytest.mark.slow  # the file takes long together


def test_a_bell_wakes_the_engine_at_once_and_without_redis_the_clock_does(story, engine, mail):
    tale = story()
    with engine(redis_url="redis://127.0.0.1:1/0"):
        until(lambda: statuses().get("sent") == 1)
        tale.add()
        until(lambda: statuses().get("sent") == 2, 4)
    assert len(mail.accepted()) == 2


def test_sigterm_returns_the_leases_and_waits_for_what_is_on_the_wire(story, app, mail, database_url, redis_url, tmp_path):
    """One answer to a dot is late; the rows behind it have not been begun and go back to the queue."""
    tale = story(leads=8)
    mail.script(ScriptedReply(Phase.DOT, "250 2.0.0 late but fine", times=1, taken=True, delay_s=1.5))
    with workers.zygote(tmp_path / "log") as parent:
        pid = parent.start(settings_for(database_url, redis_url, drain_seconds=10))
        until(lambda: statuses().get("committing") == 1, 30)
        assert statuses().get("leased") == 7
        parent.kill(pid, signal.SIGTERM)
        parent.kill(pid, signal.SIGTERM)
        assert parent.wait(pid, 20) == 0, (tmp_path / "log").read_text()[-3000:]
    assert statuses() == {"sent": 1, "queued": 7}
    assert len(mail.accepted()) == 1
    database = Database(app.extensions["settings"])
    assert database.one("SELECT count(*) FROM shards WHERE owner IS NOT NULL") == 0
    assert database.one("SELECT count(*) FROM process_beats WHERE kind = 'dispatch'") == 0
    database.close()
    assert fresh(tale.deliveries[0]).status == "sent"


def test_without_the_database_nothing_leaves_and_outcomes_are_kept_until_it_is_back(story, engine, mail, database_url):
    """The answer to the dot comes while PostgreSQL refuses us; it is written when it is back."""
    story(leads=1)
    mail.script(ScriptedReply(Phase.DOT, "250 2.0.0 Ok", times=1, taken=True, delay_s=1.0))
    name = database_url.rsplit("/", 1)[1]
    with psycopg.connect(libpq_url(database_url.rsplit("/", 1)[0] + "/postgres"), autocommit=True) as admin, engine():
        until(lambda: statuses().get("committing") == 1)
        db.session.remove()
        db.engine.dispose()
        admin.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        time.sleep(2.0)
        assert len(mail.accepted()) == 1
        admin.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
        until(lambda: statuses().get("sent") == 1)
    assert len(mail.accepted()) == 1


def test_a_claim_passes_over_what_is_held_and_finds_it_again_once_freed(story, engine, mail):
    tale = story(leads=40)
    tale.campaign.status = "paused"
    other = factories.make_campaign(tale.client, mailboxes=(tale.mailbox,))
    person = factories.make_lead(tale.client)
    walk = factories.make_enrollment(other, person, tale.mailbox, status="in_flight")
    db.session.commit()
    behind = factories.make_delivery(walk, person, tale.mailbox, due_at=datetime.now(UTC) - timedelta(seconds=1))
    with engine():
        until(lambda: fresh(behind).status == "sent", 15)
        assert statuses() == {"sent": 1, "queued": 40}
        fresh(tale.campaign).status = "running"
        db.session.commit()
        until(lambda: statuses() == {"sent": 41}, 30)


def test_two_engines_share_the_senders_and_one_that_dies_is_replaced(app, story, mail, database_url, redis_url, tmp_path):
    story(leads=60, mailboxes=12)
    mail.rates(Rates(delay=0.2, delay_s=0.05, seed=1))
    with workers.zygote(tmp_path / "log") as parent:
        first = parent.start(settings_for(database_url, redis_url, lease_seconds=2))
        second = parent.start(settings_for(database_url, redis_url, lease_seconds=2))
        until(lambda: statuses().get("sent") == 60, 40)

        def shared() -> bool:
            db.session.rollback()
            owners = [row.owner for row in db.session.query(Shard).filter(Shard.owner.is_not(None))]
            return len(set(owners)) == 2 and len(owners) == 64

        until(shared, 30)
        parent.kill(first)

        def taken_over() -> bool:
            db.session.rollback()
            return db.session.query(Shard).filter_by(owner=workers.owner_of(second)).count() == 64

        until(taken_over, 40)
        parent.kill(second, signal.SIGTERM)
        parent.wait(second, 20)
    counted = mail.counts_by_message_id()
    assert len(counted) == 60 and set(counted.values()) == {1}


@pytest.mark.serial
def test_a_frozen_process_that_wakes_after_its_lease_sends_nothing(story, app, mail, database_url, redis_url, tmp_path):
    """Stopped directly before its permit commits, woken when the row has long been given to somebody else."""
    story(leads=1)
    settings = settings_for(database_url, redis_url, mode="rehearsal", lease_seconds=1)
    database = Database(app.extensions["settings"])
    with workers.zygote(tmp_path / "log") as parent:
        from app.services.outbox import sweeping

        frozen = parent.start(settings_for(database_url, redis_url, mode="rehearsal", lease_seconds=1, failpoints="body_written=stop"))
        until(lambda: stopped(frozen), 30)

        def given_back() -> bool:
            with database.connection.transaction():
                return sweeping.return_dead_leases(database.connection) == 1

        until(given_back, 10)
        database.bury(frozen)
        awake = parent.start(settings)
        until(lambda: statuses().get("sent") == 1, 30)
        os.kill(frozen, signal.SIGCONT)
        time.sleep(1.5)
        for pid in (frozen, awake):
            parent.kill(pid, signal.SIGTERM)
            parent.wait(pid, 20)
    database.close()
    assert list(mail.counts_by_message_id().values()) == [1]
    assert statuses() == {"sent": 1}


def test_the_engine_never_crashes_on_a_row_it_cannot_handle(story, engine, mail):
    """A step whose text no longer parses and an address no server takes wait for a person; the others leave."""
    tale = story(leads=3)
    db.session.execute(text("UPDATE deliveries SET to_address = 'not an address' WHERE id = :id"), {"id": tale.deliveries[0].id})
    db.session.commit()
    with engine() as process:
        until(lambda: statuses() == {"sent": 2, "queued": 1})
        assert process.engine.state()["held"] == 0
    assert fresh(tale.enrollments[0]).reason == "needs_attention_address"
    assert threading.active_count() < 50


def test_what_gets_no_answer_before_a_stopping_sender_must_go_is_uncertain_and_a_second_signal_changes_nothing(
    story, app, mail, database_url, redis_url, tmp_path
):
    """The answer to the dot comes later than the sender may wait: the row behind it is returned, this one nobody can know."""
    story(leads=2)
    mail.script(ScriptedReply(Phase.DOT, "250 2.0.0 far too late", times=1, taken=True, delay_s=30))
    with workers.zygote(tmp_path / "log") as parent:
        pid = parent.start(settings_for(database_url, redis_url, mode="rehearsal", drain_seconds=2, lease_seconds=1))
        until(lambda: statuses() == {"committing": 1, "leased": 1}, 30)
        for _ in range(3):
            parent.kill(pid, signal.SIGTERM)
            time.sleep(0.2)
        assert parent.wait(pid, 20) == 0, (tmp_path / "log").read_text()[-3000:]
    assert statuses() == {"committing": 1, "queued": 1}
    database = Database(app.extensions["settings"])
    assert database.one("SELECT count(*) FROM shards WHERE owner IS NOT NULL") == 0
    database.close()
    until(lambda: upkeep.sweep_deliveries()["uncertain"] == 1, 10)
    assert statuses() == {"uncertain": 1, "queued": 1}
    assert len(mail.accepted()) == 1


def test_a_drain_whose_last_visit_ends_while_leases_are_given_back_ends_too(app, database_url, redis_url):
    """asyncio.wait() refuses an empty set: the engine broke off, and with it the process, one time in a thousand stops."""
    engine = Process(settings_for(database_url, redis_url)).engine

    async def drained() -> None:
        visit = asyncio.create_task(asyncio.sleep(0))
        engine._visits.add(visit)
        visit.add_done_callback(engine._visits.discard)

        async def given_back(_statement: object) -> None:
            await visit
            await asyncio.sleep(0)

        engine.ledger.call = given_back
        await engine._drain()
        assert not engine._visits

    asyncio.run(drained())


def test_a_sender_that_becomes_free_while_a_claim_is_under_way_is_not_passed_over_by_what_the_claim_saw(app, database_url, redis_url, monkeypatch):
    """Its rows lay idle until the next look from the very beginning: up to five seconds, at the end of every queue."""
    engine = Process(settings_for(database_url, redis_url)).engine
    place = (datetime.now(UTC), 7)

    class Over:
        def __init__(self, *_: object) -> None:
            pass

        async def run(self) -> None:
            return None

    async def claim(*_: object) -> Haul:
        await engine._visit([Claimed(SimpleNamespace(id=1, epoch=1, sender_id=64 + 5, min_gap_s=0), None)])
        await engine._visit([Claimed(SimpleNamespace(id=2, epoch=1, sender_id=64 + 6, min_gap_s=60), None)])
        return Haul([], {5: place, 6: place})

    monkeypatch.setattr("jobs.sending.engine.Visit", Over)
    engine.ledger.claim, engine._shards, engine._full_look_at = claim, (5, 6), float("inf")
    assert asyncio.run(engine._look()) is True
    assert engine._further == {6: place}
