"""The sending process's own connection: statements are prepared once, and several go in one trip.

Half of what a message cost in the ledger was going back and forth: the driver's cursors, and two processes that wake each other for every
statement. A burst sends statements that do not need each other's answers together. PostgreSQL begins one when the one before it has
ended, with a snapshot of its own (READ COMMITTED), so what stands behind a lock sees what the lock waited for.
"""

from __future__ import annotations

import json
import re
import select
import struct
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.types.json import Jsonb

from app.core.failpoints import Name, waits_at

_NAMED = re.compile(r"%\((\w+)\)[sb]|%%")
_BYTEA = 17
Question = tuple[str, Mapping[str, Any] | None]


def array_text(values: Sequence[Any]) -> str:
    """A list as PostgreSQL's array text: the driver does it twenty times slower. Lists of one kind are written in one go."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return "{" + ",".join(map(str, values)) + "}"
    if kinds == {datetime}:
        return '{"' + '","'.join([value.isoformat() for value in values]) + '"}'
    if kinds == {str}:
        text = '{"' + '","'.join(values) + '"}'
        if "\\" not in text and text.count('"') == 2 * len(values):
            return text
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if value is True or value is False:
        return "t" if value else "f"
    if isinstance(value, int):
        return str(int(value))
    if not isinstance(value, str | datetime):
        raise TypeError(f"no array of {type(value).__name__} is sent")
    text = value if isinstance(value, str) else value.isoformat()
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _array_of_bytes(values: Sequence[bytes]) -> bytes:
    """bytea[] in PostgreSQL's binary form: one dimension, no NULLs, counted from 1."""
    parts = [struct.pack("!iiiii", 1, 0, _BYTEA, len(values), 1)]
    for value in values:
        parts += (struct.pack("!i", len(value)), value)
    return b"".join(parts)


def _written(value: Any) -> tuple[bytes | None, int]:
    """A value for the wire and its format (0 text, 1 binary). The statement says which type it has."""
    if value is None:
        return None, 0
    if isinstance(value, bytes):
        return value, 1
    if isinstance(value, list):
        if value and isinstance(value[0], bytes):
            return _array_of_bytes(value), 1
        text = array_text(value)
    elif isinstance(value, bool):
        text = "t" if value else "f"
    elif isinstance(value, int):
        text = str(int(value))
    elif isinstance(value, datetime):
        text = value.isoformat()
    elif isinstance(value, str | float):
        text = str(value)
    elif isinstance(value, Jsonb):
        text = json.dumps(value.obj)
    else:
        raise TypeError(f"no {type(value).__name__} is sent")
    if "\0" in text:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text.encode(), 0


@dataclass(slots=True)
class _Prepared:
    """One statement on one connection. ``ready``: it was prepared there. ``make``: a row from its values, known after the first answer."""

    name: bytes
    text: bytes
    names: tuple[str, ...]
    ready: bool = False
    make: Callable[[Sequence[Any]], Any] | None = None


@dataclass(slots=True)
class Answer:
    """``rows`` of a statement that returns some; ``count``: how many it returned or touched."""

    rows: list[Any] = field(default_factory=list)
    count: int = 0


class Line:
    """What one connection has prepared. For one thread."""

    def __init__(self, connection: LedgerConnection) -> None:
        self._pg = connection.pgconn
        self._known: dict[str, _Prepared] = {}
        self._made = 0
        self._loader = Transformer(connection)
        self._poll = select.poll()
        self._begin = self._rides = self._over = False
        #: What this connection found or made in the ledger and need not ask for again; forgotten when a transaction is not committed.
        self.met: set[Any] = set()

    def begin_soon(self, rides: bool = False) -> None:
        """The transaction begins together with its first statement. ``rides``: and may end together with its last."""
        self._begin, self._rides = True, rides

    def end(self, how: str) -> None:
        """COMMIT or ROLLBACK, unless nothing has begun or the last burst has committed."""
        begun, over = not self._begin, self._over
        self._begin = self._rides = self._over = False
        try:
            if begun and not over:
                self.send(how)
        except psycopg.Error:
            self.met.clear()
            raise
        if how == "ROLLBACK":
            self.met.clear()

    def send(self, how: str) -> None:
        """COMMIT or ROLLBACK in a trip of its own."""
        answer = self._pg.exec_(how.encode())
        self._look_at(answer)
        if answer.command_status != how.encode():
            raise psycopg.InternalError(f"{how} became {answer.command_status!r}")

    def ask(self, questions: Sequence[Question], *, last: Name | None = None, alone: bool = False) -> list[Answer]:
        """Run them in order; the first that fails is raised, and those behind it did not run.

        ``last``: these are the transaction's last ones, and where one may ride along COMMIT goes in their trip; the failpoint that lies
        before it (a trap set there wants a trip of its own). ``alone``: they only read; where no transaction has begun none begins for them.
        """
        commit = self._rides and last is not None and not waits_at(last)
        if self._over:
            raise psycopg.InternalError("asked behind the end of its transaction")
        asked = [(self._prepared(statement), values or {}) for statement, values in questions]
        beginning = self._begin and not alone
        if beginning:
            asked.insert(0, (self._prepared("BEGIN"), {}))
        if commit:
            asked.append((self._prepared("COMMIT"), {}))
        sent = [(entry, *self._values(entry, values)) for entry, values in asked]
        if len(sent) == 1 and sent[0][0].ready:
            entry, values, formats = sent[0]
            results = [self._pg.exec_prepared(entry.name, values, formats)]  # type: ignore[arg-type]
        else:
            results = self._together(sent)
        if beginning:  # also when a statement behind it failed: then there is something to roll back
            self._begin = results[0].status != pq.ExecStatus.COMMAND_OK
        for result in results:
            self._look_at(result)
        if commit:
            self._over = True
            if results[-1].command_status != b"COMMIT":
                raise psycopg.InternalError(f"COMMIT became {results[-1].command_status!r}")
        answers = [self._answer(entry, result) for (entry, _, _), result in zip(sent, results, strict=True)]
        return answers[1 if beginning else 0 : -1 if commit else None]

    def _prepared(self, statement: str) -> _Prepared:
        known = self._known.get(statement)
        if known is None:
            names: list[str] = []

            def numbered(match: re.Match[str]) -> str:
                if match[1] is None:
                    return "%"
                if match[1] not in names:
                    names.append(match[1])
                return f"${names.index(match[1]) + 1}"

            text = _NAMED.sub(numbered, statement)
            self._made += 1
            self._known[statement] = known = _Prepared(b"ember_%d" % self._made, text.encode(), tuple(names))
        return known

    @staticmethod
    def _values(entry: _Prepared, values: Mapping[str, Any]) -> tuple[list[bytes | None], list[int]]:
        written = [_written(values[name]) for name in entry.names]
        return [value for value, _ in written], [shape for _, shape in written]

    def _together(self, sent: Sequence[tuple[_Prepared, list[bytes | None], list[int]]]) -> list[pq.abc.PGresult]:
        """In one trip, each prepared before it is first asked. Results of the statements, and of what could not be prepared."""
        self._pg.enter_pipeline_mode()
        expected: list[_Prepared | None] = []
        for entry, values, formats in sent:
            if not entry.ready and entry not in expected:
                self._pg.send_prepare(entry.name, entry.text)
                expected.append(entry)
            self._pg.send_query_prepared(entry.name, values, formats)
            expected.append(None)
        self._pg.pipeline_sync()
        self._poll.register(self._pg.socket, select.POLLIN | select.POLLOUT)
        while self._pg.flush():
            self._poll.poll()
            self._pg.consume_input()
        self._poll.register(self._pg.socket, select.POLLIN)
        results = [found for found in (self._next() for _ in range(2 * len(expected))) if found is not None]
        end = self._next()
        if len(results) != len(expected) or end is None or end.status != pq.ExecStatus.PIPELINE_SYNC:
            raise psycopg.OperationalError("the connection lost its place in a burst")
        self._pg.exit_pipeline_mode()
        kept = []
        for prepared, result in zip(expected, results, strict=True):
            if prepared is not None and result.status == pq.ExecStatus.COMMAND_OK:
                prepared.ready = True
            else:
                kept.append(result)
        return kept

    def _next(self) -> pq.abc.PGresult | None:
        while self._pg.is_busy():
            self._poll.poll()  # the only place that waits: without the interpreter's lock
            self._pg.consume_input()
        return self._pg.get_result()

    def _look_at(self, result: pq.abc.PGresult) -> None:
        if result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            return
        if self._pg.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError(self._pg.get_error_message() or "the connection is lost")
        if result.status == pq.ExecStatus.PIPELINE_ABORTED:
            raise psycopg.InternalError("asked behind a statement that failed")
        error = error_from_result(result)
        if isinstance(error, psycopg.errors.FeatureNotSupported):
            self._known.clear()  # a table changed under a prepared statement: prepare anew
        raise error

    def _answer(self, entry: _Prepared, result: pq.abc.PGresult) -> Answer:
        if result.status != pq.ExecStatus.TUPLES_OK:
            return Answer(count=result.command_tuples or 0)
        if entry.make is None:
            columns = [(result.fname(at) or b"").decode() for at in range(result.nfields)]
            row: Any = namedtuple("Row", columns, rename=True)  # type: ignore[misc]
            entry.make = partial(tuple.__new__, row)  # what `_make` does, without a step of Python for each row
        self._loader.set_pgresult(result)
        return Answer(self._loader.load_rows(0, result.ntuples, entry.make), result.ntuples)


class LedgerConnection(psycopg.Connection[Any]):
    """A connection in autocommit whose transactions are ``transaction_of``'s."""

    _line: Line | None = None

    @property
    def line(self) -> Line:
        if self._line is None:
            self._line = Line(self)
        return self._line


@contextmanager
def transaction_of(connection: LedgerConnection, at_once: bool = False, rides: bool = False) -> Iterator[LedgerConnection]:
    """One transaction. It begins with the first statement asked for through ``plain``; ``at_once`` for what asks otherwise.

    ``rides``: what it is for is all that happens in it, so it may end in the trip of its last statements.
    """
    line = connection.line
    line.begin_soon(rides)
    if at_once:
        line.ask([])
    try:
        yield connection
    except BaseException:
        with suppress(psycopg.Error):
            line.end("ROLLBACK")
        raise
    line.end("COMMIT")
