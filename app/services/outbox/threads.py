"""What left appears in its thread: a conversation per lead and subject, our message, the people of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.domain.headers import subject_base
from app.domain.reading import read
from app.services.outbox.plain import Question

SNIPPET = 140


@dataclass(slots=True)
class Words:
    """What a message says, for the thread. Taken from the rendering, or read back from the stored bytes."""

    subject: str
    text: str
    has_html: bool = False


def words_of(mime: bytes) -> Words:
    """Read our own bytes back (after a restart the rendering is gone, the bytes are not)."""
    message = read(mime)
    return Words(message.subject, message.text, bool(message.html))


# A lead has one walk per campaign and one message of it under way at a time: (lead, campaign) names the row of a batch.
_THREAD = """
WITH given AS (SELECT * FROM unnest(%(ids)s::bigint[], %(clients)s::bigint[], %(senders)s::bigint[], %(leads)s::bigint[],
  %(campaigns)s::bigint[], %(enrollments)s::bigint[], %(conversations)s::bigint[], %(subjects)s::text[], %(bases)s::text[],
  %(texts)s::text[], %(html)s::bool[], %(snippets)s::text[], %(sizes)s::int[], %(ats)s::timestamptz[], %(addresses)s::text[],
  %(keys)s::text[], %(message_ids)s::text[])
  AS g (id, client_id, sender_id, lead_id, campaign_id, enrollment_id, conversation_id, subject, base, text, html, snippet, size,
        at, address, key, message_id)),
 made AS (
  INSERT INTO conversations (client_id, channel, sender_id, lead_id, campaign_id, subject, subject_base, last_direction,
                             last_message_at, snippet, display_name, display_address)
  SELECT g.client_id, 'email', g.sender_id, g.lead_id, g.campaign_id, g.subject, g.base, 'out', g.at, g.snippet,
         coalesce(nullif(trim(l.first_name || ' ' || l.last_name), ''), l.email, g.address), coalesce(l.email, g.address)
  FROM given g JOIN leads l ON l.id = g.lead_id WHERE g.conversation_id IS NULL
  RETURNING id, lead_id, campaign_id),
 fresh AS (
  SELECT m.id AS conversation_id, g.id, g.client_id, g.lead_id, g.address, g.key
  FROM made m JOIN given g ON (g.lead_id, g.campaign_id) = (m.lead_id, m.campaign_id)),
 people AS (
  INSERT INTO participants (client_id, conversation_id, lead_id, name, address, address_key)
  SELECT f.client_id, f.conversation_id, f.lead_id, trim(l.first_name || ' ' || l.last_name), f.address, f.key
  FROM fresh f JOIN leads l ON l.id = f.lead_id ON CONFLICT DO NOTHING),
 said AS (
  INSERT INTO messages (client_id, conversation_id, sender_id, direction, kind, external_id, delivery_id, from_name, from_address,
                        from_key, to_line, subject, text, has_html, snippet, size, sent_at, received_at)
  SELECT g.client_id, coalesce(f.conversation_id, g.conversation_id), g.sender_id, 'out', 'human', g.message_id, g.id, s.display_name,
         s.address, s.address_key, jsonb_build_array(jsonb_build_object('name', '', 'address', g.address)), g.subject, g.text, g.html,
         g.snippet, g.size, g.at, g.at
  FROM given g LEFT JOIN fresh f ON f.id = g.id JOIN senders s ON s.id = g.sender_id
  ON CONFLICT (sender_id, external_id, direction) DO UPDATE
    SET delivery_id = excluded.delivery_id, conversation_id = coalesce(messages.conversation_id, excluded.conversation_id)
  RETURNING id, delivery_id, conversation_id),
 touched AS (
  UPDATE conversations c SET last_direction = 'out', last_message_at = greatest(c.last_message_at, g.at), snippet = g.snippet,
         version = c.version + 1
  FROM given g WHERE c.id = g.conversation_id)
SELECT said.id, said.delivery_id, said.conversation_id, fresh.conversation_id AS begun FROM said LEFT JOIN fresh ON fresh.id = said.delivery_id
"""


@dataclass(slots=True)
class Placed:
    """Where a message stands in the inbox. ``begun``: the conversation that it began, for its lead's walk to remember."""

    conversation_id: int | None
    message_id: int | None
    begun: int | None


def threading(sent: list[tuple[Any, Words]]) -> list[Question]:
    """What puts campaign messages that left into their conversations; its answer is for ``placed``.

    Each row: id, client_id, sender_id, lead_id, campaign_id, enrollment_id, conversation_id (the enrollment's), to_address,
    email_key, message_id, size, sent_at, starts_thread (the step has a subject of its own).
    """
    if not sent:
        return []
    rows = [row for row, _ in sent]
    values: dict[str, Any] = {
        "ids": [row.id for row in rows], "clients": [row.client_id for row in rows], "senders": [row.sender_id for row in rows],
        "leads": [row.lead_id for row in rows], "campaigns": [row.campaign_id for row in rows],
        "enrollments": [row.enrollment_id for row in rows],
        "conversations": [None if row.starts_thread else row.conversation_id for row in rows],
        "subjects": [words.subject for _, words in sent], "bases": [subject_base(words.subject) for _, words in sent],
        "texts": [words.text for _, words in sent], "html": [words.has_html for _, words in sent],
        "snippets": [" ".join(words.text.split(None, SNIPPET))[:SNIPPET] for _, words in sent], "sizes": [row.size for row in rows],
        "ats": [row.sent_at for row in rows], "addresses": [row.to_address for row in rows],
        "keys": [row.email_key for row in rows], "message_ids": [row.message_id for row in rows],
    }  # fmt: skip
    return [(_THREAD, values)]


def placed(found: list[Any]) -> dict[int, Placed]:
    """Where each message stands, by delivery, for the caller to store."""
    return {row.delivery_id: Placed(row.conversation_id, row.id, row.begun) for row in found}
