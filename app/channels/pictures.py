"""Pictures of other servers, fetched for a reader who asked for them: vetted, small, quick, and nothing told about who reads.

It speaks HTTP by `app.channels.http`, on our vetted connections. Every hop of a redirect is an address like the first. What
comes back is a picture when its own first bytes say so, whatever its headers say; SVG is a document and never a picture here.

The request goes out over TLS, also where a mail wrote `http:` (nobody between us and the server needs to know what is
read); plain HTTP only to a network and port an operator named.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urljoin

from app.channels import http
from app.channels.http import BadAddress, BadAnswer, BodyTooLarge
from app.channels.wire import ConnectFailed, LineTooLong, Net, Wire, WireClosed
from app.core.net import Purpose

MAX_BYTES = 5 * 1024 * 1024
MAX_REDIRECTS = 3
#: Seconds for everything: names, connections, redirects, bytes.
TOTAL_SECONDS = 10.0


class PictureRefused(Exception):
    """No picture. `reason`: bad_address, unreachable, not_allowed, bad_answer, not_a_picture, too_large or timeout."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Picture:
    """`content_type` is what the bytes are, not what the server called them."""

    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Address:
    secure: bool
    host: str
    port: int
    host_header: str
    target: str


def kind_of(content: bytes) -> str | None:
    """The media type by the first bytes: png, jpeg, gif or webp; None for everything else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return None


class PictureFetcher:
    """`seconds` and `max_bytes` hold for one picture with all its redirects."""

    def __init__(self, net: Net, *, seconds: float = TOTAL_SECONDS, max_bytes: int = MAX_BYTES) -> None:
        self._net = net
        self._seconds = seconds
        self._max_bytes = max_bytes

    async def fetch(self, url: str) -> Picture:
        """The picture at `url` (http or https). Raises PictureRefused; a refused target is never connected to."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(url)
        except TimeoutError:
            raise PictureRefused("timeout") from None

    async def _follow(self, url: str) -> Picture:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._once(_address(url))
            if isinstance(answer, Picture):
                return answer
            url = urljoin(url, answer)
        raise PictureRefused("bad_answer")

    async def _once(self, at: _Address) -> Picture | str:
        """The picture, or the address an answer points to."""
        wire = await self._open(at)
        try:
            wire.write(_request(at))
            return await self._read(wire)
        except (WireClosed, LineTooLong, BadAnswer):
            raise PictureRefused("bad_answer") from None
        except BodyTooLarge:
            raise PictureRefused("too_large") from None
        finally:
            wire.abort()

    async def _open(self, at: _Address) -> Wire:
        try:
            wire = await self._net.open(at.host, at.port, Purpose.IMAGE)
            if at.secure:
                await self._net.upgrade(wire, at.host)
            elif not wire.trusted:
                wire.abort()
                raise PictureRefused("not_allowed")
        except ConnectFailed as failed:
            vetted = failed.cause in {"not_allowed", "bad_port", "bad_host"}
            raise PictureRefused("not_allowed" if vetted else "unreachable") from None
        except WireClosed:
            raise PictureRefused("unreachable") from None
        return wire

    async def _read(self, wire: Wire) -> Picture | str:
        status, headers = await http.read_head(wire)
        if status in {301, 302, 303, 307, 308} and headers.get("location"):
            return headers["location"]
        if status != 200 or headers.get("content-encoding", "identity").lower() != "identity":
            raise PictureRefused("bad_answer")
        content = bytearray()
        async for piece in http.read_body(wire, headers, self._max_bytes):
            content += piece
            if len(content) > self._max_bytes:
                raise PictureRefused("too_large")
            if len(content) >= 16 and kind_of(bytes(content[:16])) is None:
                raise PictureRefused("not_a_picture")
        kind = kind_of(bytes(content))
        if kind is None:
            raise PictureRefused("not_a_picture")
        return Picture(kind, bytes(content))


def _address(url: str) -> _Address:
    """Where to connect and what to ask for; PictureRefused for what is no plain http(s) address."""
    try:
        meant = http.address_of(url)
    except BadAddress:
        raise PictureRefused("bad_address") from None
    secure = meant.secure or meant.port in {None, 80, 443}
    port = (443 if meant.port in {None, 80} else meant.port) if secure else meant.port
    return _Address(secure, meant.name, port or 443, meant.host_header(port or 443, 443), meant.target)


def _request(at: _Address) -> bytes:
    return (
        f"GET {at.target} HTTP/1.1\r\nHost: {at.host_header}\r\nAccept: image/png, image/jpeg, image/gif, image/webp\r\n"
        "Accept-Encoding: identity\r\nUser-Agent: Mozilla/5.0 (pictures by proxy)\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
