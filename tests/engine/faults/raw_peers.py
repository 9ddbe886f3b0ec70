"""Mail servers that answer in bytes of the test's choosing, piece by piece; they count each message whose dot they heard."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

ORDINARY = {
    "banner": b"220 peer.test ESMTP\r\n",
    "ehlo": b"250-peer.test\r\n250-AUTH PLAIN\r\n250 8BITMIME\r\n",
    "auth": b"235 2.7.0 ok\r\n",
    "mail": b"250 2.1.0 ok\r\n",
    "rcpt": b"250 2.1.5 ok\r\n",
    "data": b"354 go on\r\n",
    "dot": b"250 2.0.0 taken\r\n",
    "rset": b"250 2.0.0 ok\r\n",
    "quit": b"221 2.0.0 bye\r\n",
    "helo": b"250 peer.test\r\n",
}


@dataclass
class RawPeer:
    """``odd``: the pieces written instead of the ordinary answer, the first time that phase is reached. ``close_after`` it.

    ``held``: the answer to the dot waits until ``release`` is called from any thread.
    """

    odd: dict[str, Sequence[bytes]] = field(default_factory=dict)
    close_after: bool = False
    held: bool = False
    port: int = 0
    dots: int = 0

    def __post_init__(self) -> None:
        self.heard_dot = threading.Event()
        self._free = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._listener.close()

    def release(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._free.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answer("banner", writer)
        while True:
            verb = (await reader.readuntil(b"\n")).split()[0].split(b":")[0].decode().lower()
            said = await self._answer(verb, writer)
            if verb == "quit":
                return
            if verb == "data" and said.startswith(b"354"):
                await reader.readuntil(b"\r\n.\r\n")
                self.dots += 1
                self.heard_dot.set()
                if self.held:
                    await self._free.wait()
                await self._answer("dot", writer)

    async def _answer(self, phase: str, writer: asyncio.StreamWriter) -> bytes:
        odd = self.odd.pop(phase, None)
        pieces = [ORDINARY[phase]] if odd is None else odd
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0.005)
        if odd is not None and self.close_after:
            writer.close()
            raise ConnectionAbortedError
        return b"".join(pieces)


class RawPeers:
    """All peers of a test on one loop in one thread: ``with RawPeers(peers): …``."""

    def __init__(self, peers: Sequence[RawPeer]) -> None:
        self._peers = peers
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="raw-peers", daemon=True)

    def __enter__(self) -> RawPeers:
        self._thread.start()
        for peer in self._peers:
            asyncio.run_coroutine_threadsafe(peer.start(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        for peer in self._peers:
            peer.stop()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
