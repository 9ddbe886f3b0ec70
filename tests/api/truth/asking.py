"""Questions made from the published description, asked of the product itself, and every answer held against the description.

Schemathesis makes the questions: those at the edges of each field, then random ones, half of them wrong on purpose. Nothing is
shrunk: all that is wrong with an operation is collected and said once, with the request that shows it. The dice are fixed;
``EMBERPOST_API_SEED=random`` (or a number) rolls others.
"""

from __future__ import annotations

import os
import random
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import schemathesis
from flask import Flask
from jsonschema import Draft202012Validator
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import checks

from tests.api.truth.drawing import examples
from tests.api.truth.rewinding import Rewinding
from tests.api.truth.sending import STREAM_EVENTS, STREAM_S, Question
from tests.api.truth.world import GARBAGE, House

ALWAYS = [
    schemathesis.checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_headers_conformance, checks.response_schema_conformance, checks.negative_data_rejection,
    checks.missing_required_header, checks.unsupported_method,
]  # fmt: skip
SETTINGS = {"max-stream-events": STREAM_EVENTS, "request-timeout": STREAM_S}
CURSOR_MOST = 500  # characters, as the description says
#: What may stand in a field, compiled once: (document, schema, field) → (the document, so that its id stays its own; the judge).
_judges: dict[tuple[int, str, str], tuple[dict[str, Any], Draft202012Validator]] = {}


@cache
def seed() -> int:
    wanted = os.environ.get("EMBERPOST_API_SEED", "0")
    return secrets.randbelow(2**32) if wanted == "random" else int(wanted)


def described(app: Flask) -> Any:
    """The description as a client reads it, bound to the product."""
    return schemathesis.openapi.from_wsgi("/openapi.json", app, config=SchemathesisConfig.from_dict(SETTINGS))


@dataclass
class Asked:
    """What one operation was asked, and what is wrong with its answers: by title, the first request that shows it."""

    wrong: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, set[int]] = field(default_factory=dict)
    requests: int = 0
    known: dict[str, int] = field(default_factory=dict)


def ask(operation: Any, house: House, kept: Rewinding, main: str, number: int, others: int) -> Asked:
    """``number`` examples as ``main``; ``others`` of them, evenly chosen, with every other token of the house."""
    asked = Asked()
    every = max(1, number // others) if others else 0
    rest = [name for name in house.tokens if name != main]
    public = operation.definition.raw.get("security") == []
    enforced = public
    for count, case in enumerate(aimed(operation, house, number)):
        question = Question(case, house.app)
        judged = [*ALWAYS] if enforced else [*ALWAYS, checks.ignored_auth]
        status = _send(question, house, kept, main, judged, asked)
        enforced = enforced or 200 <= status < 300
        if every and count % every == 0:
            for name in rest:
                status = _send(question, house, kept, name, ALWAYS, asked)
                if not public and house.tokens[name] in {"", GARBAGE} and not _refused_nobody(case, status):
                    asked.wrong.setdefault(f"answers {name} with {status}", case.as_curl_command())
    return asked


def _refused_nobody(case: Case, status: int) -> bool:
    """Not logged in is heard before anything else but an address that is none."""
    if status == 401 or case.method != case.operation.method.upper():  # which methods an address has stands in the description
        return True
    odd = case.meta is not None and case.meta.is_negative_at(ParameterLocation.PATH)
    return (status == 404 and odd) or (status == 400 and "%00" in case.as_curl_command())


def _wrong_on_paper(case: Case) -> bool:
    """Wrong by nothing that is sent, so the answer says nothing about the question."""
    if case.meta is None:
        return False
    mutations = getattr(case.meta.phase.data, "mutations", None) or ()
    return all(_lost(case, one) for one in mutations) if mutations else case.meta.phase.data.parameter == "Authorization"


def _lost(case: Case, mutation: Any) -> bool:
    """By its Authorization: everybody's own is sent. By a number or nothing for a text of a form: there all is text. By a file's
    format: any bytes are a file.
    """
    if mutation.parameter == "Authorization":
        return True
    of_a_form = case.media_type == "multipart/form-data" and mutation.parameter_location is ParameterLocation.BODY
    if not of_a_form or not isinstance(case.body, dict) or mutation.parameter not in case.body:
        return False
    if mutation.parameter == "file":
        return bool(mutation.keywords == ("format",))
    plain = case.body[mutation.parameter] is None or isinstance(case.body[mutation.parameter], bool | int | float)
    return bool(mutation.keywords == ("type",) and mutation.original_value == "string" and plain)


def _unsent(case: Case) -> bool:
    """Wrong by a part of the query that no address can carry: an empty list, an empty object."""
    return isinstance(case.query, dict) and any(value in ([], {}) for value in case.query.values())


def _send(question: Question, house: House, kept: Rewinding, name: str, judged: list[Any], asked: Asked) -> int:
    case = question.case
    same = f"{name} {case.method} {case.path_parameters} {case.query} {dict(case.headers or {})} {case.media_type} {case.body!r}"
    if same in asked.known:  # nothing is kept from one request to the next, so it would get the same answer
        return asked.known[same]
    token = house.tokens[name]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with kept.request():
        answer = question.asked(headers)
        if answer.status_code < 300 and case.method != "GET":
            kept.check()
        asked.requests += 1
        asked.statuses.setdefault(name, set()).add(answer.status_code)
        if _wrong_on_paper(case) or _unsent(case):
            judged = [one for one in judged if one is not checks.negative_data_rejection]
        try:
            case.validate_response(answer, judged, headers=headers)
        except FailureGroup as group:
            for failure in group.exceptions:
                title = f"{failure.title}: {answer.status_code} to {name}: {failure.message[:300]}"
                asked.wrong.setdefault(title, f"{case.as_curl_command()[:1500]}\n    → {answer.text[:300]}")
    asked.known[same] = int(answer.status_code)
    return asked.known[same]


def aimed(operation: Any, house: House, number: int) -> Iterator[Case]:
    """Examples whose ids, where they are meant to be right, are mostly those of rows there are."""
    dice = random.Random(zlib.crc32(operation.label.encode()) ^ seed())
    for case in examples(operation, number, dice, seed()):
        if dice.random() < 0.8:
            _aim(case, house.ours.ids, house.row_of(operation.label))
        yield case


def _aim(case: Case, ids: dict[str, int], row: int | None) -> None:
    """What is right in a question is made right for this house; what is wrong on purpose stays as it is."""
    right = case.meta is None or not case.meta.is_negative_at(ParameterLocation.PATH)
    if right and case.path_parameters:
        case.path_parameters = {name: ids.get(name, row or 1) for name in case.path_parameters}
    if isinstance(case.query, dict):
        right_ones = {name: ids[name] for name, value in case.query.items() if name in ids and _is_id(value)}
        case.query = {name: right_ones.get(name, value) for name, value in case.query.items() if not _is_cursor(name, value)}
    if isinstance(case.body, dict) and case.media_type == "application/json":  # a file's bytes would be judged as a text
        wrong = case.meta is not None and case.meta.is_negative_at(ParameterLocation.BODY)
        case.body = {name: _meant(name, value, ids, wrong) for name, value in _grafted(case).items()}


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63


def _is_cursor(name: str, value: Any) -> bool:
    """Only the product makes cursors that fit: any other would hide what else is wrong. One of no right length is wrong on purpose."""
    return name == "cursor" and isinstance(value, str) and len(value) <= CURSOR_MOST


def _meant(name: str, value: Any, ids: dict[str, int], wrong: bool) -> Any:
    """``wrong``: something in this body is; then several ids may be too many of them, or one of them twice, and stay."""
    if name in ids and _is_id(value):
        return ids[name]
    many = name.endswith("_ids") and name[:-1] in ids and isinstance(value, list) and bool(value) and all(map(_is_id, value))
    return [ids[name[:-1]]] if many and not (wrong and len(value) > 1) else value


def _grafted(case: Case) -> dict[str, Any]:
    """The example of the description, which is known to be taken, with just what is wrong in this body (or one thing that is odd)."""
    body: dict[str, Any] = case.body
    content = case.operation.definition.raw.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "example" not in content or case.meta is None:
        return body
    document = case.operation.schema.raw_schema
    schema_name = content["schema"]["$ref"].rsplit("/", 1)[1]
    schema = document["components"]["schemas"][schema_name]
    known = schema.get("properties", {})
    odd = {name: value for name, value in body.items() if name not in known or "format" in known[name] or not _fits(value, name, schema_name, document)}
    gone = {name for name in schema.get("required", []) if name not in body}
    graft = {name: value for name, value in content["example"].items() if name not in gone} | odd
    if case.meta.is_negative_at(ParameterLocation.BODY):
        return graft if odd or gone else body
    one = min(body, key=lambda name: zlib.crc32(f"{name} {body[name]!r}".encode("utf-8", "replace")), default=None)
    return graft | ({one: body[one]} if one is not None else {})


def _fits(value: Any, field_name: str, schema_name: str, document: dict[str, Any]) -> bool:
    key = (id(document), schema_name, field_name)
    if key not in _judges:
        schema = document["components"]["schemas"][schema_name]["properties"][field_name]
        _judges[key] = document, Draft202012Validator({**schema, "components": document["components"]})
    return bool(_judges[key][1].is_valid(value))
