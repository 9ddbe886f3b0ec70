"""The endpoints of a client: made, changed, switched, their secrets changed with an overlap. Every change is in the trail.

A secret is shown in the answer that made it and never again; it rests sealed for its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, text, update

from app.core.clock import machine_now
from app.core.crypto import vault
from app.core.errors import Conflict, Invalid, NotFound
from app.core.extensions import db
from app.domain.outgoing import EVENTS
from app.models import OutgoingCall, OutgoingEndpoint, OutgoingSecret
from app.services import audit
from app.services.outgoing.addresses import Addresses
from app.services.webhooks import new_secret
from app.strings import t

MOST = 20
MOST_SECRETS = 3
OVERLAP_HOURS = 24
LONGEST_OVERLAP_HOURS = 24 * 7
LONGEST_DESCRIPTION = 200
OBJECT = "webhook endpoint"


def create(client_id: int, values: Mapping[str, Any], addresses: Addresses, *, by: int | None) -> tuple[OutgoingEndpoint, str]:
    """A new endpoint and its secret. ``values``: url, events, description. Raises Invalid per field, Conflict when there are MOST."""
    checked = _checked(values, addresses)
    count = db.session.scalar(select(func.count()).where(OutgoingEndpoint.client_id == client_id)) or 0
    if count >= MOST:
        raise Conflict(t("outgoing.most_endpoints", limit=MOST))
    endpoint = OutgoingEndpoint(client_id=client_id, created_by=by, **checked)
    db.session.add(endpoint)
    db.session.flush()
    secret = _add_secret(endpoint)
    audit.record("webhook_endpoint.create", OBJECT, endpoint.id, client_id=client_id, after=checked)
    return endpoint, secret


def change(endpoint: OutgoingEndpoint, values: Mapping[str, Any], addresses: Addresses) -> None:
    """``values``: any of url, events, description. Raises Invalid per field; nothing changes then."""
    checked = _checked(values, addresses)
    before = {name: getattr(endpoint, name) for name in checked if getattr(endpoint, name) != checked[name]}
    if not before:
        return
    for name in before:
        setattr(endpoint, name, checked[name])
    db.session.flush()
    audit.record(
        "webhook_endpoint.update", OBJECT, endpoint.id, client_id=endpoint.client_id, before=before,
        after={name: checked[name] for name in before},
    )  # fmt: skip


def _checked(values: Mapping[str, Any], addresses: Addresses) -> dict[str, Any]:
    faults: dict[str, list[str]] = {}
    checked: dict[str, Any] = {}
    if "url" in values:
        checked["url"] = str(values["url"]).strip()
        if fault := addresses.fault(checked["url"]):
            faults["url"] = [fault]
    if "events" in values:
        checked["events"] = [kind for kind in EVENTS if kind in values["events"]]
        unknown = sorted(set(values["events"]) - set(EVENTS))
        if unknown or not checked["events"]:
            faults["events"] = [t("outgoing.choose_event") if not unknown else t("outgoing.unknown_events", names=", ".join(unknown)[:200])]
    if "description" in values:
        checked["description"] = str(values["description"]).strip()
        if len(checked["description"]) > LONGEST_DESCRIPTION:
            faults["description"] = [t("fields.at_most", limit=LONGEST_DESCRIPTION)]
    if faults:
        raise Invalid(t("fields.do_not_fit"), details=faults)
    return checked


def switch(endpoint: OutgoingEndpoint, on: bool) -> None:
    """On: what happens from now on is told. Off: nothing is, and what still waited can be redelivered later."""
    before = endpoint.state
    if before == ("on" if on else "off"):
        return
    lock([endpoint.id])
    endpoint.state, endpoint.state_why, endpoint.state_at = "on" if on else "off", "", machine_now()
    endpoint.failures, endpoint.rests_until, endpoint.failing_since = 0, None, None
    db.session.flush()
    if not on:
        let_go(endpoint.id)
    audit.record(
        "webhook_endpoint.switch_on" if on else "webhook_endpoint.switch_off", OBJECT, endpoint.id, client_id=endpoint.client_id,
        before={"state": before}, after={"state": endpoint.state},
    )  # fmt: skip


def switch_off_by_itself(endpoint: OutgoingEndpoint, why: str) -> None:
    """It failed for days (``failing``), or said that it is gone. Nobody's act; the trail says so."""
    since = endpoint.failing_since
    endpoint.state, endpoint.state_why, endpoint.state_at = "broken", why, machine_now()
    db.session.flush()
    let_go(endpoint.id)
    audit.record(
        "webhook_endpoint.switched_off_by_itself", OBJECT, endpoint.id, client_id=endpoint.client_id,
        after={"why": why, "failing_since": since.isoformat() if since else None},
    )  # fmt: skip


def let_go(endpoint_id: int) -> None:
    """What still waits for this endpoint ends as failed, so that it can be redelivered."""
    db.session.execute(
        update(OutgoingCall).where(OutgoingCall.endpoint_id == endpoint_id, OutgoingCall.status == "queued")
        .values(status="failed", last_error="switched_off", ended_at=func.clock_timestamp()).execution_options(synchronize_session=False)
    )  # fmt: skip


def lock(ids: Sequence[int]) -> list[OutgoingEndpoint]:
    """The endpoints that are still there, locked by id: always before their calls."""
    found = select(OutgoingEndpoint).where(OutgoingEndpoint.id.in_(ids)).order_by(OutgoingEndpoint.id)
    return list(db.session.scalars(found.with_for_update(key_share=True).execution_options(populate_existing=True)))


def remove(endpoint: OutgoingEndpoint) -> None:
    """With its secrets and its log; the trail keeps that it was there."""
    audit.record("webhook_endpoint.remove", OBJECT, endpoint.id, client_id=endpoint.client_id, before={"url": endpoint.url, "events": endpoint.events})
    db.session.execute(text("DELETE FROM outgoing_endpoints WHERE id = :id"), {"id": endpoint.id})
    db.session.expunge(endpoint)


# Secrets


def place(secret_id: int) -> str:
    return f"outgoing_secrets.signing_secret:{secret_id}"


def secrets_of(endpoint_id: int) -> list[OutgoingSecret]:
    """Those events are signed with now, the newest first."""
    return secrets_of_many([endpoint_id]).get(endpoint_id, [])


def secrets_of_many(endpoint_ids: Sequence[int]) -> dict[int, list[OutgoingSecret]]:
    valid = OutgoingSecret.ends_at.is_(None) | (OutgoingSecret.ends_at > func.clock_timestamp())
    found = select(OutgoingSecret).where(OutgoingSecret.endpoint_id.in_(endpoint_ids), valid).order_by(OutgoingSecret.id.desc())
    by_endpoint: dict[int, list[OutgoingSecret]] = {}
    for row in db.session.scalars(found.execution_options(populate_existing=True)):
        by_endpoint.setdefault(row.endpoint_id, []).append(row)
    return by_endpoint


def opened(row: OutgoingSecret) -> str:
    """Raises CannotOpen."""
    return vault().open(row.signing_secret, place(row.id))


def _add_secret(endpoint: OutgoingEndpoint) -> str:
    secret = new_secret("standard_webhooks")
    row = OutgoingSecret(client_id=endpoint.client_id, endpoint_id=endpoint.id)
    db.session.add(row)
    db.session.flush()
    row.signing_secret = vault().seal(secret, place(row.id))
    db.session.flush()
    return secret


def rotate_secret(endpoint: OutgoingEndpoint, overlap_hours: int = OVERLAP_HOURS) -> str:
    """A fresh secret, returned once. The present one signs as well for ``overlap_hours`` (0: it ends now); at most MOST_SECRETS sign at once."""
    if not 0 <= overlap_hours <= LONGEST_OVERLAP_HOURS:
        raise Invalid.field("overlap_hours", t("outgoing.hours_range", limit=LONGEST_OVERLAP_HOURS))
    lock([endpoint.id])
    ends = machine_now() + timedelta(hours=overlap_hours)
    for number, row in enumerate(secrets_of(endpoint.id)):
        row.ends_at = machine_now() if number >= MOST_SECRETS - 1 else min(row.ends_at or ends, ends)
    secret = _add_secret(endpoint)
    audit.record("webhook_endpoint.rotate_secret", OBJECT, endpoint.id, client_id=endpoint.client_id, after={"old_ends": ends.isoformat()})
    return secret


def end_old_secrets(endpoint: OutgoingEndpoint) -> int:
    """All but the newest end now. Returns how many did."""
    old = secrets_of(endpoint.id)[1:]
    for row in old:
        row.ends_at = machine_now()
    if old:
        db.session.flush()
        audit.record("webhook_endpoint.end_old_secrets", OBJECT, endpoint.id, client_id=endpoint.client_id, after={"ended": len(old)})
    return len(old)


def get(client_id: int, endpoint_id: int) -> OutgoingEndpoint:
    """Raises NotFound."""
    row = db.session.scalar(select(OutgoingEndpoint).where(OutgoingEndpoint.id == endpoint_id, OutgoingEndpoint.client_id == client_id))
    if row is None:
        raise NotFound
    return row
