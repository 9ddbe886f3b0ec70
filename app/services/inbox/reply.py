"""Answering a conversation: the message is shown at once as queued and leaves through the outbox after the time to undo it.

An answer is born once per ``nonce`` (what the form or program calls this one intention), however often it is sent to us. It
goes to whoever wrote last; a conversation in which nobody wrote to us cannot be answered.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text

from app.core.bell import live_after_commit
from app.core.errors import Conflict, Invalid, NotFound
from app.core.extensions import db
from app.domain import quoting
from app.domain.address import AddressError, email_key
from app.domain.calendar_settings import CalendarError, parse_calendar
from app.domain.html_text import html_to_text
from app.domain.reading import safe_name
from app.domain.reasons import Reason
from app.domain.statuses import Channel, ConversationStatus, DeliveryKind, Direction
from app.domain.working_time import Calendar, next_open
from app.models import Attachment, Campaign, Client, Conversation, Delivery, KnownMessageId, Message, Sender
from app.queries.campaign_calendars import calendar_of
from app.queries.thread import REPORTS
from app.services import audit, conversations
from app.services.outbox.enqueueing import NewDelivery, enqueue
from app.strings import t

UNDO_SECONDS = 10
LARGEST_FILES = 25 * 1024 * 1024
MOST_FILES = 20
LONGEST_TEXT = 200_000
MOST_REFERENCES = 50
OFFICE_HOURS = [{"weekday": day, "from": "09:00", "to": "17:00"} for day in range(5)]


@dataclass(frozen=True)
class File:
    """A file to send along."""

    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True)
class Draft:
    """What a person wrote. ``nonce`` names the intention; ``at_opening``: wait for the next opening of the hours."""

    nonce: str
    text: str = ""
    html: str = ""
    files: Sequence[File] = ()
    kept_files: Sequence[int] = ()  # attachments of an answer that was taken back
    at_opening: bool = False
    undo_seconds: int = UNDO_SECONDS


@dataclass(frozen=True)
class Answered:
    """The queued answer; ``known``: this intention had been taken before. ``due_at``: product time."""

    message_id: int
    delivery_id: int | None
    undo_seconds: int
    due_at: datetime | None
    known: bool = False


def answer(client_id: int, conversation_id: int, author_id: int, draft: Draft, *, now: datetime) -> Answered:
    """Queue an answer. Raises NotFound, Invalid (nothing written, too large), Conflict (nobody to answer, mailbox gone)."""
    conversation = db.session.get(Conversation, conversation_id, with_for_update=True, populate_existing=True)
    if conversation is None or conversation.client_id != client_id:
        raise NotFound
    known = _known(client_id, draft.nonce)
    if known is not None:
        return known
    words, files = _checked(client_id, draft)
    newest = _answered_message(conversation)
    sender = _sender(conversation, newest)
    due_at = (opening_of(conversation, now) or now) if draft.at_opening else now
    message = _message(conversation, newest, sender, author_id, draft, words, now)
    _files(message, files)
    delivery_id = enqueue(_delivery(conversation, newest, message, draft, words, files, due_at))
    message.delivery_id = delivery_id
    _said_by_us(conversation, now, message.snippet)
    audit.record("message.reply", "message", message.id, client_id=client_id, after={"to": newest.from_address})
    changed(client_id, [conversation_id])
    return Answered(message.id, delivery_id, draft.undo_seconds, due_at)


def changed(client_id: int, conversation_ids: Sequence[int]) -> None:
    """Open pages look again."""
    live_after_commit(client_id, "inbox", "counters", *(f"conversation-{number}" for number in conversation_ids))


def _nonce_key(nonce: str) -> str:
    return f"answer:{nonce}"


def _known(client_id: int, nonce: str) -> Answered | None:
    row = db.session.execute(
        select(Message.id, Message.delivery_id, Delivery.due_at)
        .select_from(KnownMessageId)
        .join(Message, Message.id == KnownMessageId.inbox_message_id)
        .outerjoin(Delivery, Delivery.id == Message.delivery_id)
        .where(KnownMessageId.client_id == client_id, KnownMessageId.message_id == _nonce_key(nonce))
    ).first()
    return Answered(row.id, row.delivery_id, 0, row.due_at, known=True) if row else None


@dataclass(frozen=True)
class _Words:
    text: str
    html: str


def _checked(client_id: int, draft: Draft) -> tuple[_Words, list[dict[str, Any]]]:
    """The words and the stored files. Raises Invalid for what cannot be sent."""
    if max(len(draft.text), len(draft.html)) > LONGEST_TEXT:
        raise Invalid.field("text", t("inbox.text_too_long", limit=LONGEST_TEXT))
    plain = draft.text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    if not plain.strip() and draft.html.strip():
        plain = html_to_text(draft.html).strip("\n")
    files = _stored(client_id, draft)
    if not plain.strip() and not draft.html.strip():
        raise Invalid.field("text", t("inbox.write_something") if not files else t("inbox.write_a_line"))
    return _Words(plain, draft.html.strip()), files


def _stored(client_id: int, draft: Draft) -> list[dict[str, Any]]:
    kept = list(
        db.session.scalars(
            select(Attachment).where(Attachment.client_id == client_id, Attachment.id.in_(list(draft.kept_files)))
        )
    )
    size = sum(len(one.content) for one in draft.files) + sum(one.size for one in kept)
    if size > LARGEST_FILES:
        raise Invalid.field("attachments", t("inbox.files_too_large", mb=size / 1_048_576, limit=LARGEST_FILES // 1_048_576))
    if len(draft.files) + len(kept) > MOST_FILES:
        raise Invalid.field("attachments", t("inbox.files_too_many", limit=MOST_FILES))
    stored = [{"filename": one.filename, "content_type": one.content_type, "sha256": one.sha256, "size": one.size} for one in kept]
    for one in draft.files:
        name = safe_name(one.filename)
        stored.append(
            {"filename": name, "content_type": _content_type(one, name), "size": len(one.content),
             "sha256": conversations.put_blob(client_id, one.content)}
        )  # fmt: skip
    return stored


def _content_type(one: File, name: str) -> str:
    kind = (one.content_type or "").partition(";")[0].strip().lower()
    if not kind or kind == "application/octet-stream" or "/" not in kind:
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return "application/octet-stream" if kind.startswith(("multipart/", "message/")) else kind[:127]


def _answered_message(conversation: Conversation) -> Message:
    """The newest message somebody wrote to us. Raises Conflict where there is none: an answer never opens a thread."""
    inbound = (
        select(Message)
        .where(Message.conversation_id == conversation.id, Message.direction == Direction.IN, Message.from_address != "")
        .order_by(Message.kind.in_(REPORTS), Message.received_at.desc(), Message.id.desc())
        .limit(1)
    )
    found = db.session.scalars(inbound).first()
    if found is None:
        raise Conflict(t("inbox.nobody_wrote"), code="nothing_to_answer")
    try:
        email_key(found.from_address)
    except AddressError:
        raise Conflict(t("inbox.sender_unwritable"), code="address_unusable") from None
    return found


def _sender(conversation: Conversation, newest: Message) -> Sender:
    """The mailbox they wrote to, else the conversation's."""
    for sender_id in dict.fromkeys((newest.sender_id, conversation.sender_id)):
        sender = db.session.scalars(select(Sender).where(Sender.id == sender_id, Sender.deleted_at.is_(None))).first()
        if sender is not None and sender.channel == Channel.EMAIL:
            return sender
    raise Conflict(t("inbox.mailbox_removed"), code="mailbox_removed")


def _subject(conversation: Conversation, newest: Message) -> str:
    subject = (newest.subject or conversation.subject).strip()
    return subject if subject.lower().startswith("re:") else f"Re: {subject}".strip()


def _message(
    conversation: Conversation, newest: Message, sender: Sender, author_id: int, draft: Draft, words: _Words, now: datetime
) -> Message:
    message = Message(
        client_id=conversation.client_id, conversation_id=conversation.id, sender_id=sender.id, direction=Direction.OUT,
        external_id=_nonce_key(draft.nonce), author_id=author_id, from_name=sender.display_name, from_address=sender.address,
        from_key=sender.address_key, to_line=[{"name": newest.from_name, "address": newest.from_address}], cc_line=[],
        subject=_subject(conversation, newest), text=words.text, has_html=bool(words.html), snippet=quoting.snippet(words.text),
        in_reply_to=newest.external_id if "@" in newest.external_id else None, references=[], size=len(words.text),
        received_at=now, verdict={}, warnings=[],
    )  # fmt: skip
    db.session.add(message)
    db.session.flush()
    conversations.know_id(conversation.client_id, _nonce_key(draft.nonce), "ours", message_id=message.id)
    return message


def _files(message: Message, files: list[dict[str, Any]]) -> None:
    for position, one in enumerate(files):
        db.session.add(
            Attachment(client_id=message.client_id, message_id=message.id, position=position, filename=one["filename"],
                       content_type=one["content_type"], size=one["size"], sha256=one["sha256"])
        )  # fmt: skip


def _delivery(
    conversation: Conversation, newest: Message, message: Message, draft: Draft, words: _Words, files: list[dict[str, Any]],
    due_at: datetime,
) -> NewDelivery:  # fmt: skip
    """The outbox row. No campaign on it: what stops a campaign does not stop a person's answer."""
    threaded: dict[str, Any] = {}
    if "@" in newest.external_id:
        ids = [_bracketed(one) for one in (*newest.references, newest.external_id) if isinstance(one, str)]
        ids = list(dict.fromkeys(ids))
        threaded = {"in_reply_to": ids[-1], "references": [*ids[:1], *ids[1:][-MOST_REFERENCES:]]}
    return NewDelivery(
        idempotency_key=f"reply:{message.id}", client_id=conversation.client_id, kind=DeliveryKind.REPLY, sender_id=message.sender_id,
        to_address=newest.from_address, due_at=due_at, lead_id=conversation.lead_id, conversation_id=conversation.id,
        inbox_message_id=message.id, not_before=_machine_now() + timedelta(seconds=draft.undo_seconds) if draft.undo_seconds else None,
        draft={"subject": message.subject, "text": words.text, "html": words.html, "attachments": files, **threaded},
    )  # fmt: skip


def _bracketed(message_id: str) -> str:
    return f"<{message_id.strip('<> ')}>"


def _machine_now() -> datetime:
    """PostgreSQL's clock: the one the claim compares with."""
    moment: datetime = db.session.scalars(select(func.clock_timestamp())).one()
    return moment


def _said_by_us(conversation: Conversation, now: datetime, snippet: str) -> None:
    conversation.status, conversation.snoozed_until, conversation.closed_at = ConversationStatus.OPEN, None, None
    conversation.last_direction, conversation.snippet = Direction.OUT, snippet
    conversation.last_message_at = max(now, conversation.last_message_at or now)
    conversation.unread = 0
    conversation.version += 1
    db.session.execute(
        text("UPDATE messages SET read_at = :now WHERE conversation_id = :id AND direction = 'in' AND read_at IS NULL"),
        {"now": now, "id": conversation.id},
    )


def opening_of(conversation: Conversation, now: datetime) -> datetime | None:
    """When the hours of the campaign (without one: the client's office hours) open next; None when they are open now."""
    calendar = _calendar(conversation)
    opens = next_open(calendar, now) if calendar else None
    return opens if opens is not None and opens > now else None


def _calendar(conversation: Conversation) -> Calendar | None:
    if conversation.campaign_id is not None:
        campaign = db.session.get(Campaign, conversation.campaign_id)
        found = calendar_of(campaign) if campaign is not None else None
        if found is not None:
            return found
    client = db.session.get_one(Client, conversation.client_id)
    try:
        return parse_calendar({"timezone": client.timezone, "windows": OFFICE_HOURS, "holidays_country": client.country})
    except CalendarError:
        return None


_TAKE_BACK = text(
    "UPDATE deliveries SET status = 'cancelled', reason = :undone, leased_until = NULL, lease_owner = NULL"
    " WHERE id = :id AND client_id = :client AND kind = 'reply' AND status IN ('queued', 'leased') RETURNING id"
)


def take_back(client_id: int, message_id: int, *, now: datetime) -> Message:
    """Cancel an answer that has not left. Idempotent. Raises NotFound, Conflict when it is past the point of return."""
    message = db.session.get(Message, message_id)
    if message is None or message.client_id != client_id or message.delivery_id is None or message.author_id is None:
        raise NotFound
    values = {"id": message.delivery_id, "client": client_id, "undone": str(Reason.UNDONE)}
    taken = db.session.execute(_TAKE_BACK, values).first()
    if taken is None:
        reason = db.session.scalar(select(Delivery.reason).where(Delivery.id == message.delivery_id, Delivery.status == "cancelled"))
        if reason != Reason.UNDONE:
            raise Conflict(t("inbox.left_already"), code="already_left")
        return message
    assert message.conversation_id is not None
    _last_words(client_id, message.conversation_id)
    audit.record("message.undo", "message", message.id, client_id=client_id)
    changed(client_id, [message.conversation_id])
    return message


def _last_words(client_id: int, conversation_id: int) -> None:
    """The list shows again what was said before the answer that was taken back."""
    db.session.execute(
        text(
            "UPDATE conversations c SET version = version + 1, last_direction = m.direction, snippet = m.snippet,"
            " last_message_at = coalesce(m.sent_at, m.received_at) FROM (SELECT m.* FROM messages m"
            " LEFT JOIN deliveries d ON d.id = m.delivery_id WHERE m.conversation_id = :id"
            " AND coalesce(d.reason, '') <> :undone ORDER BY coalesce(m.sent_at, m.received_at) DESC, m.id DESC LIMIT 1) m"
            " WHERE c.id = :id AND c.client_id = :client"
        ),
        {"id": conversation_id, "client": client_id, "undone": str(Reason.UNDONE)},
    )


def undone_words(client_id: int, conversation_id: int, message_id: int) -> dict[str, Any] | None:
    """Text and files of an answer that was taken back, for the composer."""
    message = db.session.scalars(
        select(Message)
        .join(Delivery, Delivery.id == Message.delivery_id)
        .where(
            Message.id == message_id, Message.client_id == client_id, Message.conversation_id == conversation_id,
            Delivery.reason == str(Reason.UNDONE),
        )
    ).first()  # fmt: skip
    if message is None:
        return None
    files = db.session.scalars(select(Attachment).where(Attachment.message_id == message.id).order_by(Attachment.position))
    return {"text": message.text, "files": list(files)}
