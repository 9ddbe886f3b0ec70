"""How long a connection waits: one timer serves all its waits, whatever their lengths."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.channels.wire import Wire, WireClosed

Story = Callable[[Wire, asyncio.StreamWriter], Awaitable[None]]


def tell(story: Story) -> None:
    """Run a story with both ends of one connection."""

    async def run() -> None:
        peers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        server = await asyncio.start_server(lambda _, writer: peers.put_nowait(writer), "127.0.0.1", 0)
        _, wire = await asyncio.get_running_loop().create_connection(Wire, *server.sockets[0].getsockname())
        peer = await peers.get()
        try:
            async with asyncio.timeout(5):
                await story(wire, peer)
        finally:
            wire.abort()
            peer.close()
            server.close()

    asyncio.run(run())


def test_a_wait_that_is_shorter_than_the_one_before_ends_in_its_own_time() -> None:
    async def story(wire: Wire, peer: asyncio.StreamWriter) -> None:
        peer.write(b"250 first\r\n")
        wire.patient(600)
        assert await wire.read_line() == b"250 first"
        wire.patient(0.05)
        with pytest.raises(TimeoutError):
            await wire.read_line()
        assert not wire.closed  # what follows from it is the caller's to decide

    tell(story)


def test_a_timer_of_an_earlier_wait_does_not_end_a_later_one() -> None:
    async def story(wire: Wire, peer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        peer.write(b"250 first\r\n")
        wire.patient(0.1)
        assert await wire.read_line() == b"250 first"
        wire.patient(0.6)
        began = loop.time()
        with pytest.raises(TimeoutError):
            await wire.read_line()
        assert loop.time() - began >= 0.5
        wire.patient(0.05)
        wire.patient(None)
        loop.call_later(0.3, peer.write, b"250 late\r\n")
        assert await wire.read_line() == b"250 late"

    tell(story)


def test_a_connection_that_ends_while_somebody_waits_says_so_at_once_and_leaves_no_timer() -> None:
    async def story(wire: Wire, peer: asyncio.StreamWriter) -> None:
        wire.patient(600)
        asyncio.get_running_loop().call_later(0.05, peer.close)
        with pytest.raises(WireClosed):
            await wire.read_line()
        assert wire._alarm is None
        wire.patient(600)
        assert wire._alarm is None

    tell(story)
