"""Once against a real Dovecot: a reply pushed over IDLE, a restart that brings nothing twice, a refused password."""

from __future__ import annotations

import imaplib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from sandbox.dovecot import Dovecot, dovecot_is_possible, running_dovecot
from tests import factories as make
from tests.engine_read.running import running_engine, until
from tests.services.mails import mail
from tests.services.test_receiving import sent_delivery

ADDRESS = "anna@ourhouse.test"
pytestmark = pytest.mark.skipif(not dovecot_is_possible(), reason="Dovecot is not installed")


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    with tempfile.TemporaryDirectory(prefix="dovecot-") as folder:
        Path(folder).chmod(0o755)
        with running_dovecot(Path(folder), {ADDRESS: "secret"}) as running:
            yield running


def put(server: Dovecot, raw: bytes) -> None:
    with imaplib.IMAP4("127.0.0.1", server.imap_port) as connection:
        connection.login(ADDRESS, "secret")
        assert connection.append("INBOX", "", None, raw)[0] == "OK"


def scalar(statement: str) -> Any:
    found = db.session.execute(text(statement)).scalar()
    db.session.rollback()
    return found


def test_a_reply_in_dovecot_stops_the_sequence_once(app: Flask, dovecot: Dovecot) -> None:
    client = make.make_client()
    mailbox = make.make_mailbox(
        client, email=ADDRESS, password="secret", imap_port=dovecot.imap_port, read_since=datetime.now(UTC) - timedelta(minutes=1)
    )
    lead = make.make_lead(client)
    enrollment = make.make_enrollment(make.make_campaign(client, mailboxes=(mailbox,)), lead, mailbox)
    sent_delivery(enrollment, lead, mailbox)
    raw = mail(lead.email, ADDRESS, headers={"In-Reply-To": "<first@ourhouse.test>"})
    with running_engine(app, app.extensions["settings"]):
        until(lambda: scalar("SELECT read_status FROM mailboxes") == "ok", 20)
        put(dovecot, raw)
        until(lambda: scalar("SELECT status FROM enrollments") == "replied", 20)
    with running_engine(app, app.extensions["settings"]):
        put(dovecot, mail(lead.email, ADDRESS, text="And another.", headers={"In-Reply-To": "<first@ourhouse.test>"}))
        until(lambda: scalar("SELECT unread FROM conversations") == 2, 20)
    assert scalar("SELECT count(*) FROM messages WHERE direction = 'in'") == 2
