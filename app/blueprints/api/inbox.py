
"""The inbox for programs: conversations, their messages, answers and triage."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Any

from flask import g, request
from marshmallow import fields, validate
from sqlalchemy import select

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.api.schemas import Flag, Moment, PageQuery, Shown, Strict, row_id, whole
from app.blueprints.api.schemas import text as line
from app.core import clock
from app.core.errors import Invalid, NotFound
from app.core.extensions import db
from app.domain.permissions import Permission
from app.models import Conversation, Message
from app.queries import inbox as lists
from app.queries import thread as threads
from app.queries.inbox import InboxFilter, View
from app.queries.thread import Said
from app.services.inbox import reply as answers
from app.services.inbox import triage
from app.services.inbox.reply import Draft, File
from app.services.receiving.choosing import resolve_match
from app.strings import t


class ConversationQuery(PageQuery):
    view = fields.String(validate=validate.OneOf([view.value for view in View]), load_default="all")
    mailbox_id = row_id()
    campaign_id = row_id()
    q = line(200, metadata={"description": "name, address or subject, in every state; the view is then passed over"})
    older = whole(1, 200, load_default=1, metadata={"description": "with q: how many portions of older conversations are looked through"})


class PersonInLine(Shown):
    name = fields.String(required=True)
    address = fields.String(required=True)


class ConversationShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    channel = fields.String(required=True)
    mailbox_id = fields.Integer(attribute="sender_id", required=True)
    lead_id = fields.Integer(required=True, allow_none=True)
    campaign_id = fields.Integer(required=True, allow_none=True)
    subject = fields.String(required=True)
    name = fields.String(attribute="display_name", required=True)
    address = fields.String(attribute="display_address", required=True)
    snippet = fields.String(required=True)
    status = fields.String(required=True, validate=validate.OneOf(["open", "snoozed", "closed"]))
    snoozed_until = Moment(required=True, allow_none=True)
    assignee_id = fields.Integer(required=True, allow_none=True)
    unread = fields.Integer(required=True)
    needs_match = fields.Boolean(required=True, metadata={"description": "ambiguous: somebody decides whose answer it is"})
    is_other = fields.Boolean(required=True)
    looks_automatic = fields.Boolean(required=True)
    last_direction = fields.String(required=True, allow_none=True)
    last_message_at = Moment(required=True, allow_none=True)
    created_at = Moment(required=True)
    version = fields.Integer(required=True)


class ParticipantShown(Shown):
    id = fields.Integer(required=True)
    lead_id = fields.Integer(required=True, allow_none=True)
    name = fields.String(required=True)
    address = fields.String(required=True)


class CandidateShown(Shown):
    lead_id = fields.Integer(required=True)
    name = fields.String(required=True)
    email = fields.String(required=True)
    rule = fields.String(required=True)


class WholeConversationShown(ConversationShown):
    participants = fields.List(fields.Nested(ParticipantShown), required=True)
    candidates = fields.List(fields.Nested(CandidateShown), required=True)
    answer_to = fields.String(required=True, metadata={"description": "where an answer goes"})
    suppressed = fields.Boolean(required=True, metadata={"description": "the address is on a do-not-contact list"})


class FileShown(Shown):
    id = fields.Integer(required=True)
    filename = fields.String(required=True)
    content_type = fields.String(required=True)
    size = fields.Integer(required=True)
    inline = fields.Boolean(required=True)


class MessageShown(Shown):
    id = fields.Integer(required=True)
    conversation_id = fields.Integer(required=True)
    mailbox_id = fields.Integer(attribute="sender_id", required=True)
    direction = fields.String(required=True, validate=validate.OneOf(["in", "out"]))
    kind = fields.String(required=True)
    message_id = fields.String(required=True, allow_none=True, metadata={"description": "the Message-ID, once there is one"})
    in_reply_to = fields.String(required=True, allow_none=True)
    from_ = fields.Nested(PersonInLine, data_key="from", required=True)
    to = fields.List(fields.Nested(PersonInLine), required=True)
    cc = fields.List(fields.Nested(PersonInLine), required=True)
    subject = fields.String(required=True)
    text = fields.String(required=True)
    visible_text = fields.String(required=True, metadata={"description": "without quotes and signature"})
    has_html = fields.Boolean(required=True)
    state = fields.String(required=True)
    reason = fields.String(required=True, allow_none=True, metadata={"description": "why it waits, or what the server said"})
    delivery_id = fields.Integer(required=True, allow_none=True)
    author_id = fields.Integer(required=True, allow_none=True)
    match_rule = fields.String(required=True, allow_none=True)
    received_at = Moment(required=True)
    sent_at = Moment(required=True, allow_none=True)
    read_at = Moment(required=True, allow_none=True)
    attachments = fields.List(fields.Nested(FileShown), required=True)


class FileGiven(Strict):
    filename = line(255, shortest=1, required=True)
    content_type = line(127, load_default="")
    content = fields.String(required=True, metadata={"description": "the bytes in base64"})


class Reply(Strict):
    text = line(200_000, load_default="")
    html = line(200_000, load_default="")
    attachments = fields.List(fields.Nested(FileGiven), load_default=list, validate=validate.Length(max=answers.MOST_FILES))
    at_opening = Flag(load_default=False, metadata={"description": "wait for the next opening"})
    kept_files = fields.List(
        row_id(), load_default=list, validate=validate.Length(max=answers.MOST_FILES),
        metadata={"description": "attachments of an answer in this conversation that was taken back"},
    )  # fmt: skip
    undo_seconds = whole(0, 60, load_default=answers.UNDO_SECONDS, metadata={"description": "how long it can be taken back before it leaves"})


class Assignment(Strict):
    user_id = row_id(required=True, allow_none=True)


class Snooze(Strict):
    until = Moment(required=True)


class Match(Strict):
    message_id = row_id(required=True)
    lead_id = row_id(required=True, allow_none=True, metadata={"description": "null: nobody's"})


class CountersShown(Shown):
    views = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    mailboxes = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True, metadata={"description": "open, by mailbox id"})
    campaigns = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True, metadata={"description": "open, by campaign id"})


@api_route(
    "GET", "/inbox/conversations", Permission.INBOX_READ, query=ConversationQuery, list_of=ConversationShown, summary="List conversations",
)
def list_conversations(query: dict[str, Any]) -> Page:
    """Newest first. ``view``: all, unread, mine, unassigned, awaiting, decide, snoozed, closed, other."""
    wanted = InboxFilter(
        g.client.id, g.viewer.id, View(query["view"]), query.get("mailbox_id"), query.get("campaign_id"), query.get("q", "").strip(),
        query["older"],
    )  # fmt: skip
    return page_of(lists.conversations(wanted), query, Conversation.last_message_at, Conversation.id, scalars=False)


@api_route(
    "GET", "/inbox/counters", Permission.INBOX_READ, response=CountersShown, summary="How many conversations each scope holds",
)
def counters() -> dict[str, Any]:
    found = lists.counters(g.client.id, g.viewer.id)
    return {
        "views": found.views,
        "mailboxes": {str(number): counts[0] for number, counts in found.mailboxes.items()},
        "campaigns": {str(number): counts[0] for number, counts in found.campaigns.items()},
    }


@api_route(
    "GET", "/inbox/conversations/<int:row_id>", Permission.INBOX_READ, object_of=Conversation, response=WholeConversationShown,
    summary="One conversation",
)
def show_conversation(conversation: Conversation) -> dict[str, Any]:
    return _whole(conversation)


def _whole(conversation: Conversation) -> dict[str, Any]:
    found = threads.thread(g.client.id, conversation.id)
    if found is None:
        raise NotFound
    row = db.session.get_one(Conversation, conversation.id, populate_existing=True)
    shown = {name: getattr(row, field.attribute or name) for name, field in ConversationShown().fields.items()}
    shown |= {"sender_id": row.sender_id, "display_name": row.display_name, "display_address": row.display_address}
    return {**shown, "participants": found.people, "candidates": found.candidates, "answer_to": found.answer_to, "suppressed": found.suppressed}


@api_route(
    "GET", "/inbox/conversations/<int:row_id>/messages", Permission.INBOX_READ, object_of=Conversation, query=PageQuery, list_of=MessageShown,
    summary="Messages, newest first",
)
def list_messages(conversation: Conversation, query: dict[str, Any]) -> Page:
    """What was taken back before it left is not listed. ``state``: received, queued, sent, uncertain, failed, bounced, cancelled."""
    ids = select(Message).where(Message.client_id == g.client.id, Message.conversation_id == conversation.id)
    page = page_of(ids, query, Message.received_at, Message.id)
    numbers = [message.id for message in page.items]
    said = {one.message.id: one for one in threads.messages(g.client.id, conversation.id, limit=len(numbers) or 1, ids=numbers)}
    files = threads.files_of(numbers)
    return Page([_message(said[number], files.get(number, ())) for number in numbers if number in said], page.next_cursor)


def _message(said: Said, files: Any) -> dict[str, Any]:
    row = said.message
    return {
        **{name: getattr(row, name) for name in (
            "id", "conversation_id", "sender_id", "direction", "kind", "in_reply_to", "subject", "text", "has_html", "author_id",
            "match_rule", "received_at", "read_at")},
        "message_id": row.external_id if "@" in row.external_id else None, "from_": {"name": row.from_name, "address": row.from_address},
        "to": row.to_line, "cc": row.cc_line, "visible_text": threads.visible(said.parts), "state": said.state,
        "reason": (said.why.text if said.why else said.server_said) or None, "delivery_id": said.delivery_id,
        "sent_at": said.sent_at or (row.sent_at if row.direction == "in" else None), "attachments": files,
    }  # fmt: skip


@api_route(
    "POST", "/inbox/conversations/<int:row_id>/reply", Permission.INBOX_REPLY, object_of=Conversation, body=Reply, response=MessageShown, status=201,
    summary="Answer",
)
def reply(conversation: Conversation, body: dict[str, Any]) -> dict[str, Any]:
    """To whoever wrote last, in their thread, from the mailbox they wrote to. It leaves after ``undo_seconds``."""
    key = request.headers.get("Idempotency-Key")
    draft = Draft(
        f"api:{g.viewer.id}:{key}" if key else f"api:{secrets.token_hex(16)}", body["text"], body["html"], [_file(one) for one in body["attachments"]],
        kept_files=body["kept_files"], at_opening=body["at_opening"], undo_seconds=body["undo_seconds"],
    )  # fmt: skip
    answered = answers.answer(g.client.id, conversation.id, g.viewer.id, draft, now=clock.now())
    return shown_message(answered.message_id)


def shown_message(message_id: int) -> dict[str, Any]:
    db.session.flush()
    message = db.session.get_one(Message, message_id)
    said = threads.messages(g.client.id, message.conversation_id or 0, limit=1, ids=[message_id])
    if not said:
        raise NotFound  # taken back before it left
    return _message(said[0], threads.files_of([message_id]).get(message_id, ()))


def _file(given: dict[str, Any]) -> File:
    try:
        return File(given["filename"], given["content_type"], base64.b64decode(given["content"], validate=True))
    except (binascii.Error, ValueError):
        raise Invalid.field("attachments", t("api.not_base64", filename=given["filename"])) from None


@api_route(
    "POST", "/inbox/messages/<int:row_id>/undo", Permission.INBOX_REPLY, object_of=Message,
    summary="Take back an answer that has not left", status=204,
)
def undo(message: Message) -> None:
    answers.take_back(g.client.id, message.id, now=clock.now())


@api_route(
    "POST", "/inbox/conversations/<int:row_id>/read", Permission.INBOX_MARK, object_of=Conversation, response=WholeConversationShown,
    summary="Mark as read",
)
def read(conversation: Conversation) -> dict[str, Any]:
    triage.mark_read(g.client.id, [conversation.id], now=clock.now())
    return _whole(conversation)


@api_route(
    "POST", "/inbox/conversations/<int:row_id>/unread", Permission.INBOX_MARK, object_of=Conversation, response=WholeConversationShown,
    summary="Mark as unread",
)
def unread(conversation: Conversation) -> dict[str, Any]:
    triage.mark_unread(g.client.id, [conversation.id])
    return _whole(conversation)


@api_route(
    "POST", "/inbox/conversations/<int:row_id>/close", Permission.INBOX_CLOSE, object_of=Conversation, response=WholeConversationShown,
    summary="Close",
)
def close(conversation: Conversation) -> dict[str, Any]:
    triage.close(g.client.id, [conversation.id], now=clock.now())
    return _whole(conversation)


@api_route(
    "POST", "/inbox/conversations/<int:row_id>/reopen", Permission.INBOX_CLOSE, object_of=Conversation, response=WholeConversationShown,
    summary="Open again",
)
def reopen(conversation: Conversation) -> dict[str, Any]:
    triage.reopen(g.client.id, [conversation.id])
    return _whole(conversation)


@api_route(
    "POST", "/inbox/conversations/<int:row_id>/assign", Permission.INBOX_ASSIGN, object_of=Conversation, body=Assignment, response=WholeConversationShown,
    summary="Give to a member",
)
def assign(conversation: Conversation, body: dict[str, Any]) -> dict[str, Any]:
    triage.assign(g.client.id, [conversation.id], body["user_id"])
    return _whole(conversation)


@api_route(
    "POST", "/inbox/conversations/<int:row_id>/snooze", Permission.INBOX_SNOOZE, object_of=Conversation, body=Snooze, response=WholeConversationShown,
    summary="Away until a moment",
)
def snooze(conversation: Conversation, body: dict[str, Any]) -> dict[str, Any]:
    triage.snooze(g.client.id, [conversation.id], body["until"], now=clock.now())
    return _whole(conversation)


@api_route(
    "POST", "/inbox/conversations/<int:row_id>/match", Permission.INBOX_MATCH, object_of=Conversation, body=Match, response=WholeConversationShown,
    summary="Decide whose answer it is",
)
def match(conversation: Conversation, body: dict[str, Any]) -> dict[str, Any]:
    """Given to a lead, it stops every sequence of that lead."""
    message = db.session.get(Message, body["message_id"])
    if message is None or message.conversation_id != conversation.id:
        raise NotFound
    resolve_match(g.client.id, message.id, body["lead_id"], g.viewer.id, now=clock.now())
    db.session.flush()
    return _whole(conversation)
