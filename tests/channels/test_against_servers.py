"""Both clients against the rehearsal world's own mail server, and against a real Postfix where one can be started."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from app.channels.base import EndPoint, Envelope, OutcomeUnknown, PasswordCredential, PermanentFailure, Permit, Security
from app.channels.imap import MailboxSession, Role
from app.channels.smtp import SmtpSession
from sandbox.dovecot import running_dovecot
from sandbox.mail.faults import Fault, Point
from sandbox.mail.server import RunningMailServer
from sandbox.postfix import postfix_is_possible, running_postfix
from tests.channels.peers import local_net


async def permit() -> Permit:
    return Permit(True, time.monotonic())


def place(port: int, user: str, security: Security = Security.NONE, password: str = "secret") -> EndPoint:
    return EndPoint("127.0.0.1", port, security, user, PasswordCredential(password))


async def session_for(port: int, user: str, security: Security, password: str = "secret") -> SmtpSession:
    session = SmtpSession(place(port, user, security, password), ehlo_name="client.acme.test", net=local_net())
    await session.open()
    return session


def letter(number: int, recipient: str) -> Envelope:
    raw = f"Message-ID: <m{number}@acme.test>\r\nFrom: a@acme.test\r\nTo: {recipient}\r\nSubject: s\r\n\r\n.\r\n..hi\r\n"
    return Envelope("a@acme.test", recipient, raw.encode())


def test_mails_arrive_once_and_are_read_back_byte_for_byte() -> None:
    async def story(mail: RunningMailServer) -> None:
        for security in (Security.NONE, Security.STARTTLS):
            session = await session_for(mail.ports.smtp, "a@acme.test", security)
            for number in range(10):
                await session.send(letter(number + 10 * (security is Security.NONE), "b@acme.test"), permit)
            await session.quit()
        reader = MailboxSession(place(mail.ports.imap, "b@acme.test"), net=local_net())
        await reader.open()
        assert {folder.role for folder in await reader.folders()} >= {Role.INBOX, Role.SENT, Role.JUNK}
        state = await reader.select("INBOX")
        uids = await reader.uids_from(1)
        assert state.exists == 20 and len(uids) == 20
        for uid in uids:
            found = await reader.fetch(uid, 10_000)
            assert found is not None and found.raw.endswith(b"Subject: s\r\n\r\n.\r\n..hi\r\n")
        assert len(await reader.find_message_id("INBOX", "<m13@acme.test>")) == 1
        await reader.logout()

    with RunningMailServer() as mail:
        for address in ("a@acme.test", "b@acme.test"):
            mail.add_account(address)
        asyncio.run(story(mail))
        assert len(mail.counts_by_message_id()) == 20 and set(mail.counts_by_message_id().values()) == {1}


@pytest.mark.parametrize(("point", "taken"), [(Point.DOT_BEFORE, 0), (Point.DOT_AFTER, 1), (Point.REPLY, 1)])
def test_a_death_around_the_dot_is_never_called_sent_or_unsent(point: Point, taken: int) -> None:
    async def story(mail: RunningMailServer) -> None:
        session = await session_for(mail.ports.smtp, "a@acme.test", Security.NONE)
        with pytest.raises(OutcomeUnknown):
            await session.send(letter(1, "b@acme.test"), permit)

    with RunningMailServer() as mail:
        for address in ("a@acme.test", "b@acme.test"):
            mail.add_account(address)
        mail.fault(Fault(point))
        asyncio.run(story(mail))
        assert len(mail.accepted()) == taken


@pytest.mark.slow
@pytest.mark.skipif(not postfix_is_possible(), reason="needs Postfix and Dovecot, and root")
def test_postfix_takes_several_mails_of_a_session_and_refuses_relaying() -> None:
    folder = Path(tempfile.mkdtemp(prefix="emb-", dir="/tmp"))
    folder.chmod(0o755)

    async def story(smtp: int, imap: int, password: str) -> None:
        session = await session_for(smtp, "a@acme.test", Security.NONE, password)
        assert "PIPELINING" in session.capabilities.names
        for number in range(20):
            receipt = await session.send(letter(number, "b@acme.test"), permit)
            assert receipt.code == 250 and receipt.enhanced == "2.0.0"
        with pytest.raises(PermanentFailure):
            await session.send(Envelope("a@acme.test", "x@[not", letter(1, "x@y").data), permit)
        await session.quit()
        reader = MailboxSession(place(imap, "b@acme.test", password=password), net=local_net())
        await reader.open()
        for _ in range(100):
            if (await reader.select("INBOX")).exists == 20:
                break
            await asyncio.sleep(0.1)
        found = await reader.fetch((await reader.uids_from(1))[0], 10_000)
        assert found is not None and found.raw.endswith(b"\r\n\r\n.\r\n..hi\r\n") and len(await reader.uids_from(1)) == 20
        await reader.logout()

    try:
        with (
            running_dovecot(folder / "d", DOVECOT_USERS) as dovecot,
            running_postfix(folder / "p", dovecot, ["acme.test"]) as postfix,
        ):
            asyncio.run(story(postfix.smtp_port, dovecot.imap_port, "secret"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


DOVECOT_USERS = {"a@acme.test": "secret", "b@acme.test": "secret"}


@pytest.mark.parametrize("security", [Security.NONE, Security.STARTTLS])
def test_the_same_on_uvloop(security: Security) -> None:
    import uvloop

    async def story(port: int) -> None:
        session = await session_for(port, "a@acme.test", security)
        for number in range(5):
            await session.send(letter(number, "b@acme.test"), permit)
        await session.quit()

    with RunningMailServer() as mail:
        for address in ("a@acme.test", "b@acme.test"):
            mail.add_account(address)
        uvloop.run(story(mail.ports.smtp))
        assert len(mail.accepted()) == 5
