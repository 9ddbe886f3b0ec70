"""Stopped and started a thousand times while whole sending processes work: a stop always stops, a start always starts again.

Campaigns, clients and the instance are stopped through their own doors, answers and unsubscribes come in between, and a receiver counts.
EMBERPOST_START_STOPS: how many.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text

from app.core.db import transaction
from app.core.extensions import db
from app.services import enrollments, launch, stops, suppressions
from app.services.outbox import sweeping, switches
from sandbox.mail.sink import SinkRates, counts_by_message_id
from tests import factories
from tests.conftest import settings_for
from tests.engine import workers
from tests.engine.conftest import until
from tests.engine.racing import tally
from tests.engine.workers import Database, enrol_many
from tests.patience import in_time

CYCLES = int(os.environ.get("EMBERPOST_START_STOPS", "60"))
CLIENTS, CAMPAIGNS, BOXES = 4, 4, 12  # campaigns and mailboxes of each client
AT_ONCE = 8
ROWS = 40  # a campaign's store of messages; refilled before it is empty
RATES = SinkRates(delay=0.2, delay_s=0.1)


@dataclass(frozen=True)
class Scope:
    """Something that can be stopped. ``where``: its rows of ``deliveries``."""

    kind: str
    id: int
    client_id: int
    where: str


@dataclass
class Stop:
    """One stop and the start after it, on PostgreSQL's clock; how long each took (seconds)."""

    scope: Scope
    stopped_at: datetime
    started_at: datetime
    silent_s: float
    again_s: float


@dataclass
class House:
    app: Any
    user: Any
    database: Database
    campaigns: list[Any]
    boxes: dict[int, list[int]]
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: list[Stop] = field(default_factory=list)
    left: list[tuple[str, int, datetime]] = field(default_factory=list)  # column of deliveries, value, when
    refills: int = 0

    def ask(self, statement: str, *values: Any) -> Any:
        with self.lock:
            return self.database.one(statement, *values)

    def refill(self) -> None:
        """Nobody runs out of messages."""
        with self.lock:
            left = dict(self.database.all("SELECT campaign_id, count(*) FROM deliveries WHERE status = 'queued' GROUP BY 1"))
            for campaign, step in self.campaigns:
                if left.get(campaign.id, 0) < ROWS // 2:
                    self.refills += 1
                    enrol_many(self.database, campaign, step, self.boxes[campaign.client_id], f"s{self.refills}", ROWS)

    def stop(self, scope: Scope) -> datetime:
        with transaction():
            if scope.kind == "campaign":
                launch.pause(scope.client_id, scope.id, by=self.user.id)
            else:
                stops.stop(scope.kind, scope.client_id, by=self.user.id, reason="test", tell=[scope.client_id])
            at: datetime = db.session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return at

    def start(self, scope: Scope) -> datetime:
        with transaction():
            if scope.kind == "campaign":
                launch.resume(scope.client_id, scope.id, by=self.user.id)
            else:
                stops.release(scope.kind, scope.client_id, by=self.user.id, tell=[scope.client_id])
            at: datetime = db.session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return at

    def cycle(self, scope: Scope, dice: random.Random) -> None:
        """Stop, see that it says stopped and stays so, start, see that something leaves again."""
        pressed = time.monotonic()
        stopped_at = self.stop(scope)
        while (told := switches.state(scope.kind, scope.id)).stopping:
            db.session.rollback()
            in_time(time.monotonic() - pressed < 15, f"{scope} never says stopped")
            time.sleep(0.02)
        silent = time.monotonic() - pressed
        time.sleep(dice.uniform(0, 0.1))
        db.session.rollback()
        told = switches.state(scope.kind, scope.id)
        assert told.stopped and told.sent_since == 0, f"{scope}: {told}"
        db.session.rollback()
        pressed = time.monotonic()
        started_at = self.start(scope)
        while not self.ask(f"SELECT 1 FROM deliveries WHERE {scope.where} AND permitted_at > %s LIMIT 1", started_at):
            in_time(time.monotonic() - pressed < 60, f"{scope} never starts again: {self.waiting(scope)}")
            time.sleep(0.03)
        self.done.append(Stop(scope, stopped_at, started_at, silent, time.monotonic() - pressed))

    def waiting(self, scope: Scope) -> list[Any]:
        """What its messages wait for, for the report of a failure."""
        with self.lock:
            rows = self.database.all(f"SELECT d.status, d.reason, s.status, s.backoff_until > now() AS rests, d.due_at <= now(), count(*)"
                                     f" FROM deliveries d JOIN senders s ON s.id = d.sender_id WHERE d.{scope.where} GROUP BY 1, 2, 3, 4, 5")  # fmt: skip
            return rows + self.database.all("SELECT outcome, phase, code, left(text, 80), count(*) FROM delivery_attempts GROUP BY 1, 2, 3, 4")

    def cycles(self, scope: Scope, count: int) -> None:
        dice = random.Random(f"{scope}")
        with self.app.app_context():
            for _ in range(count):
                self.cycle(scope, dice)

    def somebody_leaves(self) -> None:
        """In between a lead answers, and another one wants out."""
        found = self.database.all("SELECT id, client_id, lead_id, email_key FROM deliveries WHERE status = 'queued' ORDER BY random() LIMIT 2")
        if len(found) == 2:
            (_, client, lead, _), (delivery, other, _, address) = found
            with transaction():
                enrollments.stop_for_reply(client, [lead])
                self.left.append(("lead_id", lead, db.session.execute(text("SELECT clock_timestamp()")).scalar_one()))
            with transaction():
                suppressions.unsubscribe(suppressions.unsubscribe_token(other, address, delivery), "link")
                self.left.append(("id", delivery, db.session.execute(text("SELECT clock_timestamp()")).scalar_one()))


def build(app: Any, port: int) -> House:
    campaigns, boxes, user = [], {}, factories.make_user()
    for _ in range(CLIENTS):
        client = factories.make_client()
        own = [factories.make_mailbox(client, smtp_port=port, daily_cap=1_000_000) for _ in range(BOXES)]
        boxes[client.id] = [box.id for box in own]
        for _ in range(CAMPAIGNS):
            campaign = factories.make_campaign(client, mailboxes=tuple(own), steps=1)
            campaigns.append((campaign, factories.first_step(campaign).id))
    factories.set_apart(user, *(campaign for campaign, _ in campaigns))
    return House(app, user, Database(app.extensions["settings"]), campaigns, boxes)


def together(house: House, scopes: list[Scope], count: int, work: Callable[[Scope, int], None]) -> None:
    """``count`` cycles shared among these scopes, all at the same time, while the store is refilled and leads leave."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        share = -(-count // len(scopes))
        running = [pool.submit(work, scope, share) for scope in scopes]
        while not all(one.done() for one in running):
            house.refill()
            house.somebody_leaves()
            time.sleep(0.2)
        for one in running:
            one.result()


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.timeout(3_600)
def test_a_thousand_stops_stop_and_a_thousand_starts_start_again(app, database_url, redis_url, tmp_path):
    log, counted = tmp_path / "workers.log", tmp_path / "accepted"
    base = {"mode": "rehearsal", "dispatch_slots": 60, "dispatch_batch": 60, "drain_seconds": 10}
    began = time.monotonic()
    with workers.sink(counted, RATES) as port, workers.zygote(log) as parent:
        house = build(app, port)
        house.refill()
        engines = [parent.start(settings_for(database_url, redis_url, **base)) for _ in range(2)]
        until(lambda: house.ask("SELECT count(*) FROM deliveries WHERE status = 'sent'") > 20, 60)
        by_campaign = [Scope("campaign", one.id, one.client_id, f"campaign_id = {one.id}") for one, _ in house.campaigns]
        by_client = [Scope("client", number, number, f"client_id = {number}") for number in house.boxes]
        by_all = [Scope("instance", 0, by_client[0].id, "id > 0")]
        together(house, by_campaign, CYCLES * 75 // 100, house.cycles)
        together(house, by_client, CYCLES * 20 // 100, house.cycles)
        together(house, by_all, CYCLES * 5 // 100, house.cycles)
        for pid in engines:
            parent.kill(pid, signal.SIGTERM)
        assert [parent.wait(pid, 30) for pid in engines] == [0, 0], log.read_text()[-2000:]
    judge(house, counted, time.monotonic() - began)
    house.database.close()


def judge(house: House, counted: Any, took: float) -> None:
    database, kinds = house.database, Counter(one.scope.kind for one in house.done)
    for one in house.done:
        between = database.one(f"SELECT count(*) FROM deliveries WHERE {one.scope.where} AND permitted_at > %s AND permitted_at < %s",
                               one.stopped_at, one.started_at)  # fmt: skip
        assert between == 0, f"{one.scope}: permitted while it was stopped"
    for column, value, at in house.left:
        assert not database.one(f"SELECT count(*) FROM deliveries WHERE {column} = %s AND permitted_at > %s", value, at), "after its lead left"
    accepted = counts_by_message_id(counted)
    states = dict(database.all("SELECT status, count(*) FROM deliveries GROUP BY status"))
    sent = {message_id for (message_id,) in database.all("SELECT message_id FROM deliveries WHERE status = 'sent'")}
    tried = dict(database.all("SELECT outcome, count(*) FROM delivery_attempts GROUP BY 1"))
    silent, again = [one.silent_s for one in house.done], [one.again_s for one in house.done]
    print(f"\n{len(house.done)} stops and starts in {took:.0f} s {dict(kinds)}, {len(accepted)} messages, {len(house.left)} leads left; "
          f"to \"stopped\" {tally(silent)}, until something left again {tally(again)}; {states}; {tried}")  # fmt: skip
    assert [key for key, count in accepted.items() if count > 1] == [], "accepted twice"
    assert sent == set(accepted), "sent without acceptance, or accepted and recorded as unsent"
    assert None not in tried, "a try whose message was called off, or whose process ended, has an end"
    assert not [outcome for outcome in tried if outcome.startswith("trouble")], "a stop is no trouble of the mailbox"
    assert set(states) <= {"sent", "queued", "cancelled"}, states
    assert sweeping.ledger_faults(database.connection) == {}
    assert max(silent) <= 6.0, "how fast it is on a quiet machine is measured by the races"
