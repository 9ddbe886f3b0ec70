"""Whoever stops wins: no dot whose permit came later than the stop, whatever stopped it and however close it was.

Two parties that exclude each other each read PostgreSQL's clock while they hold the lock they meet at: the order of those two times is
the order of their commits. A permit stores its own as ``permitted_at``; the stop's is read here, in its transaction, before it commits.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from app.core.db import transaction
from app.core.extensions import db
from app.domain.reasons import Reason
from app.domain.statuses import EnrollmentStatus
from app.services import enrollments, launch, stops, suppressions
from app.services.outbox import switches
from app.services.receiving import record
from app.services.receiving.arrivals import Arrival, understand
from tests import factories
from tests.engine import racing
from tests.engine.workers import Database, enrol_many
from tests.patience import in_time, times_slower
from tests.services.mails import mail

TRIALS = int(os.environ.get("EMBERPOST_RACES", "2000"))
SENDERS, ROWS, LEADS = 50, 400, 100  # messages of a round; leads that are stopped one by one in another, besides half as many others
#: Connections that ask for permits, and how many batches each asks for in a round.
PERMITTERS, BATCHES = 16, 4
ACTORS = 4
#: In one of so many rounds single leads are stopped; in the others one act stops everybody.
LEAD_ROUNDS = 3
NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass
class Row:
    """One message that is about to be asked for."""

    id: int
    epoch: int
    enrollment_id: int
    lead_id: int
    address: str
    sender_id: int
    message_id: str


@dataclass
class Act:
    """One stop: of what kind, which rows it must win over, when (PostgreSQL's clock under its lock), and how long it took."""

    kind: str
    rows: list[Row]
    final: bool
    pressed: float
    at: datetime = NEVER
    committed: float = 0.0
    stopped: float | None = None


@dataclass
class Race:
    """The world of one test: a client with fifty mailboxes, a new campaign each round, and what happened."""

    app: Any
    client: Any
    boxes: list[Any]
    user: Any
    database: Database
    dice: random.Random
    acts: list[Act] = field(default_factory=list)

    def round(self, number: int, count: int = ROWS) -> tuple[Any, list[Row]]:
        """A new campaign whose messages are all leased, with bytes, one directly before each dot."""
        campaign = factories.make_campaign(self.client, mailboxes=tuple(self.boxes), steps=1)
        step = factories.first_step(campaign).id
        enrol_many(self.database, campaign, step, [box.id for box in self.boxes], f"r{number}", count)
        found = self.database.all(
            "UPDATE deliveries SET status = 'leased', epoch = 1, lease_owner = 'racer', mime = 'x',"
            " leased_until = clock_timestamp() + interval '10 min', message_id = '<' || id || '@ourhouse.test>'"
            " WHERE campaign_id = %s RETURNING id, epoch, enrollment_id, lead_id, to_address, sender_id, message_id",
            campaign.id,
        )
        self.database.run("INSERT INTO delivery_attempts (delivery_id, epoch, client_id, engine)"
                          " SELECT id, epoch, client_id, 'racer' FROM deliveries WHERE campaign_id = %s", campaign.id)  # fmt: skip
        self.database.run("INSERT INTO known_message_ids (client_id, message_id, source, delivery_id)"
                          " SELECT client_id, message_id, 'ours', id FROM deliveries WHERE campaign_id = %s", campaign.id)  # fmt: skip
        rows = [Row(*one) for one in found]
        self.dice.shuffle(rows)
        return campaign, rows

    def order(self, rows: list[Row], spread_s: float) -> list[list[racing.Batch]]:
        """The rows in batches for the permitters, one after the other at random moments of ``spread_s``."""
        batches: list[list[tuple[int, int]]] = [[] for _ in range(PERMITTERS * BATCHES)]
        for row in rows:
            self.dice.choice(batches).append((row.id, row.epoch))
        timed = [(self.dice.uniform(0, spread_s / BATCHES), batch, self.dice.uniform(0, 0.05)) for batch in batches if batch]
        return [timed[number::PERMITTERS] for number in range(PERMITTERS)]

    def perform(self, kind: str, rows: list[Row], final: bool, do: Callable[[], Any], wait_s: float) -> Act:
        """Do it in a transaction of its own, as its edge does."""
        with self.app.app_context():
            time.sleep(wait_s)
            act = Act(kind, rows, final, time.monotonic())
            with transaction():
                do()
                act.at = db.session.execute(text("SELECT clock_timestamp()")).scalar_one()
            act.committed = time.monotonic()
            self.acts.append(act)
            return act


def lead_act(race: Race, kind: str, row: Row) -> tuple[bool, Callable[[], Any]]:
    """(is it final, what to do) for one lead; every one is the product's own door."""
    client = race.client.id
    if kind == "reply":
        box = next(box for box in race.boxes if box.id == row.sender_id)
        raw = mail(row.address, box.address, message_id=f"<answer-{row.id}@buyer.test>", headers={"In-Reply-To": row.message_id})
        incoming = understand(Arrival(client, box.id, raw, "inbox", datetime.now(UTC)))
        return True, lambda: record.record(incoming, patient=False)
    if kind == "reply elsewhere":
        return True, lambda: enrollments.stop_for_reply(client, [row.lead_id])
    if kind == "unsubscribe":
        token = suppressions.unsubscribe_token(client, row.address, row.id, row.lead_id)
        return True, lambda: suppressions.unsubscribe(token, "link")
    if kind == "suppression":
        return True, lambda: suppressions.suppress(client, row.address, "manual", "person")
    if kind == "suppression everywhere":
        return True, lambda: suppressions.suppress_globally(row.address, "complaint")
    if kind == "skip":
        return True, lambda: enrollments.end(client, [row.enrollment_id], EnrollmentStatus.SKIPPED, Reason.SKIPPED)
    return False, lambda: enrollments.pause(client, [row.enrollment_id], by=race.user.id)


LEAD_KINDS = ("reply", "reply elsewhere", "unsubscribe", "suppression", "suppression everywhere", "skip", "pause of a lead")
SCOPE_KINDS = ("instance", "client", "campaign pause", "campaign stop", "list of suppressions", "answers in bulk")


def lead_round(race: Race, orders: Any, number: int) -> None:
    """Single leads stop at random moments, four acts at a time, while all the messages are asked for."""
    _, rows = race.round(number, 3 * LEADS // 2)
    spread = 0.4
    targets = [(race.dice.choice(LEAD_KINDS), row) for row in rows[:LEADS]]
    chosen = [(kind, row, *lead_act(race, kind, row)) for kind, row in targets]
    orders.send(race.order(rows, spread))
    with ThreadPoolExecutor(ACTORS) as actors:
        waits = [race.dice.uniform(0, 2 * spread * ACTORS / len(chosen)) for _ in chosen]
        done = [actors.submit(race.perform, kind, [row], final, do, wait) for (kind, row, final, do), wait in zip(chosen, waits, strict=True)]
        for one in done:
            one.result()
    assert orders.recv() == []


def scope_round(race: Race, orders: Any, number: int, kind: str) -> None:
    """One act stops everybody at a random moment."""
    campaign, rows = race.round(number)
    client, by = race.client.id, race.user.id
    doing: dict[str, Callable[[], Any]] = {
        "instance": lambda: stops.stop(stops.INSTANCE, client, by=by, reason="race", tell=[client]),
        "client": lambda: stops.stop(stops.CLIENT, client, by=by, reason="race", tell=[client]),
        "campaign pause": lambda: launch.pause(client, campaign.id, by=by),
        "campaign stop": lambda: launch.stop(client, campaign.id, by=by),
        "list of suppressions": lambda: suppressions.suppress_batch(client, [row.address for row in rows], "manual", "person"),
        "answers in bulk": lambda: enrollments.stop_for_reply(client, [row.lead_id for row in rows]),
    }
    orders.send(race.order(rows, 0.3))
    act = race.perform(kind, rows, kind not in {"instance", "client", "campaign pause"}, doing[kind], race.dice.uniform(0.0, 0.4))
    scope = {"instance": ("instance", 0), "client": ("client", client)}.get(kind, ("campaign", campaign.id))
    if kind in {"instance", "client", "campaign pause", "campaign stop"}:
        while (told := switches.state(*scope)).stopping:
            db.session.rollback()
            in_time(time.monotonic() - act.pressed < 10, "it never says stopped")
            time.sleep(0.005)
        act.stopped = time.monotonic()
        assert told.stopped and told.sent_since == 0
    db.session.rollback()
    assert orders.recv() == []
    if kind in {"instance", "client", "campaign pause", "campaign stop"}:
        assert switches.state(*scope).sent_since == 0, "something was permitted after the stop"
        db.session.rollback()
    if kind in {"instance", "client"}:
        with transaction():
            stops.release(kind, client, by=by, tell=[client])


def warm_up(race: Race, orders: Any) -> None:
    """One round without a stop: every statement has been planned once, every connection is open."""
    _, rows = race.round(0)
    orders.send(race.order(rows, 0.1))
    assert orders.recv() == []


def judge(race: Race, dots: dict[int, list[float]]) -> Counter[str]:
    """Compare every stop with the ledger and the receiver's book."""
    ledger = {
        number: (status, reason, permitted_at)
        for number, status, reason, permitted_at in race.database.all("SELECT id, status, reason, permitted_at FROM deliveries")
    }
    told: Counter[str] = Counter()
    for act in race.acts:
        for row in act.rows:
            status, reason, permitted_at = ledger[row.id]
            told["trials"] += 1
            told[act.kind] += 1
            if permitted_at is None:
                told["stopped in time"] += 1
                assert row.id not in dots, f"{act.kind}: a dot without a permit"
                assert status == ("cancelled" if act.final else "queued") and reason, f"{act.kind}: left {status} because {reason}"
                continue
            told["permitted before"] += 1
            assert permitted_at < act.at, f"{act.kind}: permitted {permitted_at - act.at} after the stop"
            told["less than 100 ms before"] += (act.at - permitted_at).total_seconds() < 0.1
            assert len(dots.get(row.id, ())) <= 1 and status == "sent", f"{act.kind}: {status} after its permit"
    assert set(dots) <= {number for number, one in ledger.items() if one[2] is not None}
    return told


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.timeout(3_600)
def test_no_dot_has_a_permit_later_than_the_stop(app, database_url, tmp_path):
    client = factories.make_client()
    boxes = [factories.make_mailbox(client, daily_cap=10_000_000) for _ in range(SENDERS)]
    user = factories.make_user(client)
    factories.set_apart(client, user, *boxes)
    race = Race(app, client, boxes, user, Database(app.extensions["settings"]), random.Random(20261124))
    number = scopes = 0
    with racing.racing(database_url, tmp_path / "dots", PERMITTERS) as orders:
        warm_up(race, orders)
        began = time.monotonic()
        while sum(len(act.rows) for act in race.acts) < TRIALS:
            number += 1
            if number % LEAD_ROUNDS == 0:
                lead_round(race, orders, number)
            else:
                scope_round(race, orders, number, SCOPE_KINDS[scopes % len(SCOPE_KINDS)])
                scopes += 1
    took = time.monotonic() - began
    dots = racing.read_dots(tmp_path / "dots")
    told = judge(race, dots)
    silences = [max(0.0, max((at for row in act.rows for at in dots.get(row.id, [])), default=0.0) - act.pressed) for act in race.acts]
    stopped = [act.stopped - act.pressed for act in race.acts if act.stopped is not None]
    commits = [act.committed - act.pressed for act in race.acts]
    print(f"\n{told['trials']} trials in {took:.0f} s ({told['trials'] / took:.0f}/s), {len(race.acts)} stops: {dict(told)}\n"
          f"pressed to committed {racing.tally(commits)}, to the last dot {racing.tally(silences)}, to \"stopped\" {racing.tally(stopped)}")  # fmt: skip
    assert told["stopped in time"] > told["trials"] / 10 and told["permitted before"] > told["trials"] / 10, "hardly a race"
    busy = times_slower()
    assert racing.percentile(silences, 0.99) <= 1.0 * busy and max(silences) <= 6.0
    assert racing.percentile(stopped, 0.99) <= 1.0 * busy and max(stopped) <= 6.0
    race.database.close()
