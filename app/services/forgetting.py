"""Conversations older than their client keeps them: their words, people, files and raw bytes go, with the bytes of what we had sent in them.

What stays says nothing of what was written and is what the promises rest on: the deliveries with their states and ids (so an answer
to a forgotten message still finds its lead, and nothing is sent twice), the walks, the counts.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from app.core.bell import live_after_commit
from app.core.extensions import db
from app.domain.statuses import DELIVERY_ENDED, ENROLLMENT_ACTIVE

#: Product time. What somebody still waits for stays: a walk under way, a message not ended, an answer that failed and may be tried
#: again with its words, a snooze, a decision.
_OLD = text(
    "SELECT c.id, c.client_id FROM conversations c JOIN clients k ON k.id = c.client_id"
    " WHERE coalesce(c.last_message_at, c.created_at) < :now - make_interval(days => k.retention_days)"
    " AND NOT c.needs_match AND (c.snoozed_until IS NULL OR c.snoozed_until <= :now)"
    " AND NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.client_id = c.client_id AND e.lead_id = c.lead_id AND e.status = ANY(:active))"
    " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.conversation_id = c.id"
    "   AND (NOT d.status = ANY(:ended) OR d.kind = 'reply' AND d.status = 'failed' AND d.resolved_at IS NULL))"
    " ORDER BY c.id LIMIT :n FOR UPDATE OF c SKIP LOCKED"
)
_BLOBS = text(
    "SELECT DISTINCT client_id, sha256 FROM (SELECT client_id, raw_sha256 AS sha256 FROM messages WHERE conversation_id = ANY(:ids)"
    " UNION ALL SELECT a.client_id, a.sha256 FROM attachments a JOIN messages m ON m.id = a.message_id WHERE m.conversation_id = ANY(:ids)) b"
    " WHERE sha256 IS NOT NULL"
)
_STEPS = (
    "DELETE FROM attachments a USING messages m WHERE m.id = a.message_id AND m.conversation_id = ANY(:ids)",
    # ids of what we sent are known by their delivery as well, and stay
    "UPDATE known_message_ids k SET inbox_message_id = NULL FROM messages m"
    " WHERE m.id = k.inbox_message_id AND m.conversation_id = ANY(:ids) AND k.delivery_id IS NOT NULL",
    "DELETE FROM known_message_ids k USING messages m WHERE m.id = k.inbox_message_id AND m.conversation_id = ANY(:ids)",
    "UPDATE deliveries SET conversation_id = NULL, inbox_message_id = NULL, draft = '{}'::jsonb,"
    " mime = CASE WHEN mime IS NULL THEN NULL ELSE ''::bytea END WHERE conversation_id = ANY(:ids)",
    "DELETE FROM messages WHERE conversation_id = ANY(:ids)",
    "DELETE FROM participants WHERE conversation_id = ANY(:ids)",
    "DELETE FROM conversations WHERE id = ANY(:ids)",
)
#: Bytes are kept once per client: only what nothing else holds goes.
_UNHELD = text(
    "DELETE FROM blobs b USING unnest(cast(:clients AS bigint[]), cast(:shas AS text[])) AS gone (client_id, sha256)"
    " WHERE b.client_id = gone.client_id AND b.sha256 = gone.sha256"
    " AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.client_id = b.client_id AND m.raw_sha256 = b.sha256)"
    " AND NOT EXISTS (SELECT 1 FROM attachments a WHERE a.client_id = b.client_id AND a.sha256 = b.sha256)"
    " AND NOT EXISTS (SELECT 1 FROM lead_imports i WHERE i.client_id = b.client_id AND i.blob_sha256 = b.sha256)"
)


def forget_conversations(now: datetime, at_once: int) -> int:
    """Forget up to ``at_once`` conversations, over all clients, whose last message is older than ``clients.retention_days``; how many."""
    values = {"now": now, "n": at_once, "active": sorted(map(str, ENROLLMENT_ACTIVE)), "ended": sorted(map(str, DELIVERY_ENDED))}
    found = db.session.execute(_OLD, values).all()
    if not found:
        return 0
    ids = {"ids": [row.id for row in found]}
    blobs = db.session.execute(_BLOBS, ids).all()
    for step in _STEPS:
        db.session.execute(text(step), ids)
    db.session.execute(_UNHELD, {"clients": [blob.client_id for blob in blobs], "shas": [blob.sha256 for blob in blobs]})
    for client_id in {row.client_id for row in found}:
        live_after_commit(client_id, "inbox", "counters")
    return len(found)
