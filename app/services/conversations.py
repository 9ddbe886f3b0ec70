"""Threads of the inbox: finding or making the one a message belongs to, its people, and what the list shows of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text

from app.core.extensions import db
from app.domain import headers, quoting, reading
from app.domain.headers import Person
from app.models import Conversation

_THREADS = 0x0E3B05  # advisory lock class: one message at a time decides about a lead's threads


@dataclass(frozen=True)
class Place:
    """Where a message belongs, as far as the matching knows."""

    client_id: int
    sender_id: int
    lead_id: int | None = None
    campaign_id: int | None = None
    enrollment_id: int | None = None
    delivery_id: int | None = None
    conversation_id: int | None = None


def lock_threads(key: int) -> None:
    """Serialise decisions about one lead's (or mailbox's) threads for this transaction."""
    db.session.execute(text("SELECT pg_advisory_xact_lock(:kind, :key)"), {"kind": _THREADS, "key": key % 2_147_483_647})


def conversation_for(place: Place, *, subject: str, who: Person | None) -> Conversation:
    """The thread of ``place``, made when there is none yet; the messages we sent in it are brought along."""
    if place.lead_id is not None:
        lock_threads(place.lead_id)
    found = _existing(place, headers.subject_base(subject))
    if found is None:
        found = _new(place, subject, who)
    _link(place, found)
    if place.enrollment_id is not None or place.delivery_id is not None:
        add_sent(place.client_id, found.id, _deliveries_of(place))
    return found


def _existing(place: Place, base: str) -> Conversation | None:
    for statement, values in (
        ("id = :id", {"id": place.conversation_id}),
        ("id = (SELECT conversation_id FROM enrollments WHERE id = :id)", {"id": place.enrollment_id}),
        ("id = (SELECT conversation_id FROM deliveries WHERE id = :id)", {"id": place.delivery_id}),
    ):
        if values["id"] is not None:
            row: Conversation | None = db.session.scalars(_select(statement), {**values, "client": place.client_id}).first()
            if row is not None:
                return row
    if place.lead_id is None or not base or place.delivery_id is not None:
        return None
    known: Conversation | None = db.session.scalars(
        _select("lead_id = :lead AND sender_id = :sender AND subject_base = :base AND NOT needs_match ORDER BY id DESC LIMIT 1"),
        {"client": place.client_id, "lead": place.lead_id, "sender": place.sender_id, "base": base},
    ).first()
    return known


def _select(condition: str) -> Any:
    return select(Conversation).from_statement(
        text(f"SELECT * FROM conversations WHERE client_id = :client AND {condition}")
    )


def _new(place: Place, subject: str, who: Person | None) -> Conversation:
    lead = db.session.execute(
        text("SELECT email, email_key, trim(first_name || ' ' || last_name) AS name FROM leads WHERE id = :id AND client_id = :client"),
        {"id": place.lead_id, "client": place.client_id},
    ).first()
    delivered = _first_delivery(place)
    subject = delivered[1] if delivered and delivered[1] else subject
    conversation = Conversation(
        client_id=place.client_id, sender_id=delivered[0] if delivered else place.sender_id, lead_id=place.lead_id if lead else None,
        campaign_id=place.campaign_id, subject=subject[:998], subject_base=headers.subject_base(subject)[:998],
        display_name=((lead.name if lead else "") or (who.name if who else ""))[:300],
        display_address=((lead.email if lead else None) or (who.address if who else "") or "")[:320],
    )  # fmt: skip
    db.session.add(conversation)
    db.session.flush()
    if lead and lead.email_key:
        add_participants(place.client_id, conversation.id, [Person(name=lead.name, address=lead.email, key=lead.email_key)],
                         lead_id=place.lead_id)  # fmt: skip
    return conversation


def _first_delivery(place: Place) -> tuple[int, str] | None:
    """(sender, subject) of the mail the thread began with."""
    if place.delivery_id is None:
        return None
    row = db.session.execute(
        text(
            "SELECT sender_id, substring(mime FROM 1 FOR 16384) AS head FROM deliveries WHERE client_id = :client AND mime IS NOT NULL"
            " AND (id = :id OR (enrollment_id = :enrollment AND sent_at IS NOT NULL)) ORDER BY sent_at NULLS LAST, id LIMIT 1"
        ),
        {"client": place.client_id, "id": place.delivery_id, "enrollment": place.enrollment_id},
    ).first()
    if row is None:
        return None
    read = reading.read(bytes(row.head or b""))
    return int(row.sender_id), read.subject


def _link(place: Place, conversation: Conversation) -> None:
    values = {"conversation": conversation.id, "client": place.client_id}
    if place.enrollment_id is not None:
        db.session.execute(
            text(
                "UPDATE enrollments SET conversation_id = :conversation WHERE id = :id AND client_id = :client"
                " AND conversation_id IS NULL"
            ),
            {**values, "id": place.enrollment_id},
        )
    if conversation.lead_id is None and place.lead_id is not None:
        conversation.lead_id = place.lead_id
    if conversation.campaign_id is None and place.campaign_id is not None:
        conversation.campaign_id = place.campaign_id


def _deliveries_of(place: Place) -> list[int]:
    rows = db.session.execute(
        text(
            "SELECT id FROM deliveries d WHERE client_id = :client AND (id = :id OR enrollment_id = :enrollment) AND mime IS NOT NULL"
            " AND status IN ('sent', 'delivered', 'bounced', 'complained', 'uncertain')"
            " AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.delivery_id = d.id) ORDER BY id"
        ),
        {"client": place.client_id, "id": place.delivery_id, "enrollment": place.enrollment_id},
    )
    return list(rows.scalars())


def add_sent(client_id: int, conversation_id: int, delivery_ids: Iterable[int]) -> int:
    """Show deliveries that left as messages of the thread, each once. Returns how many were new."""
    rows = db.session.execute(
        text(
            "SELECT d.id, d.sender_id, d.mime, d.message_id, coalesce(d.sent_at, d.permit_product_at, d.due_at) AS at, s.address,"
            " s.address_key, s.display_name FROM deliveries d JOIN senders s ON s.id = d.sender_id"
            " WHERE d.id = ANY(:ids) AND d.client_id = :client AND d.mime <> ''::bytea ORDER BY d.id"
        ),
        {"ids": list(delivery_ids), "client": client_id},
    ).all()
    added = 0
    for row in rows:
        added += _add_sent_one(client_id, conversation_id, row)
    return added


_SENT_MESSAGE = text(
    "INSERT INTO messages (client_id, conversation_id, sender_id, direction, external_id, delivery_id, from_name, from_address,"
    " from_key, to_line, cc_line, subject, text, has_html, snippet, \"references\", raw_sha256, size, sent_at, received_at, verdict,"
    " warnings) VALUES (:client, :conversation, :sender, 'out', :external, :delivery, :from_name, :from_address, :from_key,"
    " cast(:to_line AS jsonb), '[]', :subject, :text, :has_html, :snippet, '[]', :sha, :size, :at, :at, '{}', '[]')"
    " ON CONFLICT (sender_id, external_id, direction) DO NOTHING RETURNING id"
)


def _add_sent_one(client_id: int, conversation_id: int, sent: Any) -> int:
    raw = bytes(sent.mime)
    read = reading.read(raw)
    external = sent.message_id or read.message_id or f"delivery-{sent.id}"  # as the sending road writes it: one row for both
    visible = quoting.split_reply(read.plain_for_display).visible
    message = db.session.execute(
        _SENT_MESSAGE,
        {
            "client": client_id, "conversation": conversation_id, "sender": sent.sender_id, "external": external, "delivery": sent.id,
            "from_name": sent.display_name, "from_address": sent.address, "from_key": sent.address_key,
            "to_line": json.dumps([{"name": one.name, "address": one.address} for one in read.to]), "subject": read.subject,
            "text": read.plain_for_display, "has_html": bool(read.html), "snippet": quoting.snippet(visible),
            "sha": put_blob(client_id, raw), "size": len(raw), "at": sent.at,
        },
    ).scalar()  # fmt: skip
    if message is None:
        return 0
    know_id(client_id, external, "ours", message_id=message, delivery_id=sent.id)
    db.session.execute(
        text("UPDATE deliveries SET conversation_id = :conversation WHERE id = :id AND conversation_id IS NULL"),
        {"conversation": conversation_id, "id": sent.id},
    )
    db.session.execute(
        text(
            "UPDATE conversations SET last_message_at = greatest(last_message_at, :at), version = version + 1,"
            " last_direction = CASE WHEN last_message_at IS NULL OR last_message_at <= :at THEN 'out' ELSE last_direction END,"
            " snippet = CASE WHEN last_message_at IS NULL OR last_message_at <= :at THEN :snippet ELSE snippet END"
            " WHERE id = :id"
        ),
        {"at": sent.at, "id": conversation_id, "snippet": quoting.snippet(visible)},
    )
    return 1


def know_id(
    client_id: int, external_id: str, source: str, *, message_id: int | None = None, delivery_id: int | None = None,
    thread: str | None = None,
) -> None:  # fmt: skip
    """Remember a Message-ID (without angle brackets) under which a message is known; fills in what a row still lacks.

    ``thread``: the key of its thread (``mail_threads``).
    """
    db.session.execute(
        text(
            "INSERT INTO known_message_ids (client_id, message_id, source, delivery_id, inbox_message_id, thread_key)"
            " VALUES (:client, :id, :source, :delivery, :message, :thread) ON CONFLICT (client_id, message_id, source) DO UPDATE SET"
            " thread_key = coalesce(known_message_ids.thread_key, excluded.thread_key),"
            " delivery_id = coalesce(known_message_ids.delivery_id, excluded.delivery_id),"
            " inbox_message_id = coalesce(known_message_ids.inbox_message_id, excluded.inbox_message_id)"
        ),
        {"client": client_id, "id": headers.normal_id(external_id), "source": source, "delivery": delivery_id, "message": message_id,
         "thread": thread},
    )  # fmt: skip


def put_blob(client_id: int, data: bytes) -> str:
    """Store bytes once per client; returns their SHA-256."""
    digest = hashlib.sha256(data).hexdigest()
    db.session.execute(
        text(
            "INSERT INTO blobs (client_id, sha256, bytes, size) VALUES (:client, :sha, :bytes, :size)"
            " ON CONFLICT (client_id, sha256) DO NOTHING"
        ),
        {"client": client_id, "sha": digest, "bytes": data, "size": len(data)},
    )
    return digest


def add_participants(client_id: int, conversation_id: int, people: Sequence[Person], *, lead_id: int | None = None) -> None:
    """The people of a thread, each address once; our own mailboxes are not listed."""
    for person in people[:50]:
        db.session.execute(
            text(
                "INSERT INTO participants (client_id, conversation_id, lead_id, name, address, address_key)"
                " SELECT :client, :conversation, coalesce(cast(:lead AS bigint), (SELECT id FROM leads WHERE client_id = :client"
                " AND email_key = :key)), :name, :address, :key WHERE NOT EXISTS"
                " (SELECT 1 FROM senders WHERE client_id = :client AND address_key = :key)"
                " ON CONFLICT (conversation_id, address_key) DO UPDATE SET name ="
                " CASE WHEN participants.name = '' THEN excluded.name ELSE participants.name END"
            ),
            {"client": client_id, "conversation": conversation_id, "lead": lead_id, "name": person.name[:300],
             "address": person.address[:320], "key": person.key},
        )  # fmt: skip


def arrived_in(
    conversation: Conversation, *, at: datetime, snippet: str, counts: bool, automatic: bool, shown: bool, inbound: bool = True
) -> None:
    """A message joined the thread. ``counts``: unread and reopening; ``shown``: the thread appears in the inbox."""
    conversation.version += 1
    if conversation.last_message_at is None or at >= conversation.last_message_at:
        conversation.last_message_at, conversation.snippet = at, snippet
        conversation.last_direction = "in" if inbound else "out"
    if shown:
        conversation.in_inbox = True
    if inbound:
        conversation.last_inbound_at = max(at, conversation.last_inbound_at or at)
        conversation.looks_automatic = automatic
    if counts:
        conversation.unread += 1
        if conversation.status != "open":
            conversation.status, conversation.snoozed_until, conversation.closed_at = "open", None, None
