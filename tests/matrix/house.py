"""Builds everything for one run of the matrix: both clients, what was deleted, the callers, and the walls that are to stand."""

from __future__ import annotations

import functools
import gc
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from flask import Flask

from app.blueprints import sessions
from app.core.extensions import db
from app.services import api_limits
from tests import factories as make
from tests.matrix import room, world
from tests.matrix.asking import Matrix
from tests.matrix.callers import everybody
from tests.matrix.logins import Logins

BOTH, ROWS_ALONE, SCOPE_ALONE = "both walls", "row-level security alone", "the scope alone"
WALLS = (BOTH, ROWS_ALONE, SCOPE_ALONE)


@contextmanager
def standing(app: Flask, database_url: str, walls: str = BOTH) -> Iterator[Matrix]:
    with psycopg.connect(database_url, autocommit=True) as connection, ExitStack() as stack:
        gc.freeze()  # looking for litter after every few requests takes a quarter of the time
        stack.callback(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(100_000, 20, 100)
        theirs = world.build(connection, "their-house", world.THEIRS, "Quetzalcoatlus", "Pterodactyl")
        ours = world.build(connection, "our-house", world.OURS, "Ankylosaurus", "Iguanodon")
        gone = world.build(connection, "gone-house", world.GONE, "Ankylosaurus", "Iguanodon", client=ours.client)
        closed = make.make_client(name="Closed", slug="gone-house")
        gone.ids["client_id"] = closed.id
        world.bury(connection, world.GONE)
        empty = world.empty_tables(connection, theirs.client.id)
        assert not empty, f"no row of {', '.join(empty)} is watched: make one in tests/matrix/world.py"
        world.number_from(connection, 45_000_000)
        callers = everybody(app, ours, theirs)
        db.session.rollback()  # no transaction of ours may hold a table that gets another policy
        room.install(connection)
        stack.callback(room.uninstall, connection)
        if walls == SCOPE_ALONE:
            stack.enter_context(room.security_opened(connection))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        inside = stack.enter_context(room.entered(app, (ours.client.id, theirs.client.id)))
        patch.setattr(secrets, "token_urlsafe", lambda size=32: "x" * (size * 4 // 3 + 1))  # pages differ by nothing but what they show
        patch.setattr(sessions, "decode_token", functools.cache(sessions.decode_token))  # the same few tokens, thousands of times
        logins = Logins()
        logins.install(patch)
        patch.setattr(api_limits, "take", lambda _who, limit: api_limits.Allowance(limit, limit, 60, over=False))  # thousands a minute are asked here
        if walls == ROWS_ALONE:
            stack.enter_context(room.scope_taken_out(inside.engine))
        yield Matrix(app, inside, {"ours": ours, "theirs": theirs, "gone": gone}, callers, logins)
