"""What the page Inbox does besides one conversation's verbs: many at once, one message with its HTML, source and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Response, g
from marshmallow import fields, validate

from app.blueprints import mail_frame
from app.blueprints.api.core import api_route
from app.blueprints.api.inbox import MessageShown, shown_message
from app.blueprints.api.schemas import Moment, Shown, Strict, row_id
from app.core import clock
from app.core.errors import Forbidden, Invalid, NotFound
from app.core.safe_html import sanitise
from app.domain import quoting, reading
from app.domain.permissions import Permission
from app.models import Attachment, Message
from app.queries import thread as threads
from app.services import audit
from app.services.inbox import triage
from app.strings import t

P = Permission
NEEDS = {
    "close": P.INBOX_CLOSE, "reopen": P.INBOX_CLOSE, "read": P.INBOX_MARK, "unread": P.INBOX_MARK, "assign": P.INBOX_ASSIGN,
    "snooze": P.INBOX_SNOOZE,
}  # fmt: skip
FRAME = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class ActOnConversations(Strict):
    action = fields.String(required=True, validate=validate.OneOf(list(NEEDS)))
    ids = fields.List(row_id(), required=True, validate=validate.Length(1, triage.MOST_AT_ONCE))
    user_id = row_id(allow_none=True, metadata={"description": "for assign: to whom; null or left out: to nobody"})
    until = Moment(metadata={"description": "for snooze: until when"})


class ChangedShown(Shown):
    changed = fields.Integer(required=True, metadata={"description": "how many were not so before; those of other clients are passed over"})


@api_route("POST", "/inbox/conversations/act", P.INBOX_MARK, body=ActOnConversations, response=ChangedShown, summary="Close, read, assign or snooze many")
def act_on_conversations(body: dict[str, Any]) -> dict[str, int]:
    action = body["action"]
    if not g.viewer.may(NEEDS[action], g.client):
        raise Forbidden(t("api.role_excludes", permission=NEEDS[action]))
    if (action == "snooze") != ("until" in body):
        raise Invalid.field("until", t("api.say_until") if action == "snooze" else t("api.only_snooze"))
    if "user_id" in body and action != "assign":
        raise Invalid.field("user_id", t("api.only_assign"))
    now, client_id = clock.now(), g.client.id
    act: dict[str, Callable[[Sequence[int]], list[int]]] = {
        "close": lambda ids: triage.close(client_id, ids, now=now),
        "reopen": lambda ids: triage.reopen(client_id, ids),
        "read": lambda ids: triage.mark_read(client_id, ids, now=now),
        "unread": lambda ids: triage.mark_unread(client_id, ids),
        "assign": lambda ids: triage.assign(client_id, ids, body.get("user_id")),
        "snooze": lambda ids: triage.snooze(client_id, ids, body["until"], now=now),
    }
    return {"changed": len(act[action](body["ids"]))}


@api_route("GET", "/inbox/messages/<int:row_id>", P.INBOX_READ, object_of=Message, response=MessageShown, summary="One message")
def show_message(message: Message) -> dict[str, Any]:
    return shown_message(message.id)


def _raw(message: Message) -> bytes:
    raw = threads.raw_source(g.client.id, message.id)
    if raw is None:
        raise NotFound
    return raw


@api_route("GET", "/inbox/messages/<int:row_id>/html", P.INBOX_READ, object_of=Message, media="text/html", summary="The HTML of a message, made harmless")
def message_html(message: Message) -> Response:
    """No script, no form, nothing that is fetched from elsewhere: pictures of other servers are left out. 404 where only the head of
    the message is kept."""
    safe = sanitise(quoting.fold_quoted_html(reading.read(_raw(message)).html))
    answer = Response(f'<!doctype html><html lang="und"><head><meta charset="utf-8"><title></title></head><body>{safe.html}</body></html>')
    answer.headers["Content-Type"] = "text/html; charset=utf-8"
    answer.headers["Content-Security-Policy"] = FRAME
    return answer


@api_route(
    "GET", "/inbox/messages/<int:row_id>/source", P.RAW_SOURCE_READ, object_of=Message, media="application/octet-stream",
    summary="A message byte for byte",
)
def message_source(message: Message) -> Response:
    """That somebody took it out is a line of the trail. 404 where only the head of the message is kept."""
    raw = _raw(message)
    audit.record("message.source", "message", message.id)
    return mail_frame.download(raw, f"message-{message.id}.eml", "application/octet-stream", "attachment")


@api_route("GET", "/inbox/files/<int:row_id>", P.INBOX_READ, object_of=Attachment, media="application/octet-stream", summary="A file that came with a message")
def file_of_message(found: Attachment) -> Response:
    """Always as bytes; the message says of which type it claims to be."""
    return mail_frame.bytes_of(found, "attachment", frozenset())
