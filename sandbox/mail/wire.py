"""One connection seen as lines, literals and dot-terminated blocks, and the ways in which it can die.

The channel keeps its own buffer instead of asyncio's `readline`: a message body is found by its terminator in one
search, and whatever was pipelined behind it stays for the next command.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from enum import StrEnum

CHUNK = 65_536
MAX_LINE = 65_536
QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)
TERMINATOR = b"\r\n.\r\n"


class PeerGone(Exception):
    """The other side closed or broke the connection."""


class Died(Exception):
    """An injected fault ended this session on purpose."""


class LineTooLong(Exception):
    """A command line above `MAX_LINE` bytes."""


class Death(StrEnum):
    """How a peer dies: an orderly FIN, a RST, or silence with the connection left open."""

    CLOSE = "close"
    RESET = "reset"
    BLACKHOLE = "blackhole"


class Channel:
    """Reads and writes of one session. All methods raise `PeerGone` once the other side has left."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        self._socket = writer.get_extra_info("socket")

    async def _more(self) -> None:
        # Clients write a literal and its CRLF apart: without quick ACKs Nagle's algorithm holds the second for 40 ms.
        if QUICK_ACK is not None and self._socket is not None and not self._writer.is_closing():
            self._socket.setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)
        try:
            chunk = await self._reader.read(CHUNK)
        except (ConnectionError, ssl.SSLError, TimeoutError) as gone:
            raise PeerGone from gone
        if not chunk:
            raise PeerGone
        self._buffer += chunk

    async def line(self) -> bytes:
        """The next line without its line end."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > MAX_LINE:
                raise LineTooLong
            await self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    async def exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        while len(self._buffer) < count:
            await self._more()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def some(self) -> None:
        """Wait until at least one byte is there (it stays in the buffer)."""
        while not self._buffer:
            await self._more()

    async def dot_block(self) -> bytes:
        """A message up to CRLF dot CRLF, dots unstuffed. Only real CRLFs count: a bare LF never ends a message."""
        while len(self._buffer) < 3:
            await self._more()
        if self._buffer.startswith(b".\r\n"):
            del self._buffer[:3]
            return b""
        searched = 0
        while (end := self._buffer.find(TERMINATOR, searched)) < 0:
            searched = max(0, len(self._buffer) - len(TERMINATOR))
            await self._more()
        block = bytes(self._buffer[: end + 2])
        del self._buffer[: end + len(TERMINATOR)]
        if block.startswith(b".."):
            block = block[1:]
        return block.replace(b"\r\n..", b"\r\n.")

    async def write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (ConnectionError, ssl.SSLError, RuntimeError) as gone:
            raise PeerGone from gone

    async def write_split(self, data: bytes) -> None:
        """The same bytes, one packet each (a slow, dripping peer)."""
        for position in range(len(data)):
            await self.write(data[position : position + 1])
            await asyncio.sleep(0.001)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Upgrade in place; whatever was pipelined before the handshake is thrown away (RFC 3207 §4.2)."""
        self._buffer.clear()
        try:
            await self._writer.start_tls(context)
        except (ConnectionError, ssl.SSLError, OSError) as gone:
            raise PeerGone from gone

    async def die(self, death: Death) -> None:
        """End this session in the given way and raise `Died`."""
        if death is Death.BLACKHOLE:
            await self._swallow()
        elif death is Death.RESET:
            self._reset()
        self._writer.close()
        raise Died

    async def _swallow(self) -> None:
        try:
            while await self._reader.read(CHUNK):
                continue
        except (ConnectionError, ssl.SSLError, TimeoutError):
            return

    def _reset(self) -> None:
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()
