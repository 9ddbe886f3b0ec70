"""Posting a signed event to an address a client named: once, over a vetted connection, without following anything.

A redirect is an answer like any other: the address that was vetted is the only one that is ever connected to. Of the answer we keep
its status and how long it was, never its words: whoever may name an address could otherwise read through us what stands behind it.
Plain HTTP goes only to a network and port an operator named. No retry lives here: rows say when something is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from app.channels import http
from app.channels.wire import ConnectFailed, LineTooLong, Net, Wire, WireClosed
from app.core.net import Purpose

#: Seconds from the first look at the name to the status line.
TOTAL_SECONDS = 10.0
#: Seconds in which the rest of an answer is counted; it changes nothing any more.
COUNTING_SECONDS = 2.0
#: So many bytes of an answer are counted at most.
COUNTED_BYTES = 65_536
AGENT = "Emberpost-Webhooks/1"

#: ConnectFailed causes → our words; every other cause is a server that cannot be reached.
_REFUSED = frozenset({"not_allowed", "bad_port", "bad_host"})
_TLS = frozenset({"tls", "certificate"})


class PostFailed(Exception):
    """No status came back. `reason`: bad_address, not_allowed, unreachable, tls, timeout or bad_answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answered:
    """`length`: bytes of the body, counted up to COUNTED_BYTES. `retry_after`: seconds the server asked for, if it did."""

    status: int
    length: int
    retry_after: int | None = None


class Poster:
    """`seconds` hold for names, connection, TLS, request and status line together."""

    def __init__(self, net: Net, *, seconds: float = TOTAL_SECONDS) -> None:
        self._net = net
        self._seconds = seconds

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """POST `body` as JSON. Raises PostFailed; a refused target is never connected to."""
        wire: Wire | None = None
        try:
            try:
                async with asyncio.timeout(self._seconds):
                    at = http.address_of(url)
                    wire = await self._open(at)
                    wire.write(_request(at, headers, body))
                    await wire.drain()
                    status, answered = await http.read_head(wire)
            except TimeoutError:
                raise PostFailed("timeout") from None
            except http.BadAddress:
                raise PostFailed("bad_address") from None
            except (WireClosed, LineTooLong, http.BadAnswer):
                raise PostFailed("bad_answer") from None
            return Answered(status, await _counted(wire, answered), _seconds_of(answered.get("retry-after", "")))
        finally:
            if wire is not None:
                wire.abort()

    async def _open(self, at: http.Address) -> Wire:
        try:
            wire = await self._net.open(at.name, at.connects_to, Purpose.WEBHOOK)
        except ConnectFailed as failed:
            raise PostFailed("not_allowed" if failed.cause in _REFUSED else "unreachable") from None
        try:
            if at.secure:
                await self._net.upgrade(wire, at.name)
            elif not wire.trusted:
                raise PostFailed("not_allowed")
        except (ConnectFailed, WireClosed):
            wire.abort()
            raise PostFailed("tls") from None
        except BaseException:
            wire.abort()
            raise
        return wire


def _request(at: http.Address, headers: Mapping[str, str], body: bytes) -> bytes:
    """The whole request; our headers are ASCII without line ends (ids, numbers, base64)."""
    usual = 443 if at.secure else 80
    lines = [
        f"POST {at.target} HTTP/1.1", f"Host: {at.host_header(at.connects_to, usual)}", f"User-Agent: {AGENT}", "Accept: */*",
        "Accept-Encoding: identity", "Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


async def _counted(wire: Wire, headers: dict[str, str]) -> int:
    """How long the answer is, as far as it comes at once and reads well; the status stands whatever happens here."""
    seen = 0
    try:
        async with asyncio.timeout(COUNTING_SECONDS):
            async for piece in http.read_body(wire, headers, COUNTED_BYTES):
                seen += len(piece)
                if seen >= COUNTED_BYTES:
                    break
    except http.BodyTooLarge:
        return COUNTED_BYTES
    except (TimeoutError, WireClosed, LineTooLong, http.BadAnswer):
        pass
    return min(seen, COUNTED_BYTES)


def _seconds_of(retry_after: str) -> int | None:
    return int(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) <= 6 else None
