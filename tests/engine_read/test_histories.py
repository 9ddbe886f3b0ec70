"""Random lives of mailboxes while the reader is killed again and again: what the server has is ingested, each mail once.

``EMBERPOST_HISTORIES`` sets how many mailboxes live through it (twenty at a time share a reader).
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from sandbox.mail.faults import ImapFault
from sandbox.mail.server import MailConfig, RunningMailServer
from tests import factories as make
from tests.engine_read.running import reader_process, until
from tests.engine_read.test_gmail import ALL
from tests.services.mails import mail
from tests.services.test_receiving import OURS, sent_delivery

HISTORIES = int(os.environ.get("EMBERPOST_HISTORIES", "100"))
AT_A_TIME = 20
KILLS = 4
FAULTS = [ImapFault.DROP_MID_FETCH, ImapFault.BYE, ImapFault.LOST_IDLE, ImapFault.REFUSE_LOGIN, ImapFault.NOT_SHOWN]
GMAIL_EVERY = 4  # so many of them are at Gmail


@dataclass
class Life:
    """One mailbox and everything that was ever put into it."""

    number: int
    address: str
    mailbox_id: int
    lead_address: str
    sent_id: str
    delivered: dict[str, str] = field(default_factory=dict)  # Message-ID → reply or other
    removed: set[str] = field(default_factory=set)

    def new_mail(self, dice: random.Random) -> bytes:
        number = len(self.delivered)
        message_id = f"h{self.number}-{number}@buyer.test"
        answers = dice.random() < 0.5
        self.delivered[message_id] = "reply" if answers else "other"
        sender = self.lead_address if answers else f"news{number}@paper.test"
        headers = {"In-Reply-To": self.sent_id} if answers else {}
        text = "word " * dice.choice([3, 50, 500])
        return mail(sender, self.address, f"Mail {number}", text, message_id=f"<{message_id}>", headers=headers, date=datetime.now(UTC))


def born(number: int, server: RunningMailServer) -> Life:
    address = f"box{number}@ourhouse.test"
    server.add_account(address, "secret", gmail=number % GMAIL_EVERY == 0)
    client = make.make_client()
    mailbox = make.make_mailbox(
        client, email=address, password="secret", imap_port=server.ports.imap, read_since=datetime.now(UTC) - timedelta(minutes=1)
    )
    lead = make.make_lead(client)
    enrollment = make.make_enrollment(make.make_campaign(client, mailboxes=(mailbox,), steps=1), lead, mailbox)
    ours = f"<ours-{number}@ourhouse.test>"
    sent_delivery(enrollment, lead, mailbox, message_id=ours, mime=OURS.replace(b"<first@ourhouse.test>", ours.encode()))
    return Life(number, address, mailbox.id, lead.email, ours)


def one_action(life: Life, server: RunningMailServer, dice: random.Random) -> None:
    what = dice.random()
    folder = dice.choice(["INBOX", "INBOX", "INBOX", "Junk"])
    lying = server.messages(life.address, folder)
    if what < 0.55 or not lying:
        server.deliver(life.address, life.new_mail(dice), folder)
    elif what < 0.6:
        shown_late(life, server, dice, folder)
    elif what < 0.7:
        moved = dice.choice(lying)
        server.deliver(life.address, moved.raw, "Junk" if folder == "INBOX" else "INBOX")
        server.expunge(life.address, [moved.uid], folder)
    elif what < 0.8:
        gone = dice.choice(lying)
        life.removed.add(message_id_of(gone.raw))
        server.expunge(life.address, [gone.uid], folder)
    elif what < 0.9:
        place = dice.choice([folder, ALL]) if life.number % GMAIL_EVERY == 0 else folder
        server.renumber(life.address, place, first_uid=dice.choice([1, 1, 1_000]))
    elif what < 0.97:
        server.imap_fault(dice.choice(FAULTS), life.address, times=dice.choice([1, 2]))
    else:
        server.end_imap_sessions(life.address)


def shown_late(life: Life, server: RunningMailServer, dice: random.Random, folder: str) -> None:
    """A mail that is listed only when one behind it was."""
    place = ALL if life.number % GMAIL_EVERY == 0 else folder
    server.skip_uids(life.address, 1, place)
    behind = server.deliver(life.address, life.new_mail(dice), place)
    time.sleep(0.03)
    server.show_late(life.address, life.new_mail(dice), behind.uid - 1, place)


def message_id_of(raw: bytes) -> str:
    return raw.split(b"Message-ID: <")[1].split(b">")[0].decode()


def ingested(life: Life) -> Counter[str]:
    rows = db.session.execute(
        text("SELECT external_id FROM messages WHERE sender_id = :id AND direction = 'in'"), {"id": life.mailbox_id}
    )
    found = Counter(rows.scalars())
    db.session.rollback()
    return found


def folders_of(life: Life) -> tuple[str, ...]:
    return ("INBOX", "Junk", ALL) if life.number % GMAIL_EVERY == 0 else ("INBOX", "Junk")


def on_server(life: Life, server: RunningMailServer) -> set[str]:
    return {message_id_of(one.raw) for name in folders_of(life) for one in server.messages(life.address, name)}


def live(lives: list[Life], server: RunningMailServer, settings: Any, dice: random.Random) -> None:
    """Actions at random moments while readers are killed without warning."""
    for _ in range(KILLS):
        reader = reader_process(settings)
        ends = time.monotonic() + dice.uniform(0.4, 2.5)
        while time.monotonic() < ends:
            one_action(dice.choice(lives), server, dice)
            time.sleep(0.02)
        reader.kill()
        reader.join()


@pytest.mark.kill
@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_happens_each_mail_of_the_server_is_ingested_once(app: Flask) -> None:
    settings, seed = app.extensions["settings"], int(os.environ.get("EMBERPOST_SEED", time.time_ns() % 1_000_000))
    print(f"EMBERPOST_SEED={seed}")
    dice = random.Random(seed)
    with RunningMailServer(MailConfig()) as server:
        for first in range(0, HISTORIES, AT_A_TIME):
            began = time.monotonic()
            lives = [born(number, server) for number in range(first, min(first + AT_A_TIME, HISTORIES))]
            live(lives, server, settings, dice)
            server.heal()
            lived = time.monotonic()
            reader = reader_process(settings)
            try:
                for life in lives:
                    until(lambda life=life: not (on_server(life, server) - set(ingested(life))), 30, every=0.1)
            finally:
                reader.terminate()
                caught_up = time.monotonic()
                reader.join(20)
            print(f"{first}: lived {lived - began:.1f} s, caught up {caught_up - lived:.1f} s, left {time.monotonic() - caught_up:.1f} s")
            for life in lives:
                judge(life, server)
            db.session.execute(text("UPDATE senders SET deleted_at = clock_timestamp()"))
            db.session.commit()


def judge(life: Life, server: RunningMailServer) -> None:
    found = ingested(life)
    assert set(found.values()) <= {1}, "no mail twice"
    assert set(found) <= set(life.delivered), "nothing that never arrived"
    assert set(life.delivered) - life.removed <= set(found), "nothing that stayed is missing"
    assert on_server(life, server) <= set(found)
    replies = sum(1 for one in found if life.delivered[one] == "reply")
    unread = db.session.execute(
        text("SELECT coalesce(sum(unread), 0) FROM conversations WHERE sender_id = :id"), {"id": life.mailbox_id}
    ).scalar()
    told = db.session.execute(
        text("SELECT count(*) FROM activities WHERE sender_id = :id AND kind = 'message_received'"), {"id": life.mailbox_id}
    ).scalar()
    db.session.rollback()
    assert unread == told == replies, "each answer is counted once"
