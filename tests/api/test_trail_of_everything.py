"""Every change a person makes by API, every export and every view of a secret is a line of the trail: who, from where, in whose client."""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.blueprints.api.core import OPERATIONS
from app.core.extensions import db
from app.models import AuditEntry, Blob, Client, Conversation, User
from tests.api.api_client import Answer, ApiClient
from tests.api.test_counterparts import braced
from tests.api.test_deliveries import MIME
from tests.factories import (
    MONDAY_TEN,
    make_campaign,
    make_client,
    make_conversation,
    make_delivery,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_message,
    make_user,
    save,
)
from tests.second_factors import PASSWORD, code, next_step, with_app

pytestmark = pytest.mark.thorough

#: Operations that change nothing of anybody's, and why.
CHANGE_NOTHING = {
    "POST /api/campaigns/{row_id}/preview": "renders and forgets",
    "POST /api/auth/refresh": "the same login goes on",
    "POST /api/auth/claim": "a new instance: tests/api/test_page_demands.py",
    "POST /api/auth/link": "nobody is logged in yet: tests/api/test_page_demands.py",
    "POST /api/admin/migrations/bootstrap": "nothing is pending here; tests/api/test_original_names.py runs one and finds its line",
}
#: Reading these takes something out or shows a secret.
READS = {
    "GET /api/leads/export", "GET /api/suppressions/export", "GET /api/audit/export", "GET /api/imports/{row_id}/rejected",
    "GET /api/inbox/messages/{row_id}/source",
}  # fmt: skip


class Person:
    """Acts, and looks after every act whether the trail has a new line of theirs."""

    def __init__(self, app: Flask, user: User, client: Client) -> None:
        self.api, self.user_id, self.client_id = ApiClient(app).log_in(user), user.id, client.id
        self.shapes = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", braced(one.address)) + "$"), one) for one in OPERATIONS]
        self.done: set[str] = set()
        self.silent: list[str] = []

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        last = db.session.scalar(select(func.max(AuditEntry.id))) or 0
        db.session.rollback()
        options |= {"json": body if body is not None else {}} if method in {"POST", "PATCH"} and "data" not in options else {}
        answer: Answer = self.api.send(method, path, **options)
        assert answer.status < 400, f"{method} {path}: {answer.status} {answer.text}"
        names = [f"{method} {braced(one.address)}" for shape, one in self.shapes if one.method == method and shape.match(path.split("?")[0])]
        exact = [name for name in names if "{" not in name] or names
        self.done |= set(exact)
        lines = db.session.query(AuditEntry).filter(AuditEntry.id > last).all()
        mine = [line for line in lines if line.user_id == self.user_id and line.address and line.client_id in {None, self.client_id}]
        if not mine and not set(exact) & set(CHANGE_NOTHING):
            self.silent.append(f"{exact} {[(line.action, line.user_id, line.address) for line in lines]}")
        db.session.rollback()
        return answer.json

    def file(self, path: str, content: bytes, **form: str) -> Any:
        data = {"file": (io.BytesIO(content), "list.csv"), **form}
        return self("POST", path, data=data, content_type="multipart/form-data")


@pytest.fixture
def client(app: Flask) -> Client:
    return make_client()


@pytest.fixture
def person(app: Flask, client: Client) -> Person:
    return Person(app, make_user(client, is_operator=True, password="four short words here"), client)


def test_every_changing_operation_leaves_its_line(person: Person, client: Client, app: Flask) -> None:
    _leads_and_imports(person)
    _mailboxes(person)
    _campaigns(person, client)
    _outbox_and_inbox(person, client)
    _people_and_settings(person, client)
    _webhooks(person)
    _installation(person)
    _oneself(person)
    _login(person)
    assert person.silent == []
    changing = {f"{one.method} {braced(one.address)}" for one in OPERATIONS if one.method in {"POST", "PATCH", "DELETE", "PUT"}}
    assert (changing | READS) - person.done - set(CHANGE_NOTHING) == set(), "act here by every operation that changes something"


def _webhooks(do: Person) -> None:
    hooks = "/api/webhook-endpoints"
    one = f"{hooks}/{do('POST', hooks, {'url': 'http://127.0.0.1:9/nobody'})['endpoint']['id']}"
    tested = do("POST", f"{one}/test")["id"]
    do("POST", f"/api/webhook-deliveries/{tested}/redeliver")
    do("POST", f"{one}/redeliver-failed", {"since": "2026-01-01T00:00:00Z"})
    do("POST", f"{one}/rotate-secret")
    do("POST", f"{one}/end-old-secrets")
    do("PATCH", one, {"enabled": False})
    do("DELETE", one)


def _leads_and_imports(do: Person) -> None:
    one = do("POST", "/api/leads", {"email": "ada@buyer.test"})["id"]
    two = do("POST", "/subscribers/", {"email": "bob@buyer.test"})["id"]
    do("PATCH", f"/api/leads/{one}", {"first_name": "Ada"})
    do("POST", "/api/leads/act", {"action": "suppress", "lead_ids": [two]})
    do("DELETE", f"/api/leads/{one}")
    do("GET", "/api/leads/export")
    listed = do("POST", "/api/suppressions", {"email": "never@buyer.test"})["items"][0]["id"]
    do("DELETE", f"/api/suppressions/{listed}?reason=asked")
    do.file("/api/suppressions/import", b"x@buyer.test\ny@buyer.test")
    do("GET", "/api/suppressions/export")
    do("POST", "/api/admin/suppressions", {"email": "a@everywhere.test", "reason": "law"})
    do("POST", "/api/admin/suppressions/many", {"emails": ["b@everywhere.test"], "reason": "law"})
    run = do.file("/api/imports", b"email\ncara@buyer.test\nno address")["id"]
    do("GET", f"/api/imports/{run}/rejected")
    do("POST", f"/api/imports/{run}/undo")
    kept = do.file("/api/imports/upload", b"email\ndan@buyer.test")["id"]
    do("POST", f"/api/imports/{kept}/start", {"dry_run": True})


def _mailboxes(do: Person) -> None:
    servers = {"smtp_host": "127.0.0.1", "smtp_port": 9, "smtp_security": "none", "imap_host": "127.0.0.1", "imap_port": 9, "imap_security": "none"}
    box = do("POST", "/api/mailboxes", {"email": "me@ourhouse.test", "smtp_password": "secret of it", **servers})["id"]
    do("PATCH", f"/api/mailboxes/{box}", {"daily_cap": 17})
    do("POST", f"/api/mailboxes/{box}/read-older", {"days": 30})
    do("POST", f"/api/mailboxes/{box}/verify")
    do("POST", f"/api/mailboxes/{box}/pause")
    do("POST", f"/api/mailboxes/{box}/resume")
    do("POST", "/api/mailboxes/act", {"action": "pause", "all": True})
    do("POST", f"/api/mailboxes/{box}/resume")
    do("POST", f"/api/switches/mailbox/{box}/stop")
    do("POST", f"/api/switches/mailbox/{box}/release")
    do("POST", "/api/mailboxes/many", {"lines": "two@gmail.com,app password words"})
    do("DELETE", f"/api/mailboxes/{box}")


def _campaigns(do: Person, client: Client) -> None:
    box, other = make_mailbox(client).id, make_mailbox(client).id
    leads = [make_lead(client).id for _ in range(4)]
    made = do("POST", "/api/campaigns", {"name": "Spring", "mailbox_ids": [box, other]})["id"]
    here = f"/api/campaigns/{made}"
    do("POST", f"{here}/starter", {"key": do.api.get("/api/campaigns/starters").json["items"][0]["key"]})
    do("PATCH", here, {"daily_cap": 5})
    step = do("POST", f"{here}/steps", {"subject": "Hello", "text": "Hi"})["id"]
    do("PATCH", f"/api/steps/{step}", {"text": "Hello there, {{ unsubscribe_url }}"})
    do("POST", f"/api/steps/{step}/move", {"after": None})
    do("DELETE", f"/api/steps/{step}")
    do("POST", f"{here}/leads", {"lead_ids": leads[:2]})
    do("POST", f"{here}/candidates/add", {"q": "Ada"})
    do("POST", f"{here}/leads/act", {"action": "pause", "lead_ids": leads[:1]})
    do("POST", f"{here}/leads/assign", {"lead_ids": leads[:1], "mailbox_id": other})
    do("POST", f"{here}/preview")
    do("POST", f"{here}/test")
    do("POST", f"{here}/rehearsals")
    do("POST", f"{here}/launch")
    do("POST", f"{here}/pause")
    do("POST", f"{here}/resume")
    do("POST", f"/api/switches/campaign/{made}/stop")
    do("POST", f"/api/switches/campaign/{made}/release")
    copy = do("POST", f"{here}/duplicate")["id"]
    do("POST", f"/api/campaigns/{copy}/leads", {"lead_ids": leads[2:3], "allow_elsewhere": True})
    do("POST", f"/campaigns/{copy}/send")
    do("POST", f"{here}/stop")
    do("DELETE", here)


def _outbox_and_inbox(do: Person, client: Client) -> None:
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    rows = {}
    for status in ("uncertain", "failed"):
        lead = make_lead(client)
        walk = make_enrollment(campaign, lead, mailbox, status="held" if status == "uncertain" else "failed")
        rows[status] = make_delivery(
            walk, lead, mailbox, status=status, mime=MIME, permitted_at=MONDAY_TEN, permit_product_at=MONDAY_TEN, message_id=f"<{status}@ours.test>",
        ).id  # fmt: skip
    do("POST", f"/api/deliveries/{rows['uncertain']}/resolve", {"outcome": "was_sent"})
    do("POST", f"/api/deliveries/{rows['failed']}/retry", {"action": "suppress"})
    lead = make_lead(client)
    talk: Conversation = make_conversation(client, mailbox, lead, unread=1)
    message = make_message(talk, match_candidates=[{"lead_id": lead.id}])
    here = f"/api/inbox/conversations/{talk.id}"
    for verb in ("read", "unread", "close", "reopen"):
        do("POST", f"{here}/{verb}")
    do("POST", f"{here}/assign", {"user_id": do.user_id})
    do("POST", f"{here}/snooze", {"until": "2027-02-01T09:00:00Z"})
    do("POST", "/api/inbox/conversations/act", {"action": "reopen", "ids": [talk.id]})
    talk.needs_match = True
    save(talk)
    do("POST", f"{here}/match", {"message_id": message.id, "lead_id": lead.id})
    answer = do("POST", f"{here}/reply", {"text": "Thank you."})["id"]
    do("POST", f"/api/inbox/messages/{answer}/undo")
    source = make_message(talk, raw_sha256=_blob(client, MIME))
    do("GET", f"/api/inbox/messages/{source.id}/source")


def _people_and_settings(do: Person, client: Client) -> None:
    seat = do("POST", "/api/members", {"email": "new@house.test", "name": "New", "role": "agent"})["member"]
    do("POST", f"/api/members/{seat['id']}/link")
    do("PATCH", f"/api/members/{seat['id']}", {"role": "viewer"})
    do("DELETE", f"/api/members/{seat['id']}")
    user = do("POST", "/api/users", {"email": "login@house.test", "name": "Login"})["user"]["id"]
    do("PATCH", f"/api/users/{user}", {"is_operator": True})
    do("POST", f"/api/users/{user}/end-sessions")
    do("POST", f"/api/users/{user}/link")
    key = do("POST", "/api/keys", {"name": "CRM"})["key"]["id"]
    do("DELETE", f"/api/keys/{key}")
    do("PATCH", f"/api/clients/{client.id}", {"retention_days": 400})
    do("PATCH", "/api/settings", {"client_hour_cap": 99})
    do("POST", "/api/switches/client/stop", {"reason": "test"})
    do("POST", "/api/switches/client/release")
    do("GET", "/api/audit/export")


def _installation(do: Person) -> None:
    do("PATCH", "/api/settings/instance", {"instance_hour_cap": 900})
    do("POST", "/api/switches/instance/stop")
    do("POST", "/api/switches/instance/release")
    do("POST", "/api/automation/scheduler/stop")
    do("POST", "/api/automation/scheduler/start")
    do("POST", "/api/admin/migrations/bootstrap")
    source = do("POST", "/api/admin/webhooks", {"name": "Carrier", "verifier": "standard_webhooks"})["id"]
    here = f"/api/admin/webhooks/{source}"
    do("PATCH", here, {"name": "Other"})
    do("POST", f"{here}/secret")
    do("POST", f"{here}/end-old-secrets")
    do("POST", f"{here}/reveal")
    do("POST", f"{here}/address")
    do("POST", f"{here}/release")
    do("DELETE", here)
    do("POST", "/api/admin/arrivals/replay", {"ids": [1]})
    do("POST", "/api/admin/arrivals/let-be", {"ids": [1]})
    before, do.client_id = do.client_id, -1
    made = do.api.post("/api/clients", {"name": "Another", "timezone": "UTC"})
    assert made.status == 201 and db.session.query(AuditEntry).filter_by(action="client.create", client_id=made.json["id"]).count() == 1
    do.done.add("POST /api/clients")
    do.client_id = before


def _oneself(do: Person) -> None:
    user, words = db.session.get_one(User, do.user_id), "four short words here"
    do("PATCH", "/api/me", {"timezone": "Asia/Tokyo"})
    do("POST", "/api/me/password", {"current_password": words, "new_password": "four quiet herons wade"})
    do("POST", "/api/me/password", {"current_password": "four quiet herons wade", "new_password": words})
    for path in ("/api/me/sessions/{}", "/api/me/end-sessions"):
        elsewhere = ApiClient(do.api.app).log_in(user)
        places = elsewhere.get("/api/me/sessions").json["items"]
        number = next(place["id"] for place in places if place["current"])
        do("DELETE" if "{}" in path else "POST", path.format(number))
    do("POST", "/api/me/second-factor", {"password": words})
    do("POST", "/api/me/second-factor/confirm", {"otp": code(user)})
    next_step()
    codes = do("POST", "/api/me/second-factor/recovery-codes", {"otp": code(user)})["recovery_codes"]
    do("POST", "/api/me/second-factor/remove", {"otp": codes[0]})
    other = make_user(password=PASSWORD)
    with_app(do.api.app, other)
    do("DELETE", f"/api/users/{other.id}/second-factor")


def _login(do: Person) -> None:
    do("POST", "/api/auth/logout")
    email = db.session.get_one(User, do.user_id).email
    do("POST", "/api/auth/login", {"email": email, "password": "four short words here"})


def _blob(client: Client, raw: bytes) -> str:
    digest = hashlib.sha256(raw).hexdigest()
    save(Blob(client_id=client.id, sha256=digest, bytes=raw, size=len(raw), created_at=MONDAY_TEN))
    return digest
