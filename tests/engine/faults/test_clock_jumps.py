"""Clocks that jump by seconds and by years, forwards and backwards, and the two nights a year whose hours are not 24.

The ledger's leases run on PostgreSQL's clock alone: a jump of it is what moves every stored lease by as much. Days, windows and caps
run on the product's: the test hands it in. Judged by ``zoneinfo`` alone, from the time at which each permit was given.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.core import clock
from app.core.bell import CLOCK, bell
from app.core.extensions import db
from app.models import Delivery
from sandbox.mail.sink import SinkRates, counts_by_message_id
from tests import factories
from tests.conftest import settings_for
from tests.engine import workers
from tests.engine.conftest import until
from tests.engine.faults.harness import Keeper, judge, sending, settle
from tests.engine.workers import Database

JUMPS = int(os.environ.get("EMBERPOST_CLOCK_JUMPS", "30"))
ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "Europe/Lisbon")
CAMPAIGN_ZONE, CAMPAIGN_CAP = "Pacific/Auckland", 25
LOOSEN = "UPDATE deliveries SET due_at = '2000-01-01', reason = NULL WHERE status = 'queued'"


def jump(dice: random.Random) -> timedelta:
    """One second to 400 days, in either direction, all sizes alike."""
    seconds = 400 * 86_400 ** dice.random() if dice.random() < 0.5 else dice.uniform(1, 400 * 86_400)
    return timedelta(seconds=min(seconds, 400 * 86_400)) * dice.choice((-1, 1))


def over_a_cap(database: Database) -> list[tuple[object, ...]]:
    """Sender-days and campaign-days with more messages than their cap, by the local date of the permit."""
    rows = database.all(
        "SELECT d.sender_id, s.timezone, s.daily_cap, d.permit_product_at FROM deliveries d JOIN senders s ON s.id = d.sender_id"
        " WHERE d.status IN ('sent', 'uncertain', 'committing')"
    )
    of_senders: Counter[tuple[int, int, date]] = Counter()
    of_campaign: Counter[date] = Counter()
    for sender, zone, cap, at in rows:
        of_senders[sender, cap, at.astimezone(ZoneInfo(zone)).date()] += 1
        of_campaign[at.astimezone(ZoneInfo(CAMPAIGN_ZONE)).date()] += 1
    over: list[tuple[object, ...]] = [key for key, count in of_senders.items() if count > key[1]]
    return over + [key for key in of_campaign.items() if key[1] > CAMPAIGN_CAP]


def set_clock(database: Database, leap: timedelta) -> None:
    """The product's clock jumps, without asking anybody, and what was put off by a time that is no more is looked at again."""
    database.run("UPDATE product_clock SET base_product = base_product + %s", leap)
    database.run("UPDATE senders SET backoff_until = NULL, next_at = NULL, uncertain_streak = 0, status = 'active'")
    database.run(LOOSEN)
    bell().ring(CLOCK)


@pytest.mark.serial
@pytest.mark.slow
def test_whatever_both_clocks_do_no_cap_of_any_local_date_is_exceeded_and_nothing_leaves_twice(app, database_url, redis_url, tmp_path):
    dice, counted = random.Random(8), tmp_path / "accepted"
    settings = settings_for(database_url, redis_url, mode="rehearsal", lease_seconds=3, drain_seconds=4)
    with ExitStack() as stack:
        database = stack.enter_context(contextlib.closing(Database(settings)))
        database.run("INSERT INTO product_clock (id, base_machine, base_product, factor) VALUES (1, now(), now(), 1)"
                     " ON CONFLICT (id) DO UPDATE SET base_product = now(), base_machine = now(), factor = 1")  # fmt: skip
        port = stack.enter_context(workers.sink(counted, SinkRates(drop_before=0.02, drop_after=0.02, seed=8)))
        client = factories.make_client()
        boxes = [factories.make_mailbox(client, smtp_port=port, daily_cap=dice.randint(1, 4), timezone=ZONES[n % len(ZONES)]) for n in range(28)]
        campaign = factories.make_campaign(client, mailboxes=tuple(boxes), steps=1, timezone=CAMPAIGN_ZONE, daily_cap=CAMPAIGN_CAP)
        step, numbers = factories.first_step(campaign).id, [box.id for box in boxes]
        parent = stack.enter_context(workers.zygote(tmp_path / "log"))
        stack.enter_context(Keeper(settings, ends_rests=False))
        engines = [parent.start(settings) for _ in range(3)]
        workers.enrol_many(database, campaign, step, numbers, "j", 8 * JUMPS)
        until(lambda: database.one("SELECT count(*) FROM deliveries WHERE status = 'sent'") > 0, 30)
        for _ in range(JUMPS):
            leap = jump(dice)
            set_clock(database, leap)
            if dice.random() < 0.3:  # PostgreSQL's clock jumps: every lease ends that much earlier or later
                database.run("UPDATE deliveries SET leased_until = leased_until - %s WHERE leased_until IS NOT NULL", leap)
            time.sleep(0.3)
            assert over_a_cap(database) == []
        days = database.one("SELECT count(DISTINCT permit_product_at::date) FROM deliveries WHERE permit_product_at IS NOT NULL")
        database.run("UPDATE deliveries SET leased_until = clock_timestamp() WHERE status IN ('leased', 'committing')")
        # then time goes on by days, until everybody has had a place
        settle(database, lambda: counts_by_message_id(counted), 120, lambda: set_clock(database, timedelta(days=1)))
        assert over_a_cap(database) == []
        for pid in engines:
            parent.kill(pid)
        total = database.one("SELECT count(*) FROM deliveries")
        print(f"\n{JUMPS} jumps, {total} messages on {days} days")
        judge(database, counts_by_message_id(counted))


class Handed:
    """Product time as the test says."""

    factor = 1.0

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def forget_copy(self) -> None:
        return None


NEW_YORK = ZoneInfo("America/New_York")
NIGHT = [{"weekday": day, "from": "00:30", "to": "03:30"} for day in range(7)]
CHANGES = {"a night of 23 hours' day": date(2026, 3, 8), "a night of 25 hours' day": date(2026, 11, 1)}


@pytest.mark.slow
def test_in_the_nights_when_clocks_change_windows_and_caps_are_those_of_the_wall_clock(app, mail, monkeypatch, database_url, redis_url):
    """Open from half past twelve to half past three, at most four of a sender and six of the campaign on a date."""
    client = factories.make_client()
    zones = ("America/New_York", "Asia/Kolkata")
    boxes = [factories.make_mailbox(client, smtp_port=mail.ports.smtp, timezone=zone, daily_cap=4, min_gap_s=1_500) for zone in zones]
    for box in boxes:
        mail.add_account(box.address, "secret-of-the-mailbox")
    campaign = factories.make_campaign(client, mailboxes=tuple(boxes), steps=1, timezone="America/New_York", windows=NIGHT, daily_cap=6)
    step, settings = factories.first_step(campaign).id, settings_for(database_url, redis_url, drain_seconds=2)
    handed = Handed(datetime(2026, 3, 1, tzinfo=UTC))
    monkeypatch.setattr(clock, "_clock", handed)
    with contextlib.closing(Database(settings)) as database, sending(settings) as process:
        workers.enrol_many(database, campaign, step, [box.id for box in boxes], "d", 80)
        for changes in CHANGES.values():
            for night in range(-1, 2):
                midnight = datetime(changes.year, changes.month, changes.day, tzinfo=NEW_YORK) + timedelta(days=night)
                for minutes in range(0, 6 * 60, 20):
                    handed.at = midnight.astimezone(UTC) + timedelta(minutes=minutes)
                    database.run(LOOSEN)
                    process.engine.ring()
                    time.sleep(0.06)
        until(lambda: database.one("SELECT count(*) FROM deliveries WHERE status IN ('leased', 'committing')") == 0)
        assert len(mail.accepted()) == database.one("SELECT count(*) FROM deliveries WHERE status = 'sent'")
        db.session.rollback()
        sent = [(row.sender_id, row.permit_product_at) for row in db.session.query(Delivery).filter_by(status="sent")]
    walls = [at.astimezone(NEW_YORK) for _, at in sent]
    assert [wall for wall in walls if not (0, 30) <= (wall.hour, wall.minute) < (3, 30)] == []
    by_date = Counter(wall.date() for wall in walls)
    print(f"\nsent by date: { {str(day): count for day, count in sorted(by_date.items())} }")
    assert set(by_date) == {day + timedelta(days=n) for day in CHANGES.values() for n in (-1, 0, 1)} and max(by_date.values()) == 6
    zone_of = {box.id: ZoneInfo(zone) for box, zone in zip(boxes, zones, strict=True)}
    of_senders = Counter((sender, at.astimezone(zone_of[sender]).date()) for sender, at in sent)
    assert max(of_senders.values()) <= 4
