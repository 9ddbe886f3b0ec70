"""No id that a route reads is left out: what views really read as numbers, and what the API's description calls an id."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app.blueprints.api.openapi import build
from tests.matrix import filling
from tests.matrix.house import standing
from tests.matrix.named_texts import numbers_read
from tests.matrix.routes import Case, cases


def unfilled(seen: set[tuple[str, str]], known: list[Case]) -> list[str]:
    """Sentences about numbers that are neither filled in as ids nor said to be none."""
    filled = {(case.rule.endpoint, param.name) for case in known for param in case.params}
    wrong = []
    for endpoint, name in sorted(seen):
        if (endpoint, name) not in filled and name not in filling.NUMBERS and (endpoint, name) not in filling.NOT_AN_ID:
            wrong.append(
                f"{endpoint} reads the number {name!r}: whose id is it? tests/matrix/filling.py: Fill(form={{{name!r}: Id(…)}}) or "
                f"Fill(query=…); if it is nobody's, add it to NUMBERS"
            )
    return wrong


@pytest.mark.slow
def test_every_number_that_a_page_reads_is_filled_with_ids_or_said_to_be_none(app: Flask, database_url: str) -> None:
    with standing(app, database_url) as matrix, numbers_read(matrix.room.app) as seen:
        known = [case for case in cases(app) if case.operation is None]
        for case in known:
            for caller in (matrix.callers["admin"], matrix.callers["operator"]):
                if matrix.declared(case, caller, {}) is None:
                    matrix.ask(case, caller, {})
    assert ("leads.bulk", "to") in seen and ("inbox.index", "mailbox") in seen and ("campaigns.steps", "lead") in seen  # the ear hears
    wrong = unfilled(seen, known)
    assert not wrong, "\n".join(wrong)


def test_every_id_in_the_api_s_description_is_filled_with_rows_of_both_clients(app: Flask) -> None:
    known: dict[str, list[Case]] = defaultdict(list)
    for case in cases(app):
        if case.operation is not None:
            known[case.operation.name].append(case)
    document = build()
    wrong = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            found = known.get(operation["operationId"], [])
            places = {(param.place, param.name.rsplit(".", 1)[-1]) for case in found for param in case.params}
            for place, name in _described(document, operation):
                if found and (place, name) not in places and not (place == "json" and ("form", name) in places):
                    wrong.append(f"{method.upper()} {path}: {name} ({place}) is an id that the matrix does not fill: tests/matrix/filling.py, API_IDS")
    assert len(known) > 90 and not wrong, "\n".join(wrong)


def _described(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for one in operation.get("parameters", ()):
        if one.get("in") in {"query", "path"} and re.search(r"(^|_)ids?$", one["name"]) and one["schema"].get("type") == "integer":
            yield one["in"], one["name"]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield from (("json", name) for name in _names(document, content["schema"]) if re.search(r"(^|_)ids?$", name))


def _names(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from _names(document, inner)
    if "items" in schema:
        yield from _names(document, schema["items"])
