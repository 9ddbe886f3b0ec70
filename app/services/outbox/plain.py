"""Plain SQL on a psycopg connection: what the sending road speaks, without ORM sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from app.core.extensions import db
from app.core.failpoints import Name
from app.services.outbox.bursts import LedgerConnection, Question, array_text

Connection = psycopg.Connection[Any]
__all__ = ["DELIVERIES", "Connection", "Question", "for_table", "glance", "met_by", "plain_connection", "rows", "run", "several"]

#: The outreach lane. The warm-up lane will be a second table with the same columns.
DELIVERIES = "deliveries"


def plain_connection() -> Connection:
    """The psycopg connection of the present transaction of ``db.session`` (an edge opened it and will commit it)."""
    db.session.flush()
    return db.session.connection().connection.driver_connection  # type: ignore[return-value]


def _ready(values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The values with each list written as PostgreSQL's array text.

    The statement says which type an array has (``%(ids)s::bigint[]``). Lists of bytes stay the driver's (``%(mimes)b``).
    """
    if not values:
        return values
    return {
        name: array_text(value) if type(value) is list and not (value and type(value[0]) is bytes) else value
        for name, value in values.items()
    }


def rows(connection: Connection, statement: str, values: Mapping[str, Any] | None = None) -> list[Any]:
    """Run a statement and return its rows as named tuples."""
    if isinstance(connection, LedgerConnection):
        return connection.line.ask([(statement, values)])[0].rows
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(statement, _ready(values)).fetchall()


def run(connection: Connection, statement: str, values: Mapping[str, Any] | None = None) -> int:
    """Run a statement that returns nothing; how many rows it touched."""
    if isinstance(connection, LedgerConnection):
        return connection.line.ask([(statement, values)])[0].count
    return connection.execute(statement, _ready(values)).rowcount


def glance(connection: Connection, questions: Sequence[Question]) -> list[list[Any]]:
    """``several`` that only read, each with a snapshot of its own: where no transaction has begun, the ledger's begins none for them."""
    if isinstance(connection, LedgerConnection):
        return [answer.rows for answer in connection.line.ask(questions, alone=True)] if questions else []
    return several(connection, questions)


def several(connection: Connection, questions: Sequence[Question], last: Name | None = None) -> list[list[Any]]:
    """Run statements that do not need each other's answers, in order and on the ledger's connection in one trip; the rows of each.

    ``last``: nothing follows them in their transaction but the failpoint of this name, so it may end in the same trip.
    """
    if isinstance(connection, LedgerConnection):
        return [answer.rows for answer in connection.line.ask(questions, last=last)] if questions else []
    found = []
    for statement, values in questions:
        with connection.cursor(row_factory=namedtuple_row) as cursor:
            cursor.execute(statement, _ready(values))
            found.append(cursor.fetchall() if cursor.description is not None else [])
    return found


def met_by(connection: Connection) -> set[Any]:
    """What this connection has found in the ledger and need not make; empty on one that does not remember."""
    return connection.line.met if isinstance(connection, LedgerConnection) else set()


#: A guard inside a statement, for its transaction ends with it: unless it wrote ``%(all)s`` rows it fails, and says why.
_ALL = "CASE WHEN count(*) = %(all)s THEN true ELSE ('a locked row changed, written: ' || count(*))::bool END AS all_of_them"


@cache
def for_table(statement: str, table: str) -> str:
    """Put the lane's table into a statement, and its guard where it has one. Only names from our own code come here."""
    if not table.isidentifier():
        raise ValueError(f"no table: {table!r}")
    return statement.replace("{table}", table).replace("{all of them}", _ALL)
