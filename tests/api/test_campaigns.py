"""Campaigns by program: from a draft to a stopped one, with every refusal in its shape."""

from __future__ import annotations

from typing import Any

from flask import Flask

from app.core.extensions import db
from app.models import Delivery, Enrollment
from tests.api.api_client import ApiClient
from tests.factories import (
    MONDAY_TEN,
    first_step,
    make_campaign,
    make_client,
    make_delivery,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_user,
)

WINDOWS = [{"weekday": day, "from": "09:00", "to": "17:00"} for day in range(5)]
STEPS: list[dict[str, Any]] = [
    {"channel": "email", "delay": {"value": 0, "unit": "working_days"}, "subject": "Hello {{ first_name }}", "text": "Hi.\n\n{{ unsubscribe_url }}"},
    {"channel": "email", "delay": {"value": 3, "unit": "working_days"}, "subject": "", "text": "Again.\n\n{{ unsubscribe_url }}", "html": ""},
]


def body(client_id: int, *mailboxes: int, **more: Any) -> dict[str, Any]:
    return {
        "client_id": client_id, "name": "Autumn", "timezone": "Europe/Berlin", "windows": WINDOWS, "closed_days": ["2026-12-24"],
        "weekend": {"mode": "closed", "percent": 0}, "holidays_country": "DE", "mailbox_ids": list(mailboxes), "daily_cap": 50,
        "daily_new_leads": 20, "steps": STEPS, **more,
    }  # fmt: skip


def test_a_campaign_goes_from_draft_to_stopped(app: Flask) -> None:
    client = make_client()
    mailbox, leads = make_mailbox(client), [make_lead(client) for _ in range(3)]
    api = ApiClient(app).log_in(make_user(client))
    made = api.post("/api/campaigns", body(client.id, mailbox.id))
    assert made.status == 201, made.text
    assert (made.json["status"], made.json["windows"], made.json["timezone"]) == ("draft", WINDOWS, "Europe/Berlin")
    path = f"/api/campaigns/{made.json['id']}"
    steps = api.get(f"{path}/steps").json["items"]
    assert [step["delay"]["value"] for step in steps] == [0, 3]
    added = api.post(f"{path}/leads", {"lead_ids": [lead.id for lead in leads]})
    assert added.json == {"enrolled": 3, "skipped": {}}, added.text
    assert api.post(f"{path}/pause").status == 409
    assert api.post(f"{path}/launch").json["status"] == "running"
    assert api.post(f"{path}/launch").status == 409
    status = api.get(f"{path}/status").json
    assert (status["leads"], status["contacted"], len(status["funnel"])) == (3, 0, 2)
    assert len(status["next_events"]) == 3
    assert api.post(f"{path}/pause").json["status"] == "paused"
    assert api.post(f"{path}/resume").json["status"] == "running"
    assert api.post(f"{path}/stop").json["status"] == "stopped"
    refused = api.post(f"{path}/resume")
    assert refused.status == 409 and {"code", "message", "details"} <= refused.json.keys()
    copy = api.post(f"{path}/duplicate")
    assert (copy.status, copy.json["status"]) == (201, "draft")


def test_the_launch_says_what_stands_in_the_way(app: Flask) -> None:
    client = make_client(postal_address="")
    api = ApiClient(app).log_in(make_user(client))
    made = api.post("/api/campaigns", {"client_id": client.id, "name": "Empty"})
    refused = api.post(f"/api/campaigns/{made.json['id']}/launch")
    assert refused.status == 422 and refused.json["details"], refused.text


def test_faults_are_named_by_their_field(app: Flask) -> None:
    client = make_client()
    api = ApiClient(app).log_in(make_user(client))
    wrong = body(client.id, 999_999, windows=[{"weekday": 0, "from": "19:00", "to": "09:00"}], timezone="Mars/Olympus")
    answer = api.post("/api/campaigns", wrong)
    assert answer.status == 422
    assert any(key.startswith("mailbox_ids") for key in answer.details) and "timezone" in answer.details
    assert api.post("/api/campaigns", {"client_id": client.id, "name": "x", "unknown": 1}).details.keys() == {"unknown"}


def test_a_step_is_added_changed_and_removed(app: Flask) -> None:
    client = make_client()
    api = ApiClient(app).log_in(make_user(client))
    path = f"/api/campaigns/{api.post('/api/campaigns', body(client.id)).json['id']}"
    first = api.get(f"{path}/steps").json["items"][0]["id"]
    made = api.post(f"{path}/steps", {"after": first, "delay": {"value": 1, "unit": "days"}, "subject": "", "text": "Between."})
    assert made.status == 201, made.text
    assert api.get(f"{path}/steps").json["items"][1]["id"] == made.json["id"]
    assert api.patch(f"/api/steps/{made.json['id']}", {"text": "Changed."}).json["text"] == "Changed."
    broken = api.patch(f"/api/steps/{made.json['id']}", {"text": "{{ nothing"})
    assert broken.status == 422 and "text" in broken.details, broken.text
    assert api.delete(f"/api/steps/{made.json['id']}").status == 204
    assert len(api.get(f"{path}/steps").json["items"]) == 2


def test_a_step_without_a_place_goes_to_the_end_and_one_campaign_shows_its_steps_and_mailboxes(app: Flask) -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    api = ApiClient(app).log_in(make_user(client))
    path = f"/api/campaigns/{api.post('/api/campaigns', {'name': 'Step by step', 'mailbox_ids': [mailbox.id]}).json['id']}"
    for text in ("One", "Two", "Three"):
        assert api.post(f"{path}/steps", {"subject": text, "text": text}).status == 201
    assert api.post(f"{path}/steps", {"after": None, "subject": "Zero", "text": "Zero"}).status == 201
    whole = api.get(path).json
    assert [step["text"] for step in whole["steps"]] == ["Zero", "One", "Two", "Three"]
    assert whole["mailbox_ids"] == [mailbox.id]
    assert api.get(f"{path}/preview?step_id={whole['steps'][3]['id']}").json["subject"] == "Three"
    assert api.get(f"{path}/preview?step_id=999999").status == 404


def test_a_step_that_leads_would_lose_needs_a_yes(app: Flask) -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    make_enrollment(campaign, make_lead(client), mailbox, last_step_id=first_step(campaign).id)
    make_enrollment(campaign, make_lead(client), mailbox)
    api = ApiClient(app).log_in(make_user(client))
    step = first_step(campaign).id
    refused = api.delete(f"/api/steps/{step}")
    assert (refused.status, refused.code, refused.details["count"]) == (409, "needs_confirmation", 1), refused.text
    assert api.delete(f"/api/steps/{step}?confirmed=true").status == 204


def test_the_preview_is_what_the_lead_would_get(app: Flask) -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    lead = make_lead(client, first_name="Grace")
    make_enrollment(campaign, lead, mailbox)
    api = ApiClient(app).log_in(make_user(client))
    shown = api.post(f"/api/campaigns/{campaign.id}/preview", {"lead_id": lead.id}).json
    assert (shown["subject"], shown["missing"]) == ("Hello Grace", []) and "Hi Grace" in shown["text"]
    unsaved = api.post(f"/api/campaigns/{campaign.id}/preview", {"text": "Only {{ company }}"}).json
    assert "Only Buyer Ltd" in unsaved["text"]


def test_a_test_goes_to_oneself_only(app: Flask) -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    make_enrollment(campaign, make_lead(client), mailbox)
    user = make_user(client, "agent")
    answer = ApiClient(app).log_in(user).post(f"/api/campaigns/{campaign.id}/test")
    assert answer.status == 201, answer.text
    assert db.session.get_one(Delivery, answer.json["delivery_id"]).to_address == user.email


def test_leads_are_paused_resumed_skipped_and_explained(app: Flask) -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    lead = make_lead(client)
    make_enrollment(campaign, lead, mailbox)
    api = ApiClient(app).log_in(make_user(client, "agent"))
    act = f"/api/campaigns/{campaign.id}/leads/act"
    assert api.post(act, {"action": "pause", "lead_ids": [lead.id]}).json == {"changed": 1}
    line = api.get(f"/api/campaigns/{campaign.id}/leads").json["items"][0]
    assert (line["status"], line["state"], line["reason"]) == ("paused", "pending_invite", "lead_paused") and line["frees"]
    assert api.post(act, {"action": "resume", "lead_ids": [lead.id]}).json == {"changed": 1}
    assert api.post(act, {"action": "skip", "lead_ids": [lead.id]}).json == {"changed": 1}
    db.session.expire_all()
    assert db.session.query(Enrollment).one().status == "skipped"


def test_an_agent_drafts_but_does_not_launch_and_a_stranger_sees_nothing(app: Flask) -> None:
    client = make_client()
    agent = ApiClient(app).log_in(make_user(client, "agent"))
    made = agent.post("/api/campaigns", body(client.id))
    assert made.status == 201
    assert agent.post(f"/api/campaigns/{made.json['id']}/launch").status == 403
    stranger = ApiClient(app).log_in(make_user(make_client()))
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/steps"), ("POST", "/launch"), ("GET", "/status"), ("POST", "/stop")):
        assert stranger.send(method, f"/api/campaigns/{made.json['id']}{path}", json={} if method != "GET" else None).status == 404, path


def test_an_uncertain_message_is_decided_and_a_failed_one_retried(app: Flask) -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    api = ApiClient(app).log_in(make_user(client))
    facts: dict[str, Any] = {"mime": b"Subject: Hello\r\n\r\nHi", "permitted_at": MONDAY_TEN, "permit_product_at": MONDAY_TEN}
    rows = []
    for status, reason in (("uncertain", "previous_uncertain"), ("failed", "refused")):
        lead = make_lead(client)
        enrollment = make_enrollment(campaign, lead, mailbox, status="held" if status == "uncertain" else "failed", reason=reason)
        rows.append(make_delivery(enrollment, lead, mailbox, status=status, message_id=f"{status}@ours.test", **facts))
    again = api.post(f"/api/deliveries/{rows[0].id}/resolve", {"outcome": "send_again"})
    assert (again.status, again.json["retry_of"], again.json["status"]) == (200, rows[0].id, "queued"), again.text
    assert api.post(f"/api/deliveries/{rows[0].id}/resolve", {"outcome": "was_sent"}).status == 409
    retried = api.post(f"/api/deliveries/{rows[1].id}/retry")
    assert retried.json["retry_of"] == rows[1].id
    assert api.get(f"/api/deliveries/{rows[0].id}").json["reason"] == "resent"
    assert [row["id"] for row in api.get("/api/deliveries?status=failed").json["items"]] == [rows[1].id]
    assert api.get("/api/deliveries?message_id=failed@ours.test").json["items"][0]["id"] == rows[1].id
