"""The description of the API, generated from the very declarations it works by: OpenAPI 3.1 at /openapi.json."""

from __future__ import annotations

import re
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields

from app.blueprints.api.core import OPERATIONS, Operation, _client_in_body, _client_in_query, with_client
from app.blueprints.api.examples import BODIES
from app.blueprints.api.rate_limit import with_rate_headers
from app.blueprints.api.schemas import LARGEST_ID, Error, Moment, Worked

VERSION = "0.1.0"
REFUSALS = {
    400: "The request cannot be read", 401: "No valid access token", 403: "Your role does not include this", 404: "Not there, or not yours",
    409: "Not in this state, or a duplicate", 413: "Too large", 415: "Another media type is needed", 422: "Some fields do not fit",
    429: "Too many requests or attempts: wait Retry-After seconds", 503: "The database cannot be reached",
}  # fmt: skip


def build() -> dict[str, Any]:
    """The whole document."""
    plugin = MarshmallowPlugin(schema_name_resolver=_Names())
    spec = APISpec(
        title="Emberpost", version=VERSION, openapi_version="3.1.0", plugins=[plugin],
        info={"description": "Log in with POST /api/auth/login, then send `Authorization: Bearer <access_token>`. Times are UTC."},
        security=[{"bearer": []}],
    )  # fmt: skip
    converter: Any = plugin.converter
    converter.add_attribute_function(_moment_format)
    converter.add_attribute_function(_worked_shape)
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    spec.components.schema("Error", schema=Error)
    for operation in OPERATIONS:
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", operation.address)
        spec.path(path=path, operations={operation.method.lower(): _described(operation)})
    return with_rate_headers(spec.to_dict())


class _Names:
    """Each schema under the name of its class; of two that are called the same, the later one with its module's name before it."""

    def __init__(self) -> None:
        self.taken: dict[str, type[Schema]] = {}

    def __call__(self, schema: Any) -> str:
        kind = schema if isinstance(schema, type) else type(schema)
        name = kind.__name__
        if self.taken.setdefault(name, kind) is not kind:
            name = kind.__module__.rsplit(".", 1)[-1].title().replace("_", "") + name
        return name


def _moment_format(_self: Any, field: Any, **_options: Any) -> dict[str, Any]:
    return {"format": "date-time"} if isinstance(field, Moment) else {}


def _worked_shape(self: Any, field: Any, **_options: Any) -> dict[str, Any]:
    if not isinstance(field, Worked):
        return {}
    shape = self.resolve_nested_schema(field.shape)
    return {"type": "array", "items": shape} if field.is_list else shape


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation),
    }
    permission = f"Needs `{operation.permission}`." if operation.permission else ""
    described["description"] = "\n\n".join(part for part in (operation.description, permission) if part)
    if operation.public:
        described["security"] = []
    if operation.body is not None:
        schema = with_client(operation.body) if _client_in_body(operation) else operation.body
        described["requestBody"] = {"required": _needs_body(operation), "content": _content(schema, operation)}
    return described


def _content(schema: type[Schema], operation: Operation) -> dict[str, Any]:
    kind, shape = "application/json", schema
    if operation.multipart:
        file = fields.Raw(required=True, metadata={"type": "string", "format": "binary"})
        kind, shape = "multipart/form-data", type(f"{schema.__name__}WithFile", (schema,), {"file": file, "__module__": schema.__module__})
    shown = {"example": BODIES[operation.name]} if operation.name in BODIES and not operation.multipart else {}
    return {kind: {"schema": shape, **shown}}


def _needs_body(operation: Operation) -> bool:
    return operation.multipart or any(field.required for field in (operation.body or Schema)().fields.values())


def _parameters(operation: Operation) -> list[Any]:
    parameters: list[Any] = [
        {
            "in": "path",
            "name": name,
            "required": True,
            "schema": {"type": "integer", "format": "int64", "minimum": 1, "maximum": LARGEST_ID} if kind == "int" else {"type": "string"},
        }
        for kind, name in re.findall(r"<(?:(\w+):)?(\w+)>", operation.path)
    ]
    schema = with_client(operation.query) if _client_in_query(operation) else operation.query
    if schema is not None:
        parameters.append({"in": "query", "schema": schema})
    if operation.method == "POST" and not operation.public:
        parameters.append(
            {
                "in": "header",
                "name": "Idempotency-Key",
                "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]*$"},
                "description": "the same key gives the same answer for 24 h",
            }
        )
    return parameters


def refusals(operation: Operation) -> set[int]:
    """With which statuses an operation may refuse: said here once, by what it declares."""
    found = {400, 422, 503}  # any address may be unreadable, carry a parameter nobody knows, or find the database away
    reached_by_id = "<" in operation.path or operation.client or operation.permission is not None
    if not operation.public or operation.body is not None:  # what is public and has a body proves who somebody is
        found |= {401, 429}
    if not operation.public:
        found.add(403)
    if reached_by_id:
        found.add(404)
    if operation.method != "GET":
        found |= {409, 413, 415}  # where no body is taken, one is judged all the same
    return found


def _media_shape(media: str) -> dict[str, Any]:
    if media == "text/event-stream":  # what each event holds
        texts = {"event": {"type": "string"}, "data": {"type": "string", "description": "JSON"}}
        return {"type": "object", "properties": texts, "required": ["event", "data"]}
    return {"type": "string"}


def _responses(operation: Operation) -> dict[str, Any]:
    if operation.list_of is not None:
        listed = {
            "type": "object",
            "required": ["items", "next_cursor"],
            "properties": {
                "items": {"type": "array", "items": operation.list_of},
                "next_cursor": {"type": ["string", "null"]},
            },
        }
        good: dict[str, Any] = {
            str(operation.status): {"description": "One page", "content": {"application/json": {"schema": listed}}}
        }
    elif operation.response is not None:
        good = {
            str(operation.status): {
                "description": "Done",
                "content": {"application/json": {"schema": operation.response}},
            }
        }
    elif operation.media:
        good = {
            str(operation.status): {"description": "Done", "content": {operation.media: {"schema": _media_shape(operation.media)}}}
        }
    else:
        good = {"204": {"description": "Done"}}
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return good | {str(status): {"description": REFUSALS[status], "content": refusal} for status in sorted(refusals(operation))}
