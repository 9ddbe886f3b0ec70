"""Where the matrix asks: the product on one connection whose every change is taken back, and its two walls, each removable from outside.

Nothing here is a switch of the product: the scope is taken out of its SQL on the way to the server, row-level security is opened by a
policy in this test's database. A request commits as ever, but over a connection that takes back what was written when it was looked at.
"""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import flask_sqlalchemy.session
import psycopg
import pytest
from flask import Flask
from psycopg import sql
from sqlalchemy import event

from app.core.db import WEB_ROLE, database_role, use_database_role
from app.core.extensions import db
from tests.matrix.wire import OneConnection
from tests.matrix.world import tenant_tables
from tests.web.page_client import as_web, web_app

#: ``leads.client_id = %(client)s``, ``client_id IN (%(client_id_1_1)s, …)``, ``clients.id IN (…)``: whose rows a statement means.
_PLACE = r"%\(\w+\)s(?:::\w+)?"
_SCOPE = re.compile(
    rf"(?<![\w.])(?:\w+\.)?client_id\s*=\s*(?:{_PLACE}|CAST\({_PLACE} AS \w+\))|(?<![\w.])(?:\w+\.)?client_id IN \({_PLACE}(?:, {_PLACE})*\)"
    rf"|(?<![\w.])clients\.id IN \({_PLACE}(?:, {_PLACE})*\)"
)
_WRITES_CLIENT = re.compile(r"\bSET\b[^()]*?\bclient_id\s*=", re.IGNORECASE)


#: What this transaction wrote to holds a lock of at least this kind until its end; what a rolled-back savepoint wrote to does not.
_WRITTEN = """
SELECT DISTINCT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
 WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
   AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
"""


class ScopePatch:
    """Takes the client out of every statement's conditions; counts what it took out."""

    def __init__(self) -> None:
        self.taken = 0

    def __call__(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> tuple[str, Any]:
        if _WRITES_CLIENT.search(statement):
            return statement, parameters
        changed, number = _SCOPE.subn("true", statement)
        self.taken += number
        return changed, parameters


class Room:
    """The product (``app``), on one connection. ``within(action)`` runs a request, looks, and takes everything back."""

    def __init__(self, app: Flask, worlds: tuple[int, int]) -> None:
        self.app, self.worlds = app, worlds
        self.one = as_web(lambda: OneConnection(app))
        self.engine, self.connection, self.wire = self.one.engine, self.one.connection, self.one.wire
        self.watched: dict[str, list[str]] = {}  # by table: the functions to be asked when it was written to
        for table, name in self.wire.execute("SELECT watched, name FROM matrix.looks ORDER BY name").fetchall():
            self.watched.setdefault(table, []).append(name)
        self.untouched = self._look(self.watched)
        self.wire.rollback()
        assert not [name for name, said in self.untouched.items() if name.startswith("across ") and said[0]]

    def within(self, action: Callable[[], Any]) -> tuple[Any, bool, list[str]]:
        """(answer, did it write, what it should not have done to each world: "ours", "theirs", "across")."""
        try:
            answer = contextvars.Context().run(action)
            return answer, self.wire.kept, self._changed() if self.wire.kept else []
        finally:
            self.wire.take_back()

    def _changed(self) -> list[str]:
        found = self._look([row[0] for row in self.wire.execute(_WRITTEN)])
        return sorted({said for name, now in found.items() for said in _told(name, self.untouched[name], now)})

    def _look(self, tables: Iterable[str]) -> dict[str, list[str | None]]:
        """What the functions about these tables say now."""
        names = sorted({name for table in tables for name in self.watched.get(table, ())})
        if not names:
            return {}
        asked = ", ".join(f'matrix."{name}"(%(ours)s, %(theirs)s)' for name in names)
        row = self.wire.execute(f"SELECT {asked}", dict(zip(("ours", "theirs"), self.worlds, strict=True))).fetchone()
        assert row is not None
        return dict(zip(names, row, strict=True))

    def close(self) -> None:
        self.one.close()


def _told(name: str, before: list[str | None], now: list[str | None]) -> list[str]:
    if name.startswith("across "):
        return [name] if now[0] else []
    return [world for world, one, other in zip(("ours", "theirs"), before, now, strict=True) if one != other]


def _across(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, tuple[str, str], str]]:
    """For each foreign key between tenant tables: its name, the tables, and what finds rows of one client that lead to another's."""
    keys = connection.execute(
        "SELECT k.conname, c.relname, a.attname, f.relname, b.attname FROM pg_constraint k"
        " JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class f ON f.oid = k.confrelid"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1] JOIN pg_attribute b ON b.attrelid = f.oid AND b.attnum = k.confkey[1]"
        " WHERE k.contype = 'f' AND array_length(k.conkey, 1) = 1 AND k.connamespace = 'public'::regnamespace"
    ).fetchall()
    known = set(tenant_tables(connection))
    for name, table, column, target, key in keys:
        if table in known and target in known:
            found = f"EXISTS (SELECT 1 FROM public.{table} x JOIN public.{target} y ON y.{key} = x.{column} WHERE x.client_id <> y.client_id)"
            yield name, (table, target), found


def install(connection: psycopg.Connection[Any]) -> None:
    """Functions that see everything, whoever asks: hashes over one client's rows, and references from one client to another.

    One for each table and each foreign key; ``matrix.looks`` says which to ask when a table was written to.
    """
    prints = {
        table: ((table,), f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM public.{table} t WHERE t.client_id = the_client")
        for table in tenant_tables(connection)
    }
    people = (
        "SELECT md5(string_agg(u::text, '|' ORDER BY u.id)) FROM public.users u JOIN public.memberships m ON m.user_id = u.id"
        " WHERE m.client_id = the_client"
    )
    prints |= {"clients": (("clients",), "SELECT t::text FROM public.clients t WHERE t.id = the_client"), "users": (("users", "memberships"), people)}
    connection.execute("CREATE SCHEMA matrix")
    connection.execute("CREATE TABLE matrix.looks (watched text, name text)")
    for name, (tables, statement) in prints.items():
        of_both = ", ".join(f"({statement.replace('the_client', world)})" for world in ("ours", "theirs"))
        _make(connection, f"rows of {name}", tables, f"ARRAY[{of_both}]")
    for name, tables, found in _across(connection):
        _make(connection, f"across {name}"[:63], tables, f"ARRAY[CASE WHEN {found} THEN 'across' END]")
    connection.execute("GRANT USAGE ON SCHEMA matrix TO PUBLIC")
    connection.execute("GRANT SELECT ON matrix.looks TO PUBLIC")


def _make(connection: psycopg.Connection[Any], name: str, tables: tuple[str, ...], value: str) -> None:
    connection.execute(
        f'CREATE FUNCTION matrix."{name}"(ours bigint, theirs bigint) RETURNS text[] LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN {value}; END $$'
    )
    for table in tables:
        connection.execute("INSERT INTO matrix.looks VALUES (%s, %s)", (table, name))


def uninstall(connection: psycopg.Connection[Any]) -> None:
    connection.execute("DROP SCHEMA IF EXISTS matrix CASCADE")


@contextmanager
def security_opened(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Row-level security says yes to everybody: the scope alone must hold."""
    names = [row[0] for row in connection.execute("SELECT relname FROM pg_class WHERE relrowsecurity AND relnamespace = 'public'::regnamespace")]
    assert len(names) > 25
    for name in names:
        statement = f"CREATE POLICY matrix_open ON {{}} TO {WEB_ROLE} USING (true) WITH CHECK (true)"
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
    try:
        yield
    finally:
        for name in names:
            connection.execute(sql.SQL("DROP POLICY matrix_open ON {}").format(sql.Identifier(name)))


@contextmanager
def scope_taken_out(engine: Any) -> Iterator[ScopePatch]:
    """Statements no longer say whose rows they mean: row-level security alone must hold."""
    patch = ScopePatch()
    event.listen(engine, "before_cursor_execute", patch, retval=True)
    try:
        yield patch
    finally:
        event.remove(engine, "before_cursor_execute", patch)


@contextmanager
def entered(app: Flask, worlds: tuple[int, int]) -> Iterator[Room]:
    """The room, and every session of the product in it, on the room's connection."""
    before = database_role()
    use_database_role(WEB_ROLE)
    room = Room(web_app(app), worlds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flask_sqlalchemy.session.Session, "get_bind", lambda *_args, **_values: room.connection)
        db.session.remove()
        try:
            yield room
        finally:
            db.session.remove()
            room.close()
            use_database_role(before)
