"""Settings of a client (its admins) and of the installation (operators): read, changed by key, versioned."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields, validate

from app.blueprints.api.campaign_schemas import Window, WindowShown, windows_of
from app.blueprints.api.core import api_route
from app.blueprints.api.schemas import Flag, Shown, Strict, text, whole
from app.domain.calendar_settings import MAX_WINDOWS
from app.domain.permissions import Permission
from app.services import settings


class NumberSettingShown(Shown):
    value = fields.Integer(required=True, allow_none=True)
    version = fields.Integer(required=True)


class FlagSettingShown(Shown):
    value = fields.Boolean(required=True)
    version = fields.Integer(required=True)


class WindowsSettingShown(Shown):
    value = fields.List(fields.Nested(WindowShown), required=True)
    version = fields.Integer(required=True)


class DomainsSettingShown(Shown):
    value = fields.List(fields.String(), required=True)
    version = fields.Integer(required=True)


VERSIONS = {"description": "key → the version you read; 409 when somebody changed it meanwhile"}


class ClientSettingsShown(Shown):
    second_factor_required = fields.Nested(FlagSettingShown, required=True)
    client_hour_cap = fields.Nested(NumberSettingShown, required=True)
    default_windows = fields.Nested(WindowsSettingShown, required=True)


class ClientSettingsChange(Strict):
    second_factor_required = Flag(metadata={"description": "members without one reach this client again once they have set it up"})
    client_hour_cap = whole(1, 10_000_000, allow_none=True, metadata={"description": "messages per hour; null: no limit"})
    default_windows = fields.List(fields.Nested(Window), validate=validate.Length(1, MAX_WINDOWS))
    versions = fields.Dict(keys=fields.String(), values=whole(), metadata=VERSIONS)


class InstanceSettingsShown(Shown):
    instance_minute_cap = fields.Nested(NumberSettingShown, required=True)
    instance_hour_cap = fields.Nested(NumberSettingShown, required=True)
    bulk_ready_domains = fields.Nested(DomainsSettingShown, required=True)
    api_minute_limit = fields.Nested(NumberSettingShown, required=True)


class InstanceSettingsChange(Strict):
    instance_minute_cap = whole(1, 10_000_000, allow_none=True)
    instance_hour_cap = whole(1, 10_000_000, allow_none=True)
    bulk_ready_domains = fields.List(
        text(253, shortest=4), validate=validate.Length(max=500), metadata={"description": "sending domains that may send in bulk to Gmail"}
    )
    api_minute_limit = whole(
        1, 10_000_000, allow_none=True, metadata={"description": "requests a minute of one login or key at the API; null: no limit"}
    )
    versions = fields.Dict(keys=fields.String(), values=whole(), metadata=VERSIONS)


def _all(scope: str, scope_id: int) -> dict[str, settings.Value]:
    return {key: settings.current(scope, scope_id, key) for key, one in settings.DEFINITIONS.items() if one.scope == scope}


def _change(scope: str, scope_id: int, body: dict[str, Any]) -> dict[str, settings.Value]:
    versions = body.pop("versions", None)
    if "default_windows" in body:
        body["default_windows"] = windows_of(body["default_windows"])
    settings.change(scope, scope_id, body, versions=versions)
    return _all(scope, scope_id)


@api_route("GET", "/settings", Permission.SETTINGS_READ, response=ClientSettingsShown, summary="Settings of a client")
def show_client_settings() -> dict[str, settings.Value]:
    return _all("client", g.client.id)


@api_route("PATCH", "/settings", Permission.SETTINGS_MANAGE, body=ClientSettingsChange, response=ClientSettingsShown, summary="Change settings of a client")
def change_client_settings(body: dict[str, Any]) -> dict[str, settings.Value]:
    """Heeded by every process within two seconds; a lowered cap by the next permit."""
    return _change("client", g.client.id, body)


@api_route(
    "GET", "/settings/instance", Permission.GLOBAL_CAPS_MANAGE, client=False, response=InstanceSettingsShown, summary="Settings of the installation"
)
def show_instance_settings() -> dict[str, settings.Value]:
    return _all("instance", settings.INSTANCE)


@api_route(
    "PATCH", "/settings/instance", Permission.GLOBAL_CAPS_MANAGE, client=False, body=InstanceSettingsChange, response=InstanceSettingsShown,
    summary="Change settings of the installation",
)
def change_instance_settings(body: dict[str, Any]) -> dict[str, settings.Value]:
    return _change("instance", settings.INSTANCE, body)
