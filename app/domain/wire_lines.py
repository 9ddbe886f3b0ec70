"""Text as it stands in a mail: whole lines, whose two encodings are worked out once where many messages share them.

Both encodings look at each line by itself, so lines encoded piece by piece are the lines encoded together.
"""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Sequence
from functools import lru_cache

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LONGEST_LINE = 900


_ASCII_CONTROLS = bytes(code for code in range(128) if _CONTROLS.match(chr(code)))


class Lines:
    """Whole lines of a text; its last may have no line end. Immutable."""

    __slots__ = ("_quoted", "plain", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        raw = _cleaned(text)
        #: As they may stand in a mail (CRLF), or None where they need quoting.
        self.plain: bytes | None = None
        self._quoted: bytes | None = None
        blank = b" \n" in raw or raw.endswith(b" ")  # some servers take it away
        if raw.isascii() and not blank and b"From " not in raw and max(map(len, raw.split(b"\n"))) <= _LONGEST_LINE:
            self.plain = raw.replace(b"\n", b"\r\n")

    @property
    def quoted(self) -> bytes:
        """The lines in quoted-printable, CRLF."""
        if self._quoted is None:
            body = b2a_qp(_cleaned(self.text), istext=True)
            if b"From " in body:  # some servers still rewrite lines that begin so
                body = re.sub(rb"(?m)^From ", b"=46rom ", body)
            self._quoted = body.replace(b"\n", b"\r\n")
        return self._quoted


def _cleaned(text: str) -> bytes:
    """Without controls, line ends as LF."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        return text.encode("ascii").translate(None, _ASCII_CONTROLS)  # a third of what asking each character costs
    return (text if text.replace("\n", "").isprintable() else _CONTROLS.sub("", text)).encode("utf-8")


#: A text in pieces; each but the last ends with a line end.
Pieces = Sequence[str | Lines]
Text = str | Pieces


@lru_cache(maxsize=2_048)
def shared(text: str) -> Lines:
    """Lines that many messages have in common."""
    return Lines(text)


def plain_of(text: Text) -> str:
    """The text as one string."""
    if isinstance(text, str):
        return text
    return "".join([piece if isinstance(piece, str) else piece.text for piece in text])


def with_end(text: Text, end: str) -> list[str | Lines]:
    """The text with ``end`` directly behind it."""
    pieces: list[str | Lines] = [text] if isinstance(text, str) else list(text)
    return put(pieces, len(pieces) - 1, len(plain_of(pieces[-1:])), end) if pieces else [end]


def put(pieces: Sequence[str | Lines], index: int, at: int, words: str) -> list[str | Lines]:
    """The pieces with ``words`` at a place of one of them: of shared lines, the one it stands in becomes the message's own."""
    piece = pieces[index]
    if isinstance(piece, str):
        new: list[str | Lines] = [piece[:at] + words + piece[at:]]
    else:
        cut = piece.text.rfind("\n", 0, at) + 1
        own = piece.text[cut:at] + words + piece.text[at:]
        new = [shared(piece.text[:cut]), own] if cut else [own]
    return [*pieces[:index], *new, *pieces[index + 1 :]]


def encoded(text: Text) -> tuple[str, bytes]:
    """(Content-Transfer-Encoding, body ending with CRLF): as it is where every line may go so, else quoted-printable."""
    lines = [Lines(text)] if isinstance(text, str) else [Lines(piece) if isinstance(piece, str) else piece for piece in text]
    plain = [entry.plain for entry in lines]
    if None in plain:
        encoding, body = "quoted-printable", b"".join([entry.quoted for entry in lines])
    else:
        encoding, body = "7bit", b"".join(plain)  # type: ignore[arg-type]
    return encoding, body if body.endswith(b"\r\n") else body + b"\r\n"
