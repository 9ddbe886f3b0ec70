"""What FETCH shows of a message: ENVELOPE, BODYSTRUCTURE and the sections of BODY[...]."""

from __future__ import annotations

import re
from email.message import Message
from email.parser import BytesParser
from email.utils import getaddresses

from sandbox.mail.imap_wire import BadCommand, quote
from sandbox.mail.store import StoredMessage

FIELDS = re.compile(r"^HEADER\.FIELDS(\.NOT)?\s*\((.*)\)$", re.IGNORECASE)
FOLDED_FIELD = re.compile(rb"[^\r\n]+(?:\r?\n[ \t][^\r\n]*)*\r?\n")


def envelope(message: StoredMessage) -> bytes:
    head = message.parsed
    sender = _addresses(head, "From")
    parts = [
        quote(_raw_value(head, "Date")),
        quote(_raw_value(head, "Subject")),
        sender,
        _addresses(head, "Sender", sender),
        _addresses(head, "Reply-To", sender),
        _addresses(head, "To"),
        _addresses(head, "Cc"),
        _addresses(head, "Bcc"),
        quote(_raw_value(head, "In-Reply-To")),
        quote(_raw_value(head, "Message-ID")),
    ]
    return b"(" + b" ".join(parts) + b")"


def _raw_value(head: Message, name: str) -> str | None:
    value = head.get(name)
    return None if value is None else " ".join(str(value).split())


def _addresses(head: Message, name: str, otherwise: bytes = b"NIL") -> bytes:
    found = getaddresses([str(value) for value in head.get_all(name, [])])
    shown: list[bytes] = []
    for display, address in found:
        local, at, domain = address.rpartition("@")
        if at:
            shown.append(b"(" + b" ".join((quote(display or None), b"NIL", quote(local), quote(domain))) + b")")
    return b"(" + b"".join(shown) + b")" if shown else otherwise


def body_structure(message: StoredMessage) -> bytes:
    return _structure(BytesParser().parsebytes(message.raw))


def _structure(part: Message) -> bytes:
    subtype = quote(part.get_content_subtype().upper())
    if part.is_multipart() and part.get_content_maintype() == "multipart":
        children = b"".join(_structure(child) for child in part.get_payload() if isinstance(child, Message))
        return b"(" + children + b" " + subtype + b" " + _parameters(part) + b" NIL NIL NIL)"
    body = _payload(part)
    fields = [
        quote(part.get_content_maintype().upper()),
        subtype,
        _parameters(part),
        quote(_raw_value(part, "Content-ID")),
        quote(_raw_value(part, "Content-Description")),
        quote((_raw_value(part, "Content-Transfer-Encoding") or "7BIT").upper()),
        b"%d" % len(body),
    ]
    if part.get_content_maintype() == "text":
        fields.append(b"%d" % body.count(b"\n"))
    fields += [b"NIL", _disposition(part), b"NIL", b"NIL"]
    return b"(" + b" ".join(fields) + b")"


def _pairs(pairs: list[tuple[str, str]]) -> bytes:
    if not pairs:
        return b"NIL"
    return b"(" + b" ".join(quote(name.upper()) + b" " + quote(value) for name, value in pairs) + b")"


def _parameters(part: Message) -> bytes:
    pairs = part.get_params() or []
    return _pairs([(name, value) for name, value in pairs[1:] if isinstance(value, str)])


def _disposition(part: Message) -> bytes:
    kind = part.get_content_disposition()
    if kind is None:
        return b"NIL"
    name = part.get_filename()
    return b"(" + quote(kind.upper()) + b" " + _pairs([("FILENAME", name)] if name else []) + b")"


def _payload(part: Message) -> bytes:
    payload = part.get_payload()
    if isinstance(payload, list):
        return b"".join(child.as_bytes() for child in payload if isinstance(child, Message))
    return str(payload).encode("utf-8", "surrogateescape")


def section(message: StoredMessage, name: str) -> bytes:
    """The bytes of BODY[name]."""
    wanted = name.strip().upper()
    if wanted == "":
        return message.raw
    if wanted == "HEADER":
        return message.head
    if wanted == "TEXT":
        return message.raw[len(message.head) :]
    fields = FIELDS.match(name.strip())
    if fields:
        names = [word.strip('"').lower().encode() for word in fields[2].split()]
        return _some_fields(message.head, names, invert=bool(fields[1]))
    return _numbered(message, wanted)


def _some_fields(head: bytes, names: list[bytes], invert: bool) -> bytes:
    kept = bytearray()
    for found in FOLDED_FIELD.finditer(head):
        line = found[0]
        if (line.partition(b":")[0].strip().lower() in names) is not invert:
            kept += line
    return bytes(kept) + b"\r\n"


def _numbered(message: StoredMessage, wanted: str) -> bytes:
    part: Message = BytesParser().parsebytes(message.raw)
    numbers, _, rest = re.sub(r"^((?:\d+\.)*\d+)\.?", r"\1|", wanted).partition("|")
    try:
        for number in (int(text) for text in numbers.split(".")):
            payload = part.get_payload()
            if isinstance(payload, list):
                child = payload[number - 1]
                if not isinstance(child, Message):
                    return b""
                part = child
            elif number != 1:
                return b""
    except (ValueError, IndexError):
        return b""
    if rest in ("MIME", "HEADER"):
        return b"".join(f"{key}: {value}\r\n".encode() for key, value in part.items()) + b"\r\n"
    if rest in ("", "TEXT"):
        return _payload(part)
    raise BadCommand("Unknown section")
