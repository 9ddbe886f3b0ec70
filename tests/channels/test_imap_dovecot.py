"""The IMAP client against a real Dovecot: folders, states, literals, idle, append, search."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from app.channels.base import AuthenticationFailed, EndPoint, PasswordCredential, PermanentFailure, Security
from app.channels.imap import MailboxSession, Role
from tests.channels import dovecot
from tests.channels.peers import local_net
from tests.channels.tls import certificate

pytestmark = pytest.mark.skipif(dovecot.found() is None, reason="dovecot is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[dovecot.Dovecot]:
    running = dovecot.start(certificate())
    yield running
    running.stop()


def box(server: dovecot.Dovecot, user: str, security: Security = Security.NONE, password: str = dovecot.PASSWORD) -> EndPoint:
    return EndPoint("mail.test", server.port, security, user, PasswordCredential(password))


async def opened(endpoint: EndPoint, verify: bool = False, ca: str = "") -> MailboxSession:
    session = MailboxSession(endpoint, net=local_net(verify, ca))
    await session.open()
    return session


def mail(number: int, size: int = 100) -> bytes:
    head = f"Message-ID: <m{number}@acme.test>\r\nSubject: number {number}\r\nFrom: a@acme.test\r\n\r\n"
    return head.encode() + b"x" * size + b"\r\n"


def test_folders_have_their_roles_whatever_their_names(server: dovecot.Dovecot) -> None:
    async def story() -> None:
        session = await opened(box(server, "roles"))
        await session._command(b"CREATE", b'"Entw&APw-rfe"')
        roles = {folder.name: folder.role for folder in await session.folders()}
        await session.logout()
        assert roles == {"INBOX": Role.INBOX, "Junk": Role.JUNK, "Gesendete Objekte": Role.SENT, "Entwürfe": Role.DRAFTS}

    asyncio.run(story())


def test_a_piece_of_a_folder_is_listed_by_day_and_dated_without_its_bodies(server: dovecot.Dovecot) -> None:
    """What the nightly check asks."""

    async def story() -> None:
        session = await opened(box(server, "pieces"))
        days = [datetime(2026, 11, day, 12, tzinfo=UTC) for day in (2, 10, 11, 12)]
        for number, day in enumerate(days):
            await session.append("INBOX", mail(number), [], day)
        await session.select("INBOX", readonly=True)
        assert await session.uids_between(1, 3, date(2026, 11, 9)) == [2, 3]
        assert await session.uids_between(4, 9, date(2026, 11, 1)) == [4]
        assert await session.uids_between(1, 9, date(2026, 12, 1)) == [] and await session.dates([]) == {}
        assert await session.dates([1, 4, 99]) == {1: days[0], 4: days[3]}
        await session.logout()

    asyncio.run(story())


def test_what_is_appended_is_listed_fetched_and_found(server: dovecot.Dovecot) -> None:
    async def story() -> None:
        session = await opened(box(server, "fetch"))
        date = datetime(2026, 11, 2, 8, 55, tzinfo=UTC)
        uids = [await session.append("INBOX", mail(n, n * 997), ["\\Seen"] if n % 2 else [], date) for n in range(1, 8)]
        state = await session.select("INBOX")
        assert state.uidvalidity > 0 and state.exists == 7 and state.highestmodseq > 0 and uids == list(range(1, 8))
        assert await session.uids_from(5) == [5, 6, 7] and await session.uids_from(state.uidnext) == []
        one = await session.fetch(3, 10**6)
        assert one is not None and one.raw == mail(3, 2991) and one.size == len(one.raw) and not one.truncated
        assert one.internaldate == date and "\\Seen" in one.flags
        part = await session.fetch(7, 50)
        assert part is not None and part.truncated and part.raw == mail(7, 6979)[:50] and part.size == len(mail(7, 6979))
        assert await session.fetch(99, 50) is None
        headers = await session.fetch_headers([1, 2, 99])
        assert [h.uid for h in headers] == [1, 2] and headers[0].raw.endswith(b"\r\n\r\n") and b"xxx" not in headers[0].raw
        await session.mark_seen([2])
        seen = await session.fetch(2, 10)
        assert seen is not None and "\\Seen" in seen.flags
        assert await session.find_message_id("INBOX", "<m4@acme.test>") == [4]
        assert await session.find_message_id("Gesendete Objekte", "<m4@acme.test>") == []
        await session.logout()

    asyncio.run(story())


def test_news_arrive_while_idle_and_idling_ends_in_time(server: dovecot.Dovecot) -> None:
    async def story() -> None:
        reader, writer = await opened(box(server, "idle")), await opened(box(server, "idle"))
        await reader.select("INBOX")
        began = time.monotonic()
        assert await reader.idle(0.2) == []
        waiting = asyncio.create_task(reader.idle(10))
        await asyncio.sleep(0.1)
        await writer.append("INBOX", mail(1))
        events = await waiting
        assert events[0].kind == "exists" and events[0].number == 1 and time.monotonic() - began < 5
        assert await reader.uids_from(1) == [1]
        for session in (reader, writer):
            await session.logout()

    asyncio.run(story())


@pytest.mark.slow
def test_encryption_is_verified_and_wrong_logins_are_named(server: dovecot.Dovecot) -> None:
    ca = str(certificate().parent / "ca.pem")

    async def story() -> None:
        session = await opened(box(server, "tls", Security.STARTTLS), verify=True, ca=ca)
        assert (await session.select("INBOX")).exists == 0
        await session.logout()
        with pytest.raises(PermanentFailure) as refused:
            await opened(box(server, "tls", Security.STARTTLS), verify=True)
        assert refused.value.reason == "certificate"
        with pytest.raises(AuthenticationFailed) as wrong:
            await opened(box(server, "tls", password="no"))
        assert wrong.value.reason == "wrong_password"

    asyncio.run(story())


@pytest.mark.slow
def test_hostile_texts_stay_arguments(server: dovecot.Dovecot) -> None:
    async def story() -> None:
        session = await opened(box(server, "hostile"))
        await session.append("INBOX", mail(1))
        for text in ('"', "\\", "{3}", "ü", "%*", ") UID STORE 1:* +FLAGS (\\Deleted)", "x" * 5000):
            assert await session.find_message_id("INBOX", text) == []
        for text in ("a\r\nE9 DELETE INBOX", "a\nb", "a\0b"):
            with pytest.raises(ValueError, match="line ends"):
                await session.find_message_id("INBOX", text)
        with pytest.raises(PermanentFailure) as missing:
            await session.select("no/such/folder ü & \"quoted\"")
        assert missing.value.reason == "no_such_folder" and session.usable
        await session.logout()

    asyncio.run(story())


@pytest.mark.slow
def test_a_hundred_mailboxes_idle_in_one_process(server: dovecot.Dovecot) -> None:
    async def story() -> None:
        async def one(number: int) -> int:
            session = await opened(box(server, f"many{number % 10}"))
            await session.select("INBOX")
            events = await session.idle(1.0)
            await session.logout()
            return len(events)

        assert sum(await asyncio.gather(*(one(number) for number in range(100)))) == 0

    asyncio.run(story())


def test_mail_announced_beside_another_answer_is_news_and_not_waited_past(server: dovecot.Dovecot) -> None:
    """A server says EXISTS with whatever it answers next; an engine that idles after that would sleep over the mail."""

    async def story() -> None:
        reader, writer = await opened(box(server, "beside")), await opened(box(server, "beside"))
        await writer.append("INBOX", mail(1))
        await reader.select("INBOX")
        assert await reader.uids_from(1) == [1]
        await writer.append("INBOX", mail(2))
        await asyncio.sleep(0.2)
        await reader.fetch(1, 100_000)  # Dovecot announces the second one here
        began = time.monotonic()
        events = await reader.idle(20)
        assert events and time.monotonic() - began < 5
        assert await reader.uids_from(2) == [2]
        assert not [one for one in await reader.idle(0.2) if one.kind == "exists"]
        for session in (reader, writer):
            await session.logout()

    asyncio.run(story())
