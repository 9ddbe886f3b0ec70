"""The calls: leased, recorded, tried again by the ladder, redelivered when a person asks.

A lease that ran out goes back to the queue: a process may have died between the answer and its record, so a receiver can be told twice,
under the same ``webhook-id``. Lock order: endpoints by id, then calls.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text

from app.core import clock
from app.core.clock import machine_now
from app.core.errors import Conflict, TooMany
from app.core.extensions import db
from app.domain.outgoing import (
    GONE,
    SWITCHED_OFF_AFTER,
    TEST,
    body_of,
    is_the_servers_trouble,
    rest_s,
    succeeded,
    wait_s,
)
from app.models import OutgoingCall, OutgoingEndpoint, OutgoingEvent
from app.services import audit
from app.services.outgoing import endpoints
from app.strings import t

AT_ONCE = 200
#: Of one endpoint at a time; of one that fails, a single call finds out whether it is back.
EACH = 20
LEASE_S = 60
TESTS_A_MINUTE = 10


@dataclass(frozen=True, slots=True)
class Call:
    """One leased call, with all that is needed to make it."""

    id: int
    epoch: int
    client_id: int
    endpoint_id: int
    url: str
    webhook_id: str
    body: str
    tries: int


@dataclass(frozen=True, slots=True)
class Tried:
    """One request: ``status`` and ``length`` of the answer, or an ``error`` (PostFailed's words); ``ms`` it took."""

    call: Call
    ms: int
    status: int | None = None
    length: int | None = None
    error: str = ""
    retry_after: int | None = None

    @property
    def good(self) -> bool:
        return succeeded(self.status)


_SWEEP = text("""
UPDATE outgoing_calls c SET leased_until = NULL, due_at = clock_timestamp(), status = CASE e.state WHEN 'on' THEN 'queued' ELSE 'failed' END,
  last_error = CASE e.state WHEN 'on' THEN c.last_error ELSE 'switched_off' END, ended_at = CASE e.state WHEN 'on' THEN NULL ELSE clock_timestamp() END
FROM outgoing_endpoints e WHERE c.status = 'leased' AND c.leased_until < clock_timestamp() AND e.id = c.endpoint_id
""")
_CLAIM = text("""
WITH picked AS MATERIALIZED (
  SELECT next.id FROM outgoing_endpoints e CROSS JOIN LATERAL (
    SELECT q.id FROM outgoing_calls q WHERE q.endpoint_id = e.id AND q.status = 'queued' AND q.due_at <= statement_timestamp()
    ORDER BY q.due_at, q.id LIMIT CASE WHEN e.failures > 0 THEN 1 ELSE :each END FOR UPDATE SKIP LOCKED) next
  WHERE e.state = 'on' AND (e.rests_until IS NULL OR e.rests_until <= clock_timestamp()) LIMIT :most)
UPDATE outgoing_calls c SET status = 'leased', epoch = c.epoch + 1, leased_until = clock_timestamp() + make_interval(secs => :lease)
FROM picked p, outgoing_endpoints e, outgoing_events v WHERE c.id = p.id AND e.id = c.endpoint_id AND v.id = c.event_id
RETURNING c.id, c.epoch, c.client_id, c.endpoint_id, e.url, v.webhook_id, v.body, c.tries
""")


def free_dead_leases() -> int:
    return db.session.execute(_SWEEP).rowcount  # type: ignore[attr-defined, no-any-return]


def claim() -> list[Call]:
    """What is due, leased for LEASE_S seconds; fair between endpoints, none that is off or rests."""
    found = db.session.execute(_CLAIM, {"each": EACH, "most": AT_ONCE, "lease": LEASE_S})
    return sorted((Call(*row) for row in found), key=lambda call: call.id)


_SETTLE = text("""
WITH given AS (SELECT * FROM unnest(cast(:ids AS bigint[]), cast(:epochs AS int[]), cast(:states AS text[]), cast(:waits AS int[]),
    cast(:statuses AS int[]), cast(:errors AS text[])) AS g (id, epoch, state, wait, status, error))
UPDATE outgoing_calls c SET status = g.state, tries = c.tries + 1, leased_until = NULL, last_status = g.status, last_error = g.error,
  due_at = clock_timestamp() + make_interval(secs => coalesce(g.wait, 0)),
  ended_at = CASE g.state WHEN 'queued' THEN NULL ELSE clock_timestamp() END
FROM given g WHERE c.id = g.id AND c.epoch = g.epoch AND c.status = 'leased'
""")
_TRIES = text("""
INSERT INTO outgoing_tries (client_id, call_id, ms, status, length, error)
SELECT c.client_id, c.id, g.ms, g.status, g.length, g.error
FROM unnest(cast(:ids AS bigint[]), cast(:ms AS int[]), cast(:statuses AS int[]), cast(:lengths AS int[]), cast(:errors AS text[]))
  AS g (id, ms, status, length, error) JOIN outgoing_calls c ON c.id = g.id ORDER BY g.id
""")


def settle(tried: Sequence[Tried], *, test: bool = False) -> None:
    """Record what came of leased calls. ``test``: tried once and neither repeated nor held against the endpoint."""
    if not tried:
        return
    present = {one.id: one for one in endpoints.lock(sorted({one.call.endpoint_id for one in tried}))}
    on = {one.id for one in present.values() if one.state == "on"}  # what was switched off meanwhile is not asked again
    waits = [
        None if one.good or test or one.call.endpoint_id not in on else wait_s(one.call.tries + 1, random.random(), one.retry_after) for one in tried
    ]
    states = ["delivered" if one.good else "failed" if wait is None else "queued" for one, wait in zip(tried, waits, strict=True)]
    values: dict[str, Any] = {
        "ids": [one.call.id for one in tried], "epochs": [one.call.epoch for one in tried], "states": states, "waits": waits,
        "statuses": [one.status for one in tried], "errors": [one.error for one in tried], "ms": [one.ms for one in tried],
        "lengths": [one.length for one in tried],
    }  # fmt: skip
    db.session.execute(_SETTLE, {name: values[name] for name in ("ids", "epochs", "states", "waits", "statuses", "errors")})
    db.session.execute(_TRIES, {name: values[name] for name in ("ids", "ms", "statuses", "lengths", "errors")})
    for endpoint in present.values():
        of_it = [one for one in tried if one.call.endpoint_id == endpoint.id]
        if any(one.good for one in of_it):
            _well(endpoint)
        elif not test:
            _ill(endpoint, of_it)
    db.session.flush()


def _well(endpoint: OutgoingEndpoint) -> None:
    endpoint.last_success_at = machine_now()
    endpoint.failures, endpoint.rests_until, endpoint.failing_since = 0, None, None


def _ill(endpoint: OutgoingEndpoint, tried: Sequence[Tried]) -> None:
    """Nothing was accepted: the first failure is remembered, trouble of the server lets it rest, days of it switch it off."""
    now = machine_now()
    endpoint.last_failure_at = now
    endpoint.failing_since = endpoint.failing_since or now
    if any(is_the_servers_trouble(one.status) for one in tried):
        endpoint.failures += 1
        wished = max((one.retry_after or 0 for one in tried), default=0)
        endpoint.rests_until = now + timedelta(seconds=rest_s(endpoint.failures, wished))
    if endpoint.state != "on":
        return
    if any(one.status == GONE for one in tried):
        endpoints.switch_off_by_itself(endpoint, "gone")
    elif now - endpoint.failing_since >= SWITCHED_OFF_AFTER:
        endpoints.switch_off_by_itself(endpoint, "failing")


# What people ask for


def begin_test(endpoint: OutgoingEndpoint) -> Call:
    """An event of its own, leased for whoever asked. Raises TooMany beyond TESTS_A_MINUTE of the client."""
    recent = select(func.count()).where(
        OutgoingEvent.client_id == endpoint.client_id, OutgoingEvent.kind == TEST,
        OutgoingEvent.created_at > func.clock_timestamp() - text("interval '1 minute'"),
    )  # fmt: skip
    if (db.session.scalar(recent) or 0) >= TESTS_A_MINUTE:
        raise TooMany(t("outgoing.tests_per_minute", limit=TESTS_A_MINUTE), 60)
    event = OutgoingEvent(client_id=endpoint.client_id, kind=TEST, occurred_at=clock.now(), webhook_id=_fresh_id())
    event.body = body_of(event.webhook_id, TEST, clock.now(), {"client_id": endpoint.client_id, "endpoint_id": endpoint.id})
    db.session.add(event)
    db.session.flush()
    call = OutgoingCall(
        client_id=endpoint.client_id, endpoint_id=endpoint.id, event_id=event.id, kind=TEST, status="leased", epoch=1,
        leased_until=machine_now() + timedelta(seconds=LEASE_S),
    )  # fmt: skip
    db.session.add(call)
    db.session.flush()
    audit.record("webhook_endpoint.test", endpoints.OBJECT, endpoint.id, client_id=endpoint.client_id)
    return Call(call.id, 1, endpoint.client_id, endpoint.id, endpoint.url, event.webhook_id, event.body, 0)


def _fresh_id() -> str:
    return str(db.session.scalar(text("SELECT 'evt_' || replace(gen_random_uuid()::text, '-', '')")))


_AGAIN = "status = 'queued', tries = 0, due_at = clock_timestamp(), ended_at = NULL"


def redeliver(endpoint: OutgoingEndpoint, call_id: int) -> None:
    """One call once more, now, whatever came of it. Raises Conflict while the endpoint is off."""
    _must_be_on(endpoint)
    db.session.execute(text(f"UPDATE outgoing_calls SET {_AGAIN} WHERE id = :id AND status <> 'leased'"), {"id": call_id})
    audit.record("webhook_endpoint.redeliver", endpoints.OBJECT, endpoint.id, client_id=endpoint.client_id, after={"delivery": call_id})


def redeliver_failed(endpoint: OutgoingEndpoint, since: datetime) -> int:
    """Everything that was given up since then (machine time), once more; how many. Raises Conflict while the endpoint is off."""
    _must_be_on(endpoint)
    found = db.session.execute(
        text(f"UPDATE outgoing_calls SET {_AGAIN} WHERE endpoint_id = :endpoint AND status = 'failed' AND ended_at >= :since AND kind <> :test"),
        {"endpoint": endpoint.id, "since": since, "test": TEST},
    )
    count = int(found.rowcount)  # type: ignore[attr-defined]
    audit.record(
        "webhook_endpoint.redeliver_failed", endpoints.OBJECT, endpoint.id, client_id=endpoint.client_id,
        after={"since": since.isoformat(), "count": count},
    )  # fmt: skip
    return count


def _must_be_on(endpoint: OutgoingEndpoint) -> None:
    """Also ends its rest: a person says that it is back."""
    endpoints.lock([endpoint.id])
    if endpoint.state != "on":
        raise Conflict(t("outgoing.switch_on_first"))
    endpoint.rests_until, endpoint.failures = None, 0
    db.session.flush()
