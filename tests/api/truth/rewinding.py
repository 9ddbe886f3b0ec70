"""The product on one connection that takes everything back: after each request the database is what it was before.

A real request, real SQL and row-level security as the web role; only the last COMMIT never comes. What that COMMIT alone would
check (deferred constraints) is asked for before the rewinding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import flask_sqlalchemy.session
import pytest
from flask import Flask, request

from app.blueprints import sessions
from app.core.db import WEB_ROLE, Scope, current_scope, database_role, enter_scope, use_database_role
from app.services.access import Viewer
from tests.matrix.wire import OneConnection, TakenBack
from tests.web.page_client import as_web


class Rewinding:
    """``with kept.request(): client.post(…); kept.check()``"""

    def __init__(self, wire: TakenBack) -> None:
        self.wire = wire

    @contextmanager
    def request(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.wire.take_back()

    def check(self) -> None:
        """What only the last COMMIT would find."""
        if self.wire.kept:
            self.wire.execute("SET CONSTRAINTS ALL IMMEDIATE")


@contextmanager
def rewinding(app: Flask) -> Iterator[Rewinding]:
    """``app`` must be a product of its own (``web_app``): the test's own sessions stay as they are."""
    before = database_role()
    use_database_role(WEB_ROLE)
    one = as_web(lambda: OneConnection(app))
    with pytest.MonkeyPatch.context() as patch, people_known_again():
        patch.setattr(flask_sqlalchemy.session.Session, "get_bind", lambda *_args, **_values: one.connection)
        try:
            yield Rewinding(one.wire)
        finally:
            one.close()
            use_database_role(before)


@contextmanager
def people_known_again() -> Iterator[None]:
    """A token that was good once is good again, without being looked up: the rewound database would say the same.

    Reading the token, the login and the seats is a third of every request. Tokens that are refused are looked up every time.
    """
    ask = sessions.viewer_of_bearer
    known: dict[str, tuple[Viewer, Scope]] = {}

    def viewer_of_bearer(*, required: bool) -> Viewer | None:
        token = request.headers.get("Authorization", "")
        if token not in known:
            found = ask(required=required)
            if found is None:
                return None
            known[token] = found, current_scope()
        viewer, scope = known[token]
        enter_scope(scope)
        return viewer

    sessions.viewer_of_bearer = viewer_of_bearer
    try:
        yield
    finally:
        sessions.viewer_of_bearer = ask
