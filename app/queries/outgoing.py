"""Reading outgoing webhooks: endpoints with their figures, the log of deliveries, one delivery with every try. Machine time throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from app.core.errors import NotFound
from app.core.extensions import db
from app.models import OutgoingCall, OutgoingEndpoint, OutgoingEvent, OutgoingSecret, OutgoingTry


@dataclass(frozen=True)
class Endpoint:
    """One endpoint without its secrets. ``waiting``: deliveries on their way; ``failed``: those given up and still kept."""

    id: int
    client_id: int
    url: str
    description: str
    events: list[str]
    state: str
    state_why: str
    state_at: datetime
    failing_since: datetime | None
    rests_until: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    created_at: datetime
    valid_secrets: int
    waiting: int
    failed: int


@dataclass(frozen=True)
class Delivery:
    """One event for one endpoint. ``status``: queued (also while it is being made), delivered or failed."""

    id: int
    client_id: int
    endpoint_id: int
    event: str
    webhook_id: str
    status: str
    tries: int
    due_at: datetime | None
    created_at: datetime
    ended_at: datetime | None
    last_status: int | None
    last_error: str
    payload: str
    attempts: tuple[OutgoingTry, ...] = ()


_KEPT = ("url", "description", "events", "state", "state_why", "state_at", "failing_since", "rests_until", "last_success_at", "last_failure_at", "created_at")


def endpoints(client_id: int, endpoint_id: int | None = None) -> list[Endpoint]:
    """Those of a client, oldest first (a client has at most twenty)."""
    statement = select(OutgoingEndpoint).where(OutgoingEndpoint.client_id == client_id).order_by(OutgoingEndpoint.id)
    if endpoint_id is not None:
        statement = statement.where(OutgoingEndpoint.id == endpoint_id)
    rows = db.session.scalars(statement.execution_options(populate_existing=True)).all()
    ids = [row.id for row in rows]
    secrets, counted = _valid_secrets(ids), _counts(ids)
    return [
        Endpoint(
            id=row.id, client_id=row.client_id, **{name: getattr(row, name) for name in _KEPT}, valid_secrets=secrets.get(row.id, 0),
            waiting=counted.get((row.id, "queued"), 0) + counted.get((row.id, "leased"), 0), failed=counted.get((row.id, "failed"), 0),
        )
        for row in rows
    ]  # fmt: skip


def endpoint(client_id: int, endpoint_id: int) -> Endpoint:
    """Raises NotFound."""
    found = endpoints(client_id, endpoint_id)
    if not found:
        raise NotFound
    return found[0]


def _valid_secrets(ids: Sequence[int]) -> dict[int, int]:
    valid = OutgoingSecret.ends_at.is_(None) | (OutgoingSecret.ends_at > func.clock_timestamp())
    statement = select(OutgoingSecret.endpoint_id, func.count()).where(OutgoingSecret.endpoint_id.in_(ids), valid).group_by(OutgoingSecret.endpoint_id)
    return {row[0]: row[1] for row in db.session.execute(statement)}


def _counts(ids: Sequence[int]) -> dict[tuple[int, str], int]:
    statement = (
        select(OutgoingCall.endpoint_id, OutgoingCall.status, func.count())
        .where(OutgoingCall.endpoint_id.in_(ids), OutgoingCall.status != "delivered")
        .group_by(OutgoingCall.endpoint_id, OutgoingCall.status)
    )
    return {(row[0], row[1]): row[2] for row in db.session.execute(statement)}


def deliveries(endpoint_id: int, status: str | None = None, event: str | None = None) -> Any:
    """The log of one endpoint, a SELECT to be paged by ``OutgoingCall.id``."""
    statement = select(OutgoingCall.id, OutgoingCall, OutgoingEvent).join(OutgoingEvent, OutgoingEvent.id == OutgoingCall.event_id)
    statement = statement.where(OutgoingCall.endpoint_id == endpoint_id)
    if status is not None:
        statement = statement.where(OutgoingCall.status.in_(("queued", "leased") if status == "queued" else (status,)))
    if event is not None:
        statement = statement.where(OutgoingCall.kind == event)
    return statement


def line(row: Any) -> Delivery:
    """One row of ``deliveries``."""
    return _delivery(row.OutgoingCall, row.OutgoingEvent)


def delivery(client_id: int, call_id: int) -> Delivery:
    """With every try, the newest last. Raises NotFound."""
    statement = select(OutgoingCall, OutgoingEvent).join(OutgoingEvent, OutgoingEvent.id == OutgoingCall.event_id)
    statement = statement.where(OutgoingCall.id == call_id, OutgoingCall.client_id == client_id)
    row = db.session.execute(statement.execution_options(populate_existing=True)).first()
    if row is None:
        raise NotFound
    tries = db.session.scalars(select(OutgoingTry).where(OutgoingTry.call_id == call_id).order_by(OutgoingTry.id.desc()).limit(100)).all()
    return _delivery(row.OutgoingCall, row.OutgoingEvent, tuple(reversed(tries)))


def _delivery(call: OutgoingCall, event: OutgoingEvent, attempts: tuple[OutgoingTry, ...] = ()) -> Delivery:
    status = "queued" if call.status == "leased" else call.status
    return Delivery(
        id=call.id, client_id=call.client_id, endpoint_id=call.endpoint_id, event=call.kind, webhook_id=event.webhook_id, status=status,
        tries=call.tries, due_at=call.due_at if status == "queued" else None, created_at=call.created_at, ended_at=call.ended_at,
        last_status=call.last_status, last_error=call.last_error, payload=event.body or "", attempts=attempts,
    )  # fmt: skip
