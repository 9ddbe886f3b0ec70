"""The ledger's one connection when it is lost while the server is still at work for it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask

from app.core.config import libpq_url
from jobs.sending.ledger import Ledger
from tests.conftest import settings_for

OWNER = "dispatch@elsewhere:7"
AT_WORK = "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND state = 'active'"


@pytest.fixture
def other(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(libpq_url(database_url), autocommit=True) as connection:
        yield connection


@pytest.fixture
def ledger(app: Flask, database_url: str, redis_url: str, other: psycopg.Connection[Any]) -> Iterator[Ledger]:
    made = Ledger(settings_for(database_url, redis_url), OWNER, lambda topics: None)
    made.start()
    yield made
    made.stop(10)


def wait_for(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + 20
    while not (value := found()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
    return value


def losing(other: psycopg.Connection[Any], numbers: list[int]) -> Callable[[psycopg.Connection[Any]], None]:
    """Ask the server for something long and lose the connection meanwhile; which of its processes was at work."""

    def lose(connection: psycopg.Connection[Any]) -> None:
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire:
            connection.pgconn.send_query(b"SELECT pg_sleep(9)")
            connection.pgconn.flush()
            numbers.append(wait_for(lambda: other.execute(AT_WORK, (f"emberpost {OWNER}",)).fetchone())[0])
            wire.shutdown(socket.SHUT_RDWR)
        raise psycopg.OperationalError("lost")

    return lose


def who_we_are(connection: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
    return connection.execute("SELECT current_user, current_setting('statement_timeout')").fetchone()


WHOLE = ("emberpost_jobs", "10s")


def test_what_the_server_still_does_for_a_lost_connection_is_over_before_anything_else_is_said(
    ledger: Ledger, other: psycopg.Connection[Any]
) -> None:
    """Else a permit that is committed only now could be taken for one that was never given, and its places in the caps stay taken."""
    numbers: list[int] = []

    async def lose_and_go_on() -> tuple[Any, ...] | None:
        assert await ledger.call(losing(other, numbers)) is None
        return await ledger.call(who_we_are)

    assert asyncio.run(lose_and_go_on()) == WHOLE
    assert other.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (numbers[0],)).fetchone() == (0,)
    assert ledger.away_since is None


def test_nothing_is_asked_while_it_cannot_be_ended_and_never_on_a_connection_that_is_not_whole(
    ledger: Ledger, other: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    numbers: list[int] = []

    async def lose_it_frozen() -> list[tuple[Any, ...] | None]:
        assert await ledger.call(losing(other, numbers)) is None
        os.kill(numbers[0], signal.SIGSTOP)
        try:
            began = time.monotonic()
            heard = [await ledger.call(who_we_are) for _ in range(20)]
            assert time.monotonic() - began < 10, "each of them waited"
        finally:
            os.kill(numbers[0], signal.SIGCONT)
        return heard

    async def go_on() -> tuple[Any, ...] | None:
        return await ledger.call(who_we_are)

    assert asyncio.run(lose_it_frozen()) == [None] * 20
    assert f"process {numbers[0]} is still at work" in caplog.text
    assert wait_for(lambda: asyncio.run(go_on())) == WHOLE
    assert other.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (numbers[0],)).fetchone() == (0,)


def test_a_connection_whose_beginning_failed_is_not_used(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_connection: object) -> None:
        raise psycopg.errors.QueryCanceled("too slow")

    async def ask() -> tuple[Any, ...] | None:
        return await ledger.call(who_we_are)

    with monkeypatch.context() as patched:
        patched.setattr("jobs.sending.ledger.take_role", refuse)
        assert asyncio.run(ask()) is None
    assert asyncio.run(ask()) == WHOLE
