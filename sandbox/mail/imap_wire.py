"""Reading IMAP commands: lines with literals become a tree of atoms (str), strings (bytes) and lists."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from sandbox.mail.wire import Channel

LITERAL = re.compile(rb"\{(\d+)(\+?)\}$")
MAX_LITERAL = 64_000_000
Token = Any  # str (atom), bytes (quoted string or literal) or list of tokens


class BadCommand(Exception):
    """The command cannot be understood; answered by BAD."""


async def read_command(channel: Channel) -> list[bytes | bytearray]:
    """Pieces of one command: bytes are text, bytearrays are literals. Asks for synchronising literals itself."""
    pieces: list[bytes | bytearray] = []
    while True:
        line = await channel.line()
        found = LITERAL.search(line)
        if found is None:
            pieces.append(line)
            return pieces
        size = int(found[1])
        if size > MAX_LITERAL:
            raise BadCommand("Literal too large")
        pieces.append(line[: found.start()])
        if not found[2]:
            await channel.write(b"+ Ready for literal data\r\n")
        pieces.append(bytearray(await channel.exactly(size)))


def parse(pieces: Sequence[bytes | bytearray]) -> list[Token]:
    """The tokens of a whole command, tag first."""
    stack: list[list[Token]] = [[]]
    for piece in pieces:
        if isinstance(piece, bytearray):
            stack[-1].append(bytes(piece))
        else:
            _tokens(piece, stack)
    if len(stack) != 1:
        raise BadCommand("Unbalanced parenthesis")
    return stack[0]


def _tokens(text: bytes, stack: list[list[Token]]) -> None:
    at = 0
    while at < len(text):
        byte = text[at : at + 1]
        if byte == b" ":
            at += 1
        elif byte == b"(":
            stack.append([])
            at += 1
        elif byte == b")":
            if len(stack) == 1:
                raise BadCommand("Unbalanced parenthesis")
            inner = stack.pop()
            stack[-1].append(inner)
            at += 1
        elif byte == b'"':
            string, at = _quoted(text, at + 1)
            stack[-1].append(string)
        else:
            end = _atom_end(text, at)
            stack[-1].append(text[at:end].decode("utf-8", "replace"))
            at = end


def _quoted(text: bytes, at: int) -> tuple[bytes, int]:
    out = bytearray()
    while at < len(text):
        byte = text[at]
        if byte == 0x22:
            return bytes(out), at + 1
        if byte == 0x5C and at + 1 < len(text):
            at += 1
            byte = text[at]
        out.append(byte)
        at += 1
    raise BadCommand("Unterminated string")


def _atom_end(text: bytes, at: int) -> int:
    """An atom ends at a space or parenthesis, except inside the brackets of BODY[...]."""
    depth = 0
    while at < len(text):
        byte = text[at : at + 1]
        if byte == b"[":
            depth += 1
        elif byte == b"]":
            depth -= 1
        elif depth <= 0 and byte in b" ()":
            return at
        at += 1
    return at


def text_of(token: Token) -> str:
    """An atom or string as text."""
    if isinstance(token, bytes):
        return token.decode("utf-8", "replace")
    if isinstance(token, str):
        return token
    raise BadCommand("A string was expected")


def quote(text: str | bytes | None) -> bytes:
    """A string for an answer: NIL, quoted, or a literal where quoting would break."""
    if text is None:
        return b"NIL"
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if re.search(rb"[\r\n\x00\x80-\xff]", raw):
        return b"{%d}\r\n%s" % (len(raw), raw)
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def select_numbers(numbers: str, known: Sequence[int]) -> list[int]:
    """The members of ascending `known` named by a set such as `1:4,7,9:*` (RFC 3501: `*` is the largest)."""
    chosen: set[int] = set()
    largest = known[-1] if known else 0
    for part in numbers.split(","):
        first, colon, last = part.partition(":")
        low, high = _number(first, largest), _number(last if colon else first, largest)
        if low > high:
            low, high = high, low
        chosen.update(known[bisect_left(known, low) : bisect_right(known, high)])
    return sorted(chosen)


def _number(text: str, largest: int) -> int:
    if text == "*":
        return largest
    if not text.isdigit():
        raise BadCommand("Bad sequence set")
    return int(text)


def compact_set(numbers: Sequence[int]) -> str:
    """`1:3,7` for ascending numbers."""
    parts: list[str] = []
    for index, number in enumerate(numbers):
        if index and number == numbers[index - 1] + 1:
            start = parts[-1].partition(":")[0]
            parts[-1] = f"{start}:{number}"
        else:
            parts.append(str(number))
    return ",".join(parts)
