"""What strangers sent, shown apart: HTML in its own sandboxed document, files with forced types, the raw source.

The document of a message never runs a script, submits a form or loads anything but pictures that came with the message; it is
same-origin only so that the page around it may measure its height. Pictures on other servers stay away until the reader asks
for them; then our own server fetches them, by addresses that are sealed for this one message (docs/decisions/0032).
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from urllib.parse import quote

from flask import Blueprint, Response, current_app, g, request, url_for

from app.blueprints.access import load, requires, viewer
from app.channels.pictures import Picture, PictureRefused
from app.channels.wiring import build_channels
from app.core.db import outside_transaction
from app.core.errors import NotFound
from app.core.safe_html import SafeHtml, sanitise
from app.core.tokens import sealed_tokens
from app.domain import quoting, reading
from app.domain.permissions import Permission
from app.models import Attachment, Message
from app.queries import thread as threads
from app.services import audit
from app.strings import t

blueprint = Blueprint("mail_frame", __name__, url_prefix="/c/<slug>/inbox")

SANDBOX = "allow-same-origin allow-popups"
POLICY = (
    f"sandbox {SANDBOX}; default-src 'none'; img-src {{own}} data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
#: Types a browser may be told; everything else is bytes.
KNOWN_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "text/plain"})
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
PICTURE, SHOW = "picture", "show pictures"
#: Different pictures of other servers in one message; the rest stays away.
MAX_REMOTE = 100
#: Bytes of another server's address; sealed it still fits into the first line of a request.
LONGEST_ADDRESS = 3_000
#: Pictures fetched at one time per process: a browser asks for six, and slow servers must not take all threads.
_FETCHES = threading.BoundedSemaphore(8)
FETCH_PATIENCE = 3.0
_COLOURED = re.compile(r"bgcolor|background|(?<![-\w])color\s*[:=]", re.IGNORECASE)

_LIGHT = "color:#1d1b19;background:#ffffff"
_DARK = "color:#ece9e4;background:#1b1a18"
_LINK_DARK = "a{color:#f29361}"
_STYLE = """
html{margin:0;padding:0;overflow-x:auto;overflow-y:hidden}
body{margin:0;padding:2px 0;font:13.5px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans",Arial,sans-serif;
overflow-wrap:anywhere}
body.own{padding:12px;border-radius:6px}
img{max-width:100%;height:auto}table{max-width:100%}pre{white-space:pre-wrap}
blockquote{margin:4px 0 4px 2px;padding-left:10px;border-left:2px solid #cfcac2}
a{color:#9a3709}details{margin:6px 0}summary{cursor:pointer;color:#6b655e;list-style:none;display:inline-block;padding:0 8px;
border:1px solid #cfcac2;border-radius:8px;line-height:14px}
p.off{margin:0 0 10px;padding:4px 0 6px;border-bottom:1px solid rgba(128,128,128,.4);font-size:12.5px}
p.off a{font-weight:600;white-space:nowrap}
"""


@blueprint.get("/messages/<int:message_id>/frame")
@requires(Permission.INBOX_READ)
def frame(message_id: int) -> Response:
    """One message's HTML, folded and made harmless now, as a document of its own."""
    message = load(Message, message_id)
    raw = threads.raw_source(g.client.id, message.id)
    if raw is None:
        raise NotFound
    source = quoting.fold_quoted_html(reading.read(raw).html)
    asked = _opened(SHOW, request.args.get("images", ""), message.id) is not None
    safe = sanitise(source, cid_urls=_pictures(message), images="proxy" if asked else "off", proxy_url=_remote_address(message.id))
    offer = "" if asked else _offer(safe, message.id)
    answer = Response(_document(offer + safe.html), mimetype="text/html")
    answer.headers["Content-Security-Policy"] = POLICY.format(own="'self'")
    answer.headers["X-Frame-Options"] = "SAMEORIGIN"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "private, max-age=300"
    answer.headers["X-Remote-Images"] = str(safe.remote_image_count)
    return answer


def _pictures(message: Message) -> dict[str, str]:
    """Content-ID → our own copy, for pictures that came with the message."""
    files = threads.files_of([message.id]).get(message.id, ())
    return {
        one.content_id: url_for("mail_frame.picture", file_id=one.id)
        for one in files
        if one.content_id and one.content_type in PICTURES
    }


def _sealed(purpose: str, message_id: int, **more: str) -> str:
    return sealed_tokens().seal(purpose, {"c": g.client.id, "m": message_id, **more})


def _opened(purpose: str, token: str, message_id: int) -> dict[str, str] | None:
    """What the token carries, when we made it for this message of this client."""
    found = sealed_tokens().open(purpose, token)
    return found if found and (found.get("c"), found.get("m")) == (g.client.id, message_id) else None


def _remote_address(message_id: int) -> Callable[[str], str | None]:
    """Other servers' addresses → ours; the first MAX_REMOTE different ones, none too long for the address of a request."""
    known: dict[str, str] = {}

    def ours(url: str) -> str | None:
        if url not in known:
            if len(known) >= MAX_REMOTE or len(url.encode()) > LONGEST_ADDRESS:
                return None
            known[url] = url_for("mail_frame.remote", message_id=message_id, token=_sealed(PICTURE, message_id, u=url))
        return known[url]

    return ours


def _offer(safe: SafeHtml, message_id: int) -> str:
    """The line that says what is not shown, with the press that shows it. Sealed, so that no mail can link to it."""
    if not safe.remote_image_count:
        return ""
    href = url_for("mail_frame.frame", message_id=message_id, images=_sealed(SHOW, message_id))
    words = t("inbox.images_off", n=safe.remote_image_count)
    return f'<p class="off">{words} <a href="{href}" data-own>{t("inbox.show_images")}</a></p>'


def _document(body: str) -> str:
    """Mails with colours of their own stay on white; plain ones follow the reader's theme."""
    theme = viewer().theme
    kind = "plain"
    style = _STYLE
    if _COLOURED.search(body):
        kind, style = "own", f"{style}html{{color-scheme:light}}body{{{_LIGHT}}}"
    elif theme == "dark":
        style = f"{style}html{{color-scheme:dark}}body{{{_DARK}}}{_LINK_DARK}"
    elif theme == "light":
        style = f"{style}html{{color-scheme:light}}body{{{_LIGHT}}}"
    else:
        dark = f"html{{color-scheme:dark}}body{{{_DARK}}}{_LINK_DARK}"
        style = f"{style}html{{color-scheme:light dark}}body{{{_LIGHT}}}@media (prefers-color-scheme:dark){{{dark}}}"
    title = t("inbox.thread")
    return (
        f'<!doctype html><html lang="und"><head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>'
        f'<body class="{kind}">{body}</body></html>'
    )


@blueprint.get("/files/<int:file_id>")
@requires(Permission.INBOX_READ)
def file(file_id: int) -> Response:
    """A file to keep: never shown by the browser as part of us."""
    return bytes_of(load(Attachment, file_id), "attachment", KNOWN_TYPES)


@blueprint.get("/files/<int:file_id>/picture")
@requires(Permission.INBOX_READ)
def picture(file_id: int) -> Response:
    """A picture inside a message; anything else does not exist here."""
    found = load(Attachment, file_id)
    if found.content_type not in PICTURES:
        raise NotFound
    return bytes_of(found, "inline", PICTURES)


@blueprint.get("/messages/<int:message_id>/remote/<token>")
@requires(Permission.INBOX_READ)
def remote(message_id: int, token: str) -> Response:
    """A picture of another server that stands in this message, fetched now by us; nothing is kept."""
    load(Message, message_id)
    found = _opened(PICTURE, token, message_id)
    if found is None:
        raise NotFound
    picture = _fetched(found["u"])
    if picture is None:
        return Response(status=404, headers={"Cache-Control": "no-store"})
    return download(picture.content, "picture", picture.content_type, "inline")


def _fetched(url: str) -> Picture | None:
    if not _FETCHES.acquire(timeout=FETCH_PATIENCE):
        return None
    try:
        with outside_transaction():
            return asyncio.run(build_channels(current_app.extensions["settings"]).pictures.fetch(url))
    except PictureRefused:
        return None
    finally:
        _FETCHES.release()


def bytes_of(found: Attachment, disposition: str, types: frozenset[str]) -> Response:
    content = threads.file_bytes(g.client.id, found.sha256)
    if content is None:
        raise NotFound
    kind = found.content_type if found.content_type in types else "application/octet-stream"
    return download(content, found.filename, kind, disposition)


@blueprint.get("/messages/<int:message_id>/source")
@requires(Permission.RAW_SOURCE_READ)
def source(message_id: int) -> Response:
    """The message as it came, byte for byte."""
    message = load(Message, message_id)
    raw = threads.raw_source(g.client.id, message.id)
    if raw is None:
        raise NotFound
    audit.record("message.source", "message", message.id)
    return download(raw, f"message-{message.id}.eml", "application/octet-stream", "attachment")


def download(content: bytes, name: str, kind: str, disposition: str) -> Response:
    answer = Response(content)
    answer.headers["Content-Type"] = kind if not kind.startswith("text/") else f"{kind}; charset=utf-8"
    plain = re.sub(r'[^A-Za-z0-9._ -]', "_", name)[:100] or "file"
    answer.headers["Content-Disposition"] = f"{disposition}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    answer.headers["Content-Security-Policy"] = "sandbox; default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Cache-Control"] = "private, max-age=3600"
    return answer
