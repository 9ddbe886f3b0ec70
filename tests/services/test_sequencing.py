"""The tick: a lead whose time has come gets its next message, never more than its sender can still send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.db import transaction
from app.core.extensions import db
from app.models import Campaign, Delivery, Enrollment, Mailbox
from app.services.outbox.advancing import StepLeft, advance
from app.services.outbox.plain import plain_connection
from jobs.sequence import run
from tests.factories import (
    MONDAY_TEN,
    WEEKDAYS_9_TO_17,
    make_campaign,
    make_client,
    make_enrollment,
    make_lead,
    make_mailbox,
    save,
)

pytestmark = pytest.mark.usefixtures("app")
OFFICE: dict[str, Any] = {"windows": WEEKDAYS_9_TO_17, "weekend": {"mode": "closed"}}


def tick(now: datetime) -> Any:
    db.session.rollback()
    done = run(now)
    db.session.expire_all()
    return done


def deliveries(**by: Any) -> list[Delivery]:
    return db.session.query(Delivery).filter_by(**by).order_by(Delivery.id).all()


def campaign_with(leads: int, *, mailbox: dict[str, Any] | None = None, **values: Any) -> tuple[Campaign, Mailbox, list[Enrollment]]:
    client = make_client()
    sender = make_mailbox(client, **(mailbox or {}))
    campaign = make_campaign(client, mailboxes=(sender,), **values)
    return campaign, sender, [make_enrollment(campaign, make_lead(client), sender) for _ in range(leads)]


def test_a_due_lead_gets_its_first_message_exactly_once(app: Flask) -> None:
    _campaign, sender, [walk] = campaign_with(1)
    assert tick(MONDAY_TEN).born == 1
    assert tick(MONDAY_TEN).born == 0
    [row] = deliveries()
    assert (row.status, row.sender_id, row.due_at, row.first_of_lead) == ("queued", sender.id, MONDAY_TEN, True)
    assert row.idempotency_key == f"step:{walk.id}:{row.step_id}"
    assert db.session.get(Enrollment, walk.id).status == "in_flight"


def test_a_message_is_made_out_at_most_fifteen_minutes_before_it_is_due() -> None:
    campaign_with(1)
    assert tick(MONDAY_TEN - timedelta(minutes=16)).born == 0
    assert tick(MONDAY_TEN - timedelta(minutes=15)).born == 1
    assert deliveries()[0].due_at == MONDAY_TEN


def test_outside_the_window_a_lead_is_put_off_to_the_opening_and_says_why() -> None:
    _, _, [walk] = campaign_with(1, **OFFICE)
    saturday = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
    db.session.execute(text("UPDATE enrollments SET next_at = :at"), {"at": saturday})
    db.session.commit()
    assert tick(saturday).put_off == 1
    walk = db.session.get(Enrollment, walk.id)
    assert (walk.reason, walk.next_at) == ("weekend", datetime(2026, 11, 30, 9, 0, tzinfo=UTC))
    assert tick(datetime(2026, 11, 30, 8, 44, tzinfo=UTC)).born == 0
    assert tick(datetime(2026, 11, 30, 8, 46, tzinfo=UTC)).born == 1
    assert deliveries()[0].due_at == datetime(2026, 11, 30, 9, 0, tzinfo=UTC)


def test_a_sender_gets_no_more_than_fit_its_gap_before_the_horizon_oldest_first() -> None:
    _, _, walks = campaign_with(20, mailbox={"min_gap_s": 300})
    tick(MONDAY_TEN)
    born = deliveries()
    assert [row.enrollment_id for row in born] == [walk.id for walk in walks[:4]]  # 10:00, 10:05, 10:10, 10:15
    assert tick(MONDAY_TEN).born == 0
    reasons = {walk.reason for walk in db.session.query(Enrollment).filter_by(status="waiting")}
    assert reasons == {"min_gap"}


def test_a_sender_gets_no_more_than_its_day_cap_leaves_and_the_rest_say_so() -> None:
    campaign_with(10, mailbox={"daily_cap": 3})
    assert tick(MONDAY_TEN).born == 3
    assert {walk.reason for walk in db.session.query(Enrollment).filter_by(status="waiting")} == {"sender_day_cap"}
    assert tick(MONDAY_TEN + timedelta(hours=1)).born == 0


def test_a_used_up_counter_of_the_permit_is_seen() -> None:
    _, sender, _ = campaign_with(5, mailbox={"daily_cap": 40})
    day = MONDAY_TEN.replace(hour=0)
    db.session.execute(
        text("INSERT INTO usage_counters (scope_kind, scope_id, action, window_start, used) VALUES ('sender', :id, 'day', :day, 38)"),
        {"id": str(sender.id), "day": day},
    )
    db.session.commit()
    assert tick(MONDAY_TEN).born == 2


def test_the_cap_of_new_leads_holds_first_messages_but_not_follow_ups() -> None:
    campaign, _, walks = campaign_with(6, daily_new_leads=2, steps=2)
    follow_up = walks[5]
    first = follow_up.next_step_id
    db.session.execute(text("UPDATE enrollments SET last_step_id = :s WHERE id = :id"), {"s": first, "id": follow_up.id})
    db.session.commit()
    assert tick(MONDAY_TEN).born == 3
    assert [row.first_of_lead for row in deliveries()].count(True) == 2
    assert follow_up.id in {row.enrollment_id for row in deliveries(campaign_id=campaign.id)}
    assert {walk.reason for walk in db.session.query(Enrollment).filter_by(status="waiting")} == {"new_leads_cap"}


def test_a_campaign_that_has_used_up_its_day_does_not_keep_another_one_of_the_same_sender_waiting() -> None:
    client = make_client()
    sender = make_mailbox(client, min_gap_s=300)
    full = make_campaign(client, mailboxes=(sender,), daily_cap=1)
    other = make_campaign(client, mailboxes=(sender,))
    for _ in range(6):
        make_enrollment(full, make_lead(client), sender)
    late = make_enrollment(other, make_lead(client), sender, next_at=MONDAY_TEN + timedelta(minutes=1))
    assert tick(MONDAY_TEN).born == 2
    assert late.id in {row.enrollment_id for row in deliveries()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE senders SET status = 'paused'", "sender_paused"),
        ("UPDATE senders SET status = 'auth_failed'", "sender_auth_failed"),
        ("UPDATE senders SET backoff_until = now() + interval '20 years'", "provider_backoff"),
        ("UPDATE senders SET deleted_at = now()", "no_sender"),
        ("DELETE FROM campaign_senders", "no_sender"),
        ("INSERT INTO switches (scope_kind, scope_id, stopped, epoch) VALUES ('instance', 0, true, 1)", "stopped_instance"),
    ],
)
def test_what_holds_a_sender_holds_its_leads_with_that_reason_until_it_is_freed(change: str, reason: str) -> None:
    _, _, [walk] = campaign_with(1)
    db.session.execute(text(change))
    db.session.commit()
    assert tick(MONDAY_TEN).born == 0
    assert db.session.get(Enrollment, walk.id).reason == reason


def test_a_paused_campaign_makes_nothing_out() -> None:
    campaign_with(1, status="paused")
    assert tick(MONDAY_TEN).changed == 0


def test_suppressed_and_bounced_leads_end_and_one_without_an_address_waits_for_a_person() -> None:
    client = make_client()
    sender = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(sender,))
    gone, dead, blank = make_lead(client), make_lead(client, bounced_at=MONDAY_TEN), make_lead(client, email=None)
    for lead in (gone, dead, blank):
        make_enrollment(campaign, lead, sender)
    db.session.execute(
        text("INSERT INTO suppressions (client_id, email, email_key, reason, source, at) VALUES (:c, :e, :e, 'manual', 'person', :at)"),
        {"c": client.id, "e": gone.email_key, "at": MONDAY_TEN},
    )
    db.session.commit()
    assert tick(MONDAY_TEN).born == 0
    found = {walk.lead_id: (walk.status, walk.reason) for walk in db.session.query(Enrollment)}
    assert found[gone.id] == ("skipped", "suppressed_client")
    assert found[dead.id] == ("bounced", "bounced")
    assert found[blank.id] == ("needs_attention", "needs_attention_address")


def sent(walk: Enrollment, at: datetime) -> None:
    """What the engine records when the message of this walk was accepted."""
    with transaction():
        row = db.session.query(Delivery).filter_by(enrollment_id=walk.id).order_by(Delivery.id.desc()).first()
        db.session.execute(text("UPDATE deliveries SET status = 'sent', sent_at = :at, mime = 'x' WHERE id = :id"), {"at": at, "id": row.id})
        advance(plain_connection(), [StepLeft(walk.id, walk.campaign_id, row.step_id, at)])
    db.session.expire_all()


def test_a_sequence_walks_to_its_end_and_the_campaign_finishes() -> None:
    campaign, _, [walk] = campaign_with(1, steps=2)
    tick(MONDAY_TEN)
    sent(walk, MONDAY_TEN)
    assert db.session.get(Enrollment, walk.id).next_at == MONDAY_TEN + timedelta(days=1)
    tuesday = MONDAY_TEN + timedelta(days=1)
    assert tick(tuesday - timedelta(minutes=20)).born == 0
    assert tick(tuesday).born == 1
    sent(walk, tuesday)
    ended = db.session.get(Enrollment, walk.id)
    assert (ended.status, ended.reason) == ("finished", "finished")
    tick(tuesday)
    assert db.session.get(Campaign, campaign.id).status == "finished"


def test_a_hold_whose_time_is_over_is_released_and_its_lead_goes_on() -> None:
    _, _, [walk] = campaign_with(1)
    save(walk)
    db.session.execute(
        text("UPDATE enrollments SET status = 'held', reason = 'out_of_office_until', held_until = :at"), {"at": MONDAY_TEN}
    )
    db.session.commit()
    assert tick(MONDAY_TEN - timedelta(hours=1)).born == 0
    assert tick(MONDAY_TEN + timedelta(minutes=1)).born == 1


def test_many_leads_that_are_put_off_do_not_hide_one_that_may_go() -> None:
    client = make_client()
    sender = make_mailbox(client, min_gap_s=600)
    closed = make_campaign(client, mailboxes=(sender,), **OFFICE)
    night = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)
    for _ in range(120):
        make_enrollment(closed, make_lead(client), sender)
    open_one = make_campaign(client, mailboxes=(sender,))
    walk = make_enrollment(open_one, make_lead(client), sender, next_at=night - timedelta(minutes=1))
    done = tick(night)
    assert (done.born, done.put_off) == (1, 120)
    assert deliveries()[0].enrollment_id == walk.id
