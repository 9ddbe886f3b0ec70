"""A database of its own for one rehearsal: made on the same server, dropped afterwards in any case.

Whoever rehearses holds an advisory lock named after its database. One whose lock is free belongs to a run that was killed: the
next rehearsal of the same installation drops it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from app.core.config import libpq_url, sqlalchemy_url
from app.core.errors import Conflict
from app.strings import t

PREFIX = "emberpost_rehearsal_"


@contextmanager
def throw_away_database(database_url: str) -> Iterator[str]:
    """The URL of an empty database beside the one at ``database_url``. Raises Conflict where the login may make none."""
    with psycopg.connect(libpq_url(database_url), autocommit=True, connect_timeout=5) as connection:
        _check_allowed(connection)
        prefix = _prefix(connection)
        _drop_leftovers(connection, prefix)
        name = prefix + secrets.token_hex(6)
        connection.execute("SELECT pg_advisory_lock(%s)", (_key(name),))
        try:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
            yield make_url(sqlalchemy_url(database_url)).set(database=name).render_as_string(hide_password=False)
        finally:
            _drop(connection, name)


def _check_allowed(connection: psycopg.Connection[Any]) -> None:
    row = connection.execute(
        "SELECT rolcreatedb OR rolsuper, quote_ident(rolname) FROM pg_roles WHERE rolname = session_user"
    ).fetchone()
    if row is None or not row[0]:
        login = row[1] if row else "the login"
        raise Conflict(
            t("rehearsals.no_database", login=login),
            code="rehearsal_not_allowed",
        )


def _prefix(connection: psycopg.Connection[Any]) -> str:
    """Only this installation's own: several may live on one server."""
    row = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
    assert row is not None
    return f"{PREFIX}{row[0]}_"


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _drop_leftovers(connection: psycopg.Connection[Any], prefix: str) -> None:
    found = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (prefix,)).fetchall()
    for (name,) in found:
        free = connection.execute("SELECT pg_try_advisory_lock(%s)", (_key(name),)).fetchone()
        if free is not None and free[0]:
            try:
                _drop(connection, name)
            finally:
                connection.execute("SELECT pg_advisory_unlock(%s)", (_key(name),))


def _drop(connection: psycopg.Connection[Any], name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
