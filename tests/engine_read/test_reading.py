"""The reading engine against a mail server over sockets: what lies in the mailbox arrives in the ledger, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from sandbox.mail.faults import ImapFault
from sandbox.mail.server import MailConfig, RunningMailServer
from tests import factories as make
from tests.engine_read.running import running_engine, until
from tests.patience import in_time
from tests.services.mails import delivery_report, mail
from tests.services.test_receiving import OURS, sent_delivery

PROMISED_S = 2.0  # from reading an answer to the end of the sequence

ADDRESS = "anna@ourhouse.test"


@pytest.fixture
def server() -> Iterator[RunningMailServer]:
    with RunningMailServer(MailConfig()) as running:
        running.add_account(ADDRESS, "secret")
        yield running


@pytest.fixture
def house(app: Flask, server: RunningMailServer) -> dict[str, Any]:
    client = make.make_client()
    mailbox = make.make_mailbox(
        client, email=ADDRESS, password="secret", imap_port=server.ports.imap, read_since=datetime.now(UTC) - timedelta(minutes=1)
    )
    lead = make.make_lead(client)
    enrollment = make.make_enrollment(make.make_campaign(client, mailboxes=(mailbox,)), lead, mailbox)
    sent = sent_delivery(enrollment, lead, mailbox)
    settings = app.extensions["settings"]
    return {"client": client, "mailbox": mailbox, "lead": lead, "enrollment": enrollment, "sent": sent, "settings": settings}


def scalar(statement: str, **values: Any) -> Any:
    found = db.session.execute(text(statement), values).scalar()
    db.session.rollback()
    return found


def reply(house: dict[str, Any], number: int = 1, words: str = "Gladly.") -> bytes:
    return mail(house["lead"].email, ADDRESS, text=words, message_id=f"<reply-{number}@buyer.test>",
                headers={"In-Reply-To": "<first@ourhouse.test>"})  # fmt: skip


def enrollment_status(house: dict[str, Any]) -> str:
    return str(scalar("SELECT status FROM enrollments WHERE id = :id", id=house["enrollment"].id))


def test_a_reply_stops_its_sequence_within_two_seconds(app: Flask, server: RunningMailServer, house: dict[str, Any]) -> None:
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT read_status FROM mailboxes") == "ok")
        time.sleep(0.3)  # now it idles
        server.deliver(ADDRESS, reply(house))
        began = time.monotonic()
        until(lambda: enrollment_status(house) == "replied", 4 * PROMISED_S + 1)
        in_time(time.monotonic() - began < 4 * PROMISED_S, "the answer stopped the sequence too late")


def test_what_lay_there_before_connecting_is_not_read(app: Flask, server: RunningMailServer, house: dict[str, Any]) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    db.session.execute(text("UPDATE mailboxes SET read_since = :at"), {"at": later})
    db.session.commit()
    server.deliver(ADDRESS, reply(house))
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT read_status FROM mailboxes") == "ok")
    assert scalar("SELECT count(*) FROM messages") == 0
    assert enrollment_status(house) == "waiting"


def test_junk_and_sent_are_read_as_well(app: Flask, server: RunningMailServer, house: dict[str, Any]) -> None:
    server.deliver(ADDRESS, OURS.replace(b"s@ourhouse.test", ADDRESS.encode()), folder="Sent")
    server.deliver(ADDRESS, mail(ADDRESS, "stranger@far.test", "Private"), folder="Sent")
    server.deliver(ADDRESS, reply(house), folder="Junk")
    with running_engine(app, house["settings"]):
        until(lambda: enrollment_status(house) == "replied")
        until(lambda: scalar("SELECT read_status FROM mailboxes") == "ok")
    assert scalar("SELECT count(*) FROM messages WHERE direction = 'in'") == 1
    assert scalar("SELECT count(*) FROM messages WHERE direction = 'out' AND headers_only") == 1


def test_a_renumbered_folder_brings_nothing_twice(app: Flask, server: RunningMailServer, house: dict[str, Any]) -> None:
    for number in range(5):
        server.deliver(ADDRESS, reply(house, number))
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT count(*) FROM messages WHERE direction = 'in'") == 5)
    server.renumber(ADDRESS, first_uid=100)
    server.deliver(ADDRESS, reply(house, 99))
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT count(*) FROM messages WHERE direction = 'in'") == 6)
    assert scalar("SELECT unread FROM conversations") == 6
    assert scalar("SELECT count(*) FROM activities WHERE kind = 'message_received'") == 6


@pytest.mark.slow
@pytest.mark.parametrize("fault", [ImapFault.DROP_MID_FETCH, ImapFault.BYE, ImapFault.LOST_IDLE, ImapFault.REFUSE_LOGIN])
def test_a_server_that_misbehaves_costs_time_and_no_mail(
    app: Flask, server: RunningMailServer, house: dict[str, Any], fault: ImapFault
) -> None:
    server.deliver(ADDRESS, reply(house))
    server.imap_fault(fault, ADDRESS, times=2)
    with running_engine(app, house["settings"]):
        until(lambda: enrollment_status(house) == "replied", 20)
    assert scalar("SELECT count(*) FROM messages WHERE direction = 'in'") == 1
    assert scalar("SELECT status FROM senders") == "active"


def test_a_refused_password_stops_the_mailbox_with_words(app: Flask, server: RunningMailServer, house: dict[str, Any]) -> None:
    server.add_account(ADDRESS, "another")
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT status FROM senders") == "auth_failed")
    assert "password" in scalar("SELECT status_reason FROM senders")
    assert scalar("SELECT read_status FROM mailboxes") == "auth_failed"


def test_a_mail_that_cannot_be_recorded_is_kept_and_holds_up_nobody(
    app: Flask, server: RunningMailServer, house: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.services.receiving import record as door
    from jobs import receive

    real = door._insert

    def breaks(incoming: Any, *arguments: Any, **values: Any) -> Any:
        if incoming.external_id == "reply-1@buyer.test":
            raise ZeroDivisionError("a poisonous mail")
        return real(incoming, *arguments, **values)

    monkeypatch.setattr(door, "_insert", breaks)
    server.deliver(ADDRESS, reply(house, 1))
    server.deliver(ADDRESS, reply(house, 2))
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT count(*) FROM messages WHERE external_id = 'reply-2@buyer.test'") == 1)
    for _ in range(6):
        db.session.execute(text("UPDATE inbound_events SET next_try_at = NULL"))
        db.session.commit()
        receive.sweep()
    assert scalar("SELECT status FROM inbound_events") == "quarantined"
    assert "poisonous" in scalar("SELECT error FROM inbound_events")
    monkeypatch.setattr(door, "_insert", real)
    assert receive.replay() == 1
    receive.sweep()
    assert scalar("SELECT status FROM inbound_events") == "done"
    assert scalar("SELECT count(*) FROM messages WHERE external_id = 'reply-1@buyer.test'") == 1


def test_a_bounce_that_overtakes_its_outcome_counts_in_the_end(
    app: Flask, server: RunningMailServer, house: dict[str, Any]
) -> None:
    db.session.execute(text("UPDATE deliveries SET status = 'committing', lease_owner = 'e', leased_until = clock_timestamp()"))
    db.session.commit()
    server.deliver(ADDRESS, delivery_report(ADDRESS, house["lead"].email, "<first@ourhouse.test>"))
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT read_status FROM mailboxes") is not None)
        time.sleep(0.3)
        db.session.execute(text("UPDATE deliveries SET status = 'sent', lease_owner = NULL, leased_until = NULL"))
        db.session.commit()
        until(lambda: scalar("SELECT status FROM deliveries") == "bounced")


def test_two_engines_share_the_mailboxes(app: Flask, server: RunningMailServer, house: dict[str, Any]) -> None:
    from app.core.db import transaction
    from app.services.receiving import reading_state

    db.session.execute(text("INSERT INTO process_beats (name, kind, facts) VALUES ('a', 'read', '{}'), ('b', 'read', '{}')"))
    db.session.commit()
    with transaction():
        first = reading_state.renew_shards("a")
    with transaction():
        second = reading_state.renew_shards("b")
    assert len(first) == len(second) == 32 and not set(first) & set(second)
    with transaction():
        reading_state.release_shards("a")
    db.session.execute(text("DELETE FROM process_beats WHERE name = 'a'"))
    db.session.commit()
    with transaction():
        assert len(reading_state.renew_shards("b")) == 64


def test_older_mail_is_read_on_request_shown_and_stops_nothing(app: Flask, server: RunningMailServer, house: dict[str, Any]) -> None:
    """Ten days lie in the mailbox when it is connected; a person asks for thirty. Nothing of it counts as an answer, but asking to stop does."""
    from app.core.db import transaction
    from app.services import mailboxes

    now = datetime.now(UTC)
    lead, other = house["lead"], make.make_lead(house["client"])
    leaving = make.make_enrollment(make.make_campaign(house["client"]), other, house["mailbox"])
    for days, sender, subject, words, folder in (
        (90, lead.email, "Years ago", "Hello", "INBOX"),
        (9, lead.email, "Last week", "Hello", "INBOX"),
        (8, other.email, "Stop", "Unsubscribe", "INBOX"),
        (7, ADDRESS, "From my phone", "Hello", "Sent"),
    ):
        then = now - timedelta(days=days)
        to = lead.email if folder == "Sent" else ADDRESS
        server.deliver(ADDRESS, mail(sender, to, subject, words, message_id=f"<{days}@old.test>", date=then), folder, internaldate=then)
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT read_status FROM mailboxes") == "ok")
        assert scalar("SELECT count(*) FROM messages") == 0
        with transaction():
            mailboxes.read_older(mailboxes.find(house["client"].id, house["mailbox"].id), 30)
        until(lambda: scalar("SELECT count(*) FROM folder_states WHERE older_since IS NULL") == 0)
    shown = set(db.session.execute(text("SELECT external_id FROM messages WHERE conversation_id IS NOT NULL")).scalars())
    assert shown == {"9@old.test", "8@old.test", "7@old.test"}
    assert scalar("SELECT max(unread) FROM conversations WHERE in_inbox") == 0
    assert scalar("SELECT received_at FROM messages WHERE external_id = '9@old.test'") < now - timedelta(days=8)
    assert enrollment_status(house) == "waiting"
    assert scalar("SELECT status FROM enrollments WHERE id = :id", id=leaving.id) == "unsubscribed"
    with running_engine(app, house["settings"]):
        server.deliver(ADDRESS, reply(house))
        until(lambda: enrollment_status(house) == "replied")
    assert scalar("SELECT count(*) FROM messages WHERE conversation_id IS NOT NULL") == 5  # those, the answer, and what it answers
