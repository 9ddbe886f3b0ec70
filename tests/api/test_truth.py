"""The description is the product: what it says of each operation holds for whatever is asked, and whoever asks.

EMBERPOST_API_EXAMPLES: how many examples each operation is asked as the one who may (200 in the whole suite); a tenth of them as
everybody else. EMBERPOST_API_SEED: ``random`` or a number for other dice.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask, Response

import app.blueprints.stream  # noqa: F401  its operation is described too
from app.blueprints.api.openapi import build
from app.core.errors import ProductError
from app.domain.permissions import OPERATOR_PERMISSIONS
from tests.api.truth import asking
from tests.api.truth.rewinding import Rewinding, rewinding
from tests.api.truth.world import House, furnish, operations
from tests.clean_database import CleanDatabase
from tests.web.page_client import as_web, web_app

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(600)]

EXAMPLES = int(os.environ.get("EMBERPOST_API_EXAMPLES", "30"))
OTHERS = max(1, EXAMPLES // 10)
LABELS = sorted(f"{method.upper()} {path}" for path, methods in build()["paths"].items() for method in methods)


@pytest.fixture(scope="module")
def furnished(_app: Flask, _clean_database: CleanDatabase) -> Iterator[tuple[House, Rewinding, Any]]:
    """(house, its database that forgets, the description): made once, changed by nobody."""
    from app.core.db import JOBS_ROLE, use_database_role
    from app.core.extensions import db

    _clean_database.empty()
    use_database_role(JOBS_ROLE)
    with ExitStack() as until_the_end:
        with _app.app_context():
            db.engine.dispose()
            web = web_app(_app)
            house = furnish(web)
            db.session.remove()
            db.engine.dispose()
        kept = until_the_end.enter_context(rewinding(web))
        gc.collect()
        gc.freeze()  # a third of a million objects that stay need not be looked at again with every full collection
        until_the_end.callback(gc.unfreeze)
        yield house, kept, asking.described(web)


def _with_status(status: int) -> Callable[[Response], Response]:
    return lambda _right: Response("{}", status, mimetype="application/json")


def _with_a_text_for_an_id(right: Response) -> Response:
    return Response(json.dumps({**right.get_json(), "id": "seven"}), right.status_code, mimetype="application/json") if right.status_code == 200 else right


def _as_if_it_were_html(right: Response) -> Response:
    return Response(right.get_data(), right.status_code, mimetype="text/html")


#: A fault → (which operation has it, what comes in place of its right answer, how what is said of it begins).
FAULTS: dict[str, tuple[str, Callable[[Response], Response], str]] = {
    "an accident": ("GET /api/leads/{row_id}", _with_status(500), "Server error"),
    "a status nobody described": ("GET /api/leads/{row_id}", _with_status(418), "Undocumented status code"),
    "a field of another kind": ("GET /api/leads/{row_id}", _with_a_text_for_an_id, "Response violates schema"),
    "a page": ("GET /api/leads/{row_id}", _as_if_it_were_html, "Undocumented Content-Type"),
    "everything is taken": ("POST /api/leads", _with_status(201), "Schema-violating request accepted"),
    "everybody is answered": ("GET /api/leads/{row_id}", _with_status(200), "answers nobody with 200"),
    "a login nobody asks for": ("GET /api/leads/{row_id}", _with_status(200), "API accepts"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_seeded_fault_is_noticed(fault: str, furnished: tuple[House, Rewinding, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    house, kept, description = furnished
    label, answer, said = FAULTS[fault]
    endpoint = f"api.{operations()[label].name}"
    right = house.app.view_functions[endpoint]
    monkeypatch.setitem(house.app.view_functions, endpoint, lambda **values: answer(house.app.make_response(_answered(right, values))))
    asked = as_web(lambda: asking.ask(description.find_operation_by_label(label), house, kept, "admin", 60, 6))
    assert any(title.startswith(said) for title in asked.wrong), asked.wrong


def _answered(view: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Also a refusal is an answer that the fault may replace."""
    try:
        return view(**values)
    except ProductError:
        return Response("{}", 499)


@pytest.mark.parametrize("label", LABELS)
def test_an_operation_is_what_its_description_says(label: str, furnished: tuple[House, Rewinding, Any]) -> None:
    house, kept, description = furnished
    operation = description.find_operation_by_label(label)
    main = "operator" if operations()[label].permission in OPERATOR_PERMISSIONS else "admin"
    asked = as_web(lambda: asking.ask(operation, house, kept, main, EXAMPLES, OTHERS))
    print(label, asked.requests, asked.statuses[main])
    assert not asked.wrong, "\n\n".join(f"{title}\n    {shown}" for title, shown in asked.wrong.items())
