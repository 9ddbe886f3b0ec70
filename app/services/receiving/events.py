"""Raw arrivals: kept with their bytes before anybody understands them, worked on, tried again, quarantined, replayable.

Machine time throughout (``clock_timestamp()``). One arrival that cannot be worked on never holds up the ones behind it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from app.core.db import committed_alone
from app.core.extensions import db
from app.core.queue import Job, ring_job
from app.core.version import code_version
from app.domain import mail_event, webhook_body
from app.domain.webhook_body import Unreadable
from app.models import InboundEvent
from app.services.receiving import carried
from app.services.receiving.arrivals import Arrival, understand
from app.services.receiving.record import record
from app.strings import t

MAX_ATTEMPTS = 5
FIRST_WAIT_S = 5.0
IMAP = "imap"
WEBHOOK = "webhook"

#: Kind of a webhook → what it does. It runs in the event's own transaction and returns "" (done) or why it does nothing.
Processor = Callable[[Any, bool], str]
PROCESSORS: dict[str, Processor] = {mail_event.TYPE: carried.process}


@dataclass(frozen=True)
class Due:
    id: int
    attempts: int
    webhook_source: int | None = None


@dataclass(frozen=True)
class Worked:
    """``status``: done, ignored, quarantined; None when another process has the event or it is not new any more."""

    status: str | None


def keep_mail(arrival: Arrival, *, dedupe_key: str, facts: dict[str, Any], error: str, wait_s: float = FIRST_WAIT_S) -> None:
    """Keep a mail that failed to be recorded; the sweep tries it again after ``wait_s`` seconds."""
    db.session.execute(
        text(
            "INSERT INTO inbound_events (source, account, dedupe_key, body, body_sha256, facts, attempts, next_try_at, error)"
            " VALUES (:source, :account, :key, :body, :sha256, cast(:facts AS jsonb), 1,"
            " clock_timestamp() + make_interval(secs => :wait), :error)"
            " ON CONFLICT (source, account, dedupe_key) DO NOTHING"
        ),
        {
            "source": IMAP, "account": str(arrival.mailbox_id), "key": dedupe_key, "body": arrival.raw, "error": error[:4_000],
            "sha256": hashlib.sha256(arrival.raw).hexdigest(),
            "facts": json.dumps(facts | _facts(arrival)), "wait": wait_s,
        },
    )  # fmt: skip


def _facts(arrival: Arrival) -> dict[str, Any]:
    return {
        "client_id": arrival.client_id, "mailbox_id": arrival.mailbox_id, "role": arrival.role, "size": arrival.size,
        "whole": arrival.whole, "historical": arrival.historical, "thread": arrival.thread, "received_at": arrival.received_at.isoformat(),
        "internaldate": arrival.internal_date.isoformat() if arrival.internal_date else None,
    }  # fmt: skip


_KEEP = """
INSERT INTO inbound_events (source, account, dedupe_key, body, body_sha256, facts)
VALUES ('webhook', %(account)s, %(key)s, %(body)s, %(sha256)s, %(facts)s::jsonb)
ON CONFLICT (source, account, dedupe_key) DO UPDATE SET seen = inbound_events.seen + 1 RETURNING seen
"""


def keep_webhook(source_id: int, body: bytes, *, dedupe_key: str, facts: Mapping[str, Any]) -> bool:
    """Keep the raw bytes of a proven call, commit, and ring. False for one that was kept before: it is only counted."""
    values = {"account": str(source_id), "key": dedupe_key, "body": body, "sha256": hashlib.sha256(body).hexdigest(), "facts": json.dumps(facts)}
    fresh = bool(committed_alone(_KEEP, values).seen == 1)
    if fresh:
        ring_job(Job.INBOUND_ARRIVED)
    return fresh


# A held source's events wait; once the hold is over the oldest of them is let through to see whether it works again.
_DUE = text(
    "SELECT e.id, e.attempts, s.id AS webhook_source FROM inbound_events e LEFT JOIN webhook_sources s ON e.source = 'webhook' AND s.id::text = e.account"
    " WHERE e.status = 'new' AND e.id > :after AND (e.next_try_at IS NULL OR e.next_try_at <= clock_timestamp())"
    " AND (s.held_until IS NULL OR s.held_until <= clock_timestamp() AND e.id ="
    "   (SELECT min(o.id) FROM inbound_events o WHERE o.source = 'webhook' AND o.account = e.account AND o.status = 'new'"
    "    AND (o.next_try_at IS NULL OR o.next_try_at <= clock_timestamp())))"
    " ORDER BY e.id LIMIT :limit"
)


def due(limit: int = 200, after_id: int = 0) -> list[Due]:
    """Events whose time has come, oldest first, behind ``after_id``; those of a held source wait."""
    rows = db.session.execute(_DUE, {"limit": limit, "after": after_id})
    return [Due(row.id, row.attempts, row.webhook_source) for row in rows]


def process(event_id: int) -> Worked:
    """Work on one kept event in the present transaction. Raises what its processor raises: tell ``failed`` of it."""
    row = db.session.execute(
        text("SELECT id, source, account, facts, attempts, body FROM inbound_events WHERE id = :id AND status = 'new' FOR UPDATE SKIP LOCKED"),
        {"id": event_id},
    ).first()
    if row is None:
        return Worked(None)
    patient = row.attempts < MAX_ATTEMPTS - 1
    if row.source == WEBHOOK:
        return _process_webhook(row, patient)
    if row.source != IMAP:
        return _settle(event_id, "ignored", error=t("arrivals.nobody_source", source=row.source))
    record(understand(_arrival(bytes(row.body), row.facts)), patient=patient)
    return _settle(event_id, "done")


def _process_webhook(row: Any, patient: bool) -> Worked:
    kind = ""
    try:
        payload = webhook_body.read(bytes(row.body))
        kind = webhook_body.kind_of(payload)
        processor = PROCESSORS.get(kind)
        if processor is None:
            return _settle(row.id, "ignored", kind, t("arrivals.nobody_kind", kind=kind or t("arrivals.kind_not_named")))
        why_not = processor(payload, patient)
    except Unreadable as wrong:
        return _settle(row.id, "quarantined", kind, str(wrong))
    return _settle(row.id, "ignored" if why_not else "done", kind, why_not)


def _arrival(body: bytes, facts: dict[str, Any]) -> Arrival:
    internal = facts.get("internaldate")
    return Arrival(
        facts["client_id"], facts["mailbox_id"], body, facts.get("role", "inbox"), datetime.fromisoformat(facts["received_at"]),
        datetime.fromisoformat(internal) if internal else None, facts.get("size", 0), facts.get("whole", True), facts.get("historical", False),
        facts.get("thread", ""),
    )  # fmt: skip


def _settle(event_id: int, status: str, kind: str = "", error: str = "") -> Worked:
    db.session.execute(
        text(
            "UPDATE inbound_events SET status = :status, kind = :kind, error = :error, code_version = :version, attempts = attempts + 1,"
            " processed_at = clock_timestamp() WHERE id = :id AND status = 'new'"
        ),
        {"id": event_id, "status": status, "kind": kind, "error": error[:4_000], "version": code_version()},
    )
    return Worked(status)


def failed(event_id: int, error: str) -> str:
    """Count a failure: back-off doubles with jitter, the fifth quarantines. Returns the status."""
    row = db.session.execute(
        text(
            "UPDATE inbound_events SET attempts = attempts + 1, error = :error, code_version = :version,"
            " status = CASE WHEN attempts + 1 >= :most THEN 'quarantined' ELSE status END,"
            " next_try_at = clock_timestamp() + make_interval(secs => :first * power(2, attempts) * (0.75 + random() / 2))"
            " WHERE id = :id AND status = 'new' RETURNING status"
        ),
        {"id": event_id, "error": error[-4_000:], "most": MAX_ATTEMPTS, "first": FIRST_WAIT_S, "version": code_version()},
    ).first()
    return str(row.status) if row else "done"


def replay(event_ids: Sequence[int] | None = None) -> int:
    """Put quarantined events (all, or these) back in the queue, for the sweep. Returns how many."""
    rows = db.session.execute(
        text(
            "UPDATE inbound_events SET status = 'new', attempts = 0, next_try_at = NULL WHERE status = 'quarantined'"
            " AND (cast(:ids AS bigint[]) IS NULL OR id = ANY(:ids)) RETURNING id"
        ),
        {"ids": list(event_ids) if event_ids is not None else None},
    )
    return len(rows.all())


def quarantined(limit: int = 200) -> list[InboundEvent]:
    """Newest first, for the operator."""
    return list(
        db.session.query(InboundEvent).filter_by(status="quarantined").order_by(InboundEvent.id.desc()).limit(limit)
    )
