"""Frozen inputs → the exact bytes of a mail (RFC 5322/2045: CRLF, lines ≤ 998, 7bit or quoted-printable or base64).

The same input gives the same bytes: even the boundaries are derived from the Message-ID. Written by hand because it is
several times faster than the standard library's builder, and checked by reading the header block again.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from hashlib import blake2b

from app.domain import mail_headers as fields
from app.domain.mail_headers import HeaderError
from app.domain.plain_text import text_of_html
from app.domain.wire_lines import Text, encoded, plain_of, shared, with_end
from app.strings import t

__all__ = ["Attachment", "HeaderError", "Mail", "compose", "new_message_id"]

_TOKEN = re.compile(r"[A-Za-z0-9._-]{6,64}")
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_TYPE = re.compile(r"(?!multipart/|message/)[a-z]{1,30}/[a-z0-9.+-]{1,100}")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file; `content_id` (without brackets) only for pictures shown inside the HTML."""

    filename: str
    content_type: str
    content: bytes
    content_id: str = ""


@dataclass(slots=True)
class Mail:
    """Everything the bytes depend on.

    `date` carries the sender's offset. `text` may be empty when there is `html` (it is then derived). `unsubscribe`:
    https and mailto links in order; `one_click` adds List-Unsubscribe-Post. `list_id`: `campaign-7.acme.com`.
    `auto_submitted`: `auto-generated` for notices and digests.
    """

    from_email: str
    to_email: str
    subject: str
    date: datetime
    message_id: str
    text: Text = ""
    html: Text = ""
    from_name: str = ""
    to_name: str = ""
    cc: tuple[tuple[str, str], ...] = ()
    reply_to: str = ""
    in_reply_to: str = ""
    references: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    one_click: bool = False
    list_id: str = ""
    auto_submitted: str = ""
    attachments: tuple[Attachment, ...] = ()


def new_message_id(domain: str, token: str) -> str:
    """`<token@domain>`: the domain is the sender's, the token ours (6 to 64 of A–Z a–z 0–9 . _ -)."""
    if not _TOKEN.fullmatch(token) or not _DOMAIN.fullmatch(domain):
        raise HeaderError("Message-ID", t("mail_headers.plain_token"))
    return f"<{token}@{domain.lower()}>"


def compose(mail: Mail) -> bytes:
    """The bytes to hand to the server, without dot-stuffing. Raises `HeaderError` for a value no header may carry."""
    kind, body = _body(mail)
    pieces = _fields(mail)
    pieces += kind
    head = "".join(pieces).encode("ascii")
    fields.check_head(head, len(pieces))
    return b"%b\r\n%b" % (head, body)


def _fields(mail: Mail) -> list[str]:
    """The header fields in their order, each with its line end."""
    pieces = [
        f"Date: {_date(mail.date.isoformat(timespec='seconds'))}\r\n",
        _from(mail.from_email, mail.from_name),
        fields.addresses("To", [(mail.to_email, mail.to_name)]),
    ]
    if mail.cc:
        pieces.append(fields.addresses("Cc", mail.cc))
    if mail.reply_to:
        pieces.append(fields.addresses("Reply-To", [(mail.reply_to, "")]))
    pieces.append(fields.unstructured("Subject", mail.subject))
    pieces.append(fields.own_message_id(mail.message_id))
    if mail.in_reply_to:
        pieces.append(fields.message_ids("In-Reply-To", [mail.in_reply_to]))
    if mail.references:
        pieces.append(fields.message_ids("References", mail.references))
    if mail.list_id:
        pieces.append(_list_id(mail.list_id))
    if mail.unsubscribe:
        pieces.append(fields.urls("List-Unsubscribe", mail.unsubscribe))
        if mail.one_click and any(link.startswith("https://") for link in mail.unsubscribe):
            pieces.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
    if mail.auto_submitted:
        pieces.append(fields.unstructured("Auto-Submitted", mail.auto_submitted))
    pieces.append("MIME-Version: 1.0\r\n")
    return [piece for piece in pieces if piece] if "" in pieces else pieces


# What all messages of a sender, or of a campaign, share.
@lru_cache(maxsize=4_096)
def _from(email: str, name: str) -> str:
    return fields.addresses("From", [(email, name)])


_list_id = lru_cache(maxsize=4_096)(fields.list_id)


@lru_cache(maxsize=256)
def _date(stamp: str) -> str:
    """The messages of one second share it."""
    return format_datetime(datetime.fromisoformat(stamp))


_Part = tuple[list[str], bytes]


def _body(mail: Mail) -> _Part:
    """(content fields, bytes) of the whole body."""
    part = _text_part("plain", mail.text or text_of_html(plain_of(mail.html)))
    if mail.html:
        part = _multipart("alternative", [part, _text_part("html", _document(mail.html))], mail.message_id)
    if mail.attachments:
        part = _multipart("mixed", [part, *map(_attachment, mail.attachments)], mail.message_id)
    return part


_BEFORE, _AFTER = "<!doctype html>\n<html><body>\n", "\n</body></html>\n"


def _document(fragment: Text) -> Text:
    """HTML as a whole document, which most of what people write is not."""
    if "<html" in plain_of(fragment)[:2000].lower():
        return fragment
    return [shared(_BEFORE), *with_end(fragment, _AFTER)]


def _text_part(subtype: str, text: Text) -> _Part:
    encoding, body = encoded(text)
    return [f"Content-Type: text/{subtype}; charset=utf-8\r\n", f"Content-Transfer-Encoding: {encoding}\r\n"], body


def _attachment(entry: Attachment) -> _Part:
    content_type = entry.content_type.strip().lower()
    if not _TYPE.fullmatch(content_type):
        content_type = "application/octet-stream"
    name = entry.filename.replace("/", "_").replace("\\", "_").strip() or "attachment"
    kind = "inline" if entry.content_id else "attachment"
    head = [
        f"Content-Type: {content_type}{fields.parameter('name', name)}\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        f"Content-Disposition: {kind}{fields.parameter('filename', name)}\r\n",
    ]
    if entry.content_id:
        head.append(fields.message_ids("Content-ID", [f"<{entry.content_id}>"]))
    encoded = b64encode(entry.content)
    lines = b"\r\n".join(encoded[at : at + 76] for at in range(0, len(encoded), 76))
    return [piece for piece in head if piece], lines + b"\r\n"


def _multipart(subtype: str, parts: list[_Part], seed: str) -> _Part:
    boundary = _boundary(subtype, seed, [body for _, body in parts])
    line = b"--" + boundary.encode("ascii")
    written: list[bytes] = []
    for head, body in parts:
        written += (line, b"\r\n", "".join(head).encode("ascii"), b"\r\n", body)
    written += (line, b"--\r\n")
    return [f'Content-Type: multipart/{subtype};\r\n boundary="{boundary}"\r\n'], b"".join(written)


def _boundary(subtype: str, seed: str, bodies: list[bytes]) -> str:
    """A line that stands in none of the bodies; nobody can foresee it, and it is looked for all the same."""
    attempt = 0
    while True:
        boundary = "=_" + blake2b(f"{subtype}{attempt}{seed}".encode(), digest_size=12).hexdigest()
        mark = boundary.encode("ascii")
        if not [body for body in bodies if mark in body]:
            return boundary
        attempt += 1
