"""The few figures that every page of a client shows."""

from __future__ import annotations

from marshmallow import fields

from app.blueprints.api.core import api_route
from app.blueprints.api.schemas import Shown
from app.blueprints.pages import live_figures
from app.domain.permissions import Permission
from app.models import Client
from app.queries import live


class LiveShown(Shown):
    mailboxes_active = fields.Integer(required=True)
    mailboxes = fields.Integer(required=True)
    sent_today = fields.Integer(required=True, metadata={"description": "on the client's local day"})
    planned_today = fields.Integer(required=True, metadata={"description": "sent, or due before the day ends; never more than allowed"})
    allowed_today = fields.Integer(required=True)
    unread = fields.Integer(required=True)
    stopped = fields.Boolean(required=True, metadata={"description": "the client or the whole installation"})


@api_route("GET", "/clients/<int:row_id>/figures", Permission.CLIENT_READ, object_of=Client, response=LiveShown, summary="A client at a glance")
def client_figures(client: Client) -> live.LiveFigures:
    return live_figures()
