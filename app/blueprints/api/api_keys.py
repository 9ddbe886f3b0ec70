"""Keys for programs. Keys are made by people: no key makes another."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields, validate

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page
from app.blueprints.api.schemas import Moment, Shown, Strict, text, whole
from app.core.errors import NotFound
from app.domain.permissions import Permission
from app.models import ApiKey
from app.queries import api_keys as queries
from app.services import api_keys


class NewKey(Strict):
    name = text(80, shortest=1, required=True)
    scope = fields.String(validate=validate.OneOf(api_keys.SCOPES), load_default="read")
    days = whole(1, api_keys.LONGEST_DAYS, allow_none=True, load_default=None, metadata={"description": "null: until it is revoked"})


class KeyShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    name = fields.String(required=True)
    prefix = fields.String(required=True, metadata={"description": "how the secret begins"})
    scope = fields.String(required=True)
    user_id = fields.Integer(required=True, metadata={"description": "whose role the key has at most"})
    created_at = Moment(required=True)
    expires_at = Moment(required=True, allow_none=True)
    last_used_at = Moment(required=True, allow_none=True, metadata={"description": "to the minute"})
    revoked_at = Moment(required=True, allow_none=True)
    state = fields.String(required=True, metadata={"description": "active, revoked, over, or stopped (the login of its maker is off)"})


class CreatedKeyShown(Shown):
    key = fields.Nested(KeyShown, required=True)
    secret = fields.String(required=True, metadata={"description": "shown only now; send it as Authorization: Bearer <secret>"})


def _shown(key: ApiKey) -> queries.Key:
    found = queries.keys(key.client_id, key.id)
    if not found:
        raise NotFound
    return found[0]


@api_route("GET", "/keys", Permission.API_KEYS_MANAGE, list_of=KeyShown, summary="Keys of a client")
def list_keys() -> Page:
    return Page(queries.keys(g.client.id), None)


@api_route("POST", "/keys", Permission.API_KEYS_MANAGE, body=NewKey, response=CreatedKeyShown, status=201, summary="Make a key")
def create_key(body: dict[str, Any]) -> dict[str, Any]:
    key, secret = api_keys.create(g.client.id, g.viewer.id, body["name"], body["scope"], body["days"])
    return {"key": _shown(key), "secret": secret}


@api_route("GET", "/keys/<int:row_id>", Permission.API_KEYS_MANAGE, object_of=ApiKey, response=KeyShown, summary="One key")
def show_key(key: ApiKey) -> queries.Key:
    return _shown(key)


@api_route("DELETE", "/keys/<int:row_id>", Permission.API_KEYS_MANAGE, object_of=ApiKey, response=KeyShown, summary="Revoke a key")
def revoke_key(key: ApiKey) -> queries.Key:
    """Its next request is refused; the line stays, so that the trail can name it."""
    api_keys.revoke(key)
    return _shown(key)
