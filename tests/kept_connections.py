"""The pool's connections outlive a test: PostgreSQL reads its catalogue anew for each new connection, which costs more than most tests.

What a test could leave in one is looked for instead: a role that is not the one asked for now (here), and a transaction or a lock
that is still held (tests/clean_database.py, which cuts it). A connection that was cut is replaced by the pool's own first question.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

from app.core.db import database_role

#: Process numbers, at the server, of the connections that lie in a pool of this process.
KEPT: set[int] = set()
_engines: list[Engine] = []


def keep(engine: Engine) -> None:
    """From now on connections of ``engine`` are kept between tests, each for the role it was made for."""
    _engines.append(engine)
    event.listen(engine, "connect", _made)
    event.listen(engine, "checkout", _lent)
    event.listen(engine, "close", _gone)


def let_go() -> None:
    """Close them all, at the end of a run."""
    for engine in _engines:
        engine.dispose()


def _made(connection: Any, record: Any) -> None:
    record.info["role"], record.info["number"] = database_role(), connection.info.backend_pid
    KEPT.add(record.info["number"])


def _lent(_connection: Any, record: Any, _proxy: Any) -> None:
    if record.info["role"] != database_role():
        raise DisconnectionError("made for another role")


def _gone(_connection: Any, record: Any) -> None:
    KEPT.discard(record.info.get("number", 0))
