"""So many requests a minute per login or key, said in every answer; Redis may be lost; who waits is told for how long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from app.core.bell import Bell, bell, use_bell
from app.services import api_limits, settings
from tests.api.api_client import Answer, ApiClient
from tests.factories import make_client, make_user


@pytest.fixture(autouse=True)
def _fresh(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A minute that does not end in the middle of a test, and nothing counted or remembered before."""
    monkeypatch.setattr(api_limits, "WINDOW_S", 100_000)
    settings.forget_copies()
    for key in bell().connection.scan_iter(f"{bell().prefix}api-rate:*"):
        bell().connection.delete(key)
    api_limits._Away.until, api_limits._Away.counts = 0.0, {}
    yield
    settings.forget_copies()
    api_limits._Away.until, api_limits._Away.counts = 0.0, {}


def _limited(app: Flask, limit: int) -> ApiClient:
    operator = ApiClient(app).log_in(make_user(make_client(), is_operator=True))
    assert operator.patch("/api/settings/instance", {"api_minute_limit": limit}).status == 200
    settings.forget_copies()
    return operator


def _left(answer: Answer) -> tuple[int, int]:
    return int(answer.headers["RateLimit-Limit"]), int(answer.headers["RateLimit-Remaining"])


def test_every_answer_says_what_is_left_and_one_too_many_waits(app: Flask) -> None:
    operator = _limited(app, 4)
    assert [_left(operator.get("/api/me")) for _ in range(2)] == [(4, 3), (4, 2)]
    assert _left(operator.get("/api/leads/999999")) == (4, 1), "refusals count and say so too"
    assert _left(operator.get("/api/me?colour=red")) == (4, 0)
    over = operator.get("/api/me")
    assert (over.status, over.code) == (429, "too_many_requests") and int(over.headers["Retry-After"]) == over.details["retry_after"] > 0
    assert over.headers["RateLimit-Remaining"] == "0" and int(over.headers["RateLimit-Reset"]) == int(over.headers["Retry-After"])
    assert operator.post("/subscribers/", {"email": "a@buyer.test"}).status == 429, "the original names count as well"


def test_logins_and_keys_have_their_own_minutes_and_a_raised_limit_holds_at_once(app: Flask) -> None:
    client = make_client()
    operator = _limited(app, 2)
    admin = ApiClient(app).log_in(make_user(client))
    secret = admin.post("/api/keys", {"name": "CRM"}).json["secret"]
    program = ApiClient(app)
    program.token = secret
    assert [program.get("/api/leads").status for _ in range(3)] == [200, 200, 429]
    assert admin.get("/api/leads").status == 200 and admin.get("/api/leads").status == 429
    assert operator.patch("/api/settings/instance", {"api_minute_limit": None}).status == 200
    settings.forget_copies()
    free = program.get("/api/leads")
    assert free.status == 200 and "RateLimit-Limit" not in free.headers


def test_without_redis_each_process_counts_for_itself_and_nothing_breaks(app: Flask, redis_url: str) -> None:
    operator = _limited(app, 3)
    use_bell(Bell("redis://127.0.0.1:1/0", "test"))
    try:
        assert [operator.get("/api/me").status for _ in range(4)] == [200, 200, 200, 429]
    finally:
        use_bell(Bell(redis_url, app.extensions["settings"].instance_id))


def test_the_description_names_the_headers(app: Flask) -> None:
    document = ApiClient(app).get("/openapi.json").json
    told = document["paths"]["/api/me"]["get"]["responses"]
    assert set(told["200"]["headers"]) == {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} and "Retry-After" in told["429"]["headers"]
    assert "RateLimit-Limit" not in document["paths"]["/api/auth/login"]["post"]["responses"]["200"].get("headers", {})
