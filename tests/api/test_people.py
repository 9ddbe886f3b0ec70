"""People by program: colleagues of a client, logins of the installation."""

from __future__ import annotations

from flask import Flask

from tests.api.api_client import ApiClient
from tests.factories import make_client, make_user


def test_an_admin_gives_an_agent_one_client_and_takes_it_away(app: Flask) -> None:
    client, other = make_client(), make_client()
    admin = ApiClient(app).log_in(make_user(client))
    made = admin.post("/api/members", {"email": "bo@agency.test", "name": "Bo", "role": "agent"})
    assert made.status == 201 and "/login/link/" in made.json["link"], made.text
    seat = made.json["member"]
    assert (seat["role"], seat["pending"], seat["client_id"]) == ("agent", True, client.id)
    assert [one["email"] for one in admin.get("/api/members").json["items"]][-1] == "bo@agency.test"
    stranger = ApiClient(app).log_in(make_user(other))
    assert stranger.get(f"/api/members/{seat['id']}").status == 404
    assert admin.patch(f"/api/members/{seat['id']}", {"role": "viewer"}).json["role"] == "viewer"
    again = admin.post(f"/api/members/{seat['id']}/link", {})
    assert again.status == 200 and again.json["link"] != made.json["link"]
    assert admin.delete(f"/api/members/{seat['id']}").status == 204
    assert admin.get(f"/api/members/{seat['id']}").status == 404
    own = admin.get("/api/members").json["items"][0]
    refused = admin.patch(f"/api/members/{own['id']}", {"role": "agent"})
    assert (refused.status, refused.json["code"]) == (409, "last_admin")


def test_operators_make_logins_and_switch_them_off(app: Flask) -> None:
    client = make_client()
    operator = ApiClient(app).log_in(make_user(client, is_operator=True))
    user = make_user(client, "agent")
    agent = ApiClient(app).log_in(user)
    assert agent.get("/api/users").status == 404
    made = operator.post("/api/users", {"email": "nia@agency.test", "name": "Nia"})
    assert made.status == 201 and made.json["user"]["is_operator"] is False and made.json["link"]
    assert {one["email"] for one in operator.get("/api/users").json["items"]} >= {"nia@agency.test", user.email}
    off = operator.patch(f"/api/users/{user.id}", {"disabled": True})
    assert off.status == 200 and off.json["disabled_at"]
    assert agent.get("/api/me").status == 401
    assert operator.post(f"/api/users/{user.id}/link", {}).json["code"] == "disabled"
    assert operator.patch(f"/api/users/{user.id}", {"disabled": False}).json["disabled_at"] is None
    assert operator.post(f"/api/users/{user.id}/end-sessions", {}).json == {"ended": 0}
    assert operator.get("/api/users/4611686018427387904").status == 404
