"""Events get their body, and a call for every endpoint that wants them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text

from app.core import clock
from app.core.extensions import db
from app.domain.outgoing import body_of, data_of

AT_ONCE = 500

_UNTOLD = text("""
SELECT v.id, v.client_id, v.kind, v.webhook_id, v.occurred_at, v.created_at, v.campaign_id, v.enrollment_id, v.step_id, v.lead_id, v.sender_id,
       v.delivery_id, v.message_id, v.facts, c.name AS campaign_name, b.address AS mailbox_email, l.email AS lead_email, l.first_name,
       l.last_name, l.company, d.kind AS delivery_kind, d.to_address, d.message_id AS delivery_message_id, d.sent_at, d.reason, d.reply_code,
       d.reply_text, m.conversation_id, m.from_address, m.subject, m.snippet, m.received_at
FROM outgoing_events v
LEFT JOIN campaigns c ON c.id = v.campaign_id LEFT JOIN senders b ON b.id = v.sender_id LEFT JOIN leads l ON l.id = v.lead_id
LEFT JOIN deliveries d ON d.id = v.delivery_id LEFT JOIN messages m ON m.id = v.message_id
WHERE v.body IS NULL ORDER BY v.id LIMIT :most FOR UPDATE OF v SKIP LOCKED
""")
_BODIES = text("""
UPDATE outgoing_events v SET body = g.body, occurred_at = g.at
FROM unnest(cast(:ids AS bigint[]), cast(:bodies AS text[]), cast(:ats AS timestamptz[])) AS g (id, body, at) WHERE v.id = g.id
""")
# An endpoint that switched itself off gets calls that have failed already: they can be redelivered when it is back.
_CALLS = text("""
INSERT INTO outgoing_calls (client_id, endpoint_id, event_id, kind, status, last_error, ended_at)
SELECT v.client_id, e.id, v.id, v.kind, CASE e.state WHEN 'on' THEN 'queued' ELSE 'failed' END,
       CASE e.state WHEN 'on' THEN '' ELSE 'switched_off' END, CASE e.state WHEN 'on' THEN NULL ELSE clock_timestamp() END
FROM outgoing_events v JOIN outgoing_endpoints e ON e.client_id = v.client_id AND v.kind = ANY (e.events)
  AND e.state IN ('on', 'broken') AND e.created_at <= v.created_at
WHERE v.id = ANY (cast(:ids AS bigint[])) ORDER BY v.id, e.id ON CONFLICT DO NOTHING
""")


def make_calls() -> int:
    """At most AT_ONCE events, oldest first; how many were looked at."""
    found = [dict(row._mapping) for row in db.session.execute(_UNTOLD, {"most": AT_ONCE})]
    if not found:
        return 0
    moments = [_happened(row) for row in found]
    bodies = [body_of(row["webhook_id"], row["kind"], at, data_of(row["kind"], row)) for row, at in zip(found, moments, strict=True)]
    db.session.execute(_BODIES, {"ids": [row["id"] for row in found], "bodies": bodies, "ats": moments})
    # a test message to oneself is on the timeline too, and nobody's event
    told = [row["id"] for row in found if row["delivery_kind"] != "test"]
    db.session.execute(_CALLS, {"ids": told})
    return len(found)


def _happened(row: dict[str, Any]) -> datetime:
    """When it happened, in product time. Calls arrive in no order, so a receiver has nothing else to tell earlier from later.

    Who writes into the timeline knows; of a change of state the trigger knew only the machine's moment at which it wrote the row.
    """
    return row["occurred_at"] or clock.at(row["created_at"])
