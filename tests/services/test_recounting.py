"""Counters are healed from their rows, and the ledger equation finds what must never be."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from app.models import AuditEntry, Lead, UsageCounter
from app.services import recounting
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
    save,
)


def _sent(app: Flask, **values: object):  # type: ignore[no-untyped-def]
    client = make_client()
    mailbox = make_mailbox(client)
    lead = make_lead(client, contacted_at=MONDAY_TEN)
    enrollment = make_enrollment(make_campaign(client, mailboxes=(mailbox,)), lead, mailbox)
    defaults = {"status": "sent", "mime": b"x", "permit_product_at": MONDAY_TEN, "sent_at": MONDAY_TEN}
    defaults["counters"] = [["sender", str(mailbox.id), "day", MONDAY_TEN.replace(hour=0).isoformat()]]
    return client, mailbox, enrollment, make_delivery(enrollment, lead, mailbox, **{**defaults, **values})


def _counter(mailbox_id: int, used: int) -> UsageCounter:
    midnight = MONDAY_TEN.replace(hour=0)
    return save(UsageCounter(scope_kind="sender", scope_id=str(mailbox_id), action="day", window_start=midnight, used=used, cap=10))


def test_a_day_that_counts_too_little_is_raised_to_its_rows_and_written_down(app: Flask) -> None:
    _client, mailbox, _enrollment, _delivery = _sent(app)
    counter = _counter(mailbox.id, used=0)
    drifts = recounting.recount(MONDAY_TEN + timedelta(hours=2))
    assert [(drift.was, drift.is_) for drift in drifts] == [(0, 1)]
    db.session.commit()
    db.session.refresh(counter)
    assert counter.used == 1
    assert db.session.query(AuditEntry).filter_by(action="recount.drift").count() == 1


def test_right_counters_are_left_alone(app: Flask) -> None:
    _client, mailbox, _enrollment, _delivery = _sent(app)
    _counter(mailbox.id, used=1)
    assert recounting.recount(MONDAY_TEN + timedelta(hours=2)) == []


def test_a_lead_that_was_written_to_gets_its_mark_back(app: Flask) -> None:
    _client, mailbox, enrollment, _delivery = _sent(app)
    _counter(mailbox.id, used=1)
    db.session.execute(text("UPDATE leads SET contacted_at = NULL"))
    db.session.commit()
    drifts = recounting.recount(MONDAY_TEN + timedelta(hours=2))
    db.session.commit()
    assert [drift.what for drift in drifts] == [f"lead {enrollment.lead_id} was written to"]
    assert db.session.scalar(text("SELECT contacted_at FROM leads")) == MONDAY_TEN


def test_a_badge_that_shows_too_much_is_lowered(app: Flask) -> None:
    client = make_client()
    conversation = make_conversation(client, make_mailbox(client), make_lead(client), unread=5)
    make_message(conversation)
    recounting.recount(MONDAY_TEN)
    db.session.commit()
    db.session.refresh(conversation)
    assert conversation.unread == 1


def test_the_equation_holds_for_a_lead_whose_message_is_on_its_way(app: Flask) -> None:
    _client, _mailbox, enrollment, _delivery = _sent(app, status="queued", mime=None, sent_at=None)
    enrollment.status = "in_flight"
    db.session.commit()
    assert recounting.check_ledger() == {}


def test_the_equation_finds_a_lead_without_its_message_and_a_message_without_its_answer(app: Flask) -> None:
    _client, _mailbox, enrollment, delivery = _sent(app)
    enrollment.status = "in_flight"
    db.session.commit()
    found = recounting.check_ledger()
    assert found["leads on their way without a message on its way"] == [enrollment.id]
    assert found["messages said to be sent without an answer that took them"] == [delivery.id]


def test_the_equation_finds_a_message_left_behind_by_a_reply(app: Flask) -> None:
    _client, _mailbox, enrollment, delivery = _sent(app, status="queued", mime=None, sent_at=None)
    enrollment.status = "replied"
    db.session.commit()
    assert recounting.check_ledger() == {"messages waiting for a lead whose walk has ended": [delivery.id]}


def test_a_lease_nobody_renews_or_sweeps_is_found(app: Flask) -> None:
    _client, _mailbox, enrollment, delivery = _sent(app, status="queued", mime=None, sent_at=None)
    enrollment.status = "in_flight"
    db.session.execute(
        text("UPDATE deliveries SET status = 'leased', leased_until = clock_timestamp() - interval '1 hour' WHERE id = :id"), {"id": delivery.id}
    )
    db.session.commit()
    assert recounting.check_ledger() == {"stuck": [1]}


def test_a_counter_that_was_lost_is_made_again(app: Flask) -> None:
    _client, mailbox, _enrollment, _delivery = _sent(app)
    drifts = recounting.recount(MONDAY_TEN + timedelta(hours=2))
    assert [(drift.was, drift.is_) for drift in drifts if drift.what.startswith("sender/")] == [(0, 1)]
    db.session.commit()
    assert db.session.query(UsageCounter).filter_by(scope_kind="sender", scope_id=str(mailbox.id)).one().used == 1


def test_a_badge_that_shows_too_little_is_raised_and_a_lead_written_to_is_marked(app: Flask) -> None:
    client, mailbox, enrollment, _delivery = _sent(app)
    _counter(mailbox.id, used=1)
    lead = db.session.get_one(Lead, enrollment.lead_id)
    lead.contacted_at = None
    conversation = make_conversation(client, mailbox, lead, unread=0)
    make_message(conversation)
    what = {drift.what: (drift.was, drift.is_) for drift in recounting.recount(MONDAY_TEN + timedelta(hours=2))}
    assert what == {f"unread of conversation {conversation.id}": (0, 1), f"lead {lead.id} was written to": (0, 1)}
    db.session.commit()
    db.session.refresh(lead)
    assert lead.contacted_at == MONDAY_TEN


def test_history_that_names_what_does_not_exist_is_found_although_no_key_forbids_it(app: Flask) -> None:
    _client, _mailbox, enrollment, delivery = _sent(app, conversation_id=987654321)
    delivery.evidence = {"found": "by_hand"}
    enrollment.status, enrollment.last_step_id = "finished", delivery.step_id
    db.session.commit()
    assert recounting.check_ledger() == {"history that names something that does not exist": [delivery.id]}
    delivery.conversation_id = None
    db.session.commit()
    assert recounting.check_ledger() == {}


def test_every_reference_without_a_key_is_looked_at(app: Flask) -> None:
    keys = text(
        "SELECT c.conrelid::regclass::text, a.attname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)"
        " WHERE c.contype = 'f'"
    )
    checked = {tuple(row) for row in db.session.execute(keys)}
    looked_at = {(table, column) for table, _, column, _ in recounting.NAMED_UNCHECKED}
    assert not looked_at & checked
    timeline = {"campaign_id", "enrollment_id", "step_id", "lead_id", "sender_id", "delivery_id"}  # of activities: what was, however it ends
    named = {
        (table.name, column.name) for table in db.metadata.tables.values() for column in table.c
        if table.name in {name for name, _ in looked_at} and not column.foreign_keys
        and column.name in timeline | {"client_id", "conversation_id", "next_step_id", "last_step_id"}
        and not (table.name == "activities" and column.name in timeline)
    }  # fmt: skip
    assert named == looked_at
