"""Do-not-contact, settings, stops and operations on the pages, without scripts."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from app.models import Campaign, Client, Enrollment, ScheduledRun, Suppression
from app.services import settings
from jobs.suppressions import add_many
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


@pytest.fixture
def client(app: Flask) -> Client:
    settings.forget_copies()
    return make_client(slug="acme", country=None)


@pytest.fixture
def admin(app: Flask, client: Client) -> PageClient:
    return PageClient(app).log_in(make_user(client, name="Ada Admin"))


@pytest.fixture
def operator(app: Flask, client: Client) -> PageClient:
    return PageClient(app).log_in(make_user(client, is_operator=True, name="Olga Operator"))


def fresh() -> None:
    db.session.rollback()
    db.session.expire_all()


def test_addresses_are_added_searched_exported_and_removed_with_a_reason(admin: PageClient, client: Client) -> None:
    mailbox = make_mailbox(client)
    enrollment = make_enrollment(make_campaign(client, mailboxes=(mailbox,)), make_lead(client, email="bo@buyer.test"), mailbox)
    assert "Nobody is on the list yet" in admin.get("/c/acme/do-not-contact/").words
    added = admin.post("/c/acme/do-not-contact/", {"addresses": "Bo@buyer.test, cy@other.test;\n=dy@third.test", "reason": "manual", "note": "phone"})
    assert added.status == 303, added.text
    fresh()
    assert enrollment.status == "stopped"
    assert {row.email_key for row in db.session.query(Suppression)} == {"bo@buyer.test", "cy@other.test", "=dy@third.test"}
    listed = admin.get("/c/acme/do-not-contact/?q=BUYER&reason=manual")
    assert "Bo@buyer.test" in listed.words and "cy@other.test" not in listed.words and "Ada Admin" in listed.words
    export = admin.get("/c/acme/do-not-contact/export.csv")
    assert export.status == 200 and "'=dy@third.test" in export.text and export.text.startswith("email,reason,source")
    row = db.session.query(Suppression).filter_by(email_key="bo@buyer.test").one()
    refused = admin.post(f"/c/acme/do-not-contact/{row.id}/remove", {"reason": " "})
    assert refused.status == 422 and "Say why" in refused.words
    admin.post(f"/c/acme/do-not-contact/{row.id}/remove", {"reason": "wrote to us"})
    fresh()
    assert db.session.query(Suppression).count() == 2


def test_what_is_no_address_is_named_and_nothing_typed_is_lost(admin: PageClient) -> None:
    admin.get("/c/acme/do-not-contact/")
    refused = admin.post("/c/acme/do-not-contact/", {"addresses": "ok@a.test\nbroken@@b", "reason": "manual", "note": "keep me"})
    assert refused.status == 422 and "broken@@b" in refused.words and "keep me" in refused.text
    assert admin.post("/c/acme/do-not-contact/", {"addresses": "", "reason": "manual"}).status == 422
    nobody = admin.post("/c/acme/do-not-contact/", {"addresses": "everybody there", "reason": "manual"})
    assert nobody.status == 422 and "no address in this: everybody there" in nobody.words
    assert admin.post("/c/acme/do-not-contact/", {"addresses": "a@b.test", "reason": "because"}).status == 422


def test_a_long_list_is_added_in_batches_in_the_background(admin: PageClient, client: Client) -> None:
    client_id = client.id
    admin.get("/c/acme/do-not-contact/")
    lines = "\r\n".join(["email;name"] + [f"p{number}@list.test;P" for number in range(1_201)])
    upload = {"file": (io.BytesIO(lines.encode("utf-8-sig")), "list.csv"), "reason": "import", "addresses": ""}
    done = admin.post("/c/acme/do-not-contact/", upload, content_type="multipart/form-data")
    assert done.status == 303, done.text
    assert add_many(client_id, [f"p{number}@list.test" for number in range(1_201)], "import", "import", None) == 1_201
    assert add_many(client_id, ["P7@list.test"], "import", "import", None) == 0
    shown = admin.get("/c/acme/do-not-contact/")
    assert "1201" in shown.words and "before=" in shown.text


def test_agents_add_but_do_not_remove_or_export(app: Flask, client: Client) -> None:
    agent = PageClient(app).log_in(make_user(client, role="agent"))
    agent.get("/c/acme/do-not-contact/")
    assert agent.post("/c/acme/do-not-contact/", {"addresses": "a@b.test", "reason": "manual"}).status == 303
    row_id = db.session.query(Suppression.id).scalar()
    assert agent.post(f"/c/acme/do-not-contact/{row_id}/remove", {"reason": "x"}).status == 403
    assert agent.get("/c/acme/do-not-contact/export.csv").status == 403


def settings_form(**more: str) -> dict[str, str]:
    return {
        "name": "Acme", "postal_address": "2 New Street", "timezone": "Europe/Paris", "country": "fr", "email": "", "language": "fr",
        "client_hour_cap": "200", "retention_days": "365", "hours_0": "08:00-12:00, 13:00–17:00", "cap_version": "0", "hours_version": "0", **more,
    }  # fmt: skip


def test_the_settings_of_a_client_are_changed_with_their_history(admin: PageClient, client: Client) -> None:
    client_id = client.id
    assert "09:00-17:00" in admin.get("/c/acme/settings/").text
    saved = admin.post("/c/acme/settings/", settings_form())
    assert saved.status == 303, saved.text
    fresh()
    row = db.session.get_one(Client, client_id)
    assert (row.timezone, row.country, row.retention_days) == ("Europe/Paris", "FR", 365)
    assert settings.get("client", client_id, "client_hour_cap") == 200
    assert settings.get("client", client_id, "default_windows") == [
        {"weekday": 0, "from": "08:00", "to": "12:00"}, {"weekday": 0, "from": "13:00", "to": "17:00"},
    ]  # fmt: skip
    shown = admin.get("/c/acme/settings/")
    assert "messages an hournothing → 200" in shown.words and "Ada Admin" in shown.words, "called what the form calls it"
    meanwhile = admin.post("/c/acme/settings/", settings_form(client_hour_cap="300"))
    assert meanwhile.status == 409 and "Stored now: 200" in meanwhile.words and "300" in meanwhile.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"country": "XX"}, "letters of a country"), ({"name": "A" * 121}, "this one has 121"),
        ({"timezone": "Mars"}, "Choose a time zone"), ({"hours_1": "all day"}, "Write spans"), ({"hours_2": "17:00-09:00"}, "ends before"),
        ({"client_hour_cap": "lots"}, "whole number"), ({"retention_days": "1"}, "30 to 3,650"), ({"hours_0": ""}, "At least one window"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_at_their_field_and_kept(admin: PageClient, change: dict[str, str], words: str) -> None:
    admin.get("/c/acme/settings/")
    refused = admin.post("/c/acme/settings/", settings_form(**change))
    assert refused.status == 422 and words in refused.words and "2 New Street" in refused.text


def test_the_postal_address_stays_while_campaigns_of_the_client_are_under_way(admin: PageClient, client: Client) -> None:
    """RULES of the product: every campaign message carries it, and a launch is refused without it."""
    client.postal_address = "1 Old Street"
    campaign = make_campaign(client, mailboxes=(make_mailbox(client),), status="paused")
    client_id, campaign_id = client.id, campaign.id
    admin.get("/c/acme/settings/")
    refused = admin.post("/c/acme/settings/", settings_form(postal_address=" "))
    assert refused.status == 422 and "each of their messages carries this address" in refused.words
    fresh()
    assert db.session.get_one(Client, client_id).postal_address == "1 Old Street"
    db.session.get_one(Campaign, campaign_id).status = "stopped"
    db.session.commit()
    assert admin.post("/c/acme/settings/", settings_form(postal_address=" ")).status == 303


def test_an_operator_sets_the_caps_of_the_installation(operator: PageClient, admin: PageClient) -> None:
    operator.get("/operations/settings")
    assert operator.post("/operations/settings", {"instance_minute_cap": "600", "bulk_ready_domains": "acme.test"}).status == 303
    assert settings.current("instance", 0, "instance_minute_cap").value == 600
    assert "600" in operator.get("/operations/settings").text
    assert operator.post("/operations/settings", {"instance_minute_cap": "-6"}).status == 422
    for path in ("/operations/settings", "/operations/", "/operations/stop", "/operations/do-not-contact"):
        assert admin.get(path).status == 404, path


def test_a_stop_says_when_and_that_nothing_was_sent_since_and_is_released(admin: PageClient, operator: PageClient, client: Client) -> None:
    assert "Sending as planned" in admin.get("/c/acme/stop").words
    admin.post("/c/acme/stop/stop", {"reason": "wrong list"})
    stopped = admin.get("/c/acme/stop").words
    assert "sent since: 0" in stopped and "By Ada Admin." in stopped and "wrong list" in stopped
    assert "Sending is stopped" in admin.get("/c/acme/settings/").words
    fragment = admin.post("/c/acme/stop/release", fragment=True)
    assert fragment.status == 200 and "Sending as planned" in fragment.words
    operator.get("/operations/stop")
    operator.post("/operations/stop/stop")
    assert "The whole installation is stopped" in admin.get("/c/acme/stop").words
    operator.post("/operations/stop/release")
    assert "Sending as planned" in operator.get("/operations/stop").words


def test_a_stop_with_a_message_in_flight_says_so(admin: PageClient, client: Client) -> None:
    mailbox = make_mailbox(client)
    lead = make_lead(client)
    now = datetime.now(UTC)
    enrollment = make_enrollment(make_campaign(client, mailboxes=(mailbox,)), lead, mailbox)
    held = {"status": "committing", "mime": b"x", "lease_owner": "one", "leased_until": now + timedelta(minutes=1), "permitted_at": now}
    make_delivery(enrollment, lead, mailbox, **held)
    admin.get("/c/acme/stop")
    admin.post("/c/acme/stop/stop")
    assert "Stopping, 1 message in flight" in admin.get("/c/acme/stop").words
    db.session.execute(text("UPDATE deliveries SET permitted_at = clock_timestamp() - interval '6 seconds'"))
    db.session.commit()
    assert "sent since: 0; 1 answer of a mail server outstanding" in admin.get("/c/acme/stop").words


def test_agents_and_viewers_see_the_stop_and_cannot_press_it(app: Flask, client: Client) -> None:
    viewer = PageClient(app).log_in(make_user(client, role="viewer"))
    assert "Stop now" not in viewer.get("/c/acme/stop").words
    assert viewer.post("/c/acme/stop/stop").status == 403


def test_operations_show_the_doctor_the_schedule_and_what_was_not_understood(operator: PageClient, admin: PageClient) -> None:
    db.session.execute(
        text(
            "INSERT INTO inbound_events (source, account, dedupe_key, body, facts, status, error) VALUES"
            " ('imap', 'mailbox 7', 'k', 'Subject: odd <b>'::bytea, '{}', 'quarantined', E'Traceback\\nValueError: no sense')"
        )
    )
    now = datetime.now(UTC)
    save(ScheduledRun(job="jobs.sequence.tick", started_at=now, finished_at=now, duration_ms=12))
    db.session.commit()
    shown = operator.get("/operations/")
    assert "ValueError: no sense" in shown.words and "sequence: tick" in shown.words and "12 ms" in shown.words and "database" in shown.words
    assert "Subject: odd &lt;b&gt;" in shown.text
    assert operator.post("/operations/replay").status == 303
    db.session.rollback()
    assert db.session.execute(text("SELECT status FROM inbound_events")).scalar_one() == "new"
    admin.get("/c/acme/settings/")
    assert admin.post("/operations/replay").status == 404


def test_the_list_of_the_whole_installation(operator: PageClient) -> None:
    operator.get("/operations/do-not-contact")
    assert operator.post("/operations/do-not-contact", {"addresses": "x@y.test", "reason": ""}).status == 422
    operator.post("/operations/do-not-contact", {"addresses": "x@y.test z@y.test", "reason": "court order"})
    assert "z@y.test" in operator.get("/operations/do-not-contact").words
    assert db.session.query(Enrollment).count() == 0
