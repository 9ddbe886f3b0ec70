"""What one message may cost: statements in the ledger, and processor time beside a loop of the same run (docs/benchmarks.md)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from app.core.config import libpq_url
from app.domain.address import registrable_domain
from app.services.outbox.bursts import Line, Question
from bench.figures import loop_seconds
from bench.permits import Meter, ledger_connection, road
from tests import factories
from tests.engine.workers import Database, enrol_many

BATCH, BATCHES = 100, 4
#: Statements of one batch of any size, from claim to outcome, and trips to the database in which they go (commits not counted).
STATEMENTS, TRIPS = 36, 18
#: Our own processor time per message, in turns of the calibration loop (1 to 2.5 µs each): measured 290 to 320.
TURNS = 550
#: The database's processor time per message, in the same turns: measured 550 to 600.
DATABASE_TURNS = 1_000


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every trip of the sending road to the database, and the statements of each."""
    trips: list[list[str]] = []
    original = Line.ask

    def ask(line: Line, questions: Sequence[Question]) -> Any:
        trips.append([" ".join(statement.split())[:60] for statement, _ in questions])
        return original(line, questions)

    monkeypatch.setattr(Line, "ask", ask)
    return trips


@pytest.fixture
def due(app: Any) -> Database:
    """Twenty mailboxes of one campaign with so many messages due."""
    client = factories.make_client()
    boxes = tuple(factories.make_mailbox(client) for _ in range(20))
    campaign = factories.make_campaign(client, mailboxes=boxes)
    database = Database(app.extensions["settings"])
    enrol_many(database, campaign, factories.first_step(campaign).id, [box.id for box in boxes], "b", BATCH * BATCHES)
    database.run("ANALYZE")
    return database


@pytest.mark.timed
def test_a_batch_of_any_size_needs_few_statements_and_a_message_little_time(
    app: Any, due: Database, counted: list[list[str]], database_url: str
) -> None:
    connection = ledger_connection(libpq_url(database_url))
    try:
        registrable_domain("example.com")  # reads its list once per process
        turn = min(loop_seconds(20) for _ in range(3)) / 20_000
        meter = Meter(connection)
        began = time.thread_time()
        done = road(connection, BATCH, meter)
        ours = (time.thread_time() - began) / done / turn
        theirs = sum(meter.backend.values()) / done / turn
    finally:
        connection.close()
        due.close()
    assert done == BATCH * BATCHES
    statements = [statement for trip in counted for statement in trip]
    batches = sum(statement.startswith("SELECT pg_advisory_xact_lock_shared") for statement in statements)
    assert len(statements) / batches <= STATEMENTS, statements
    assert len(counted) / batches <= TRIPS, counted
    print(f"{len(statements) / batches:.1f} statements in {len(counted) / batches:.1f} trips a batch, {ours:.0f} turns of ours, {theirs:.0f} of the database")
    assert ours <= TURNS, f"{ours:.0f} turns a message: {dict(meter.client)}"
    assert theirs <= DATABASE_TURNS, f"{theirs:.0f} turns a message of the database: {dict(meter.backend)}"
