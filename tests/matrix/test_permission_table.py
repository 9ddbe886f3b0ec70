"""The table of permissions: default deny, no route without a declaration, and the printed page is the code."""

from __future__ import annotations

import sys
import types

import pytest
from flask import Blueprint, Flask

from app import blueprints, create_app
from app.blueprints.access import Access, public, requires
from app.domain.permissions import OPERATOR_PERMISSIONS, ROLE_PERMISSIONS, Permission, allowed
from tests.conftest import settings_for
from tests.matrix.callers import Caller
from tests.matrix.printed import kept, section
from tests.matrix.routes import cases


def _with_surface(patch: pytest.MonkeyPatch, found: Blueprint) -> Flask:
    module = types.ModuleType("app.blueprints.forgotten")
    module.blueprint = found  # type: ignore[attr-defined]
    patch.setitem(sys.modules, module.__name__, module)
    patch.setattr(blueprints, "MODULES", (*blueprints.MODULES, "forgotten"))
    return create_app(settings_for("postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0"))


def test_a_route_without_a_declared_permission_keeps_the_product_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = Blueprint("forgotten", __name__)
    surface.add_url_rule("/forgotten", "page", lambda: "nobody said who may see this")
    with pytest.raises(RuntimeError, match=r"routes without a declared permission: forgotten\.page"):
        _with_surface(monkeypatch, surface)


def test_the_same_route_with_a_declaration_lets_it_start(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = Blueprint("forgotten", __name__)
    surface.add_url_rule("/forgotten", "page", public(lambda: "everybody"))
    app = _with_surface(monkeypatch, surface)
    assert app.view_functions["forgotten.page"].access == Access("public")  # type: ignore[attr-defined]


def test_a_page_without_a_client_refuses_everybody_a_permission_that_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """``@requires`` of a client's permission under a path without ``<slug>`` is a mistake, never an open door."""
    surface = Blueprint("forgotten", __name__)
    surface.add_url_rule("/forgotten", "page", requires(Permission.LEADS_READ)(lambda: "leads of whom?"))
    app = _with_surface(monkeypatch, surface)
    wrong = [
        case.name for case in cases(app)
        if case.access.kind == "client" and not case.chooses_client and case.access.permission not in OPERATOR_PERMISSIONS
    ]  # fmt: skip
    assert wrong == ["forgotten.page"]


def test_every_route_that_asks_for_a_permission_says_in_which_client_or_is_the_operators(app: Flask) -> None:
    for case in cases(app):
        if case.access.kind == "client" and not case.chooses_client:
            assert case.access.permission in OPERATOR_PERMISSIONS, case.name


def test_what_is_not_in_the_table_is_refused() -> None:
    for permission in Permission:
        holders = {role for role, granted in ROLE_PERMISSIONS.items() if permission in granted}
        for role in (None, "", "owner", "ADMIN", *ROLE_PERMISSIONS):
            assert allowed(role, permission) is (role in holders), (role, permission)
        assert allowed(None, permission, operator=True) is (permission in OPERATOR_PERMISSIONS)
    assert not Caller("nobody").may(Permission.INBOX_READ, "ours")


def test_every_permission_is_asked_for_by_a_route_or_is_kept_free_for_a_surface_to_come(app: Flask) -> None:
    asked = {case.access.permission for case in cases(app)}
    later = {"linkedin.read", "linkedin.manage", "analytics.read", "warmup.control", "doctor.read", "keys.manage"}
    assert {str(one) for one in set(Permission) - asked} <= later


def test_the_printed_list_of_addresses_equals_the_routes(app: Flask) -> None:
    is_, was = section(app).splitlines(), kept().splitlines()
    changed = [f"+ {line}" for line in is_ if line not in was] + [f"- {line}" for line in was if line not in is_]
    assert is_ == was, "run .venv/bin/python -m tests.matrix.printed and read what it changed:\n" + "\n".join(changed)
