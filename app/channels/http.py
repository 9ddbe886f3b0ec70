"""HTTP/1.1 as far as we speak it to strangers: addresses without tricks, heads and bodies read within bounds.

A client of our own on our vetted connections, because what it must not do is most of it: no cookies, no referrer, no credentials, no
proxy of the environment, no decompression, no redirect by itself, no second host that was not vetted.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.channels.wire import Wire, WireClosed

MAX_HEAD = 32_768

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: .*)?")
_SIZE = re.compile(rb"[0-9]{1,12}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")
_PLAIN = re.compile(r"[\x21-\x7e]+")


class BadAddress(Exception):
    """No plain http or https address."""


class BadAnswer(Exception):
    """What came back is not HTTP as we read it."""


class BodyTooLarge(Exception):
    """More bytes were announced than are read."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect and what to ask for. ``port`` None: none was written. ``name``: the host in ASCII, without brackets."""

    secure: bool
    name: str
    port: int | None
    target: str

    @property
    def connects_to(self) -> int:
        return self.port or (443 if self.secure else 80)

    def host_header(self, port: int, usual: int) -> str:
        shown = f"[{self.name}]" if ":" in self.name else self.name
        return shown if port == usual else f"{shown}:{port}"


def address_of(url: str) -> Address:
    """Raises BadAddress for another scheme, a user part, or anything that could end a line of the request."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadAddress from None
    if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc:
        raise BadAddress
    target = _escaped(parts.path or "/") + (f"?{_escaped(parts.query)}" if parts.query else "")
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise BadAddress from None
    if not target.startswith("/") or not _PLAIN.fullmatch(target) or not _PLAIN.fullmatch(name):
        raise BadAddress
    return Address(parts.scheme == "https", name, port, target)


def _escaped(text: str) -> str:
    """Letters beyond ASCII and blanks as browsers send them; nothing that could end a line."""
    return "".join(one if "\x21" <= one <= "\x7e" else "".join(f"%{byte:02X}" for byte in one.encode("utf-8", "replace")) for one in text)


async def read_head(wire: Wire) -> tuple[int, dict[str, str]]:
    """Status and headers (names in lower case) of the first answer that is not an interim one. Raises BadAnswer."""
    for _ in range(4):
        found = _STATUS.fullmatch(await wire.read_line(MAX_HEAD))
        if not found:
            raise BadAnswer
        headers = await _headers(wire)
        if not found[1].startswith(b"1"):
            return int(found[1]), headers
    raise BadAnswer


async def _headers(wire: Wire) -> dict[str, str]:
    headers: dict[str, str] = {}
    room = MAX_HEAD
    while line := await wire.read_line(MAX_HEAD):
        room -= len(line) + 2
        name, colon, value = line.partition(b":")
        if room < 0 or not colon:
            raise BadAnswer
        headers[name.strip().decode("latin-1").lower()] = value.strip().decode("latin-1")
    return headers


async def read_body(wire: Wire, headers: dict[str, str], limit: int) -> AsyncIterator[bytes]:
    """The body in pieces: chunked, counted (BodyTooLarge beyond ``limit``), or until the server closes. Raises BadAnswer."""
    coding = headers.get("transfer-encoding", "").lower()
    if coding and coding != "chunked":
        raise BadAnswer
    if coding:
        while size := await _chunk_size(wire):
            async for piece in _counted(wire, size):
                yield piece
            if await wire.read_line(16):
                raise BadAnswer
        return
    length = headers.get("content-length")
    if length is not None:
        if not _SIZE.fullmatch(length.encode("latin-1")):
            raise BadAnswer
        if int(length) > limit:
            raise BodyTooLarge
        async for piece in _counted(wire, int(length)):
            yield piece
        return
    try:
        while True:
            yield await wire.read_some()
    except WireClosed as closed:
        if closed.reset:
            raise


async def _counted(wire: Wire, count: int) -> AsyncIterator[bytes]:
    while count:
        piece = await wire.read_some(count)
        count -= len(piece)
        yield piece


async def _chunk_size(wire: Wire) -> int:
    found = _CHUNK.fullmatch(await wire.read_line(256))
    if not found:
        raise BadAnswer
    return int(found[1], 16)
