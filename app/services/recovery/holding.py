"""Whatever may have been sent since the backup becomes uncertain: what waits in the outbox, and what would have been made out.

Every statement may be repeated: a row carries the number of the recovery that held it, and is held once by each.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from app.domain.address import recipient_provider
from app.domain.reasons import Reason
from app.queries.campaign_steps import nodes_of, ways_on
from app.services.outbox import own_ids
from app.services.outbox.gathering import House, gather
from app.services.outbox.plain import Connection, rows, run
from app.services.outbox.rendering import Rendered, render
from app.services.recovery import places

BATCH = 200

_DUE = """
SELECT e.id, e.campaign_id, e.last_step_id FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id
WHERE e.status = 'waiting' AND e.next_at <= %(cutoff)s AND e.id > %(after)s AND c.status IN ('running', 'paused')
  AND e.sender_id IS NOT NULL ORDER BY e.id LIMIT %(limit)s
"""
_MAKE = """
WITH made AS (
  INSERT INTO deliveries (idempotency_key, client_id, kind, sender_id, campaign_id, enrollment_id, step_id, lead_id, due_at, to_address,
                          email_key, recipient_domain, recipient_provider, first_of_lead, created_at)
  SELECT 'step:' || e.id || ':' || g.step_id, e.client_id, 'campaign_step', coalesce(e.sender_id, g.sender_id), e.campaign_id, e.id,
         g.step_id, e.lead_id, coalesce(e.next_at, %(cutoff)s), l.email, l.email_key, split_part(l.email_key, '@', 2), '',
         e.last_step_id IS NULL, %(began)s
  FROM unnest(%(enrollments)s::bigint[], %(steps)s::bigint[], %(senders)s::bigint[]) AS g (enrollment_id, step_id, sender_id)
  JOIN enrollments e ON e.id = g.enrollment_id JOIN leads l ON l.id = e.lead_id JOIN steps t ON t.id = g.step_id
  WHERE l.email_key IS NOT NULL AND t.campaign_id = e.campaign_id AND coalesce(e.sender_id, g.sender_id) IS NOT NULL
  ORDER BY e.id ON CONFLICT (idempotency_key) DO NOTHING RETURNING id, enrollment_id, step_id, recipient_domain),
 walks AS (
  UPDATE enrollments e SET status = 'in_flight', reason = NULL, next_step_id = made.step_id FROM made
  WHERE e.id = made.enrollment_id AND e.status = 'waiting')
SELECT id, enrollment_id, recipient_domain FROM made
"""
_PROVIDER = "UPDATE deliveries SET recipient_provider = %(provider)s WHERE id = ANY (%(ids)s::bigint[])"
_OPEN = """
SELECT d.id FROM deliveries d WHERE d.shelf IN ('queued', 'held') AND d.created_at <= %(began)s
  AND coalesce(d.evidence ->> 'recovery', '') <> %(run)s AND d.id > %(after)s ORDER BY d.id LIMIT %(limit)s
"""
_ROWS = """
SELECT d.id, d.client_id, d.idempotency_key, d.enrollment_id, d.sender_id, d.mime IS NULL AS bare, d.to_address, s.address AS sender_address
FROM deliveries d JOIN senders s ON s.id = d.sender_id WHERE d.id = ANY (%(ids)s::bigint[]) ORDER BY d.id
"""
_LOCK_SENDERS = "SELECT id FROM senders WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE"
_LOCK_WALKS = "SELECT id FROM enrollments WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE"
_UNSURE = """
WITH given AS (SELECT * FROM unnest(%(ids)s::bigint[], %(mimes)s::bytea[], %(message_ids)s::text[]) AS g (id, mime, message_id)),
 unsure AS (
  UPDATE deliveries d SET status = 'uncertain', reason = %(reason)s, mime = coalesce(d.mime, given.mime),
    message_id = coalesce(d.message_id, given.message_id), rendered_at = coalesce(d.rendered_at, %(at)s),
    permitted_at = clock_timestamp(), permit_product_at = %(at)s, leased_until = NULL, lease_owner = NULL, phase = 'recovery',
    evidence = d.evidence || %(evidence)s
  FROM given WHERE d.id = given.id AND d.status IN ('queued', 'leased', 'committing')
  RETURNING d.id, d.client_id, d.message_id, d.enrollment_id),
 known AS (
  INSERT INTO known_message_ids (client_id, message_id, source, delivery_id)
  SELECT client_id, message_id, 'ours', id FROM unsure ON CONFLICT DO NOTHING),
 walks AS (
  UPDATE enrollments e SET status = 'held', reason = 'previous_uncertain', held_until = NULL FROM unsure
  WHERE e.id = unsure.enrollment_id AND e.status IN ('waiting', 'in_flight'))
SELECT id FROM unsure
"""


def make_due(connection: Connection, *, cutoff: datetime, began: datetime, after: int) -> tuple[int, int | None]:
    """A batch of leads whose next message was due at ``cutoff`` (product time) gets its row; nothing leaves while all is stopped.

    (how many, the id to go on after or None). ``began``: machine time of this recovery, the rows' time of birth.
    """
    found = rows(connection, _DUE, {"cutoff": cutoff, "after": after, "limit": BATCH})
    run(connection, _LOCK_WALKS, {"ids": [row.id for row in found]})
    ways = {campaign: ways_on(nodes_of(campaign)) for campaign in {row.campaign_id for row in found}}
    nexts = [(row.id, ways[row.campaign_id].get(row.last_step_id)) for row in found]
    made = make_rows(connection, [(walk, step.id, None) for walk, step in nexts if step is not None], cutoff=cutoff, began=began)
    return len(made), found[-1].id if len(found) == BATCH else None


def make_rows(
    connection: Connection, wanted: Iterable[tuple[int, int, int | None]], *, cutoff: datetime, began: datetime
) -> list[int]:
    """Rows of (enrollment, step, sender) that do not exist yet, as the sequence would have made them; their ids."""
    pairs = list(wanted)
    values = {
        "enrollments": [walk for walk, _, _ in pairs], "steps": [step for _, step, _ in pairs], "senders": [box for _, _, box in pairs],
        "cutoff": cutoff, "began": began,
    }  # fmt: skip
    made = rows(connection, _MAKE, values) if pairs else []
    for provider in {str(recipient_provider(row.recipient_domain)) for row in made}:
        ids = [row.id for row in made if str(recipient_provider(row.recipient_domain)) == provider]
        run(connection, _PROVIDER, {"provider": provider, "ids": ids})
    return [int(row.id) for row in made]


def open_rows(connection: Connection, *, began: datetime, number: str, after: int = 0) -> list[int]:
    """What is not at its end and is older than this recovery, and not yet held by it."""
    found = rows(connection, _OPEN, {"began": began, "run": number, "after": after, "limit": BATCH})
    return [int(row.id) for row in found]


def hold(connection: Connection, ids: list[int], *, number: str, at: datetime, house: House) -> int:
    """Make these rows uncertain, with the bytes and the Message-ID they would have left with. How many. ``at``: product time."""
    places.retake(connection, ids, at)
    found = rows(connection, _ROWS, {"ids": ids})
    run(connection, _LOCK_SENDERS, {"ids": sorted({row.sender_id for row in found})})
    run(connection, _LOCK_WALKS, {"ids": sorted({row.enrollment_id for row in found if row.enrollment_id is not None})})
    bare = [row.id for row in found if row.bare]
    inputs = gather(connection, bare, at, house) if bare else {}
    written = {row.id: _bytes(row, render(inputs[row.id]) if row.id in inputs else None) for row in found}
    values: dict[str, Any] = {
        "ids": list(written), "mimes": [mime for mime, _ in written.values()], "message_ids": [name for _, name in written.values()],
        "reason": str(Reason.PREVIOUS_UNCERTAIN), "at": at, "evidence": Jsonb({"recovery": number, "tried": "a restored backup"}),
    }  # fmt: skip
    return len(rows(connection, _UNSURE, values))


def _bytes(row: Any, rendered: object) -> tuple[bytes, str]:
    """What cannot be written now keeps its name at least: under it the message would be found."""
    if isinstance(rendered, Rendered):
        return rendered.mime, rendered.message_id
    name = own_ids.message_id_of(row.idempotency_key, row.sender_address)
    return f"Message-ID: {name}\r\nFrom: {row.sender_address}\r\nTo: {row.to_address}\r\n\r\n".encode(), name
