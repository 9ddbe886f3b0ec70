"""Webhook sources and arrivals on the pages, without scripts: for operators alone."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from app.domain.webhook_proof import sign
from app.models import WebhookSecret, WebhookSource
from jobs import receive
from tests.factories import make_client, make_user
from tests.ingest.callers import Caller, make_caller
from tests.web.page_client import PageClient, as_web


@pytest.fixture
def operator(app: Flask) -> PageClient:
    return PageClient(app).log_in(make_user(make_client(slug="acme"), is_operator=True, name="Olga Operator"))


def fresh() -> None:
    db.session.rollback()
    db.session.expire_all()


def test_a_source_is_added_its_secret_shown_once_asked_and_the_service_can_call(operator: PageClient, app: Flask) -> None:
    assert "No service calls us yet" in operator.get("/operations/webhooks/").words
    added = operator.post("/operations/webhooks/", {"name": "Carrier & Co", "verifier": "standard_webhooks"})
    assert added.status == 303
    page = operator.follow(added)
    address = page.find("p", id="webhook-address").text or ""
    fresh()
    assert not page.all("span", id="webhook-secret") and db.session.query(WebhookSecret).one().sealed not in page.text
    shown = operator.post(f"{added.location}/reveal")
    secret = shown.find("span", id="webhook-secret").text or ""
    assert shown.status == 200 and shown.response.headers["Cache-Control"] == "no-store" and secret.startswith("whsec_")
    from datetime import UTC, datetime

    body = b'{"type": "moon.rise"}'
    path = re.sub(r"^https?://[^/]+", "", address)
    client = operator.app.test_client()
    answer = as_web(lambda: client.post(path, data=body, headers=sign("evt-1", datetime.now(UTC), body, secret)))
    assert answer.json == {"status": "kept"}
    assert "Carrier & Co" in operator.get("/operations/webhooks/").words
    actions = [row for (row,) in db.session.execute(text("SELECT action FROM audit_entries ORDER BY id"))]
    assert {"webhook.add", "webhook.show_secret"} <= set(actions)
    assert db.session.execute(text("SELECT count(*) FROM audit_entries WHERE before::text || after::text LIKE :s"), {"s": f"%{secret}%"}).scalar() == 0


def test_what_cannot_be_is_said_beside_its_field_and_kept(operator: PageClient) -> None:
    wrong = operator.post("/operations/webhooks/", {"name": "", "verifier": "static_header", "header": "Cookie", "secret": "x"})
    assert wrong.status == 422 and "Give it a name" in wrong.words
    wrong = operator.post("/operations/webhooks/", {"name": "Kept", "verifier": "static_header", "header": "Cookie"})
    assert wrong.status == 422 and wrong.find("input", name="name").get("value") == "Kept"
    wrong = operator.post("/operations/webhooks/", {"name": "Kept", "verifier": "standard_webhooks", "secret": "short"})
    assert wrong.status == 422 and "whsec_" in wrong.words
    assert operator.post("/operations/webhooks/", {"name": "X", "verifier": "moon"}).status == 422
    fresh()
    assert db.session.query(WebhookSource).count() == 0


def test_secrets_address_and_name_change_and_a_source_is_removed(operator: PageClient, app: Flask) -> None:
    caller = make_caller(app)
    here = f"/operations/webhooks/{caller.id}"
    operator.get(here)
    assert operator.post(f"{here}/secret", {"secret": ""}).status == 303
    assert caller.call({"a": 1}).status_code == 200
    assert "Still valid" in operator.get(here).words
    assert operator.post(f"{here}/secret", {"secret": "bad"}).status == 422
    assert operator.post(f"{here}/end_old").status == 303
    assert caller.call({"a": 2}).status_code == 401
    assert "Refused calls" in operator.get(here).words and "no signature fits" in operator.get(here).words
    assert operator.post(f"{here}/rename", {"name": "Other"}).status == 303
    assert operator.post(f"{here}/address").status == 303
    assert caller.call({"a": 3}).status_code == 404
    assert operator.post(f"{here}/remove").status == 303
    assert operator.get(here).status == 404 and operator.post(f"{here}/reveal").status == 404


def test_a_held_source_says_so_and_can_be_let_go(operator: PageClient, app: Flask) -> None:
    caller = make_caller(app)
    db.session.execute(text("UPDATE webhook_sources SET held_until = clock_timestamp() + interval '1 min', hold_s = 60"))
    db.session.commit()
    assert "Too many of its events failed" in operator.get(f"/operations/webhooks/{caller.id}").words
    assert operator.post(f"/operations/webhooks/{caller.id}/release").status == 303
    fresh()
    assert db.session.query(WebhookSource).one().held_until is None


@pytest.fixture
def caller(app: Flask) -> Caller:
    found = make_caller(app, name="Carrier")
    for number, body in enumerate((b"<b>no json</b> password=hunter22", b'{"type": "moon.rise", "api_key": "hunter22"}', b'{"type": "emberpost.mail-event"}')):
        found.call(body, f"evt-{number}")
    receive.sweep()
    return found


def test_arrivals_are_filtered_looked_at_escaped_and_covered(operator: PageClient, caller: Caller) -> None:
    shown = operator.get("/operations/arrivals/")
    assert "the body is not JSON" in shown.words and "moon.rise" not in shown.words and "Carrier" in shown.words
    assert "moon.rise" in operator.get("/operations/arrivals/?status=ignored").words
    everything = operator.get(f"/operations/arrivals/?status=all&source={caller.id}").words
    assert "moon.rise" in everything and "event: one of" in everything
    assert operator.get("/operations/arrivals/?status=all&source=999").words.count("#") == 0
    ids = list(db.session.scalars(text("SELECT id FROM inbound_events ORDER BY id")))
    first, second = operator.get(f"/operations/arrivals/{ids[0]}"), operator.get(f"/operations/arrivals/{ids[1]}")
    assert "&lt;b&gt;no json&lt;/b&gt;" in first.text and "hunter22" not in first.text + second.text and "[covered]" in second.words
    assert operator.get("/operations/arrivals/99999").status == 404


def test_one_a_selection_or_all_since_are_worked_on_again(operator: PageClient, caller: Caller) -> None:
    ids = list(db.session.scalars(text("SELECT id FROM inbound_events ORDER BY id")))

    def waiting() -> list[int]:
        fresh()
        return list(db.session.scalars(text("SELECT id FROM inbound_events WHERE status = 'new' ORDER BY id")))

    operator.get("/operations/arrivals/")
    assert operator.post("/operations/arrivals/replay", {"ids": str(ids[1])}).status == 303
    assert waiting() == [ids[1]]
    receive.sweep()
    assert operator.post("/operations/arrivals/replay", {"all": "1", "status": "quarantined", "since": "1"}).status == 303
    assert waiting() == [ids[0], ids[2]]
    receive.sweep()
    db.session.execute(text("UPDATE inbound_events SET received_at = clock_timestamp() - interval '2 hours' WHERE id = :id"), {"id": ids[0]})
    db.session.execute(text("UPDATE inbound_events SET body = '' WHERE id = :id"), {"id": ids[2]})
    db.session.commit()
    operator.post("/operations/arrivals/replay", {"all": "1", "status": "", "source": str(caller.id), "since": "1"})
    assert waiting() == [ids[1]]  # too old, and without bytes
    receive.sweep()
    assert operator.post("/operations/arrivals/let-be", {"ids": str(ids[0])}).status == 303
    fresh()
    assert db.session.execute(text("SELECT status FROM inbound_events WHERE id = :id"), {"id": ids[0]}).scalar() == "ignored"
    assert "no longer kept" in operator.get(f"/operations/arrivals/{ids[2]}").words


def test_nobody_but_operators_reaches_them_and_the_database_itself_says_so(app: Flask, caller: Caller) -> None:
    admin = PageClient(app).log_in(make_user(make_client()))
    for path in ("/operations/arrivals/", "/operations/webhooks/", f"/operations/webhooks/{caller.id}"):
        assert admin.get(path).status == 404
    from app.queries import arrivals

    assert arrivals.page() == [] and arrivals.one(1) is None and arrivals.replay() == 0 and arrivals.let_be([1]) == 0
