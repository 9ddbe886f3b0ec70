"""Leads in campaigns: who enters, who does not and why, and how a person holds, resumes and ends a walk."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.db import transaction
from app.core.errors import Conflict, NotFound
from app.core.extensions import db
from app.services import enrollments
from app.services.enrolling import choose_senders, enroll
from tests import factories as make


@pytest.fixture
def house(app: Flask) -> dict[str, Any]:
    client = make.make_client()
    boxes = tuple(make.make_mailbox(client) for _ in range(3))
    return {"client": client, "boxes": boxes, "campaign": make.make_campaign(client, mailboxes=boxes)}


def enter(house: dict[str, Any], leads: list[Any], **values: Any) -> Any:
    with transaction():
        return enroll(house["client"].id, house["campaign"].id, [lead.id for lead in leads], now=make.MONDAY_TEN, **values)


def test_leads_are_spread_evenly_over_the_mailboxes(house: dict[str, Any]) -> None:
    result = enter(house, [make.make_lead(house["client"]) for _ in range(9)])
    assert (result.enrolled, result.skipped) == (9, {})
    loads = db.session.execute(text("SELECT count(*) FROM enrollments GROUP BY sender_id")).scalars().all()
    assert loads == [3, 3, 3]
    row = db.session.execute(text("SELECT status, next_at, next_step_id FROM enrollments LIMIT 1")).one()
    assert tuple(row) == ("waiting", make.MONDAY_TEN, make.first_step(house["campaign"]).id)
    assert db.session.execute(text("SELECT count(*) FROM activities WHERE kind = 'enrollment_started'")).scalar() == 9


def test_a_lead_keeps_the_mailbox_it_knows() -> None:
    assert choose_senders([1, 2, 3], {10: 0, 20: 5}, {2: 20, 3: 99}) == [10, 20, 10]
    assert choose_senders([1], {}, {}) == [None]


def test_every_refused_lead_is_counted_under_its_reason(house: dict[str, Any]) -> None:
    client = house["client"]
    fine, no_address, bounced, listed, everywhere, elsewhere, already = (make.make_lead(client) for _ in range(7))
    db.session.execute(text("UPDATE leads SET email = NULL, email_key = NULL WHERE id = :id"), {"id": no_address.id})
    db.session.execute(text("UPDATE leads SET bounced_at = now() WHERE id = :id"), {"id": bounced.id})
    db.session.execute(
        text("INSERT INTO suppressions (client_id, email, email_key, reason, source, at) VALUES (:c, :k, :k, 'manual', 'api', now())"),
        {"c": client.id, "k": listed.email_key},
    )
    db.session.execute(text("INSERT INTO global_suppressions (email, email_key, reason) VALUES (:k, :k, 'x')"), {"k": everywhere.email_key})
    db.session.commit()
    make.make_enrollment(make.make_campaign(client), elsewhere)
    make.make_enrollment(house["campaign"], already)
    stranger = make.make_lead(make.make_client())
    leads = [fine, no_address, bounced, listed, everywhere, elsewhere, already, stranger]
    assert enter(house, leads).skipped == {
        "needs_attention_address": 1, "bounced": 1, "suppressed_client": 1, "suppressed_global": 1,
        "duplicate_in_other_campaign": 1, "already_enrolled": 1, "not_found": 1,
    }  # fmt: skip
    assert enter(house, [elsewhere], allow_elsewhere=True).enrolled == 1


def test_a_stopped_campaign_takes_nobody_and_a_finished_one_reopens(house: dict[str, Any]) -> None:
    lead = make.make_lead(house["client"])
    db.session.execute(text("UPDATE campaigns SET status = 'stopped'"))
    db.session.commit()
    with pytest.raises(Conflict):
        enter(house, [lead])
    db.session.execute(text("UPDATE campaigns SET status = 'finished'"))
    db.session.commit()
    enter(house, [lead])
    assert db.session.execute(text("SELECT status FROM campaigns")).scalar() == "running"
    with pytest.raises(NotFound), transaction():
        enroll(make.make_client().id, house["campaign"].id, [lead.id])


def test_pause_and_resume_keep_the_waiting_message(house: dict[str, Any]) -> None:
    lead = make.make_lead(house["client"])
    walk = make.make_enrollment(house["campaign"], lead, house["boxes"][0])
    row = make.make_delivery(walk, lead, house["boxes"][0])
    with transaction():
        assert enrollments.pause(house["client"].id, [walk.id], None) == 1
    assert state() == ("paused", "lead_paused", "queued", "lead_paused")
    with transaction():
        assert enrollments.resume(house["client"].id, [walk.id], now=make.MONDAY_TEN + timedelta(hours=3)) == 1
    assert state() == ("waiting", None, "queued", None)
    assert db.session.execute(text("SELECT due_at FROM deliveries WHERE id = :id"), {"id": row.id}).scalar() > make.MONDAY_TEN


def test_a_skipped_lead_is_over(house: dict[str, Any]) -> None:
    lead = make.make_lead(house["client"])
    walk = make.make_enrollment(house["campaign"], lead, house["boxes"][0])
    make.make_delivery(walk, lead, house["boxes"][0])
    with transaction():
        assert enrollments.skip(house["client"].id, [walk.id]) == 1
    assert state() == ("skipped", "skipped", "cancelled", "skipped")
    with transaction():
        assert enrollments.resume(house["client"].id, [walk.id]) == 0


def test_what_waits_for_an_uncertain_message_is_not_resumed_by_hand(house: dict[str, Any]) -> None:
    walk = make.make_enrollment(house["campaign"], make.make_lead(house["client"]), status="held", reason="previous_uncertain")
    with transaction():
        assert enrollments.resume(house["client"].id, [walk.id]) == 0


def test_an_out_of_office_never_shortens_a_hold_nor_lifts_a_pause(house: dict[str, Any]) -> None:
    client, late = house["client"].id, make.MONDAY_TEN + timedelta(days=9)
    held = make.make_enrollment(house["campaign"], make.make_lead(house["client"]), status="held", held_until=late)
    paused = make.make_enrollment(house["campaign"], make.make_lead(house["client"]), status="paused")
    uncertain = make.make_enrollment(house["campaign"], make.make_lead(house["client"]), status="held", reason="previous_uncertain")
    with transaction():
        assert enrollments.hold_until(client, [held.id, paused.id, uncertain.id], make.MONDAY_TEN + timedelta(days=2)) == []


def test_a_reply_waits_for_a_permit_in_flight_and_no_permit_follows_it(app: Flask, house: dict[str, Any]) -> None:
    """Both lock the enrollment: whichever comes first decides, and after the reply nothing is free to be permitted."""
    lead = make.make_lead(house["client"])
    walk = make.make_enrollment(house["campaign"], lead, house["boxes"][0])
    make.make_delivery(walk, lead, house["boxes"][0])
    permit = db.engine.connect()
    permit.execute(text("SELECT id FROM enrollments WHERE id = :id FOR NO KEY UPDATE"), {"id": walk.id})
    done: list[float] = []

    def reply() -> None:
        with app.app_context():
            with transaction():
                enrollments.stop_for_reply(walk.client_id, [lead.id], campaign_id=walk.campaign_id)
            done.append(time.monotonic())
            db.session.remove()

    thread = threading.Thread(target=reply)
    thread.start()
    time.sleep(0.2)
    assert not done, "the reply waits while a permit holds the enrollment"
    permit.rollback()
    permit.close()
    thread.join(5)
    assert state() == ("replied", "replied", "cancelled", "replied")


def state() -> tuple[str, ...]:
    row = db.session.execute(
        text("SELECT e.status, e.reason, d.status, d.reason FROM enrollments e JOIN deliveries d ON d.enrollment_id = e.id")
    ).one()
    db.session.rollback()
    return tuple(row)
