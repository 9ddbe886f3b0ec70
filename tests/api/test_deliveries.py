"""The outbox by program: lists and filters, one message with its tries, decisions about what is uncertain or failed."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from app.core.extensions import db
from app.models import Client, Delivery, DeliveryAttempt, Enrollment, Lead, Suppression
from tests.api.api_client import ApiClient
from tests.factories import (
    MONDAY_TEN,
    make_campaign,
    make_client,
    make_delivery,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_user,
    save,
)

MIME = b"From: a@ours.test\r\nTo: b@buyer.test\r\nSubject: Hello\r\nMessage-ID: <one@ours.test>\r\n\r\nHi.\r\n"


def story(app: Flask, status: str, **more: Any) -> tuple[ApiClient, Delivery, Enrollment]:
    """A campaign message in this state, and an admin's program."""
    client = make_client()
    mailbox, lead = make_mailbox(client), make_lead(client)
    walk = make_enrollment(make_campaign(client, mailboxes=(mailbox,)), lead, mailbox, **more.pop("walk", {"status": "in_flight"}))
    row = make_delivery(walk, lead, mailbox, status=status, **more)
    return ApiClient(app).log_in(make_user(client)), row, walk


def test_the_list_filters_by_everything_a_program_knows_and_carries_the_message_id(app: Flask) -> None:
    api, row, walk = story(app, "sent", mime=MIME, message_id="<one@ours.test>", sent_at=MONDAY_TEN)
    found = api.get("/api/deliveries").json["items"]
    assert [(line["id"], line["message_id"], line["sent_at"]) for line in found] == [(row.id, "<one@ours.test>", "2026-11-23T10:00:00Z")]
    for name, value in (("campaign_id", row.campaign_id), ("lead_id", row.lead_id), ("enrollment_id", walk.id), ("mailbox_id", row.sender_id)):
        assert [line["id"] for line in api.get(f"/api/deliveries?{name}={value}").json["items"]] == [row.id]
        assert api.get(f"/api/deliveries?{name}=987654").json["items"] == []
    assert api.get("/api/deliveries?status=failed").json["items"] == []
    assert api.get("/api/deliveries?message_id=%3Cone@ours.test%3E").json["items"][0]["id"] == row.id


def test_the_moments_of_the_evidence_are_written_like_all_others(app: Flask) -> None:
    looked = {"tried": "nothing found", "tried_at": "2026-11-23T10:00:00+00:00"}
    api, row, _ = story(app, "uncertain", mime=MIME, message_id="<one@ours.test>", permit_product_at=MONDAY_TEN, walk=HELD, evidence=looked)
    assert api.get(f"/api/deliveries/{row.id}").json["evidence"] == {"tried": "nothing found", "tried_at": "2026-11-23T10:00:00Z"}
    api.post(f"/api/deliveries/{row.id}/resolve", {"outcome": "was_sent"})
    assert api.get(f"/api/deliveries/{row.id}").json["evidence"]["at"].endswith("Z")


def test_the_list_goes_on_where_its_cursor_says(app: Flask) -> None:
    api, row, _ = story(app, "queued")
    lead, mailbox = make_lead(make_client()), row.sender_id
    for number in range(3):
        save(
            Delivery(
                client_id=row.client_id, kind="test", sender_id=mailbox, to_address=lead.email, email_key=lead.email_key, due_at=MONDAY_TEN,
                idempotency_key=f"test:1:{number}",
            )
        )  # fmt: skip
    first = api.get("/api/deliveries?limit=3").json
    rest = api.get(f"/api/deliveries?limit=3&cursor={first['next_cursor']}").json
    numbers = [line["id"] for line in first["items"] + rest["items"]]
    assert len(numbers) == 4 and numbers == sorted(numbers, reverse=True) and rest["next_cursor"] is None
    assert api.get("/api/deliveries?cursor=nonsense").status == 422


def test_one_message_shows_its_tries_with_the_servers_words(app: Flask) -> None:
    api, row, _ = story(app, "failed", reply_code=550, reply_text="No such user")
    save(DeliveryAttempt(delivery_id=row.id, epoch=1, client_id=row.client_id, engine="e1", outcome="refused", code=550, text="No such user"))
    shown = api.get(f"/api/deliveries/{row.id}").json
    assert (shown["reply_code"], shown["tries"][0]["text"]) == (550, "No such user")


@pytest.mark.parametrize(
    ("status", "permitted", "ended", "said"),
    [
        ("cancelled", False, None, "called_off"), ("cancelled", False, "returned", "returned"), ("cancelled", True, None, None),
        ("uncertain", True, None, None), ("leased", False, None, None),
    ],
)  # fmt: skip
def test_a_try_that_nobody_ended_says_that_its_message_was_called_off_and_nothing_where_that_is_not_so(
    app: Flask, status: str, permitted: bool, ended: str | None, said: str | None
) -> None:
    """Its process died: before it could say so, or with a message of which nobody knows."""
    at = MONDAY_TEN if permitted else None
    held = {"lease_owner": "e1", "leased_until": MONDAY_TEN} if status == "leased" else {}
    api, row, _ = story(app, status, epoch=1, reason="replied" if status == "cancelled" else None, permitted_at=at, **held)
    save(DeliveryAttempt(delivery_id=row.id, epoch=1, client_id=row.client_id, engine="e1", permitted_at=at, outcome=ended))
    shown = api.get(f"/api/deliveries/{row.id}").json["tries"][0]
    assert (shown["outcome"], shown["ended_at"], shown["text"]) == (said, None, "replied" if said == "called_off" else None)


HELD = {"status": "held", "reason": "previous_uncertain"}


def test_an_uncertain_message_that_was_sent_moves_its_lead_on(app: Flask) -> None:
    api, row, walk = story(
        app, "uncertain", mime=MIME, message_id="<one@ours.test>", permit_product_at=MONDAY_TEN, permitted_at=MONDAY_TEN, walk=HELD
    )
    answer = api.post(f"/api/deliveries/{row.id}/resolve", {"outcome": "was_sent"})
    assert (answer.status, answer.json["status"]) == (200, "sent"), answer.text
    db.session.expire_all()
    moved = db.session.get_one(Enrollment, walk.id)
    assert (moved.status, moved.last_step_id) == ("waiting", row.step_id)
    assert api.post(f"/api/deliveries/{row.id}/resolve", {"outcome": "was_sent"}).status == 409


def test_an_uncertain_message_sent_again_answers_with_the_new_one_that_points_back(app: Flask) -> None:
    api, row, walk = story(app, "uncertain", mime=MIME, message_id="<one@ours.test>", permit_product_at=MONDAY_TEN, walk=HELD)
    answer = api.post(f"/api/deliveries/{row.id}/resolve", {"outcome": "send_again"})
    assert (answer.json["status"], answer.json["retry_of"]) == ("queued", row.id), answer.text
    db.session.expire_all()
    old = db.session.get_one(Delivery, row.id)
    assert (old.status, old.reason) == ("cancelled", "resent")
    assert db.session.get_one(Enrollment, walk.id).status == "in_flight"


def test_a_failed_message_is_tried_again_once_and_a_decision_is_made_once(app: Flask) -> None:
    api, row, walk = story(app, "failed", walk={"status": "failed", "reason": "refused"})
    answer = api.post(f"/api/deliveries/{row.id}/retry")
    assert (answer.status, answer.json["status"], answer.json["retry_of"]) == (200, "queued", row.id), answer.text
    db.session.expire_all()
    assert db.session.get_one(Enrollment, walk.id).status == "in_flight"
    assert api.post(f"/api/deliveries/{row.id}/retry").status == 409


@pytest.mark.parametrize(
    ("status", "walk", "path", "body"),
    [("failed", {"status": "bounced", "reason": "bounced"}, "retry", {}),
     ("uncertain", {"status": "held", "reason": "previous_uncertain"}, "resolve", {"outcome": "send_again"})],
)  # fmt: skip
def test_nothing_is_tried_again_to_an_address_on_the_do_not_contact_list_and_nothing_changes(
    app: Flask, status: str, walk: dict[str, str], path: str, body: dict[str, str]
) -> None:
    api, row, enrollment = story(app, status, walk=walk, **({"mime": MIME} if status == "uncertain" else {}))
    lead = db.session.get_one(Lead, row.lead_id)
    save(Suppression(client_id=row.client_id, email=lead.email, email_key=lead.email_key, reason="bounced", source="bounce", at=MONDAY_TEN))
    refused = api.post(f"/api/deliveries/{row.id}/{path}", body)
    assert (refused.status, refused.json["code"]) == (409, "suppressed"), refused.text
    db.session.expire_all()
    assert (db.session.get_one(Delivery, row.id).status, db.session.query(Delivery).filter_by(retry_of=row.id).count()) == (status, 0)
    assert db.session.get_one(Enrollment, enrollment.id).status == walk["status"]


def test_a_sent_message_has_nothing_to_decide_and_a_word_we_do_not_know_is_refused(app: Flask) -> None:
    api, row, _ = story(app, "sent", mime=MIME, sent_at=MONDAY_TEN)
    assert api.post(f"/api/deliveries/{row.id}/resolve", {"outcome": "was_sent"}).status == 409
    assert api.post(f"/api/deliveries/{row.id}/retry").status == 409
    assert api.post(f"/api/deliveries/{row.id}/resolve", {"outcome": "maybe"}).status == 422


def test_strangers_find_nothing_and_viewers_may_read_but_not_decide(app: Flask) -> None:
    _, row, _ = story(app, "uncertain", mime=MIME, permit_product_at=MONDAY_TEN, walk=HELD)
    stranger = ApiClient(app).log_in(make_user(make_client()))
    assert stranger.get("/api/deliveries").json["items"] == []
    for method, path in (("GET", ""), ("POST", "/resolve"), ("POST", "/retry")):
        assert stranger.send(method, f"/api/deliveries/{row.id}{path}", json={"outcome": "was_sent"} if path == "/resolve" else None).status == 404
    client_id = row.client_id
    viewer = ApiClient(app).log_in(make_user(db.session.get_one(Client, client_id), role="viewer"))
    assert viewer.get(f"/api/deliveries/{row.id}").status == 200
    assert viewer.post(f"/api/deliveries/{row.id}/resolve", {"outcome": "was_sent"}).status == 403
