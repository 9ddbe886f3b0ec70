"""The API's core: one decorator says path, permission, shapes and status; everything else follows from it.

    class CampaignQuery(PageQuery):                       # lists: cursor and limit come with it
        status = fields.String(validate=validate.OneOf(list(CampaignStatus)))

    @api_route("GET", "/campaigns", Permission.CAMPAIGNS_READ, query=CampaignQuery, list_of=CampaignShown, summary="List campaigns")
    def list_campaigns(query: dict[str, Any]) -> Page:
        statement = select(Campaign).where(Campaign.client_id == g.client.id)      # g.client, g.role, g.viewer are set
        return page_of(statement, query, Campaign.id)

    @api_route("POST", "/campaigns", Permission.CAMPAIGNS_DRAFT, body=NewCampaign, response=CampaignShown, status=201, summary="…")
    def create(body: dict[str, Any]) -> Campaign: ...

    @api_route("POST", "/campaigns/<int:row_id>/launch", Permission.CAMPAIGNS_LAUNCH, object_of=Campaign, response=Shown, summary="…")
    def launch(campaign: Campaign) -> Campaign: ...       # the row of the path, 404 for strangers; its client is entered

- The client: ``client_id`` in the query or the body (never in your schema), optional for whoever is in one client only; with
  ``object_of`` the client of the object. ``client=False``: routes about the user or the instance.
- What the view gets: the row (``object_of``), ``query=`` and ``body=`` as loaded by the schemas when declared, other path values.
- What it returns: something ``response`` can dump, a ``Page`` for ``list_of``, None for 204, or a Response of its own.
- ``media``: the type of an answer that is not JSON (text/csv, message/rfc822); the view returns the Response.
- Refusals: raise the ProductError family. A file upload: ``multipart=True``; ``body`` then describes the form's text fields.
- ``Idempotency-Key`` works on every POST; the transaction, rate limit, errors and OpenAPI are taken care of.
- ``root=True``: the path stands alone, not below /api (the names that programs of the original know).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from flask import Blueprint, Response, g, jsonify, make_response, request
from marshmallow import Schema, ValidationError
from marshmallow import fields as field_types

from app.blueprints.access import Access, declare
from app.blueprints.api import idempotency, rate_limit
from app.blueprints.api.pagination import Page
from app.blueprints.api.schemas import Nothing, Strict, row_id
from app.core.errors import Invalid, NotFound, ProductError
from app.domain.permissions import OPERATOR_PERMISSIONS, Permission
from app.services.access import ClientSeat, enter_client, own
from app.strings import t

View = TypeVar("View", bound=Callable[..., Any])
DEEPEST_JSON = 32

blueprint = Blueprint("api", __name__, url_prefix="/api")
#: Addresses that do not begin with /api.
root_blueprint = Blueprint("original", __name__)
for _edge in (blueprint, root_blueprint):
    _edge.after_request(rate_limit.headers)


class UnsupportedMedia(ProductError):
    status = 415
    code = "unsupported_media_type"


class BadJson(ProductError):
    status = 400
    code = "bad_json"


@dataclass(frozen=True)
class Operation:
    """All that is known of one route: the guard works by it and OpenAPI prints it."""

    method: str
    path: str
    permission: Permission | None
    name: str
    summary: str
    description: str
    tag: str
    query: type[Schema] | None
    body: type[Schema] | None
    response: type[Schema] | None
    list_of: type[Schema] | None
    status: int
    object_of: type[Any] | None
    client: bool
    public: bool
    multipart: bool
    media: str
    root: bool = False

    @property
    def address(self) -> str:
        """The path as it is asked for."""
        return self.path if self.root else f"/api{self.path}"


OPERATIONS: list[Operation] = []
_WITH_CLIENT: dict[type[Schema], type[Schema]] = {}


def api_route(
    method: str,
    path: str,
    permission: Permission | None = None,
    *,
    summary: str,
    query: type[Schema] | None = None,
    body: type[Schema] | None = None,
    response: type[Schema] | None = None,
    list_of: type[Schema] | None = None,
    status: int = 200,
    object_of: type[Any] | None = None,
    client: bool = True,
    public: bool = False,
    multipart: bool = False,
    media: str = "",
    tag: str = "",
    root: bool = False,
) -> Callable[[View], View]:
    """Register a view below /api; see the module's head. A path with ``object_of`` has ``<int:row_id>``."""

    def register(view: View) -> View:
        endpoint = f"{view.__module__.rsplit('.', 1)[-1]}_{view.__name__}"
        operation = Operation(
            method, path, permission, endpoint, summary, (view.__doc__ or "").strip(), tag or path.split("/")[1], query, body,
            response, list_of, status, object_of, client and not public, public, multipart, media, root,
        )  # fmt: skip
        if permission is None and operation.client:
            raise RuntimeError(f"{method} {path}: say which permission it needs, or client=False")
        OPERATIONS.append(operation)
        guarded = declare(Access("public" if public else "client" if permission else "signed_in", permission, "api"))(
            _answering(view, operation)
        )
        edge = root_blueprint if root else blueprint
        edge.add_url_rule(path, endpoint, guarded, methods=[method], strict_slashes=not root)
        return view

    return register


def _answering(view: Callable[..., Any], operation: Operation) -> Callable[..., Response]:
    query_schema = with_client(operation.query) if _client_in_query(operation) else operation.query
    body_schema = (with_client(operation.body) if _client_in_body(operation) else operation.body) or Nothing

    @wraps(view)
    def answering(**values: Any) -> Response:
        arguments: dict[str, Any] = values
        rate_limit.take(g.viewer)
        row = _enter_object(operation, arguments)
        if operation.object_of is None and operation.client:
            _refuse_early(operation)
        if not operation.client and operation.permission is not None:
            _need_operator(operation.permission)
        query = load_query(query_schema) if query_schema else load_query(None)
        body = load_body(body_schema, operation.multipart) if operation.method != "GET" else {}
        client_id = body.pop("client_id", None) if "client_id" in body else query.pop("client_id", None)
        if operation.object_of is None:
            _enter_client(operation, client_id)
        key = idempotency.wanted_key() if g.viewer is not None else None
        found = idempotency.remembered(g.viewer.id, key) if key else None
        if isinstance(found, Response):
            return found
        if operation.query is not None:
            arguments["query"] = query
        if operation.body is not None:
            arguments["body"] = body
        with idempotency.kept(found):
            answer = _shown(view(*row, **arguments), operation)
        if found is not None:
            idempotency.remember(found, answer)
        return answer

    return answering


def _client_in_query(operation: Operation) -> bool:
    return (
        operation.client
        and operation.object_of is None
        and (operation.body is None or operation.method in {"GET", "DELETE"})
    )


def _client_in_body(operation: Operation) -> bool:
    return operation.client and operation.object_of is None and not _client_in_query(operation)


def with_client(schema: type[Schema] | None) -> type[Schema]:
    """The schema with the optional ``client_id`` that the core itself takes out; always the same one for the same schema."""
    base = schema or Strict
    if base not in _WITH_CLIENT:
        meant = {"description": "needed by whoever is in several clients"}
        name = f"{base.__name__}OfClient" if schema else "OfClient"
        _WITH_CLIENT[base] = type(name, (base,), {"client_id": row_id(metadata=meant), "__module__": base.__module__})
    return _WITH_CLIENT[base]


def _enter_object(operation: Operation, values: dict[str, Any]) -> tuple[Any, ...]:
    if operation.object_of is None:
        return ()
    row = own(operation.object_of, values.pop("row_id"), *(seat.id for seat in g.viewer.seats))
    client_id = getattr(row, "client_id", None) or row.id
    seat = g.viewer.seat(client_id=client_id)
    if seat is None:
        raise NotFound
    _sit_down(seat, operation)
    return (row,)


def _enter_client(operation: Operation, client_id: int | None) -> None:
    if not operation.client:
        return
    if client_id is not None:
        seat = g.viewer.seat(client_id=client_id)
        if seat is None:
            raise NotFound
    elif len(g.viewer.member_seats) == 1:
        seat = g.viewer.member_seats[0]
    else:
        raise Invalid.field("client_id", t("api.say_which_client"))
    _sit_down(seat, operation)


def _refuse_early(operation: Operation) -> None:
    """Who may not do this hears so before the body is judged, as far as the client is plain."""
    given: Any = request.args.get("client_id")
    if given is None and operation.multipart:  # of other requests reading a form would eat the body before it is judged
        given = request.form.get("client_id")
    if given is None and request.is_json:
        try:
            body = read_json(request.get_data(cache=True))
        except ProductError:
            return  # the body is refused where it is read
        given = body.get("client_id") if isinstance(body, dict) else None
    if given is None:
        seat = g.viewer.member_seats[0] if len(g.viewer.member_seats) == 1 else None
    else:
        number = _number(given) if isinstance(given, str) else given
        if not isinstance(number, int) or isinstance(number, bool):
            return
        seat = g.viewer.seat(client_id=number)
        if seat is None:
            raise NotFound
    if seat is not None:
        _sit_down(seat, operation)


def _sit_down(seat: ClientSeat, operation: Operation) -> None:
    enter_client(g.viewer, seat, operation.permission)
    g.client, g.role = seat, seat.role


def _need_operator(permission: Permission) -> None:
    if permission not in OPERATOR_PERMISSIONS:
        raise RuntimeError(f"{permission} needs a client")
    if not g.viewer.is_operator:
        raise NotFound


def load_query(schema: type[Schema] | None) -> dict[str, Any]:
    """The query as the schema loads it; without a schema any parameter is unknown."""
    if schema is None:
        if request.args:
            raise Invalid(t("api.no_parameters"), details={name: [t("api.unknown_field")] for name in request.args})
        return {}
    known = schema()
    given: dict[str, Any] = {}
    for name, values in request.args.lists():
        many = isinstance(known.fields.get(name), field_types.List)
        if len(values) > 1 and not many:
            raise Invalid.field(name, t("api.only_once"))
        kind = getattr(known.fields.get(name), "inner", known.fields.get(name))
        read = [_typed(value, kind) for value in values]
        given[name] = read if many else read[0]
    return _load(known, given)


def _typed(text: str, kind: Any) -> Any:
    """Integers and truths are strict in JSON; in an address or a form every value is a text."""
    if isinstance(kind, field_types.Integer):
        return _number(text)
    if isinstance(kind, field_types.Boolean):
        return {"true": True, "false": False}.get(text, text)
    return text


def _number(text: str) -> Any:
    return int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else text


def load_body(schema: type[Schema], multipart: bool = False) -> dict[str, Any]:
    """The body as the schema loads it. Raises UnsupportedMedia, BadJson, Invalid."""
    if multipart:
        if request.mimetype != "multipart/form-data":
            raise UnsupportedMedia(t("api.send_multipart"))
        if any(_unstorable(value) for value in request.form.values()):
            raise Invalid(t("api.form_characters"))
        return _load_form(schema())
    raw = request.get_data(cache=True)
    if not raw:
        return _load(schema(), {})
    if request.mimetype != "application/json":
        raise UnsupportedMedia(t("api.send_json"))
    given = read_json(raw)
    if not isinstance(given, dict):
        raise Invalid(t("api.json_object"))
    return _load(schema(), given)


def _load_form(known: Schema) -> dict[str, Any]:
    """The text fields of a form, and its one file, which is called ``file``."""
    texts = list(request.form.lists())
    for name in {*request.form, *request.files}:
        if len(request.form.getlist(name)) + len(request.files.getlist(name)) > 1:
            raise Invalid.field(name, t("api.only_once"))
    for name in request.files:
        if name != "file":
            raise Invalid.field(name, t("api.unknown_field"))
    return _load(known, {name: _typed(one, known.fields.get(name)) for name, (one,) in texts})


def read_json(raw: bytes) -> Any:
    """Parse strictly: no NaN, at most DEEPEST_JSON levels, no text that PostgreSQL could not store."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise BadJson(t("api.not_json")) from None
    _check_depth(value)
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _check_depth(value: Any) -> None:
    level: list[Any] = [value]
    for _depth in range(DEEPEST_JSON + 1):
        if not level:
            return
        for item in level:
            texts = (
                [*item.keys(), *item.values()] if isinstance(item, dict) else item if isinstance(item, list) else [item]
            )
            if any(isinstance(text, str) and _unstorable(text) for text in texts):
                raise Invalid(t("api.body_characters"))
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
            if isinstance(inner, dict | list)
        ]
    raise Invalid(t("api.too_deep", levels=DEEPEST_JSON))


def _unstorable(text: str) -> bool:
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)


def _load(schema: Schema, given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(schema.load(given))
    except ValidationError as error:
        raise Invalid(t("fields.do_not_fit"), details=flat_errors(error.messages_dict)) from None


def flat_errors(messages: Mapping[Any, Any], prefix: str = "") -> dict[str, list[str]]:
    """``{"steps": {0: {"delay": ["…"]}}}`` → ``{"steps.0.delay": ["…"]}``."""
    flat: dict[str, list[str]] = {}
    for name, found in messages.items():
        path = f"{prefix}{name}"
        if isinstance(found, Mapping):
            flat.update(flat_errors(found, f"{path}."))
        else:
            flat[path.removesuffix("._schema")] = [
                str(text) for text in (found if isinstance(found, list) else [found])
            ]
    return flat


def _shown(result: Any, operation: Operation) -> Response:
    if isinstance(result, Response):
        return result
    if operation.list_of is not None:
        if not isinstance(result, Page):
            raise TypeError(f"{operation.name} must return a Page")
        items = operation.list_of(many=True).dump(result.items)
        return make_response(jsonify({"items": items, "next_cursor": result.next_cursor}), operation.status)
    if result is None or operation.response is None:
        return make_response("", 204)
    return make_response(jsonify(operation.response().dump(result)), operation.status)
