"""No more connections to one login than its provider allows, and every mailbox behind it is read."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from app.core.extensions import db
from app.services.receiving.reading_state import Box
from jobs.reading import mailbox
from jobs.reading.accounts import Accounts
from sandbox.mail.server import MailConfig, RunningMailServer
from tests import factories as make
from tests.engine_read.running import running_engine, until
from tests.engine_read.test_reading import scalar

LOGIN = "all@ourhouse.test"


def box(number: int, provider: str = "yahoo", user: str = LOGIN) -> Box:
    return Box(number, 1, f"{number}@x.test", "imap.x.test", 993, "tls", user, provider, None)


@pytest.mark.slow
def test_addresses_of_one_login_take_turns_within_the_providers_cap(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "poll_seconds", lambda: 0.3)
    with RunningMailServer(MailConfig()) as server:
        server.add_account(LOGIN, "secret", answer_delay_s=0.01)
        client = make.make_client()
        for number in range(8):
            make.make_mailbox(
                client, email=f"alias{number}@ourhouse.test", password="secret", imap_port=server.ports.imap, imap_user=LOGIN,
                provider="yahoo", read_since=datetime.now(UTC) - timedelta(minutes=1),
            )  # fmt: skip
        db.session.commit()
        most, ends = 0, time.monotonic() + 3
        with running_engine(app, app.extensions["settings"]):
            while time.monotonic() < ends:
                most = max(most, len(server.server.imap_sessions))
                time.sleep(0.002)
            until(lambda: scalar("SELECT count(*) FROM mailboxes WHERE read_status = 'ok'") == 8, 20)
    assert most == 3, "Yahoo allows five, and two places stay free"


def test_the_cap_is_the_providers_divided_among_the_processes() -> None:
    accounts = Accounts()
    assert accounts.limit(box(1)) == 3 and accounts.limit(box(1, "gmail")) == 13 and accounts.limit(box(1, "")) == 8
    accounts.share = 0.5
    assert accounts.limit(box(1)) == 1 and accounts.limit(box(1, "gmail")) == 6


def test_a_turn_given_to_one_who_left_is_passed_on() -> None:
    async def story() -> list[int]:
        accounts, came = Accounts(), []
        accounts.share = 0.1  # one place

        async def visit(number: int) -> None:
            async with accounts.place(box(number)):
                came.append(number)
                await asyncio.sleep(0)

        async with accounts.place(box(0)):
            visits = [asyncio.create_task(visit(number)) for number in (1, 2, 3)]
            await asyncio.sleep(0)
        visits[0].cancel()  # just as it was told to come
        await asyncio.gather(*visits, return_exceptions=True)
        return came

    assert asyncio.run(story()) == [2, 3]
