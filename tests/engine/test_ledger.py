"""The ledger's one connection when it is lost while the server is still at work for it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from flask import Flask

from app.core.config import libpq_url
from jobs.sending.ledger import Ledger
from tests.conftest import settings_for

OWNER = "dispatch@elsewhere:7"
AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state = 'active'"


@pytest.fixture
def ledger(app: Flask, database_url: str, redis_url: str) -> Iterator[Ledger]:
    made = Ledger(settings_for(database_url, redis_url), OWNER, lambda topics: None)
    made.start()
    yield made
    made.stop(10)


def test_what_the_server_still_does_for_a_lost_connection_is_over_before_anything_else_is_said(ledger: Ledger, database_url: str) -> None:
    """Else a permit that is committed only now could be taken for one that was never given, and its places in the caps stay taken."""

    def be_long(connection: psycopg.Connection[object]) -> None:
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as wire:
            connection.pgconn.send_query(b"SELECT pg_sleep(8)")
            connection.pgconn.flush()
            with psycopg.connect(libpq_url(database_url), autocommit=True) as other:
                while other.execute(AT_WORK, (f"emberpost {OWNER}",)).fetchone() != (1,):
                    pass
            wire.shutdown(socket.SHUT_RDWR)
        raise psycopg.OperationalError("lost")

    async def lose_and_go_on() -> datetime | None:
        assert await ledger.call(be_long) is None
        return await ledger.call(lambda c: datetime.now(UTC))

    assert asyncio.run(lose_and_go_on()) is not None
    with psycopg.connect(libpq_url(database_url), autocommit=True) as other:
        assert other.execute(AT_WORK, (f"emberpost {OWNER}",)).fetchone() == (0,)
    assert ledger.away_since is None
