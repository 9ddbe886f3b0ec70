"""Threads that a mailbox tells: learned from the copies of our own mail, and enough to know an answer that names nothing of ours."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from app.core.db import transaction
from app.core.extensions import db
from app.models import Message
from app.services.receiving import events
from app.services.receiving.arrivals import Arrival, understand
from app.services.receiving.record import Recorded, record
from tests import factories as make
from tests.services.mails import NOW, mail
from tests.services.test_receiving import OURS, Story, sent_delivery, status, story  # noqa: F401 (fixture)

INDEX = base64.b64encode(bytes([1]) + bytes(range(21)) + bytes(5)).decode()
THREAD = "gm:1:77"


def arrives(story: Story, raw: bytes, role: str = "inbox", thread: str = "") -> Recorded:  # noqa: F811
    with transaction():
        found = record(understand(Arrival(story.client.id, story.mailbox.id, raw, role, NOW, thread=thread)))
    db.session.expire_all()
    return found


def stranger(story: Story, number: int = 1, **headers: str) -> bytes:  # noqa: F811
    return mail("eve@elsewhere.test", story.mailbox.address, "Entirely new words", message_id=f"<eve-{number}@elsewhere.test>", headers=headers)


def rule(found: Recorded) -> Any:
    return db.session.get(Message, found.message_id).match_rule


def test_an_answer_in_the_gmail_thread_of_our_mail_stops_the_sequence_from_any_address(story: Story) -> None:  # noqa: F811
    assert arrives(story, OURS, "sent", THREAD).own
    found = arrives(story, stranger(story), "other", THREAD)
    assert rule(found) == "gmail_thread"
    assert status(story.first)[0] == "replied" and status(story.second)[0] == "replied"
    again = arrives(story, stranger(story, 2), "other", THREAD)
    assert again.conversation_id == found.conversation_id


def test_the_thread_of_another_mailbox_or_client_is_not_ours(story: Story) -> None:  # noqa: F811
    arrives(story, OURS, "sent", THREAD)
    other = make.make_client()
    box = make.make_mailbox(other)
    with transaction():
        found = record(understand(Arrival(other.id, box.id, stranger(story), "inbox", NOW, thread=THREAD)))
    assert found.conversation_id is None
    assert arrives(story, stranger(story), "inbox", "gm:2:77").conversation_id is None
    assert status(story.first)[0] == "waiting"


def test_outlooks_thread_index_on_our_copy_in_sent_is_learned(story: Story) -> None:  # noqa: F811
    arrives(story, f"Thread-Index: {INDEX}\r\n".encode() + OURS, "sent")
    found = arrives(story, stranger(story, **{"Thread-Index": INDEX}))
    assert rule(found) == "thread_index" and status(story.first)[0] == "replied"


def test_an_answer_without_ids_joins_by_the_thread_of_an_earlier_answer(story: Story) -> None:  # noqa: F811
    first = arrives(story, story.answer(headers={"In-Reply-To": "<first@ourhouse.test>", "Thread-Index": INDEX}))
    second = arrives(story, stranger(story, **{"Thread-Index": INDEX}))
    assert rule(second) == "thread_index" and second.conversation_id == first.conversation_id


def test_what_one_of_us_writes_in_the_thread_from_outside_joins_it_and_holds_the_lead(story: Story) -> None:  # noqa: F811
    arrives(story, OURS, "sent", THREAD)
    arrives(story, mail(story.mailbox.address, "assistant@elsewhere.test", "By the way", message_id="<out@ourhouse.test>"), "sent", THREAD)
    assert status(story.first) == ("paused", "answered_elsewhere")


def test_one_gmail_thread_with_two_leads_holds_both_for_a_person(story: Story) -> None:  # noqa: F811
    lead = make.make_lead(story.client)
    walk = make.make_enrollment(make.make_campaign(story.client, mailboxes=(story.mailbox,)), lead, story.mailbox)
    second = OURS.replace(b"first@", b"second@")
    sent_delivery(walk, lead, story.mailbox, message_id="<second@ourhouse.test>", mime=second)
    arrives(story, OURS, "sent", THREAD)
    arrives(story, second, "sent", THREAD)
    found = arrives(story, stranger(story), "other", THREAD)
    assert rule(found) == "gmail_thread" and found.conversation_id is not None
    assert status(story.first)[1] == status(walk)[1] == "direction_unknown"


def test_a_kept_mail_keeps_its_thread(story: Story) -> None:  # noqa: F811
    arrives(story, OURS, "sent", THREAD)
    with transaction():
        events.keep_mail(Arrival(story.client.id, story.mailbox.id, stranger(story), "other", NOW, datetime.now(UTC), thread=THREAD),
                         dedupe_key="1", facts={}, error="x", wait_s=0)  # fmt: skip
    with transaction():
        events.process(db.session.execute(text("SELECT id FROM inbound_events")).scalar_one())
    db.session.expire_all()
    assert status(story.first)[0] == "replied"
