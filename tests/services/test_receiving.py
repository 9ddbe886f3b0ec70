"""What an arrived mail does, each case through the one door with raw bytes."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.db import transaction
from app.core.extensions import db
from app.models import Conversation, Enrollment, Lead, Message
from app.services.receiving.arrivals import Arrival, understand
from app.services.receiving.effects import TooEarly
from app.services.receiving.record import Recorded, record
from tests import factories as make
from tests.services.mails import NOW, complaint, delivery_report, mail


@dataclasses.dataclass
class Story:
    """One client, one mailbox, one lead who got the first step of campaign A and waits in campaign B too."""

    client: Any
    mailbox: Any
    lead: Any
    first: Any
    second: Any
    sent: Any
    queued: Any
    elsewhere: Any

    def arrives(self, raw: bytes, role: str = "inbox", mailbox: Any = None, now: datetime = NOW) -> Recorded:
        box = mailbox or self.mailbox
        incoming = understand(Arrival(box.client_id, box.id, raw, role, now))
        with transaction():
            result = record(incoming)
        db.session.expire_all()
        return result

    def answer(self, words: str = "Sounds good, call me tomorrow.", **values: Any) -> bytes:
        values.setdefault("headers", {"In-Reply-To": "<first@ourhouse.test>", "References": "<first@ourhouse.test>"})
        return mail(values.pop("sender", f"Ada <{self.lead.email}>"), self.mailbox.address, text=words, **values)


AUTOMATIC = {"Auto-Submitted": "auto-replied", "In-Reply-To": "<first@ourhouse.test>"}
OURS = b"From: s@ourhouse.test\r\nTo: lead\r\nSubject: Hello\r\nMessage-ID: <first@ourhouse.test>\r\n\r\nHi Ada,\r\nstep one.\r\n"


def sent_delivery(enrollment: Any, lead: Any, mailbox: Any, **values: Any) -> Any:
    defaults = {
        "status": "sent", "mime": OURS, "message_id": "<first@ourhouse.test>", "sent_at": make.MONDAY_TEN,
        "permitted_at": datetime.now(UTC), "idempotency_key": f"sent:{enrollment.id}:{lead.id}",
    }  # fmt: skip
    return make.make_delivery(enrollment, lead, mailbox, **{**defaults, **values})


@pytest.fixture
def story(app: Flask) -> Story:
    client = make.make_client()
    mailbox = make.make_mailbox(client)
    lead = make.make_lead(client)
    one, two = make.make_campaign(client, mailboxes=(mailbox,)), make.make_campaign(client, mailboxes=(mailbox,))
    first, second = make.make_enrollment(one, lead, mailbox), make.make_enrollment(two, lead, mailbox)
    sent = sent_delivery(first, lead, mailbox)
    queued = make.make_delivery(first, lead, mailbox, idempotency_key="step:queued")
    elsewhere = make.make_delivery(
        second, lead, mailbox, status="leased", lease_owner="engine", leased_until=datetime.now(UTC) + timedelta(minutes=1)
    )
    return Story(client, mailbox, lead, first, second, sent, queued, elsewhere)


def status(row: Any) -> tuple[str, str | None]:
    fresh = db.session.get(type(row), row.id, populate_existing=True)
    return fresh.status, fresh.reason


def test_a_reply_stops_every_campaign_of_the_client_and_cancels_what_has_not_left(story: Story) -> None:
    got = story.arrives(story.answer())
    assert status(story.first) == ("replied", "replied")
    assert status(story.second) == ("replied", "replied_elsewhere")
    assert status(story.queued) == ("cancelled", "replied")
    assert status(story.elsewhere) == ("cancelled", "replied_elsewhere")
    assert status(story.sent)[0] == "sent"
    message = db.session.get(Message, got.message_id)
    assert (message.match_rule, message.kind) == ("in_reply_to", "human")
    thread = db.session.get(Conversation, got.conversation_id)
    assert (thread.unread, thread.in_inbox, thread.lead_id, thread.status) == (1, True, story.lead.id, "open")
    assert thread.snippet.startswith("Sounds good")
    directions = [one.direction for one in db.session.query(Message).order_by(Message.sent_at)]
    assert directions == ["out", "in"], "our own first mail stands in the thread before the answer"


def test_another_clients_campaign_with_the_same_person_goes_on(story: Story) -> None:
    other = make.make_client()
    box = make.make_mailbox(other)
    lead = make.make_lead(other, email=story.lead.email)
    enrollment = make.make_enrollment(make.make_campaign(other, mailboxes=(box,)), lead, box)
    story.arrives(story.answer())
    assert status(enrollment)[0] == "waiting"


def test_the_same_mail_twice_is_one_message_and_one_unread(story: Story) -> None:
    first = story.arrives(story.answer())
    again = story.arrives(story.answer(), role="junk")
    assert again.known and again.message_id is None
    assert db.session.get(Conversation, first.conversation_id).unread == 1
    assert db.session.query(Message).filter_by(direction="in").count() == 1


def test_a_colleague_answering_in_the_thread_stops_it_too_and_is_shown_as_such(story: Story) -> None:
    got = story.arrives(story.answer(sender="Bob <bob@elsewhere.test>"))
    assert status(story.first)[0] == "replied"
    message = db.session.get(Message, got.message_id)
    assert message.verdict["from_other_address"] is True
    people = db.session.execute(text("SELECT address_key FROM participants ORDER BY id")).scalars().all()
    assert people == [story.lead.email_key, "bob@elsewhere.test"]


def test_a_new_mail_of_the_lead_without_any_id_counts_as_an_answer(story: Story) -> None:
    got = story.arrives(story.answer(headers={}, subject="Something else"))
    assert db.session.get(Message, got.message_id).match_rule == "same_address"
    assert status(story.first)[0] == "replied"


def test_an_answer_to_our_answer_finds_its_thread(story: Story) -> None:
    one = story.arrives(story.answer(message_id="<theirs-1@buyer.test>"))
    headers = {"In-Reply-To": "<theirs-1@buyer.test>"}
    two = story.arrives(mail("Bob <bob@elsewhere.test>", story.mailbox.address, "AW: anything", headers=headers))
    assert two.conversation_id == one.conversation_id
    assert db.session.get(Message, two.message_id).match_rule == "conversation"
    assert db.session.get(Conversation, one.conversation_id).unread == 2


def test_a_colleague_with_a_new_mail_waits_for_a_person_with_candidates(story: Story) -> None:
    domain = story.lead.email.split("@")[1]
    got = story.arrives(mail(f"Eve <eve@{domain}>", story.mailbox.address, "Re: Hello"))
    message, thread = db.session.get(Message, got.message_id), db.session.get(Conversation, got.conversation_id)
    assert thread.needs_match and thread.in_inbox
    assert [one["lead_id"] for one in message.match_candidates] == [story.lead.id]
    assert status(story.first) == status(story.second) == ("held", "direction_unknown"), "nothing leaves until somebody decided"
    assert status(story.queued) == status(story.elsewhere) == ("queued", "direction_unknown")


def test_a_person_decides_an_ambiguous_answer(story: Story) -> None:
    from app.services.receiving.choosing import resolve_match

    domain = story.lead.email.split("@")[1]
    got = story.arrives(mail(f"Eve <eve@{domain}>", story.mailbox.address, "Re: Hello"))
    with transaction():
        resolve_match(story.client.id, got.message_id, story.lead.id, None, now=NOW)
    db.session.expire_all()
    thread = db.session.get(Conversation, got.conversation_id)
    assert (thread.needs_match, thread.lead_id) == (False, story.lead.id)
    assert status(story.first)[0] == "replied"


def test_a_person_says_an_ambiguous_answer_is_nobodys(story: Story) -> None:
    from app.services.receiving.choosing import resolve_match

    domain = story.lead.email.split("@")[1]
    got = story.arrives(mail(f"Eve <eve@{domain}>", story.mailbox.address, "Re: Hello"))
    with transaction():
        resolve_match(story.client.id, got.message_id, None, None, now=NOW)
    db.session.expire_all()
    assert db.session.get(Conversation, got.conversation_id).needs_match is False
    assert status(story.first) == status(story.second) == ("waiting", None)
    assert status(story.queued) == ("queued", None)


@dataclasses.dataclass
class Several:
    """Three leads of one company got the same words; a fourth of another did too. Somebody of the company answers from elsewhere."""

    leads: list[Any]
    walks: list[Any]
    stranger: Any
    got: Recorded


@pytest.fixture
def several(story: Story) -> Several:
    domain = story.lead.email.split("@")[1]
    leads, walks = [story.lead], [story.first]
    for number in range(2):
        lead = make.make_lead(story.client, email=f"colleague{number}@{domain}")
        campaign = make.make_campaign(story.client, mailboxes=(story.mailbox,))
        leads.append(lead)
        walks.append(make.make_enrollment(campaign, lead, story.mailbox))
        sent_delivery(walks[-1], lead, story.mailbox, message_id=f"<c{number}@ourhouse.test>")
        make.make_delivery(walks[-1], lead, story.mailbox, idempotency_key=f"step:c{number}")
    other = make.make_lead(story.client)
    stranger = make.make_enrollment(make.make_campaign(story.client, mailboxes=(story.mailbox,)), other, story.mailbox)
    got = story.arrives(mail(f"Eve <eve@{domain}>", story.mailbox.address, "Re: Hello"))
    return Several(leads, walks, stranger, got)


HELD = ("held", "direction_unknown")


def decided(story: Story, message_id: int | None, lead_id: int | None) -> None:
    from app.services.receiving.choosing import resolve_match

    assert message_id is not None
    with transaction():
        resolve_match(story.client.id, message_id, lead_id, None, now=NOW)
    db.session.expire_all()


def test_an_answer_that_fits_several_holds_all_of_them_at_once(story: Story, several: Several) -> None:
    assert [status(walk) for walk in (*several.walks, story.second)] == [HELD] * 4
    assert status(several.stranger) == ("waiting", None)
    waiting = db.session.execute(text("SELECT DISTINCT reason, mime FROM deliveries WHERE status = 'queued'")).all()
    assert [tuple(row) for row in waiting] == [("direction_unknown", None)]


def test_the_decision_ends_the_right_one_and_frees_the_others(story: Story, several: Several) -> None:
    decided(story, several.got.message_id, several.leads[1].id)
    assert status(several.walks[1]) == ("replied", "replied")
    assert [status(walk) for walk in (several.walks[0], several.walks[2], story.second)] == [("waiting", None)] * 3
    assert status(story.queued) == ("queued", None)


def test_two_undecided_answers_need_two_decisions(story: Story, several: Several) -> None:
    domain = story.lead.email.split("@")[1]
    again = story.arrives(mail(f"Max <max@{domain}>", story.mailbox.address, "Re: Hello"))
    decided(story, several.got.message_id, several.leads[1].id)
    assert [status(walk)[0] for walk in several.walks] == ["held", "replied", "held"]
    decided(story, again.message_id, None)
    assert [status(walk)[0] for walk in several.walks] == ["waiting", "replied", "waiting"]


def test_nothing_but_the_decision_frees_a_lead_whose_answer_may_lie_there(story: Story, several: Several) -> None:
    """Not a person's resume, not the end of an absence or of a pause, not evidence about an earlier message, not another campaign."""
    from app.services import enrolling, enrollments

    client = story.client.id
    first, second, third = several.walks
    for walk, changes in ((second, "status = 'paused', reason = 'lead_paused'"),
                          (third, "reason = 'out_of_office_until', held_until = now() - interval '1 day'")):  # fmt: skip
        db.session.execute(text(f"UPDATE enrollments SET {changes} WHERE id = :id"), {"id": walk.id})
    db.session.commit()
    campaign = make.make_campaign(story.client, mailboxes=(story.mailbox,))
    with transaction():
        assert enrollments.resume(client, [first.id, second.id], now=NOW) == 0
        enrollments.release_due_holds(datetime.now(UTC))
        enrolling.enroll(client, campaign.id, [several.leads[0].id], allow_elsewhere=True)
    assert [status(walk) for walk in several.walks] == [HELD] * 3
    fresh = db.session.query(Enrollment).filter_by(campaign_id=campaign.id).one()
    assert status(fresh) == HELD
    decided(story, several.got.message_id, None)
    assert [status(walk) for walk in (*several.walks, fresh)] == [("waiting", None)] * 4


def test_a_message_without_a_known_outcome_is_waited_for_after_the_decision_too(story: Story) -> None:
    from app.core.db import transaction as scope
    from app.services.outbox import uncertain

    db.session.execute(text("UPDATE deliveries SET status = 'uncertain', permit_product_at = sent_at WHERE id = :id"), {"id": story.sent.id})
    db.session.execute(text("UPDATE enrollments SET status = 'held', reason = 'previous_uncertain' WHERE id = :id"), {"id": story.first.id})
    db.session.commit()
    domain = story.lead.email.split("@")[1]
    got = story.arrives(mail(f"Eve <eve@{domain}>", story.mailbox.address, "Re: Hello"))
    if status(story.first) == HELD:
        decided(story, got.message_id, None)
    assert status(story.first) == ("held", "previous_uncertain")
    with scope():
        assert uncertain.arrived(story.sent.id, "sent_folder")
    assert status(story.first)[0] in {"waiting", "finished"}


def test_out_of_office_holds_until_one_working_day_after_the_return(story: Story) -> None:
    words = "I am out of the office until 27 November 2026 and will answer then."
    raw = story.answer(words, subject="Automatic reply: Hello", headers=AUTOMATIC)
    got = story.arrives(raw)
    first = db.session.get(Enrollment, story.first.id)
    assert (first.status, first.reason) == ("held", "out_of_office_until")
    assert first.held_until >= datetime(2026, 11, 28, tzinfo=UTC)
    assert status(story.queued)[0] == "queued", "what can be freed again keeps its row"
    assert db.session.get(Conversation, got.conversation_id).unread == 0
    kinds = db.session.execute(text("SELECT kind FROM activities WHERE message_id = :id"), {"id": got.message_id}).scalars().all()
    assert kinds == ["reply_automatic"]


def test_a_hold_ends_when_its_time_has_come(story: Story) -> None:
    from app.services import enrollments

    with transaction():
        enrollments.hold_until(story.client.id, [story.first.id], NOW + timedelta(days=2))
    with transaction():
        assert enrollments.release_due_holds(NOW + timedelta(days=1)) == 0
        assert enrollments.release_due_holds(NOW + timedelta(days=3)) == 1
    assert status(story.first) == ("waiting", None)


def test_an_automatic_receipt_without_a_date_changes_nothing(story: Story) -> None:
    words = "We received your message. Ticket #4711."
    raw = story.answer(words, subject="[Ticket #4711] Hello", headers={"Auto-Submitted": "auto-generated"})
    story.arrives(raw)
    assert status(story.first)[0] == "waiting"
    assert status(story.queued)[0] == "queued"


def test_left_the_company_puts_the_address_on_the_list(story: Story) -> None:
    words = f"{story.lead.first_name} no longer works at Buyer Ltd. Please contact new@buyer.test."
    raw = story.answer(words, subject="Automatic reply: Hello", headers=AUTOMATIC)
    story.arrives(raw)
    row = db.session.execute(text("SELECT email_key, reason FROM suppressions")).one()
    assert tuple(row) == (story.lead.email_key, "left_company")
    assert status(story.first)[0] == "stopped"


def test_an_answer_that_only_says_stop_suppresses(story: Story) -> None:
    got = story.arrives(story.answer("Please remove me from your list."))
    row = db.session.execute(text("SELECT email_key, reason, source FROM suppressions")).one()
    assert tuple(row) == (story.lead.email_key, "unsubscribed", "reply")
    assert status(story.first) == ("unsubscribed", "unsubscribed")
    assert status(story.second) == ("unsubscribed", "unsubscribed")
    assert db.session.get(Message, got.message_id).kind == "unsubscribe_request"


def test_a_wish_from_an_address_nobody_knows_is_granted_too(story: Story) -> None:
    got = story.arrives(mail("alias@somewhere.test", story.mailbox.address, "unsubscribe", ""))
    assert db.session.execute(text("SELECT email_key FROM suppressions")).scalars().all() == ["alias@somewhere.test"]
    assert got.conversation_id is None and status(story.first)[0] == "waiting"


def test_a_hard_bounce_marks_the_mail_the_lead_and_the_list(story: Story) -> None:
    story.arrives(delivery_report(story.mailbox.address, story.lead.email, "<first@ourhouse.test>"))
    assert status(story.sent)[0] == "bounced"
    assert status(story.first) == ("bounced", "bounced")
    assert db.session.get(Lead, story.lead.id).bounced_at == NOW
    assert db.session.execute(text("SELECT reason FROM suppressions")).scalars().all() == ["bounced"]
    kinds = db.session.execute(text("SELECT kind FROM activities")).scalars().all()
    assert kinds.count("mail_bounced") == 1 and "message_received" not in kinds


def test_a_full_mailbox_is_a_bounce_that_suppresses_nobody_until_the_third_time(story: Story) -> None:
    for number in range(3):
        original = "<first@ourhouse.test>" if number == 0 else f"<full{number}@ourhouse.test>"
        if number:
            sent_delivery(story.first, story.lead, story.mailbox, message_id=original, idempotency_key=f"full:{number}")
        story.arrives(delivery_report(story.mailbox.address, story.lead.email, original, "5.2.2", "552 5.2.2 mailbox full",
                                      message_id=f"<full-report-{number}@mx.test>"))  # fmt: skip
        known = db.session.execute(text("SELECT count(*) FROM suppressions")).scalar()
        assert known == (1 if number == 2 else 0)
    assert status(story.first)[0] == "bounced"


def test_a_forged_report_does_nothing_and_is_not_shown(story: Story) -> None:
    got = story.arrives(delivery_report(story.mailbox.address, story.lead.email, "<never-sent@ourhouse.test>"))
    assert status(story.sent)[0] == "sent" and status(story.first)[0] == "waiting"
    assert got.conversation_id is None and db.session.get(Message, got.message_id).headers_only
    assert db.session.execute(text("SELECT count(*) FROM suppressions")).scalar() == 0


def test_a_true_report_cannot_bounce_a_stranger(story: Story) -> None:
    victim = make.make_lead(story.client)
    raw = delivery_report(story.mailbox.address, victim.email, "<first@ourhouse.test>")
    another = b"\r\nFinal-Recipient: rfc822; x@y.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    end_of_report = b"\r\n--b\r\nContent-Type: text/rfc822-headers"
    story.arrives(raw.replace(end_of_report, another + end_of_report))
    keys = db.session.execute(text("SELECT email_key FROM suppressions")).scalars().all()
    assert victim.email_key not in keys


def test_a_report_that_overtakes_the_outcome_is_looked_at_again(story: Story) -> None:
    db.session.execute(
        text("UPDATE deliveries SET status = 'committing', lease_owner = 'e', leased_until = clock_timestamp() WHERE id = :id"),
        {"id": story.sent.id},
    )
    db.session.commit()
    with pytest.raises(TooEarly):
        story.arrives(delivery_report(story.mailbox.address, story.lead.email, "<first@ourhouse.test>"))
    assert db.session.query(Message).count() == 0


def test_a_complaint_suppresses_and_is_no_reply(story: Story) -> None:
    story.arrives(complaint(story.mailbox.address, "<first@ourhouse.test>"))
    assert status(story.sent)[0] == "complained"
    assert db.session.execute(text("SELECT reason FROM suppressions")).scalars().all() == ["complained"]
    assert status(story.first)[0] == "unsubscribed"


def test_our_own_copy_in_sent_is_no_new_message(story: Story) -> None:
    got = story.arrives(OURS.replace(b"s@ourhouse.test", story.mailbox.address.encode()), role="sent")
    assert got.own and db.session.query(Message).count() == 0
    assert status(story.first)[0] == "waiting"


def test_what_we_wrote_from_outside_joins_the_thread_and_pauses_the_lead(story: Story) -> None:
    raw = mail(story.mailbox.address, story.lead.email, "Another thing", "As discussed by phone.")
    got = story.arrives(raw, role="sent")
    thread = db.session.get(Conversation, got.conversation_id)
    assert (thread.lead_id, thread.unread) == (story.lead.id, 0)
    assert status(story.first) == ("paused", "answered_elsewhere")
    assert status(story.queued)[0] == "queued"
    assert db.session.get(Message, got.message_id).direction == "out"


def test_a_mail_claiming_to_be_from_our_mailbox_does_nothing_in_the_inbox(story: Story) -> None:
    raw = mail(story.mailbox.address, story.lead.email, "Re: Hello", "forged", headers={"In-Reply-To": "<first@ourhouse.test>"})
    got = story.arrives(raw)
    assert got.conversation_id is None
    assert status(story.first)[0] == "waiting"


def test_unrelated_mail_is_kept_as_headers_only(story: Story) -> None:
    got = story.arrives(mail("news@paper.test", story.mailbox.address, "Today", "private words"))
    message = db.session.get(Message, got.message_id)
    assert message.headers_only and message.text == "" and message.raw_sha256 is None and message.conversation_id is None
    assert db.session.execute(text("SELECT count(*) FROM blobs")).scalar() == 0


def test_unrelated_mail_is_shown_under_other_when_the_mailbox_says_so(story: Story) -> None:
    db.session.execute(text("UPDATE mailboxes SET show_all_mail = true"))
    db.session.commit()
    got = story.arrives(mail("news@paper.test", story.mailbox.address, "Today", "public words"))
    thread = db.session.get(Conversation, got.conversation_id)
    assert thread.is_other and thread.in_inbox
    assert status(story.first)[0] == "waiting"


def test_attachments_and_raw_bytes_are_kept(story: Story) -> None:
    raw = story.answer(attachments=[("offer.pdf", b"%PDF-1.7 whatever")])
    got = story.arrives(raw)
    row = db.session.execute(text("SELECT filename, size FROM attachments WHERE message_id = :id"), {"id": got.message_id}).one()
    assert (row.filename, row.size) == ("offer.pdf", 17)
    stored = db.session.execute(
        text("SELECT bytes FROM blobs JOIN messages ON raw_sha256 = sha256 WHERE messages.id = :id"), {"id": got.message_id}
    ).scalar()
    assert bytes(stored) == raw


def test_a_reply_reopens_a_closed_thread(story: Story) -> None:
    one = story.arrives(story.answer())
    db.session.execute(text("UPDATE conversations SET status = 'closed', unread = 0"))
    db.session.commit()
    story.arrives(story.answer("One more thing.", message_id="<second@buyer.test>"))
    thread = db.session.get(Conversation, one.conversation_id, populate_existing=True)
    assert (thread.status, thread.unread) == ("open", 1)


@pytest.mark.parametrize("raw", [b"", b"\x00\xff\xfe", b"From:\r\n\r\n", b"Subject: \xff\r\nMessage-ID: <\x00>\r\n\r\n\x00x"])
def test_any_bytes_become_a_message_once(story: Story, raw: bytes) -> None:
    assert story.arrives(raw).message_id is not None
    assert story.arrives(raw).known


def make_uncertain(story: Story) -> None:
    db.session.execute(
        text("UPDATE deliveries SET status = 'uncertain', sent_at = NULL, permit_product_at = :at WHERE id = :id"),
        {"id": story.sent.id, "at": make.MONDAY_TEN},
    )
    db.session.execute(
        text("UPDATE enrollments SET status = 'held', reason = 'previous_uncertain' WHERE id = :id"), {"id": story.first.id}
    )
    db.session.commit()


def test_a_reply_proves_that_an_uncertain_mail_was_sent(story: Story) -> None:
    make_uncertain(story)
    story.arrives(story.answer())
    assert status(story.sent)[0] == "sent"
    assert status(story.first)[0] == "replied" and status(story.second)[0] == "replied"
    assert db.session.query(Message).filter_by(delivery_id=story.sent.id).count() == 1


def test_the_copy_in_sent_proves_it_as_well_and_the_sequence_goes_on(story: Story) -> None:
    make_uncertain(story)
    story.arrives(OURS.replace(b"s@ourhouse.test", story.mailbox.address.encode()), role="sent")
    assert status(story.sent)[0] == "sent"
    assert status(story.first)[0] == "waiting"


def test_a_bounce_of_an_uncertain_mail_is_a_bounce(story: Story) -> None:
    make_uncertain(story)
    story.arrives(delivery_report(story.mailbox.address, story.lead.email, "<first@ourhouse.test>"))
    assert status(story.sent)[0] == "bounced" and status(story.first)[0] == "bounced"


def test_a_server_that_gives_our_mail_another_id_is_recognised_in_sent(story: Story) -> None:
    copy = OURS.replace(b"To: lead", b"To: " + story.lead.email.encode()).replace(b"<first@ourhouse.test>", b"<given@provider.test>")
    assert story.arrives(copy, role="sent", now=make.MONDAY_TEN + timedelta(minutes=1)).own
    story.arrives(story.answer(headers={"In-Reply-To": "<given@provider.test>"}, sender="bob@elsewhere.test"))
    assert status(story.first)[0] == "replied"
