"""Transactions, the caller's scope, and the database role: the only module that commits or rolls back.

Edges (blueprints, jobs, commands) open a transaction with ``transaction(scope)``; services run inside it and never commit.
The scope is written into the transaction (``app.client_id`` …) where row-level security reads it: the second wall.
``on_commit`` runs a callable after the commit succeeded: bells and jobs ring there, never before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from app.core.extensions import db

OWNER_ROLE = "emberpost_owner"
WEB_ROLE = "emberpost_web"
JOBS_ROLE = "emberpost_jobs"

HOT_LOCK = 0x0E_3B_E2  # pg_advisory lock: shared by permits, exclusive for switches, pauses, cap changes, suppressions

_role = WEB_ROLE


def use_database_role(role: str) -> None:
    """Which role this process's connections take (web or jobs). Call before the first connection."""
    global _role
    if role not in {OWNER_ROLE, WEB_ROLE, JOBS_ROLE}:
        raise ValueError(f"unknown database role {role!r}")
    _role = role


def database_role() -> str:
    return _role


def take_role(connection: Any, _record: Any = None) -> None:
    """Give a new DBAPI connection this process's role, outside any transaction so that no rollback takes it back."""
    before = connection.autocommit
    connection.autocommit = True
    try:
        connection.execute(f"SET ROLE {_role}; SET timezone TO 'UTC'")
    finally:
        connection.autocommit = before


def take_throw_away_role(connection: Any, _record: Any = None) -> None:
    """Give a connection to a throw-away database the jobs' role, whatever this process is; what is lost in a crash is dropped anyway."""
    connection.autocommit = True
    connection.execute(f"SET ROLE {JOBS_ROLE}")
    connection.execute("SET timezone TO 'UTC'")
    connection.execute("SET synchronous_commit TO off")
    connection.autocommit = False


def install_role(engine: Engine) -> None:
    """Make every pooled connection of ``engine`` take the process's role."""
    event.listen(engine, "connect", take_role)


@dataclass(frozen=True)
class Scope:
    """Whose rows a transaction may touch. ``client_id`` to write one client; ``client_ids`` to read several."""

    user_id: int | None = None
    client_id: int | None = None
    client_ids: tuple[int, ...] = ()


NOBODY = Scope()
_scope: ContextVar[Scope] = ContextVar("scope", default=NOBODY)


def current_scope() -> Scope:
    return _scope.get()


_SET_SCOPE = text(
    "SELECT set_config('app.user_id', :user_id, true), set_config('app.client_id', :client_id, true),"
    " set_config('app.client_ids', :client_ids, true)"
)


def _write_scope(connection: Any, scope: Scope) -> None:
    connection.execute(
        _SET_SCOPE,
        {
            "user_id": "" if scope.user_id is None else str(scope.user_id),
            "client_id": "" if scope.client_id is None else str(scope.client_id),
            "client_ids": ",".join(str(number) for number in scope.client_ids),
        },
    )


@event.listens_for(Session, "after_begin")
def _begin(_session: Session, _transaction: Any, connection: Any) -> None:
    scope = _scope.get()
    if scope is not NOBODY:
        _write_scope(connection, scope)


def _commit(session: Session) -> None:
    """Commit, then run what waited for it. Not by session events: those fire for savepoints too."""
    session.commit()
    for action in session.info.pop("on_commit", []):
        action()


def _forget(session: Session) -> None:
    session.rollback()
    session.info.pop("on_commit", None)


def enter_scope(scope: Scope) -> None:
    """Change the scope for the rest of this context, also inside a transaction that has already begun."""
    _scope.set(scope)
    if db.session().in_transaction():
        _write_scope(db.session.connection(), scope)


def on_commit(action: Callable[[], None]) -> None:
    """Run ``action`` once the present transaction is committed; forget it when it is rolled back."""
    db.session().info.setdefault("on_commit", []).append(action)


@contextmanager
def transaction(scope: Scope | None = None) -> Iterator[Session]:
    """One transaction: commit at the end, roll back on any exception. Refuses to nest."""
    session = db.session()
    if session.info.get("open"):
        raise RuntimeError("a transaction is already open: edges open them, services run inside")
    token = _scope.set(scope) if scope is not None else None
    session.info["open"] = True
    try:
        if session.in_transaction() and scope is not None:
            _write_scope(session.connection(), scope)
        yield session
        _commit(session)
    except BaseException:
        _forget(session)
        raise
    finally:
        session.info["open"] = False
        if token is not None:
            _scope.reset(token)


@contextmanager
def unheard_transaction() -> Iterator[Session]:
    """One transaction of nobody after whose commit nothing rings and no job is queued: for a throw-away database."""
    with transaction(NOBODY) as session:
        yield session
        session.info.pop("on_commit", None)


@contextmanager
def outside_transaction() -> Iterator[None]:
    """Commit what the present transaction did and hold none inside the block: for an edge that must ask the network in between.

    The next statement begins a new one in the same scope.
    """
    _commit(db.session())
    yield


def committed_alone(statement: str, values: Mapping[str, Any]) -> Any:
    """Run one statement that commits by itself, outside any session and scope; its first row.

    For keeping an arrival, where every fraction of a millisecond counts, and for the sign of life of a process, which often needs no
    other connection. ``values`` in psycopg's ``%(name)s`` form; the statement returns a row.
    It has a few connections of its own, because the pool asks each one for life before it lends it and puts it in order afterwards:
    eight waits around one statement. A connection that was lost while it lay idle is replaced and the statement asked again, so it
    must bear being asked twice.
    """
    for connection in (_idle_alone(), None):
        lent = connection or _connect_alone()
        try:
            row = lent.execute(statement, dict(values), prepare=True).fetchone()
        except psycopg.OperationalError:
            lent.close()
            if connection is None:
                raise
        except BaseException:
            lent.close()
            raise
        else:
            _alone.append(lent)
            return row
    raise AssertionError("the second try returns or raises")


#: Connections of ``committed_alone`` that lie idle; threads pop and append, which Python does in one step each.
_alone: deque[psycopg.Connection[Any]] = deque()


def _idle_alone() -> psycopg.Connection[Any] | None:
    try:
        return _alone.pop()
    except IndexError:
        return None


def _connect_alone() -> psycopg.Connection[Any]:
    url = db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg.connect(url, autocommit=True, connect_timeout=5, row_factory=namedtuple_row)
    take_role(connection)
    return connection


def close_alone(_engine: Any = None) -> None:
    """With the pool its own connections go as well (a process that ends, a test whose database goes away)."""
    while (connection := _idle_alone()) is not None:
        connection.close()


def rollback() -> None:
    """Forget what the present transaction did (an edge's error handler)."""
    _forget(db.session())


def lock_hot(exclusive: bool = True) -> None:
    """Take the hot lock for this transaction. Exclusive: whoever must win over every permit (take it first)."""
    name = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
    db.session.execute(text(f"SELECT {name}(:key)"), {"key": HOT_LOCK})
