"""Sending processes killed by the thousand; the receiver counts. Never twice, never lost, never silent."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from flask import Flask

from app.core.failpoints import Name
from app.services.outbox import sweeping
from sandbox.mail.sink import SinkRates, counts_by_message_id
from tests import factories
from tests.conftest import settings_for
from tests.engine import workers
from tests.engine.killing import LEASE_SECONDS, STUCK_SECONDS, Loop
from tests.engine.workers import Database

KILLS = int(os.environ.get("EMBERPOST_KILLS", "60"))
AT_ONCE = 6
MAILBOXES = 256
#: Messages in a row for the same mailbox: they go through one session.
IN_A_ROW = 4
RATES = SinkRates(drop_before=0.02, drop_after=0.02, defer=0.03, delay=0.03, delay_s=0.1)


@contextmanager
def world(app: Flask, database_url: str, redis_url: str, folder: Path) -> Iterator[Loop]:
    """A campaign over many mailboxes at one faulty provider, and a parent that starts sending processes."""
    base = {"mode": "real", "lease_seconds": LEASE_SECONDS, "dispatch_slots": 5, "dispatch_batch": 5, "drain_seconds": 5}
    client = factories.make_client()
    with workers.provider(folder / "accepted") as provider, workers.zygote(folder / "workers.log") as parent:
        places = {"smtp_port": provider.smtp_port, "imap_port": provider.imap_port, "save_to_sent": "provider"}
        boxes = [factories.make_mailbox(client, daily_cap=1_000_000, **places) for _ in range(MAILBOXES)]
        provider.start([box.address for box in boxes], RATES)
        campaign = factories.make_campaign(client, mailboxes=tuple(boxes), steps=1)
        step, ids = factories.first_step(campaign).id, [box.id for box in boxes for _ in range(IN_A_ROW)]

        def enrol(database: Database, count: int) -> None:
            workers.enrol_many(database, campaign, step, ids, f"k{next(rounds)}", count)

        rounds = iter(range(10_000_000))
        settings = partial(settings_for, database_url, redis_url)
        loop = Loop(app, lambda **more: settings(**{**base, **more}), parent, provider, enrol, min(300, 50 + 5 * KILLS))
        yield loop
        loop.database.close()


def run(loop: Loop) -> None:
    """Kill, then drain, while the product's ticks go on."""
    killing = threading.Event()
    killing.set()
    loop.enrol(loop.database, loop.waiting)
    keeper = threading.Thread(target=loop.keep, args=(killing.is_set,))
    keeper.start()
    try:
        loop.kill(KILLS, AT_ONCE, random.Random(20261123))
    finally:
        loop.stopping.set()
        keeper.join()
    loop.drain(300 + KILLS / 10)


@pytest.mark.kill
@pytest.mark.serial
@pytest.mark.timeout(900 + KILLS)
def test_killed_at_every_point_each_message_is_accepted_once_and_none_is_lost(app, database_url, redis_url, tmp_path):
    with world(app, database_url, redis_url, tmp_path) as loop:
        run(loop)
        report, database = loop.report, loop.database
        assert report.faults == [], (tmp_path / "workers.log").read_text()[-2000:]
        check_the_ledger(database, counts_by_message_id(tmp_path / "accepted"))
        resolved = dict(database.all(BY_EVIDENCE))
        print("\n" + "\n".join(report.lines()))
        print(
            f"{report.kills} kills in {report.seconds:.0f} s ({report.kills / report.seconds:.1f}/s), {report.holding / report.kills:.0%}"
            f" while holding rows; {database.one('SELECT count(*) FROM deliveries')} messages accepted exactly once; resolved: {resolved}"
        )
        assert report.stuck == [], f"held or waiting for more than {STUCK_SECONDS:.0f} s"
        assert report.holding >= 0.6 * report.kills or KILLS < 200, "a loop that kills idle processes proves little"
        never = [str(name) for name in Name if report.at(str(name)) < report.kills // 100]
        assert KILLS < 1_000 or never == [], "a failpoint was hit too seldom"


BY_EVIDENCE = """
SELECT coalesce(evidence ->> 'found', CASE WHEN evidence ? 'absent' THEN 'absent' END, 'by the answer'), count(*)
FROM deliveries GROUP BY 1 ORDER BY 1
"""


def check_the_ledger(database: Database, accepted: Counter[str]) -> None:
    """The receiver's count and the ledger say the same: every message once, in the state it deserves."""
    sent = dict(database.all("SELECT message_id, status FROM deliveries"))
    assert [key for key, count in accepted.items() if count > 1] == [], "accepted twice"
    assert {key: status for key, status in sent.items() if status != "sent"} == {}, "not sent in the end"
    assert set(accepted) - set(sent) == set(), "accepted and recorded as unsent"
    assert set(sent) - set(accepted) == set(), "sent without acceptance"
    assert len(sent) == database.one("SELECT count(DISTINCT enrollment_id) FROM deliveries"), "a row more or less than intended"
    assert len(sent) == database.one("SELECT count(*) FROM enrollments WHERE status = 'finished'")
    assert len(sent) == database.one(
        "SELECT sum(used) FROM usage_counters WHERE scope_kind = 'campaign' AND action = 'day'"
    ), "a cap was counted wrongly"
    assert sweeping.ledger_faults(database.connection) == {}
