"""The second factor for programs: asked for with a code of its own, managed by address, and no way round it by keys."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import update

from app.models import Client, LoginThrottle, User
from tests.api.api_client import ApiClient
from tests.api.test_auth_tokens import as_owner
from tests.factories import make_client, make_user
from tests.second_factors import PASSWORD, code, next_step, with_app, wrong_code


@pytest.fixture
def client(app: Flask) -> Client:
    return make_client(name="Acme")


@pytest.fixture
def person(client: Client) -> User:
    return make_user(client, password=PASSWORD)


def logged_in(api: ApiClient, user: User, **more: str) -> ApiClient:
    answer = api.post("/api/auth/login", {"email": user.email, "password": PASSWORD, **more})
    assert answer.status == 200, answer.text
    api.token = answer.json["access_token"]
    return api


def test_a_login_says_that_it_needs_a_code_and_takes_each_code_once(app: Flask, person: User) -> None:
    known = with_app(app, person)
    api = ApiClient(app)
    login = {"email": person.email, "password": PASSWORD}
    asked = api.post("/api/auth/login", login)
    assert (asked.status, asked.code) == (401, "second_factor_needed")
    wrong = api.post("/api/auth/login", {**login, "otp": wrong_code(person)})
    assert (wrong.status, wrong.code) == (401, "wrong_second_factor")
    assert api.post("/api/auth/login", {**login, "password": "not this one at all", "otp": code(person)}).code == "wrong_login"
    right = code(person)
    assert api.post("/api/auth/login", {**login, "otp": right}).status == 200
    assert api.post("/api/auth/login", {**login, "otp": right}).code == "wrong_second_factor"
    assert api.post("/api/auth/login", {**login, "otp": known[0]}).status == 200
    assert api.post("/api/auth/login", {**login, "otp": known[0]}).code == "wrong_second_factor"


def test_wrong_codes_are_followed_by_waiting(app: Flask, person: User) -> None:
    with_app(app, person)
    api = ApiClient(app)
    api.post("/api/auth/login", {"email": person.email, "password": PASSWORD, "otp": wrong_code(person)})
    as_owner(update(LoginThrottle).where(LoginThrottle.failures == 1).values(failures=15))
    assert api.post("/api/auth/login", {"email": person.email, "password": PASSWORD, "otp": wrong_code(person)}).status == 401
    waiting = api.post("/api/auth/login", {"email": person.email, "password": PASSWORD, "otp": code(person)})
    assert waiting.status == 429 and 30 < int(waiting.headers["Retry-After"]) <= 65


def test_guesses_count_also_under_an_idempotency_key(app: Flask, client: Client, person: User) -> None:
    with_app(app, person)
    insider = ApiClient(app).log_in(make_user(client, "viewer"))
    for number in range(2):
        guess = {"email": person.email, "password": f"guess number {number} of many"}
        assert insider.post("/api/auth/login", guess, headers={"Idempotency-Key": f"k{number}"}).code == "wrong_login"
        as_owner(update(LoginThrottle).where(LoginThrottle.key.startswith("account"), LoginThrottle.failures == 1).values(failures=10))
    assert insider.post("/api/auth/login", {"email": person.email, "password": PASSWORD}).status == 429
    as_owner(update(LoginThrottle).values(blocked_until=None))
    thief = logged_in(ApiClient(app), person, otp=code(person))
    for number in range(2):
        wrong = thief.post("/api/me/second-factor/remove", {"otp": wrong_code(person)}, headers={"Idempotency-Key": f"r{number}"})
        assert wrong.status == 422
        as_owner(update(LoginThrottle).where(LoginThrottle.key.startswith("factor-known"), LoginThrottle.failures == 1).values(failures=15))
    assert thief.post("/api/me/second-factor/remove", {"otp": code(person)}, headers={"Idempotency-Key": "r"}).status == 429


def test_it_is_set_up_renewed_and_turned_off_by_address(app: Flask, person: User) -> None:
    api, other = logged_in(ApiClient(app), person), logged_in(ApiClient(app), person)
    assert api.get("/api/me/second-factor").json == {"on": False, "since": None, "recovery_codes_left": 0}
    assert api.post("/api/me/second-factor/confirm", {"otp": "123456"}).code == "not_begun"
    assert api.post("/api/me/second-factor", {"password": "not this one at all"}).details == {"password": ["This is not your password."]}
    begun = api.post("/api/me/second-factor", {"password": PASSWORD})
    assert begun.status == 201 and begun.json["secret"] in begun.json["address"]
    assert api.post("/api/me/second-factor/confirm", {"otp": wrong_code(person)}).status == 422
    assert len(api.post("/api/me/second-factor/confirm", {"otp": code(person)}).json["recovery_codes"]) == 10
    assert other.get("/api/me").status == 401 and api.get("/api/me").json["second_factor"] is True
    next_step()
    fresh = api.post("/api/me/second-factor/recovery-codes", {"otp": code(person)}).json["recovery_codes"]
    assert api.post("/api/me/second-factor/remove", {"otp": wrong_code(person)}).status == 422
    assert api.post("/api/me/second-factor/remove", {"otp": fresh[0]}).status == 204
    assert api.post("/api/me/second-factor/remove", {"otp": fresh[1]}).code == "no_second_factor"


def test_a_client_that_asks_for_it_is_closed_to_logins_and_keys_without(app: Flask, client: Client, person: User) -> None:
    api = logged_in(ApiClient(app), person)
    key = ApiClient(app)
    key.token = api.post("/api/keys", {"name": "CRM", "scope": "write"}).json["secret"]
    agent = ApiClient(app).log_in(make_user(client, "agent", password=PASSWORD))
    assert key.get("/api/leads").status == agent.get("/api/leads").status == 200
    with_app(app, person)
    api = logged_in(ApiClient(app), person, otp=code(person))
    assert api.patch("/api/settings", {"second_factor_required": True}).json["second_factor_required"]["value"] is True
    lead = api.post("/api/leads", {"email": "ola@nordlicht.test"}).json["id"]
    for answer in (agent.get("/api/leads"), agent.get(f"/api/leads/{lead}"), agent.post("/api/leads", {"email": "x@y.test"})):
        assert (answer.status, answer.code, answer.details) == (403, "second_factor_required", {"client_id": client.id})
    assert agent.get("/api/clients").json["items"] == []
    assert agent.get("/api/me").json["clients"][0]["closed"] is True
    assert key.get("/api/leads").status == 200, "its maker has a second factor"
    next_step()
    assert api.post("/api/me/second-factor/remove", {"otp": code(person)}).status == 204
    assert key.get("/api/leads").code == api.get("/api/leads").code == "second_factor_required"


def test_a_key_changes_nothing_of_its_maker(app: Flask, client: Client, person: User) -> None:
    api, key = logged_in(ApiClient(app), person), ApiClient(app)
    key.token = api.post("/api/keys", {"name": "CRM", "scope": "write"}).json["secret"]
    tries = [
        key.patch("/api/me", {"name": "Mallory"}), key.get("/api/me/sessions"), key.post("/api/me/end-sessions"), key.delete("/api/me/sessions/1"),
        key.post("/api/me/password", {"current_password": PASSWORD, "new_password": "four quiet herons wade"}),
        key.get("/api/me/second-factor"), key.post("/api/me/second-factor", {"password": PASSWORD}),
        key.post("/api/me/second-factor/confirm", {"otp": "1"}), key.post("/api/me/second-factor/recovery-codes", {"otp": "1"}),
        key.post("/api/me/second-factor/remove", {"otp": "1"}),
    ]  # fmt: skip
    assert [answer.status for answer in tries] == [403] * len(tries)


def test_oneself_by_address_profile_password_and_places(app: Flask, person: User) -> None:
    here, there = logged_in(ApiClient(app), person), logged_in(ApiClient(app), person)
    changed = here.patch("/api/me", {"name": "Grace", "timezone": "Asia/Tokyo", "language": "pt"})
    assert (changed.json["name"], changed.json["timezone"], changed.json["language"]) == ("Grace", "Asia/Tokyo", "pt")
    assert here.patch("/api/me", {"timezone": "Mars/Base"}).status == here.patch("/api/me", {"language": "xx"}).status == 422
    places = here.get("/api/me/sessions").json["items"]
    assert [place["current"] for place in places] == [False, True]
    assert here.delete(f"/api/me/sessions/{places[0]['id']}").status == 204 and there.get("/api/me").status == 401
    assert here.delete(f"/api/me/sessions/{places[0]['id']}").status == 404
    there = logged_in(ApiClient(app), person)
    assert here.post("/api/me/end-sessions").json == {"ended": 1} and there.get("/api/me").status == 401
    there = logged_in(ApiClient(app), person)
    change = {"current_password": "not this one at all", "new_password": "four quiet herons wade"}
    assert "current_password" in here.post("/api/me/password", change).details
    assert here.post("/api/me/password", {**change, "current_password": PASSWORD}).status == 204
    assert there.get("/api/me").status == 401 and here.get("/api/me").status == 200


def test_an_operator_changes_zone_and_language_of_a_login_and_takes_its_factor_off(app: Flask, client: Client, person: User) -> None:
    operator = ApiClient(app).log_in(make_user(client, is_operator=True))
    changed = operator.patch(f"/api/users/{person.id}", {"timezone": "Europe/Oslo", "language": "nb"})
    assert (changed.json["timezone"], changed.json["language"]) == ("Europe/Oslo", "nb")
    assert operator.delete(f"/api/users/{person.id}/second-factor").code == "no_second_factor"
    with_app(app, person)
    theirs = logged_in(ApiClient(app), person, otp=code(person))
    assert theirs.delete(f"/api/users/{person.id}/second-factor").status == 404
    assert operator.delete(f"/api/users/{person.id}/second-factor").status == 204
    assert theirs.get("/api/me").status == 401
    logged_in(ApiClient(app), person)
