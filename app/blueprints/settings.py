"""Settings of a client and of the whole installation. Every change is versioned, kept in the trail, and live within two seconds."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires
from app.blueprints.digits import whole
from app.blueprints.htmx import after_post, page_or_fragment
from app.blueprints.meanwhile import loaded, stored_now, with_untouched
from app.core.db import rollback
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.domain.permissions import Permission
from app.models import Client
from app.queries import ops
from app.services import clients, settings
from app.strings import t

blueprint = Blueprint("settings", __name__)
CLIENT_FIELDS = ("name", "email", "postal_address", "timezone", "country", "language")
INSTANCE_KEYS = ("instance_minute_cap", "instance_hour_cap", "bulk_ready_domains", "api_minute_limit")
RETENTION = (30, 3_650)


@blueprint.get("/c/<slug>/settings/")
@requires(Permission.SETTINGS_READ)
def index() -> Response:
    return _index()


def _index(status: int = 200, values: dict[str, Any] | None = None, errors: dict[str, Any] | None = None) -> Response:
    return page_or_fragment(
        "settings/index.html", "form", status=status, values=_shown(_stored(), values), errors=errors or {},
        changes=ops.setting_changes(g.client.id),
    )  # fmt: skip


def _stored() -> dict[str, Any]:
    """What the form shows, with the versions it was read at."""
    client = db.session.get_one(Client, g.client.id)
    hours = settings.current("client", client.id, "default_windows")
    cap = settings.current("client", client.id, "client_hour_cap")
    factor = settings.current("client", client.id, "second_factor_required")
    present = {name: getattr(client, name) for name in (*CLIENT_FIELDS, "slug", "retention_days")}
    return present | {
        "client_hour_cap": cap.value, "second_factor_required": bool(factor.value), "factor_version": factor.version, "cap_version": cap.version,
        "hours_version": hours.version, "client_version": clients.version(client), **_days(hours.value),
    }  # fmt: skip


def _shown(stored: dict[str, Any], typed: dict[str, Any] | None) -> dict[str, Any]:
    """What the form shows; one that comes back keeps the versions and the prints it was loaded with."""
    return {**stored, "loaded": loaded(stored), **(typed or {})}


def _overtaken(typed: dict[str, Any], stored: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what was typed, without the versions that no longer hold; what is stored now where it says something else)."""
    kept = {name: value for name, value in typed.items() if not name.endswith("_version") and name != "loaded"}
    kept = with_untouched(kept, stored, typed.get("loaded"))
    return kept, {"form": [t("frame.meanwhile")], **stored_now(kept, stored)}


@blueprint.post("/c/<slug>/settings/")
@requires(Permission.SETTINGS_MANAGE)
def save() -> ResponseReturnValue:
    """The client's own fields, its limits and its usual hours, in one form."""
    typed = {name: value.strip() for name, value in request.form.items() if name != "csrf_token"}
    typed.setdefault("second_factor_required", "")  # an empty tick is not sent
    try:
        retention = _retention(typed.get("retention_days", ""))
        windows = _windows(typed)
        fields = {name: typed.get(name, "") for name in CLIENT_FIELDS} | {"retention_days": retention}
        clients.change_client(db.session.get_one(Client, g.client.id), fields, seen=typed.get("client_version"))
        values = {key: typed.get(key, "") for key in ("client_hour_cap", "second_factor_required")} | {"default_windows": windows}
        seen = _versions(typed, client_hour_cap="cap_version", default_windows="hours_version", second_factor_required="factor_version")
        settings.change("client", g.client.id, values, versions=seen)
    except Invalid as wrong:
        return _index(422, typed, wrong.details)
    except Conflict:
        rollback()  # half of this form may be written already: what is shown as stored must be
        return _index(409, *_overtaken(typed, _stored()))
    return after_post(url_for(".index"), toast=t("settings.saved"))


def _versions(typed: dict[str, str], **names: str) -> dict[str, int]:
    return {key: number for key, name in names.items() if (number := whole(typed.get(name), 9)) is not None}


def _retention(text: str) -> int:
    low, high = RETENTION
    if not low <= (whole(text) or 0) <= high:
        raise Invalid.field("retention_days", t("settings.retention_bad"))
    return int(text)


def _days(windows: list[dict[str, Any]]) -> dict[str, str]:
    """``{"hours_0": "09:00-12:00, 13:00-17:00", …}``."""
    spans: dict[str, list[str]] = {f"hours_{day}": [] for day in range(7)}
    for window in windows:
        spans[f"hours_{window['weekday']}"].append(f"{window['from']}-{window['to']}")
    return {day: ", ".join(texts) for day, texts in spans.items()}


def _windows(typed: dict[str, str]) -> list[dict[str, Any]]:
    windows: list[dict[str, Any]] = []
    for day in range(7):
        for span in filter(None, (part.strip() for part in typed.get(f"hours_{day}", "").replace("–", "-").split(","))):
            opens, dash, closes = span.partition("-")
            if not dash:
                raise Invalid.field(f"hours_{day}", t("settings.hours_bad"))
            windows.append({"weekday": day, "from": opens.strip(), "to": closes.strip()})
    try:
        settings.DEFINITIONS["default_windows"].read(windows)
    except ValueError as error:
        wrong = next((window["weekday"] for window in windows if str(error).startswith(t(f"settings.weekday_{window['weekday']}")[:3])), 0)
        raise Invalid.field(f"hours_{wrong}", str(error)) from None
    return windows


# The whole installation


@blueprint.get("/operations/settings")
@requires(Permission.GLOBAL_CAPS_MANAGE)
def installation() -> Response:
    return _installation()


def _installation(status: int = 200, values: dict[str, Any] | None = None, errors: dict[str, Any] | None = None) -> Response:
    return page_or_fragment(
        "settings/installation.html", "form", status=status, values=_shown(_stored_everywhere(), values), errors=errors or {},
        changes=ops.setting_changes(None),
    )  # fmt: skip


def _stored_everywhere() -> dict[str, Any]:
    found = {key: settings.current("instance", settings.INSTANCE, key) for key in INSTANCE_KEYS}
    present: dict[str, Any] = {key: one.value for key, one in found.items()} | {f"{key}_version": one.version for key, one in found.items()}
    return present | {"bulk_ready_domains": "\n".join(present["bulk_ready_domains"])}


@blueprint.post("/operations/settings")
@requires(Permission.GLOBAL_CAPS_MANAGE)
def save_installation() -> ResponseReturnValue:
    typed = {name: value.strip() for name, value in request.form.items() if name != "csrf_token"}
    values = {key: typed[key] for key in INSTANCE_KEYS if key in typed}
    try:
        settings.change("instance", settings.INSTANCE, values, versions=_versions(typed, **{key: f"{key}_version" for key in INSTANCE_KEYS}))
    except Invalid as wrong:
        return _installation(422, typed, wrong.details)
    except Conflict:
        return _installation(409, *_overtaken(typed, _stored_everywhere()))
    return after_post(url_for(".installation"), toast=t("settings.saved"))
