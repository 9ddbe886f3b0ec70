"""Mailboxes by an outsider's program, against a real mail server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from sandbox.mail.server import MailConfig, RunningMailServer
from tests.api.api_client import ApiClient
from tests.factories import make_campaign, make_client, make_mailbox, make_user

PASSWORD = "correct horse battery"


@pytest.fixture
def mail() -> Iterator[RunningMailServer]:
    with RunningMailServer(MailConfig()) as running:
        running.add_account("ada@ours.test", PASSWORD)
        yield running


def body(mail: RunningMailServer, **more: Any) -> dict[str, Any]:
    return {
        "email": "ada@ours.test", "display_name": "Ada", "smtp_host": "127.0.0.1", "smtp_port": mail.ports.smtp, "smtp_security": "none",
        "smtp_user": "ada@ours.test", "smtp_password": PASSWORD, "imap_host": "127.0.0.1", "imap_port": mail.ports.imap,
        "imap_security": "starttls", "imap_user": "ada@ours.test", "imap_password": PASSWORD, "timezone": "Asia/Kolkata", "daily_cap": 30,
        "min_gap_s": 60, **more,
    }  # fmt: skip


def test_a_mailbox_is_added_verified_paused_resumed_and_removed(app: Flask, mail: RunningMailServer) -> None:
    client = make_client()
    api = ApiClient(app).log_in(make_user(client))
    made = api.post("/api/mailboxes", body(mail, client_id=client.id))
    assert (made.status, made.json["status"], made.json["verification"]["state"]) == (201, "connecting", "never")
    assert PASSWORD not in made.text and "secret" not in made.text and "password" not in made.json
    path = f"/api/mailboxes/{made.json['id']}"
    verified = api.post(f"{path}/verify")
    assert verified.status == 200, verified.text
    assert (verified.json["status"], verified.json["verification"]["ok"], verified.json["save_to_sent"]) == ("active", True, "append")
    assert api.post(f"{path}/pause").json["status"] == "paused"
    assert api.post(f"{path}/resume").json["status"] == "active"
    changed = api.patch(path, {"daily_cap": 5, "display_name": "Ada L."})
    assert (changed.json["daily_cap"], changed.json["display_name"], changed.json["status"]) == (5, "Ada L.", "active")
    assert api.post(f"{path}/read-older", {"days": 366}).status == 422
    hours = [{"weekday": 0, "from": "09:00", "to": "12:00"}]
    assert api.patch(path, {"restrict_campaigns": True}).json["details"].keys() == {"own_hours"}
    assert api.patch(path, {"restrict_campaigns": True, "own_hours": hours}).json["own_hours"] == hours
    asked = [api.post(f"{path}/read-older", {"days": days}).json["older_since"] for days in (30, 3)]
    assert asked[0] and asked[0] == asked[1], "asking again never reaches less far back"
    assert [row["email"] for row in api.get("/api/mailboxes?status=active").json["items"]] == ["ada@ours.test"]
    assert api.delete(path).status == 204
    assert api.get(path).status == 404 and api.get("/api/mailboxes").json["items"] == []


def test_a_failed_login_names_its_cause_for_each_server(app: Flask, mail: RunningMailServer) -> None:
    api = ApiClient(app).log_in(make_user(make_client()))
    made = api.post("/api/mailboxes", body(mail, imap_password="wrong"))
    answer = api.post(f"/api/mailboxes/{made.json['id']}/verify").json
    assert (answer["status"], answer["verification"]["ok"]) == ("auth_failed", False)
    assert answer["verification"]["smtp"]["ok"] and answer["verification"]["imap"]["cause"] == "wrong_password"
    assert "password" in answer["verification"]["imap"]["message"]


def test_private_networks_are_refused_without_saying_what_is_there(app: Flask, mail: RunningMailServer) -> None:
    api = ApiClient(app).log_in(make_user(make_client()))
    for host in ("10.0.0.1", "169.254.169.254", "[::1]", "::ffff:10.0.0.1", "0177.0.0.1", "localhost:25"):
        refused = api.post("/api/mailboxes", body(mail, smtp_host=host))
        assert refused.status == 422 and "smtp_host" in refused.details, (host, refused.text)


def test_the_eleventh_test_of_a_minute_is_refused(app: Flask) -> None:
    client = make_client()
    api = ApiClient(app).log_in(make_user(client))
    mailbox = make_mailbox(client, smtp_port=9, imap_port=9)
    path = f"/api/mailboxes/{mailbox.id}/verify"
    assert [api.post(path).status for _ in range(11)] == [200] * 10 + [429]


def test_agents_and_viewers_read_and_strangers_find_nothing(app: Flask, mail: RunningMailServer) -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    for role in ("agent", "viewer"):
        api = ApiClient(app).log_in(make_user(client, role=role))
        assert api.get(f"/api/mailboxes/{mailbox.id}").status == 200
        assert api.post(f"/api/mailboxes/{mailbox.id}/pause").status == 403
        assert api.post("/api/mailboxes", body(mail)).status == 403
    stranger = ApiClient(app).log_in(make_user(make_client()))
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/verify"), ("POST", "/pause"), ("POST", "/resume")):
        assert stranger.send(method, f"/api/mailboxes/{mailbox.id}{path}", json={} if method != "GET" else None).status in {404, 415}


def test_a_mailbox_in_use_is_not_removed_by_accident(app: Flask) -> None:
    client = make_client()
    api = ApiClient(app).log_in(make_user(client))
    mailbox = make_mailbox(client)
    make_campaign(client, mailboxes=(mailbox,))
    path = f"/api/mailboxes/{mailbox.id}"
    refused = api.delete(path)
    assert (refused.status, refused.code) == (409, "mailbox_in_use")
    assert api.delete(f"{path}?although_used=true").status == 204
