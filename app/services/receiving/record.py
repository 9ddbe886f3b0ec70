"""The one door: whatever read a mail (IMAP now, webhooks and backfill later) brings it here, and here it has its effects.

``understand`` (pure) comes first, outside any transaction; ``record`` runs in one short transaction of the caller's, together with
the reader's cursor. Locks: hot lock (only where the mail may put an address on the list), mailbox, thread, enrollments, deliveries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import text

from app.core.bell import live_after_commit
from app.core.db import lock_hot
from app.core.extensions import db
from app.domain.headers import Person
from app.domain.reply_matching import Match, MatchKind
from app.domain.reply_matching import match as decide
from app.domain.verdicts import MailKind
from app.models import Attachment, Conversation, Message
from app.services import conversations
from app.services.conversations import Place
from app.services.outbox.plain import plain_connection
from app.services.receiving import effects, matching, outside
from app.services.receiving.arrivals import VERSION, Incoming, verdict_facts
from app.services.recovery import continuity

_MAILBOX = 0x0E3B06  # advisory lock class: the mails of one mailbox are recorded one after the other
_IN_THREAD = frozenset(MatchKind) - {MatchKind.AMBIGUOUS, MatchKind.FORGED, MatchKind.UNRELATED, MatchKind.OWN}
_ANSWERS = frozenset({MatchKind.REPLY, MatchKind.UNSUBSCRIBE})


@dataclass(frozen=True)
class Recorded:
    """What became of an arrival. ``known``: it had been recorded before, nothing was done. ``own``: a copy of our own mail."""

    message_id: int | None = None
    conversation_id: int | None = None
    match: Match | None = None
    known: bool = False
    own: bool = False


def record(incoming: Incoming, *, patient: bool = True) -> Recorded:
    """Record one arrival with all its effects, once. Call inside a transaction, before anything else in it.

    Raises TooEarly when the mail it answers has no outcome yet: try again in a moment, at last with ``patient=False``.
    """
    arrival = incoming.arrival
    if outside.sent_without_our_knowledge(incoming):
        continuity.need_recovery(plain_connection(), continuity.BEHIND)  # takes the hot lock
        return Recorded(own=True)
    if incoming.may_suppress:
        lock_hot()
    db.session.execute(
        text("SELECT pg_advisory_xact_lock(:kind, :key)"), {"kind": _MAILBOX, "key": arrival.mailbox_id % 2_147_483_647}
    )
    in_sent = arrival.role == "sent"
    from_us = in_sent or bool(matching.own_keys(arrival.client_id, _from(incoming)))
    if _is_known(arrival.mailbox_id, incoming.external_id, "out" if in_sent else "in"):
        return Recorded(known=True)
    if from_us and (copy := _own_copy(incoming)) is not None:
        outside.own_mail_seen(incoming, copy)
        return Recorded(own=True)
    if in_sent:
        return _outside(incoming)
    facts = matching.find(arrival.client_id, incoming.msg, arrival.received_at, arrival.thread)
    match = decide(incoming.msg, incoming.verdict, facts, arrival.received_at, arrival.thread)
    effects.apply(incoming, match, patient=patient)
    conversation = _conversation(incoming, match)
    message = _insert(incoming, match, conversation)
    _after(incoming, match, conversation, message)
    return Recorded(message.id, conversation.id if conversation else None, match)


def _from(incoming: Incoming) -> list[str]:
    return [incoming.msg.from_.key] if incoming.msg.from_ else []


def _is_known(mailbox_id: int, external_id: str, direction: str) -> bool:
    row = db.session.execute(
        text("SELECT 1 FROM messages WHERE sender_id = :sender AND external_id = ANY(:ids) AND direction = :direction"),
        {"sender": mailbox_id, "ids": [external_id, f"<{external_id}>"], "direction": direction},
    )
    return row.first() is not None


def _own_copy(incoming: Incoming) -> int | None:
    """The delivery this mail is a copy of, by its id or, where the server gave it another one, by what it is."""
    arrival, msg = incoming.arrival, incoming.msg
    found = matching.own_copy(arrival.client_id, msg.message_id)
    if found is None and arrival.role == "sent":
        keys = [person.key for person in msg.to]
        found = matching.sent_by_us(arrival.client_id, arrival.mailbox_id, keys, msg.subject_base, incoming.at)
    return found.id if found is not None else None


def _outside(incoming: Incoming) -> Recorded:
    """Somebody of us wrote with another program: it joins the lead's thread and makes the lead wait for a person."""
    place = outside.place_of(incoming)
    if place is None:
        message = _insert(incoming, None, None, direction="out")
        return Recorded(message.id)
    if not incoming.arrival.historical:
        outside.pause_leads(incoming, place)
    person = incoming.msg.to[0] if incoming.msg.to else None
    conversation = conversations.conversation_for(place, subject=incoming.msg.subject, who=person)
    message = _insert(incoming, None, conversation, direction="out")
    conversations.add_participants(incoming.arrival.client_id, conversation.id, [*incoming.msg.to, *incoming.msg.cc])
    conversations.arrived_in(conversation, at=incoming.at, snippet=incoming.snippet, counts=False, automatic=False, shown=False,
                             inbound=False)  # fmt: skip
    live_after_commit(incoming.arrival.client_id, "inbox", f"conversation-{conversation.id}")
    return Recorded(message.id, conversation.id)


def _conversation(incoming: Incoming, match: Match) -> Conversation | None:
    """The thread the mail is shown in; None where it is kept as headers only."""
    arrival = incoming.arrival
    if match.kind in _IN_THREAD:
        place = Place(arrival.client_id, arrival.mailbox_id, match.lead_id, match.campaign_id, match.enrollment_id, match.delivery_id,
                      match.conversation_id)  # fmt: skip
        return conversations.conversation_for(place, subject=incoming.msg.subject, who=incoming.msg.from_)
    place = Place(arrival.client_id, arrival.mailbox_id)
    if match.kind is MatchKind.AMBIGUOUS:
        conversation = conversations.conversation_for(place, subject=incoming.msg.subject, who=incoming.msg.from_)
        conversation.needs_match = True
        return conversation
    if match.kind is MatchKind.UNRELATED and arrival.role != "junk" and _shows_all(arrival.mailbox_id):
        conversation = conversations.conversation_for(place, subject=incoming.msg.subject, who=incoming.msg.from_)
        conversation.is_other = True
        return conversation
    return None


def _shows_all(mailbox_id: int) -> bool:
    return bool(
        db.session.execute(text("SELECT show_all_mail FROM mailboxes WHERE id = :id"), {"id": mailbox_id}).scalar()
    )


def _line(people: Sequence[Person]) -> list[dict[str, str]]:
    return [{"name": one.name, "address": one.address} for one in people[:100]]


def _insert(incoming: Incoming, match: Match | None, conversation: Conversation | None, *, direction: str = "in") -> Message:
    """The message's row; without a thread only its headers are kept."""
    arrival, msg = incoming.arrival, incoming.msg
    whole = conversation is not None
    message = Message(
        client_id=arrival.client_id, conversation_id=conversation.id if conversation else None, sender_id=arrival.mailbox_id,
        direction=direction, kind=str(incoming.verdict.kind) if direction == "in" else "outside", external_id=incoming.external_id,
        from_name=msg.from_.name if msg.from_ else "", from_address=msg.from_.address if msg.from_ else "",
        from_key=msg.from_.key if msg.from_ else "", to_line=_line(msg.to), cc_line=_line(msg.cc), subject=msg.subject,
        text=msg.plain_for_display if whole else "", has_html=bool(msg.html) and whole, snippet=incoming.snippet if whole else "",
        in_reply_to=msg.in_reply_to[0][:990] if msg.in_reply_to else None, references=list(msg.references[:100]),
        raw_sha256=conversations.put_blob(arrival.client_id, arrival.raw) if whole else None, size=arrival.size or len(arrival.raw),
        headers_only=not whole, folder_role=arrival.role, sent_at=msg.date, received_at=arrival.received_at,
        match_rule=str(match.rule) if match else None, match_version=VERSION if match else None,
        match_candidates=_candidates(match), verdict=verdict_facts(incoming.verdict) | _matched(match),
        warnings=[*msg.warnings, *(() if arrival.whole else ("only the beginning was read: the mail is very large",))],
    )  # fmt: skip
    db.session.add(message)
    db.session.flush()
    source = "inbound" if direction == "in" else "outside"
    conversations.know_id(arrival.client_id, incoming.external_id, source, message_id=message.id, thread=incoming.thread)
    if whole:
        _attachments(incoming, message)
    return message


def _candidates(match: Match | None) -> list[Any] | None:
    if match is None or not match.ambiguous_candidates:
        return None
    return [{**asdict(one), "rule": str(one.rule)} for one in match.ambiguous_candidates]


def _matched(match: Match | None) -> dict[str, Any]:
    return {"match": str(match.kind), "from_other_address": match.from_other_address} if match else {}


def _attachments(incoming: Incoming, message: Message) -> None:
    for position, one in enumerate(incoming.msg.attachments[:200]):
        db.session.add(
            Attachment(
                client_id=message.client_id, message_id=message.id, position=position, filename=one.name, content_type=one.content_type,
                size=one.size, sha256=conversations.put_blob(message.client_id, one.content), content_id=one.content_id,
                inline=one.inline,
            )
        )  # fmt: skip


def _after(incoming: Incoming, match: Match, conversation: Conversation | None, message: Message) -> None:
    """The list's row, the people, the timeline, and the bell."""
    client_id = incoming.arrival.client_id
    effects.note_received(incoming, match, message.id)
    if conversation is None:
        return
    if incoming.msg.from_ is not None and match.kind in (*_ANSWERS, MatchKind.AUTOMATIC, MatchKind.AMBIGUOUS, MatchKind.UNRELATED):
        conversations.add_participants(client_id, conversation.id, [incoming.msg.from_, *incoming.msg.cc])
    left = incoming.verdict.kind is MailKind.LEFT_COMPANY
    answers = match.kind in _ANSWERS or match.kind in (MatchKind.AMBIGUOUS, MatchKind.UNRELATED)
    news = not incoming.arrival.historical or match.kind is MatchKind.AMBIGUOUS
    conversations.arrived_in(
        conversation, at=incoming.at, snippet=incoming.snippet, counts=news and (answers or left),
        automatic=match.kind is MatchKind.AUTOMATIC or incoming.verdict.looks_automatic,
        shown=answers or match.kind is MatchKind.AUTOMATIC,
    )  # fmt: skip
    topics = ["inbox", f"conversation-{conversation.id}", "counters"]
    if conversation.campaign_id is not None:
        topics.append(f"campaign-{conversation.campaign_id}")
    live_after_commit(client_id, *topics)
