"""Reading of header fields: folded lines, encoded words (RFC 2047), parameters (RFC 2231), addresses, dates, ids.

Every function is total: whatever stands in the field, an answer comes back and no exception."""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_to_bytes

from app.domain import charsets
from app.domain.address import email_key

MAX_HEADERS = 1000
MAX_HEADER_BYTES = 256 * 1024
MAX_VALUE = 16 * 1024
MAX_ADDRESSES = 500
MAX_SUBJECT = 998

_WORD = re.compile(r"=\?([^?*\s]{1,64})(?:\*[^?\s]{0,32})?\?([bBqQ])\?([^?]{0,8000})\?=")
_ID = re.compile(r"<([^<>\s]{1,990})>")
_ADDRESS = re.compile(r"[^\s<>,;:\"()\[\]]{1,256}@[^\s<>,;:\"()]{1,255}")
_PARAM = re.compile(r";\s*([^\s=;\"]{1,80})\s*=\s*(\"(?:[^\"\\]|\\.){0,4000}\"?|[^;]{0,4000})")
_PREFIX = re.compile(
    r"^\s*(?:(?:re|rv|r|aw|antw|antwort|sv|vs|res|odp|ynt|vb|ref|bls|atb|hv|tr|rif|fw|fwd|wg|enc|i|doorst|vl|vá|továbbítás|"
    r"re ?: ?re|ответ|отв|пересл|回复|答复|回覆|転送|转发|轉寄|답장|전달|תשובה|رد|απ|πρθ|σχετ)\s*(?:\[\d+\]|\(\d+\))?\s*[:：]"
    r"|\[(?:external|extern|ext|externe)\])\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Person:
    """A mailbox named in a header: `key` is its `email_key`, the form that is compared."""

    name: str
    address: str
    key: str


def split_head(data: bytes) -> tuple[list[tuple[str, bytes]], int, bool]:
    """(fields in order with lower-case names, where the body begins, whether limits cut the head short)."""
    match = re.search(rb"\r?\n\r?\n|\r\r", data[: MAX_HEADER_BYTES + 4])
    if data[:1] == b"\n" or data[:2] == b"\r\n":
        return [], 1 if data[:1] == b"\n" else 2, False
    cut = match is None and len(data) > MAX_HEADER_BYTES
    head = data[: match.start()] if match else data[:MAX_HEADER_BYTES]
    body_at = match.end() if match else (len(head))
    fields: list[tuple[str, bytes]] = []
    for line in head.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if len(fields) >= MAX_HEADERS:
            return fields, body_at, True
        if line[:1] in (b" ", b"\t") and fields:
            name, value = fields[-1]
            if len(value) < MAX_VALUE * 4:
                fields[-1] = (name, value + b"\n" + line)
            continue
        name_bytes, colon, value = line.partition(b":")
        name_text = name_bytes.decode("ascii", "replace").strip().lower()
        if colon and name_text and " " not in name_text and len(name_text) <= 200:
            fields.append((name_text, value))
        elif not fields and body_at and not line.startswith(b"From ") and b":" not in head:
            return [], 0, False
    return fields, body_at, cut


def unfold(value: bytes) -> str:
    """One line of text, encoded words still encoded."""
    text = charsets.decode(value[:MAX_VALUE].replace(b"\n", b""), None, guess=False).text
    return "".join(" " if ch < " " or ch == "\x7f" else ch for ch in text).strip()


def decode_words(value: str) -> str:
    """Encoded words decoded; neighbours of the same charset are joined as bytes first (split multi-byte characters)."""
    if "=?" not in value:
        return value
    out: list[str] = []
    pending: tuple[str, bytes] | None = None
    at = 0
    for match in _WORD.finditer(value):
        between = value[at:match.start()]
        charset, data = match[1].lower(), _word_bytes(match[2].lower(), match[3])
        if pending and not between.strip() and pending[0] == charset:
            pending = (charset, pending[1] + data)
        else:
            if pending:
                out.append(charsets.decode(pending[1], pending[0], guess=False).text)
            if between.strip() or not pending:
                out.append(between)
            pending = (charset, data)
        at = match.end()
    if pending:
        out.append(charsets.decode(pending[1], pending[0], guess=False).text)
    out.append(value[at:])
    return "".join(" " if ch < " " or ch in "\x7f\x85\u2028\u2029" else ch for ch in "".join(out))


def _word_bytes(kind: str, payload: str) -> bytes:
    raw = payload.encode("utf-8", "replace")
    if kind == "q":
        return quopri.decodestring(raw, header=True)
    return base64_bytes(raw)


_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def base64_bytes(raw: bytes) -> bytes:
    """Base64 as found in the wild: line ends, missing padding and foreign characters are passed over."""
    clean = raw.translate(None, _NOT_BASE64)
    clean = clean[: len(clean) - 1] if len(clean) % 4 == 1 else clean
    try:
        return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))
    except binascii.Error:
        return b""


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """(main value in lower case, parameters) with RFC 2231 continuations and charsets resolved."""
    value = value[:MAX_VALUE]
    main, _, _ = value.partition(";")
    plain: dict[str, str] = {}
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for match in _PARAM.finditer(value):
        name, raw = match[1].lower(), match[2].strip()
        if raw.startswith('"'):
            raw = re.sub(r"\\(.)", r"\1", raw.strip('"'))
        base, star, rest = name.partition("*")
        if not star:
            plain.setdefault(name, decode_words(raw))
            continue
        number = rest.rstrip("*")
        pieces.setdefault(base, []).append((int(number) if number.isdigit() and len(number) < 5 else 0,
                                            rest.endswith("*") or rest == "", raw))
    for base, parts in pieces.items():
        plain[base] = _join_2231(sorted(parts, key=lambda part: part[0]))
    return main.strip().lower(), plain


def _join_2231(parts: list[tuple[int, bool, str]]) -> str:
    charset = ""
    data = b""
    for index, (_, encoded, raw) in enumerate(parts):
        if encoded and index == 0 and raw.count("'") >= 2:
            charset, _, raw = raw.split("'", 2)
        data += unquote_to_bytes(raw) if encoded else raw.encode("utf-8", "replace")
    return charsets.decode(data, charset or None, guess=False).text


def people(values: Iterable[str]) -> tuple[Person, ...]:
    """All mailboxes of address fields; groups are opened, comments dropped, nonsense passed over."""
    found: list[Person] = []
    for value in values:
        for piece in _split_addresses(value[:MAX_VALUE]):
            person = _person(piece)
            if person:
                found.append(person)
            if len(found) >= MAX_ADDRESSES:
                return tuple(found)
    return tuple(found)


def _split_addresses(value: str) -> list[str]:
    """Cut at commas and semicolons that are not inside quotes, comments or angles; comments fall out."""
    out: list[str] = []
    piece: list[str] = []
    quoted = angle = escaped = False
    depth = 0
    for ch in value:
        if escaped:
            escaped = False
        elif ch == "\\" and (quoted or depth):
            escaped = True
        elif ch == '"' and not depth:
            quoted = not quoted
        elif not quoted and ch in "()":
            depth = max(0, depth + (1 if ch == "(" else -1))
            continue
        elif not quoted and ch in "<>":
            angle = ch == "<"
        elif not quoted and not angle and not depth and (ch in ",;" or (ch == ":" and "@" not in piece)):
            out += ["".join(piece)] if ch != ":" else []
            piece = []
            continue
        if not depth:
            piece.append(ch)
    return [*out, "".join(piece)]


def _person(piece: str) -> Person | None:
    name, angle, rest = piece.rpartition("<")
    match = _ADDRESS.search(rest if angle else piece)
    if match is None:
        match = _ADDRESS.search(piece)
        if match is None:
            return None
    address = match[0].strip("'.")
    if not angle:
        name = ""
    name = decode_words(re.sub(r"\\(.)", r"\1", name.strip().strip('"').strip())).strip()[:256]
    return Person(name=charsets.storable(name), address=charsets.storable(address), key=key_of(address))


def key_of(address: str) -> str:
    """`email_key` of an address seen in a mail; one it refuses is compared in lower case as it stands."""
    try:
        return email_key(address) or address.lower()
    except (ValueError, UnicodeError):
        return charsets.storable(address.lower())


def message_ids(value: str) -> tuple[str, ...]:
    """All ids of a Message-ID, In-Reply-To or References field, without angle brackets, in order, each once."""
    found = _ID.findall(value[:MAX_HEADER_BYTES])
    if not found:
        found = [word.strip("<>") for word in value.split()[:50] if "@" in word]
    return tuple(dict.fromkeys(charsets.storable(one) for one in found[:200]))


def normal_id(value: str) -> str:
    """The form in which message ids are compared: no angle brackets, no space around."""
    return value.strip().strip("<>").strip()


def parse_date(value: str) -> datetime | None:
    """The date in UTC, or None. A date without a zone is taken as UTC."""
    try:
        parsed = parsedate_to_datetime(value[:200])
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError):
        return None


def subject_base(subject: str) -> str:
    """The subject without reply and forward marks, case-folded, with single spaces: what two mails of a thread share."""
    text = " ".join(subject[:MAX_SUBJECT].split())
    for _ in range(20):
        shorter = _PREFIX.sub("", text, count=1)
        if shorter == text:
            break
        text = shorter
    return text.casefold().strip()
