"""Writing of header fields: no value of a person or a file can start a new field, a recipient or an encoded word."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence

from app.strings import t

MAX_LINE = 998
_FOLD_AT = 76
#: Line ends and controls of every kind, and lone surrogates: no header value may hold one.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,900}>")
_URL = re.compile(r"(?:https?://|mailto:)[!-;=?-~]{1,900}")
_LIST_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_WORD_SPLIT = re.compile(r"( +)")


class HeaderError(ValueError):
    """A value that must not stand in a header; `field` names the header."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(t("mail_headers.of_field", field=field, fault=message))
        self.field = field


def guard(field: str, value: str) -> str:
    """The value, or `HeaderError` when it holds a line end or a control character."""
    if _FORBIDDEN.search(value):
        raise HeaderError(field, t("mail_headers.no_controls"))
    return value


def encoded_words(text: str) -> str:
    """RFC 2047 words of at most 75 characters, folded; each holds whole characters."""
    words: list[str] = []
    chunk = b""
    for character in text:
        encoded = character.encode("utf-8")
        if len(chunk) + len(encoded) > 45:
            words.append(f"=?utf-8?B?{b64encode(chunk).decode('ascii')}?=")
            chunk = b""
        chunk += encoded
    words.append(f"=?utf-8?B?{b64encode(chunk).decode('ascii')}?=")
    return "\r\n ".join(words)


def _must_encode(value: str) -> bool:
    return not value.isascii() or "=?" in value


def unstructured(field: str, value: str) -> str:
    """`Subject: …` folded; non-ASCII text, and text that looks like an encoded word, is encoded as a whole."""
    value = guard(field, value).strip()
    if _must_encode(value):
        return f"{field}: {encoded_words(value)}\r\n"
    line = f"{field}: {value}"
    if len(line) <= _FOLD_AT:
        return line + "\r\n"
    if max(map(len, value.split(" "))) > 900:
        return f"{field}: {encoded_words(value)}\r\n"
    return _folded(field, value)


def _folded(field: str, value: str) -> str:
    pieces = _WORD_SPLIT.split(value)
    lines, line = [], f"{field}: {pieces[0]}"
    for spaces, word in zip(pieces[1::2], pieces[2::2], strict=True):
        if len(line) + len(spaces) + len(word) > _FOLD_AT:
            lines.append(line)
            line = spaces + word
        else:
            line += spaces + word
    return "\r\n".join([*lines, line]) + "\r\n"


def mailbox(field: str, email: str, name: str = "") -> str:
    """`Ada Lovelace <ada@example.com>`; names are quoted or encoded, so none can look like an address."""
    if not _ADDRESS.fullmatch(email) or ".." in email:
        raise HeaderError(field, t("mail_headers.no_address"))
    name = " ".join(guard(field, name).split())
    if not name:
        return email
    if _must_encode(name):
        return f"{encoded_words(name)} <{email}>"
    if not _ATOMS.fullmatch(name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if len(name) > 500:
        raise HeaderError(field, t("mail_headers.long_name"))
    return f"{name} <{email}>"


def addresses(field: str, entries: Sequence[tuple[str, str]]) -> str:
    """A field of (email, name) pairs, one per line."""
    return f"{field}: " + ",\r\n ".join(mailbox(field, email, name) for email, name in entries) + "\r\n"


def message_ids(field: str, ids: Sequence[str]) -> str:
    """A field of message ids, one per line; ill-formed ones (other people's) are left out; "" when none is left."""
    good = [entry for entry in ids if _MESSAGE_ID.fullmatch(entry)]
    if not good:
        return ""
    if len(good) > 40:  # RFC 5322 lets the middle go; the first and the latest matter
        good = [good[0], *good[-39:]]
    return f"{field}: " + "\r\n ".join(good) + "\r\n"


def own_message_id(entry: str) -> str:
    """The Message-ID field; `HeaderError` when the id is not well formed."""
    if not _MESSAGE_ID.fullmatch(entry) or entry.count("@") != 1:
        raise HeaderError("Message-ID", t("mail_headers.no_message_id"))
    return f"Message-ID: {entry}\r\n"


def urls(field: str, entries: Sequence[str]) -> str:
    """`<https://…>, <mailto:…>`; `HeaderError` for anything else."""
    for entry in entries:
        if not _URL.fullmatch(entry):
            raise HeaderError(field, t("mail_headers.no_link"))
    return f"{field}: " + ",\r\n ".join(f"<{entry}>" for entry in entries) + "\r\n"


def list_id(entry: str) -> str:
    """`List-Id: <campaign-7.acme.com>`."""
    if not _LIST_ID.fullmatch(entry) or ".." in entry:
        raise HeaderError("List-Id", t("mail_headers.no_list"))
    return f"List-Id: <{entry}>\r\n"


def parameter(name: str, value: str) -> str:
    """`; filename="offer.pdf"`, or RFC 2231 for anything beyond plain ASCII."""
    value = _FORBIDDEN.sub("", value)[:200]
    if value.isascii() and not re.search(r"[\"\\%]|=\?", value) and len(value) <= 60:
        return f'; {name}="{value}"'
    encoded = "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or chr(byte) in "._-" else f"%{byte:02X}"
        for byte in value.encode("utf-8")
    )
    if len(encoded) > 800:
        encoded = encoded[:800].rpartition("%")[0]
    return f";\r\n {name}*=utf-8''{encoded}"


def check_head(head: bytes, fields: int) -> None:
    """Look at the written block again: line ends that are no folds are as many as fields were meant, none is bare, no line is long.

    Each field brings the line end behind it, so one more means that a value has begun another field, or the body.
    """
    ends = head.count(b"\r\n")
    if ends - head.count(b"\r\n ") - head.count(b"\r\n\t") != fields:
        raise HeaderError("headers", t("mail_headers.changed"))
    if head.count(b"\r") != ends or head.count(b"\n") != ends or max(map(len, head.split(b"\r\n"))) > MAX_LINE:
        raise HeaderError("headers", t("mail_headers.long_line"))
