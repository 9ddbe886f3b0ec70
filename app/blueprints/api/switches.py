"""The stops: of one client, campaign or mailbox (its admins) and of the whole installation (operators). The page shows the same numbers."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields

from app.blueprints.api.core import api_route
from app.blueprints.api.schemas import Moment, Nothing, Shown, Strict, text
from app.domain.permissions import Permission
from app.models import Campaign, Mailbox
from app.queries import ops
from app.services import mailboxes, stops
from app.services.outbox.switches import StopState


class StopReason(Strict):
    reason = text(500, load_default="")


class StopShown(Shown):
    stopped = fields.Boolean(required=True)
    stopping = fields.Boolean(required=True, metadata={"description": "a message may still be on its way: in_flight is above 0"})
    stopped_at = Moment(required=True, allow_none=True)
    in_flight = fields.Integer(required=True)
    outstanding = fields.Integer(required=True, metadata={"description": "answers of mail servers still waited for"})
    sent_since = fields.Integer(required=True, metadata={"description": "must be 0"})
    by = fields.String(required=True, allow_none=True, metadata={"description": "who stopped it"})
    reason = fields.String(required=True, metadata={"description": "why, in that person's words"})


class SwitchesShown(Shown):
    client = fields.Nested(StopShown, required=True)
    instance = fields.Nested(StopShown, required=True)


def _shown(kind: str, scope_id: int, state: StopState | None = None) -> dict[str, Any]:
    state = state or stops.state(kind, scope_id)
    who = ops.who_stopped(kind, scope_id) if state.stopped else None
    names = ("stopped", "stopping", "stopped_at", "in_flight", "outstanding", "sent_since")
    return {name: getattr(state, name) for name in names} | {"by": who.by if who else None, "reason": who.reason if who else ""}


@api_route("GET", "/switches", Permission.CLIENT_READ, response=SwitchesShown, summary="Is sending stopped")
def show_switches() -> dict[str, dict[str, Any]]:
    return {stops.CLIENT: _shown(stops.CLIENT, g.client.id), stops.INSTANCE: _shown(stops.INSTANCE, 0)}


@api_route("POST", "/switches/client/stop", Permission.CLIENT_STOP, body=StopReason, response=StopShown, summary="Stop all sending of a client")
def stop_client(body: dict[str, Any]) -> dict[str, Any]:
    """After the answer no permit is given: nothing leaves but what was past its permit (``in_flight``)."""
    return _shown(stops.CLIENT, g.client.id, stops.stop(stops.CLIENT, g.client.id, by=g.viewer.id, reason=body["reason"], tell=[g.client.id]))


@api_route("POST", "/switches/client/release", Permission.CLIENT_STOP, body=Nothing, response=StopShown, summary="Let a client send again")
def release_client(body: dict[str, Any]) -> dict[str, Any]:
    return _shown(stops.CLIENT, g.client.id, stops.release(stops.CLIENT, g.client.id, by=g.viewer.id, tell=[g.client.id]))


@api_route("POST", "/switches/instance/stop", Permission.INSTANCE_STOP, client=False, body=StopReason, response=StopShown, summary="Stop everything")
def stop_instance(body: dict[str, Any]) -> dict[str, Any]:
    return _shown(stops.INSTANCE, 0, stops.stop(stops.INSTANCE, 0, by=g.viewer.id, reason=body["reason"], tell=[seat.id for seat in g.viewer.seats]))


@api_route("POST", "/switches/instance/release", Permission.INSTANCE_STOP, client=False, body=Nothing, response=StopShown, summary="Let everything send again")
def release_instance(body: dict[str, Any]) -> dict[str, Any]:
    return _shown(stops.INSTANCE, 0, stops.release(stops.INSTANCE, 0, by=g.viewer.id, tell=[seat.id for seat in g.viewer.seats]))


@api_route("GET", "/switches/campaign/<int:row_id>", Permission.CAMPAIGNS_READ,
           object_of=Campaign, response=StopShown, summary="Is a campaign stopped")  # fmt: skip
def show_campaign_switch(campaign: Campaign) -> dict[str, Any]:
    """Paused campaigns are stopped and can be released; those stopped for good cannot."""
    return _shown(stops.CAMPAIGN, campaign.id)


@api_route("POST", "/switches/campaign/<int:row_id>/stop", Permission.CAMPAIGNS_STOP,
           object_of=Campaign, body=StopReason, response=StopShown, summary="Stop a campaign until it is released")  # fmt: skip
def stop_campaign_switch(campaign: Campaign, body: dict[str, Any]) -> dict[str, Any]:
    state = stops.stop_one(stops.CAMPAIGN, g.client.id, campaign.id, by=g.viewer.id, reason=body["reason"])
    return _shown(stops.CAMPAIGN, campaign.id, state)


@api_route("POST", "/switches/campaign/<int:row_id>/release", Permission.CAMPAIGNS_STOP,
           object_of=Campaign, body=Nothing, response=StopShown, summary="Let a stopped campaign send again")  # fmt: skip
def release_campaign_switch(campaign: Campaign, body: dict[str, Any]) -> dict[str, Any]:
    state = stops.release_one(stops.CAMPAIGN, g.client.id, campaign.id, by=g.viewer.id)
    return _shown(stops.CAMPAIGN, campaign.id, state)


@api_route("GET", "/switches/mailbox/<int:row_id>", Permission.MAILBOXES_READ,
           object_of=Mailbox, response=StopShown, summary="Is a mailbox stopped")  # fmt: skip
def show_mailbox_switch(mailbox: Mailbox) -> dict[str, Any]:
    return _shown(stops.SENDER, mailboxes.find(g.client.id, mailbox.id).id)


@api_route("POST", "/switches/mailbox/<int:row_id>/stop", Permission.MAILBOXES_MANAGE,
           object_of=Mailbox, body=StopReason, response=StopShown, summary="Stop a mailbox, answers included")  # fmt: skip
def stop_mailbox_switch(mailbox: Mailbox, body: dict[str, Any]) -> dict[str, Any]:
    state = stops.stop_one(stops.SENDER, g.client.id, mailbox.id, by=g.viewer.id, reason=body["reason"])
    return _shown(stops.SENDER, mailbox.id, state)


@api_route("POST", "/switches/mailbox/<int:row_id>/release", Permission.MAILBOXES_MANAGE,
           object_of=Mailbox, body=Nothing, response=StopShown, summary="Let a stopped mailbox send again")  # fmt: skip
def release_mailbox_switch(mailbox: Mailbox, body: dict[str, Any]) -> dict[str, Any]:
    state = stops.release_one(stops.SENDER, g.client.id, mailbox.id, by=g.viewer.id)
    return _shown(stops.SENDER, mailbox.id, state)
