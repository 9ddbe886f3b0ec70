"""What one message may cost: statements in the ledger, and processor time beside a loop of the same run (docs/benchmarks.md)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from app.core.config import libpq_url
from app.domain.address import registrable_domain
from app.services.outbox import claiming, permitting
from app.services.outbox.bursts import LedgerConnection, Line, Question, transaction_of
from app.services.outbox.claiming import THE_BEGINNING, Bytes, Claim
from app.services.outbox.permitting import Asked
from app.services.outbox.plain import rows as rows_of
from bench.figures import loop_seconds
from bench.permits import Meter, ledger_connection, road
from tests import factories
from tests.engine.workers import Database, enrol_many

BATCH, BATCHES = 100, 4
#: Statements of one batch of any size, from claim to outcome, and trips to the database in which they go, a commit that has one of its own included.
STATEMENTS, TRIPS = 34, 16
#: Our own processor time per message, in turns of the calibration loop (1 to 2.5 µs each): measured 290 to 320.
TURNS = 550
#: The database's processor time per message, in the same turns: measured 550 to 600.
DATABASE_TURNS = 1_000


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every trip of the sending road to the database, and the statements of each."""
    trips: list[list[str]] = []
    original, alone = Line.ask, Line.send

    def send(line: Line, how: str) -> None:
        trips.append([how])
        alone(line, how)

    def ask(line: Line, questions: Sequence[Question], **how: Any) -> Any:
        trips.append([" ".join(statement.split())[:60] for statement, _ in questions])
        return original(line, questions, **how)

    monkeypatch.setattr(Line, "ask", ask)
    monkeypatch.setattr(Line, "send", send)
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


def test_bytes_and_a_permit_stay_on_the_page_of_their_row_and_enter_no_index(app: Any, due: Database, database_url: str) -> None:
    """A third of what the database did for a message was entering new versions of rows into indexes, those of this table first (decision 0097)."""
    connection = ledger_connection(libpq_url(database_url))
    try:
        now = datetime.now(UTC)
        wanted = Claim("budget", dict.fromkeys(range(64), THE_BEGINNING), now, BATCH, 60)
        with transaction_of(connection):
            rows = claiming.claim(connection, wanted).rows
        assert len(rows) == BATCH
        # as little as a page of HTML packs: what packs better stays in the row, and a row that grows may leave its page
        items = [Bytes(row.id, row.epoch, b"Subject: x\r\n\r\n" + random.randbytes(2_500), f"<{row.id}@ourhouse.test>") for row in rows]
        assert _elsewhere(connection, lambda c: claiming.store_bytes(c, items, now)) <= BATCH // 10
        asked = [Asked(row.id, row.epoch) for row in rows]
        assert _elsewhere(connection, lambda c: permitting.permit(c, asked, now, 60)) <= BATCH // 10
        assert due.one("SELECT count(*) FROM deliveries WHERE status = 'committing'") == BATCH
    finally:
        connection.close()
        due.close()


def _elsewhere(connection: LedgerConnection, action: Callable[[LedgerConnection], Any]) -> int:
    """How many rows of ``deliveries`` the action wrote anew outside their page, and so into every index."""
    with transaction_of(connection):
        before = _written_anew(connection)
        action(connection)
        after = _written_anew(connection)
    assert after.all - before.all == BATCH
    return int((after.all - after.stayed) - (before.all - before.stayed))


def _written_anew(connection: LedgerConnection) -> Any:
    counted = "SELECT pg_stat_get_xact_tuples_updated(t) AS all, pg_stat_get_xact_tuples_hot_updated(t) AS stayed"
    return rows_of(connection, f"{counted} FROM cast('deliveries'::regclass AS oid) AS t")[0]
