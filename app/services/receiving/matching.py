"""What the ledger knows about a mail that came in: the SELECTs that fill the facts of the pure matching rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from app.core.extensions import db
from app.domain import headers
from app.domain.reading import ReadMessage
from app.domain.reply_matching import (
    SAME_SUBJECT_WITHIN,
    FoundFacts,
    KnownDelivery,
    KnownLead,
    KnownMessage,
    LookupKeys,
    candidates_needed,
)
from app.services.suppressions import open_unsubscribe_token

MAX_PER_RULE = 200

_SENT = (
    "SELECT d.id, d.lead_id, d.enrollment_id, d.campaign_id, coalesce(d.conversation_id, e.conversation_id) AS conversation_id,"
    " d.email_key, substring(d.mime FROM 1 FOR 16384) AS head, d.message_id, d.provider_message_id,"
    " coalesce(d.sent_at, d.permit_product_at, d.due_at) AS sent_at,"
    " ARRAY(SELECT k.message_id FROM known_message_ids k WHERE k.delivery_id = d.id) AS known,"
    " ARRAY(SELECT k.thread_key FROM known_message_ids k WHERE k.delivery_id = d.id AND k.thread_key IS NOT NULL) AS threads"
    " FROM deliveries d LEFT JOIN enrollments e ON e.id = d.enrollment_id"
    " WHERE d.client_id = :client"
    # whatever may have left the house: a row that never had a permit was never read by anybody
    " AND (d.permitted_at IS NOT NULL OR d.status IN ('committing', 'sent', 'delivered', 'bounced', 'complained', 'uncertain'))"
)
_DELIVERIES = f"{_SENT} AND d.kind IN ('campaign_step', 'reply')"
_WITH_ID = (
    " AND d.id IN (SELECT k.delivery_id FROM known_message_ids k"
    " WHERE k.client_id = :client AND k.message_id = ANY(:ids))"
)
_OF_ANY_KIND = text(f"{_SENT}{_WITH_ID}")
_BY_ID = text(f"{_DELIVERIES} AND d.id = ANY(:ids)")
_BY_MESSAGE_ID = text(f"{_DELIVERIES}{_WITH_ID}")
_IN_THREAD = text(
    f"{_DELIVERIES} AND d.id IN (SELECT k.delivery_id FROM known_message_ids k WHERE k.client_id = :client AND k.thread_key = ANY(:ids))"
    f" ORDER BY d.id DESC LIMIT {MAX_PER_RULE}"
)
_TO_KEY = text(f"{_DELIVERIES} AND d.email_key = :key AND d.due_at > :since ORDER BY d.id DESC LIMIT {MAX_PER_RULE}")
_TO_DOMAIN = text(
    f"{_DELIVERIES} AND d.due_at > :since AND d.lead_id IN (SELECT l.id FROM leads l WHERE l.client_id = :client"
    f" AND split_part(l.email_key, '@', 2) = :domain LIMIT 2000) ORDER BY d.id DESC LIMIT {MAX_PER_RULE}"
)


def find(client_id: int, msg: ReadMessage, now: datetime, thread: str = "") -> FoundFacts:
    """The facts for ``reply_matching.match``, all of one client. ``thread``: as in ``Arrival``."""
    keys = candidates_needed(msg, thread)
    found: dict[int, KnownDelivery] = {}
    tokens = _tokens(client_id, keys)
    _take(found, _BY_ID, {"client": client_id, "ids": list(tokens)}, tokens)
    ids = both_forms(keys.message_ids)
    _take(found, _BY_MESSAGE_ID, {"client": client_id, "ids": ids}, tokens)
    _take(found, _IN_THREAD, {"client": client_id, "ids": list(keys.threads)}, tokens)
    since = now - SAME_SUBJECT_WITHIN - timedelta(days=1)
    if keys.from_key:
        _take(found, _TO_KEY, {"client": client_id, "key": keys.from_key, "since": since}, tokens)
    if not found and keys.domain and (keys.subject_base or keys.topic):
        _take(found, _TO_DOMAIN, {"client": client_id, "domain": keys.domain, "since": since}, tokens)
    messages = _messages(client_id, ids, keys.threads)
    return FoundFacts(tuple(found.values()), messages, _leads(client_id, keys, messages), own_keys(client_id, [keys.from_key]))


def both_forms(ids: Iterable[str]) -> list[str]:
    """Message ids with and without angle brackets: either may be stored."""
    plain = [headers.normal_id(one) for one in ids]
    return [form for one in dict.fromkeys(plain) if one for form in (one, f"<{one}>")]


def _tokens(client_id: int, keys: LookupKeys) -> dict[int, str]:
    """Delivery id → the token of ours that names it."""
    named: dict[int, str] = {}
    for token in keys.tokens:
        way = open_unsubscribe_token(token)
        if way is not None and way.client_id == client_id and way.delivery_id is not None:
            named[way.delivery_id] = token
    return named


def _take(found: dict[int, KnownDelivery], statement: Any, values: dict[str, Any], tokens: dict[int, str]) -> None:
    if "ids" in values and not values["ids"]:
        return
    for row in db.session.execute(statement, values):
        found.setdefault(row.id, known_delivery(row, tokens.get(row.id)))


def known_delivery(row: Any, token: str | None = None) -> KnownDelivery:
    ids = [one for one in (row.message_id, row.provider_message_id, *row.known) if one]
    return KnownDelivery(
        id=row.id, lead_id=row.lead_id, enrollment_id=row.enrollment_id, campaign_id=row.campaign_id,
        conversation_id=row.conversation_id, to_key=row.email_key, subject_base=headers.subject_base(subject_of(row.head)),
        message_ids=tuple(dict.fromkeys(headers.normal_id(one) for one in ids)), sent_at=row.sent_at,
        tokens=(token,) if token else (), threads=tuple(dict.fromkeys(row.threads)),
    )  # fmt: skip


def subject_of(head: bytes | None) -> str:
    """The decoded subject of a mail of ours, from the beginning of its bytes."""
    if not head:
        return ""
    fields, _, _ = headers.split_head(bytes(head))
    value = next((raw for name, raw in fields if name.lower() == "subject"), b"")
    return headers.decode_words(headers.unfold(value))


def _messages(client_id: int, ids: Sequence[str], threads: Sequence[str]) -> tuple[KnownMessage, ...]:
    if not ids and not threads:
        return ()
    rows = db.session.execute(
        text(
            "SELECT k.message_id, k.thread_key, m.conversation_id, c.lead_id, m.delivery_id,"
            " (SELECT e.id FROM enrollments e WHERE e.conversation_id = c.id ORDER BY e.id DESC LIMIT 1) AS enrollment_id"
            " FROM known_message_ids k JOIN messages m ON m.id = k.inbox_message_id JOIN conversations c ON c.id = m.conversation_id"
            " WHERE k.id IN (SELECT id FROM known_message_ids WHERE client_id = :client AND message_id = ANY(:ids)"
            "  UNION ALL SELECT id FROM known_message_ids WHERE client_id = :client AND thread_key = ANY(:threads))"
            f" AND NOT c.is_other AND NOT c.needs_match ORDER BY k.id DESC LIMIT {MAX_PER_RULE}"
        ),
        {"client": client_id, "ids": list(ids), "threads": list(threads)},
    )
    return tuple(
        KnownMessage(
            headers.normal_id(row.message_id), row.conversation_id, row.lead_id, row.enrollment_id, row.delivery_id, row.thread_key or ""
        )
        for row in rows
    )


def _leads(client_id: int, keys: LookupKeys, messages: Sequence[KnownMessage]) -> tuple[KnownLead, ...]:
    rows = db.session.execute(
        text(
            "SELECT id, email_key, trim(first_name || ' ' || last_name) AS name FROM leads WHERE client_id = :client"
            " AND (email_key = :key OR id = ANY(:ids)) AND email_key IS NOT NULL"
        ),
        {"client": client_id, "key": keys.from_key, "ids": [one.lead_id for one in messages if one.lead_id]},
    )
    return tuple(KnownLead(row.id, row.email_key, row.name) for row in rows)


def own_keys(client_id: int, keys: Iterable[str | None]) -> frozenset[str]:
    """Which of these addresses are mailboxes of the client."""
    wanted = [key for key in keys if key]
    rows = db.session.execute(
        text("SELECT address_key FROM senders WHERE client_id = :client AND channel = 'email' AND address_key = ANY(:keys)"),
        {"client": client_id, "keys": wanted},
    )
    return frozenset(rows.scalars())


def own_copy(client_id: int, message_id: str | None) -> KnownDelivery | None:
    """The delivery of any kind whose Message-ID this is: a mail of ours met again in Sent or in a loop."""
    if not message_id:
        return None
    row = db.session.execute(_OF_ANY_KIND, {"client": client_id, "ids": both_forms([message_id])}).first()
    return known_delivery(row) if row is not None else None


def sent_by_us(client_id: int, sender_id: int, to_keys: Sequence[str], base: str, at: datetime) -> KnownDelivery | None:
    """A delivery that a server stored in Sent under a Message-ID of its own: same recipient, subject and ten minutes."""
    if not to_keys or not base:
        return None
    rows = db.session.execute(
        text(f"{_DELIVERIES} AND d.sender_id = :sender AND d.email_key = ANY(:keys) ORDER BY d.id DESC LIMIT 20"),
        {"client": client_id, "sender": sender_id, "keys": list(to_keys)},
    )
    near = timedelta(minutes=10)
    return next(
        (one for one in map(known_delivery, rows) if one.subject_base == base and abs(one.sent_at - at) <= near), None
    )
