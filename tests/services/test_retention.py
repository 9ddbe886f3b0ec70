"""What is kept no longer is gone, and nothing else."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask
from sqlalchemy import text

from app.core import clock
from app.core.extensions import db
from app.models import LoginAttempt, LoginThrottle, Message, OneTimeLink
from app.services import retention
from tests.factories import make_client, make_conversation, make_mailbox, make_message, make_user, save


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
