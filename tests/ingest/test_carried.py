"""What a service tells about our mail: found by Message-ID, decided by rank, the same state in any order, once."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.db import transaction
from app.core.extensions import db
from app.services.receiving import carried
from jobs import receive
from tests import factories as make
from tests.ingest.callers import mail_event, make_caller

ORDERS = int(os.environ.get("EMBERPOST_ORDERS", "200"))


@dataclass
class Story:
    client: Any
    mailbox: Any
    campaign: Any
    other: Any


@pytest.fixture
def story(app: Flask) -> Story:
    client = make.make_client()
    mailbox = make.make_mailbox(client)
    return Story(client, mailbox, make.make_campaign(client, mailboxes=(mailbox,)), make.make_campaign(client, mailboxes=(mailbox,)))


def sent(story: Story, number: int, **values: Any) -> Any:
    """A message that left, its lead waiting for the next step here and in another campaign."""
    lead = make.make_lead(story.client, email=f"ada{number}@buyer.test")
    walk = make.make_enrollment(story.campaign, lead, story.mailbox)
    elsewhere = make.make_enrollment(story.other, lead, story.mailbox)
    make.make_delivery(elsewhere, lead, story.mailbox)
    defaults = {
        "status": "sent", "mime": b"x", "message_id": f"<m{number}@ourhouse.test>", "sent_at": make.MONDAY_TEN, "permitted_at": datetime.now(UTC),
        "idempotency_key": f"sent:{number}",
    }  # fmt: skip
    return make.make_delivery(walk, lead, story.mailbox, **{**defaults, **values})


def tell(event: str, number: int, **values: Any) -> str:
    with transaction():
        return carried.process(mail_event(event, f"m{number}@ourhouse.test", **values), True)


def state(number: int) -> tuple[Any, ...]:
    db.session.rollback()
    values = {"id": f"<m{number}@ourhouse.test>", "key": f"ada{number}@buyer.test"}
    status = db.session.execute(text("SELECT status FROM deliveries WHERE message_id = :id"), values).scalar_one()
    listed = db.session.execute(text("SELECT reason FROM suppressions WHERE email_key = :key"), values).scalar()
    walks = db.session.execute(
        text("SELECT array_agg(DISTINCT e.status) FROM enrollments e JOIN leads l ON l.id = e.lead_id WHERE l.email_key = :key"), values
    ).scalar_one()
    return status, listed, walks


GONE = {"status": "5.1.1", "text": "550 5.1.1 no such user", "permanent": True}


def test_each_event_does_what_a_mail_that_says_the_same_would_do(story: Story) -> None:
    for number in range(5):
        sent(story, number)
    assert [tell("delivered", 0), tell("bounced", 1, **GONE), tell("complained", 2), tell("unsubscribed", 3)] == ["", "", "", ""]
    assert tell("bounced", 4, permanent=False, text="452 4.2.2 mailbox full") == ""
    assert state(0) == ("delivered", None, ["waiting"])
    assert state(1) == ("bounced", "bounced", ["bounced"])
    assert state(2) == ("complained", "complained", ["unsubscribed"])
    assert state(3) == ("sent", "unsubscribed", ["unsubscribed"])
    assert state(4) == ("bounced", None, ["waiting"])
    waiting = db.session.execute(text("SELECT count(*) FROM deliveries WHERE status = 'queued'")).scalar()
    assert waiting == 2  # of those nobody complained about


def test_what_names_no_message_of_ours_does_nothing(story: Story) -> None:
    sent(story, 1, permitted_at=None, status="queued")
    assert "no message of ours" in tell("bounced", 99, **GONE)
    assert "never left" in tell("complained", 1)
    assert db.session.execute(text("SELECT count(*) FROM suppressions")).scalar() == 0


def test_an_id_that_the_provider_gave_is_known_too(story: Story) -> None:
    delivery = sent(story, 1, provider_message_id="<p1@carrier.test>")
    db.session.execute(
        text("INSERT INTO known_message_ids (client_id, message_id, source, delivery_id) VALUES (:c, '<p1@carrier.test>', 'provider', :d)"),
        {"c": story.client.id, "d": delivery.id},
    )
    db.session.commit()
    with transaction():
        assert carried.process(mail_event("delivered", "p1@carrier.test"), True) == ""
    assert state(1)[0] == "delivered"


def test_an_event_proves_that_an_uncertain_message_left(story: Story) -> None:
    sent(story, 1, status="uncertain", sent_at=None, permit_product_at=make.MONDAY_TEN)
    tell("delivered", 1)
    assert state(1)[0] == "delivered"


def test_a_persons_entry_of_the_list_is_not_rewritten(story: Story) -> None:
    sent(story, 1)
    with transaction():
        from app.services import suppressions

        suppressions.suppress(story.client.id, "ada1@buyer.test", "manual", "person")
    tell("complained", 1)
    assert state(1)[:2] == ("complained", "manual")


CONVERSATION = [("delivered", {}), ("bounced", GONE), ("complained", {}), ("unsubscribed", {}), ("bounced", {"permanent": True, "text": "554 5.4.6 loop"})]
#: Every choice of the first four, and two with a bounce that ends the walk and lists nobody.
CHOICES = [[one for bit, one in enumerate(CONVERSATION[:4]) if number >> bit & 1] for number in range(16)]
CHOICES += [[CONVERSATION[0], CONVERSATION[4], CONVERSATION[2]], [CONVERSATION[4], CONVERSATION[3]]]

_PEOPLE = """
WITH people AS (
  INSERT INTO leads (client_id, email, email_key, first_name)
  SELECT :client, 'ada' || n || '@buyer.test', 'ada' || n || '@buyer.test', 'Ada' FROM generate_series(0, :most) n RETURNING id, email_key),
 walks AS (
  INSERT INTO enrollments (client_id, campaign_id, lead_id, sender_id, status, next_step_id, next_at, enrolled_at)
  SELECT :client, c.id, p.id, :sender, 'waiting', c.step, :at, :at
  FROM people p CROSS JOIN (VALUES (:here, :step), (:there, :other)) AS c(id, step) RETURNING id, lead_id, campaign_id, next_step_id),
 made AS (
INSERT INTO deliveries (client_id, kind, status, sender_id, campaign_id, enrollment_id, step_id, lead_id, due_at, idempotency_key, to_address,
  email_key, message_id, mime, sent_at, permitted_at)
SELECT :client, 'campaign_step', CASE WHEN w.campaign_id = :here THEN 'sent' ELSE 'queued' END, :sender, w.campaign_id, w.id, w.next_step_id, p.id,
  :at, 'step:' || w.id, p.email_key, p.email_key,
  CASE WHEN w.campaign_id = :here THEN replace(replace(p.email_key, 'ada', '<m'), 'buyer.test', 'ourhouse.test>') END, 'x', :at, clock_timestamp()
FROM walks w JOIN people p ON p.id = w.lead_id RETURNING id, message_id)
INSERT INTO known_message_ids (client_id, message_id, source, delivery_id) SELECT :client, message_id, 'ours', id FROM made WHERE message_id IS NOT NULL
"""
#: Everything an event may touch, per message, without ids of rows, moments, and the order in which things were learnt.
_STATE = """
SELECT l.email_key, l.bounced_at IS NULL,
  (SELECT array_agg(row(d.status, d.reason, d.detail, d.reply_text)::text ORDER BY d.campaign_id) FROM deliveries d WHERE d.lead_id = l.id),
  (SELECT array_agg(row(e.status, e.reason, e.next_at IS NULL)::text ORDER BY e.campaign_id) FROM enrollments e WHERE e.lead_id = l.id),
  (SELECT row(s.reason, s.source, s.note, s.campaign_id)::text FROM suppressions s WHERE s.email_key = l.email_key),
  (SELECT array_agg(a.kind || coalesce(a.campaign_id::text, '-') ORDER BY a.kind, a.campaign_id) FROM activities a WHERE a.lead_id = l.id)
FROM leads l
"""


def people(story: Story, count: int) -> None:
    """``count`` leads with a message that left, waiting here and in another campaign, where a message is queued."""
    values = {
        "client": story.client.id, "sender": story.mailbox.id, "here": story.campaign.id, "there": story.other.id, "most": count - 1,
        "step": make.first_step(story.campaign).id, "other": make.first_step(story.other).id, "at": make.MONDAY_TEN,
    }  # fmt: skip
    db.session.execute(text(_PEOPLE), values)
    db.session.commit()


def states() -> dict[int, str]:
    """Message number → a hash of all that is known of it."""
    db.session.rollback()
    rows = db.session.execute(text(_STATE)).all()
    return {int(row[0].removeprefix("ada").partition("@")[0]): hashlib.sha256(repr(tuple(row[1:])).encode()).hexdigest() for row in rows}


def in_any_order(count: int, dice: random.Random) -> list[tuple[int, str, dict[str, Any]]]:
    """Each message's events, some of them more than once, all of them mixed up."""
    arriving = []
    for number in range(count):
        some = CHOICES[number % len(CHOICES)]
        told = some + (dice.choices(some, k=dice.randint(0, 3)) if some else [])
        arriving += [(number, name, more) for name, more in told]
    dice.shuffle(arriving)
    return arriving


def of_one_choice(found: dict[int, str]) -> None:
    for choice, some in enumerate(CHOICES):
        ends = {state for number, state in found.items() if number % len(CHOICES) == choice}
        assert len(ends) == 1, f"{[name for name, _ in some]} ends in {len(ends)} states"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_any_order_with_any_repeats_ends_in_one_state(story: Story) -> None:
    people(story, ORDERS)
    arriving = in_any_order(ORDERS, random.Random(7))
    for start in range(0, len(arriving), 25):
        with transaction():
            for number, name, more in arriving[start : start + 25]:
                assert carried.process(mail_event(name, f"<m{number}@ourhouse.test>", **more), True) == ""
    found = states()
    of_one_choice(found)
    assert len(set(found.values())) > 8  # the hash tells different ends apart


def test_through_the_route_and_the_job_each_event_counts_once(app: Flask, story: Story) -> None:
    people(story, 36)
    caller = make_caller(app)
    arriving = in_any_order(36, random.Random(8))
    names = [f"{number}-{name}" for number, name, _ in arriving]
    for event_id, (number, name, more) in zip(names, arriving, strict=True):
        assert caller.call(mail_event(name, f"<m{number}@ourhouse.test>", **more), event_id).status_code == 200
    receive.sweep()
    rows = db.session.execute(text("SELECT status, sum(seen), count(*) FROM inbound_events GROUP BY 1")).all()
    assert [tuple(row) for row in rows] == [("done", len(names), len(set(names)))]
    of_one_choice(states())
