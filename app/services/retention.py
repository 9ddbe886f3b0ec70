"""What is kept no longer. Each function forgets up to AT_ONCE rows and says how many; the job calls it until little is left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import text

from app.core.extensions import db
from app.services.forgetting import forget_conversations

AT_ONCE = 500
HEADERS_KEPT = timedelta(days=30)
RAW_EVENTS_KEPT = timedelta(days=30)
ANSWERS_KEPT = timedelta(hours=24)
LINKS_KEPT = timedelta(days=30)
OUTGOING_KEPT = timedelta(days=30)


def _delete(statement: str, before: datetime) -> int:
    return db.session.execute(text(statement), {"before": before, "n": AT_ONCE}).rowcount  # type: ignore[attr-defined, no-any-return]


def forget_headers(now: datetime) -> int:
    """Mail that matched nothing was kept as headers only; after 30 days it is gone."""
    return _delete(
        "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE headers_only AND conversation_id IS NULL"
        " AND received_at < :before AND NOT EXISTS (SELECT 1 FROM known_message_ids k WHERE k.inbox_message_id = messages.id) LIMIT :n)",
        now - HEADERS_KEPT,
    )


def forget_raw_events(now: datetime) -> int:
    """Raw bodies of what was worked on leave their hash and facts (machine time). What is quarantined waits for a person, with its bytes."""
    return _delete(
        "UPDATE inbound_events SET body_sha256 = coalesce(body_sha256, encode(sha256(body), 'hex')), body = ''::bytea"
        " WHERE id IN (SELECT id FROM inbound_events WHERE status IN ('done', 'ignored')"
        " AND received_at < least(:before, clock_timestamp() - interval '30 days') AND body <> ''::bytea LIMIT :n)",
        now - RAW_EVENTS_KEPT,
    )


def forget_answers(now: datetime) -> int:
    """Remembered answers of the API live 24 h (machine time)."""
    return _delete(
        "DELETE FROM remembered_answers WHERE id IN (SELECT id FROM remembered_answers"
        " WHERE created_at < least(:before, clock_timestamp() - interval '24 hours') LIMIT :n)",
        now - ANSWERS_KEPT,
    )


def forget_links(now: datetime) -> int:
    """One-time links that ran out long ago."""
    return _delete(
        "DELETE FROM one_time_links WHERE id IN (SELECT id FROM one_time_links"
        " WHERE expires_at < least(:before, clock_timestamp() - interval '30 days') LIMIT :n)",
        now - LINKS_KEPT,
    )


def forget_outgoing(now: datetime) -> int:
    """Events told to clients' programs, with their calls and tries (machine time); what is still on its way stays."""
    return _delete(
        "DELETE FROM outgoing_events WHERE id IN (SELECT v.id FROM outgoing_events v"
        " WHERE v.created_at < least(:before, clock_timestamp() - interval '30 days') AND NOT EXISTS (SELECT 1 FROM outgoing_calls c"
        " WHERE c.event_id = v.id AND c.status IN ('queued', 'leased')) LIMIT :n)",
        now - OUTGOING_KEPT,
    )


def forget_attempts(now: datetime) -> int:
    """Logins that waited for a second factor, a day after their end (machine time)."""
    return _delete(
        "DELETE FROM login_attempts WHERE id IN (SELECT id FROM login_attempts"
        " WHERE expires_at < least(:before, clock_timestamp() - interval '24 hours') LIMIT :n)",
        now - ANSWERS_KEPT,
    )


def forget_failures(now: datetime) -> int:
    """Counts of wrong logins a day after the last one (machine time): they count for an hour, and anybody can make a row by typing an address."""
    return _delete(
        "DELETE FROM login_throttle WHERE key IN (SELECT key FROM login_throttle WHERE last_failure_at < least(:before, clock_timestamp()"
        " - interval '24 hours') AND coalesce(blocked_until, last_failure_at) < clock_timestamp() LIMIT :n)",
        now - ANSWERS_KEPT,
    )


def forget_old_conversations(now: datetime) -> int:
    """What each client keeps no longer of its conversations (`clients.retention_days`, product time)."""
    return forget_conversations(now, AT_ONCE)


ALL: tuple[Callable[[datetime], int], ...] = (
    forget_headers, forget_raw_events, forget_answers, forget_links, forget_outgoing, forget_attempts, forget_failures,
    forget_old_conversations,
)  # fmt: skip
