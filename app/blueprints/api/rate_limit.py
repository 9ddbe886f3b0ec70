"""The rate limit at the edge: every answer says what is left (``RateLimit-*``), one request too many is 429 with ``Retry-After``."""

from __future__ import annotations

from typing import Any

from flask import Response, g

from app.core.errors import TooMany
from app.services import api_limits, settings
from app.services.access import Viewer
from app.strings import t

NAMES = {
    "RateLimit-Limit": "requests a minute this login or key may make",
    "RateLimit-Remaining": "how many of them are left",
    "RateLimit-Reset": "seconds until the next minute begins",
}


def take(viewer: Viewer | None) -> None:
    """Count this request. Raises TooMany. Logging in is throttled by itself (services.auth)."""
    g.allowance = None
    limit = settings.get("instance", settings.INSTANCE, "api_minute_limit") if viewer is not None else None
    if viewer is None or limit is None:
        return
    who = f"key-{viewer.key_id}" if viewer.key_id is not None else f"user-{viewer.id}"
    g.allowance = api_limits.take(who, limit)
    if g.allowance.over:
        seconds = g.allowance.reset_s
        raise TooMany(t("api.too_many_requests", limit=limit, seconds=seconds), seconds)


def headers(answer: Response) -> Response:
    """After the request, refusals too."""
    allowance: api_limits.Allowance | None = g.pop("allowance", None)
    if allowance is not None:
        answer.headers["RateLimit-Limit"] = str(allowance.limit)
        answer.headers["RateLimit-Remaining"] = str(allowance.remaining)
        answer.headers["RateLimit-Reset"] = str(allowance.reset_s)
    return answer


def with_rate_headers(document: dict[str, Any]) -> dict[str, Any]:
    """The description with these headers on every answer of a route that needs somebody."""
    components = document.setdefault("components", {})
    components["headers"] = {name: {"description": text, "schema": {"type": "integer"}} for name, text in NAMES.items()}
    components["headers"]["Retry-After"] = {"description": "seconds to wait", "schema": {"type": "integer"}}
    shown = {name: {"$ref": f"#/components/headers/{name}"} for name in NAMES}
    for operations in document.get("paths", {}).values():
        for operation in operations.values():
            public = operation.get("security") == []
            for status, response in operation.get("responses", {}).items():
                wait = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}} if status in {"429", "503"} else {}
                if wait or not public:
                    response["headers"] = {**response.get("headers", {}), **({} if public else shown), **wait}
    return document
