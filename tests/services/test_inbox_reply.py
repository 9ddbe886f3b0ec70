"""Answering: once, to whoever wrote, in the thread, with files, with ten seconds to think again."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from flask import Flask

from app.core.db import Scope, transaction
from app.core.errors import Conflict, Invalid, NotFound
from app.core.extensions import db
from app.models import Attachment, Conversation, Delivery, Message
from app.queries import thread as threads
from app.services.inbox import reply, triage
from app.services.inbox.reply import Draft, File
from tests.factories import (
    MONDAY_TEN,
    make_campaign,
    make_client,
    make_conversation,
    make_lead,
    make_mailbox,
    make_message,
    make_user,
    save,
)

NOW = MONDAY_TEN + timedelta(hours=1)


class House:
    """A client with a mailbox, an agent, and a conversation in which a lead has written."""

    def __init__(self) -> None:
        self.client = make_client()
        self.agent = make_user(self.client, "agent")
        self.mailbox = make_mailbox(self.client)
        self.lead = make_lead(self.client)
        self.conversation = make_conversation(self.client, self.mailbox, self.lead, unread=1, subject="Hello Ada", snippet="Sounds good.")
        self.theirs = make_message(self.conversation, external_id="in-1@buyer.test", references=["first@ourhouse.test"])

    def answer(self, nonce: str = "n1", now: datetime = NOW, **values: object) -> reply.Answered:
        with transaction(Scope(user_id=self.agent.id, client_id=self.client.id)):
            draft = Draft(nonce, **{"text": "Gladly.", **values})  # type: ignore[arg-type]
            return reply.answer(self.client.id, self.conversation.id, self.agent.id, draft, now=now)

    def take_back(self, message_id: int) -> Message:
        with transaction(Scope(user_id=self.agent.id, client_id=self.client.id)):
            return reply.take_back(self.client.id, message_id, now=NOW)


@pytest.fixture
def house(app: Flask) -> House:
    return House()


def test_an_answer_is_queued_to_whoever_wrote_and_can_be_undone_for_ten_seconds(house: House) -> None:
    answered = house.answer()
    row = db.session.get_one(Delivery, answered.delivery_id)
    assert (row.kind, row.status, row.to_address) == ("reply", "queued", house.lead.email)
    assert row.idempotency_key == f"reply:{answered.message_id}" and row.due_at == NOW and row.campaign_id is None
    left = db.session.scalar(db.select(db.func.extract("epoch", Delivery.not_before - db.func.clock_timestamp())))
    assert 5 < float(left) <= 10


def test_the_answer_continues_their_thread(house: House) -> None:
    row = db.session.get_one(Delivery, house.answer().delivery_id)
    assert row.draft["in_reply_to"] == "<in-1@buyer.test>"
    assert row.draft["references"] == ["<first@ourhouse.test>", "<in-1@buyer.test>"]
    assert row.draft["subject"] == "Re: Hello Ada"


def test_one_intention_is_one_answer_however_often_it_is_sent(house: House) -> None:
    first, second = house.answer(), house.answer(text="Gladly, once more.")
    assert second.known and second.message_id == first.message_id
    assert db.session.query(Delivery).count() == 1 and house.answer("n2").message_id != first.message_id


def test_a_repeat_is_recognised_even_after_the_message_id_replaced_the_nonce(house: House) -> None:
    first = house.answer()
    message = db.session.get_one(Message, first.message_id)
    message.external_id = "sent-1@ourhouse.test"
    save(message)
    assert house.answer().message_id == first.message_id


def test_answering_reads_reopens_and_says_the_last_word_is_ours(house: House) -> None:
    house.conversation.status, house.conversation.closed_at = "closed", NOW
    save(house.conversation)
    house.answer()
    row = db.session.get_one(Conversation, house.conversation.id, populate_existing=True)
    assert (row.status, row.unread, row.last_direction, row.snippet, row.closed_at) == ("open", 0, "out", "Gladly.", None)
    assert db.session.get_one(Message, house.theirs.id, populate_existing=True).read_at == NOW


def test_files_go_along_and_too_many_megabytes_are_refused_with_their_size(house: House) -> None:
    answered = house.answer(files=[File("../../plan.pdf", "", b"%PDF-1.7")])
    file = db.session.query(Attachment).filter_by(message_id=answered.message_id).one()
    assert (file.filename, file.content_type, file.size) == ("plan.pdf", "application/pdf", 8)
    assert db.session.get_one(Delivery, answered.delivery_id).draft["attachments"][0]["sha256"] == file.sha256
    with pytest.raises(Invalid):
        house.answer("n2", files=[File("film.mov", "video/quicktime", b"x" * (25 * 1024 * 1024 + 1))])


def test_nothing_written_is_refused_and_says_so(house: House) -> None:
    with pytest.raises(Invalid) as refused:
        house.answer(text=" \n ")
    assert refused.value.details["text"] == ["Write something first."]


def test_an_answer_never_opens_a_thread(house: House) -> None:
    silent = make_conversation(house.client, house.mailbox, house.lead)
    house.conversation = silent
    with pytest.raises(Conflict) as refused:
        house.answer()
    assert refused.value.code == "nothing_to_answer"


def test_a_report_of_a_mail_server_is_not_whom_an_answer_goes_to(house: House) -> None:
    make_message(house.conversation, kind="bounce", from_address="mailer-daemon@buyer.test", received_at=NOW)
    assert db.session.get_one(Delivery, house.answer().delivery_id).to_address == house.lead.email


def test_the_answer_leaves_by_the_mailbox_they_wrote_to(house: House) -> None:
    other = make_mailbox(house.client)
    make_message(house.conversation, sender_id=other.id, received_at=NOW)
    assert db.session.get_one(Delivery, house.answer().delivery_id).sender_id == other.id


def test_a_removed_mailbox_is_named_as_the_reason(house: House) -> None:
    house.mailbox.deleted_at = NOW
    save(house.mailbox)
    with pytest.raises(Conflict) as refused:
        house.answer()
    assert refused.value.code == "mailbox_removed"


def test_a_strangers_conversation_does_not_exist(house: House) -> None:
    with pytest.raises(NotFound), transaction(Scope(client_id=house.client.id)):
        reply.answer(make_client().id, house.conversation.id, house.agent.id, Draft("n"), now=NOW)


def test_taking_back_cancels_hides_and_restores_what_was_said_before(house: House) -> None:
    answered = house.answer()
    house.take_back(answered.message_id)
    house.take_back(answered.message_id)
    row = db.session.get_one(Delivery, answered.delivery_id, populate_existing=True)
    assert (row.status, row.reason) == ("cancelled", "undone")
    conversation = db.session.get_one(Conversation, house.conversation.id, populate_existing=True)
    assert (conversation.snippet, conversation.last_direction) == ("Sounds good.", "in")
    shown = threads.messages(house.client.id, house.conversation.id)
    assert [said.message.id for said in shown] == [house.theirs.id]


@pytest.mark.parametrize("status", ["committing", "sent", "uncertain", "failed"])
def test_what_has_left_cannot_be_taken_back(house: House, status: str) -> None:
    answered = house.answer()
    row = db.session.get_one(Delivery, answered.delivery_id)
    row.status, row.mime = status, b"bytes"
    row.leased_until = NOW if status == "committing" else None
    save(row)
    with pytest.raises(Conflict) as refused:
        house.take_back(answered.message_id)
    assert refused.value.code == "already_left"


def test_an_answer_for_the_opening_waits_for_the_campaigns_hours(house: House) -> None:
    tuesdays = [{"weekday": 1, "from": "09:30", "to": "11:00"}]
    campaign = make_campaign(house.client, windows=tuesdays, weekend={"mode": "closed", "percent": 0})
    house.conversation.campaign_id = campaign.id
    save(house.conversation)
    assert house.answer(at_opening=True).due_at == MONDAY_TEN + timedelta(hours=23, minutes=30)


def test_without_a_campaign_the_opening_is_the_clients_office_hours(house: House) -> None:
    evening = MONDAY_TEN + timedelta(hours=10)
    assert house.answer(at_opening=True, now=evening).due_at == MONDAY_TEN + timedelta(hours=23)
    assert house.answer("n2", at_opening=True, now=NOW).due_at == NOW


def test_the_thread_shows_how_far_an_answer_got(house: House) -> None:
    answered = house.answer()
    row = db.session.get_one(Delivery, answered.delivery_id)

    def shown() -> threads.Said:
        return threads.messages(house.client.id, house.conversation.id)[-1]

    assert shown().state == "queued" and shown().can_undo and 5 <= shown().undo_seconds <= 10 and shown().author == house.agent.name
    row.reason = "sender_paused"
    save(row)
    assert shown().why is not None and "paused" in shown().why.text
    row.status, row.mime, row.reason, row.reply_text = "failed", b"x", "refused", "550 no such user"
    save(row)
    assert (shown().state, shown().server_said, shown().can_undo) == ("failed", "550 no such user", False)


def test_triage_is_repeatable_and_touches_only_rows_of_the_client(house: House) -> None:
    stranger = make_conversation(make_client(), house.mailbox, unread=1)
    ids = [house.conversation.id, stranger.id]
    with transaction(Scope(client_id=house.client.id)):
        assert triage.mark_read(house.client.id, ids, now=NOW) == [house.conversation.id]
        assert triage.mark_read(house.client.id, ids, now=NOW) == []
        assert triage.mark_unread(house.client.id, ids) == [house.conversation.id]
        assert triage.close(house.client.id, ids, now=NOW) == [house.conversation.id]
        assert triage.reopen(house.client.id, ids) == [house.conversation.id]
        assert triage.assign(house.client.id, ids, house.agent.id) == [house.conversation.id]
        assert triage.snooze(house.client.id, ids, NOW + timedelta(hours=1), now=NOW) == [house.conversation.id]
    assert db.session.get_one(Conversation, stranger.id, populate_existing=True).unread == 1


def test_a_conversation_is_given_only_to_members_who_may_answer(house: House) -> None:
    viewer = make_user(house.client, "viewer")
    for nobody in (viewer.id, make_user(make_client()).id):
        with pytest.raises(Invalid), transaction(Scope(client_id=house.client.id)):
            triage.assign(house.client.id, [house.conversation.id], nobody)


def test_snoozing_into_the_past_is_refused(house: House) -> None:
    with pytest.raises(Invalid), transaction(Scope(client_id=house.client.id)):
        triage.snooze(house.client.id, [house.conversation.id], NOW, now=NOW)


def test_snooze_choices_are_in_the_readers_zone() -> None:
    choices = dict(triage.snooze_choices(datetime.fromisoformat("2026-11-23T10:00+00:00"), "Asia/Kolkata"))
    assert choices["later_today"].isoformat() == "2026-11-23T13:00:00+00:00"
    assert choices["tomorrow"].isoformat() == "2026-11-24T03:30:00+00:00"
    assert choices["next_week"].isoformat() == "2026-11-30T03:30:00+00:00"
    late = dict(triage.snooze_choices(datetime.fromisoformat("2026-11-23T17:00+00:00"), "Asia/Kolkata"))
    assert "later_today" not in late
