"""A message a person sends once more: a new row that points to the old one. The old one keeps what happened to it."""

from __future__ import annotations

from datetime import datetime

from app.core.errors import Conflict
from app.services.outbox.plain import Connection, rows, run
from app.strings import t

_AGAIN = """
INSERT INTO deliveries (idempotency_key, client_id, kind, sender_id, to_address, due_at, campaign_id, enrollment_id, step_id,
  lead_id, conversation_id, inbox_message_id, retry_of, first_of_lead, draft, email_key, recipient_domain, recipient_provider)
SELECT 'retry:' || d.id || ':' || (1 + (SELECT count(*) FROM deliveries r WHERE r.retry_of = d.id)), d.client_id, d.kind,
  d.sender_id, coalesce(l.email, d.to_address), %(now)s, d.campaign_id, d.enrollment_id, d.step_id, d.lead_id,
  d.conversation_id, CASE WHEN d.kind = 'reply' THEN d.inbox_message_id END, d.id, d.first_of_lead, d.draft,
  coalesce(l.email_key, d.email_key), split_part(coalesce(l.email_key, d.email_key), '@', 2), d.recipient_provider
FROM deliveries d LEFT JOIN leads l ON l.id = d.lead_id AND d.kind = 'campaign_step'
WHERE d.id = %(id)s RETURNING id, inbox_message_id
"""


# The permit would cancel it, and the lead's walk with it: said before anything is changed.
_LISTED = """
SELECT 1 FROM deliveries d LEFT JOIN leads l ON l.id = d.lead_id WHERE d.id = %(id)s AND d.kind = 'campaign_step' AND (
  EXISTS (SELECT 1 FROM suppressions p WHERE p.client_id = d.client_id AND p.email_key = coalesce(l.email_key, d.email_key))
  OR EXISTS (SELECT 1 FROM global_suppressions p WHERE p.email_key = coalesce(l.email_key, d.email_key)))
"""


def send_again(connection: Connection, delivery_id: int, now: datetime) -> int:
    """Queue it anew, to the lead's present address; the new id. The caller has ended the old row and locked the lead's walk.

    Raises Conflict (``suppressed``) when that address is on a do-not-contact list.
    """
    if rows(connection, _LISTED, {"id": delivery_id}):
        raise Conflict(t("deliveries.suppressed"), code="suppressed")
    fresh = rows(connection, _AGAIN, {"id": delivery_id, "now": now})[0]
    if fresh.inbox_message_id is not None:
        run(
            connection,
            "UPDATE messages SET delivery_id = %(fresh)s WHERE id = %(message)s",
            {"fresh": fresh.id, "message": fresh.inbox_message_id},
        )
    return int(fresh.id)
