"""A running mail server for each test, with two people in it."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator

import pytest

from sandbox.mail.server import MailConfig, RunningMailServer

ADA, BEN = "ada@ours.test", "ben@theirs.test"
PASSWORD = "secret"


@pytest.fixture
def mail() -> Iterator[RunningMailServer]:
    with RunningMailServer(MailConfig(smtps_port=0, imaps_port=0)) as running:
        running.add_account(ADA, PASSWORD)
        running.add_account(BEN, PASSWORD)
        yield running


def letter(number: int | str = 1, body: str = "Hello\r\n", to: str = BEN) -> bytes:
    head = f"From: {ADA}\r\nTo: {to}\r\nSubject: Number {number}\r\nMessage-ID: <{number}@ours.test>\r\n"
    return f"{head}\r\n{body}".encode()


def logged_in(port: int) -> smtplib.SMTP:
    session = smtplib.SMTP("127.0.0.1", port, timeout=5)
    session.login(ADA, PASSWORD)
    return session
