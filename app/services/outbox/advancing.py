"""After a step has left: where each lead's walk stands, and when its next step is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.domain.working_time import Calendar, DelayUnit, add_delay
from app.services.outbox import calendars
from app.services.outbox.calendars import Calendars
from app.services.outbox.plain import Connection, Question, several

_WHERE = (
    """
SELECT e.id, e.status, e.reason, e.campaign_id, g.step_id, g.sent_at, """
    + calendars.ZONES
    + """
FROM unnest(%(ids)s::bigint[], %(steps)s::bigint[], %(sent)s::timestamptz[]) AS g (id, step_id, sent_at)
JOIN enrollments e ON e.id = g.id JOIN campaigns c ON c.id = e.campaign_id
LEFT JOIN senders s ON s.id = e.sender_id LEFT JOIN mailboxes b ON b.id = e.sender_id
"""
)

# Who got a step that was removed since finds the way on behind it; removed steps are passed over.
_CHILDREN = """
WITH RECURSIVE way AS (
  SELECT parent_id AS origin, id, delay_value, delay_unit, deleted_at FROM (
    SELECT *, row_number() OVER (PARTITION BY parent_id ORDER BY deleted_at IS NOT NULL, position, id) AS place FROM steps
    WHERE parent_id = ANY (%(parents)s::bigint[]) AND branch = '') first WHERE place = 1
  UNION ALL
  SELECT w.origin, n.id, n.delay_value, n.delay_unit, n.deleted_at FROM way w CROSS JOIN LATERAL (
    SELECT * FROM steps s WHERE s.parent_id = w.id AND s.branch = '' ORDER BY s.deleted_at IS NOT NULL, s.position, s.id LIMIT 1) n
  WHERE w.deleted_at IS NOT NULL)
SELECT origin AS parent_id, id, delay_value, delay_unit FROM way WHERE deleted_at IS NULL
"""

# What holds a lead for another reason keeps holding it; what ended stays ended. Only the place in the sequence moves.
_ADVANCE = """
WITH moved AS (
 UPDATE enrollments e SET
  last_step_id = g.step_id, last_sent_at = g.sent_at, conversation_id = coalesce(g.conversation_id, e.conversation_id),
  next_step_id = CASE WHEN g.active THEN g.next_id ELSE e.next_step_id END,
  next_at = CASE WHEN g.active THEN g.next_at ELSE e.next_at END,
  status = CASE WHEN NOT g.active THEN e.status WHEN g.next_id IS NULL THEN 'finished' WHEN g.goes_on THEN 'waiting' ELSE e.status END,
  reason = CASE WHEN g.active AND g.next_id IS NULL THEN 'finished' WHEN g.goes_on THEN NULL ELSE e.reason END,
  ended_at = CASE WHEN g.active AND g.next_id IS NULL THEN g.sent_at ELSE e.ended_at END
 FROM unnest(%(ids)s::bigint[], %(steps)s::bigint[], %(sent)s::timestamptz[], %(next_ids)s::bigint[],
             %(next_ats)s::timestamptz[], %(active)s::bool[], %(goes_on)s::bool[], %(conversations)s::bigint[])
      AS g (id, step_id, sent_at, next_id, next_at, active, goes_on, conversation_id)
 WHERE e.id = g.id
 RETURNING e.id, e.client_id, e.campaign_id, e.lead_id, e.sender_id, e.status, e.ended_at, g.active)
INSERT INTO activities (client_id, kind, channel, campaign_id, enrollment_id, lead_id, sender_id, meta, at)
SELECT client_id, 'enrollment_ended', 'email', campaign_id, id, lead_id, sender_id,
       jsonb_build_object('status', 'finished', 'reason', 'finished'), ended_at
FROM moved WHERE active AND status = 'finished'
"""

_ACTIVE = ("waiting", "in_flight", "held", "paused", "needs_attention")


@dataclass(slots=True)
class StepLeft:
    """A campaign step that left: ``sent_at`` is product time. ``conversation_id``: the one it began."""

    enrollment_id: int
    campaign_id: int
    step_id: int
    sent_at: datetime
    conversation_id: int | None = None


def advance(connection: Connection, left: list[StepLeft]) -> None:
    """Move the walks on. The enrollments must be locked."""
    if left:
        several(connection, advancing(left, several(connection, standing(left))))


def standing(left: list[StepLeft]) -> list[Question]:
    """Where these walks stand and what follows: the answers are for ``advancing``."""
    values: dict[str, Any] = {
        "ids": [one.enrollment_id for one in left],
        "steps": [one.step_id for one in left],
        "sent": [one.sent_at for one in left],
    }
    return [(_WHERE, values), (_CHILDREN, {"parents": sorted(set(values["steps"]))}), calendars.texts_of(one.campaign_id for one in left)]


def advancing(left: list[StepLeft], found: list[list[Any]]) -> list[Question]:
    """The move itself; ``found``: the answers to ``standing``."""
    places, following, texts = found
    obeyed = Calendars(texts)
    children = {row.parent_id: row for row in following}
    begun = {one.enrollment_id: one.conversation_id for one in left}
    values: dict[str, Any] = {name: [] for name in ("ids", "steps", "sent", "next_ids", "next_ats", "active", "goes_on", "conversations")}
    for place in places:
        values["conversations"].append(begun.get(place.id))
        child = children.get(place.step_id)
        values["ids"].append(place.id)
        values["steps"].append(place.step_id)
        values["sent"].append(place.sent_at)
        values["next_ids"].append(child.id if child else None)
        values["next_ats"].append(_due(obeyed.of(place), place, child) if child else None)
        values["active"].append(place.status in _ACTIVE)
        free = place.status in ("waiting", "in_flight") or (place.status == "held" and place.reason == "previous_uncertain")
        values["goes_on"].append(free)
    return [(_ADVANCE, values)]


def _due(calendar: Calendar | None, place: Any, child: Any) -> datetime:
    """Delays run from the moment the step before was sent, on the campaign's calendar."""
    at = None
    if calendar is not None:
        at = add_delay(calendar, place.sent_at, child.delay_value, DelayUnit(child.delay_unit), place.id)
    fallback: datetime = place.sent_at + timedelta(days=1)  # a calendar that never opens: looked at again tomorrow
    return at or fallback
