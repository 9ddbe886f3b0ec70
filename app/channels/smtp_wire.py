"""The small pieces of SMTP: reading replies, capabilities, dot-stuffing, arguments. No policy here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter

from app.channels.wire import LineTooLong, Wire, WireClosed
from app.domain.smtp_reply import Phase, Reply, enhanced_code

MAX_LINES = 500
KEPT_LINES = 40
KEPT_TEXT = 2_000
_SHORT = 200  # longer replies are not remembered
_REPLY_LINE = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)


class BadReply(Exception):
    """What came was no SMTP reply, or the connection ended inside one. `text` is the last line heard."""

    def __init__(self, text: str, lost: bool = False, reset: bool = False) -> None:
        super().__init__("unreadable reply")
        self.text = text
        self.lost = lost
        self.reset = reset


def readable(raw: bytes) -> str:
    """Any bytes as one line of text that is safe to store and show."""
    text = raw.decode("utf-8", "replace")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return text.strip()[:KEPT_TEXT]


async def read_reply(wire: Wire, phase: Phase, provider: str = "") -> Reply:
    """One whole reply, also multi-line, in pieces, or far too long (its tail is dropped). Raises BadReply."""
    line = wire.line_here() if wire.speaks else None
    if line is None:
        line = await _line(wire, "")
    if line[3:4] != b"-":
        reply = _single(phase, line, provider) if len(line) <= _SHORT else _single.__wrapped__(phase, line, provider)
        if reply is None:
            raise BadReply(readable(line[:KEPT_TEXT]))
        return reply
    texts: list[str] = []
    code = b""
    for _ in range(MAX_LINES):
        found = _REPLY_LINE.fullmatch(line)
        last = readable(line[:KEPT_TEXT])
        if found is None or (code and found.group(1)[:1] != code[:1]):
            raise BadReply(last)
        code = found.group(1)
        if len(texts) < KEPT_LINES:
            texts.append(readable((found.group(3) or b"")[:KEPT_TEXT]))
        if found.group(2) != b"-":
            return _reply(phase, int(code), texts, provider)
        line = await _line(wire, last)
    raise BadReply(last)


async def _line(wire: Wire, last: str) -> bytes:
    """The next line; ``last`` is the one before it, for whoever asks why there is none."""
    try:
        return await wire.read_line(limit=1_000_000)
    except WireClosed as closed:
        raise BadReply(last, lost=True, reset=closed.reset) from None
    except LineTooLong as error:
        raise BadReply(readable(error.head)) from None


@lru_cache(maxsize=1_024)
def _single(phase: Phase, line: bytes, provider: str) -> Reply | None:
    """A reply of one line; None when it is none. Most that servers say up to the dot they say again and again."""
    found = _REPLY_LINE.fullmatch(line)
    if found is None:
        return None
    return _reply(phase, int(found.group(1)), [readable((found.group(3) or b"")[:KEPT_TEXT])], provider)


def _reply(phase: Phase, code: int, texts: list[str], provider: str) -> Reply:
    enhanced = enhanced_code(texts[0]) or enhanced_code(texts[-1])
    # Providers repeat the enhanced code on each line; once is enough to read and to match.
    bare = [text.removeprefix(enhanced).strip() if enhanced else text for text in texts]
    joined = "\n".join(bare) if phase is Phase.EHLO else " ".join(text for text in bare if text)
    return Reply(phase, code, enhanced, joined[:KEPT_TEXT], provider)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the server announced after EHLO; `size` 0 means no limit was named."""

    names: frozenset[str] = frozenset()
    auth: tuple[str, ...] = ()
    size: int = 0
    greeting: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Capabilities:
        greeting, *lines = text.split("\n")
        names: set[str] = set()
        auth: list[str] = []
        size = 0
        for line in lines:
            # "AUTH=LOGIN PLAIN" is an old spelling that some servers still announce alone.
            words = line.replace("=", " ", 1).upper().split() if line.upper().startswith("AUTH=") else line.upper().split()
            if not words:
                continue
            names.add(words[0])
            if words[0] == "AUTH":
                auth.extend(words[1:])
            if words[0] == "SIZE" and len(words) > 1 and words[1].isdigit():
                size = int(words[1])
        return cls(frozenset(names), tuple(dict.fromkeys(auth)), size, greeting)


class BareLineEnd(ValueError):
    """The bytes hold CR or LF alone: some servers read that as a line end, and a mail could be smuggled in."""


_FIRST = itemgetter(slice(0, 1))


def stuffed(data: bytes) -> bytes:
    """The body as it goes over the wire: leading dots doubled, CRLF at its end. Raises BareLineEnd."""
    if not data.endswith(b"\r\n"):
        data += b"\r\n"
    lines = data.splitlines()  # at CR LF, CR and LF: were one of them bare, the lines and two bytes for each would be too many
    if sum(map(len, lines)) + 2 * len(lines) != len(data):
        raise BareLineEnd("bare CR or LF in message bytes")
    if b"." in map(_FIRST, lines):
        data = data.replace(b"\r\n.", b"\r\n..")
        return b"." + data if data.startswith(b".") else data
    return data


_ADDRESS = re.compile(r"[^\s<>\x00-\x20\x7f]+@[^\s<>\x00-\x20\x7f]+")


@lru_cache(maxsize=4_096)
def path(address: str) -> str:
    """`<address>` for MAIL and RCPT; empty is the null sender. Raises ValueError for what could end the line."""
    if address and (len(address) > 254 or not _ADDRESS.fullmatch(address) or not address.isprintable()):
        raise ValueError("address cannot be used in a command")
    return f"<{address}>"


_ASSIGNED = (
    # Outlook.com: 250 2.0.0 OK <id@host> [Hostname=…]; the id is what their Sent copy and all replies carry.
    re.compile(r"<([^<>\s@]+@[^<>\s]+)>\s*\[\s*(?:Hostname|InternalId)=", re.IGNORECASE),
    # Amazon SES: 250 Ok 0100018c…-000000 (the domain is fixed per region and added by SES).
    re.compile(r"^(?:2\.\d\.\d\s+)?Ok:?\s+([0-9a-f]{16}-[0-9a-f-]{30,}-000000)$", re.IGNORECASE),
)
_SES_REGION = re.compile(r"email-smtp\.([a-z0-9-]+)\.amazonaws\.com", re.IGNORECASE)


def assigned_message_id(text: str, host: str = "") -> str:
    """A Message-ID the provider put in place of ours, with its <>, parsed from the reply to the dot; else empty."""
    outlook = _ASSIGNED[0].search(text)
    if outlook:
        return f"<{outlook.group(1)}>"
    ses = _ASSIGNED[1].search(text.strip())
    if ses:
        region = _SES_REGION.search(host)
        domain = "email" if region is None or region.group(1) == "us-east-1" else region.group(1)
        return f"<{ses.group(1)}@{domain}.amazonses.com>"
    return ""
