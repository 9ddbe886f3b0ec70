"""What was kept is worked on: poison is put aside and the rest goes on, a broken source waits, a crash loses and doubles nothing."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core import db as core_db
from app.core.db import transaction
from app.core.extensions import db
from app.services import retention, webhooks
from app.services.receiving import breaker, events
from app.services.receiving.effects import TooEarly
from jobs import receive
from tests import factories as make
from tests.ingest.callers import Caller, mail_event, make_caller

EVENTS = int(os.environ.get("EMBERPOST_EVENTS", "300"))
KILLS = int(os.environ.get("EMBERPOST_INGEST_KILLS", "12"))


@pytest.fixture
def caller(app: Flask) -> Caller:
    return make_caller(app)


def put(caller: Caller, count: int, kind: str = "test", first: int = 0) -> None:
    """``count`` events straight into the ledger, numbered."""
    db.session.execute(
        text(
            "INSERT INTO inbound_events (source, account, dedupe_key, body) SELECT 'webhook', :account, 'id:' || n,"
            " convert_to('{\"type\": \"' || cast(:kind AS text) || '\", \"n\": ' || n || '}', 'UTF8')"
            " FROM generate_series(cast(:first AS int), cast(:last AS int)) n"
        ),
        {"account": str(caller.id), "kind": kind, "first": first, "last": first + count - 1},
    )
    db.session.commit()


def counts() -> dict[str, int]:
    db.session.rollback()
    return {row.status: row.n for row in db.session.execute(text("SELECT status, count(*) AS n FROM inbound_events GROUP BY 1"))}


def again() -> None:
    """The back-off is over."""
    db.session.execute(text("UPDATE inbound_events SET next_try_at = NULL"))
    db.session.execute(text("UPDATE webhook_sources SET held_until = clock_timestamp() WHERE held_until IS NOT NULL"))
    db.session.commit()


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a processor of the test's own in; returns the numbers it worked on."""

    def use(action: Any) -> list[int]:
        done: list[int] = []

        def work(payload: Any, patient: bool) -> str:
            why_not = action(payload["n"]) or ""
            core_db.on_commit(lambda: done.append(payload["n"]))
            return why_not

        monkeypatch.setitem(events.PROCESSORS, "test", work)
        return done

    return use


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_one_poison_among_many_is_put_aside_and_after_a_repair_it_is_worked_on(caller: Caller, processor: Any) -> None:
    poison = EVENTS // 3

    def fails(number: int) -> None:
        if number == poison:
            raise ValueError("no sense in this one")

    done = processor(fails)
    put(caller, EVENTS)
    for round_number in range(events.MAX_ATTEMPTS):
        assert counts().get("new", 0) == (EVENTS if round_number == 0 else 1)
        receive.work_through(900)
        again()
    assert counts() == {"done": EVENTS - 1, "quarantined": 1} and sorted(done) == [n for n in range(EVENTS) if n != poison]
    row = db.session.execute(text("SELECT error, attempts, code_version, dedupe_key FROM inbound_events WHERE status = 'quarantined'")).one()
    assert "no sense in this one" in row.error and "Traceback" in row.error and row.attempts == 5 and len(row.code_version) == 12
    assert row.dedupe_key == f"id:{poison}"
    repaired = processor(lambda number: None)
    assert receive.replay() == 1
    receive.work_through(900)
    assert counts() == {"done": EVENTS} and repaired == [poison]


def test_what_can_never_be_read_is_put_aside_at_once_and_kinds_nobody_knows_are_kept_in_sight(caller: Caller) -> None:
    never = [b"no json", b"\xff\xfe\x00", b"", b"[" * 20_000, b'{"type": "emberpost.mail-event"}']
    bodies = [*never, b'{"type": "moon.rise"}', b"[1]", b'"\\ud800"', b'{"a": NaN}']
    for number, body in enumerate(bodies):
        assert caller.call(body, f"evt-{number}").status_code == 200
    receive.sweep()
    rows = db.session.execute(text("SELECT status, kind, error, attempts FROM inbound_events ORDER BY id")).all()
    assert [row.status for row in rows] == ["quarantined"] * 5 + ["ignored"] * 3 + ["quarantined"]
    assert rows[5].kind == "moon.rise" and "moon.rise" in rows[5].error and all(row.attempts == 1 for row in rows)


def test_the_back_off_doubles_with_jitter(caller: Caller, processor: Any) -> None:
    processor(lambda number: 1 / 0)
    put(caller, 4)  # too few for the breaker
    wait = text("SELECT extract(epoch FROM next_try_at - clock_timestamp())::float FROM inbound_events ORDER BY id")
    for attempt in range(4):
        receive.sweep()
        waits = list(db.session.scalars(wait))
        assert all(0.7 * 5 * 2**attempt - 3 < one < 1.3 * 5 * 2**attempt for one in waits) and len(set(waits)) == 4
        again()


def test_a_source_whose_events_fail_waits_without_using_up_attempts_and_comes_back_by_itself(caller: Caller, processor: Any, app: Flask) -> None:
    broken = [True]

    def action(number: int) -> None:
        if broken[0] and number < 1_000:
            raise ValueError("the other side changed something")

    processor(action)
    other = make_caller(app, name="Healthy")
    put(caller, 150)
    put(other, 60, first=1_000)
    receive.sweep()
    held = db.session.execute(text("SELECT id, held_until > clock_timestamp() + interval '50 s' AS held, hold_s FROM webhook_sources ORDER BY id")).all()
    assert [(row.held, row.hold_s) for row in held] == [(True, breaker.FIRST_HOLD_S), (None, 0)]
    tried = db.session.execute(text("SELECT count(*) FROM inbound_events WHERE account = :a AND attempts > 0"), {"a": str(caller.id)}).scalar_one()
    assert tried < 150 and counts()["done"] == 60
    db.session.execute(text("UPDATE inbound_events SET next_try_at = NULL"))
    db.session.commit()
    receive.sweep()
    assert db.session.execute(text("SELECT max(attempts) FROM inbound_events WHERE status = 'new'")).scalar_one() == 1
    again()
    receive.sweep()  # one is let through, and fails
    assert db.session.execute(text("SELECT hold_s FROM webhook_sources WHERE id = :id"), {"id": caller.id}).scalar_one() == 2 * breaker.FIRST_HOLD_S
    broken[0] = False
    again()
    receive.sweep()
    receive.sweep()
    assert counts() == {"done": 210}
    assert db.session.execute(text("SELECT count(*) FROM webhook_sources WHERE held_until IS NOT NULL")).scalar_one() == 0


def test_events_that_overtake_an_outcome_wait_for_it_and_are_no_fault_of_their_source(caller: Caller, processor: Any) -> None:
    early = [True]

    def action(number: int) -> None:
        if early[0]:
            raise TooEarly("no outcome yet")

    processor(action)
    put(caller, 40)
    receive.sweep()
    assert db.session.execute(text("SELECT window_bad, held_until FROM webhook_sources")).one() == (0, None)
    early[0] = False
    again()
    receive.sweep()
    assert counts() == {"done": 40}


def test_several_workers_share_the_work_and_nothing_is_done_twice(caller: Caller, processor: Any) -> None:
    import threading

    done = processor(lambda number: None)
    put(caller, 120)
    app = caller.app

    def work() -> None:
        with app.app_context():
            receive.work_through(20)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(120)) and counts() == {"done": 120}


def test_the_bell_brings_one_job_that_works_through_all_and_asks_for_another_when_time_runs_out(
    caller: Caller, processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.core.bell import bell
    from app.core.queue import QueueName, redis_queue

    bell().connection.flushdb()
    done = processor(lambda number: time.sleep(0.01))
    put(caller, 120)
    monkeypatch.setattr(receive, "BELL_SECONDS", 0.3)
    receive.arrived()
    assert 0 < len(done) < 120
    (job,) = redis_queue(QueueName.RECEIVE).jobs
    assert job.func_name == "jobs.receive.arrived"


def test_after_thirty_days_the_bytes_go_and_the_hash_stays_but_what_waits_for_a_person_keeps_them(caller: Caller) -> None:
    put(caller, 3)
    db.session.execute(text("UPDATE inbound_events SET received_at = clock_timestamp() - interval '31 days', status = 'done'"))
    db.session.execute(text("UPDATE inbound_events SET status = 'quarantined' WHERE dedupe_key = 'id:2'"))
    db.session.commit()
    with transaction():
        assert retention.forget_raw_events(datetime.now(UTC)) == 2
    rows = db.session.execute(text("SELECT octet_length(body) AS size, length(body_sha256) AS hash FROM inbound_events ORDER BY id")).all()
    assert [(row.size > 0, row.hash) for row in rows] == [(False, 64), (False, 64), (True, None)]


# Crashes


def _die_at(place: str, count: int) -> None:
    """In a forked process: SIGKILL at the ``count``-th commit, before or after it reached the database."""
    left = [count]
    real = core_db._commit
    real_alone = events.committed_alone

    def alone(*given: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and place == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        row = real_alone(*given)
        if left[0] == 0 and place == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return row

    def commit(session: Any) -> None:
        left[0] -= 1
        if left[0] == 0 and place == "before":
            session.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        real(session)
        if left[0] == 0 and place == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    core_db._commit = commit
    events.committed_alone = alone


def forked(apps: tuple[Flask, ...], action: Any, place: str, count: int) -> bool:
    """Run ``action`` in a process that dies there; True when it lived to the end."""
    db.session.remove()
    db.engine.dispose()
    child = os.fork()
    if child == 0:
        try:
            for one in apps:
                with one.app_context():
                    db.engine.dispose(close=False)
            _die_at(place, count)
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL), status
    return os.waitstatus_to_exitcode(status) == 0


@pytest.mark.kill
def test_killed_between_keeping_answering_and_working_each_event_counts_once(app: Flask, caller: Caller) -> None:
    """A caller that repeats until it hears 200 and processes that die at every commit: before it, and after it before the answer."""
    dice, apps = random.Random(5), (app, caller.app)
    client = make.make_client()
    mailbox = make.make_mailbox(client)
    campaign = make.make_campaign(client, mailboxes=(mailbox,))
    killed = 0
    for number in range(max(2, KILLS // 4)):
        lead = make.make_lead(client)
        walk = make.make_enrollment(campaign, lead, mailbox)
        make.make_delivery(walk, lead, mailbox, status="sent", mime=b"x", message_id=f"<k{number}@ourhouse.test>", sent_at=make.MONDAY_TEN,
                           permitted_at=datetime.now(UTC))  # fmt: skip
        payload = mail_event("bounced", f"k{number}@ourhouse.test", status="5.1.1", text="550 5.1.1 no such user")

        def ring(payload: Any = payload, number: int = number) -> None:
            assert caller.call(payload, f"evt-{number}").status_code == 200

        webhooks.find(caller.token)  # the process knows the address: the first commit is the event's
        for place in ("before", "after"):
            killed += not forked(apps, ring, place, 1)
        ring()
        for place, count in (("before", 2), ("after", 2), (dice.choice(("before", "after")), 1)):
            again()
            killed += not forked(apps, lambda: receive.work_through(5), place, count)
        again()
        receive.work_through(5)
    assert killed >= number * 3
    assert counts() == {"done": number + 1}
    effects = db.session.execute(
        text("SELECT (SELECT count(*) FROM activities WHERE kind = 'mail_bounced'), (SELECT count(*) FROM suppressions),"
             " (SELECT count(*) FROM deliveries WHERE status = 'bounced'), (SELECT count(*) FROM enrollments WHERE status = 'bounced'),"
             " (SELECT max(seen) FROM inbound_events)")
    ).one()  # fmt: skip
    assert tuple(effects) == (number + 1, number + 1, number + 1, number + 1, 2)
