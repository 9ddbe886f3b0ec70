"""Imports and leads by program: trial, run, undo, and every refusal with its field."""

from __future__ import annotations

import io
import json
from typing import Any

from flask import Flask

from app.core.extensions import db
from app.models import Lead
from jobs.imports import undo as undo_job
from tests.api.api_client import ApiClient
from tests.factories import make_client, make_lead, make_user

FILE = b"E-mail;First name;Team\r\nada@buyer.test;Ada;12\r\nnobody;No;1\r\ngrace@buyer.test;Grace;7\r\n"


def send(api: ApiClient, data: bytes = FILE, **form: Any) -> Any:
    return api.upload("/api/imports", {**form, "file": (io.BytesIO(data), "leads.csv")})


def test_a_trial_says_what_the_run_does_and_the_run_can_be_undone(app: Flask) -> None:
    client = make_client()
    api = ApiClient(app).log_in(make_user(client))
    mapping = json.dumps({"E-mail": "email", "First name": "first_name", "Team": "custom.team_size"})
    trial = send(api, client_id=client.id, mapping=mapping, dry_run="true")
    assert (trial.status, trial.json["created"], trial.json["updated"], trial.json["status"]) == (201, 2, 0, "done"), trial.text
    assert [row["line"] for row in trial.json["skipped"]] == [3] and "no @" in trial.json["skipped"][0]["reason"]
    assert db.session.query(Lead).count() == 0
    run = send(api, client_id=client.id, mapping=mapping)
    assert (run.json["created"], run.json["dry_run"]) == (2, False)
    ada = api.get("/api/leads?q=ada").json["items"][0]
    assert (ada["first_name"], ada["custom"], ada["source_import_id"]) == ("Ada", {"team_size": "12"}, run.json["id"])
    assert len(api.get(f"/api/leads?import_id={run.json['id']}").json["items"]) == 2
    assert api.post(f"/api/imports/{run.json['id']}/undo").json["status"] == "undoing"
    undo_job(run.json["id"])
    db.session.expire_all()
    assert api.get(f"/api/imports/{run.json['id']}").json["status"] == "undone"
    assert db.session.query(Lead).count() == 0
    assert api.post(f"/api/imports/{run.json['id']}/undo").status == 409


def test_what_cannot_be_imported_is_refused_by_field(app: Flask) -> None:
    api = ApiClient(app).log_in(make_user(make_client()))
    assert send(api, data=b"").json["details"].keys() == {"file"}
    assert send(api, mapping="{not json").json["details"].keys() == {"mapping"}
    wrong = send(api, mapping=json.dumps({"Nowhere": "email"}))
    assert wrong.status == 422 and "mapping.Nowhere" in wrong.json["details"]
    assert api.upload("/api/imports", {}).status == 422


def test_an_agent_may_not_import_and_a_stranger_sees_no_import(app: Flask) -> None:
    client = make_client()
    number = send(ApiClient(app).log_in(make_user(client))).json["id"]
    assert send(ApiClient(app).log_in(make_user(client, "agent"))).status == 403
    stranger = ApiClient(app).log_in(make_user(make_client()))
    assert stranger.get(f"/api/imports/{number}").status == 404
    assert stranger.post(f"/api/imports/{number}/undo").status == 404


def test_a_lead_is_made_changed_found_and_removed(app: Flask) -> None:
    client = make_client()
    api = ApiClient(app).log_in(make_user(client))
    made = api.post("/api/leads", {"client_id": client.id, "email": "Linus@Buyer.test", "first_name": "Linus", "custom": {"tier": "a"}})
    assert made.status == 201, made.text
    path = f"/api/leads/{made.json['id']}"
    again = api.post("/api/leads", {"email": "linus@buyer.test"})
    assert (again.status, again.json["code"], again.json["details"]["lead_id"]) == (409, "duplicate_lead", made.json["id"])
    assert api.patch(path, {"company": "Buyer Ltd"}).json["company"] == "Buyer Ltd"
    assert api.patch(path, {"email": "not an address"}).json["details"].keys() == {"email"}
    assert api.get("/api/leads?state=fresh&q=buyer").json["items"][0]["id"] == made.json["id"]
    assert api.delete(path).status == 204 and api.get(path).status == 404


def test_a_contacted_lead_keeps_its_history(app: Flask) -> None:
    from app.core import clock

    client = make_client()
    lead = make_lead(client, contacted_at=clock.now())
    answer = ApiClient(app).log_in(make_user(client)).delete(f"/api/leads/{lead.id}")
    assert (answer.status, answer.json["code"]) == (409, "lead_has_history")
