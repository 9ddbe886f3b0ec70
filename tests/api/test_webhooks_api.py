"""Webhook sources and arrivals by program, for operators."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from jobs import receive
from tests.api.api_client import ApiClient
from tests.factories import make_client, make_user
from tests.ingest.callers import Caller
from tests.web.page_client import web_app


@pytest.fixture
def operator(app: Flask) -> ApiClient:
    return ApiClient(app).log_in(make_user(make_client(), is_operator=True))


def caller_of(app: Flask, shown: dict[str, Any]) -> Caller:
    return Caller(web_app(app), shown["id"], shown["address"].rsplit("/", 1)[-1], shown["secret"], shown["header"])


def test_the_whole_life_of_a_source(operator: ApiClient, app: Flask) -> None:
    mine = "whsec_" + base64.b64encode(b"k" * 32).decode()
    made = operator.post("/api/admin/webhooks", {"name": "Carrier", "verifier": "standard_webhooks", "secret": mine})
    assert made.status == 201 and made.json["secret"] == mine and made.json["valid_secrets"] == 1
    caller = caller_of(app, made.json)
    assert caller.call({"type": "moon.rise"}).status_code == 200
    one = f"/api/admin/webhooks/{caller.id}"
    assert "secret" not in operator.get(one).json and mine not in operator.get("/api/admin/webhooks").text
    other = operator.post(f"{one}/secret", {"at_once": True}).json["secret"]
    assert caller.call({}).status_code == 401
    caller.secret = other
    assert caller.call({}).status_code == 200
    assert operator.get(one).json["refused"] == 1
    moved = operator.post(f"{one}/address", {}).json
    assert moved["address"] != made.json["address"] and caller.call({}).status_code == 404
    assert operator.patch(one, {"name": "Renamed"}).json["name"] == "Renamed"
    assert operator.post(f"{one}/release", {}).status == 200
    assert operator.delete(one).status == 204 and operator.get(one).status == 404
    assert operator.post("/api/admin/webhooks", {"name": "X", "verifier": "standard_webhooks", "secret": "no"}).status == 422


def test_arrivals_are_listed_by_pages_shown_and_worked_on_again(operator: ApiClient, app: Flask) -> None:
    caller = caller_of(app, operator.post("/api/admin/webhooks", {"name": "C", "verifier": "static_header"}).json)
    for number in range(5):
        caller.call({"type": "moon.rise", "n": number, "password": "hunter22"})
    caller.call(b"no json")
    receive.sweep()
    first = operator.get("/api/admin/arrivals?limit=4").json
    rest = operator.get(f"/api/admin/arrivals?limit=4&cursor={first['next_cursor']}").json
    assert len(first["items"]) == 4 and len(rest["items"]) == 2 and rest["next_cursor"] is None
    (bad,) = operator.get(f"/api/admin/arrivals?status=quarantined&source_id={caller.id}&since=2020-01-01T00:00:00Z").json["items"]
    assert bad["error"].startswith("the body is not JSON") and bad["source_id"] == caller.id
    shown = operator.get(f"/api/admin/arrivals/{rest['items'][0]['id']}").json
    assert shown["kind"] == "moon.rise" and "hunter22" not in str(shown) and len(shown["body_sha256"]) == 64
    assert operator.get("/api/admin/arrivals/999").status == 404 and operator.get("/api/admin/arrivals?cursor=AAAA").status == 422
    assert operator.post("/api/admin/arrivals/replay", {"ids": [bad["id"]]}).json == {"count": 1}
    assert operator.post("/api/admin/arrivals/replay", {"status": "ignored", "source_id": caller.id}).json == {"count": 5}
    db.session.rollback()
    assert db.session.execute(text("SELECT count(*) FROM inbound_events WHERE status = 'new'")).scalar() == 6
    assert operator.post("/api/admin/arrivals/replay", {"since": "2999-01-01T00:00:00Z"}).json == {"count": 0}
