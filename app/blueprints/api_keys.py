"""Keys for programs, as a page: made with a name and an end, shown once, revoked at once."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import load, requires, viewer
from app.blueprints.digits import whole
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.errors import Invalid
from app.domain.permissions import Permission
from app.models import ApiKey
from app.queries import api_keys as queries
from app.services import api_keys
from app.strings import t

blueprint = Blueprint("api_keys", __name__)


@blueprint.get("/c/<slug>/settings/api-keys")
@requires(Permission.API_KEYS_MANAGE)
def index() -> Response:
    return _index()


def _index(status: int = 200, **context: Any) -> Response:
    values = {"scope": "read", "days": "365", **context.pop("values", {})}
    return page_or_fragment(
        "settings/api_keys.html", "list", status=status, keys=queries.keys(g.client.id), values=values,
        **{"errors": {}, "handed": None, **context},
    )  # fmt: skip


@blueprint.post("/c/<slug>/settings/api-keys")
@requires(Permission.API_KEYS_MANAGE)
def create() -> ResponseReturnValue:
    """The key is shown in this answer and never again."""
    typed = {name: request.form.get(name, "").strip() for name in ("name", "scope", "days")}
    try:
        key, secret = api_keys.create(g.client.id, viewer().id, typed["name"], typed["scope"], _days(typed["days"]))
    except Invalid as wrong:
        return _index(422, values=typed, errors=wrong.details)
    return _index(handed={"name": key.name, "secret": secret})


def _days(typed: str) -> int | None:
    """None for nothing typed; what is no number is 0, which no key may have."""
    return None if not typed else whole(typed, 5) or 0


@blueprint.post("/c/<slug>/settings/api-keys/<int:key_id>/revoke")
@requires(Permission.API_KEYS_MANAGE)
def revoke(key_id: int) -> ResponseReturnValue:
    key = load(ApiKey, key_id)
    api_keys.revoke(key)
    return after_post(url_for(".index"), toast=t("api_keys.revoked_now", name=key.name))
