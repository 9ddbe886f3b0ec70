"""The API's core through its real routes: clients, shapes, refusals, pages by cursor, keys that answer once, its description."""

from __future__ import annotations

import threading

import pytest
from flask import Flask

from app.core.extensions import db
from app.models import AuditEntry, Client, Membership, User
from tests.api.api_client import ApiClient
from tests.factories import make_client, make_lead, make_user, save

NEW = {"name": "Acme", "timezone": "Europe/Lisbon", "country": "PT"}


@pytest.fixture
def operator(app: Flask) -> User:
    return make_user(is_operator=True)


@pytest.fixture
def api(app: Flask, operator: User) -> ApiClient:
    return ApiClient(app).log_in(operator)


def test_a_made_client_is_the_makers_own_and_is_in_the_trail(api: ApiClient, operator: User) -> None:
    made = api.post("/api/clients", {**NEW, "slug": "acme", "email": "figures@acme.example"})
    assert made.status == 201 and made.json["slug"] == "acme" and made.json["created_at"].endswith("Z")
    assert api.get(f"/api/clients/{made.json['id']}").json == made.json
    assert api.get("/api/me").json["clients"][0]["role"] == "admin"
    actions = [row.action for row in db.session.query(AuditEntry).order_by(AuditEntry.id)]
    assert actions == ["member.grant", "client.create"]


def test_a_client_is_changed_by_its_admin_and_keeps_its_short_name(api: ApiClient) -> None:
    client_id = api.post("/api/clients", {**NEW, "slug": "acme"}).json["id"]
    changed = api.patch(f"/api/clients/{client_id}", {"name": "Acme Labs", "country": None})
    assert (changed.status, changed.json["name"], changed.json["country"], changed.json["slug"]) == (
        200,
        "Acme Labs",
        None,
        "acme",
    )
    assert api.patch(f"/api/clients/{client_id}", {"slug": "other"}).status == 422


def test_a_short_name_that_another_has_is_refused_even_when_its_owner_is_hidden(app: Flask, api: ApiClient) -> None:
    make_client(slug="acme")
    taken = api.post("/api/clients", {**NEW, "slug": "acme"})
    assert taken.status == 422 and "slug" in taken.details
    assert api.post("/api/clients", NEW).json["slug"].startswith("acme-"), "one made from the name finds a free one"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"), ({**NEW, "name": ""}, "name"), ({**NEW, "colour": "red"}, "colour"), ({**NEW, "timezone": "Mars/Base"}, "timezone"),
        ({**NEW, "country": "Portugal"}, "country"), ({**NEW, "email": "nobody"}, "email"), ({**NEW, "slug": "Not A Slug"}, "slug"),
        ({**NEW, "slug": "api"}, "slug"), ({**NEW, "name": 7}, "name"), ({**NEW, "language": "klingon"}, "language"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_field_by_field(api: ApiClient, body: dict[str, object], field: str) -> None:
    refused = api.post("/api/clients", body)
    assert refused.status == 422 and list(refused.details) == [field] and refused.code == "invalid"


@pytest.mark.parametrize(
    ("raw", "kind", "status"),
    [
        (b"{", "application/json", 400), (b"\xff\xfe", "application/json", 400), (b'{"name": NaN}', "application/json", 400),
        (b"[]", "application/json", 422),
        (b"name=x", "application/x-www-form-urlencoded", 415), (b'{"name": "a\\u0000b"}', "application/json", 422),
        (b'{"name": "\\ud800"}', "application/json", 422), (b'{"a":' * 40 + b"1" + b"}" * 40, "application/json", 422),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "application/json", 400), (b"", "application/json", 422),
    ],
)  # fmt: skip
def test_bodies_that_are_no_request_are_refused_and_never_break_anything(
    api: ApiClient, raw: bytes, kind: str, status: int
) -> None:
    assert api.send("POST", "/api/clients", data=raw, content_type=kind).status == status


def test_a_form_where_json_is_asked_for_is_refused_and_not_taken_for_an_empty_body(app: Flask) -> None:
    client = make_client()
    by_form = {"data": b'{"reason": "now"}', "content_type": "application/x-www-form-urlencoded"}
    member = ApiClient(app).log_in(make_user(client))
    for path in ("/api/leads", "/api/switches/client/stop"):
        refused = member.send("POST", path, **by_form)
        assert (refused.status, refused.code) == (415, "unsupported_media_type"), path
    assert member.get("/api/switches").json["client"]["stopped"] is False


def test_a_body_where_none_is_taken_is_judged_like_every_other(app: Flask) -> None:
    client = make_client()
    member = ApiClient(app).log_in(make_user(client))
    lead = make_lead(client)
    for method, path in (("DELETE", f"/api/leads/{lead.id}"), ("POST", "/api/auth/logout")):
        refused = member.send(method, path, json={"everywhere": True})
        assert (refused.status, refused.code, refused.details) == (422, "invalid", {"everywhere": ["Unknown field."]}), path
        assert member.send(method, path, data=b"{", content_type="application/json").code == "bad_json"
        assert member.send(method, path, data=b"a=b", content_type="application/x-www-form-urlencoded").status == 415
    assert member.send("DELETE", f"/api/leads/{lead.id}", json={}).status == 204, "an empty object says nothing"
    assert member.send("POST", "/api/auth/logout").status == 204


def test_errors_below_api_have_one_shape_whatever_made_them(api: ApiClient) -> None:
    assert api.get("/api/nothing").code == "not_found"
    wrong = api.send("PUT", "/api/clients")
    assert wrong.code == "method_not_allowed" and "POST" in wrong.headers["Allow"]
    assert api.get("/api/clients/99999999999999999999").code == "not_found"
    assert api.get("/api/clients?colour=red").details == {"colour": ["Unknown field."]}
    assert api.get("/api/clients?limit=5&limit=6").details == {"limit": ["Give this only once."]}
    assert api.get("/api/clients?limit=0").status == api.get("/api/clients?limit=201").status == 422
    api.token = ""
    closed = api.get("/api/me")
    assert closed.code == "unauthenticated" and closed.headers["WWW-Authenticate"] == "Bearer"


def test_a_strangers_client_is_missing_and_a_viewer_may_look_but_not_touch(app: Flask) -> None:
    client, foreign = make_client(), make_client()
    viewer = ApiClient(app).log_in(make_user(client, role="viewer"))
    assert viewer.get(f"/api/clients/{client.id}").status == 200
    assert viewer.patch(f"/api/clients/{client.id}", {"name": "Mine"}).code == "forbidden"
    assert (
        viewer.get(f"/api/clients/{foreign.id}").status
        == viewer.patch(f"/api/clients/{foreign.id}", {"name": "x"}).status
        == 404
    )
    assert viewer.post("/api/clients", NEW).status == 404, "what only operators have does not exist for others"


def test_an_operator_without_a_seat_may_not_read_a_client(app: Flask, api: ApiClient) -> None:
    assert api.get(f"/api/clients/{make_client().id}").code == "forbidden"


def test_lists_go_on_by_cursor_without_gap_or_double_while_rows_are_added(
    app: Flask, api: ApiClient, operator: User
) -> None:
    ids = [make_client().id for _ in range(7)]
    seen, cursor = [], ""
    while cursor is not None:
        page = api.get(f"/api/clients?limit=3{'&cursor=' + cursor if cursor else ''}").json
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if len(seen) == 3:
            ids.append(make_client().id)
    assert seen == ids


@pytest.mark.parametrize(
    "cursor", ["x", "%00", "e30", "WyJ4Il0", "WzFlOTld", "W1tbW10", "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2XQ", "W3RydWVd"]
)
def test_a_cursor_that_is_not_ours_is_refused(api: ApiClient, cursor: str) -> None:
    assert api.get(f"/api/clients?cursor={cursor}").status in {400, 422}


# Idempotency-Key


def test_the_same_key_gives_the_same_answer_and_makes_one_row(api: ApiClient) -> None:
    key = {"Idempotency-Key": "make-acme"}
    first, second = api.post("/api/clients", NEW, headers=key), api.post("/api/clients", NEW, headers=key)
    assert (first.status, first.json) == (second.status, second.json) and second.headers[
        "Idempotency-Replayed"
    ] == "true"
    assert db.session.query(Client).count() == 1


def test_another_body_under_the_same_key_is_a_conflict(api: ApiClient) -> None:
    key = {"Idempotency-Key": "make-acme"}
    api.post("/api/clients", NEW, headers=key)
    assert api.post("/api/clients", {**NEW, "name": "Other"}, headers=key).code == "idempotency_key_reused"


def test_a_refused_request_does_not_use_up_its_key(api: ApiClient) -> None:
    key = {"Idempotency-Key": "make-acme"}
    assert api.post("/api/clients", {**NEW, "name": ""}, headers=key).status == 422
    assert api.post("/api/clients", NEW, headers=key).status == 201


def test_the_keys_of_two_users_do_not_meet(app: Flask, api: ApiClient) -> None:
    other = ApiClient(app).log_in(make_user(is_operator=True))
    key = {"Idempotency-Key": "same"}
    assert (
        api.post("/api/clients", NEW, headers=key).json["id"] != other.post("/api/clients", NEW, headers=key).json["id"]
    )


def test_two_requests_with_one_key_at_once_make_one_row(app: Flask, api: ApiClient) -> None:
    from app.core.db import JOBS_ROLE, WEB_ROLE, use_database_role

    headers = {"Authorization": f"Bearer {api.token}", "Idempotency-Key": "both"}
    answers: list[int] = []

    def send() -> None:
        answers.append(
            api.app.test_client(use_cookies=False).post("/api/clients", json=NEW, headers=headers).status_code
        )

    use_database_role(WEB_ROLE)
    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    use_database_role(JOBS_ROLE)
    assert answers == [201] * 4 and db.session.query(Client).count() == 1


# The description


def test_the_description_is_valid_and_names_every_route(app: Flask, api: ApiClient) -> None:
    document = api.get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    real = {
        (method, rule.rule.replace("<int:", "{").replace("<", "{").replace(">", "}"))
        for rule in api.app.url_map.iter_rules()
        if rule.rule.startswith("/api/") or rule.endpoint.startswith("original.")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert described == real
    names = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]
    assert len(names) == len(set(names))
    refs = set(_refs(document))
    assert refs <= {f"#/components/{kind}/{name}" for kind, found in document["components"].items() for name in found}


def _refs(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for inner in value.values() for ref in _refs(inner)]
    return [ref for inner in value for ref in _refs(inner)] if isinstance(value, list) else []


def test_health_needs_nobody_and_says_the_database_is_at_head(api: ApiClient) -> None:
    api.token = ""
    assert api.get("/healthz").json == {"status": "ok"}
    ready = api.get("/readyz")
    assert (ready.status, ready.json["checks"]) == (200, {"database": "ok", "redis": "ok"})


def test_whoever_is_in_several_clients_says_which(app: Flask) -> None:
    first, second = make_client(), make_client()
    user = make_user(first)
    save(Membership(client_id=second.id, user_id=user.id, role="viewer"))
    seats = ApiClient(app).log_in(user).get("/api/me").json["clients"]
    assert {seat["role"] for seat in seats} == {"admin", "viewer"}
