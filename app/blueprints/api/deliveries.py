"""The outbox by program: what left, what waits and why, and decisions about what is uncertain or failed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import g
from marshmallow import fields, validate

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page
from app.blueprints.api.schemas import Moment, PageQuery, Shown, Strict, Worked, in_utc, one_of, row_id, text
from app.domain.permissions import Permission
from app.domain.reasons import Reason
from app.domain.statuses import DeliveryKind, DeliveryStatus
from app.models import Delivery
from app.queries import deliveries as queries
from app.services.outbox import failed, uncertain

READ, RESOLVE = Permission.DELIVERIES_READ, Permission.DELIVERIES_RESOLVE
ONE = "/deliveries/<int:row_id>"


class DeliveryQuery(PageQuery):
    status = fields.String(validate=validate.OneOf(list(DeliveryStatus)))
    kind = fields.String(validate=validate.OneOf(list(DeliveryKind)))
    campaign_id = row_id()
    enrollment_id = row_id()
    lead_id = row_id()
    mailbox_id = row_id()
    message_id = text(998)


class AttemptShown(Shown):
    number = fields.Integer(required=True)
    started_at = Moment(required=True)
    permitted_at = Moment(required=True, allow_none=True)
    ended_at = Moment(required=True, allow_none=True)
    outcome = fields.String(required=True, allow_none=True)
    phase = fields.String(required=True, allow_none=True)
    code = fields.Integer(required=True, allow_none=True)
    text = fields.String(required=True, allow_none=True)


def _evidence(kept: dict[str, Any]) -> dict[str, Any]:
    return {name: in_utc(datetime.fromisoformat(value)) if name in ("at", "tried_at") else value for name, value in kept.items()}


class DeliveryShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    kind = one_of(DeliveryKind)
    status = one_of(DeliveryStatus)
    reason = one_of(Reason, allow_none=True)
    text = fields.String(required=True, metadata={"description": "the reason as a sentence"})
    detail = fields.String(required=True)
    campaign_id = fields.Integer(required=True, allow_none=True)
    enrollment_id = fields.Integer(required=True, allow_none=True)
    step_id = fields.Integer(required=True, allow_none=True)
    lead_id = fields.Integer(required=True, allow_none=True)
    mailbox_id = fields.Integer(required=True, attribute="sender_id")
    to = fields.String(required=True)
    subject = fields.String(required=True)
    message_id = fields.String(required=True, allow_none=True)
    due_at = Moment(required=True)
    sent_at = Moment(required=True, allow_none=True)
    attempts = fields.Integer(required=True)
    phase = fields.String(required=True, allow_none=True)
    reply_code = fields.Integer(required=True, allow_none=True)
    reply_text = fields.String(required=True, allow_none=True)
    evidence = fields.Function(
        lambda line: _evidence(line.evidence), required=True, metadata={"type": "object", "description": "what was found, and when we looked"}
    )
    late_accept = fields.Boolean(required=True, metadata={"description": "the first one was accepted after all: a double"})
    retry_of = fields.Integer(required=True, allow_none=True)
    conversation_id = fields.Integer(required=True, allow_none=True)


class DeliveryWithAttempts(DeliveryShown):
    tries = Worked(
        lambda line: queries.attempts(line.client_id, line.id), AttemptShown, many=True,
        metadata={"description": "every try with the server's words (machine time)"},
    )  # fmt: skip


class Decision(Strict):
    outcome = fields.String(required=True, validate=validate.OneOf(["was_sent", "send_again"]))


class Retry(Strict):
    action = fields.String(load_default="again", validate=validate.OneOf(["again", "skip", "suppress"]))


@api_route("GET", "/deliveries", READ, query=DeliveryQuery, list_of=DeliveryShown, summary="List messages of the outbox")
def list_deliveries(query: dict[str, Any]) -> Page:
    """Newest first."""
    names = ("status", "kind", "campaign_id", "enrollment_id", "lead_id", "message_id")
    wanted = {name: query[name] for name in names if query.get(name) is not None}
    found, cursor = queries.deliveries(
        g.client.id, sender_id=query.get("mailbox_id"), cursor=query.get("cursor"), limit=query["limit"], **wanted
    )
    return Page(found, cursor)


@api_route("GET", ONE, READ, object_of=Delivery, response=DeliveryWithAttempts, summary="One message with its tries")
def show(delivery: Delivery) -> queries.DeliveryLine:
    return queries.delivery(delivery.client_id, delivery.id)


@api_route("POST", f"{ONE}/resolve", RESOLVE, object_of=Delivery, body=Decision, response=DeliveryWithAttempts, summary="Decide about an uncertain message")
def resolve(delivery: Delivery, body: dict[str, Any]) -> queries.DeliveryLine:
    """``was_sent``: the lead goes on. ``send_again``: answers with the new message, whose ``retry_of`` points to this one."""
    fresh = uncertain.resolve(delivery.client_id, delivery.id, body["outcome"], by=g.viewer.id)
    return queries.delivery(delivery.client_id, fresh or delivery.id)


@api_route("POST", f"{ONE}/retry", RESOLVE, object_of=Delivery, body=Retry, response=DeliveryWithAttempts, summary="Decide about a failed message")
def retry(delivery: Delivery, body: dict[str, Any]) -> queries.DeliveryLine:
    """``again`` answers with the new message; ``skip`` goes on with the next step; ``suppress`` never writes to the address again."""
    if body["action"] == "again":
        fresh = failed.try_again(delivery.client_id, delivery.id, by=g.viewer.id)
        return queries.delivery(delivery.client_id, fresh)
    act = failed.skip_step if body["action"] == "skip" else failed.suppress
    act(delivery.client_id, delivery.id, by=g.viewer.id)
    return queries.delivery(delivery.client_id, delivery.id)
