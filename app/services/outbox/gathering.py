"""Reads, for a whole batch at once, everything a rendering depends on. Also used by preview and test send."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.address import email_key
from app.domain.compose import Attachment
from app.domain.personalisation import variable_name
from app.services.outbox import own_ids
from app.services.outbox.plain import DELIVERIES, Connection, Question, for_table, glance
from app.services.outbox.rendering import RenderInput, Thread
from app.services.suppressions import unsubscribe_token

_SOURCES = """
SELECT d.id, d.idempotency_key, d.kind, d.client_id, d.to_address, d.enrollment_id, d.step_id, d.campaign_id, d.lead_id, d.draft,
       s.address AS sender_address, s.display_name AS sender_name, s.timezone AS sender_zone,
       k.name AS client_name, k.postal_address,
       l.first_name, l.last_name, l.company, l.title, l.email, l.linkedin_url, l.timezone, l.language, l.custom,
       coalesce(d.conversation_id, e.conversation_id) AS conversation_id, v.subject AS thread_subject
FROM {table} d
JOIN senders s ON s.id = d.sender_id
JOIN clients k ON k.id = d.client_id
LEFT JOIN leads l ON l.id = d.lead_id
LEFT JOIN enrollments e ON e.id = d.enrollment_id
LEFT JOIN conversations v ON v.id = coalesce(d.conversation_id, e.conversation_id)
WHERE d.id = ANY (%(ids)s::bigint[])
"""

# The texts come once per step, not once per message: they are longer than everything else together.
_STEPS = "SELECT id, subject, text, html FROM steps WHERE id = ANY (%(ids)s::bigint[])"

# Under which id the other side knows each mail of a thread: the provider's own where it assigned one.
_THREADS = """
SELECT m.conversation_id, coalesce(d.provider_message_id, m.external_id) AS message_id
FROM messages m LEFT JOIN deliveries d ON d.id = m.delivery_id
WHERE m.conversation_id = ANY (%(ids)s::bigint[]) AND (m.direction = 'in' OR d.id IS NULL OR d.sent_at IS NOT NULL)
ORDER BY coalesce(m.sent_at, m.received_at), m.id
"""

_FIELDS = ("first_name", "last_name", "company", "title", "email", "linkedin_url", "timezone", "language")


@dataclass(frozen=True, slots=True)
class House:
    """What all messages of an instance share: the public address (or none), and whether .test names are real here."""

    public_url: str = ""
    allow_reserved: bool = False


def lead_values(row: Any) -> dict[str, str | None]:
    """A lead's fields by variable name, custom ones included; its own fields win over a custom one of the same name."""
    custom: Mapping[str, Any] = row.custom or {}
    values: dict[str, str | None] = {}
    for name, value in custom.items():
        known = variable_name(str(name)) or str(name)
        values[known] = None if value is None else str(value)
    values.update({name: getattr(row, name) for name in _FIELDS})
    return values


def way_out(house: House, client_id: int, email: str, delivery_id: int | None, lead_id: int | None, campaign_id: int | None) -> str:
    """The address of the unsubscribe page for one message; empty where the instance has no public address."""
    if not house.public_url:
        return ""
    token = unsubscribe_token(client_id, email_key(email), delivery_id, lead_id, campaign_id)
    return f"{house.public_url.rstrip('/')}/u/{token}"


def seed_of(enrollment_id: int | None, step_id: int | None) -> int:
    """Which alternatives a message takes: the same for this lead and step, however often it is rendered."""
    return (enrollment_id or 0) * 1_000_003 + (step_id or 0)


def gather(
    connection: Connection, delivery_ids: Iterable[int], now: datetime, house: House, table: str = DELIVERIES
) -> dict[int, RenderInput]:
    """Inputs by delivery id, in a few statements whatever the batch's size."""
    return gathered(connection, glance(connection, [sources(delivery_ids, table)])[0], now, house)


def sources(delivery_ids: Iterable[int], table: str = DELIVERIES) -> Question:
    """What ``gathered`` begins with, for whoever has more to ask in the same trip."""
    return for_table(_SOURCES, table), {"ids": list(delivery_ids)}


def gathered(connection: Connection, found: list[Any], now: datetime, house: House) -> dict[int, RenderInput]:
    """``gather`` with what ``sources`` found."""
    threads = _threads(connection, {row.conversation_id for row in found if row.conversation_id is not None})
    files = _files(connection, found)
    steps = sorted({row.step_id for row in found if row.step_id is not None})
    texts = {step.id: step for step in glance(connection, [(_STEPS, {"ids": steps})])[0]} if steps else {}
    return {
        row.id: _input(row, texts.get(row.step_id), threads[row.conversation_id], files.get(row.id, ()), now, house) for row in found
    }


def _threads(connection: Connection, conversations: set[int]) -> defaultdict[int | None, list[str]]:
    ids: defaultdict[int | None, list[str]] = defaultdict(list)
    if conversations:
        for row in glance(connection, [(_THREADS, {"ids": sorted(conversations)})])[0]:
            if "@" in row.message_id:  # a hash stands where a mail came without an id
                ids[row.conversation_id].append(f"<{row.message_id.strip('<>')}>")
    return ids


def _files(connection: Connection, found: list[Any]) -> dict[int, tuple[Attachment, ...]]:
    """Attachments of drafts: ``[{filename, content_type, sha256}]``, their bytes from ``blobs``."""
    wanted = {(row.client_id, entry["sha256"]) for row in found for entry in (row.draft or {}).get("attachments", ())}
    if not wanted:
        return {}
    values = {"clients": [client for client, _ in wanted], "sums": [digest for _, digest in wanted]}
    statement = (
        "SELECT b.client_id, b.sha256, b.bytes FROM blobs b"
        " JOIN unnest(%(clients)s::bigint[], %(sums)s::text[]) AS w (client_id, sha256) USING (client_id, sha256)"
    )
    blobs = {(row.client_id, row.sha256): bytes(row.bytes) for row in glance(connection, [(statement, values)])[0]}
    return {
        row.id: tuple(
            Attachment(entry["filename"], entry["content_type"], blobs[row.client_id, entry["sha256"]])
            for entry in (row.draft or {}).get("attachments", ())
            if (row.client_id, entry["sha256"]) in blobs
        )
        for row in found
    }


def _input(row: Any, step: Any, ids: list[str], files: tuple[Attachment, ...], now: datetime, house: House) -> RenderInput:
    common: dict[str, Any] = {
        "now": now, "token": own_ids.token_of(row.idempotency_key), "sender_address": row.sender_address, "sender_name": row.sender_name,
        "sender_zone": row.sender_zone, "to_address": row.to_address, "client_name": row.client_name,
        "allow_reserved": house.allow_reserved,
    }  # fmt: skip
    if row.step_id is None or row.draft:
        return _personal(row, ids, files, common)
    return RenderInput(
        **common,
        subject=step.subject,
        text=step.text,
        html=step.html,
        to_name=" ".join(filter(None, (row.first_name, row.last_name))),
        values=lead_values(row),
        seed=seed_of(row.enrollment_id, row.step_id),
        thread=Thread(row.thread_subject or "", tuple(ids)),
        way_out=way_out(house, row.client_id, row.to_address, row.id, row.lead_id, row.campaign_id),
        postal_address=row.postal_address,
        campaign_id=row.campaign_id,
    )


def _personal(row: Any, ids: list[str], files: tuple[Attachment, ...], common: dict[str, Any]) -> RenderInput:
    """What a person wrote: its own references where the draft names them, else those of the conversation."""
    draft = row.draft or {}
    named = tuple(draft.get("references") or ())
    newest = draft.get("in_reply_to")
    if newest and newest not in named:
        named = (*named, newest)
    return RenderInput(
        **common,
        subject=draft.get("subject") or row.thread_subject or "",
        text=draft.get("text") or "",
        html=draft.get("html") or "",
        thread=Thread("", named or tuple(ids)),
        personal=True,
        attachments=files,
    )
