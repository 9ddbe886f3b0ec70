"""The total reader: any bytes become a message, with warnings where the sender broke the rules.

Time is bounded by construction (limits on depth, parts and headers; one pass over each level), not by a clock."""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from app.domain import charsets, headers
from app.domain.headers import Person
from app.domain.html_text import html_to_text

READER_VERSION = 1
MAX_DEPTH = 50
MAX_PARTS = 1000
MAX_TEXT = 2_000_000

_ID_IN_TEXT = re.compile(r"(?im)^[>\s|]{0,20}(?:X-)?(?:Original-)?Message-I[Dd]\s*:\s*<([^<>\s]{3,990})>")
Fields = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Attachment:
    name: str
    content_type: str
    size: int
    content_id: str | None
    inline: bool
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReturnedPart:
    """What a report carries of the mail it is about: the headers of message/rfc822 or text/rfc822-headers."""

    message_id: str | None
    subject: str
    to: tuple[Person, ...]


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A mail as read. Ids stand without angle brackets. `returned_ids` are named by structured parts,
    `ids_in_text` only by lines of the text (old style bounces). `headers`: lower-case name → unfolded values."""

    message_id: str | None
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    from_: Person | None
    to: tuple[Person, ...]
    cc: tuple[Person, ...]
    reply_to: tuple[Person, ...]
    subject: str
    subject_base: str
    date: datetime | None
    text: str
    html: str
    plain_for_display: str
    attachments: tuple[Attachment, ...]
    headers: Fields
    content_type: str
    report_type: str
    status_groups: tuple[Fields, ...]
    feedback: Fields | None
    returned: tuple[ReturnedPart, ...]
    returned_ids: tuple[str, ...]
    ids_in_text: tuple[str, ...]
    sealed: str | None
    warnings: tuple[str, ...]
    version: int = READER_VERSION

    def header(self, name: str) -> str:
        """First value of a header, or an empty string."""
        values = self.headers.get(name.lower())
        return values[0] if values else ""


@dataclass(slots=True)
class _Walk:
    """What is gathered while the tree of parts is walked."""

    parts: int = 0
    texts: list[str] = field(default_factory=list)
    htmls: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    status_groups: list[Fields] = field(default_factory=list)
    feedback: Fields | None = None
    returned: list[ReturnedPart] = field(default_factory=list)
    returned_ids: list[str] = field(default_factory=list)
    sealed: str | None = None
    warnings: dict[str, None] = field(default_factory=dict)

    def warn(self, text: str | None) -> None:
        if text and len(self.warnings) < 50:
            self.warnings[text] = None


def read(raw: bytes) -> ReadMessage:
    """Read a mail. Never raises; what could not be understood is named in `warnings`."""
    walk = _Walk()
    fields, body_at, cut = headers.split_head(raw)
    if cut:
        walk.warn("headers over the limit were passed over")
    if not fields:
        walk.warn("no headers")
    heads = _fields(fields)
    content_type, params = headers.parameters(_first(heads, "content-type"))
    try:
        _part(heads, raw[body_at:], walk, 0)
    except RecursionError:  # pragma: no cover - MAX_DEPTH is far below; the promise is kept anyway
        walk.warn("nested too deeply")
    return _message(heads, content_type, params.get("report-type", "").lower(), walk)


def _message(heads: Fields, content_type: str, report_type: str, walk: _Walk) -> ReadMessage:
    subject = charsets.storable(headers.decode_words(_first(heads, "subject")))[: headers.MAX_SUBJECT]
    ids = headers.message_ids(_first(heads, "message-id"))
    from_ = headers.people(heads.get("from", ())) or headers.people(heads.get("sender", ()))
    shown = "\n\n".join(piece.strip("\n") for piece in walk.shown if piece.strip())[:MAX_TEXT]
    if not from_:
        walk.warn("no sender")
    return ReadMessage(
        message_id=ids[0] if ids else None,
        in_reply_to=headers.message_ids(_first(heads, "in-reply-to")),
        references=headers.message_ids(" ".join(heads.get("references", ()))),
        from_=from_[0] if from_ else None, to=headers.people(heads.get("to", ())),
        cc=headers.people(heads.get("cc", ())), reply_to=headers.people(heads.get("reply-to", ())),
        subject=subject, subject_base=headers.subject_base(subject), date=headers.parse_date(_first(heads, "date")),
        text="\n\n".join(walk.texts)[:MAX_TEXT], html="\n".join(walk.htmls)[:MAX_TEXT], plain_for_display=shown,
        attachments=tuple(walk.attachments), headers=heads, content_type=content_type, report_type=report_type,
        status_groups=tuple(walk.status_groups), feedback=walk.feedback, returned=tuple(walk.returned),
        returned_ids=tuple(dict.fromkeys(walk.returned_ids)),
        ids_in_text=tuple(dict.fromkeys(_ID_IN_TEXT.findall(shown[:200_000])))[:50],
        sealed=walk.sealed, warnings=tuple(walk.warnings))


def _fields(fields: list[tuple[str, bytes]]) -> Fields:
    out: dict[str, list[str]] = {}
    for name, value in fields:
        out.setdefault(charsets.storable(name), []).append(charsets.storable(headers.unfold(value)))
    return MappingProxyType({name: tuple(values) for name, values in out.items()})


def _first(heads: Fields, name: str) -> str:
    values = heads.get(name)
    return values[0] if values else ""


def _part(heads: Fields, body: bytes, walk: _Walk, depth: int) -> None:
    walk.parts += 1
    if walk.parts > MAX_PARTS or depth > MAX_DEPTH:
        walk.warn("more parts or levels than we read")
        return
    kind, params = headers.parameters(_first(heads, "content-type"))
    kind = kind if "/" in kind else "text/plain"
    if kind.startswith("multipart/") and params.get("boundary"):
        _multipart(kind, params, body, walk, depth)
        return
    if kind.startswith("multipart/"):
        walk.warn("multipart without boundary")
        kind = "text/plain"
    data = _transfer_decoded(body, _first(heads, "content-transfer-encoding"), walk)
    _leaf(kind, params, heads, data, walk, depth)


def _multipart(kind: str, params: dict[str, str], body: bytes, walk: _Walk, depth: int) -> None:
    pieces, closed = _split_parts(body, params["boundary"].rstrip().encode("utf-8", "replace")[:200])
    if not closed:
        walk.warn("multipart not closed")
    if not pieces:
        _leaf("text/plain", {}, MappingProxyType({}), body, walk, depth)
        return
    if kind == "multipart/encrypted":
        walk.sealed = "encrypted"
    elif kind == "multipart/signed":
        walk.sealed = walk.sealed or "signed"
    if kind == "multipart/alternative":
        _alternative(pieces, walk, depth)
        return
    for piece in pieces:
        if walk.parts > MAX_PARTS:
            break
        _descend(piece, walk, depth)


def _descend(piece: bytes, walk: _Walk, depth: int) -> None:
    fields, body_at, _ = headers.split_head(piece)
    _part(_fields(fields), piece[body_at:], walk, depth + 1)


def _alternative(pieces: list[bytes], walk: _Walk, depth: int) -> None:
    """Of the same thing said twice the plain text is shown, unless it is empty."""
    shown = walk.shown
    choices: list[list[str]] = []
    texts_before, kinds = len(walk.texts), []
    for piece in pieces:
        if walk.parts > MAX_PARTS:
            break
        walk.shown = []
        _descend(piece, walk, depth)
        kinds.append(len(walk.texts) > texts_before)
        texts_before = len(walk.texts)
        choices.append(walk.shown)
    walk.shown = shown
    ranked = [c for c, plain in zip(choices, kinds, strict=True) if plain] + choices
    walk.shown += next((choice for choice in ranked if any(text.strip() for text in choice)), [])


def _split_parts(body: bytes, boundary: bytes) -> tuple[list[bytes], bool]:
    """(the parts, whether the closing line was there). Boundaries stand at line starts only."""
    marker = b"--" + boundary
    pieces: list[bytes] = []
    start, at, closed = -1, 0, False
    while (found := body.find(marker, at)) != -1:
        at = found + len(marker)
        if found and body[found - 1] not in b"\r\n":
            continue
        tail = body[at:at + 2]
        if tail and tail[:1] not in b"\r\n \t" and tail != b"--":
            continue
        if start >= 0:
            end = found - 1 if found and body[found - 1] in b"\r\n" else found
            end = end - 1 if end > start and body[end - 1:end + 1] == b"\r\n" else end
            pieces.append(body[start:max(start, end)])
        if tail == b"--":
            closed, start = True, -1
            break
        newline = body.find(b"\n", at)
        start = newline + 1 if newline != -1 else len(body)
        if len(pieces) > MAX_PARTS:
            start = -1
            break
    if start >= 0:
        pieces.append(body[start:])
    return pieces, closed


def _transfer_decoded(body: bytes, encoding: str, walk: _Walk) -> bytes:
    encoding = encoding.split(";")[0].strip().strip('"').lower()
    if encoding == "base64":
        return headers.base64_bytes(body)
    if encoding in ("quoted-printable", "quoted_printable", "q"):
        return quopri.decodestring(body)
    if encoding in ("x-uuencode", "uuencode", "uue", "x-uue"):
        return _uudecoded(body)
    if encoding not in ("", "7bit", "8bit", "binary", "7-bit", "8-bit", "none"):
        walk.warn(f"unknown transfer encoding {encoding:.40}")
    return body


def _uudecoded(body: bytes) -> bytes:
    out: list[bytes] = []
    for line in body.splitlines():
        if line.startswith(b"begin ") or not line.strip():
            continue
        if line.strip() == b"end":
            break
        try:
            out.append(binascii.a2b_uu(line))
        except binascii.Error:
            count = (((line[0] - 32) & 63) * 4 + 5) // 3
            try:
                out.append(binascii.a2b_uu(line[:count]))
            except binascii.Error:
                continue
    return b"".join(out)


def _leaf(kind: str, params: dict[str, str], heads: Fields, data: bytes, walk: _Walk, depth: int) -> None:
    disposition, disposition_params = headers.parameters(_first(heads, "content-disposition"))
    name = disposition_params.get("filename") or params.get("name") or ""
    if kind in ("message/delivery-status", "message/global-delivery-status", "message/disposition-notification",
                "message/feedback-report"):
        _report(kind, data, walk)
        return
    if kind in ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers",
                "message/rfc822-headers"):
        enclosed = _returned(data, walk)
        name = name or enclosed
    elif kind in ("text/plain", "text/html", "text/enriched", "text/richtext") and disposition != "attachment" and not name:
        _displayed(kind, params, data, walk)
        return
    if "pkcs7-mime" in kind or kind == "application/pgp-encrypted":
        walk.sealed = "encrypted"
    content_id = headers.message_ids(_first(heads, "content-id"))
    walk.attachments.append(Attachment(
        name=safe_name(name), content_type=charsets.storable(kind)[:127], size=len(data),
        content_id=content_id[0] if content_id else None,
        inline=disposition == "inline" or (bool(content_id) and disposition != "attachment"), content=data))


def safe_name(name: str) -> str:
    """A file name to show and to store: no path, no control or direction-changing characters, ≤ 150 characters."""
    name = re.split(r"[\\/]", charsets.storable(name))[-1]
    name = re.sub(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", "_", name).strip(" .")
    return name[:150] or "attachment"


def _displayed(kind: str, params: dict[str, str], data: bytes, walk: _Walk) -> None:
    decoded = charsets.decode(data[:MAX_TEXT * 2], params.get("charset"))
    walk.warn(decoded.warning)
    text = decoded.text.replace("\r\n", "\n").replace("\r", "\n")
    if kind == "text/html":
        walk.htmls.append(text)
        walk.shown.append(html_to_text(text))
        return
    if kind == "text/plain" and params.get("format", "").lower() == "flowed":
        text = unflow(text, delsp=params.get("delsp", "").lower() == "yes")
    elif kind != "text/plain":
        text = re.sub(r"<[^<>]{1,60}>", "", text.replace("<<", "<"))
    walk.texts.append(text)
    walk.shown.append(text)


def unflow(text: str, *, delsp: bool = False) -> str:
    """format=flowed (RFC 3676): soft line ends joined within one quote depth, space-stuffing undone."""
    out: list[str] = []
    open_depth = -1
    for line in text.split("\n"):
        content = line.lstrip(">")
        depth = len(line) - len(content)
        content = content.removeprefix(" ")
        flowed = content.endswith(" ") and content != "-- "
        if open_depth == depth and content != "-- ":
            out[-1] += content
        else:
            out.append((">" * depth + " " if depth else "") + content)
        if flowed and delsp:
            out[-1] = out[-1][:-1]
        open_depth = depth if flowed else -1
    return "\n".join(out)


def _report(kind: str, data: bytes, walk: _Walk) -> None:
    """Groups of fields separated by blank lines; ids named in them count as returned."""
    text = data[:headers.MAX_HEADER_BYTES].replace(b"\r\n", b"\n").strip(b"\n")
    groups = [_fields(headers.split_head(block + b"\n\n")[0]) for block in re.split(rb"\n[ \t]*\n+", text)[:500]]
    groups = [group for group in groups if group]
    for group in groups:
        for name in ("original-message-id", "x-original-message-id", "message-id"):
            walk.returned_ids += headers.message_ids(_first(group, name))
    if kind == "message/feedback-report":
        walk.feedback = groups[0] if groups else MappingProxyType({})
    elif kind == "message/disposition-notification":
        return
    else:
        walk.status_groups += groups


def _returned(data: bytes, walk: _Walk) -> str:
    """Note the headers of an enclosed mail; answers a file name for it."""
    heads = _fields(headers.split_head(data if b"\n\n" in data or b"\r\n\r\n" in data else data + b"\n\n")[0])
    ids = headers.message_ids(_first(heads, "message-id"))
    subject = charsets.storable(headers.decode_words(_first(heads, "subject")))[: headers.MAX_SUBJECT]
    if len(walk.returned) < 50:
        walk.returned.append(ReturnedPart(ids[0] if ids else None, subject, headers.people(heads.get("to", ()))))
        walk.returned_ids += ids[:1]
    return f"{subject or 'message'}.eml"
