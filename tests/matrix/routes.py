"""The cases of the matrix: every route of the product's own map, with everything it takes, ids marked as such."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from flask import Flask
from marshmallow import fields, validate
from werkzeug.routing import Rule

from app.blueprints.access import Access
from app.blueprints.api.core import OPERATIONS, Operation
from app.blueprints.api.schemas import LARGEST_ID
from tests.matrix import filling
from tests.matrix.filling import Fill, Id


class NoFilling(AssertionError):
    """The harness does not know how to fill a route: it says what to write where."""


@dataclass(frozen=True)
class Param:
    """One place that takes an id. ``place``: path, query, form, json; ``row``: which row of a world belongs there."""

    place: str
    name: str
    row: str

    def __str__(self) -> str:
        return f"{self.place} {self.name}"


@dataclass(frozen=True)
class Case:
    """One route with one method (and one word of ``<any(…)>``)."""

    name: str
    method: str
    rule: Rule
    access: Access
    operation: Operation | None
    fill: Fill
    word: dict[str, str]
    params: tuple[Param, ...] = ()
    query: dict[str, Any] = field(default_factory=dict)
    form: dict[str, Any] | None = None
    json: dict[str, Any] | None = None

    @property
    def realm(self) -> str:
        return self.access.realm

    @property
    def changes(self) -> bool:
        return self.method not in {"GET", "HEAD"}

    @property
    def chooses_client(self) -> str:
        """The name of the parameter that says which client: slug, row_id, client_id; empty: none does."""
        if "slug" in self.rule.arguments:
            return "slug"
        if self.operation is None or not self.operation.client:
            return ""
        return "row_id" if self.operation.object_of else "client_id"


#: Answers without end: tests/matrix/test_streams.py asks them.
STREAMS = {"stream.pages", "api.stream_programs"}


def cases(app: Flask) -> list[Case]:
    rules = sorted(app.url_map.iter_rules(), key=str)
    return [one for rule in rules if rule.endpoint not in STREAMS for one in _cases_of(app, rule)]


def _cases_of(app: Flask, rule: Rule) -> Iterator[Case]:
    for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
        for word in _words(rule):
            name = rule.endpoint + "".join(f":{value}" for value in word.values())
            fill = filling.FILLS.get(name) or filling.FILLS.get(rule.endpoint) or Fill()
            if name not in filling.FILLS and (same := filling.SAME_AS.get(rule.endpoint)):
                fill = filling.FILLS[same]
            operation = operations_by_endpoint().get(rule.endpoint)
            for one in (fill, *fill.more):
                case = Case(name, method, rule, app.view_functions[rule.endpoint].access, operation, one, word)  # type: ignore[attr-defined]
                yield _filled(case)
                yield from _unfiltered(_filled(case))


def _unfiltered(case: Case) -> Iterator[Case]:
    """A list is asked with the ids that narrow it, and whole."""
    filters = {param.name for param in case.params if param.place == "query" and param.name != "client_id"}
    if filters and not case.changes:
        rest = tuple(param for param in case.params if param.place != "query" or param.name not in filters)
        yield replace(case, params=rest, query={name: value for name, value in case.query.items() if name not in filters})


def _words(rule: Rule) -> list[dict[str, str]]:
    match = re.search(r"<any\(([^)]*)\):(\w+)>", rule.rule)
    return [{match.group(2): word.strip()} for word in match.group(1).split(",")] if match else [{}]


def _filled(case: Case) -> Case:
    params = [Param("path", name, _row(case, name)) for name in sorted(case.rule.arguments) if _is_id(case, name)]
    query, form, json = dict(case.fill.query), case.fill.form, None
    if case.operation is None:
        form = {} if form is None and case.changes else form
    else:
        query, form, json = _of_operation(case, query)
    for place, values in (("query", query), ("form", form or {}), ("json", json or {})):
        params += [Param(place, name, marker.name) for name, marker in _markers(values)]
    return replace(case, params=tuple(params), query=query, form=form, json=json)


def _is_id(case: Case, name: str) -> bool:
    if name == "slug":
        return True
    if name in case.word or name in case.fill.path:
        return False
    if name != "row_id" and not name.endswith("_id"):
        raise NoFilling(f"{case.name}: what goes into <{name}>? Give it in tests/matrix/filling.py, Fill(path=…), or name it *_id if it is one.")
    return True


def _row(case: Case, name: str) -> str:
    if name == "slug":
        return "client_id"
    if name == "row_id":
        name = _row_of_operation(case)
    return case.fill.use.get(name, name)


def _row_of_operation(case: Case) -> str:
    operation = case.operation
    assert operation is not None
    if operation.object_of is not None:
        model = operation.object_of.__name__
        if model not in filling.ROW_OF_MODEL:
            raise NoFilling(f"{case.name}: which row is a {model}? Make one in tests/matrix/world.py and name it in filling.ROW_OF_MODEL.")
        return filling.ROW_OF_MODEL[model]
    surface = case.rule.rule.split("/<int:row_id>")[0].rsplit("/", 1)[-1]
    if surface not in filling.BARE_ROWS:
        raise NoFilling(f"{case.name}: which row is /{surface}/<row_id>? Name it in tests/matrix/filling.py, BARE_ROWS.")
    return filling.BARE_ROWS[surface]


def _of_operation(case: Case, query: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None]:
    """(query, form, json) of an operation, from its schemas, changed by the filling."""
    operation, fill = case.operation, case.fill
    assert operation is not None
    if operation.query:
        known = operation.query().fields
        ids = {name: sample(case, name, one) for name, one in known.items() if _marks(name, one) and name not in fill.without}
        query = {**ids, **query}
    body: dict[str, Any] | None = None
    if operation.body:
        known = operation.body().fields
        body = {one.data_key or name: sample(case, name, one) for name, one in known.items() if not one.dump_only and name not in fill.without}
        body |= fill.json
    if case.chooses_client == "client_id":
        in_body = body is not None and operation.method not in {"GET", "DELETE"}
        (body if in_body and body is not None else query)["client_id"] = Id("client_id")
    if operation.multipart:
        chosen = {name: value for name, value in (body or {}).items() if isinstance(value, Id)}
        return query, {**chosen, **(fill.form or {})}, None
    return query, None, body


def _marks(name: str, one: fields.Field) -> bool:
    inner = one.inner if isinstance(one, fields.List) else one
    large = any(isinstance(check, validate.Range) and check.max == LARGEST_ID for check in inner.validators)
    return isinstance(inner, fields.Integer) and (large or re.search(r"(^|_)ids?$", name) is not None)


def sample(case: Case, name: str, one: fields.Field) -> Any:
    if _marks(name, one):
        if name == "ids":
            row = _row_of_operation(replace(case, rule=case.rule)) if "row_id" in case.rule.arguments else _plural(case)
        elif name not in filling.API_IDS:
            raise NoFilling(f"{case.name}: whose id is {name!r}? Name its row in tests/matrix/filling.py, API_IDS (rows are made in world.py).")
        else:
            row = filling.API_IDS[name]
        marker = Id(case.fill.use.get(row, row))
        return [marker] if isinstance(one, fields.List) else marker
    if name in filling.SAMPLES:
        return filling.SAMPLES[name]
    return _plain(case, name, one)


def _plural(case: Case) -> str:
    """``POST /api/admin/arrivals/replay {"ids": […]}``: rows of the surface it stands under."""
    parts = [part for part in case.rule.rule.split("/") if part and not part.startswith("<")]
    known = {**filling.BARE_ROWS, **{row.removesuffix("_id") + "s": row for row in filling.ROW_OF_MODEL.values()}}
    row = next((known[part] for part in reversed(parts) if part in known), None)
    if row is None:
        raise NoFilling(f"{case.name}: rows of what are its ids? Give them in tests/matrix/filling.py: Fill(json={{'ids': [Id(…)]}}).")
    return row


def _plain(case: Case, name: str, one: fields.Field) -> Any:
    choices = [check for check in one.validators if isinstance(check, validate.OneOf)]
    if choices:
        return str(next(iter(choices[0].choices)))
    if isinstance(one, fields.Nested):
        return {inner.data_key or key: sample(case, key, inner) for key, inner in one.schema.fields.items()}
    if isinstance(one, fields.List):
        return [sample(case, name.removesuffix("s"), one.inner)]
    if isinstance(one, fields.Boolean):
        return True
    if isinstance(one, fields.Integer):
        return 25
    if isinstance(one, fields.Dict):
        return {}
    if isinstance(one, fields.DateTime):
        return "2027-01-04T09:00:00Z"
    return "127.0.0.1" if "host" in name else "text"


def _markers(values: Any, name: str = "") -> Iterator[tuple[str, Id]]:
    if isinstance(values, Id):
        yield name, values
    elif isinstance(values, dict):
        for key, inner in values.items():
            yield from _markers(inner, f"{name}.{key}" if name else key)
    elif isinstance(values, list):
        for inner in values:
            yield from _markers(inner, name)


@cache
def operations_by_endpoint() -> dict[str, Operation]:
    return {f"{'original' if one.root else 'api'}.{one.name}": one for one in OPERATIONS}
