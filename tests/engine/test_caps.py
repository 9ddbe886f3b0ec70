"""Caps to the exact message: fifty engines, killed again and again, share every kind of cap; each is reached, none is passed.

EMBERPOST_CAP_MAILBOXES: how many mailboxes (1,000 with caps from 1 to 150 is the full size). The day's caps of mailboxes, the hour's of
others, the day's of campaigns and the hour's of clients bind in groups of their own; the instance's minute binds for all of them.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.core.extensions import db
from app.models import Setting
from app.services.outbox import sweeping
from tests import factories
from tests.engine import racing
from tests.engine.workers import Database, enrol_many

MAILBOXES = int(os.environ.get("EMBERPOST_CAP_MAILBOXES", "40"))
MOST = 150 if MAILBOXES >= 1_000 else 25  # the largest cap; one mailbox of each group has 1 and one 150 in any case
ENGINES, PROCESSES = 50, 5
SHARED = 5  # mailboxes that share a campaign's or a client's cap
KILLS = 20  # one each time another twentieth of the places has been taken


class World:
    """Groups of mailboxes, each with the cap that binds there; ``caps``: (scope, id, action) → what must be reached."""

    def __init__(self, database: Database, dice: random.Random) -> None:
        self.database, self.dice = database, dice
        self.caps: dict[tuple[str, str, str], int] = {}
        self.planned = 0
        house = factories.make_client()
        for group in ("sender day", "sender hour", "campaign day", "client hour"):
            drawn = [1, 150, *(dice.randint(1, MOST) for _ in range(MAILBOXES))]
            if group.startswith("sender"):
                for cap in drawn[: MAILBOXES // 4]:
                    self._mailbox_with_a_cap(house, group, cap)
            else:
                for cap in drawn[: max(2, MAILBOXES // 4 // SHARED)]:
                    self._shared_cap(house, group, cap)
        db.session.commit()

    def _mailbox_with_a_cap(self, client: Any, group: str, cap: int) -> None:
        box = factories.make_mailbox(client, daily_cap=cap if group == "sender day" else 100_000,
                                     hourly_cap=cap if group == "sender hour" else None)  # fmt: skip
        self._supply(factories.make_campaign(client, mailboxes=(box,), steps=1), [box], cap)
        self.caps["sender", str(box.id), group.split()[1]] = cap

    def _shared_cap(self, client: Any, group: str, cap: int) -> None:
        owner = factories.make_client() if group == "client hour" else client
        boxes = [factories.make_mailbox(owner, daily_cap=100_000) for _ in range(SHARED)]
        campaign = factories.make_campaign(owner, mailboxes=tuple(boxes), steps=1, daily_cap=cap if group == "campaign day" else None)
        self._supply(campaign, boxes, cap)
        if group == "campaign day":
            self.caps["campaign", str(campaign.id), "day"] = cap
        else:
            db.session.add(Setting(scope_kind="client", scope_id=owner.id, key="client_hour_cap", value=cap))
            self.caps["client", str(owner.id), "hour"] = cap

    def _supply(self, campaign: Any, boxes: list[Any], cap: int) -> None:
        count = cap + self.dice.randint(1, 5)
        enrol_many(self.database, campaign, factories.first_step(campaign).id, [box.id for box in boxes], f"c{campaign.id}", count)
        self.planned += count


class Crew:
    """Processes with ten engines each, killed and replaced."""

    def __init__(self, database: Database, database_url: str, dots: Path, dice: random.Random) -> None:
        self.database, self.dice = database, dice
        self.minute = racing.processes.Value("i", 0, lock=False)
        self.until = time.monotonic() + 3_000
        self._start = lambda name: racing.processes.Process(
            target=racing.engines, args=(database_url, dots, name, ENGINES // PROCESSES, self.minute, self.until), daemon=True
        )
        self.alive: dict[str, Any] = {}
        self.kills = self.held = 0
        for _ in range(PROCESSES):
            self._one_more()

    def _one_more(self) -> None:
        name = f"p{self.kills}-{len(self.alive)}"
        self.alive[name] = self._start(name)
        self.alive[name].start()

    def kill_one(self) -> None:
        name = self.dice.choice(sorted(self.alive))
        self.alive[name].kill()
        self.alive.pop(name).join()
        self.kills += 1
        self.held += self.bury(name)
        self._one_more()

    def bury(self, name: str) -> int:
        """Its time is over: leases go back, what was past its permit is uncertain and keeps its place."""
        aged = self.database.run(
            "UPDATE deliveries SET leased_until = clock_timestamp() - interval '1 s'"
            " WHERE status IN ('leased', 'committing') AND lease_owner LIKE %s", name + "/%"
        )  # fmt: skip
        with self.database.connection.transaction():
            sweeping.return_dead_leases(self.database.connection)
        with self.database.connection.transaction():
            sweeping.show_lost_permits(self.database.connection)
        self.database.run("UPDATE senders SET status = 'active', uncertain_streak = 0 WHERE status = 'paused'")
        return aged

    def end(self) -> None:
        for name, process in self.alive.items():
            process.kill()
            process.join()
            self.bury(name)


def run(world: World, crew: Crew, minute_cap: int) -> None:
    """Minute after minute until nothing is due any more; each minute ends when its cap is reached."""
    database, places = world.database, sum(world.caps.values())
    while True:
        now = racing.noon(crew.minute.value)
        used = database.one("SELECT used FROM usage_counters WHERE scope_kind = 'instance' AND action = 'minute' AND window_start = %s",
                            now.replace(second=0))  # fmt: skip
        due, held = database.all(
            "SELECT count(*) FILTER (WHERE status = 'queued' AND due_at <= %s),"
            " count(*) FILTER (WHERE status IN ('leased', 'committing')) FROM deliveries", racing.noon(crew.minute.value + 1)
        )[0]  # fmt: skip
        if not due and not held:
            return
        if (used or 0) >= minute_cap or (used and not held and not database.one(
                "SELECT count(*) FROM deliveries WHERE status = 'queued' AND due_at <= %s", now)):  # fmt: skip
            crew.minute.value += 1
            assert crew.minute.value < 59, "the hour is over: the caps of an hour would begin anew"
        taken = database.one("SELECT count(*) FROM deliveries WHERE permitted_at IS NOT NULL")
        if taken * KILLS // places > crew.kills:
            time.sleep(crew.dice.uniform(0, 0.1))
            crew.kill_one()
        time.sleep(0.03)


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.kill
@pytest.mark.timeout(3_600)
def test_fifty_engines_under_kills_reach_every_cap_and_pass_none(app, database_url, tmp_path):
    dice = random.Random(20261124)
    database = Database(app.extensions["settings"])
    world = World(database, dice)
    database.run("UPDATE deliveries SET due_at = %s", racing.noon(0).replace(minute=0, second=0))
    expected = sum(world.caps.values())
    minute_cap = max(20, expected // 25)
    factories.save(Setting(scope_kind="instance", scope_id=0, key="instance_minute_cap", value=minute_cap))
    crew = Crew(database, database_url, tmp_path / "dots", dice)
    began = time.monotonic()
    try:
        run(world, crew, minute_cap)
    finally:
        crew.end()
    dots = racing.read_dots(tmp_path / "dots")
    counters = {(kind, scope, action): (used, cap) for kind, scope, action, used, cap in database.all(
        "SELECT scope_kind, scope_id, action, used, cap FROM usage_counters WHERE action <> 'minute'")}  # fmt: skip
    minutes = [used for (used,) in database.all("SELECT used FROM usage_counters WHERE action = 'minute' ORDER BY window_start")]
    states = Counter(dict(database.all("SELECT status, count(*) FROM deliveries GROUP BY status")))
    took = time.monotonic() - began
    print(f"\n{expected} places under {len(world.caps)} caps of {MAILBOXES} mailboxes, {len(minutes)} minutes of {minute_cap}; {ENGINES} engines, "
          f"{crew.kills} kills with {crew.held} rows in hand; {took:.0f} s, {expected / took:.0f} permits/s; {dict(states)}")  # fmt: skip
    for key, cap in world.caps.items():
        assert counters[key] == (cap, cap), f"{key}: {counters[key]} of {cap}"
    assert max(minutes) <= minute_cap and sum(minutes) == expected and len(minutes) >= 20
    # no place comes back here (nothing is refused), and only a full minute puts a row off to the next one: so each but the last is full
    assert minutes[:-1] == [minute_cap] * (expected // minute_cap - (expected % minute_cap == 0)), minutes
    assert all(len(times) == 1 for times in dots.values()) and len(dots) <= expected
    assert states["sent"] + states["uncertain"] == expected and states.total() == world.planned
    assert crew.kills >= KILLS - 2 and crew.held >= KILLS, "hardly any kill met a row in hand: the test proves nothing"
    database.close()
