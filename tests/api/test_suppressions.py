"""The list of addresses never to be contacted, and the stops, by an outsider's program."""

from __future__ import annotations

from flask import Flask

from app.core.extensions import db
from app.models import Enrollment
from tests.api.api_client import ApiClient
from tests.factories import make_campaign, make_client, make_enrollment, make_lead, make_mailbox, make_user


def test_an_added_address_ends_its_sequence_and_stays_on_the_list_until_an_admin_says_why(app: Flask) -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    lead = make_lead(client, email="Bo@Buyer.test")
    enrollment_id = make_enrollment(campaign, lead, mailbox).id
    agent = ApiClient(app).log_in(make_user(client, role="agent"))
    added = agent.post("/api/suppressions", {"email": "bo@buyer.TEST", "note": "asked by phone"})
    assert (added.status, added.json["added"]) == (201, 1), added.text
    row = added.json["items"][0]
    assert (row["reason"], row["source"], row["note"]) == ("manual", "api", "asked by phone")
    db.session.rollback()
    assert db.session.get_one(Enrollment, enrollment_id).status == "stopped"
    assert agent.post("/api/suppressions", {"emails": ["bo@buyer.test", "new@buyer.test"]}).json["added"] == 1
    assert len(agent.get("/api/suppressions").json["items"]) == 2
    assert [one["id"] for one in agent.get("/api/suppressions?email=BO@buyer.test").json["items"]] == [row["id"]]
    path = f"/api/suppressions/{row['id']}"
    assert agent.delete(f"{path}?reason=please").status == 403
    admin = ApiClient(app).log_in(make_user(client))
    assert admin.delete(path).status == 422
    assert admin.delete(f"{path}?reason=they+wrote+to+us").status == 204
    assert admin.get(path).status == 404


def test_what_is_no_address_is_refused(app: Flask) -> None:
    api = ApiClient(app).log_in(make_user(make_client()))
    for body in ({}, {"email": "nobody"}, {"emails": []}, {"emails": ["@@@"]}, {"email": "a@b.test", "reason": "because"}):
        assert api.post("/api/suppressions", body).status == 422


def test_a_stranger_neither_sees_nor_removes_an_entry(app: Flask) -> None:
    api = ApiClient(app).log_in(make_user(make_client()))
    row = api.post("/api/suppressions", {"email": "bo@buyer.test"}).json["items"][0]
    stranger = ApiClient(app).log_in(make_user(make_client()))
    assert stranger.get(f"/api/suppressions/{row['id']}").status == 404
    assert stranger.delete(f"/api/suppressions/{row['id']}?reason=x").status == 404
    assert stranger.get("/api/suppressions").json["items"] == []


def test_only_operators_keep_the_list_of_the_whole_installation(app: Flask) -> None:
    client = make_client()
    assert ApiClient(app).log_in(make_user(client)).post("/api/admin/suppressions", {"email": "a@b.test", "reason": "law"}).status == 404
    operator = ApiClient(app).log_in(make_user(client, is_operator=True))
    assert operator.post("/api/admin/suppressions", {"email": "A@b.test", "reason": "court order"}).status == 201
    assert [row["email"] for row in operator.get("/api/admin/suppressions").json["items"]] == ["A@b.test"]


def test_an_admin_stops_and_releases_a_client_and_an_operator_everything(app: Flask) -> None:
    client = make_client()
    admin = ApiClient(app).log_in(make_user(client))
    stopped = admin.post("/api/switches/client/stop", {"reason": "wrong list"})
    assert stopped.status == 200, stopped.text
    assert (stopped.json["stopped"], stopped.json["stopping"], stopped.json["sent_since"]) == (True, False, 0)
    assert admin.get("/api/switches").json["client"]["stopped"] is True
    assert admin.post("/api/switches/client/release").json["stopped"] is False
    assert admin.post("/api/switches/instance/stop").status == 404
    assert ApiClient(app).log_in(make_user(client, role="agent")).post("/api/switches/client/stop").status == 403
    operator = ApiClient(app).log_in(make_user(client, is_operator=True))
    assert operator.post("/api/switches/instance/stop").json["stopped"] is True
    assert admin.get("/api/switches").json["instance"]["stopped"] is True
    assert operator.post("/api/switches/instance/release").json["stopped"] is False
