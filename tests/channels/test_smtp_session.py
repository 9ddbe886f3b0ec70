# ruff: noqa: E501  (replies of servers are long lines)
"""What goes over the wire: pipelining, several mails, dots, and the permit that decides about the last three bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.channels.base import (
    AuthenticationFailed,
    ChannelError,
    EndPoint,
    Envelope,
    NotPermitted,
    OutcomeUnknown,
    PermanentFailure,
    Permit,
    Phase,
    RateLimited,
    Security,
    TemporaryFailure,
    XOAuth2Credential,
)
from app.channels.smtp import SmtpSession
from app.channels.smtp_wire import BareLineEnd, assigned_message_id, path, stuffed
from tests.channels.peers import WarpLoop, endpoint, granted, local_net, warp_run
from tests.channels.tls import certificate, server_context

MAIL = Envelope("sales@acme.test", "lead@customer.test", b"Subject: hi\r\n\r\n.\r\n..\r\n.x\r\ny\r\n")


@dataclass
class Peer:
    """A well-behaved server that counts; `answers` overrides replies by verb."""

    answers: dict[str, list[bytes]] = field(default_factory=dict)
    names: tuple[bytes, ...] = (b"PIPELINING", b"SIZE 1000", b"AUTH PLAIN LOGIN XOAUTH2", b"8BITMIME")
    reads: list[bytes] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    connections: int = 0
    unfinished: int = 0
    tls: bool = False

    async def start(self) -> int:
        context = server_context() if self.tls else None
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context)
        return int(self.server.sockets[0].getsockname()[1])

    def answer(self, verb: str, usual: bytes) -> bytes:
        given = self.answers.get(verb)
        return given.pop(0) if given else usual

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(self.answer("banner", b"220 hi\r\n"))
        try:
            while data := await reader.read(65_536):
                self.reads.append(data)
                for line in data.decode().splitlines():
                    if await self.command(line, reader, writer):
                        break
        except ConnectionError:
            pass
        writer.close()

    async def command(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        verb = line.split()[0].split(":")[0].lower() if line else ""
        usual = {
            "ehlo": b"250-hi\r\n" + b"".join(b"250-" + n + b"\r\n" for n in self.names) + b"250 HELP\r\n",
            "auth": b"235 ok\r\n", "data": b"354 go\r\n", "quit": b"221 bye\r\n",
        }.get(verb, b"250 ok\r\n")  # fmt: skip
        reply = self.answer(verb, usual)
        writer.write(reply)
        if verb == "data" and reply.startswith(b"354"):
            await writer.drain()
            await self.body(reader, writer)
            return True
        return False

    async def body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = b"\r\n"
        while not raw.endswith(b"\r\n.\r\n"):
            more = await reader.read(65_536)
            if not more:
                self.unfinished += 1
                return
            raw += more
        self.mails.append(raw[:-3].replace(b"\r\n.", b"\r\n")[2:])
        writer.write(self.answer("dot", b"250 2.0.0 queued as 77\r\n"))


async def opened(peer: Peer, loop: WarpLoop, phases: list[Phase] | None = None, login: bool = True) -> SmtpSession:
    session = SmtpSession(
        endpoint(await peer.start(), login=login), ehlo_name="client.test", net=local_net(), clock=loop.time,
        on_phase=phases.append if phases is not None else None,
    )  # fmt: skip
    await session.open()
    return session


def test_the_three_commands_share_one_write_only_where_announced() -> None:
    for names, expected in (((b"PIPELINING",), 1), ((b"SIZE",), 3)):
        peer = Peer(names=names)

        async def story(loop: WarpLoop, peer: Peer = peer, expected: int = expected) -> None:
            session = await opened(peer, loop, login=False)
            before = len(peer.reads)
            await session.send(MAIL, granted(loop.time))
            assert len(peer.reads) - before == expected
            await session.quit()

        warp_run(story)
        assert b"".join(peer.reads).count(b"MAIL FROM") == 1 and len(peer.mails) == 1


def test_several_mails_go_through_one_session_and_each_phase_is_heard() -> None:
    peer, phases = Peer(), []  # type: ignore[var-annotated]

    async def story(loop: WarpLoop) -> None:
        session = await opened(peer, loop, phases)
        for _ in range(5):
            receipt = await session.send(MAIL, granted(loop.time))
            assert receipt.code == 250 and receipt.enhanced == "2.0.0" and receipt.text == "queued as 77"
        await session.quit()

    warp_run(story)
    assert peer.connections == 1 and peer.mails == [MAIL.data] * 5
    one = ["mail", "rcpt", "data", "body", "permit", "dot", "reply", "done"]
    assert [str(phase) for phase in phases] == ["connect", "banner", "ehlo", "auth", *one * 5]


def test_a_refused_recipient_leaves_the_session_for_the_next_mail() -> None:
    for names in ((b"PIPELINING",), (b"HELP",)):
        peer = Peer({"rcpt": [b"550 5.1.1 no such user\r\n"]}, names=names)
        if b"PIPELINING" in names:
            peer.answers["data"] = [b"503 5.5.1 no recipients\r\n"]

        async def story(loop: WarpLoop, peer: Peer = peer) -> None:
            session = await opened(peer, loop, login=False)
            with pytest.raises(PermanentFailure) as refused:
                await session.send(MAIL, granted(loop.time))
            assert refused.value.phase is Phase.RCPT and refused.value.suppress and refused.value.reversible
            assert refused.value.concerns == "recipient" and refused.value.enhanced == "5.1.1"
            assert session.usable
            await session.send(MAIL, granted(loop.time))

        warp_run(story)
        assert len(peer.mails) == 1 and peer.connections == 1


def test_a_server_that_wants_a_body_for_nobody_is_left() -> None:
    peer = Peer({"rcpt": [b"550 5.1.1 no such user\r\n"]})

    async def story(loop: WarpLoop) -> None:
        session = await opened(peer, loop)
        with pytest.raises(PermanentFailure) as refused:
            await session.send(MAIL, granted(loop.time))
        assert refused.value.phase is Phase.RCPT and not session.usable
        await asyncio.sleep(0.02)

    warp_run(story)
    assert peer.mails == [] and peer.unfinished == 1


def test_without_permit_no_dot_is_written() -> None:
    peer = Peer()

    async def story(loop: WarpLoop) -> None:
        async def no() -> Permit:
            await asyncio.sleep(0.01)
            assert peer.reads[-1] != b".\r\n"
            return Permit(False, loop.time(), "campaign_paused")

        session = await opened(peer, loop)
        with pytest.raises(NotPermitted, match="campaign_paused"):
            await session.send(MAIL, no)
        assert not session.usable
        await asyncio.sleep(0.02)

    warp_run(story)
    assert peer.mails == [] and peer.unfinished == 1


def test_the_body_has_arrived_before_the_permit_is_asked() -> None:
    heard = []

    class Watching(Peer):
        async def body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readexactly(len(stuffed(MAIL.data))))
            await super().body(reader, writer)

    peer = Watching()

    async def story(loop: WarpLoop) -> None:
        async def permit() -> Permit:
            await asyncio.sleep(0.05)
            assert heard == [stuffed(MAIL.data)]
            return Permit(True, loop.time())

        session = await opened(peer, loop)
        await session.send(MAIL, permit)

    warp_run(story)


@pytest.mark.parametrize(("age", "sent"), [(4.9, True), (5.1, False)])
def test_a_permit_older_than_five_seconds_writes_no_dot(age: float, sent: bool) -> None:
    peer = Peer()

    async def story(loop: WarpLoop) -> None:
        async def permit() -> Permit:
            return Permit(True, loop.time() - age)

        session = await opened(peer, loop)
        if sent:
            await session.send(MAIL, permit)
            return
        with pytest.raises(TemporaryFailure) as stale:
            await session.send(MAIL, permit)
        assert stale.value.reason == "permit_stale" and stale.value.phase is Phase.BODY and stale.value.reversible
        await asyncio.sleep(0.02)

    warp_run(story)
    assert len(peer.mails) == int(sent)


def test_a_process_that_sleeps_between_permit_and_dot_writes_no_dot() -> None:
    peer = Peer()

    async def story(loop: WarpLoop) -> None:
        session = await opened(peer, loop)
        session._on_phase = lambda phase: loop.advance(6) if phase is Phase.DOT else None
        with pytest.raises(TemporaryFailure, match="permit_stale"):
            await session.send(MAIL, granted(loop.time))

    warp_run(story)
    assert peer.mails == []


def test_a_permit_that_never_answers_is_given_up() -> None:
    peer = Peer()

    async def story(loop: WarpLoop) -> None:
        async def never() -> Permit:
            loop.advance(6)
            await asyncio.sleep(10**6)
            raise AssertionError

        session = await opened(peer, loop)
        with pytest.raises(TemporaryFailure, match="permit_timeout"):
            await session.send(MAIL, never)

    warp_run(story)
    assert peer.mails == []


def test_a_permit_is_waited_for_no_longer_when_the_connection_dies_meanwhile() -> None:
    peer = Peer()

    async def story(loop: WarpLoop) -> None:
        session = await opened(peer, loop)

        async def never() -> Permit:
            session.abort()
            loop.advance(6)
            await asyncio.sleep(10**6)
            raise AssertionError

        with pytest.raises(TemporaryFailure, match="permit_timeout"):
            await session.send(MAIL, never)

    warp_run(story)
    assert peer.mails == []


def test_whatever_goes_wrong_behind_the_dot_nobody_takes_it_for_a_failure() -> None:
    peer = Peer()

    async def story(loop: WarpLoop) -> None:
        session = await opened(peer, loop)
        session._on_phase = lambda phase: [][0] if phase is Phase.REPLY else None
        with pytest.raises(OutcomeUnknown) as told:
            await session.send(MAIL, granted(loop.time))
        assert not told.value.reversible and not session.usable

    warp_run(story)


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "body", "permit"])
def test_cancelling_before_the_dot_sends_nothing(phase: str) -> None:
    peer = Peer(names=())

    async def story(loop: WarpLoop) -> None:
        session = await opened(peer, loop, login=False)
        task = asyncio.create_task(session.send(MAIL, granted(loop.time)))
        session._on_phase = lambda now: task.cancel() if now.value == phase else None  # type: ignore[func-returns-value]
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not session.usable
        await asyncio.sleep(0.02)

    warp_run(story)
    assert peer.mails == []


@given(st.lists(st.sampled_from([b".", b"..", b"a", b"", b".b", b"\xff"]), max_size=12))
@settings(max_examples=200, deadline=None)
def test_stuffing_is_undone_by_unstuffing_and_never_ends_the_mail(lines: list[bytes]) -> None:
    data = b"\r\n".join(lines) + b"\r\n"
    wire = stuffed(data)
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    plain = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in wire.split(b"\r\n"))
    assert plain == data


def test_a_body_keeps_its_bytes_over_the_wire() -> None:
    peer = Peer(names=(b"SIZE 0",))
    body = b"Subject: x\r\n\r\n" + b"\r\n".join(b"." * n + b"\xc3\xa9" * (n % 3) for n in range(2_000)) + b"\r\n"

    async def story(loop: WarpLoop) -> None:
        session = await opened(peer, loop, login=False)
        await session.send(Envelope("a@b.test", "c@d.test", body), granted(loop.time))

    warp_run(story)
    assert peer.mails == [body]


@pytest.mark.parametrize("data", [b"a\nb\r\n", b"a\rb\r\n", b"x\r\n.\n\r\n", b"x\n.\nMAIL FROM:<a@b>\r\n", b"a\r\r\n"])
def test_bare_line_ends_are_refused_before_anything_is_sent(data: bytes) -> None:
    with pytest.raises(BareLineEnd):
        stuffed(data)


@pytest.mark.parametrize(
    "address", ["a@b>\r\nRCPT TO:<x@y", "a b@c.test", "a@b.test\n", "<a@b.test>", "a", "a@b.test\x00", "a" * 300 + "@b.test"]
)
def test_addresses_that_could_end_a_command_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        path(address)


@pytest.mark.parametrize(
    ("verb", "answer", "kind", "reason", "concerns"),
    [
        ("banner", b"554 5.3.2 no\r\n", TemporaryFailure, "server_unwilling", "provider"),
        ("banner", b"421 busy\r\n", TemporaryFailure, "server_busy", "provider"),
        ("auth", b"535 5.7.8 bad\r\n", AuthenticationFailed, "wrong_password", "sender"),
        ("auth", b"534 5.7.9 app password\r\n", AuthenticationFailed, "app_password_needed", "sender"),
        ("auth", b"454 4.7.0 later\r\n", TemporaryFailure, "login_temporarily_down", "provider"),
        ("mail", b"550 5.4.5 Daily user sending limit exceeded\r\n", RateLimited, "daily_limit", "sender"),
        ("mail", b"421 4.7.0 closing\r\n", TemporaryFailure, "server_closing", "provider"),
        ("rcpt", b"421 4.7.0 closing\r\n", TemporaryFailure, "server_closing", "provider"),
        ("rcpt", b"450 4.2.0 Greylisted, try again in 5 minutes\r\n", TemporaryFailure, "greylisted", "recipient"),
        ("data", b"421 4.7.0 closing\r\n", TemporaryFailure, "server_closing", "provider"),
        ("data", b"554 no\r\n", PermanentFailure, "refused", "recipient"),
        ("dot", b"421 4.7.0 closing\r\n", TemporaryFailure, "server_closing", "provider"),
        ("dot", b"550 5.7.26 unauthenticated\r\n", RateLimited, "sender_unauthenticated", "sender"),
    ],
)
def test_refusals_at_each_phase(verb: str, answer: bytes, kind: type, reason: str, concerns: str) -> None:
    for names in ((b"AUTH PLAIN",), (b"AUTH LOGIN PLAIN", b"PIPELINING")):

        async def story(loop: WarpLoop, names: tuple[bytes, ...] = names) -> ChannelError:
            with pytest.raises(ChannelError) as refused:
                session = await opened(Peer({verb: [answer]}, names=names), loop)
                await session.send(MAIL, granted(loop.time))
            return refused.value

        error = warp_run(story)
        assert type(error) is kind and error.reason == reason and error.concerns == concerns and error.reversible
        if reason == "greylisted":
            assert isinstance(error, TemporaryFailure) and error.retry_after == 300


def test_too_large_is_refused_without_sending_it() -> None:
    async def story(loop: WarpLoop) -> None:
        session = await opened(Peer(), loop)
        with pytest.raises(PermanentFailure, match="too_large"):
            await session.send(Envelope("a@b.test", "c@d.test", b"x" * 2000 + b"\r\n"), granted(loop.time))
        assert session.usable

    warp_run(story)


def test_a_token_logs_in_and_its_refusal_is_explained() -> None:
    async def story(loop: WarpLoop) -> None:
        async def token() -> str:
            return "tok"

        for answers, works in (({}, True), ({"auth": [b"334 eyJzdGF0dXMiOiI0MDAifQ==\r\n"], "": [b"535 5.7.8 bad\r\n"]}, False)):
            peer = Peer(dict(answers))  # type: ignore[arg-type]
            place = EndPoint("127.0.0.1", await peer.start(), Security.NONE, "a@b.test", XOAuth2Credential(token))
            session = SmtpSession(place, ehlo_name="client.test", net=local_net(), clock=loop.time)
            if works:
                await session.open()
                assert b"AUTH XOAUTH2 dXNlcj1hQGIudGVzdAFhdXRoPUJlYXJlciB0b2sBAQ==\r\n" in peer.reads
            else:
                with pytest.raises(AuthenticationFailed):
                    await session.open()

    warp_run(story)


def test_implicit_tls_is_verified_unless_a_private_host_is_excused() -> None:
    async def story(loop: WarpLoop) -> None:
        peer = Peer(tls=True)
        port = await peer.start()
        for host, verify, ca, works in (
            ("mail.test", True, str(certificate().parent / "ca.pem"), True),
            ("mail.test", True, "", False),
            ("mail.test", False, "", True),
            ("localhost", True, str(certificate().parent / "ca.pem"), False),
        ):
            place = endpoint(port, Security.TLS, host=host)
            session = SmtpSession(place, ehlo_name="client.test", net=local_net(verify, ca), clock=loop.time)
            if works:
                await session.open()
                await session.send(MAIL, granted(loop.time))
                await session.quit()
            else:
                with pytest.raises(PermanentFailure) as refused:
                    await session.open()
                assert refused.value.reason == "certificate" and refused.value.phase is Phase.STARTTLS

    warp_run(story)


@pytest.mark.parametrize(
    ("text", "host", "expected"),
    [
        ("OK <AM0PR01MB1@AM0PR01MB1.eurprd01.prod.outlook.com> [Hostname=AM0PR01]", "", "<AM0PR01MB1@AM0PR01MB1.eurprd01.prod.outlook.com>"),
        ("Ok 0100018c1a2b3c4d-5e6f7081-9202-4b3c-8d4e-5f60718293a4-000000", "email-smtp.us-east-1.amazonaws.com", "<0100018c1a2b3c4d-5e6f7081-9202-4b3c-8d4e-5f60718293a4-000000@email.amazonses.com>"),
        ("Ok 0102018c1a2b3c4d-5e6f7081-9202-4b3c-8d4e-5f60718293a4-000000", "email-smtp.eu-west-1.amazonaws.com", "<0102018c1a2b3c4d-5e6f7081-9202-4b3c-8d4e-5f60718293a4-000000@eu-west-1.amazonses.com>"),
        ("OK queued as 4Bc12", "", ""),
        ("OK  1700000000 a1-20020a05 - gsmtp", "", ""),
    ],
)  # fmt: skip
def test_a_message_id_the_provider_assigned_is_read(text: str, host: str, expected: str) -> None:
    assert assigned_message_id(text, host) == expected


@pytest.mark.parametrize("name", ["", "a b", "x\r\nMAIL FROM:<a@b>", "é.test"])
def test_a_greeting_name_that_could_be_a_command_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="EHLO"):
        SmtpSession(endpoint(25), ehlo_name=name, net=local_net())
