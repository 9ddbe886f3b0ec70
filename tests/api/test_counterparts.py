"""Every demand of a page is possible by API: each page action names its counterpart, and each named one is there."""

from __future__ import annotations

import re

from flask import Flask

from app.blueprints.api.core import OPERATIONS
from tests.api.counterparts import COUNTERPARTS, NONE_NEEDED


def braced(address: str) -> str:
    """``/api/leads/<int:row_id>`` → ``/api/leads/{row_id}``."""
    return re.sub(r"<(?:[^:>]+:)?(\w+)>", r"{\1}", address)


def test_every_page_and_every_action_of_one_has_its_counterpart(app: Flask) -> None:
    pages = {rule.endpoint for rule in app.url_map.iter_rules()} - {"static"}
    pages = {endpoint for endpoint in pages if endpoint.split(".")[0] not in {"api", "original"} and not endpoint.startswith("stream.program")}
    assert pages - set(COUNTERPARTS) - set(NONE_NEEDED) == set(), "say in tests/api/counterparts.py by which addresses a program does this"
    assert (set(COUNTERPARTS) | set(NONE_NEEDED)) - pages == set(), "these pages are gone"
    assert not set(COUNTERPARTS) & set(NONE_NEEDED)


def test_every_named_counterpart_is_an_operation_of_the_description() -> None:
    real = {f"{one.method} {braced(one.address)}" for one in OPERATIONS}
    named = {operation for words in COUNTERPARTS.values() for operation in words.split(", ")}
    assert named <= real, sorted(named - real)
