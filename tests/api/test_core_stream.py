"""The live stream by Bearer: resync first, only one's own clients, names only, and its end with the session."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import delete, update
from werkzeug.serving import BaseWSGIServer, make_server

from app.blueprints import stream
from app.core.bell import bell
from app.core.clock import machine_now
from app.core.db import WEB_ROLE, use_database_role
from app.models import Membership, UserSession
from tests.api.api_client import ApiClient
from tests.api.test_auth_tokens import as_owner
from tests.factories import make_client, make_user


class Served:
    """The product on a real socket, as a browser or a program meets it."""

    def __init__(self, app: Flask, server: BaseWSGIServer) -> None:
        self.app, self.port = app, server.port

    def open(self, token: str) -> tuple[int, Iterator[str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/api/stream", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        return answer.status, (line.decode().strip() for line in answer)


@pytest.fixture
def served(app: Flask) -> Iterator[tuple[Served, ApiClient]]:
    api = ApiClient(app)
    api.app.extensions.pop("live_hub", None)
    server = make_server("127.0.0.1", 0, api.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    use_database_role(WEB_ROLE)
    yield Served(api.app, server), api
    stream.hub_of(api.app).stopping.set()
    server.shutdown()
    thread.join()
    api.app.extensions.pop("live_hub", None)
    from app.core.db import JOBS_ROLE

    use_database_role(JOBS_ROLE)


def events(lines: Iterator[str], count: int) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(socket.timeout):
        for line in lines:
            if line.startswith("event: ") and line != "event: ping":
                found.append(line.removeprefix("event: "))
            if len(found) == count:
                break
    return found


def test_a_stream_hears_resync_first_and_then_only_the_topics_of_its_own_clients(served: tuple[Served, ApiClient]) -> None:
    home, api = served
    ours, theirs = make_client(), make_client()
    status, lines = home.open(api.log_in(make_user(ours)).token)
    assert status == 200 and events(lines, 1) == ["resync"]
    bell().ring_live(theirs.id, ["conversation-99"])
    bell().ring_live(ours.id, ["conversation-7", "counters"])
    heard = [topic for topic in events(lines, 2) if topic != "resync"]
    assert "conversation-99" not in heard and heard[0] == "conversation-7"


def test_a_topic_reaches_an_open_page_well_within_a_second(served: tuple[Served, ApiClient]) -> None:
    home, api = served
    client = make_client()
    _status, lines = home.open(api.log_in(make_user(client)).token)
    events(lines, 1)
    time.sleep(0.3)
    begun = time.monotonic()
    bell().ring_live(client.id, ["inbox"])
    while "inbox" not in events(lines, 1):
        assert time.monotonic() - begun < 5
    assert time.monotonic() - begun < 1


def test_a_stream_ends_with_its_session(served: tuple[Served, ApiClient], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHECK_SESSION_SECONDS", 1)
    home, api = served
    _status, lines = home.open(api.log_in(make_user(make_client())).token)
    events(lines, 1)
    as_owner(update(UserSession).values(revoked_at=machine_now()))
    begun = time.monotonic()
    assert list(lines) is not None and time.monotonic() - begun < 8, "the server closed it"


def test_a_stream_ends_when_its_reader_is_taken_out_of_a_client(
    served: tuple[Served, ApiClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHECK_SESSION_SECONDS", 1)
    home, api = served
    _status, lines = home.open(api.log_in(make_user(make_client())).token)
    events(lines, 1)
    as_owner(delete(Membership))
    begun = time.monotonic()
    assert list(lines) is not None and time.monotonic() - begun < 8, "the server closed it"


def test_the_sixth_stream_of_a_user_ends_the_oldest_and_a_full_process_says_come_back(served: tuple[Served, ApiClient]) -> None:
    home, api = served
    token = api.log_in(make_user(make_client())).token
    opened = [home.open(token) for _ in range(6)]
    assert [status for status, _lines in opened] == [200] * 6
    assert len([found for found in stream.hub_of(home.app)._all if not found.closed]) == 5
    stream.hub_of(home.app).limit = 5
    other = api.log_in(make_user(make_client())).token
    assert home.open(other)[0] == 503


def test_without_a_token_there_is_no_stream(served: tuple[Served, ApiClient]) -> None:
    assert served[0].open("")[0] == 401
