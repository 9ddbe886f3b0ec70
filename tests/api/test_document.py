"""The description against the routes, both ways: addresses, who may, what goes in, what comes out, and every example it prints."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from marshmallow import Schema, fields, validate
from openapi_spec_validator import validate as validate_document

import app.blueprints.stream  # noqa: F401  its operation is described too
from app.blueprints.api.core import OPERATIONS, Operation, _client_in_body, _client_in_query
from app.blueprints.api.examples import BODIES
from app.blueprints.api.openapi import build, refusals
from app.blueprints.api.schemas import Flag, Moment, Shown, Strict
from app.core import clock
from app.domain.permissions import OPERATOR_PERMISSIONS
from app.domain.reasons import Reason
from app.domain.statuses import ENROLLMENT_ENDED, DeliveryStatus
from tests import factories as make
from tests.api.api_client import Answer, ApiClient
from tests.api.truth.world import label_of
from tests.second_factors import code, next_step
from tests.web.test_no_accident import World
from tests.web.test_no_accident import build as build_world

with warnings.catch_warnings():
    warnings.simplefilter("error")  # apispec warns of two schemas with one name
    DOCUMENT = build()
BY_LABEL = {label_of(operation): operation for operation in OPERATIONS}
DESCRIBED = {f"{method.upper()} {path}": described for path, methods in DOCUMENT["paths"].items() for method, described in methods.items()}


def shape_of(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema or what its $ref names."""
    return DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


@pytest.mark.slow
def test_the_description_is_openapi_3_1() -> None:
    validate_document(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1") and DOCUMENT["security"] == [{"bearer": []}]


def test_every_route_with_every_method_is_described_and_nothing_else_is(app: Flask) -> None:
    real = {
        (f"{method} {rule.rule}".replace("<int:", "{").replace("<", "{").replace(">", "}"), rule.endpoint)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/") or rule.endpoint.startswith("original.")
    }
    assert {label for label, _ in real} == set(DESCRIBED)
    for label, endpoint in real:
        access = getattr(app.view_functions[endpoint], "access", None)
        public = access is not None and access.kind in {"public", "unguarded"}
        assert (DESCRIBED[label].get("security") == []) is public, f"{label}: who may ask is described wrongly"
        assert BY_LABEL[label].permission is (access.permission if access else None), label


@pytest.mark.parametrize("label", sorted(DESCRIBED))
def test_what_goes_in_and_comes_out_is_described_field_by_field(label: str) -> None:
    operation, described = BY_LABEL[label], DESCRIBED[label]
    assert described["operationId"] == operation.name and described["summary"]
    good = {status for status in described["responses"] if status < "400"}
    expected = 204 if operation.response is None and operation.list_of is None and not operation.media else operation.status
    assert good == {str(expected)}
    assert {int(status) for status in described["responses"]} - {expected} == refusals(operation)
    for status in refusals(operation):
        refused = described["responses"][str(status)]["content"]["application/json"]["schema"]
        assert refused == {"$ref": "#/components/schemas/Error"}
    check_answer(operation, described["responses"][str(expected)])
    check_query(operation, described)
    check_body(operation, described)


def check_answer(operation: Operation, described: dict[str, Any]) -> None:
    declared = operation.list_of or operation.response
    if declared is None:
        assert ("content" in described) is bool(operation.media)
        return
    schema = shape_of(described["content"]["application/json"]["schema"])
    if operation.list_of is not None:
        assert set(schema["required"]) == {"items", "next_cursor"}
        schema = shape_of(schema["properties"]["items"]["items"])
    same_fields(declared, schema)


def check_query(operation: Operation, described: dict[str, Any]) -> None:
    told = {one["name"] for one in described["parameters"] if one["in"] == "query"}
    real = {field.data_key or name for name, field in (operation.query or Strict)().fields.items()}
    assert told == real | ({"client_id"} if _client_in_query(operation) else set())
    in_path = {one["name"] for one in described["parameters"] if one["in"] == "path"}
    assert all("{" + name + "}" in label_of(operation) for name in in_path) and label_of(operation).count("{") == len(in_path)


def check_body(operation: Operation, described: dict[str, Any]) -> None:
    assert ("requestBody" in described) is (operation.body is not None)
    if operation.body is None:
        return
    kind = "multipart/form-data" if operation.multipart else "application/json"
    schema = shape_of(described["requestBody"]["content"][kind]["schema"])
    extra = {"client_id"} if _client_in_body(operation) else set()
    same_fields(operation.body, schema, extra | ({"file"} if operation.multipart else set()))
    assert schema["additionalProperties"] is False, "a field we do not know is refused, so the description must say so"
    needed = any(field.required for field in operation.body().fields.values()) or operation.multipart
    assert described["requestBody"]["required"] is needed


def same_fields(declared: type[Schema], schema: dict[str, Any], extra: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    real = {field.data_key or name: field for name, field in declared().fields.items()}
    assert set(schema.get("properties", {})) == set(real) | extra
    assert set(schema.get("required", [])) - {"file"} == {name for name, field in real.items() if field.required}
    for name, field in real.items():
        shown = schema["properties"][name]
        assert issubclass(declared, Strict) or shown.keys() & {"type", "$ref", "allOf", "anyOf"}, f"{declared.__name__}.{name} has no type"
        if isinstance(field, Moment):
            assert shown["format"] == "date-time"


#: What an answer calls a status or a reason although it is no word of ours: words of people and servers, numbers, or a sentence.
FREE = {
    ("OriginalNamesHealthShown", "status"), ("ImportsSkippedShown", "reason"), ("MessageShown", "reason"), ("GlobalShown", "reason"), ("StopShown", "reason"),
    ("HookTryShown", "status"),
}  # fmt: skip


def test_a_status_and_a_reason_name_the_words_they_can_be() -> None:
    described = {
        (name, field): shown for name, schema in DOCUMENT["components"]["schemas"].items() for field, shown in schema.get("properties", {}).items()
        if field in ("status", "reason")
    }  # fmt: skip
    assert {place for place, shown in described.items() if "enum" not in shown and place[0].endswith("Shown")} == FREE
    assert described["DeliveryShown", "status"]["enum"] == list(DeliveryStatus)
    assert described["DeliveryShown", "reason"]["enum"] == [*Reason, None]
    assert set(described["CampaignLeadShown", "reason"]["enum"]) >= {*Reason, *ENROLLMENT_ENDED, None}


def schemas_of_requests() -> Iterator[type[Schema]]:
    waiting = [schema for operation in OPERATIONS for schema in (operation.body, operation.query) if schema is not None]
    seen: set[type[Schema]] = set()
    while waiting:
        schema = waiting.pop()
        if schema not in seen:
            seen.add(schema)
            yield schema
            waiting += [type(inner.schema) for field in schema().fields.values() for inner in inside(field) if isinstance(inner, fields.Nested)]


def inside(field: fields.Field[Any]) -> list[fields.Field[Any]]:
    return [field, *inside(field.inner)] if isinstance(field, fields.List) else [field]


def test_every_value_that_may_be_sent_has_a_kind_and_ends() -> None:
    loose = []
    for schema in schemas_of_requests():
        assert issubclass(schema, Strict), f"{schema.__name__} lets fields through that nobody knows"
        for name, field in schema().fields.items():
            loose += [f"{schema.__name__}.{name}" for inner in inside(field) if not is_bounded(inner)]
    assert not loose, f"without a bound: {', '.join(loose)}"


def is_bounded(field: fields.Field[Any]) -> bool:
    kinds = tuple(type(one) for one in field.validators)
    if isinstance(field, fields.Boolean):
        return isinstance(field, Flag)
    if isinstance(field, fields.Integer):
        return bool(field.strict) and any(issubclass(kind, validate.Range | validate.OneOf) for kind in kinds)
    if isinstance(field, fields.DateTime):
        return isinstance(field, Moment)
    if isinstance(field, fields.String):
        return any(issubclass(kind, validate.Length | validate.OneOf | validate.Regexp) for kind in kinds) or "base64" in str(field.metadata)
    if isinstance(field, fields.List):
        return any(issubclass(kind, validate.Length) for kind in kinds)
    return isinstance(field, fields.Nested | fields.Dict)


def test_answers_are_made_of_schemas_of_answers() -> None:
    for operation in OPERATIONS:
        for schema in (operation.response, operation.list_of):
            assert schema is None or issubclass(schema, Shown), operation.name


# The examples


def with_fields(operation: Operation) -> bool:
    return operation.body is not None and bool(operation.body().fields)


def test_every_body_has_an_example_and_no_example_is_of_nothing() -> None:
    assert {operation.name for operation in OPERATIONS if with_fields(operation)} == set(BODIES)


#: What the example asks is right, but not of the row it is asked of here: the answer that says so.
NOT_NOW = {
    "deliveries_resolve": 409, "inbox_match": 409, "campaign_more_move_step": 409, "campaign_more_use_starter": 409, "one_time_links_claim": 401,
}  # fmt: skip


def send(api: ApiClient, operation: Operation, world: World, body: dict[str, Any]) -> Answer:
    path = label_of(operation).split(" ", 1)[1]
    if operation.object_of is not None:
        path = path.replace("{row_id}", str(world.by_model[operation.object_of.__name__]))
    elif "{row_id}" in path:
        path = path.replace("{row_id}", str(world.ids["source_id"]))
    path = path.replace("{user_id}", str(world.ids["user_id"]))
    if operation.multipart:
        table = io.StringIO()
        csv.writer(table).writerows([["E-Mail", "First name"], ["max@nordlicht.test", "Max"]])
        form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
        return api.upload(path, {**form, "file": (io.BytesIO(table.getvalue().encode()), "people.csv")})
    return api.send(operation.method, path, json=body)


def meant(body: dict[str, Any], world: World) -> dict[str, Any]:
    """The example with ids of rows there are, and a moment that is not past."""
    found: dict[str, Any] = {}
    for name, value in body.items():
        many = name.endswith("_ids") and name[:-1] in world.ids
        found[name] = [world.ids[name[:-1]]] if many else world.ids.get(name, value)
    if "until" in found:
        found["until"] = (clock.now() + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    return found


@pytest.mark.slow
def test_every_example_of_the_description_works(app: Flask) -> None:
    world = build_world("Ours", "ours")
    agent = make.make_user(world.client, "agent")
    world.ids["user_id"] = agent.id
    admin = make.make_user(world.client, password=BODIES["auth_login"]["password"], email=BODIES["auth_login"]["email"])
    people = {False: ApiClient(app).log_in(admin), True: ApiClient(app).log_in(make.make_user(is_operator=True))}
    tokens = people[False].post("/api/auth/login", BODIES["auth_login"]).json
    uploaded = next(one for one in OPERATIONS if one.name == "import_steps_upload")
    world.by_model["LeadImport"] = send(people[False], uploaded, world, {}).json["id"]
    link = people[False].post("/api/members", {"email": "eva@company.test", "name": "Eva", "role": "agent"}).json["link"]
    tokens_of = {"auth_refresh": {"refresh_token": tokens["refresh_token"]}, "one_time_links_use_link": {"token": link.rsplit("/", 1)[-1]}}
    wrong = []
    order = sorted(BODIES, key=lambda name: ("stop" in name, "members_change_user" in name, name))  # what ends something comes last
    for name in order:
        operation = next(one for one in OPERATIONS if one.name == name)
        body = meant(BODIES[name], world) | tokens_of.get(name, {})
        if name.startswith("second_factor_") and "otp" in body:
            next_step()
            body["otp"] = code(admin)
        answer = send(people[operation.permission in OPERATOR_PERMISSIONS], operation, world, body)
        if answer.status != NOT_NOW.get(name, operation.status):
            wrong.append(f"{name}: {answer.status} {answer.text}")
    assert not wrong, "\n".join(wrong)
