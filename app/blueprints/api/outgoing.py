"""Outgoing webhooks by program: the endpoints of a client, their secrets, and the log of deliveries."""

from __future__ import annotations

import asyncio
from typing import Any

from flask import current_app, g
from marshmallow import fields, validate

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.api.schemas import Flag, Moment, PageQuery, Shown, Strict, one_of, text, whole
from app.channels.wiring import build_channels
from app.core.db import outside_transaction
from app.domain.outgoing import EVENTS, TEST
from app.domain.permissions import Permission
from app.models import OutgoingCall, OutgoingEndpoint
from app.queries import outgoing as queries
from app.services.outgoing import addresses, calls, endpoints, posting

MANAGE = Permission.OUTGOING_MANAGE
ALL, ONE = "/webhook-endpoints", "/webhook-endpoints/<int:row_id>"
STATES = ("queued", "delivered", "failed")


def _url(**options: Any) -> fields.String:
    return text(addresses.LONGEST, shortest=1, metadata={"description": "https; http only to what EMBERPOST_ALLOW_TARGETS names"}, **options)


def _events(**options: Any) -> fields.List[Any]:
    known = fields.String(validate=validate.OneOf(list(EVENTS)))
    return fields.List(known, validate=validate.Length(1, 50), metadata={"description": "what is told"}, **options)


class NewEndpoint(Strict):
    url = _url(required=True)
    events = _events(load_default=lambda: list(EVENTS))
    description = text(endpoints.LONGEST_DESCRIPTION, load_default="")


class EndpointChange(Strict):
    url = _url()
    events = _events()
    description = text(endpoints.LONGEST_DESCRIPTION)
    enabled = Flag(metadata={"description": "false: nothing is told; true also brings back what switched itself off"})


class Rotation(Strict):
    overlap_hours = whole(
        0, endpoints.LONGEST_OVERLAP_HOURS, load_default=endpoints.OVERLAP_HOURS,
        metadata={"description": "for so long the present secrets sign as well; 0: they end now"},
    )  # fmt: skip


class HookEndpointShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    url = fields.String(required=True)
    description = fields.String(required=True)
    events = fields.List(fields.String(), required=True)
    state = fields.String(required=True, metadata={"description": "on, off, or broken (it switched itself off)"})
    state_why = fields.String(required=True, metadata={"description": "of broken: failing (for days) or gone (it answered 410)"})
    state_at = Moment(required=True)
    failing_since = Moment(required=True, allow_none=True)
    rests_until = Moment(required=True, allow_none=True)
    last_success_at = Moment(required=True, allow_none=True)
    last_failure_at = Moment(required=True, allow_none=True)
    valid_secrets = fields.Integer(required=True, metadata={"description": "each signs"})
    waiting = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    created_at = Moment(required=True)


class EndpointWithSecret(Shown):
    endpoint = fields.Nested(HookEndpointShown, required=True)
    secret = fields.String(required=True, metadata={"description": "whsec_…, shown in this answer only"})


class HookDeliveryQuery(PageQuery):
    status = fields.String(validate=validate.OneOf(STATES))
    event = fields.String(validate=validate.OneOf([*EVENTS, TEST]))


class HookDeliveryShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    endpoint_id = fields.Integer(required=True)
    event = fields.String(required=True)
    webhook_id = fields.String(required=True, metadata={"description": "the header webhook-id, the same on every try"})
    status = one_of(STATES)
    tries = fields.Integer(required=True, metadata={"description": "since it was queued; a redelivery begins anew"})
    due_at = Moment(required=True, allow_none=True)
    created_at = Moment(required=True)
    ended_at = Moment(required=True, allow_none=True)
    last_status = fields.Integer(required=True, allow_none=True)
    last_error = fields.String(required=True)


class HookTryShown(Shown):
    at = Moment(required=True)
    ms = fields.Integer(required=True)
    status = fields.Integer(required=True, allow_none=True, metadata={"description": "null: no answer"})
    length = fields.Integer(required=True, allow_none=True, metadata={"description": "bytes of the answer, counted up to 65536; its words are not kept"})
    error = fields.String(required=True)


class HookDeliveryWhole(HookDeliveryShown):
    payload = fields.String(required=True, metadata={"description": "the bytes that are signed"})
    attempts = fields.List(fields.Nested(HookTryShown), required=True)


class Since(Strict):
    since = Moment(required=True, metadata={"description": "deliveries given up at this moment or later"})


class CountShown(Shown):
    count = fields.Integer(required=True)


def known_addresses() -> addresses.Addresses:
    return addresses.Addresses.of(current_app.extensions["settings"])


def _shown(endpoint: OutgoingEndpoint) -> queries.Endpoint:
    return queries.endpoint(endpoint.client_id, endpoint.id)


@api_route("GET", ALL, MANAGE, list_of=HookEndpointShown, summary="Webhook endpoints of a client")
def list_endpoints() -> Page:
    return Page(queries.endpoints(g.client.id), None)


@api_route("POST", ALL, MANAGE, body=NewEndpoint, response=EndpointWithSecret, status=201, summary="Add a webhook endpoint")
def add_endpoint(body: dict[str, Any]) -> dict[str, Any]:
    endpoint, secret = endpoints.create(g.client.id, body, known_addresses(), by=g.viewer.id)
    return {"endpoint": _shown(endpoint), "secret": secret}


@api_route("GET", ONE, MANAGE, object_of=OutgoingEndpoint, response=HookEndpointShown, summary="One webhook endpoint")
def show_endpoint(endpoint: OutgoingEndpoint) -> queries.Endpoint:
    return _shown(endpoint)


@api_route("PATCH", ONE, MANAGE, object_of=OutgoingEndpoint, body=EndpointChange, response=HookEndpointShown, summary="Change a webhook endpoint")
def change_endpoint(endpoint: OutgoingEndpoint, body: dict[str, Any]) -> queries.Endpoint:
    """What is not named stays."""
    enabled = body.pop("enabled", None)
    endpoints.change(endpoint, body, known_addresses())
    if enabled is not None:
        endpoints.switch(endpoint, enabled)
    return _shown(endpoint)


@api_route("DELETE", ONE, MANAGE, object_of=OutgoingEndpoint, status=204, summary="Remove a webhook endpoint")
def remove_endpoint(endpoint: OutgoingEndpoint) -> None:
    """With its secrets and its log."""
    endpoints.remove(endpoint)


@api_route("POST", f"{ONE}/rotate-secret", MANAGE, object_of=OutgoingEndpoint, body=Rotation, response=EndpointWithSecret, summary="A fresh secret")
def rotate_secret(endpoint: OutgoingEndpoint, body: dict[str, Any]) -> dict[str, Any]:
    """Until the overlap is over each delivery carries a signature of both."""
    secret = endpoints.rotate_secret(endpoint, body["overlap_hours"])
    return {"endpoint": _shown(endpoint), "secret": secret}


@api_route("POST", f"{ONE}/end-old-secrets", MANAGE, object_of=OutgoingEndpoint, response=HookEndpointShown, summary="End all secrets but the newest")
def end_old_secrets(endpoint: OutgoingEndpoint) -> queries.Endpoint:
    endpoints.end_old_secrets(endpoint)
    return _shown(endpoint)


@api_route("POST", f"{ONE}/test", MANAGE, object_of=OutgoingEndpoint, response=HookDeliveryWhole, summary="Send a test event now")
def test_endpoint(endpoint: OutgoingEndpoint) -> queries.Delivery:
    """Waits for the answer, ten seconds at most. Also while the endpoint is switched off. At most ten a minute."""
    return try_now(endpoint)


def try_now(endpoint: OutgoingEndpoint) -> queries.Delivery:
    """Post a test event while the caller waits; holds no transaction meanwhile."""
    call = calls.begin_test(endpoint)
    keys = posting.keys_for([call])
    with outside_transaction():
        tried = asyncio.run(posting.post_all(build_channels(current_app.extensions["settings"]).hooks, [call], keys))
    calls.settle(tried, test=True)
    return queries.delivery(call.client_id, call.id)


@api_route("POST", f"{ONE}/redeliver-failed", MANAGE, object_of=OutgoingEndpoint, body=Since, response=CountShown, summary="Tell all again that was given up")
def redeliver_failed(endpoint: OutgoingEndpoint, body: dict[str, Any]) -> dict[str, int]:
    return {"count": calls.redeliver_failed(endpoint, body["since"])}


@api_route("GET", f"{ONE}/deliveries", MANAGE, object_of=OutgoingEndpoint, query=HookDeliveryQuery, list_of=HookDeliveryShown, summary="Log of an endpoint")
def list_deliveries(endpoint: OutgoingEndpoint, query: dict[str, Any]) -> Page:
    """The newest first; kept for 30 days."""
    found = page_of(queries.deliveries(endpoint.id, query.get("status"), query.get("event")), query, OutgoingCall.id, scalars=False)
    return Page([queries.line(row) for row in found.items], found.next_cursor)


@api_route("GET", "/webhook-deliveries/<int:row_id>", MANAGE, object_of=OutgoingCall, response=HookDeliveryWhole, summary="One delivery with every try")
def show_delivery(call: OutgoingCall) -> queries.Delivery:
    return queries.delivery(call.client_id, call.id)


@api_route(
    "POST", "/webhook-deliveries/<int:row_id>/redeliver", MANAGE, object_of=OutgoingCall, response=HookDeliveryWhole, summary="Tell one event again"
)
def redeliver(call: OutgoingCall) -> queries.Delivery:
    """Now, whatever came of it before, under the same ``webhook-id``."""
    calls.redeliver(endpoints.get(call.client_id, call.endpoint_id), call.id)
    return queries.delivery(call.client_id, call.id)
