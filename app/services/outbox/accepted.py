"""A message was taken by its server: the row is ``sent``, and lead, sequence, thread and timeline hear of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from app.core.failpoints import Name
from app.services.outbox import threads
from app.services.outbox.advancing import StepLeft, advancing, standing
from app.services.outbox.outcome import Outcome
from app.services.outbox.plain import DELIVERIES, Connection, Question, for_table, rows, several

# The rows are locked: should one have changed all the same, the statement fails. A late 2xx may find its row uncertain: then it is sent after all.
_SENT = """
WITH given AS (
  SELECT * FROM unnest(%(ids)s::bigint[], %(epochs)s::int[], %(codes)s::int[], %(enhanced)s::text[], %(texts)s::text[],
      %(provider_ids)s::text[], %(conversations)s::bigint[], %(messages)s::bigint[])
    AS g (id, epoch, code, enhanced, text, provider_id, conversation_id, message_id)),
 sent AS (
  UPDATE {table} d
  SET status = 'sent', sent_at = d.permit_product_at, answered_at = clock_timestamp(), leased_until = NULL, lease_owner = NULL,
      phase = 'done', reason = NULL, detail = '', reply_code = g.code, reply_enhanced = nullif(g.enhanced, ''),
      reply_text = g.text, provider_message_id = nullif(g.provider_id, ''), attempts = d.attempts + 1,
      conversation_id = coalesce(g.conversation_id, d.conversation_id), inbox_message_id = coalesce(g.message_id, d.inbox_message_id),
      resolved_at = CASE WHEN d.status = 'uncertain' THEN clock_timestamp() ELSE d.resolved_at END,
      evidence = CASE WHEN d.status = 'uncertain' THEN d.evidence || jsonb_build_object('found', 'late_answer') ELSE d.evidence END
  FROM given g
  WHERE d.id = g.id AND d.epoch = g.epoch AND coalesce(d.status, '') IN ('committing', 'uncertain')
  RETURNING d.id),
 tries AS (
  UPDATE delivery_attempts a SET ended_at = clock_timestamp(), outcome = 'accepted', phase = 'done', code = g.code,
         enhanced = nullif(g.enhanced, ''), text = g.text
  FROM given g WHERE a.delivery_id = g.id AND a.epoch = g.epoch)
SELECT {all of them} FROM sent
"""
# It may also find that a person sent the message again meanwhile, or that all is past: then the other side has it twice, and we say so.
_DOUBLED = """
UPDATE {table} d SET late_accept = true, evidence = d.evidence || jsonb_build_object('late_answer', g.text)
FROM unnest(%(ids)s::bigint[], %(epochs)s::int[], %(texts)s::text[]) AS g (id, epoch, text)
WHERE d.id = g.id AND NOT (d.epoch = g.epoch AND coalesce(d.status, '') IN ('committing', 'uncertain', 'sent', 'delivered', 'bounced'))
"""

_WHOLE = """
SELECT d.id, d.client_id, d.kind, d.sender_id, d.campaign_id, d.enrollment_id, d.step_id, d.lead_id, d.to_address, d.email_key,
       d.message_id, {sent_at} AS sent_at, d.inbox_message_id, d.retry_of, length(d.mime) AS size, d.epoch, d.status,
       e.conversation_id, d.conversation_id AS own_conversation_id, t.subject <> '' AS starts_thread
FROM {table} d LEFT JOIN enrollments e ON e.id = d.enrollment_id LEFT JOIN steps t ON t.id = d.step_id
WHERE d.id = ANY (%(ids)s::bigint[]) ORDER BY d.id {lock}
"""
_LINK = """
UPDATE {table} d SET conversation_id = g.conversation_id, inbox_message_id = g.message_id
FROM unnest(%(ids)s::bigint[], %(conversations)s::bigint[], %(messages)s::bigint[]) AS g (id, conversation_id, message_id)
WHERE d.id = g.id
"""

_PROVIDER_IDS = """
INSERT INTO known_message_ids (client_id, message_id, source, delivery_id)
SELECT client_id, provider_message_id, 'provider', id FROM {table}
WHERE id = ANY (%(ids)s::bigint[]) AND provider_message_id IS NOT NULL ON CONFLICT DO NOTHING
"""
_CONTACTED = """
UPDATE leads l SET contacted_at = coalesce(l.contacted_at, g.at)
FROM unnest(%(leads)s::bigint[], %(ats)s::timestamptz[]) AS g (id, at) WHERE l.id = g.id AND l.contacted_at IS NULL
"""
_TIMELINE = """
INSERT INTO activities (client_id, kind, channel, campaign_id, enrollment_id, step_id, lead_id, sender_id, delivery_id,
                        message_id, at)
SELECT client_id, 'message_sent', 'email', campaign_id, enrollment_id, step_id, lead_id, sender_id, id, inbox_message_id, sent_at
FROM {table} WHERE id = ANY (%(ids)s::bigint[])
"""
_CALM = "UPDATE senders SET uncertain_streak = 0 WHERE id = ANY (%(ids)s::bigint[]) AND uncertain_streak > 0"
_OWN_MESSAGE = """
WITH told AS (
  UPDATE messages m SET sent_at = d.sent_at, external_id = d.message_id FROM {table} d
  WHERE d.id = ANY (%(ids)s::bigint[]) AND m.id = d.inbox_message_id AND d.kind = 'reply' RETURNING m.conversation_id, d.sent_at)
UPDATE conversations c SET version = version + 1, last_message_at = greatest(c.last_message_at, told.sent_at)
FROM told WHERE c.id = told.conversation_id
"""
_MIME = "SELECT mime FROM {table} WHERE id = %(id)s"


def whole_question(good: list[Outcome], table: str = DELIVERIES) -> Question:
    """Reads and locks what was accepted: the last lock of the batch."""
    return _whole(sorted({one.delivery_id for one in good}), table, "d.permit_product_at", "FOR NO KEY UPDATE OF d")


def record_accepted(
    connection: Connection, good: list[Outcome], found: list[Any], locked: Collection[int], table: str = DELIVERIES, last: Name | None = None
) -> list[tuple[int, str]]:
    """Write accepted messages and everything that follows; enrollments and rows (``whole_question``: ``found``) are locked.

    ``locked``: senders, among them those with unanswered messages. ``last``: nothing is written behind it, so that the transaction may end
    with it. (client, topic) pairs for open pages.
    """
    tried = {(one.delivery_id, one.epoch) for one in good}
    whole = [row for row in found if (row.id, row.epoch) in tried and row.status in ("committing", "uncertain")]
    story = _Story(connection, whole, {one.delivery_id: one.words for one in good}, table)
    # Of a late acceptance the sender may count its silence only since we looked: it is locked out of turn, which hardly ever happens.
    calmed = sorted({row.sender_id for row in whole if row.sender_id in locked or row.status == "uncertain"})
    values = {
        "all": len(whole),
        "ids": [one.delivery_id for one in good],
        "epochs": [one.epoch for one in good],
        "codes": [one.code for one in good],
        "enhanced": [one.enhanced for one in good],
        "texts": [one.text.replace("\x00", "")[:2_000] for one in good],
        "provider_ids": [one.provider_message_id for one in good],
        "conversations": [story.placed(one.delivery_id).conversation_id for one in good],
        "messages": [story.placed(one.delivery_id).message_id for one in good],
    }
    assigned = any(one.provider_message_id for one in good)
    doubled: list[Question] = [(for_table(_DOUBLED, table), values)] if len(whole) < len(good) else []
    several(connection, [(for_table(_SENT, table), values), *story.following(assigned, calmed), *doubled], last)
    return story.topics()


def follow_up(
    connection: Connection, sent: set[int], words: Mapping[int, threads.Words | None], table: str = DELIVERIES
) -> list[tuple[int, str]]:
    """Everything that follows from rows having become ``sent``; the rows, their enrollments and senders are locked."""
    story = _Story(connection, rows(connection, *_whole(sorted(sent), table, "d.sent_at")), words, table)
    ids = sorted(story.threaded)
    values = {
        "ids": ids,
        "conversations": [story.placed(one).conversation_id for one in ids],
        "messages": [story.placed(one).message_id for one in ids],
    }
    several(connection, [(for_table(_LINK, table), values), *story.following(True, story.senders())])
    return story.topics()


_NOWHERE = threads.Placed(None, None, None)


def _whole(ids: list[int], table: str, sent_at: str, lock: str = "") -> Question:
    return _whole_statement(table, sent_at, lock), {"ids": ids}


@cache
def _whole_statement(table: str, sent_at: str, lock: str) -> str:
    return for_table(_WHOLE.replace("{sent_at}", sent_at).replace("{lock}", lock), table)


class _Story:
    """What lead, sequence, thread and timeline hear of messages that left. ``whole``: their rows, locked."""

    def __init__(
        self, connection: Connection, whole: list[Any], words: Mapping[int, threads.Words | None], table: str
    ) -> None:
        self._whole = whole
        self._table = table
        steps = [row for row in whole if row.enrollment_id is not None and row.step_id is not None]
        self._steps = steps
        new = [row for row in whole if row.enrollment_id is not None and row.inbox_message_id is None]
        threading = threads.threading([(row, words.get(row.id) or _read_back(connection, row.id, table)) for row in new])
        found = several(connection, [*threading, *(standing([_left(row) for row in steps]) if steps else [])])
        self.threaded = threads.placed(found[0]) if threading else {}
        self._standing = found[len(threading) :]

    def placed(self, delivery_id: int) -> threads.Placed:
        return self.threaded.get(delivery_id, _NOWHERE)

    def senders(self) -> list[int]:
        return sorted({row.sender_id for row in self._whole})

    def following(self, assigned: bool, calmed: list[int]) -> list[Question]:
        """What is written when the rows say ``sent``.

        ``assigned``: some provider gave a Message-ID of its own. ``calmed``: senders whose unanswered messages are not in a row any more.
        """
        if not self._whole:
            return []
        left = [_left(row, self.placed(row.id).begun) for row in self._steps]
        ids = {"ids": [row.id for row in self._whole]}
        leads = {row.lead_id: row.sent_at for row in self._whole if row.lead_id is not None and row.kind != "test"}
        questions = advancing(left, self._standing) if left else []
        if assigned:
            questions.append((for_table(_PROVIDER_IDS, self._table), ids))
        questions.append((for_table(_TIMELINE, self._table), ids))
        if any(row.kind == "reply" for row in self._whole):
            questions.append((for_table(_OWN_MESSAGE, self._table), ids))
        if leads:
            questions.append((_CONTACTED, {"leads": sorted(leads), "ats": [leads[lead] for lead in sorted(leads)]}))
        if calmed:
            questions.append((_CALM, {"ids": calmed}))
        return questions

    def topics(self) -> list[tuple[int, str]]:
        """(client, topic) pairs for open pages. A conversation that has just begun is open on none."""
        return [topic for row in self._whole for topic in _topics(row, self._conversation(row))]

    def _conversation(self, row: Any) -> int | None:
        placed = self.threaded.get(row.id)
        if placed is None:
            return row.own_conversation_id  # type: ignore[no-any-return]
        return None if placed.begun else placed.conversation_id


def _left(row: Any, begun: int | None = None) -> StepLeft:
    return StepLeft(row.enrollment_id, row.campaign_id, row.step_id, row.sent_at, begun)


def _topics(row: Any, conversation: int | None) -> list[tuple[int, str]]:
    found = [(row.client_id, "counters")]
    if row.campaign_id is not None:
        found.append((row.client_id, f"campaign-{row.campaign_id}"))
    if conversation is not None:
        found.append((row.client_id, f"conversation-{conversation}"))
    return found


def _read_back(connection: Connection, delivery_id: int, table: str) -> threads.Words:
    found = rows(connection, for_table(_MIME, table), {"id": delivery_id})
    return threads.words_of(bytes(found[0].mime))
