"""What pages do beyond single objects, by program: many at once, figures, tables in and out, dry runs; with the same rights."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask import Flask

from app.core.db import transaction
from app.core.extensions import db
from app.models import Attachment, AuditEntry, Blob, Client, Enrollment, Suppression, User
from app.services import auth
from tests.api.api_client import ApiClient
from tests.factories import (
    MONDAY_TEN,
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
from tests.web.page_client import as_web, web_app


class House:
    def __init__(self, app: Flask) -> None:
        self.app, self.client = app, make_client()
        self.admin, self.agent, self.viewer = (ApiClient(app).log_in(make_user(self.client, role)) for role in ("admin", "agent", "viewer"))
        self.stranger = ApiClient(app).log_in(make_user(make_client()))


@pytest.fixture
def house(app: Flask) -> House:
    return House(app)


def _file(content: bytes, **form: str) -> dict[str, Any]:
    return {"file": (io.BytesIO(content), "list.csv"), **form}


# Leads


def test_leads_are_acted_on_by_filter_or_by_name_and_never_beyond_ones_client(house: House) -> None:
    campaign = make_campaign(house.client, mailboxes=(make_mailbox(house.client),))
    nameless, named = make_lead(house.client, first_name=""), make_lead(house.client)
    foreign = make_lead(make_client())
    assert [row["id"] for row in house.admin.get("/api/leads?missing=first_name").json["items"]] == [nameless.id]
    assert house.admin.get("/api/leads?missing=everything").status == 422
    added = house.admin.post("/api/leads/act", {"action": "add", "filter": {"missing": "first_name"}, "campaign_id": campaign.id}).json
    assert (added["changed"], added["running"]) == (1, False)
    assert house.admin.post("/api/leads/act", {"action": "remove", "lead_ids": [foreign.id]}).json["changed"] == 0
    kept = house.admin.post("/api/leads/act", {"action": "suppress", "filter": {}}).json
    assert (kept["total"], kept["changed"]) == (2, 2) and db.session.query(Suppression).count() == 2
    assert house.agent.post("/api/leads/act", {"action": "add", "lead_ids": [named.id], "campaign_id": campaign.id}).code == "forbidden"
    assert house.viewer.post("/api/leads/act", {"action": "suppress", "lead_ids": [named.id]}).code == "forbidden"
    both = house.admin.post("/api/leads/act", {"action": "remove", "lead_ids": [named.id], "filter": {}})
    assert both.status == 422 and house.admin.post("/api/leads/act", {"action": "add", "lead_ids": [named.id]}).status == 422
    assert house.admin.get("/api/leads/figures").json["total"] == 2
    assert house.admin.get("/api/leads/act").json["running"] is False


def test_more_leads_than_an_answer_can_wait_for_are_worked_on_behind_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.services import lead_work

    for _ in range(3):
        make_lead(house.client)
    monkeypatch.setattr(lead_work, "AT_ONCE", 2)
    began = house.admin.post("/api/leads/act", {"action": "remove", "filter": {}}).json
    assert (began["running"], began["total"], began["done"]) == (True, 3, 0)
    assert house.admin.get("/api/leads/act").json["running"] is True
    assert house.admin.post("/api/leads/act", {"action": "remove", "filter": {}}).code == "conflict", "one at a time"


def test_a_lead_tells_its_walks_and_its_table_leaves_only_with_the_right(house: House) -> None:
    lead = make_lead(house.client, email="ada@buyer.test", first_name="=cmd()")
    make_enrollment(make_campaign(house.client), lead)
    assert [walk["status"] for walk in house.viewer.get(f"/api/leads/{lead.id}/campaigns").json["items"]] == ["waiting"]
    assert house.viewer.get(f"/api/leads/{lead.id}/story").json["items"] == []
    assert house.stranger.get(f"/api/leads/{lead.id}/story").code == "not_found"
    assert house.agent.get("/api/leads/export").code == "forbidden"
    table = house.admin.get("/api/leads/export?q=ada")
    assert table.headers["Content-Type"].startswith("text/csv") and "ada@buyer.test" in table.text and "\n=cmd" not in table.text


def test_an_import_goes_step_by_step_as_on_the_page(house: House) -> None:
    kept = house.admin.upload("/api/imports/upload", _file(b"Mail;Name\nada@buyer.test;Ada\nnot an address;Bob\n")).json
    assert (kept["status"], kept["created"]) == ("uploaded", 0)
    shown = house.admin.get(f"/api/imports/{kept['id']}/columns").json
    assert next((one["name"], one["field"]) for one in shown["columns"]) == ("Mail", "email") and shown["separator"] == ";"
    start = f"/api/imports/{kept['id']}/start"
    mapping = {"Mail": "email", "Name": "first_name"}
    trial = house.admin.post(start, {"dry_run": True, "mapping": mapping}).json
    assert (trial["status"], trial["dry_run"], trial["created"], trial["skipped"][0]["line"]) == ("done", True, 1, 3)
    assert house.admin.post(start, {"mapping": {"Mail": "nothing"}}).status == 422
    assert house.admin.post(start, {"mapping": mapping}).json["created"] == 1
    assert house.admin.post(start).code == "conflict"
    table = house.admin.get(f"/api/imports/{kept['id']}/rejected")
    assert "not an address" in table.text and house.agent.get(f"/api/imports/{kept['id']}/rejected").code == "forbidden"
    assert house.admin.get(f"/api/imports/{kept['id']}/kept").json["items"] == []


# Inbox


def test_conversations_are_closed_given_and_put_away_many_at_once(house: House) -> None:
    mailbox = make_mailbox(house.client)
    talks = [make_conversation(house.client, mailbox, make_lead(house.client), unread=1).id for _ in range(3)]
    foreign = make_client()
    other = make_conversation(foreign, make_mailbox(foreign)).id
    act = "/api/inbox/conversations/act"
    assert house.agent.post(act, {"action": "close", "ids": [*talks[:2], other]}).json == {"changed": 2}
    assert house.agent.post(act, {"action": "close", "ids": talks}).json == {"changed": 1}, "those closed already do not count"
    assert house.agent.post(act, {"action": "snooze", "ids": talks, "until": "2027-02-01T09:00:00Z"}).json == {"changed": 3}
    assert house.agent.post(act, {"action": "snooze", "ids": talks}).status == 422
    assert house.agent.post(act, {"action": "assign", "ids": talks, "user_id": 999_999}).status == 422
    assert house.viewer.post(act, {"action": "read", "ids": talks}).code == "forbidden"


HOSTILE = b"""From: a@b.test\r\nTo: c@d.test\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n
<p onclick="x()">Hello</p><script>alert(1)</script><img src="https://tracker.test/p.gif"><form action="https://evil.test"><input></form>"""


def test_one_message_its_harmless_html_its_bytes_and_its_files(house: House) -> None:
    talk = make_conversation(house.client, make_mailbox(house.client))
    save(Blob(client_id=house.client.id, sha256="a" * 64, bytes=HOSTILE, size=len(HOSTILE), created_at=MONDAY_TEN))
    message = make_message(talk, raw_sha256="a" * 64)
    given = {"filename": "a.pdf", "content_type": "application/pdf", "sha256": "a" * 64, "size": len(HOSTILE)}
    file = save(Attachment(client_id=house.client.id, message_id=message.id, position=0, **given))
    here = f"/api/inbox/messages/{message.id}"
    assert house.viewer.get(here).json["text"] == "Sounds good."
    page = house.viewer.get(f"{here}/html")
    assert "Hello" in page.text and not any(word in page.text for word in ("script", "onclick", "tracker", "evil", "<form"))
    assert "sandbox" in page.headers["Content-Security-Policy"] and page.headers["X-Content-Type-Options"] == "nosniff"
    assert house.viewer.get(f"{here}/source").code == "forbidden"
    assert house.agent.get(f"{here}/source").text == HOSTILE.decode() and "attachment" in house.agent.get(f"{here}/source").headers["Content-Disposition"]
    assert house.viewer.get(f"/api/inbox/files/{file.id}").headers["Content-Type"] == "application/octet-stream"
    for path in (here, f"{here}/html", f"{here}/source", f"/api/inbox/files/{file.id}"):
        assert house.stranger.get(path).code == "not_found"
    headless = make_message(talk)
    assert house.viewer.get(f"/api/inbox/messages/{headless.id}/html").code == "not_found"


# Mailboxes


def test_mailboxes_at_a_glance_many_at_once_and_from_a_list(house: House) -> None:
    good, bad = make_mailbox(house.client, email="good@ourhouse.test"), make_mailbox(house.client, status="auth_failed")
    glance = house.viewer.get("/api/mailboxes/health").json
    assert (glance["total"], glance["groups"]["working"], glance["groups"]["attention"]) == (2, 1, 1)
    assert [row["id"] for row in house.viewer.get("/api/mailboxes/health?group=attention").json["mailboxes"]] == [bad.id]
    assert [row["id"] for row in house.viewer.get("/api/mailboxes/health?q=good").json["mailboxes"]] == [good.id]
    foreign = make_mailbox(make_client())
    assert house.admin.post("/api/mailboxes/act", {"action": "pause", "mailbox_ids": [good.id, foreign.id]}).json == {"changed": 1}
    assert house.admin.get(f"/api/mailboxes/{good.id}").json["status"] == "paused"
    assert house.admin.post("/api/mailboxes/act", {"action": "stop", "all": True}).json == {"changed": 2}
    assert house.admin.post("/api/mailboxes/act", {"action": "pause"}).status == 422
    assert house.agent.post("/api/mailboxes/act", {"action": "pause", "all": True}).code == "forbidden"
    lines = {"lines": "anna@gmail.com,app password words\nno address at all,x\n"}
    trial = house.admin.post("/api/mailboxes/many", {**lines, "dry_run": True}).json
    assert (trial["added"], trial["fitting"], len(trial["lines"])) == (0, 1, 2)
    run = house.admin.post("/api/mailboxes/many", lines).json
    assert (run["added"], [row["line"] for row in run["lines"]]) == (1, [2]) and run["lines"][0]["problem"]
    found = house.admin.get("/api/mailboxes/suggestion?email=anna@gmail.com").json
    assert (found["source"], found["smtp"]["host"]) == ("domain", "smtp.gmail.com")
    campaign = make_campaign(house.client, mailboxes=(good,))
    assert [row["id"] for row in house.viewer.get(f"/api/mailboxes/{good.id}/campaigns").json["items"]] == [campaign.id]


# Campaigns


def test_a_campaign_is_begun_looked_over_and_filled_by_program_as_on_its_pages(house: House) -> None:
    mailbox = make_mailbox(house.client)
    ada, bob = make_lead(house.client, first_name="Ada"), make_lead(house.client, first_name="Bob")
    made = house.admin.post("/api/campaigns", {"name": "100% spring", "mailbox_ids": [mailbox.id]}).json["id"]
    here = f"/api/campaigns/{made}"
    key = house.admin.get("/api/campaigns/starters").json["items"][0]["key"]
    steps = house.admin.post(f"{here}/starter", {"key": key}).json["steps"]
    turned = house.admin.post(f"/api/steps/{steps[1]['id']}/move", {"after": None}).json["items"]
    assert [one["id"] for one in turned][:2] == [steps[1]["id"], steps[0]["id"]]
    assert house.admin.post(f"/api/steps/{steps[0]['id']}/move", {"after": steps[0]["id"]}).status == 422
    house.admin.post(f"/api/steps/{steps[0]['id']}/move", {"after": None})
    assert {row["name"] for row in house.admin.get(f"{here}/variables").json["items"]} >= {"first_name", "company"}
    assert [row["chosen"] for row in house.admin.get(f"{here}/senders").json["items"]] == [True]
    found = house.admin.get(f"{here}/candidates?limit=1").json
    assert found["items"][0]["lead_id"] == ada.id
    assert house.admin.get(f"{here}/candidates?cursor={found['next_cursor']}").json["items"][0]["lead_id"] == bob.id
    assert house.admin.post(f"{here}/candidates/add", {"q": "Ada"}).json["enrolled"] == 1
    assert house.admin.get(f"{here}/leads/counts").json["counts"]["all"] == 1
    report = house.viewer.get(f"{here}/launch?days=7").json
    assert report["leads"] == 1 and len(report["forecast"]["days"]) == 7 and sum(report["forecast"]["totals"]) >= 1 and not report["blocked"]
    assert house.admin.post(f"{here}/launch").status == 200
    assert house.admin.post(f"/api/steps/{steps[1]['id']}/move", {"after": None}).code == "conflict"
    assert house.viewer.get(f"{here}/today").json["sent"] == 0
    assert house.viewer.get("/api/campaigns/counts").json["counts"] == {"running": 1, "all": 1}
    assert len(house.viewer.get("/api/campaigns?q=100%25").json["items"]) == 1 and house.viewer.get("/api/campaigns?q=_").json["items"] == []


def test_only_an_admin_takes_leads_out_or_gives_them_another_mailbox(house: House) -> None:
    one, two = make_mailbox(house.client), make_mailbox(house.client)
    campaign, lead = make_campaign(house.client, mailboxes=(one, two)), make_lead(house.client)
    make_enrollment(campaign, lead, one)
    here = f"/api/campaigns/{campaign.id}/leads"
    assert house.agent.post(f"{here}/act", {"action": "remove", "lead_ids": [lead.id]}).code == "forbidden"
    assert house.agent.post(f"{here}/assign", {"lead_ids": [lead.id], "mailbox_id": two.id}).code == "forbidden"
    assert house.agent.post(f"{here}/act", {"action": "pause", "lead_ids": [lead.id]}).json == {"changed": 1}
    assert house.admin.post(f"{here}/assign", {"lead_ids": [lead.id], "mailbox_id": two.id}).json == {"changed": 1}
    db.session.expire_all()
    assert db.session.query(Enrollment).one().sender_id == two.id
    assert house.admin.post(f"{here}/assign", {"lead_ids": [lead.id], "mailbox_id": make_mailbox(house.client).id}).code == "conflict"


# Lists, trail, settings


def test_the_list_of_never_again_goes_in_and_out_as_a_table(house: House) -> None:
    came = house.agent.upload("/api/suppressions/import", _file(b"a@one.test\nb@two.test; a@one.test", reason="manual"))
    assert (came.status, came.json) == (201, {"found": 2, "added": 2, "running": False})
    assert house.agent.upload("/api/suppressions/import", _file(b"nobody here")).status == 422
    assert house.viewer.get("/api/suppressions/counts").json["counts"] == {"manual": 2}
    assert [row["email"] for row in house.viewer.get("/api/suppressions?q=two").json["items"]] == ["b@two.test"]
    assert house.agent.get("/api/suppressions/export").code == "forbidden"
    assert "a@one.test" in house.admin.get("/api/suppressions/export").text
    many = "\n".join(f"p{number}@many.test" for number in range(501)).encode()
    assert house.agent.upload("/api/suppressions/import", _file(many)).json == {"found": 501, "added": 0, "running": True}


def test_the_trail_of_the_installation_and_its_facets(app: Flask, house: House) -> None:
    operator = ApiClient(app).log_in(make_user(is_operator=True))
    operator.patch("/api/settings/instance", {"instance_hour_cap": 500})
    line = operator.get("/api/admin/audit").json["items"][0]
    assert (line["action"], line["object_id"]) == ("setting.change", "0:instance_hour_cap") and line["who"] and line["address"]
    assert operator.get("/api/admin/audit/proof").json["faults"] == []
    assert house.admin.get("/api/admin/audit").code == "not_found"
    house.admin.patch(f"/api/clients/{house.client.id}", {"retention_days": 365})
    facets = house.admin.get("/api/audit/facets").json
    assert facets["kinds"] == ["client"] and len(facets["people"]) == 1
    assert house.admin.patch(f"/api/clients/{house.client.id}", {"retention_days": 5}).status == 422
    assert "client.update" in house.admin.get("/api/audit/export").text and house.agent.get("/api/audit/export").code == "forbidden"


def test_a_client_at_a_glance(house: House) -> None:
    make_mailbox(house.client, daily_cap=40)
    glance = house.viewer.get(f"/api/clients/{house.client.id}/figures").json
    assert (glance["mailboxes_active"], glance["allowed_today"], glance["stopped"]) == (1, 40, False)
    assert house.stranger.get(f"/api/clients/{house.client.id}/figures").code == "not_found"


# Links that work once


def _link(app: Flask, user_id: int | None, purpose: str) -> str:
    def make() -> str:
        with web_app(app).app_context(), transaction():
            user = db.session.get_one(User, user_id) if user_id is not None else None
            return auth.make_one_time_link(user, purpose).rpartition("/")[2]

    return str(as_web(make))


def test_an_invited_person_chooses_a_password_by_program_once(app: Flask) -> None:
    client: Client = make_client()
    user = make_user(client)
    token, nobody = _link(app, user.id, "invite"), ApiClient(app)
    email = user.email
    assert nobody.post("/api/auth/link", {"token": token, "password": "short"}).status == 422
    assert nobody.post("/api/auth/link", {"token": token, "password": "four short words here"}).status == 204
    assert db.session.query(AuditEntry).filter_by(action="user.invite_link", user_id=user.id).one().address
    assert nobody.post("/api/auth/link", {"token": token, "password": "four other words here"}).code == "link_over"
    assert nobody.post("/api/auth/login", {"email": email, "password": "four short words here"}).status == 200
    assert nobody.post("/api/auth/link", {"token": _link(app, user.id, "login"), "password": "four short words here"}).code == "link_over"


def test_a_new_instance_is_claimed_by_program_once(app: Flask) -> None:
    nobody = ApiClient(app)
    body = {"email": "op@house.test", "name": "Op", "password": "four short words here"}
    assert nobody.post("/api/auth/claim", {**body, "token": "wrong"}).code == "link_over"
    assert nobody.post("/api/auth/claim", {**body, "token": _link(app, None, "claim"), "timezone": "Mars/Base"}).status == 422
    made = nobody.post("/api/auth/claim", {**body, "token": _link(app, None, "claim")})
    assert made.status == 201 and made.json["is_operator"] is True
    assert db.session.query(AuditEntry).filter_by(action="instance.claim", user_id=made.json["id"]).one().address
    assert nobody.post("/api/auth/claim", {**body, "email": "two@house.test", "token": _link(app, None, "claim")}).code == "claimed"
