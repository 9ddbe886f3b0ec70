"""What a permit costs by the size of its batch, and every other step of the ledger's: claim, look, facts, store, outcome."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from app.services.outbox import claiming, outcomes, permitting, rendering
from app.services.outbox.bursts import LedgerConnection, transaction_of
from app.services.outbox.claiming import THE_BEGINNING, Bytes, Claim
from app.services.outbox.gathering import House, gathered, sources
from app.services.outbox.outcomes import Outcome, What
from app.services.outbox.permitting import Asked
from app.services.outbox.plain import glance
from app.services.outbox.rendering import CannotRender, Rendered, RenderInput
from bench import world
from bench.world import World
from jobs.sending.ledger import settle_in


class Meter:
    """Processor seconds of this thread and of its database process, wall seconds, and statements, by step."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._backend = Path(f"/proc/{connection.info.backend_pid}/schedstat")
        self.client: Counter[str] = Counter()
        self.backend: Counter[str] = Counter()
        self.wall: Counter[str] = Counter()

    def _there(self) -> float:
        return int(self._backend.read_text().split()[0]) / 1e9

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        here, there, began = time.thread_time(), self._there(), time.perf_counter()
        yield
        self.client[name] += time.thread_time() - here  # type: ignore[assignment]
        self.backend[name] += self._there() - there  # type: ignore[assignment]
        self.wall[name] += time.perf_counter() - began  # type: ignore[assignment]


def road(connection: LedgerConnection, batch: int, meter: Meter, public_url: str = "https://mail.example.com") -> int:
    """Walk every due row from claim to outcome, ``batch`` at a time, without a mail server; how many."""
    house, done = House(public_url, True), 0

    def within(name: str, action: Callable[[psycopg.Connection[Any]], Any]) -> Any:
        with meter.step(name), transaction_of(connection, rides=True):
            return action(connection)

    while True:
        now = datetime.now(UTC)
        wanted = Claim("bench", dict.fromkeys(range(64), THE_BEGINNING), now, batch, 60)
        leased = within("claim", lambda c: claiming.claim(c, wanted)).rows  # noqa: B023
        if not leased:
            return done
        asked = [Asked(row.id, row.epoch) for row in leased]
        inputs = within("look", lambda c: _look(c, asked, now, house))  # noqa: B023
        with meter.step("render"):
            made = {row.id: _rendered(rendering.render(inputs[row.id])) for row in leased}
        store = [Bytes(row.id, row.epoch, made[row.id].mime, made[row.id].message_id) for row in leased]
        within("store", lambda c: claiming.store_bytes(c, store, now))  # noqa: B023
        answers = within("permit", lambda c: permitting.permit(c, asked, now, 60))  # noqa: B023
        if not all(answer.granted for answer in answers.values()):
            raise RuntimeError(f"refused: {next(a for a in answers.values() if not a.granted)}")
        ends = [
            Outcome(
                row.id, row.epoch, What.ACCEPTED, phase="done", code=250, enhanced="2.0.0", text="Ok", words=made[row.id].words,
                sender_id=row.sender_id, enrollment_id=row.enrollment_id,
            )
            for row in leased
        ]
        within("outcome", lambda c: outcomes.record(c, ends, now))  # noqa: B023
        done += len(leased)


def _look(connection: LedgerConnection, asked: list[Asked], now: datetime, house: House) -> dict[int, RenderInput]:
    """As the ledger does after a claim."""
    caps, facts, found = glance(connection, [*permitting.early_questions(asked, now), sources([one.delivery_id for one in asked])])
    permitting.early(connection, caps, facts, now)
    return gathered(connection, found, now, house)


def _rendered(result: Rendered | CannotRender) -> Rendered:
    if isinstance(result, CannotRender):
        raise RuntimeError(result.sentence)
    return result


def ledger_connection(url: str) -> LedgerConnection:
    """A connection as the sending process's ledger has it."""
    from app.core.db import JOBS_ROLE, take_role, use_database_role

    use_database_role(JOBS_ROLE)
    connection = LedgerConnection.connect(url, autocommit=True)
    take_role(connection)
    settle_in(connection)
    return connection


def measure(here: World, mails: int = 1_000) -> None:
    from app.core.tokens import SealedTokens, use_sealed_tokens

    use_sealed_tokens(SealedTokens(world.SECRET))
    for batch in (100, 20, 1):
        count = mails if batch > 1 else 100
        world.enrol(here, count, lead_s=0.0)
        time.sleep(0.2)
        connection = ledger_connection(here.environ["DATABASE_URL"])
        meter = Meter(connection)
        done = road(connection, batch, meter)
        connection.close()
        if done != count:
            raise RuntimeError(f"{done} of {count} went the road")
        steps = "; ".join(f"{name} {meter.client[name] / done * 1e6:.0f} + {meter.backend[name] / done * 1e6:.0f}" for name in meter.client)
        print(f"batches of {batch}: {done / meter.wall['permit']:.0f} permits/s; µs a mail, ours + database's: {steps}", flush=True)
