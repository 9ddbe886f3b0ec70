"""The one thread that talks to PostgreSQL, with one connection, for everything the engine wants.

It takes whatever has queued up while its last statement ran, so its batches grow with the load and need no timer. When the
database is away every waiting permit answers no, claims find nothing, and outcomes are kept until they can be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import psycopg

from app.channels.base import Permit
from app.core import clock
from app.core.config import Settings, libpq_url
from app.core.db import take_role
from app.core.failpoints import Name, point
from app.core.witness import Witness
from app.services.outbox import claiming, outcomes, permitting
from app.services.outbox.bursts import LedgerConnection, transaction_of
from app.services.outbox.claiming import Bytes, Claim, Leased, Place
from app.services.outbox.gathering import House, gathered, sources
from app.services.outbox.outcomes import Outcome
from app.services.outbox.permitting import LEDGER_AWAY, Asked
from app.services.outbox.plain import glance
from app.services.outbox.rendering import RenderInput
from app.services.recovery import continuity

log = logging.getLogger("emberpost.ledger")

#: Rows per transaction: larger ones would hold counters and the hot lock for too long.
PERMITS_AT_ONCE = 100
OUTCOMES_AT_ONCE = 200
#: How often the ledger's mark is advanced (machine time).
MARK_SECONDS = 5.0
#: No statement of ours may take longer (machine time): a stop waits for the permits before it.
STATEMENT_SECONDS = 10
#: How long one look waits for the server to end what it does for a lost connection, and how long until the next look (machine time).
END_MS, LOOK_AGAIN_SECONDS = 1_000, 1.0
#: A process that freezes inside a transaction would hold its locks, and everybody up, until it wakes: PostgreSQL ends it before.
FROZEN_SECONDS = 5

#: In one trip, once per connection. All it reads it knows by id, and what it reads lies in memory: a young table is not read from end
#: to end for it. Every statement is planned once, not five times more for values that change nothing.
_SETTINGS = f"""
SET statement_timeout = '{STATEMENT_SECONDS}s';
SET lock_timeout = '4s';
SET idle_in_transaction_session_timeout = '{FROZEN_SECONDS}s';
SET synchronous_commit = on;
SET random_page_cost = 1.1;
SET plan_cache_mode = force_generic_plan
"""

# The server may still be at work for a connection we have lost, up to its commit: only when that is over is it known what was written.
# Our own number is asked for, since a pooler in between would say another one.
_LOST = "FROM pg_stat_activity WHERE pid = %(lost)s AND application_name = current_setting('application_name') AND pid <> pg_backend_pid()"
_END = f"SELECT pg_backend_pid(), (SELECT count(pg_terminate_backend(pid, {END_MS})) {_LOST})"
_STILL_AT_WORK = f"SELECT EXISTS (SELECT {_LOST})"

Result = TypeVar("Result")


def settle_in(connection: LedgerConnection) -> None:
    """What a ledger's connection asks of its server, once."""
    connection.execute(_SETTINGS)
    # Stored bytes are packed ten times faster where this server can; how they are packed is seen by nobody. (To look first would cost 2 ms.)
    with contextlib.suppress(psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject):
        connection.execute("SET default_toast_compression = lz4")


@dataclass(slots=True)
class Claimed:
    """A leased row and, where its bytes are not frozen yet, what they are made from."""

    row: Any
    given: RenderInput | None


@dataclass(frozen=True, slots=True)
class Haul:
    """What a claim brought, and the shards to be looked at further on."""

    claimed: list[Claimed]
    further: dict[int, Place]


@dataclass(slots=True)
class _Wish:
    """Something the engine waits for. Resolved on the engine's loop."""

    kind: str
    what: Any
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any] = field(repr=False)

    def answer(self, value: Any) -> None:
        self.loop.call_soon_threadsafe(_settle, [(self, value)])


def _settle(answers: list[tuple[_Wish, Any]]) -> None:
    for wish, value in answers:
        if not wish.future.done():
            wish.future.set_result(value)


def _answer(answers: list[tuple[_Wish, Any]]) -> None:
    """Wake the loop once for a whole batch, not once for each message of it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Wish, Any]]] = {}
    for entry in answers:
        by_loop.setdefault(entry[0].loop, []).append(entry)
    for loop, entries in by_loop.items():
        loop.call_soon_threadsafe(_settle, entries)


class Ledger:
    """Ask it from the engine's loop; ``start`` and ``stop`` it from the main thread."""

    def __init__(self, settings: Settings, owner: str, on_topics: Callable[[list[tuple[int, str]]], None]) -> None:
        self.owner = owner
        self.witness = Witness(settings.data_dir)
        self._dsn = libpq_url(settings.database_url)
        self._lease_s = settings.lease_seconds
        self._house = House(settings.public_url, bool(settings.allow_targets) or settings.rehearsal)
        self._on_topics = on_topics
        self._wishes: queue.SimpleQueue[_Wish | None] = queue.SimpleQueue()
        self._outcomes: list[_Wish] = []
        self._connection: LedgerConnection | None = None
        self._backend = 0  # which of the server's processes works for us, or did for the connection before
        self._look_again_at = 0.0
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._stopping = False
        self.away_since: float | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience_s: float) -> bool:
        """Let it write what it still holds, at most ``patience_s``. False when something could not be written."""
        self._stopping = True
        self._wishes.put(None)
        self._thread.join(patience_s)
        return not self._thread.is_alive() and not self._outcomes

    # -- asked by the engine ---------------------------------------------------------------------------------------

    def _ask(self, kind: str, what: Any) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        wish = _Wish(kind, what, loop, loop.create_future())
        self._wishes.put(wish)
        return wish.future

    async def claim(self, wanted: Claim, connected: Collection[int] = ()) -> Haul:
        """Lease what is due; empty when there is nothing, or no database. ``connected``: senders to whose servers a session is open."""
        found: Haul = await self._ask("claim", (wanted, connected))
        return found

    def store(self, item: Bytes) -> asyncio.Future[bool]:
        """Freeze the bytes; False when the row is no longer ours. Asked at once, also when it is awaited later."""
        return self._ask("store", item)

    def permit(self, asked: Asked) -> asyncio.Future[Permit]:
        """May this row be sent now? A permit nobody waits for any more is not given."""
        return self._ask("permit", asked)

    def record(self, outcome: Outcome) -> asyncio.Future[None]:
        """Done when the outcome is durable. Asked at once, also when it is awaited later."""
        return self._ask("outcome", outcome)

    async def renew(self, held: list[tuple[int, int]]) -> int | None:
        """Keep leases; how many rows were still ours, None when it could not be asked."""
        count: int | None = await self._ask("renew", held)
        return count

    async def call(self, function: Callable[[psycopg.Connection[Any]], Result]) -> Result | None:
        """Run a small function in a transaction of its own; None when that failed."""
        result: Result | None = await self._ask("call", function)
        return result

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            wishes = self._take()
            if wishes:
                self._serve(wishes)
            if self._outcomes:
                self._write_outcomes()
            if self._stopping and not self._outcomes and self._wishes.empty():
                break
        if self._connection is not None:
            self._connection.close()

    def _take(self) -> list[_Wish]:
        """Wait for the next wish (shortly, while outcomes wait to be written), then everything that queued up behind it."""
        found: list[_Wish] = []
        try:
            first = self._wishes.get(timeout=0.2 if self._outcomes else 5.0)
            found += [first] if first is not None else []
            while True:
                following = self._wishes.get_nowait()
                found += [following] if following is not None else []
        except queue.Empty:
            return found

    def _serve(self, wishes: list[_Wish]) -> None:
        by_kind: dict[str, list[_Wish]] = {}
        for wish in wishes:
            by_kind.setdefault(wish.kind, []).append(wish)
        self._outcomes += by_kind.get("outcome", [])
        permits = [wish for wish in by_kind.get("permit", []) if not wish.future.cancelled()]
        for start in range(0, len(permits), PERMITS_AT_ONCE):
            self._permit(permits[start : start + PERMITS_AT_ONCE])
        if self._outcomes:
            self._write_outcomes()
        if "store" in by_kind:
            self._store(by_kind["store"])
        for wish in by_kind.get("renew", []):
            wish.answer(self._try(partial(claiming.renew, held=wish.what, lease_s=self._lease_s)))
        for wish in by_kind.get("claim", []):
            wish.answer(self._claim(*wish.what))
        for wish in by_kind.get("call", []):
            wish.answer(self._try(wish.what, at_once=True))

    def _permit(self, wishes: list[_Wish]) -> None:
        now = clock.now()
        asked = [wish.what for wish in wishes]
        answers = self._try(lambda c: permitting.permit(c, asked, now, self._lease_s))
        if answers is not None:
            point(Name.PERMIT_COMMITTED)
        away = Permit(False, time.monotonic(), LEDGER_AWAY)
        _answer([(wish, away if answers is None else answers[wish.what]) for wish in wishes])

    def _store(self, wishes: list[_Wish]) -> None:
        now = clock.now()
        stored = self._try(lambda c: claiming.store_bytes(c, [wish.what for wish in wishes], now)) or set()
        if stored:
            point(Name.BYTES_STORED)
        _answer([(wish, (wish.what.delivery_id, wish.what.epoch) in stored) for wish in wishes])

    def _claim(self, wanted: Claim, connected: Collection[int]) -> Haul:
        found = self._try(lambda c: claiming.claim(c, wanted)) or Leased([], {})
        leased = found.rows
        if not leased:
            return Haul([], found.further)
        point(Name.CLAIM_COMMITTED)
        refused, inputs = self._try(lambda c: self._look(c, leased, wanted.now, connected)) or (set(), {})
        return Haul([Claimed(row, inputs.get(row.id)) for row in leased if row.id not in refused], found.further)

    def _look(
        self, connection: LedgerConnection, leased: list[Any], now: datetime, connected: Collection[int]
    ) -> tuple[set[int], dict[int, RenderInput]]:
        """What a permit would refuse anyway goes back before a connection is opened for it; what the others are made from is read."""
        unsure = [Asked(row.id, row.epoch) for row in leased if row.sender_id not in connected]
        questions = permitting.early_questions(unsure, now) if unsure else []
        bare = [row.id for row in leased if row.mime is None]
        found = glance(connection, [*questions, *([sources(bare)] if bare else [])])
        refused = permitting.early(connection, found[0], found[1], now) if unsure else set()
        kept = [row for row in found[-1] if row.id not in refused] if bare else []
        return refused, gathered(connection, kept, now, self._house) if kept else {}

    def _write_outcomes(self) -> None:
        """In the order they came. One that can never be written must not hold up the others: alone, it is dropped loudly."""
        batch = self._outcomes[:OUTCOMES_AT_ONCE]
        topics = self._record(batch)
        if topics is None and len(batch) > 1 and self.away_since is None:
            topics = []
            for wish in batch:
                topics += self._record([wish]) or self._give_up(wish)
        if topics is None and len(batch) == 1 and self.away_since is None:
            topics = self._give_up(batch[0])
        if topics is None:
            time.sleep(0.2)
            return
        del self._outcomes[: len(batch)]
        point(Name.OUTCOME_RECORDED)
        _answer([(wish, None) for wish in batch])
        self._on_topics(topics)

    def _record(self, wishes: list[_Wish]) -> list[tuple[int, str]] | None:
        now: datetime = clock.now()
        return self._try(lambda c: outcomes.record(c, [wish.what for wish in wishes], now))

    def _give_up(self, wish: _Wish) -> list[tuple[int, str]]:
        """The row stays as it is; its lease runs out and the sweep shows it as uncertain: never silent, never lost."""
        log.error("an outcome cannot be written and is left to the sweep: %s", wish.what)
        return []

    def _try(self, function: Callable[[LedgerConnection], Result], at_once: bool = False) -> Result | None:
        """One transaction; None (and a new connection next time) when it failed. ``at_once``: it may ask past ``plain``."""
        try:
            connection = self._connected()
            with transaction_of(connection, at_once, rides=not at_once):
                result = function(connection)
            self.away_since = None
            return result
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self._lost(error)
        except Exception:
            log.exception("the ledger refused a batch")
            self.away_since = None
        return None

    def _connected(self) -> LedgerConnection:
        if self._connection is None or self._connection.closed:
            self._connection = self._opened()
        return self._connection

    def _opened(self) -> LedgerConnection:
        """A new connection, or none: nothing is asked on one that is not whole."""
        if time.monotonic() < self._look_again_at:
            raise psycopg.OperationalError("the server is still at work for a connection that was lost")
        connection = LedgerConnection.connect(self._dsn, autocommit=True, connect_timeout=5, application_name=f"emberpost {self.owner}")
        try:
            self._end_what_was_lost(connection)
            take_role(connection)
            settle_in(connection)
            self._look_whose_it_is(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _end_what_was_lost(self, connection: psycopg.Connection[Any]) -> None:
        """What we asked for on a lost connection is either done or undone before we say anything else about it."""
        lost = {"lost": self._backend}
        try:
            ours: tuple[int, int] = connection.execute(_END, lost).fetchone()  # type: ignore[assignment]
            at_work = ours[1] and connection.execute(_STILL_AT_WORK, lost).fetchone() == (True,)
        except psycopg.Error as error:
            raise psycopg.OperationalError(f"what the server does for a lost connection could not be ended: {error}") from error
        if at_work:
            log.warning("PostgreSQL's process %s is still at work for a connection that was lost; nothing leaves until it has ended", self._backend)
            self._look_again_at = time.monotonic() + LOOK_AGAIN_SECONDS
            raise psycopg.OperationalError("the server is still at work for a connection that was lost")
        self._backend = ours[0]

    def _look_whose_it_is(self, connection: psycopg.Connection[Any]) -> None:
        """Behind this address may be another database now: a restored backup, or a standby that took over."""
        with connection.transaction():
            found = continuity.establish(connection, self.witness.highest)
        if found is not None:
            log.error("everything is stopped: %s %s", found.why, found.fix)

    async def keep_mark(self) -> None:
        """Advance the ledger's mark and remember it outside; a ledger that falls behind it was set back."""
        while True:
            found = await self.call(continuity.beat)
            if found is not None:
                await asyncio.to_thread(self.witness.remember, *found)
            await asyncio.sleep(MARK_SECONDS)

    def _lost(self, error: Exception) -> None:
        transient = isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected | psycopg.errors.QueryCanceled)
        if self.away_since is None:
            self.away_since = time.monotonic()
            log.warning("the ledger is away, nothing leaves: %s", str(error).strip())
        if not transient and self._connection is not None:
            self._connection.close()
            self._connection = None
            time.sleep(0.05)


