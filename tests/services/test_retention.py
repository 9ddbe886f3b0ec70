"""What is kept no longer is gone, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core import clock
from app.core.db import transaction
from app.core.extensions import db
from app.models import (
    Attachment,
    Blob,
    Client,
    Conversation,
    Delivery,
    KnownMessageId,
    Lead,
    LoginAttempt,
    LoginThrottle,
    Message,
    OneTimeLink,
    Participant,
)
from app.services import retention
from app.services.outbox import sweeping
from app.services.outbox.plain import plain_connection
from app.services.receiving.arrivals import Arrival, understand
from app.services.receiving.record import record
from tests.factories import (
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
from tests.services.mails import mail


def test_headers_of_mail_that_matched_nothing_go_after_thirty_days(app: Flask) -> None:
    client = make_client()
    conversation = make_conversation(client, make_mailbox(client))
    now = clock.now()
    old = make_message(conversation, headers_only=True, conversation_id=None, received_at=now - timedelta(days=31))
    young = make_message(conversation, headers_only=True, conversation_id=None, received_at=now - timedelta(days=29))
    real = make_message(conversation, received_at=now - timedelta(days=400))
    assert retention.forget_headers(now) == 1
    assert {row.id for row in db.session.query(Message)} == {young.id, real.id}
    assert old.id not in {young.id, real.id}


def test_one_time_links_go_a_month_after_they_ran_out(app: Flask) -> None:
    save(OneTimeLink(token_hash="a", purpose="login", expires_at=clock.machine_now() - timedelta(days=31)))
    save(OneTimeLink(token_hash="b", purpose="login", expires_at=clock.machine_now() - timedelta(days=1)))
    assert retention.forget_links(clock.now()) == 1


def test_counts_of_wrong_logins_and_attempts_go_a_day_later(app: Flask) -> None:
    user, now = make_user(), clock.machine_now()
    for name, days in (("old", 2), ("young", 0)):
        save(LoginThrottle(key=f"account:{name}@house.test", failures=1, last_failure_at=now - timedelta(days=days)))
        save(LoginAttempt(user_id=user.id, token_hash=name, expires_at=now - timedelta(days=days)))
    save(LoginThrottle(key="network:waits", failures=9, last_failure_at=now - timedelta(days=2), blocked_until=now + timedelta(minutes=1)))
    assert (retention.forget_failures(clock.now()), retention.forget_attempts(clock.now())) == (1, 1)
    assert {row.key for row in db.session.query(LoginThrottle)} == {"account:young@house.test", "network:waits"}


def test_a_rehearsal_whose_days_fly_does_not_forget_what_is_young_in_machine_time(app: Flask) -> None:
    db.session.execute(text("INSERT INTO inbound_events (source, account, dedupe_key, body, status) VALUES ('imap', '1', 'k', 'x', 'done')"))
    db.session.commit()
    assert retention.forget_raw_events(clock.now() + timedelta(days=365)) == 0


def _old_talk(client: Client, **values: Any) -> tuple[Conversation, Message, Delivery]:
    """A lead's ended walk, what we sent in it and what came back with a file, all of it two years and a month ago."""
    long_ago = clock.now() - timedelta(days=761)
    mailbox, lead = make_mailbox(client), make_lead(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    walk = make_enrollment(campaign, lead, mailbox, status=values.pop("walk", "replied"))
    talk = make_conversation(client, mailbox, lead, last_message_at=long_ago, **values)
    sent = make_delivery(
        walk, lead, mailbox, status="sent", mime=b"Subject: Hi\r\n\r\nsecret words", message_id=f"<ours-{lead.id}@x.test>",
        conversation_id=talk.id, sent_at=long_ago,
    )  # fmt: skip
    message = make_message(talk, "their secret words", received_at=long_ago, raw_sha256=f"raw{lead.id}")
    save(Blob(client_id=client.id, sha256=f"raw{lead.id}", bytes=b"their secret words", size=18))
    save(Blob(client_id=client.id, sha256="shared", bytes=b"a logo", size=6))
    save(Attachment(client_id=client.id, message_id=message.id, position=0, filename="a.png", content_type="image/png", size=6, sha256="shared"))
    save(Participant(client_id=client.id, conversation_id=talk.id, lead_id=lead.id, address=lead.email, address_key=lead.email_key))
    db.session.execute(text("UPDATE known_message_ids SET inbox_message_id = :m WHERE delivery_id = :d"), {"d": sent.id, "m": message.id})
    save(KnownMessageId(client_id=client.id, message_id=f"<theirs-{lead.id}>", source="inbound", inbox_message_id=message.id))
    db.session.commit()
    return talk, message, sent


def _left() -> dict[str, int]:
    db.session.expire_all()
    return {model.__tablename__: db.session.query(model).count() for model in (Conversation, Message, Participant, Attachment, Blob, KnownMessageId)}


def test_conversations_older_than_their_client_keeps_them_go_with_their_words_and_what_the_promises_rest_on_stays(app: Flask) -> None:
    keeps, forgets = make_client(retention_days=3_650), make_client(retention_days=730)
    kept, *_ = _old_talk(keeps)
    _gone, _message, sent = _old_talk(forgets)
    young = make_conversation(forgets, make_mailbox(forgets), last_message_at=clock.now() - timedelta(days=729))
    holds = make_message(young)  # the same logo, in a conversation that stays
    save(Attachment(client_id=forgets.id, message_id=holds.id, position=0, filename="a.png", content_type="image/png", size=6, sha256="shared"))
    kept_id, young_id, sent_id, known = kept.id, young.id, sent.id, sent.message_id
    assert retention.forget_old_conversations(clock.now()) == 1
    db.session.commit()
    assert _left() == {"conversations": 2, "messages": 2, "participants": 1, "attachments": 2, "blobs": 3, "known_message_ids": 3}
    assert {row.id for row in db.session.query(Conversation)} == {kept_id, young_id}
    row = db.session.get_one(Delivery, sent_id)
    assert (row.status, row.mime, row.conversation_id, row.message_id) == ("sent", b"", None, known)
    ours = db.session.query(KnownMessageId).filter_by(delivery_id=sent_id).one()
    assert (ours.source, ours.inbox_message_id) == ("ours", None), "an answer to it still finds its lead"
    assert retention.forget_old_conversations(clock.now()) == 0
    assert sweeping.ledger_faults(plain_connection()) == {}


@pytest.mark.parametrize("waits", ["walk", "snooze", "decision", "message", "failed answer"])
def test_a_conversation_somebody_still_waits_for_is_never_too_old(app: Flask, waits: str) -> None:
    client = make_client()
    values: dict[str, Any] = {
        "walk": {"walk": "paused"}, "snooze": {"status": "snoozed", "snoozed_until": clock.now() + timedelta(days=1)}, "decision": {"needs_match": True},
    }.get(waits, {})  # fmt: skip
    talk, _message, sent = _old_talk(client, **values)
    if waits in {"message", "failed answer"}:
        sent.kind, sent.status = ("reply", "failed") if waits == "failed answer" else ("campaign_step", "uncertain")
        db.session.commit()
    assert retention.forget_old_conversations(clock.now()) == 0
    if waits == "failed answer":
        db.session.get_one(Delivery, sent.id).resolved_at = clock.machine_now()
        db.session.commit()
        assert retention.forget_old_conversations(clock.now()) == 1
    else:
        assert db.session.get_one(Conversation, talk.id).id == talk.id


def test_an_answer_to_a_forgotten_message_is_matched_and_opens_a_conversation_without_what_was_forgotten(app: Flask) -> None:
    client = make_client()
    _talk, _message, sent = _old_talk(client)
    retention.forget_old_conversations(clock.now())
    db.session.commit()
    lead_id, mailbox_id, known = sent.lead_id, sent.sender_id, sent.message_id
    lead = db.session.get_one(Lead, lead_id)
    raw = mail(lead.email, "us@ourhouse.test", text="An answer after years", headers={"In-Reply-To": known, "References": known})
    with transaction():
        record(understand(Arrival(client.id, mailbox_id, raw, "inbox", clock.now())))
    fresh = db.session.query(Conversation).one()
    assert (fresh.lead_id, [message.direction for message in db.session.query(Message)]) == (lead_id, ["in"])
