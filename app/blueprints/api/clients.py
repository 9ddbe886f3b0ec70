"""Clients: made by operators, read by their members, changed by their admins."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from marshmallow import fields
from sqlalchemy import select

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.api.schemas import Moment, PageQuery, Shown, Strict, seen, text, version_shown, whole
from app.core.extensions import db
from app.domain.permissions import Permission
from app.models import Client, User
from app.services import clients


class ClientFields(Strict):
    email = text(320, allow_none=True)
    postal_address = text(1000)
    timezone = text(64)
    country = text(2, allow_none=True)
    language = text(10)
    retention_days = whole(30, 3_650, metadata={"description": "conversations older than so many days are removed at night"})


class NewClient(ClientFields):
    name = text(120, shortest=1, required=True)
    slug = text(40)


class ClientChange(ClientFields):
    name = text(120, shortest=1)
    version = seen()


class ClientShown(Shown):
    id = fields.Integer(required=True)
    name = fields.String(required=True)
    slug = fields.String(required=True)
    email = fields.String(required=True, allow_none=True)
    postal_address = fields.String(required=True)
    timezone = fields.String(required=True)
    country = fields.String(required=True, allow_none=True)
    language = fields.String(required=True)
    retention_days = fields.Integer(required=True)
    created_at = Moment(required=True)
    version = version_shown(clients.version)


@api_route("GET", "/clients", client=False, query=PageQuery, list_of=ClientShown, summary="Clients you may enter")
def list_clients(query: dict[str, Any]) -> Page:
    """Without those that ask for a second factor you have not set up (``GET /api/me`` names them)."""
    own = [seat.id for seat in g.viewer.open_seats]
    return page_of(select(Client).where(Client.id.in_(own)), query, Client.id, descending=False)


@api_route(
    "POST",
    "/clients",
    Permission.CLIENTS_MANAGE,
    client=False,
    body=NewClient,
    response=ClientShown,
    status=201,
    summary="Make a client",
)
def create(body: dict[str, Any]) -> Client:
    """Whoever makes it becomes its admin."""
    creator = db.session.get_one(User, g.viewer.id)
    return clients.create_client(body, creator, default_timezone=current_app.extensions["settings"].timezone)


@api_route(
    "GET", "/clients/<int:row_id>", Permission.CLIENT_READ, object_of=Client, response=ClientShown, summary="One client"
)
def show_client(client: Client) -> Client:
    return client


@api_route(
    "PATCH",
    "/clients/<int:row_id>",
    Permission.SETTINGS_MANAGE,
    object_of=Client,
    body=ClientChange,
    response=ClientShown,
    summary="Change a client",
)
def change(client: Client, body: dict[str, Any]) -> Client:
    """The short name stays for good: addresses hold it."""
    version = body.pop("version", None)
    return clients.change_client(client, body, seen=version)
