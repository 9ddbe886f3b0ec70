"""Dovecot and Postfix as they are on Debian, started by us; and our own server compared with them."""

from __future__ import annotations

import shutil
import smtplib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from imapclient import IMAPClient

from sandbox.dovecot import Dovecot, find_program, running_dovecot
from sandbox.postfix import Postfix, postfix_is_possible, running_postfix
from tests.sandbox.conftest import ADA, BEN, PASSWORD, letter

pytestmark = pytest.mark.slow  # the file takes long together

needs_dovecot = pytest.mark.skipif(
    find_program("dovecot") is None, reason="dovecot is not installed: apt install dovecot-imapd dovecot-lmtpd"
)
needs_postfix = pytest.mark.skipif(not postfix_is_possible(), reason="postfix is not installed or we are not root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may walk through (pytest's own may not be)."""
    made = Path(tempfile.mkdtemp(prefix="peers-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def dovecot(folder: Path) -> Iterator[Dovecot]:
    with running_dovecot(folder / "dovecot", {ADA: PASSWORD, BEN: PASSWORD}) as server:
        yield server


@pytest.fixture
def postfix(folder: Path, dovecot: Dovecot) -> Iterator[Postfix]:
    with running_postfix(folder / "postfix", dovecot, ["ours.test", "theirs.test"]) as server:
        yield server


def inbox(server: Dovecot, address: str, least: int, seconds: float = 10.0) -> list[bytes]:
    """The raw mails of an INBOX once there are at least so many."""
    until = time.monotonic() + seconds
    while True:
        with IMAPClient("127.0.0.1", server.imap_port, ssl=False, timeout=5) as session:
            session.login(address, PASSWORD)
            session.select_folder("INBOX", readonly=True)
            uids = session.search()
            if len(uids) >= least:
                return [item[b"BODY[]"] for item in session.fetch(uids, ["BODY.PEEK[]"]).values()]
        assert time.monotonic() < until, "the mail did not arrive"
        time.sleep(0.05)


@needs_dovecot
def test_dovecot_starts_and_offers_what_ours_offers(dovecot: Dovecot) -> None:
    with IMAPClient("127.0.0.1", dovecot.imap_port, ssl=False, timeout=5) as session:
        session.login(ADA, PASSWORD)
        offered = {name.decode() for name in session.capabilities()}
        assert {"IDLE", "MOVE", "UIDPLUS", "CONDSTORE", "SPECIAL-USE", "LITERAL+", "NAMESPACE", "ENABLE"} <= offered
        assert session.find_special_folder(b"\\Sent") == "Sent"
        assert b"APPENDUID" in session.append("INBOX", letter())


@needs_postfix
def test_a_submission_travels_through_postfix_to_dovecot(postfix: Postfix, dovecot: Dovecot) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.smtp_port, timeout=10) as session:
        session.login(ADA, PASSWORD)
        session.sendmail(ADA, [BEN], letter(1))
        session.sendmail(ADA, ["nobody@theirs.test"], letter(2))
    assert b"<1@ours.test>" in inbox(dovecot, BEN, 1)[0]
    report = inbox(dovecot, ADA, 1)[0]
    assert b"multipart/report" in report
    assert b"Status: 5.1.1" in report
    assert b"<2@ours.test>" in report


@needs_postfix
def test_postfix_refuses_strangers_and_wrong_passwords(postfix: Postfix, dovecot: Dovecot) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.smtp_port, timeout=10) as session:
        with pytest.raises(smtplib.SMTPAuthenticationError) as wrong:
            session.login(ADA, "wrong")
        assert wrong.value.smtp_code == 535
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            session.sendmail(ADA, [BEN], letter())
    with smtplib.SMTP("127.0.0.1", postfix.mx_port, timeout=10) as session:
        session.sendmail("stranger@theirs.test", [ADA], letter(3))
    assert b"<3@ours.test>" in inbox(dovecot, ADA, 1)[0]
