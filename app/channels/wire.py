"""One TCP or TLS connection, read by lines and by counted bytes: SMTP and IMAP both stand on it.

A protocol class instead of streams, because three things must be exact: what was handed to the kernel (`drain` waits
until nothing of ours is left in a buffer), what has arrived unasked (`speaks`), and the upgrade to TLS with nothing
read in clear left over. Implicit TLS is the same upgrade directly after connecting, so there is one TLS path.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from app.channels.base import Resolver
from app.core.net import AllowedTargets, Purpose, TargetRefused, VettedAddress, vet

#: Unread bytes at which we stop taking more from the peer.
READ_AHEAD = 1_048_576
#: How long sent bytes may stay unacknowledged before the kernel gives the connection up (milliseconds).
UNACKNOWLEDGED_MS = 120_000

Answer = TypeVar("Answer")


class WireClosed(Exception):
    """The connection is gone: closed, reset or given up. `reset` tells an abrupt end from an orderly one."""

    def __init__(self, reset: bool = False) -> None:
        super().__init__("connection reset" if reset else "connection closed")
        self.reset = reset


class LineTooLong(Exception):
    """The peer sent more bytes without a line end than we read; `head` is how it began."""

    def __init__(self, head: bytes) -> None:
        super().__init__("line too long")
        self.head = head


class ConnectFailed(Exception):
    """No connection. `cause`: host_unknown, refused, unreachable, timeout, certificate, tls, not_allowed, …

    `permanent`: repeating it without changing a setting cannot help.
    """

    def __init__(self, cause: str, text: str = "", permanent: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.text = text
        self.permanent = permanent


class Wire(asyncio.Protocol):
    """See the module. All reads raise WireClosed; none has a time limit unless the caller sets one (`patient`, or around the call)."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._scanned = 0
        self._closed: WireClosed | None = None
        self._reader: asyncio.Future[None] | None = None
        self._patience: float | None = None
        self._patience_ends: float | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._rings_at = 0.0
        self._guarded: asyncio.Task[Any] | None = None
        self._out_of_time = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused_reading = False
        self._raw: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None
        self.trusted = False
        self.secure = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's; they only behave like them.
        transport = cast(asyncio.Transport, transport)
        _without_buffer(transport)
        self._transport = transport
        if self._raw is None:
            self._raw = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) > READ_AHEAD and not self._paused_reading and self._transport is not None:
            self._paused_reading = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._close_with(WireClosed())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._close_with(WireClosed(reset=exc is not None))
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _close_with(self, closed: WireClosed) -> None:
        if self._closed is None:
            self._closed = closed
        if self._alarm is not None and self._guarded is None:
            self._alarm.cancel()
            self._alarm = None
        self._writable.set()
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    @property
    def closed(self) -> bool:
        return self._closed is not None or self._transport is None or self._transport.is_closing()

    @property
    def speaks(self) -> bool:
        """Whether something has arrived that was not read yet."""
        return bool(self._unread)

    def patient(self, seconds: float | None) -> None:
        """From now on reads wait that long in all (then TimeoutError), until this is said anew; None: without a limit.

        A timer per wait costs more than the reading: one per connection stands, and looks when it rings whether it is time.
        """
        self._patience, self._patience_ends = seconds, None

    def _set_alarm(self) -> None:
        """Patience begins to run out with the first wait."""
        if self._patience is None:
            return
        loop = asyncio.get_running_loop()
        if self._patience_ends is None:
            self._patience_ends = loop.time() + self._patience
        if self._alarm is None or self._rings_at > self._patience_ends:
            if self._alarm is not None:
                self._alarm.cancel()
            self._ring_at(self._patience_ends)

    def _ring_at(self, when: float) -> None:
        """The time is kept beside the handle: for less than a millisecond uvloop gives one that does not know its own."""
        self._rings_at = when
        self._alarm = asyncio.get_running_loop().call_at(when, self._rung)

    def _rung(self) -> None:
        self._alarm = None
        waits = self._guarded is not None or (self._reader is not None and not self._reader.done())
        if not waits or self._patience_ends is None:
            return  # the next who waits sets it again
        loop = asyncio.get_running_loop()
        if loop.time() < self._patience_ends:
            self._ring_at(self._patience_ends)
        elif self._guarded is not None:
            self._out_of_time = True
            self._guarded.cancel()
        elif self._reader is not None:
            self._reader.set_exception(TimeoutError())

    async def within(self, seconds: float, answer: Awaitable[Answer]) -> Answer:
        """What somebody else answers, TimeoutError after so many seconds: ``asyncio.timeout`` with the connection's standing timer."""
        task = self._guarded = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        self._out_of_time = False
        self.patient(seconds)
        self._set_alarm()
        try:
            return await answer
        except asyncio.CancelledError:
            if self._out_of_time and task.uncancel() <= before:
                raise TimeoutError from None
            raise
        finally:
            self._guarded = None
            self.patient(None)

    async def _more(self) -> None:
        if self._closed is not None:
            raise self._closed
        if self._paused_reading and self._transport is not None:
            self._paused_reading = False
            self._transport.resume_reading()
        self._set_alarm()
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    async def read_line(self, limit: int = 65_536) -> bytes:
        """The next line without its end (CRLF or LF). More than `limit` bytes without an end raise LineTooLong."""
        while (line := self.line_here()) is None:
            if self._scanned > limit:
                raise LineTooLong(bytes(self._unread[:200]))
            await self._more()
        return line

    def line_here(self) -> bytes | None:
        """`read_line` of what has arrived already; None while the line has no end."""
        end = self._unread.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._unread)
            return None
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        self._scanned = 0
        return line[:-1] if line.endswith(b"\r") else line

    async def read_exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count <= READ_AHEAD // 2:
            while len(self._unread) < count:
                await self._more()
            return self._take(count)
        parts: list[bytes] = []
        while count:
            while not self._unread:
                await self._more()
            parts.append(self._take(min(count, len(self._unread))))
            count -= len(parts[-1])
        return b"".join(parts)

    async def read_some(self, limit: int = 65_536) -> bytes:
        """What there is, at least one byte and at most `limit`; WireClosed when nothing more can come."""
        while not self._unread:
            await self._more()
        return self._take(min(limit, len(self._unread)))

    def _take(self, count: int) -> bytes:
        data = bytes(self._unread[:count])
        del self._unread[:count]
        self._scanned = 0
        return data

    def write(self, data: bytes) -> None:
        """Hand bytes over; raises WireClosed when the connection is known to be gone."""
        if self.closed or self._transport is None:
            raise self._closed or WireClosed()
        self._transport.write(data)

    @property
    def flushed(self) -> bool:
        """Whether the kernel has every byte written so far, and the connection stands."""
        return self._closed is None and self._writable.is_set() and not (self._raw and self._raw.get_write_buffer_size())

    async def drain(self) -> None:
        """Wait until the kernel has every byte written so far."""
        while True:
            await self._writable.wait()
            if self._closed is not None:
                raise self._closed
            if not (self._raw and self._raw.get_write_buffer_size()):
                return
            # Below TLS the socket's own buffer may still hold a rest that no callback announces.
            await asyncio.sleep(0.002)

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Upgrade to TLS. What the peer sent in clear beforehand is refused (injected replies)."""
        if self._unread:
            raise ConnectFailed("tls", "data before TLS", permanent=True)
        if self.closed or self._transport is None:
            raise self._closed or WireClosed()
        loop = asyncio.get_running_loop()
        try:
            upgraded = await loop.start_tls(
                self._transport, self, context, server_hostname=name, ssl_handshake_timeout=3600, ssl_shutdown_timeout=2
            )
        except ssl.SSLCertVerificationError as error:
            raise ConnectFailed("certificate", error.verify_message, permanent=True) from None
        except ssl.SSLError as error:
            raise ConnectFailed("tls", error.reason or "") from None
        except OSError as error:
            raise WireClosed(reset=isinstance(error, ConnectionResetError)) from None
        if upgraded is None:
            raise WireClosed()
        _without_buffer(upgraded)
        self._transport = upgraded
        self.secure = True

    def abort(self) -> None:
        """Drop the connection now; nothing that is still buffered is sent."""
        for transport in (self._transport, self._raw):
            if transport is not None:
                transport.abort()
        self._close_with(WireClosed())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass
class Net:
    """How this process connects: whom it may reach, who resolves names, and which certificates it believes.

    `verify_trusted`: whether hosts in networks an operator allowed must show a valid certificate as well.
    """

    allow: AllowedTargets
    resolver: Resolver
    verify_trusted: bool = True
    ca_file: str = ""
    _contexts: dict[bool, ssl.SSLContext] = field(default_factory=dict)

    def tls_context(self, verify: bool) -> ssl.SSLContext:
        """Shared, so that session tickets save round trips."""
        if verify not in self._contexts:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.ca_file:
                context.load_default_certs()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if not verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._contexts[verify] = context
        return self._contexts[verify]

    async def upgrade(self, wire: Wire, name: str) -> None:
        await wire.start_tls(self.tls_context(self.verify_trusted or not wire.trusted), name)

    async def open(self, host: str, port: int, purpose: Purpose) -> Wire:
        """Vet and connect (plain TCP), trying the addresses in turn. Raises ConnectFailed."""
        try:
            targets = await vet(host, port, purpose, self.allow, self.resolver.addresses)
        except TargetRefused as error:
            raise ConnectFailed(error.reason, str(error), permanent=error.reason != "host_unknown") from None
        failure = ConnectFailed("unreachable")
        for target in targets:
            try:
                return await self._connect(target)
            except ConnectionRefusedError:
                failure = ConnectFailed("refused")
            except (TimeoutError, OSError):
                failure = ConnectFailed("unreachable")
        raise failure

    async def _connect(self, target: VettedAddress) -> Wire:
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(Wire, target.address, target.port)
        wire.trusted = target.trusted
        raw = wire._raw.get_extra_info("socket") if wire._raw else None
        if raw is not None:
            _tune(raw)
        return wire


def _without_buffer(transport: asyncio.Transport) -> None:
    """No comfort buffer: `drain` must mean that the kernel has everything. (With 0 asyncio's TLS pauses for ever.)"""
    transport.set_write_buffer_limits(high=1, low=0)


def _tune(raw: socket.socket) -> None:
    """Notice dead peers: bytes that nobody acknowledges end the connection, and an idle one is asked for life."""
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_USER_TIMEOUT", UNACKNOWLEDGED_MS), ("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20)):
            if hasattr(socket, option):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
