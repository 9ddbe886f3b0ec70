"""Idempotency-Key where it is hard: files, secrets in answers, the network in between, processes that die."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.blueprints.api import mailboxes
from app.core.clock import machine_now
from app.core.db import JOBS_ROLE, WEB_ROLE, use_database_role
from app.core.errors import Conflict
from app.core.extensions import db
from app.models import ApiKey, AuditEntry, Delivery, Lead, LeadImport, RememberedAnswer
from tests.api.api_client import ApiClient
from tests.factories import (
    make_campaign,
    make_client,
    make_conversation,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_message,
    make_user,
    save,
)

KEY = {"Idempotency-Key": "once"}


@pytest.fixture
def admin(app: Flask) -> ApiClient:
    return ApiClient(app).log_in(make_user(make_client()))


def _upload(admin: ApiClient, content: str, boundary: str) -> object:
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="dry_run"\r\n\r\nfalse\r\n--{boundary}\r\n'
        f'Content-Disposition: form-data; name="file"; filename="p.csv"\r\n\r\n{content}\r\n--{boundary}--\r\n'
    )
    return admin.send("POST", "/api/imports", data=body, content_type=f"multipart/form-data; boundary={boundary}", headers=KEY)


def test_the_same_file_sent_again_is_one_import_although_its_parts_are_divided_differently(admin: ApiClient) -> None:
    first, again = (_upload(admin, "email\nada@buyer.test", name) for name in ("one", "two"))
    assert first.status == again.status == 201 and first.json == again.json  # type: ignore[attr-defined]
    other = _upload(admin, "email\nbob@buyer.test", "three")
    assert other.code == "idempotency_key_reused" and db.session.query(LeadImport).count() == 1  # type: ignore[attr-defined]


def test_a_secret_that_is_shown_once_is_remembered_sealed(admin: ApiClient) -> None:
    first, again = (admin.post("/api/keys", {"name": "CRM"}, headers=KEY) for _ in range(2))
    assert first.json["secret"] == again.json["secret"] and db.session.query(ApiKey).count() == 1
    stored = db.session.scalar(text("SELECT body::text FROM remembered_answers"))
    assert "sealed" in stored and first.json["secret"] not in stored and "CRM" not in stored


def test_a_request_still_at_work_is_waited_for_and_one_lost_with_its_process_is_done_anew(admin: ApiClient, app: Flask) -> None:
    admin.post("/api/leads", {"email": "ada@buyer.test"}, headers=KEY)
    row = db.session.query(RememberedAnswer).one()
    row.status, row.body = None, None
    save(row)
    body = {"email": "ada@buyer.test"}
    assert admin.post("/api/leads", body, headers=KEY).code == "idempotency_in_progress"
    assert admin.post("/api/leads", {"email": "bob@buyer.test"}, headers=KEY).code == "idempotency_key_reused"
    row.created_at = machine_now() - timedelta(minutes=11)
    save(row)
    assert admin.post("/api/leads", body, headers=KEY).code == "duplicate_lead", "worked on, and it finds what the lost one had done"


def test_a_request_that_fails_behind_the_network_does_not_use_up_its_key(
    admin: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id = admin.get("/api/clients").json["items"][0]["id"]
    from app.models import Client

    mailbox = make_mailbox(db.session.get_one(Client, client_id), status="connecting")

    def fails(*_given: object) -> object:
        raise Conflict("The server hung up.")

    with monkeypatch.context() as broken:
        broken.setattr(mailboxes, "verify_now", fails)
        assert admin.post(f"/api/mailboxes/{mailbox.id}/verify", headers=KEY).code == "conflict"
    assert db.session.query(RememberedAnswer).count() == 0


def test_a_key_is_free_again_after_a_day(admin: ApiClient) -> None:
    admin.post("/api/leads", {"email": "ada@buyer.test"}, headers=KEY)
    row = db.session.query(RememberedAnswer).one()
    row.created_at = machine_now() - timedelta(hours=24, minutes=1)
    save(row)
    assert admin.post("/api/leads", {"email": "bob@buyer.test"}, headers=KEY).status == 201


def _at_once(admin: ApiClient, path: str, body: dict[str, object]) -> list[int]:
    """Four identical requests at the same moment, each on a connection of its own."""
    headers = {"Authorization": f"Bearer {admin.token}", **KEY}
    answers: list[int] = []

    def send() -> None:
        answers.append(admin.app.test_client(use_cookies=False).post(path, json=body, headers=headers).status_code)

    use_database_role(WEB_ROLE)
    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    use_database_role(JOBS_ROLE)
    return answers


def test_what_acts_acts_once_although_four_ask_at_once(app: Flask) -> None:
    """An answer, a test mail, a lead, a key, an invitation, a launch: one effect each, and all four hear the same."""
    client = make_client()
    mailbox, lead = make_mailbox(client), make_lead(client)
    campaign = make_campaign(client, mailboxes=(mailbox,), status="draft")
    make_enrollment(campaign, lead, mailbox)
    talk = make_conversation(client, mailbox, lead)
    make_message(talk)
    asked = {
        f"/api/inbox/conversations/{talk.id}/reply": {"text": "Thank you."}, f"/api/campaigns/{campaign.id}/test": {},
        "/subscribers/": {"email": "ada@buyer.test"}, "/api/keys": {"name": "CRM"},
        "/api/members": {"email": "new@house.test", "name": "New", "role": "agent"}, f"/campaigns/{campaign.id}/send": {},
    }  # fmt: skip
    for path, body in asked.items():
        admin = ApiClient(app).log_in(make_user(client))  # each with a key of its own: keys belong to the person
        answers = _at_once(admin, path, body)
        assert len(set(answers)) == 1 and answers[0] < 300, (path, answers)
    kinds = sorted(db.session.scalars(select(Delivery.kind)))
    assert kinds == ["reply", "test"], "and the campaign's own messages come with the tick"
    assert db.session.query(ApiKey).count() == 1 and db.session.query(Lead).count() == 2
    counted = {action: db.session.query(AuditEntry).filter_by(action=action).count() for action in ("campaign.launch", "member.grant", "message.reply")}
    assert counted == {"campaign.launch": 1, "member.grant": 1, "message.reply": 1}
