"""What one request goes through here instead of a socket: an environ of our own, and a connection that takes back what was committed.

80,000 requests are asked, so what surrounds one may cost next to nothing: no test client, no savepoint around what only reads, and
statements that stay prepared although every request that wrote is rolled back.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

import psycopg
from flask import Flask
from psycopg import _preparing
from psycopg.pq import ExecStatus, TransactionStatus
from sqlalchemy import create_engine, event
from sqlalchemy.pool import StaticPool
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from app.core.db import take_role
from app.core.extensions import db


@dataclass(frozen=True)
class Question:
    """One request, ready to be sent. ``address``: the path alone."""

    method: str
    address: str
    query: str
    headers: tuple[tuple[str, str], ...]
    content_type: str
    body: bytes


def question(
    method: str, address: str, query: dict[str, Any], headers: dict[str, str], *,
    json_body: Any = None, form: dict[str, Any] | None = None, files: dict[str, tuple[bytes, str]] | None = None,
) -> Question:  # fmt: skip
    """``files`` (also an empty dict): the form is sent as multipart."""
    kind, body = "", b""
    if json_body is not None:
        kind, body = "application/json", json.dumps(json_body).encode()
    elif form is not None and files is None:
        kind, body = "application/x-www-form-urlencoded", urlencode(form, doseq=True).encode()
    elif form is not None and files is not None:
        boundary, body = encode_multipart({**form, **{name: FileStorage(io.BytesIO(raw), named) for name, (raw, named) in files.items()}}, "the-boundary")
        kind = f"multipart/form-data; boundary={boundary}"
    return Question(method, address, urlencode(query, doseq=True), tuple(headers.items()), kind, body)


def asked(app: Flask, what: Question) -> tuple[int, str, dict[str, str]]:
    """(status, body, headers) of one request to the product."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": what.method, "SCRIPT_NAME": "", "PATH_INFO": unquote(what.address, "latin-1"), "QUERY_STRING": what.query,
        "REQUEST_URI": what.address + ("?" + what.query if what.query else ""), "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost", "HTTP_USER_AGENT": "matrix", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "1", "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(what.body), "wsgi.errors": io.StringIO(), "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False,
        "CONTENT_TYPE": what.content_type, "CONTENT_LENGTH": str(len(what.body)),
    }  # fmt: skip
    environ |= {"HTTP_" + name.upper().replace("-", "_"): value for name, value in what.headers}
    began: list[Any] = []
    parts = app.wsgi_app(environ, lambda *said: began.append(said) or (lambda _bytes: None))  # type: ignore[func-returns-value]
    try:
        body = b"".join(parts)
    finally:
        getattr(parts, "close", lambda: None)()
    status, headers = began[-1][:2]
    shown: dict[str, str] = {}
    for name, value in headers:
        shown[name] = f"{shown[name]}\n{value}" if name in shown else value
    return int(status.split()[0]), body.decode("utf-8", "replace"), shown


class _Lasting(_preparing.PrepareManager):
    """psycopg forgets what it prepared at every rollback, as objects may have come and gone; here none does inside a request."""

    prepare_threshold = 1
    prepared_max = 20_000

    def _should_discard(self, *_all: Any) -> bool:
        return False


class TakenBack(psycopg.Connection[Any]):
    """A commit that wrote nothing is one. Any other is kept as a savepoint, to be looked at and taken back: ``kept`` says so.

    One transaction ends and the next begins in one trip; what asked nothing (``untouched``) need not end.
    """

    def __init__(self, *all_: Any, **values: Any) -> None:
        super().__init__(*all_, **values)
        self._prepared = _Lasting()
        self.kept = False
        self.untouched = False

    def cursor(self, *all_: Any, **values: Any) -> Any:
        self.untouched = False
        return super().cursor(*all_, **values)

    def commit(self) -> None:
        if self.info.transaction_status is TransactionStatus.INTRANS and not self.untouched and (self.kept or self._wrote()):
            self._send(b"SAVEPOINT kept")
            self.kept = True
        else:
            self._begin_anew(b"COMMIT")

    def rollback(self) -> None:
        if self.kept:
            self._send(b"ROLLBACK TO SAVEPOINT kept")
        else:
            self._begin_anew(b"ROLLBACK")

    def take_back(self) -> None:
        self.kept = False
        self._begin_anew(b"ROLLBACK")

    def _begin_anew(self, after: bytes) -> None:
        if self.untouched:
            return
        idle = self.info.transaction_status is TransactionStatus.IDLE
        self._send(b"BEGIN" if idle else after + b"; BEGIN")
        self.untouched = True

    def _send(self, command: bytes) -> None:
        result = self.pgconn.exec_(command)
        assert result.status == ExecStatus.COMMAND_OK, result.error_message

    def _wrote(self) -> bool:
        row = self.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetchone()
        return bool(row and row[0])


class OneConnection:
    """An engine of its own for the database of ``app``, and its only connection, which takes everything back."""

    def __init__(self, app: Flask) -> None:
        with app.app_context():
            self.engine = create_engine(db.engine.url, poolclass=StaticPool, pool_reset_on_return=None, hide_parameters=True)
        event.listen(self.engine, "do_connect", _connect)
        self.connection: Any = self.engine.connect()
        self.wire: TakenBack = self.connection.connection.dbapi_connection
        self.connection.rollback()

    def close(self) -> None:
        self.connection.close()
        self.engine.dispose()


def _connect(_dialect: Any, _record: Any, words: Any, values: dict[str, Any]) -> TakenBack:
    """Statements are planned once: the tables stay as small as they are."""
    made = TakenBack.connect(*words, **values, options="-c plan_cache_mode=force_generic_plan")
    take_role(made)
    return made
