"""Keys for programs: one client, at most the maker's role, dead with the next request once revoked."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import select, text, update

from app.core.extensions import db
from app.models import ApiKey, AuditEntry, Client, Membership
from tests.api.api_client import Answer, ApiClient
from tests.api.test_auth_tokens import as_owner
from tests.factories import make_client, make_user
from tests.web.page_client import PageClient


@pytest.fixture
def client(app: Flask) -> Client:
    return make_client(slug="acme")


def key_of(admin: ApiClient, **values: object) -> tuple[ApiClient, Answer]:
    made = admin.post("/api/keys", {"name": "crm", **values})
    assert made.status == 201, made.text
    program = ApiClient(admin.app)
    program.token = made.json["secret"]
    return program, made


def test_a_key_reads_or_writes_in_its_client_and_nowhere_else(app: Flask, client: Client) -> None:
    other = make_client()
    user = make_user(client, is_operator=True)
    make_seat(other, user.id)
    admin = ApiClient(app).log_in(user)
    mine = {"client_id": client.id}
    reader, _made = key_of(admin, **mine)
    writer, _made = key_of(admin, **mine, scope="write")
    assert [one["id"] for one in reader.get("/api/clients").json["items"]] == [client.id]
    lead = {"email": "bo@buyer.test"}
    refused = reader.post("/api/leads", lead)
    assert refused.status == 403 and refused.json["message"].startswith("This key")
    assert writer.post("/api/leads", lead).status == 201
    assert reader.get("/api/leads").json["items"][0]["email"] == "bo@buyer.test"
    for program in (reader, writer):
        assert program.get(f"/api/leads?client_id={other.id}").status == 404, "its maker's other client"
        assert program.get("/api/users").status == 404, "its maker is an operator, the key is none"
        assert program.post("/api/keys", {"name": "another"}).status == 403
        assert program.post("/api/members", {"email": "x@y.test", "name": "X", "role": "admin"}).status == 403
        assert program.post("/api/auth/logout", {}).status == 403


def make_seat(client: Client, user_id: int) -> None:
    db.session.add(Membership(client_id=client.id, user_id=user_id, role="admin"))
    db.session.commit()


def test_only_a_hash_of_the_key_is_kept_and_its_use_is_told(app: Flask, client: Client) -> None:
    admin = ApiClient(app).log_in(make_user(client))
    program, made = key_of(admin, scope="write")
    secret = made.json["secret"]
    assert made.json["key"]["prefix"] == secret[:12] and made.json["key"]["last_used_at"] is None
    db.session.rollback()
    everything = " ".join(str(row) for row in db.session.execute(text("SELECT k::text FROM api_keys k")))
    assert secret not in everything and secret[:12] in everything
    assert program.post("/api/leads", {"email": "bo@buyer.test"}).status == 201
    assert admin.get(f"/api/keys/{made.json['key']['id']}").json["last_used_at"]
    db.session.rollback()
    line = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "lead.create")).one()
    assert secret[:12] in line.address, "the trail says that a key did it"


@pytest.mark.parametrize("how", ["revoked", "over", "maker off", "seat gone", "seat smaller"])
def test_a_key_ends_with_the_next_request(app: Flask, client: Client, how: str) -> None:
    keeper = ApiClient(app).log_in(make_user(client, is_operator=True))
    maker = make_user(client)
    program, made = key_of(ApiClient(app).log_in(maker), scope="write", days=30)
    assert program.post("/api/leads", {"email": "a@buyer.test"}).status == 201
    if how == "revoked":
        assert keeper.delete(f"/api/keys/{made.json['key']['id']}").json["state"] == "revoked"
    elif how == "over":
        as_owner(update(ApiKey).values(expires_at=text("clock_timestamp()")))
    elif how == "maker off":
        assert keeper.patch(f"/api/users/{maker.id}", {"disabled": True}).status == 200
    else:
        seat = next(one for one in keeper.get("/api/members").json["items"] if one["user_id"] == maker.id)
        if how == "seat gone":
            assert keeper.delete(f"/api/members/{seat['id']}").status == 204
        else:
            assert keeper.patch(f"/api/members/{seat['id']}", {"role": "viewer"}).status == 200
    expected = 403 if how == "seat smaller" else 401
    assert program.post("/api/leads", {"email": "b@buyer.test"}).status == expected


def test_a_key_whose_time_is_over_is_not_marked_as_used(app: Flask, client: Client) -> None:
    admin = ApiClient(app).log_in(make_user(client))
    program, made = key_of(admin, days=30)
    as_owner(update(ApiKey).values(expires_at=text("clock_timestamp() - interval '1 second'")))
    refused = program.post("/api/auth/login", {"email": "nobody@house.test", "password": "no such password"})  # what it counts stays counted
    assert refused.status == 401
    assert admin.get(f"/api/keys/{made.json['key']['id']}").json["last_used_at"] is None


def test_what_is_no_key_opens_nothing(app: Flask, client: Client) -> None:
    program, made = key_of(ApiClient(app).log_in(make_user(client)))
    secret = made.json["secret"]
    for wrong in ("", "ember_", secret[:-1], secret + "x", secret.swapcase(), "ember_" + "A" * 43, secret.replace("ember_", "EMBER_")):
        program.token = wrong
        assert program.get("/api/me").status == 401, wrong
    assert PageClient(app).get("/c/acme/inbox/", headers={"Authorization": f"Bearer {secret}"}).status == 302, "a page knows no key"


def test_a_key_is_made_and_revoked_on_the_page(app: Flask, client: Client) -> None:
    admin = PageClient(app).log_in(make_user(client))
    path = "/c/acme/settings/api-keys"
    for wrong in ({"name": "", "scope": "read"}, {"name": "crm", "scope": "all"}, {"name": "crm", "scope": "read", "days": "soon"}):
        page = admin.post(path, wrong)
        assert page.status == 422 and page.find("input", name="name").get("value") == wrong["name"]
    made = admin.post(path, {"name": "crm", "scope": "write", "days": ""})
    secret = made.find("input", id="handed-link").get("value")
    assert secret and secret not in admin.get(path).text
    program = ApiClient(app)
    program.token = secret
    assert program.get("/api/me").status == 200
    db.session.rollback()
    key_id = db.session.scalars(select(ApiKey.id)).one()
    assert admin.post(f"{path}/{key_id}/revoke").status == 303
    assert program.get("/api/me").status == 401
    assert "Revoked" in admin.get(path).words
