"""Every line of the ledger's equation can be false: for each a fault is put into books that balance, and the look names it."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from app.models import Activity, Delivery, DeliveryAttempt, Step
from app.services import recounting
from app.services.outbox import sweeping
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

STEPS, ANSWERS, AGAIN = (
    f"planned differs from the messages there are: {what}" for what in ("steps of leads", "answers of people", "messages wanted once more")
)
LEFT = {"status": "sent", "mime": b"x", "permit_product_at": MONDAY_TEN, "sent_at": MONDAY_TEN, "epoch": 1}


class Books:
    """A lead whose first step was sent, one whose first is on its way, an answer that was sent, and a message sent again by a person."""

    def __init__(self) -> None:
        client = make_client()
        mailbox = make_mailbox(client)
        campaign = make_campaign(client, mailboxes=(mailbox,))
        first, second = db.session.query(Step).filter_by(campaign_id=campaign.id).order_by(Step.id)
        people = [make_lead(client, contacted_at=MONDAY_TEN) for _ in range(3)]
        walks = [make_enrollment(campaign, lead, mailbox) for lead in people]
        sent, queued, unsure = (make_delivery(walk, lead, mailbox, **values) for walk, lead, values in zip(
            walks, people, (LEFT, {}, {"status": "cancelled", "reason": "resent"}), strict=True))  # fmt: skip
        again = make_delivery(walks[2], people[2], mailbox, **LEFT, retry_of=unsure.id, idempotency_key=f"retry:{unsure.id}:1")
        for walk, status in zip(walks, ("waiting", "in_flight", "waiting"), strict=True):
            walk.status = status
            if status == "waiting":
                walk.last_step_id, walk.next_step_id = first.id, second.id
        answer = make_message(make_conversation(client, mailbox, people[0]), direction="out", author_id=make_user(client).id)
        reply = save(Delivery(client_id=client.id, kind="reply", sender_id=mailbox.id, lead_id=people[0].id, inbox_message_id=answer.id, due_at=MONDAY_TEN,
                              idempotency_key=f"reply:{answer.id}", to_address=people[0].email, email_key=people[0].email_key, **LEFT))  # fmt: skip
        answer.delivery_id = reply.id
        for row in (sent, again, reply):
            save(DeliveryAttempt(delivery_id=row.id, epoch=1, client_id=client.id, engine="e", outcome="accepted"))
        for row in (sent, again):
            save(Activity(client_id=client.id, kind="message_sent", channel="email", campaign_id=campaign.id, enrollment_id=row.enrollment_id,
                          step_id=row.step_id, lead_id=row.lead_id, sender_id=mailbox.id, delivery_id=row.id, at=MONDAY_TEN))  # fmt: skip
        db.session.commit()
        self.ids = {
            "client": client.id, "walk": walks[0].id, "flying": walks[1].id, "first": first.id, "second": second.id, "sent": sent.id,
            "queued": queued.id, "unsure": unsure.id, "again": again.id, "answer": answer.id, "reply": reply.id,
        }  # fmt: skip

    def spoil(self, statements: str) -> None:
        """As nobody but the owner of the tables could."""
        db.session.execute(text("SET LOCAL ROLE emberpost_owner"))
        for statement in statements.split(";"):
            named = {name: self.ids[name] for name in re.findall(r"(?<!')\:([a-z]+)", statement)}
            db.session.execute(text(statement), named)
        db.session.commit()


_LOST = (
    "UPDATE messages SET delivery_id = NULL WHERE delivery_id = :{0}; DELETE FROM delivery_attempts WHERE delivery_id = :{0};"
    " DELETE FROM deliveries WHERE id = :{0}"
)
_COPY = ("INSERT INTO deliveries (idempotency_key, client_id, kind, sender_id, to_address, email_key, due_at, enrollment_id, step_id, lead_id, status, reason)"
         " SELECT {0}, client_id, kind, sender_id, to_address, email_key, due_at, enrollment_id, {1}, lead_id, {2} FROM deliveries WHERE id = ")  # fmt: skip
#: (the line that must say so, what is done to the books).
SPOILT = [
    ("leads on their way without a message on its way", "UPDATE deliveries SET status = 'cancelled', reason = 'skipped' WHERE id = :queued"),
    ("messages waiting for a lead whose walk has ended", "UPDATE enrollments SET status = 'replied' WHERE id = :flying"),
    ("two open messages for one lead in one campaign", _COPY.format("'step:' || enrollment_id || ':' || :second", ":second", "status, reason") + ":queued"),
    ("a step sent twice to one lead", "UPDATE deliveries SET enrollment_id = :walk, status = 'sent', mime = 'x', sent_at = now() WHERE id = :queued"),
    ("messages said to be sent without an answer that took them", "DELETE FROM delivery_attempts WHERE delivery_id = :sent"),
    ("messages that a server took and that are not said to be sent", "UPDATE deliveries SET status = 'failed', reason = 'refused' WHERE id = :sent"),
    ("leads further in their sequence than their messages", "UPDATE enrollments SET last_step_id = :second WHERE id = :walk"),
    ("messages whose key names another intention than their row", "UPDATE deliveries SET idempotency_key = 'elsewhere' WHERE id = :queued"),
    ("messages whose key names another intention than their row", "UPDATE deliveries SET idempotency_key = 'elsewhere' WHERE id = :reply"),
    ("messages whose key names another intention than their row", "UPDATE deliveries SET idempotency_key = 'elsewhere' WHERE id = :again"),
    ("messages whose key names another intention than their row", "UPDATE deliveries SET kind = 'test' WHERE id = :queued"),
    ("messages twice in the timeline", "UPDATE activities SET delivery_id = :sent WHERE delivery_id = :again"),
    ("messages whose Message-ID no answer would find", "UPDATE deliveries SET message_id = '<unknown@ours.test>' WHERE id = :sent"),
    ("history that names something that does not exist", "UPDATE deliveries SET conversation_id = 987654321 WHERE id = :sent"),
    # an intention without its row: a walk's, the timeline's, an answer's, one that a person wanted again
    (STEPS, _LOST.format("queued")),
    (STEPS, _LOST.format("sent")),
    (STEPS, _LOST.format("sent") + "; UPDATE enrollments SET last_step_id = NULL WHERE id = :walk"),
    (ANSWERS, _LOST.format("reply")),
    (AGAIN, _LOST.format("again")),
    # a second row for one intention, under a key of its own
    (STEPS, _COPY.format("idempotency_key || '-twice'", "step_id", "'cancelled', 'skipped'") + ":sent"),
    (AGAIN, "UPDATE deliveries SET retry_of = :unsure WHERE id = :queued"),
    (ANSWERS, "UPDATE deliveries SET kind = 'reply', inbox_message_id = :answer WHERE id = :queued"),
    ("sent_without_time", "UPDATE deliveries SET sent_at = NULL WHERE id = :sent"),
    ("cancelled_without_reason", "UPDATE deliveries SET reason = NULL WHERE id = :unsure"),
    ("failed_without_reason", "UPDATE deliveries SET status = 'failed' WHERE id = :queued"),
    ("bounced_without_reason", "UPDATE deliveries SET status = 'bounced', reason = '' WHERE id = :sent"),
    ("uncertain_without_reason", "UPDATE deliveries SET status = 'uncertain' WHERE id = :queued"),
    ("stuck", "UPDATE deliveries SET status = 'leased', leased_until = clock_timestamp() - interval '6 min' WHERE id = :queued"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "spoil"), SPOILT, ids=[f"{number}-{line}" for number, (line, _) in enumerate(SPOILT)])
def test_each_line_of_the_equation_notices_its_fault(app: Flask, line: str, spoil: str) -> None:
    books = Books()
    before = recounting.balance()
    assert before.holds and (before.planned, before.states) == (5, {"sent": 3, "queued": 1, "cancelled": 1}), before.faults
    books.spoil(spoil)
    assert line in recounting.balance().faults


def test_an_answer_whose_conversation_is_kept_no_longer_takes_nothing_from_the_balance(app: Flask) -> None:
    books = Books()
    books.spoil("UPDATE deliveries SET inbox_message_id = NULL WHERE id = :reply; DELETE FROM messages WHERE id = :answer")
    after = recounting.balance()
    assert after.holds and after.planned == sum(after.states.values()) == 5, after.faults


def test_no_line_of_the_equation_is_left_out_above() -> None:
    of_rows = set(re.findall(r" AS (\w+)", sweeping._LEDGER))
    assert {line for line, _ in SPOILT} == {*recounting._EQUATION, *of_rows, STEPS, ANSWERS, AGAIN}
