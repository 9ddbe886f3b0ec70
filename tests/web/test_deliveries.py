"""The pages on which people decide about messages: not sure, failed, and the story of one."""

from __future__ import annotations

from typing import Any

from flask import Flask

from app.core.extensions import db
from app.models import Delivery, DeliveryAttempt, Enrollment, Suppression
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
from tests.web.page_client import PageClient


def _story(app: Flask, status: str, role: str = "admin", **values: Any) -> tuple[PageClient, str, Delivery]:
    client = make_client()
    user = make_user(client, role)
    mailbox = make_mailbox(client)
    lead = make_lead(client, first_name="Ada", last_name="Byron")
    enrollment = make_enrollment(make_campaign(client, mailboxes=(mailbox,)), lead, mailbox, status="held", reason="previous_uncertain")
    filled = {"mime": b"Subject: Hello\r\n\r\nHi", "message_id": "a1@ourhouse.test", "reply_text": "connection lost", "attempts": 1}
    delivery = make_delivery(enrollment, lead, mailbox, status=status, permitted_at=MONDAY_TEN, permit_product_at=MONDAY_TEN, **{**filled, **values})
    save(DeliveryAttempt(delivery_id=delivery.id, epoch=1, client_id=client.id, engine="e", outcome=status, phase="reply", code=550, text="5.1.1 gone"))
    return PageClient(app).log_in(user), f"/c/{client.slug}/messages", delivery


def test_nothing_uncertain_says_so(app: Flask) -> None:
    client = make_client()
    page = PageClient(app).log_in(make_user(client)).get(f"/c/{client.slug}/messages/not-sure")
    assert page.status == 200 and "Nothing is uncertain" in page.words


def test_an_uncertain_message_shows_who_and_what_was_heard_and_a_person_says_it_was_sent(app: Flask) -> None:
    browser, base, delivery = _story(app, "uncertain")
    page = browser.get(f"{base}/not-sure")
    assert "Ada Byron" in page.words and "connection lost" in page.words
    answer = browser.post(f"{base}/{delivery.id}/decide", data={"outcome": "was_sent"})
    assert answer.status == 303
    db.session.expire_all()
    assert db.session.get_one(Delivery, delivery.id).status == "sent"


def test_sending_again_makes_a_new_message_that_points_to_the_old_one(app: Flask) -> None:
    browser, base, delivery = _story(app, "uncertain")
    browser.post(f"{base}/{delivery.id}/decide", data={"outcome": "send_again"})
    db.session.expire_all()
    assert db.session.get_one(Delivery, delivery.id).reason == "resent"
    fresh = db.session.query(Delivery).filter_by(retry_of=delivery.id).one()
    assert fresh.status == "queued" and fresh.idempotency_key.startswith(f"retry:{delivery.id}:")


def test_deciding_twice_changes_nothing_and_says_so(app: Flask) -> None:
    browser, base, delivery = _story(app, "uncertain")
    for _ in range(2):
        assert browser.post(f"{base}/{delivery.id}/decide", data={"outcome": "send_again"}).status == 303
    assert db.session.query(Delivery).filter_by(retry_of=delivery.id).count() == 1


def test_a_failed_message_can_be_tried_again_skipped_or_never_written_to_again(app: Flask) -> None:
    for action in ("again", "skip", "suppress"):
        browser, base, delivery = _story(app, "failed", reason="refused")
        page = browser.get(f"{base}/failed")
        assert "Ada Byron" in page.words
        assert browser.post(f"{base}/{delivery.id}/{action}").status == 303
        assert "Ada Byron" not in browser.get(f"{base}/failed").words
    db.session.expire_all()
    assert db.session.query(Suppression).filter_by(email_key=delivery.email_key).count() == 1
    assert db.session.get_one(Enrollment, delivery.enrollment_id).status != "in_flight"


def test_the_story_of_one_message_lists_its_tries_with_the_servers_words(app: Flask) -> None:
    browser, base, delivery = _story(app, "failed")
    page = browser.get(f"{base}/{delivery.id}")
    assert "5.1.1 gone" in page.words and "a1@ourhouse.test" in page.words


def test_a_viewer_sees_no_buttons_and_may_not_decide(app: Flask) -> None:
    browser, base, delivery = _story(app, "uncertain", role="viewer")
    page = browser.get(f"{base}/not-sure")
    assert page.status == 200 and "Send again" not in page.words
    assert browser.post(f"{base}/{delivery.id}/decide", data={"outcome": "was_sent"}).status == 403


def test_the_message_of_another_client_does_not_exist(app: Flask) -> None:
    _browser, _base, delivery = _story(app, "uncertain")
    mine = make_client()
    browser = PageClient(app).log_in(make_user(mine))
    assert browser.get(f"/c/{mine.slug}/messages/{delivery.id}").status == 404
    assert browser.post(f"/c/{mine.slug}/messages/{delivery.id}/decide", data={"outcome": "was_sent"}).status == 404
