"""The page of stops and its API: who stopped what, when and why, how far it has come, and the same numbers for both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.db import transaction
from app.core.extensions import db
from app.models import Client, Instance
from app.services import recounting
from app.services.outbox.plain import plain_connection
from app.services.recovery import continuity
from tests.api.api_client import ApiClient
from tests.factories import (
    make_campaign,
    make_client,
    make_delivery,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_user,
    save,
)
from tests.web.page_client import PageClient


class House:
    """A client with a running campaign whose one message is on its way."""

    def __init__(self) -> None:
        self.client: Client = make_client(slug="acme", country=None)
        self.mailbox = make_mailbox(self.client, verified_at=datetime.now(UTC))
        self.campaign = make_campaign(self.client, mailboxes=(self.mailbox,), name="Autumn")
        lead = make_lead(self.client)
        now = datetime.now(UTC)
        held = {"status": "committing", "mime": b"x", "lease_owner": "one", "leased_until": now + timedelta(minutes=1), "permitted_at": now}
        self.delivery = make_delivery(make_enrollment(self.campaign, lead, self.mailbox), lead, self.mailbox, **held)


@pytest.fixture
def house(app: Flask) -> House:
    return House()


def answered() -> None:
    db.session.execute(text("UPDATE deliveries SET status = 'sent', sent_at = now(), leased_until = NULL, lease_owner = NULL"))
    db.session.commit()


@pytest.mark.parametrize("kind", ["campaign", "mailbox"])
def test_a_stop_tells_how_far_it_has_come_who_and_why_and_programs_hear_the_same(app: Flask, house: House, kind: str) -> None:
    number = house.campaign.id if kind == "campaign" else house.mailbox.id
    admin = make_user(house.client, name="Ada Admin", password="a long enough password")
    page = PageClient(app).log_in(admin)
    program = ApiClient(app).log_in(admin)
    assert page.get("/c/acme/stop").words.count("Sending as planned") == 3
    page.post(f"/c/acme/stop/{kind}/{number}/stop", {"reason": "wrong list"})
    moving = page.get("/c/acme/stop")
    assert "Stopping, 1 message in flight" in moving.words and "By Ada Admin." in moving.words and "wrong list" in moving.words
    assert '<meta http-equiv="refresh" content="2">' in moving.text, "without scripts the page asks again by itself"
    assert "counters from:body" in moving.text
    told = program.get(f"/api/switches/{kind}/{number}").json
    assert (told["stopping"], told["in_flight"], told["by"], told["reason"]) == (True, 1, "Ada Admin", "wrong list")
    answered()
    still = page.get("/c/acme/stop")
    assert "sent since: 0" in still.words and "http-equiv" not in still.text
    told = program.get(f"/api/switches/{kind}/{number}").json
    assert (told["stopping"], told["in_flight"], told["sent_since"]) == (False, 0, 0)
    released = program.post(f"/api/switches/{kind}/{number}/release").json
    assert released["stopped"] is False and released["reason"] == ""
    assert page.get("/c/acme/stop").words.count("Sending as planned") == 3


def test_the_api_stops_a_campaign_and_a_mailbox_and_twice_is_once(app: Flask, house: House) -> None:
    program = ApiClient(app).log_in(make_user(house.client, name="Ada Admin", password="a long enough password"))
    for path in (f"/api/switches/campaign/{house.campaign.id}", f"/api/switches/mailbox/{house.mailbox.id}"):
        first = program.post(f"{path}/stop", {"reason": "why not"}).json
        again = program.post(f"{path}/stop", {"reason": "other"}).json
        assert first["stopped"] and again["stopped_at"] == first["stopped_at"] and again["reason"] == "why not"
        assert program.post(f"{path}/release").json["stopped"] is False
        assert program.post(f"{path}/release").status == 409


def test_who_may_not_stop_sees_no_button(app: Flask, house: House) -> None:
    viewer = PageClient(app).log_in(make_user(house.client, role="viewer"))
    shown = viewer.get("/c/acme/stop")
    assert "Autumn" in shown.words and "Stop now" not in shown.words
    assert viewer.post(f"/c/acme/stop/campaign/{house.campaign.id}/stop").status == 403
    assert viewer.post(f"/c/acme/stop/mailbox/{house.mailbox.id}/stop").status == 403


def test_every_page_says_that_a_recovery_is_needed_and_no_person_releases_the_stop(app: Flask, house: House) -> None:
    save(Instance(id=1, mode="real", facts={}))
    operator = PageClient(app).log_in(make_user(house.client, is_operator=True))
    assert "flask recover" not in operator.get("/c/acme/stop").words
    with transaction():
        assert continuity.need_recovery(plain_connection(), continuity.MOVED)
    for path in ("/c/acme/stop", "/c/acme/campaigns/", "/operations/"):
        assert "Nothing is sent." in operator.get(path).words, path
    stopped = operator.get("/operations/stop")
    assert "Waiting for `flask recover`" in stopped.words and "Release" not in stopped.words
    operator.post("/operations/stop/release")
    assert "Waiting for `flask recover`" in operator.get("/operations/stop").words
    refused = ApiClient(app).log_in(make_user(house.client, is_operator=True, password="a long enough password")).post("/api/switches/instance/release")
    assert refused.status == 409 and "recovery_needed" in refused.text


def test_operations_show_the_equation_of_the_last_look(app: Flask, house: House) -> None:
    save(Instance(id=1, mode="real", facts={}))
    operator = PageClient(app).log_in(make_user(house.client, is_operator=True))
    assert "equation holds" not in operator.get("/operations/").words
    looked(expected={})
    assert "1 planned = 1 committing" in operator.get("/operations/").words
    db.session.execute(text("UPDATE deliveries SET status = 'cancelled', leased_until = NULL, reason = NULL"))
    db.session.commit()
    looked(expected={"cancelled_without_reason": [1]})
    shown = operator.get("/operations/").words
    assert "does not hold" in shown and "flask audit no-doubles" in shown


def looked(expected: dict[str, Any]) -> None:
    with transaction():
        assert recounting.check_ledger() == expected
