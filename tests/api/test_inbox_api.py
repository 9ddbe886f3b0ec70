# ruff: noqa: E501 - one declaration or one case per line
"""A program reads the inbox, answers and tidies up; every answer is checked against the published description."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from flask import Flask

from app.core.extensions import db
from app.models import Delivery
from tests.api.api_client import ApiClient
from tests.factories import MONDAY_TEN, make_client, make_conversation, make_lead, make_mailbox, make_message, make_user


class Desk:
    def __init__(self, app: Flask) -> None:
        self.client = make_client()
        self.user = make_user(self.client, "agent")
        self.mailbox = make_mailbox(self.client)
        self.lead = make_lead(self.client, first_name="Ada", last_name="Brook")
        self.conversation = make_conversation(self.client, self.mailbox, self.lead, unread=1)
        self.message = make_message(self.conversation, "Yes please.\n\nOn Mon, 23 Nov 2026 at 09:00, a@b.test wrote:\n> Hello", external_id="in-1@buyer.test")
        self.api = ApiClient(app).log_in(self.user)
        self.path = f"/api/inbox/conversations/{self.conversation.id}"

    def post(self, what: str, body: Any = None, **options: Any) -> Any:
        return self.api.post(f"{self.path}/{what}", body, **options)


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


def test_conversations_are_listed_counted_and_read_whole(desk: Desk) -> None:
    listed = desk.api.get("/api/inbox/conversations?view=unread").json
    assert [row["id"] for row in listed["items"]] == [desk.conversation.id] and listed["next_cursor"] is None
    assert listed["items"][0]["mailbox_id"] == desk.mailbox.id and listed["items"][0]["last_message_at"] == "2026-11-23T10:00:00Z"
    assert desk.api.get("/api/inbox/counters").json["views"]["unread"] == 1
    whole = desk.api.get(desk.path).json
    assert whole["answer_to"] == desk.lead.email and whole["suppressed"] is False and whole["name"] == "Ada"
    message = desk.api.get(f"{desk.path}/messages").json["items"][0]
    assert (message["direction"], message["state"], message["visible_text"]) == ("in", "received", "Yes please.")
    assert message["from"]["address"] == desk.lead.email and message["message_id"] == "in-1@buyer.test"


def test_pages_of_the_list_meet_without_gap_or_repeat(desk: Desk) -> None:
    for _ in range(4):
        make_conversation(desk.client, desk.mailbox, make_lead(desk.client))
    seen: list[int] = []
    cursor = ""
    while True:
        page = desk.api.get(f"/api/inbox/conversations?limit=2{cursor}").json
        seen += [row["id"] for row in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 5


def test_an_answer_is_queued_shown_and_sent_once_per_key(desk: Desk) -> None:
    body = {"text": "Gladly.", "attachments": [{"filename": "a.txt", "content_type": "text/plain", "content": base64.b64encode(b"hello").decode()}]}
    first = desk.post("reply", body, headers={"Idempotency-Key": "k1"})
    assert first.status == 201 and first.json["state"] == "queued" and first.json["attachments"][0]["size"] == 5
    again = desk.post("reply", body, headers={"Idempotency-Key": "k1"})
    assert again.json["id"] == first.json["id"] and db.session.query(Delivery).count() == 1
    assert desk.api.get(desk.path).json["last_direction"] == "out"


def test_an_answer_can_be_taken_back_until_it_left(desk: Desk) -> None:
    made = desk.post("reply", {"text": "Too fast."}).json
    assert desk.api.post(f"/api/inbox/messages/{made['id']}/undo").status == 204
    assert [row["direction"] for row in desk.api.get(f"{desk.path}/messages").json["items"]] == ["in"]
    sent = desk.post("reply", {"text": "Now."}).json
    row = db.session.get_one(Delivery, sent["delivery_id"])
    row.mime, row.status = b"x", "sent"
    db.session.commit()
    refused = desk.api.post(f"/api/inbox/messages/{sent['id']}/undo")
    assert refused.status == 409 and refused.code == "already_left"


@pytest.mark.parametrize("body", [{}, {"text": "  "}, {"text": "x", "attachments": [{"filename": "a", "content": "%%%"}]}, {"text": "x", "undo_seconds": 61}, {"txt": "x"}])
def test_what_cannot_be_sent_is_refused_with_the_field(desk: Desk, body: dict[str, Any]) -> None:
    answer = desk.post("reply", body)
    assert answer.status == 422 and answer.details


def test_triage_by_program(desk: Desk) -> None:
    assert desk.post("read").json["unread"] == 0 and desk.post("unread").json["unread"] == 1
    assert desk.post("close").json["status"] == "closed" and desk.post("reopen").json["status"] == "open"
    assert desk.post("assign", {"user_id": desk.user.id}).json["assignee_id"] == desk.user.id
    assert desk.post("assign", {"user_id": None}).json["assignee_id"] is None
    assert desk.post("assign", {"user_id": make_user(make_client()).id}).status == 422
    snoozed = desk.post("snooze", {"until": "2027-01-04T09:00:00Z"}).json
    assert (snoozed["status"], snoozed["snoozed_until"]) == ("snoozed", "2027-01-04T09:00:00Z")
    assert desk.post("snooze", {"until": "2020-01-01T00:00:00Z"}).status == 422


def test_an_ambiguous_answer_is_decided_once(desk: Desk) -> None:
    unclear = make_conversation(desk.client, desk.mailbox, needs_match=True)
    message = make_message(unclear, match_candidates=[{"lead_id": desk.lead.id, "delivery_id": None, "conversation_id": None, "rule": "same_domain"}])
    path = f"/api/inbox/conversations/{unclear.id}"
    assert desk.api.get(path).json["candidates"][0]["lead_id"] == desk.lead.id
    decided = desk.api.post(f"{path}/match", {"message_id": message.id, "lead_id": desk.lead.id})
    assert decided.status == 200 and decided.json["lead_id"] == desk.lead.id and decided.json["needs_match"] is False
    assert desk.api.post(f"{path}/match", {"message_id": message.id, "lead_id": None}).status == 409


def test_viewers_read_and_may_neither_answer_nor_tidy_up(desk: Desk, app: Flask) -> None:
    viewer = ApiClient(app).log_in(make_user(desk.client, "viewer"))
    assert viewer.get(desk.path).status == 200
    for what, body in (("reply", {"text": "x"}), ("close", {}), ("read", {}), ("assign", {"user_id": None}), ("snooze", {"until": "2027-01-04T09:00:00Z"})):
        assert viewer.post(f"{desk.path}/{what}", body).status == 403


def test_strangers_conversations_do_not_exist(desk: Desk, app: Flask) -> None:
    stranger = ApiClient(app).log_in(make_user(make_client(), "admin"))
    for path in (desk.path, f"{desk.path}/messages"):
        assert stranger.get(path).status == 404
    assert stranger.post(f"{desk.path}/reply", {"text": "x"}).status == 404
    assert stranger.get("/api/inbox/conversations").json["items"] == [] and MONDAY_TEN
