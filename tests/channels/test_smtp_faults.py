
"""The peer dies at each of fourteen points, in three ways: before the dot it is as if nothing happened, after it
nobody claims to know, and an explicit refusal is believed. Time-outs pass on the loop's clock, not on ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from app.channels.base import ChannelError, Envelope, OutcomeUnknown, Phase, Receipt, Security, TemporaryFailure
from app.channels.smtp import SmtpSession, SmtpTimeouts
from app.channels.wire import Net, Wire
from app.core.net import Purpose
from tests.channels.peers import WarpLoop, endpoint, granted, local_net, reset, warp_run
from tests.channels.tls import server_context

DATA = b"Subject: hello\r\n\r\nbody\r\n" + b"x" * 70 + b"\r\n"
POINTS = (
    ["connect", "banner", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "after_354", "mid_body", "dot_before", "dot_after", "mid_reply", "quit"]
)
WAYS = ("close", "reset", "blackhole")
#: More than all socket buffers hold: a peer that stops reading is felt before the permit.
HUGE = b"Subject: hello\r\n\r\n" + (b"x" * 70 + b"\r\n") * 200_000


class DyingServer:
    """Speaks SMTP until `point`, then dies in the given way. `taken` counts mails it would deliver."""

    def __init__(self, point: str, way: str, pipelining: bool = False) -> None:
        self.point, self.way, self.pipelining = point, way, pipelining
        self.taken = 0
        self.died = asyncio.Event()
        self.port = 0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def die(self, writer: asyncio.StreamWriter) -> None:
        self.died.set()
        if self.way == "reset":
            reset(writer)
        elif self.way == "close":
            writer.close()
        else:
            await asyncio.sleep(10**6)
        raise ConnectionAbortedError

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()

    async def at(self, point: str, writer: asyncio.StreamWriter) -> None:
        if self.point == point:
            await self.die(writer)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.at("connect", writer)
        await self.at("banner", writer)
        writer.write(b"220 mail.test ESMTP\r\n")
        while True:
            line = (await reader.readuntil(b"\n")).decode().strip()
            verb = line.split()[0].split(":")[0].lower()
            await self.at(verb, writer)
            if verb == "ehlo":
                names = [b"AUTH PLAIN LOGIN", b"STARTTLS"] + ([b"PIPELINING"] if self.pipelining else [])
                writer.write(b"250-mail.test\r\n" + b"".join(b"250-" + n + b"\r\n" for n in names) + b"250 SIZE 100000000\r\n")
            elif verb == "starttls":
                writer.write(b"220 go\r\n")
                await writer.start_tls(server_context())
            elif verb == "auth":
                writer.write(b"235 2.7.0 ok\r\n")
            elif verb == "data":
                await self.body(reader, writer)
            elif verb == "quit":
                writer.write(b"221 bye\r\n")
                writer.close()
                return
            else:
                writer.write(b"250 2.0.0 ok\r\n")

    async def body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"354 go\r\n")
        await writer.drain()
        await self.at("after_354", writer)
        await reader.readuntil(b"\r\n")
        await self.at("mid_body", writer)
        await reader.readuntil(b"\r\n.\r\n")
        await self.at("dot_before", writer)
        self.taken += 1
        await self.at("dot_after", writer)
        writer.write(b"250-2.0.0 taken")
        await writer.drain()
        await self.at("mid_reply", writer)
        writer.write(b"\r\n250 2.0.0 done\r\n")


class DeadNet(Net):
    """Nobody answers the connection: refused, reset, or nothing at all."""

    way = "close"

    async def open(self, host: str, port: int, purpose: Purpose) -> Wire:
        if self.way == "blackhole":
            await asyncio.sleep(10**6)
        return await super().open(host, 1 if self.way == "close" else port, purpose)


async def attempt(
    session: SmtpSession, permit: Callable[[], Awaitable[object]], data: bytes = DATA
) -> Receipt | ChannelError:
    try:
        await session.open()
        receipt = await session.send(Envelope("sales@acme.test", "lead@customer.test", data), permit)  # type: ignore[arg-type]
        await session.quit()
        return receipt
    except ChannelError as error:
        return error
    finally:
        session.abort()


async def fault(loop: WarpLoop, point: str, way: str, pipelining: bool) -> tuple[Receipt | ChannelError, DyingServer, int]:
    server = DyingServer(point, way, pipelining)
    await server.start()
    net = local_net()
    if point == "connect" and way != "reset":
        net = DeadNet(net.allow, net.resolver)
        net.way = way  # type: ignore[attr-defined]
    permits = 0

    async def permit() -> object:
        nonlocal permits
        permits += 1
        if point in {"after_354", "mid_body"}:
            await server.died.wait()
            await asyncio.sleep(0.02)
        return await granted(loop.time)()

    session = SmtpSession(
        endpoint(server.port, Security.STARTTLS), ehlo_name="client.test", net=net, timeouts=SmtpTimeouts(),
        clock=loop.time,
    )  # fmt: skip
    in_body = point in {"after_354", "mid_body"}
    task = asyncio.create_task(attempt(session, permit, HUGE if in_body and way == "blackhole" else DATA))
    if way == "blackhole":
        waiting = asyncio.create_task(server.died.wait())
        await asyncio.wait({task, waiting}, timeout=0.3 if point == "connect" else 5, return_when="FIRST_COMPLETED")
        await asyncio.sleep(0.3 if in_body else 0.05)
        loop.advance(599 if point in {"dot_before", "dot_after", "mid_reply"} else 200)
        await asyncio.sleep(0.02)
        if point in {"dot_before", "dot_after", "mid_reply"}:
            assert not task.done(), "gave up on the answer to the dot before 600 s"
            loop.advance(2)
    result = await task
    server.server.close()
    return result, server, permits


@pytest.mark.parametrize("pipelining", [False, True], ids=["plain", "pipelining"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("point", POINTS)
def test_a_peer_that_dies(point: str, way: str, pipelining: bool) -> None:
    result, server, permits = warp_run(lambda loop: fault(loop, point, way, pipelining))
    if point == "quit":
        assert isinstance(result, Receipt) and server.taken == 1
    elif point in {"dot_before", "dot_after", "mid_reply"}:
        assert isinstance(result, OutcomeUnknown) and not result.reversible and permits == 1
        assert result.phase is Phase.REPLY
    else:
        assert isinstance(result, TemporaryFailure) and result.reversible and server.taken == 0
        # The peer may die while the body travels; the permit can have been asked, the dot was not taken by anyone.
        assert permits <= (1 if point in {"after_354", "mid_body"} else 0)
        assert result.phase.value in _phases_of(point)


def _phases_of(point: str) -> set[str]:
    same = {"connect": {"connect", "banner", "starttls"}, "after_354": {"body", "permit"}, "mid_body": {"body", "permit"}}
    pipelined = {"mail": {"mail"}, "rcpt": {"rcpt", "mail"}, "data": {"data", "rcpt", "mail"}}
    return same.get(point) or pipelined.get(point) or {point}


AFTER_DOT = [
    (b"250 2.0.0 ok\r\n", "sent"),
    (b"2", "lost"),
    (b"250-first\r\n250 last\r\n", "sent"),
    (b"250 " + b"z" * 200_000 + b"\r\n", "sent"),
    (b"250\r\n", "sent"),
    (b"250 bare line feed\n", "sent"),
    (b"251 other two hundred\r\n", "sent"),
    (b"421 4.3.0 closing\r\n", "temporary"),
    (b"451 4.3.0 try later\r\n", "temporary"),
    (b"452-4.2.2 full\r\n452 4.2.2 full\r\n", "temporary"),
    (b"550 5.1.1 no such user\r\n", "permanent"),
    (b"554 5.7.1 spam\r\n", "permanent"),
    (b"354 again?\r\n", "unknown"),
    (b"hello there\r\n", "unknown"),
    (b"\x00\xff\xfe\r\n", "unknown"),
    (b"250-ok\r\n550 no\r\n", "unknown"),
    (b"99999 what\r\n", "unknown"),
]


@pytest.mark.parametrize(("answer", "expected"), AFTER_DOT, ids=[repr(row[0][:16]) for row in AFTER_DOT])
def test_only_an_explicit_answer_after_the_dot_is_believed(answer: bytes, expected: str) -> None:
    async def story(loop: WarpLoop) -> Receipt | ChannelError:
        server = Answering([answer[i : i + 7] for i in range(0, len(answer), 7)] if len(answer) < 100 else [answer])
        port = await server.start()
        session = SmtpSession(endpoint(port, login=False), ehlo_name="client.test", net=local_net(), clock=loop.time)
        return await attempt(session, granted(loop.time))

    result = warp_run(story)
    names = {"sent": "Receipt", "temporary": "TemporaryFailure", "permanent": "PermanentFailure"}
    assert type(result).__name__ == names.get(expected, "OutcomeUnknown")
    if isinstance(result, ChannelError):
        assert result.reversible == (expected in names) and result.phase is Phase.REPLY
    if answer.startswith(b"hello"):
        assert isinstance(result, OutcomeUnknown) and result.text == "hello there"


class Answering:
    """Takes everything, then answers the dot in the given pieces and closes."""

    def __init__(self, pieces: list[bytes], delay: Callable[[], Awaitable[None]] | None = None) -> None:
        self.pieces, self.delay = pieces, delay
        self.heard_dot = asyncio.Event()

    async def start(self) -> int:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        for answer in (b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readuntil(b"\n")
            writer.write(answer)
        await reader.readuntil(b"\r\n.\r\n")
        self.heard_dot.set()
        if self.delay:
            await self.delay()
        for piece in self.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
        writer.close()


def test_a_reply_after_599_seconds_still_counts() -> None:
    async def story(loop: WarpLoop) -> Receipt | ChannelError:
        answer_now = asyncio.Event()

        async def delay() -> None:
            await answer_now.wait()

        server = Answering([b"250 late\r\n"], delay)
        port = await server.start()
        session = SmtpSession(endpoint(port, login=False), ehlo_name="client.test", net=local_net(), clock=loop.time)
        task = asyncio.create_task(attempt(session, granted(loop.time)))
        await server.heard_dot.wait()
        loop.advance(599)
        await asyncio.sleep(0.02)
        answer_now.set()
        return await task

    began = time.monotonic()
    assert isinstance(warp_run(story), Receipt)
    assert time.monotonic() - began < 5


def test_the_wait_for_the_answer_to_the_dot_cannot_be_shortened() -> None:
    with pytest.raises(ValueError, match="600"):
        SmtpTimeouts(reply=30)
