"""Several statements in one trip of the ledger's connection: which one failed, and what is left of the others."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from app.core.config import libpq_url
from app.services.outbox.bursts import LedgerConnection, transaction_of
from app.services.outbox.plain import rows, several

ONE, TWO = ("SELECT 1 AS n", None), ("SELECT 2 AS n", None)


@pytest.fixture
def ledger(database_url: str) -> Iterator[LedgerConnection]:
    with LedgerConnection.connect(libpq_url(database_url), autocommit=True) as connection:
        yield connection


def test_what_cannot_be_prepared_is_the_error_and_those_behind_it_can_be_asked_later(ledger: LedgerConnection) -> None:
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable), transaction_of(ledger):
            several(ledger, [ONE, ("SELECT n FROM nothing_of_this_name", None), TWO])
    with transaction_of(ledger):
        assert several(ledger, [TWO, ONE, TWO]) == [[(2,)], [(1,)], [(2,)]]


def test_what_fails_when_it_runs_is_the_error_and_stays_prepared(ledger: LedgerConnection) -> None:
    share = "SELECT 12 / %(by)s::int AS n"
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero), transaction_of(ledger):
            several(ledger, [ONE, (share, {"by": 0}), TWO])
    with transaction_of(ledger):
        assert rows(ledger, share, {"by": 4})[0].n == 3
        assert several(ledger, [TWO, (share, {"by": 6})]) == [[(2,)], [(2,)]]


def test_a_statement_is_prepared_once_however_often_it_is_asked(ledger: LedgerConnection) -> None:
    for _ in range(3):
        with transaction_of(ledger):
            several(ledger, [ONE, ONE, TWO])
    prepared = ledger.execute("SELECT statement FROM pg_prepared_statements WHERE name LIKE 'ember%' ORDER BY 1").fetchall()
    assert prepared == [("BEGIN",), ("SELECT 1 AS n",), ("SELECT 2 AS n",)]
