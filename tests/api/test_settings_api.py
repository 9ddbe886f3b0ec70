"""Settings by program: versioned, each change in the trail, heeded at once."""

from __future__ import annotations

import pytest
from flask import Flask

from app.services import settings
from tests.api.api_client import ApiClient
from tests.factories import make_client, make_user


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    settings.forget_copies()


def test_an_admin_changes_a_cap_and_the_trail_says_so(app: Flask) -> None:
    client = make_client()
    admin = ApiClient(app).log_in(make_user(client))
    assert admin.get("/api/settings").json["client_hour_cap"] == {"value": None, "version": 0}
    hours = [{"weekday": 0, "from": "10:00", "to": "12:00"}]
    changed = admin.patch("/api/settings", {"client_hour_cap": 120, "default_windows": hours, "versions": {"client_hour_cap": 0}})
    assert changed.json == {
        "client_hour_cap": {"value": 120, "version": 1}, "default_windows": {"value": hours, "version": 1},
        "second_factor_required": {"value": False, "version": 0},
    }  # fmt: skip
    again = admin.patch("/api/settings", {"client_hour_cap": 7, "versions": {"client_hour_cap": 0}})
    assert (again.status, again.json["code"]) == (409, "changed_meanwhile")
    assert admin.patch("/api/settings", {"client_hour_cap": 0}).status == 422
    assert admin.patch("/api/settings", {"default_windows": [{"weekday": 9}]}).status == 422
    lines = admin.get("/api/audit?kind=setting").json["items"]
    assert {line["object_id"].partition(":")[2] for line in lines} == {"client_hour_cap", "default_windows"}
    agent = ApiClient(app).log_in(make_user(client, "agent"))
    assert agent.get("/api/settings").status == 200
    assert agent.patch("/api/settings", {"client_hour_cap": 1}).status == 403


def test_only_operators_see_the_installations_settings(app: Flask) -> None:
    client = make_client()
    operator = ApiClient(app).log_in(make_user(client, is_operator=True))
    domains = {"bulk_ready_domains": ["Company.com"], "instance_hour_cap": 900}
    assert operator.patch("/api/settings/instance", domains).json["bulk_ready_domains"]["value"] == ["company.com"]
    assert operator.get("/api/settings/instance").json["instance_hour_cap"] == {"value": 900, "version": 1}
    admin = ApiClient(app).log_in(make_user(client))
    assert admin.get("/api/settings/instance").status == 404
    assert admin.patch("/api/settings/instance", domains).status == 404
