"""Several statements in one trip of the ledger's connection: which one failed, and what is left of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from app.core.config import libpq_url
from app.core.failpoints import Name, arm
from app.services.outbox.bursts import LedgerConnection, transaction_of
from app.services.outbox.plain import Question, glance, rows, several

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


LAST = Name.OUTCOME_BEFORE_COMMIT


@pytest.fixture
def noted(ledger: LedgerConnection, database_url: str) -> Iterator[Callable[[], list[int]]]:
    """A small table, and what somebody else sees in it."""
    ledger.execute("CREATE TABLE noted (n int)")
    with psycopg.connect(libpq_url(database_url), autocommit=True) as other:
        try:
            yield lambda: [row[0] for row in other.execute("SELECT n FROM noted ORDER BY n").fetchall()]
        finally:
            arm("")
            ledger.execute("DROP TABLE noted")


def noting(number: int) -> Question:
    return "INSERT INTO noted VALUES (%(n)s::int)", {"n": number}


def test_a_transaction_that_may_ends_in_the_trip_of_its_last_statements(ledger: LedgerConnection, noted: Callable[[], list[int]]) -> None:
    with transaction_of(ledger, rides=True):
        several(ledger, [noting(1)])
        assert noted() == []
        assert several(ledger, [noting(2), ONE], LAST)[1] == [(1,)]
        assert noted() == [1, 2]
        with pytest.raises(psycopg.InternalError, match="behind the end"):
            several(ledger, [noting(3)])
    with transaction_of(ledger, rides=True):  # all of it in one trip
        several(ledger, [noting(4)], LAST)
        assert noted() == [1, 2, 4]
    assert noted() == [1, 2, 4]


def test_what_has_more_to_do_in_its_transaction_keeps_it_open(ledger: LedgerConnection, noted: Callable[[], list[int]]) -> None:
    with transaction_of(ledger):
        several(ledger, [noting(1)], LAST)
        assert noted() == []
        several(ledger, [noting(2)])
    assert noted() == [1, 2]


def test_a_trap_before_the_commit_still_lies_before_it(ledger: LedgerConnection, noted: Callable[[], list[int]]) -> None:
    arm(f"{LAST}@1=kill")
    with transaction_of(ledger, rides=True):
        several(ledger, [noting(1)], LAST)
        assert noted() == []
    arm(f"{Name.PERMIT_BEFORE_COMMIT}@1=kill")
    with transaction_of(ledger, rides=True):
        several(ledger, [noting(2)], LAST)
        assert noted() == [1, 2]


def test_nothing_is_committed_when_one_of_the_last_statements_fails(ledger: LedgerConnection, noted: Callable[[], list[int]]) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero), transaction_of(ledger, rides=True):
        several(ledger, [noting(1), ("SELECT 12 / %(by)s::int AS n", {"by": 0}), noting(2)], LAST)
    assert noted() == []
    with pytest.raises(ZeroDivisionError), transaction_of(ledger, rides=True):
        several(ledger, [noting(3)])
        print(1 // 0)
    assert noted() == []


def test_a_glance_begins_no_transaction_and_sees_what_one_has_written(ledger: LedgerConnection, noted: Callable[[], list[int]]) -> None:
    look: Question = ("SELECT n FROM noted", None)
    with transaction_of(ledger):
        assert glance(ledger, [look, ONE]) == [[], [(1,)]]
        assert ledger.info.transaction_status == TransactionStatus.IDLE
        several(ledger, [noting(1)])
        assert glance(ledger, [look]) == [[(1,)]]
        assert ledger.info.transaction_status == TransactionStatus.INTRANS
    assert noted() == [1]


def test_what_was_met_in_a_transaction_that_is_not_committed_is_forgotten(ledger: LedgerConnection, noted: Callable[[], list[int]]) -> None:
    ledger.execute("ALTER TABLE noted ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED")
    for rides in (False, True):
        with pytest.raises(psycopg.errors.UniqueViolation), transaction_of(ledger, rides=rides):
            ledger.line.met.add("a counter")
            several(ledger, [noting(1), noting(1)], LAST)
        assert not ledger.line.met
    with transaction_of(ledger):
        ledger.line.met.add("a counter")
        several(ledger, [noting(1)])
    assert ledger.line.met and noted() == [1]
