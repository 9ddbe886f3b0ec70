"""The kill loop: several sending processes at once, each killed on its own, and what people, supervisors and time do meanwhile.

The product does the rest with its own ticks: the sweep, and the search for evidence in the Sent folders. Nothing in the product
shortens proof of absence; here the stored times of rows are aged whose process is dead and whose connections the
receiver has read to their end.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from flask import Flask

from app.core.config import Settings
from app.core.failpoints import Name
from app.services.outbox import uncertain
from jobs import upkeep
from tests.engine.workers import Database, Provider, Zygote, owner_of

LEASE_SECONDS = 2
SWEEP_SECONDS = 0.5
RESOLVE_SECONDS = 6.0
#: PostgreSQL looks once a minute what is to be cleaned; in that time here as much dies as elsewhere in months.
CLEAN_AFTER_KILLS = 25
#: Not ended, not uncertain, and untouched for longer than this: see ``STUCK``.
STUCK_SECONDS = LEASE_SECONDS + SWEEP_SECONDS + 60
ANY_MOMENT = "any moment"
#: Share of processes that are to die at a failpoint; the others die at any moment.
AT_FAILPOINTS = 0.7
ONCE_PER_BATCH = {name for name in Name if name.endswith(("commit", "committed", "stored", "recorded"))}


@dataclass(frozen=True, slots=True)
class Plan:
    """How one process is to die: at the ``count``-th passing of a failpoint, or at the latest so many seconds after its birth or its first claim."""

    place: str
    count: int
    after_birth: float
    after_claim: float

    @property
    def failpoints(self) -> str:
        return "" if self.place == ANY_MOMENT else f"{self.place}@{self.count}=kill"


def plan(dice: random.Random) -> Plan:
    drawn = dice.random()
    if drawn < AT_FAILPOINTS:
        name = dice.choice(list(Name))
        return Plan(str(name), dice.randint(1, 2 if name in ONCE_PER_BATCH else 4), 20.0, 6.0)
    if drawn < AT_FAILPOINTS + 0.1:
        return Plan(ANY_MOMENT, 0, dice.uniform(0.02, 0.5), 6.0)
    return Plan(ANY_MOMENT, 0, 20.0, dice.uniform(0.0, 0.3))


@dataclass(slots=True)
class Life:
    """One running process. Times are this machine's monotonic seconds."""

    plan: Plan
    born: float
    claimed: float = float("inf")
    killed: bool = False

    def overdue(self, now: float) -> bool:
        return not self.killed and (now - self.born > self.plan.after_birth or now - self.claimed > self.plan.after_claim)


@dataclass(slots=True)
class Report:
    """Who died where, holding what."""

    deaths: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        return self.deaths.total()

    def at(self, place: str) -> int:
        return sum(count for (where, _), count in self.deaths.items() if where == place)

    @property
    def holding(self) -> int:
        """Kills while that very process held a leased or committing row."""
        return sum(count for (_, held), count in self.deaths.items() if held != "nothing")

    def lines(self) -> list[str]:
        held = ("leased", "committing", "both", "nothing")
        lines = ["killed at".ljust(24) + "".join(word.rjust(12) for word in ("kills", *held))]
        for place in (*map(str, Name), ANY_MOMENT):
            counts = (self.at(place), *(self.deaths[place, word] for word in held))
            lines.append(place.ljust(24) + "".join(str(count).rjust(12) for count in counts))
        return lines


@dataclass(slots=True)
class Loop:
    """One run: the world it happens in, and what has been found out so far."""

    app: Flask
    settings: Callable[..., Settings]
    parent: Zygote
    provider: Provider
    enrol: Callable[[Database, int], None]
    waiting: int  # so many messages are always due
    database: Database = field(init=False)
    report: Report = field(default_factory=Report)
    dead: deque[str] = field(default_factory=deque)  # owners that died since the last look at the receiver
    unread: list[tuple[int, list[str]]] = field(default_factory=list)  # (newest session when they died, owners)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.database = self.connect()

    def connect(self) -> Database:
        return Database(self.settings())

    # -- the dying -------------------------------------------------------------------------------------------------------

    def kill(self, kills: int, at_once: int, dice: random.Random) -> None:
        """Keep ``at_once`` processes running and dying until ``kills`` have died."""
        began = time.monotonic()
        running: dict[int, Life] = {}
        while self.report.kills < kills:
            while len(running) < at_once:
                chosen = plan(dice)
                running[self.parent.start(self.settings(failpoints=chosen.failpoints))] = Life(chosen, time.monotonic())
            self._look(running)
            for pid, life in list(running.items()):
                if pid in self.parent.ended:
                    self._died(pid, running.pop(pid))
                elif life.overdue(time.monotonic()):
                    self.parent.kill(pid)
                    life.killed = True
        for pid in running:
            self.parent.kill(pid)
            self.parent.wait(pid, 10)
            self.bury(pid)
        self.report.seconds = time.monotonic() - began

    def _look(self, running: dict[int, Life]) -> None:
        """Until something has ended or it is time to look again: who has begun to work."""
        for _ in range(10):
            if not self.parent.ended.keys().isdisjoint(running):
                return
            time.sleep(0.004)
        owners = {owner for (owner,) in self.database.all(HOLDERS)}
        for pid, life in running.items():
            if life.claimed == float("inf") and owner_of(pid) in owners:
                life.claimed = time.monotonic()

    def _died(self, pid: int, life: Life) -> None:
        code = self.parent.ended[pid]
        if code != -signal.SIGKILL:
            self.report.faults.append(f"a sending process ended by itself with {code}")
        self.report.deaths[ANY_MOMENT if life.killed else life.plan.place, self.bury(pid)] += 1

    def bury(self, pid: int) -> str:
        """What a supervisor knows: this process is dead. In what states it held rows."""
        owner = owner_of(pid)
        held = self.database.all(
            "SELECT DISTINCT status FROM deliveries WHERE lease_owner = %s AND status IN ('leased', 'committing')", owner
        )
        self.database.run(
            "UPDATE shards SET owner = NULL, leased_until = clock_timestamp() - interval '1 s' WHERE owner = %s", owner
        )
        self.database.run("UPDATE process_beats SET seen_at = seen_at - interval '2 min' WHERE name = %s", owner)
        self.dead.append(owner)
        words = {status for (status,) in held}
        return "both" if len(words) == 2 else words.pop() if words else "nothing"

    # -- everything else, in a thread of its own -------------------------------------------------------------------------

    def keep(self, refill: Callable[[], bool]) -> None:
        """The product's ticks, people's patience, and time, until ``stopping``."""
        database = self.connect()
        swept = resolved = looked = 0.0
        cleaned = 0
        while not self.stopping.wait(0.05):
            now = time.monotonic()
            try:
                if now - swept > SWEEP_SECONDS:
                    swept = now
                    self._sweep(database)
                    self._age(database)
                    if refill() and database.one("SELECT count(*) FROM deliveries WHERE status = 'queued'") < self.waiting:
                        self.enrol(database, self.waiting)
                if now - resolved > RESOLVE_SECONDS:
                    resolved = now
                    self.resolve()
                if self.report.kills - cleaned >= CLEAN_AFTER_KILLS:
                    cleaned = self.report.kills
                    database.run(CLEAN)
                if now - looked > 5:
                    looked = now
                    self.report.stuck += self.stuck(database)
            except Exception as problem:
                self.report.faults.append(f"{type(problem).__name__}: {problem}")
        database.close()

    def stuck(self, database: Database) -> list[str]:
        return [str(row) for row in database.connection.execute(STUCK, {"seconds": STUCK_SECONDS}).fetchall()]

    def _sweep(self, database: Database) -> None:
        with self.app.app_context():
            upkeep.sweep_deliveries()
        for statement in REVIVE:
            database.run(statement)

    def resolve(self) -> None:
        with self.app.app_context():
            upkeep.resolve_uncertain()

    def _age(self, database: Database) -> None:
        """Once the receiver has closed every session that was open when a process died, its last bytes are old."""
        owners = [self.dead.popleft() for _ in range(len(self.dead))]
        newest, oldest_open = self.provider.sessions()
        if owners:
            self.unread.append((newest, owners))
        settled = [entry for entry in self.unread if entry[0] < oldest_open]
        self.unread = [entry for entry in self.unread if entry[0] >= oldest_open]
        if settled:
            database.run(AGE, uncertain.ABSENCE_AFTER, [owner for _, owners in settled for owner in owners])

    # -- the calm --------------------------------------------------------------------------------------------------------

    def drain(self, seconds: float) -> None:
        """No more kills: calm processes send the rest; after each has ended, what it could not know is resolved."""
        end = time.monotonic() + seconds
        while self.left():
            calm = self.parent.start(self.settings(lease_seconds=5))
            while self.database.one("SELECT count(*) FROM deliveries WHERE status IN ('queued', 'leased', 'committing')"):
                self._patiently(end)
                self._sweep(self.database)
            self.parent.kill(calm, signal.SIGTERM)
            if self.parent.wait(calm, 20) != 0:
                self.report.faults.append("a calm sending process did not end in order")
            self.bury(calm)
            while self.dead or self.unread:
                self._patiently(end)
                self._age(self.database)
            while self.database.one("SELECT count(*) FROM deliveries WHERE status = 'uncertain'"):
                self._patiently(end)
                self.resolve()

    def left(self) -> dict[str, int]:
        """What has not been sent yet."""
        return dict(self.database.all("SELECT status, count(*) FROM deliveries WHERE status <> 'sent' GROUP BY status"))

    def _patiently(self, end: float) -> None:
        if time.monotonic() > end:
            raise AssertionError(f"not drained: {self.left()}; {self.report.faults}")
        time.sleep(0.1)


CLEAN = "VACUUM (ANALYZE, INDEX_CLEANUP ON, TRUNCATE OFF) deliveries, delivery_attempts, enrollments, senders, shards, usage_counters"
HOLDERS = "SELECT DISTINCT lease_owner FROM deliveries WHERE status IN ('leased', 'committing')"
# Held for so long after its lease ran out; or due and waiting for so long although its mailbox was not busy with older messages: one
# that is due later went before it, or nothing of the mailbox was tried at all. (A queue that is merely long is not stuck.)
STUCK = """
WITH waiting AS (
  SELECT d.*, greatest(d.due_at, d.created_at, d.resolved_at, d.answered_at, tries.last) AS since FROM deliveries d
  LEFT JOIN LATERAL (SELECT max(greatest(a.started_at, a.ended_at)) AS last FROM delivery_attempts a WHERE a.delivery_id = d.id) tries ON true
  WHERE d.status = 'queued'),
 overdue AS (SELECT * FROM waiting WHERE since < clock_timestamp() - make_interval(secs => %(seconds)s)),
 stuck AS (
  SELECT id FROM deliveries WHERE status IN ('leased', 'committing') AND leased_until < clock_timestamp() - make_interval(secs => %(seconds)s)
  UNION ALL
  SELECT w.id FROM overdue w WHERE EXISTS (
      SELECT FROM deliveries o JOIN delivery_attempts a ON a.delivery_id = o.id
      WHERE o.sender_id = w.sender_id AND o.status = 'sent' AND o.due_at > w.due_at AND a.epoch = o.epoch AND a.started_at > w.since)
    OR NOT EXISTS (
      SELECT FROM deliveries o JOIN delivery_attempts a ON a.delivery_id = o.id
      WHERE o.sender_id = w.sender_id AND greatest(a.started_at, a.ended_at) > w.since))
SELECT d.id, d.shard, d.status, d.reason, d.due_at - clock_timestamp(), s.status, h.owner, h.leased_until - clock_timestamp(),
  (SELECT array_agg(o.status) FROM deliveries o WHERE o.sender_id = d.sender_id AND o.status NOT IN ('sent', 'queued'))
FROM stuck JOIN deliveries d USING (id) JOIN senders s ON s.id = d.sender_id LEFT JOIN shards h ON h.kind = 'dispatch' AND h.id = d.shard
"""
AGE = """
UPDATE deliveries d SET permitted_at = d.permitted_at - 2 * %s::interval FROM delivery_attempts a
WHERE d.status IN ('committing', 'uncertain') AND a.delivery_id = d.id AND a.epoch = d.epoch AND a.engine = ANY (%s)
"""
#: People look at mailboxes that rest; ladders and rests pass. Who waited becomes due as newly enrolled leads do (a minute ago): due only
#: now it would stand behind everybody enrolled within the next minute.
REVIVE = (
    "UPDATE senders SET status = 'active', uncertain_streak = 0, backoff_until = NULL WHERE id IN ("
    "SELECT id FROM senders WHERE status = 'paused' OR backoff_until > now() ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)",
    "UPDATE deliveries SET due_at = now() - interval '1 min' WHERE id IN ("
    "SELECT id FROM deliveries WHERE status = 'queued' AND due_at > now() ORDER BY id FOR UPDATE SKIP LOCKED)",
)
