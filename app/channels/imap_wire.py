"""The small pieces of IMAP: reading responses with literals, writing arguments, modified UTF-7. No policy here.

A response is read into nested lists: atoms, numbers and strings are bytes, NIL is None, (…) is a list. Strings that
came quoted or as literals are `Text`, so that a literal that reads "NIL" is not taken for nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from app.channels.wire import Wire

MAX_LITERAL = 200 * 1024 * 1024
MAX_DEPTH = 50
_LITERAL_END = re.compile(rb"\{(\d{1,12})\+?\}$")


class BadResponse(Exception):
    """What came cannot be an IMAP response; the connection is of no use any more."""


class Text(bytes):
    """A string value, as opposed to an atom."""


Value = bytes | None | list["Value"]


@dataclass(frozen=True, slots=True)
class Response:
    """`tag` is b"*", b"+" or a command's tag; `kind` is the first word in upper case, or for `3 EXISTS` the second.

    `number` is that leading number; `text` is the rest of a status response or continuation, readable.
    """

    tag: bytes
    kind: str
    number: int
    values: list[Value]
    text: str


async def read_response(wire: Wire) -> Response:
    """One whole response with its literals. Raises BadResponse, WireClosed and LineTooLong."""
    fragments: list[bytes] = []
    literals: list[bytes] = []
    total = 0
    while True:
        line = await wire.read_line(limit=64 * 1024 * 1024)
        found = _LITERAL_END.search(line)
        if not found or line[:1] == b"+":
            fragments.append(line)
            return _response(fragments, literals)
        fragments.append(line[: found.start()])
        size = int(found.group(1))
        total += size
        if total > MAX_LITERAL:
            raise BadResponse("literal too large")
        literals.append(await wire.read_exactly(size))


_STATUS = {"OK", "NO", "BAD", "BYE", "PREAUTH"}


def _response(fragments: list[bytes], literals: list[bytes]) -> Response:
    head = fragments[0]
    tag, _, rest = head.partition(b" ")
    if tag == b"+":
        return Response(tag, "+", 0, [], _readable(rest))
    word, _, tail = rest.partition(b" ")
    kind = word.decode("ascii", "replace").upper()
    if kind in _STATUS:
        return Response(tag, kind, 0, [], _readable(b"".join(_interleave([tail, *fragments[1:]], literals))))
    if tag != b"*":
        raise BadResponse(_readable(head[:200]))
    number = 0
    if word.isdigit():
        number = int(word)
        word, _, tail = tail.partition(b" ")
        kind = word.decode("ascii", "replace").upper()
    values = _Parser([tail, *fragments[1:]], literals).values()
    return Response(tag, kind, number, values, _readable(tail[:2_000]))


def _interleave(fragments: list[bytes], literals: list[bytes]) -> list[bytes]:
    parts = [fragments[0]]
    for literal, fragment in zip(literals, fragments[1:], strict=False):
        parts += [literal, fragment]
    return parts


def _readable(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()[:2_000]


_TOKEN = re.compile(rb'[ \t]*(?:(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<atom>[^ \t()"]+))')
#: BODY[HEADER.FIELDS (SUBJECT FROM)]<0> is one word although it holds blanks and parentheses.
_SECTION = re.compile(rb"(?:BODY|BINARY)(?:\.PEEK)?\[[^\]]*\](?:<\d+>)?", re.IGNORECASE)


class _Parser:
    """Values of the fragments; between two fragments stands a literal."""

    def __init__(self, fragments: list[bytes], literals: list[bytes]) -> None:
        self._fragments = fragments
        self._literals = literals

    def values(self) -> list[Value]:
        top: list[Value] = []
        stack: list[list[Value]] = [top]
        for index, fragment in enumerate(self._fragments):
            self._fragment(fragment, stack)
            if index < len(self._literals):
                stack[-1].append(Text(self._literals[index]))
        return top

    def _fragment(self, fragment: bytes, stack: list[list[Value]]) -> None:
        position = 0
        while position < len(fragment):
            section = _SECTION.match(fragment, position + (fragment[position : position + 1] == b" "))
            if section:
                stack[-1].append(section.group().upper())
                position = section.end()
                continue
            token = _TOKEN.match(fragment, position)
            if token is None:
                if fragment[position:].strip():
                    raise BadResponse(_readable(fragment[position : position + 200]))
                return
            self._token(token, stack)
            position = token.end()

    @staticmethod
    def _token(token: re.Match[bytes], stack: list[list[Value]]) -> None:
        if token.group("open"):
            if len(stack) > MAX_DEPTH:
                raise BadResponse("nested too deeply")
            inner: list[Value] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif token.group("close"):
            if len(stack) == 1:
                raise BadResponse("unbalanced parenthesis")
            stack.pop()
        elif token.group("quoted") is not None:
            stack[-1].append(Text(re.sub(rb"\\(.)", rb"\1", token.group("quoted"))))
        else:
            atom = token.group("atom")
            stack[-1].append(None if atom.upper() == b"NIL" else atom)


_QUOTABLE = re.compile(r"[ !#-\[\]-~]{0,200}")


class BadArgument(ValueError):
    """An argument holds CR, LF or NUL: it could become a second command."""


def argument(text: str) -> bytes | Text:
    """A string for a command: quoted where it can be, else `Text`, which is sent as a literal."""
    if any(c in text for c in "\r\n\0"):
        raise BadArgument("line ends are not allowed in IMAP arguments")
    if _QUOTABLE.fullmatch(text):
        return b'"' + text.encode("ascii") + b'"'
    return Text(text.encode("utf-8"))


def encode_folder(name: str) -> str:
    """Modified UTF-7 (RFC 3501 5.1.3)."""
    out: list[str] = []
    pending: list[str] = []

    def flush() -> None:
        if pending:
            raw = base64.b64encode("".join(pending).encode("utf-16-be")).decode("ascii")
            out.append("&" + raw.rstrip("=").replace("/", ",") + "-")
            pending.clear()

    for char in name:
        if " " <= char <= "~":
            flush()
            out.append("&-" if char == "&" else char)
        else:
            pending.append(char)
    flush()
    return "".join(out)


def decode_folder(raw: bytes) -> str:
    """Back from modified UTF-7; what is not valid (some servers send UTF-8) is read as UTF-8."""
    if not raw.isascii():
        return raw.decode("utf-8", "replace")

    def one(found: re.Match[str]) -> str:
        body = found.group(1)
        if not body:
            return "&"
        try:
            padded = body.replace(",", "/") + "=" * (-len(body) % 4)
            return base64.b64decode(padded, validate=True).decode("utf-16-be")
        except (binascii.Error, UnicodeDecodeError):
            return found.group()

    return re.sub(r"&([A-Za-z0-9+,]*)-", one, raw.decode("ascii"))
