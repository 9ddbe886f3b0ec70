"""Sending processes frozen at each failpoint for three leases, then woken: nothing leaves twice, and a late acceptance is recorded.

All fourteen run at once, each stops at its own point, as a paused machine would. Others take their senders over meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from contextlib import ExitStack

import pytest
from sqlalchemy import text

from app.core.db import HOT_LOCK
from app.core.extensions import db
from app.core.failpoints import Name
from sandbox.mail.sink import SinkRates, counts_by_message_id
from tests import factories
from tests.conftest import settings_for
from tests.engine import workers
from tests.engine.conftest import fresh, stopped, until
from tests.engine.faults.harness import Keeper, judge, settle
from tests.engine.workers import Database, owner_of
from tests.patience import in_time

ROUNDS = int(os.environ.get("EMBERPOST_FREEZES", "1"))
LEASE_S = 2
LATE = "SELECT count(*) FROM deliveries WHERE evidence ->> 'found' = 'late_answer'"


def free_shards(database: Database, frozen: list[int]) -> None:
    """Others look after its senders; being right does not rest on it, only the test's duration does."""
    for pid in frozen:
        database.run("UPDATE shards SET owner = NULL, leased_until = clock_timestamp() - interval '1 min' WHERE owner = %s", owner_of(pid))


@pytest.mark.serial
@pytest.mark.slow
def test_frozen_at_each_point_for_three_leases_and_woken_no_process_doubles_anything(app, database_url, redis_url, tmp_path):
    counted = tmp_path / "accepted"
    base = {"mode": "rehearsal", "lease_seconds": LEASE_S, "drain_seconds": 5, "dispatch_batch": 30}
    settings = settings_for(database_url, redis_url, **base)
    with ExitStack() as stack:
        database = stack.enter_context(contextlib.closing(Database(settings)))
        port = stack.enter_context(workers.sink(counted, SinkRates(delay=0.05, delay_s=0.05)))
        client = factories.make_client()
        boxes = [factories.make_mailbox(client, smtp_port=port, daily_cap=1_000_000) for _ in range(64)]
        campaign = factories.make_campaign(client, mailboxes=tuple(boxes), steps=1)
        step, numbers = factories.first_step(campaign).id, [box.id for box in boxes]
        parent = stack.enter_context(workers.zygote(tmp_path / "log"))
        stack.enter_context(Keeper(settings))
        late = 0
        for number in range(ROUNDS):
            workers.enrol_many(database, campaign, step, numbers, f"f{number}", 64 * 6)
            frozen = {name: parent.start(settings_for(database_url, redis_url, **base, failpoints=f"{name}=stop")) for name in Name}
            wait_until_frozen(database, frozen)
            # what each had leased: when the last is frozen, the leases of the first have often run out and were given back
            held = database.one("SELECT count(*) FROM delivery_attempts WHERE engine = ANY (%s)", [owner_of(pid) for pid in frozen.values()])
            free_shards(database, list(frozen.values()))
            awake = parent.start(settings)
            time.sleep(3 * LEASE_S + 0.5)
            for pid in frozen.values():
                os.kill(pid, signal.SIGCONT)
            until(lambda late=late: database.one(LATE) > late, 30)  # who was frozen behind its dot hears the answer before anybody looks for it
            settle(database, lambda: counts_by_message_id(counted))
            for pid in [*frozen.values(), awake]:
                parent.kill(pid, signal.SIGTERM)
            ends = {pid: parent.wait(pid, 25) for pid in [*frozen.values(), awake]}
            assert set(ends.values()) == {0}, (ends, (tmp_path / "log").read_text()[-2000:])
            late = database.one(LATE)
            print(f"\nround {number + 1}: {len(frozen)} processes frozen with {held} rows, {late} late acceptances recorded")
            assert held >= len(Name) and late >= ROUNDS, "a process frozen behind its dot hears the answer when it wakes"
        judge(database, counts_by_message_id(counted))


@pytest.mark.timed
@pytest.mark.slow
def test_a_process_frozen_inside_a_transaction_holds_up_the_others_for_seconds_only(app, story, mail, engine, database_url, redis_url, tmp_path):
    """It holds the campaign's counter and the hot lock, and does not wake: PostgreSQL takes them back."""
    tale = story(leads=1)
    with workers.zygote(tmp_path / "log") as parent, contextlib.closing(Database(app.extensions["settings"])) as database:
        frozen = parent.start(settings_for(database_url, redis_url, mode="rehearsal", lease_seconds=60, failpoints="permit_before_commit=stop"))
        wait_until_frozen(database, {Name.PERMIT_BEFORE_COMMIT: frozen})
        began = time.monotonic()
        free_shards(database, [frozen])
        second = factories.make_mailbox(tale.client, smtp_port=mail.ports.smtp)
        mail.add_account(second.address, "secret-of-the-mailbox")
        row = tale.add(second)
        with engine():
            until(lambda: fresh(row).status == "sent", 15)
        print(f"\nfrozen inside its permit: the next message left after {time.monotonic() - began:.1f} s")
        with db.engine.begin() as stop:  # a stop needs the hot lock for itself
            stop.execute(text("SET LOCAL lock_timeout = '1s'"))
            stop.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": HOT_LOCK})
        assert stopped(frozen) and database.one(IN_TRANSACTION, f"emberpost {owner_of(frozen)}") == 0
        parent.kill(frozen)


IN_TRANSACTION = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state LIKE 'idle in transaction%%'"


def wait_until_frozen(database: Database, frozen: dict[Name, int]) -> None:
    end = time.monotonic() + 60
    while running := [name for name, pid in frozen.items() if not stopped(pid)]:
        in_time(time.monotonic() < end, f"never reached: {running}")
        # engines that froze hold shards; who still runs needs senders to come by its point
        free_shards(database, [pid for pid in frozen.values() if stopped(pid)])
        time.sleep(0.1)
