"""The list: scopes with counts, search, upkeep; a fixed number of statements whatever the inbox holds."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import event

from app.core.db import Scope, enter_scope, transaction
from app.core.extensions import db
from app.models import Conversation
from app.queries import inbox, thread
from app.queries.inbox import InboxFilter, View
from app.services.inbox import upkeep
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


class Office:
    def __init__(self) -> None:
        self.client = make_client()
        self.me = make_user(self.client)
        self.mailbox = make_mailbox(self.client)

    def conversation(self, **values: object) -> Conversation:
        return make_conversation(self.client, self.mailbox, make_lead(self.client), **values)

    def filter(self, **values: object) -> InboxFilter:
        return InboxFilter(self.client.id, self.me.id, **values)  # type: ignore[arg-type]

    def ids(self, **values: object) -> list[int]:
        return [row.id for row in db.session.execute(inbox.conversations(self.filter(**values)))]

    def count(self, view: View) -> int:
        return inbox.counters(self.client.id, self.me.id).views[view]


@pytest.fixture
def office(app: Flask) -> Office:
    return Office()


def test_every_scope_lists_what_it_counts(office: Office) -> None:
    campaign = make_campaign(office.client)
    made = {
        "plain": office.conversation(), "unread": office.conversation(unread=2), "mine": office.conversation(assignee_id=office.me.id),
        "awaiting": office.conversation(last_direction="out", assignee_id=office.me.id), "decide": office.conversation(needs_match=True),
        "snoozed": office.conversation(status="snoozed", snoozed_until=MONDAY_TEN + timedelta(days=1)),
        "closed": office.conversation(status="closed"), "other": office.conversation(is_other=True, unread=1),
        "campaign": office.conversation(campaign_id=campaign.id), "silent": office.conversation(in_inbox=False),
    }  # fmt: skip
    make_conversation(make_client(), office.mailbox, unread=9)
    found = {view: set(office.ids(view=view)) for view in View}
    open_ones = {made[name].id for name in ("plain", "unread", "mine", "awaiting", "decide", "campaign")}
    assert found[View.ALL] == open_ones
    assert found[View.MINE] == {made["mine"].id, made["awaiting"].id} and found[View.UNREAD] == {made["unread"].id}
    assert found[View.UNASSIGNED] == open_ones - found[View.MINE] and found[View.AWAITING] == {made["awaiting"].id}
    assert (found[View.DECIDE], found[View.SNOOZED]) == ({made["decide"].id}, {made["snoozed"].id})
    assert (found[View.CLOSED], found[View.OTHER]) == ({made["closed"].id}, {made["other"].id})
    counts = inbox.counters(office.client.id, office.me.id)
    assert counts.views == {view.value: len(ids) for view, ids in found.items()}
    assert counts.mailboxes[office.mailbox.id] == (6, 1) and counts.campaigns[campaign.id] == (1, 0)
    assert office.ids(campaign_id=campaign.id) == [made["campaign"].id]


def test_an_empty_inbox_counts_nothing(office: Office) -> None:
    assert set(inbox.counters(office.client.id, office.me.id).views.values()) == {0}


@pytest.mark.parametrize("q", ["greta", "GRETA møll", "greta@mill.test", "rye flour", "mill.test"])
def test_search_finds_by_name_address_and_subject_in_every_state(office: Office, q: str) -> None:
    wanted = office.conversation(display_name="Greta Møller", display_address="greta@mill.test", subject="Rye flour", status="closed")
    office.conversation(subject="100% wheat", display_name="Otto")
    assert office.ids(q=q) == [wanted.id]


def test_search_takes_signs_of_patterns_as_they_are(office: Office) -> None:
    wanted = office.conversation(subject="100% wheat")
    office.conversation(subject="1000 wheat")
    assert office.ids(q="100% w") == [wanted.id] and office.ids(q="100_") == []


def test_search_looks_through_the_newest_first_and_says_when_there_are_older_ones(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "SEARCH_WINDOW", 1)
    old = office.conversation(subject="Rye", last_message_at=MONDAY_TEN - timedelta(days=2))
    office.conversation(subject="Wheat")
    assert office.ids(q="rye") == [] and inbox.search_has_older(office.filter(q="rye"))
    assert office.ids(q="rye", older=2) == [old.id] and not inbox.search_has_older(office.filter(q="rye", older=2))


def test_the_number_of_statements_does_not_grow_with_the_inbox(office: Office) -> None:
    def statements() -> int:
        seen: list[str] = []
        engine = db.session.get_bind()

        def note(*arguments: object) -> None:
            seen.append(str(arguments[2]))

        event.listen(engine, "before_cursor_execute", note)
        try:
            rows = db.session.execute(inbox.conversations(office.filter())).all()
            counts = inbox.counters(office.client.id, office.me.id)
            inbox.places(office.client.id, counts)
            inbox.members(office.client.id)
            assert rows
        finally:
            event.remove(engine, "before_cursor_execute", note)
        return len(seen)

    office.conversation()
    few = statements()
    for _ in range(12):
        office.conversation(campaign_id=make_campaign(office.client, steps=1).id, unread=1)
    assert statements() == few <= 6


def test_the_lists_run_as_the_web_role_and_see_only_their_client(office: Office, web_role: Flask) -> None:
    mine = office.conversation(unread=1)
    make_conversation(make_client(), office.mailbox, unread=1)
    enter_scope(Scope(user_id=office.me.id, client_id=office.client.id, client_ids=(office.client.id,)))
    assert office.ids() == [mine.id] and office.count(View.UNREAD) == 1
    found = thread.thread(office.client.id, mine.id)
    assert found is not None and found.head.conversation.id == mine.id


def test_snoozed_conversations_come_back_as_unread_when_their_moment_is_there(office: Office) -> None:
    row = office.conversation(status="snoozed", snoozed_until=MONDAY_TEN)
    for now, expected in ((MONDAY_TEN - timedelta(seconds=1), 0), (MONDAY_TEN, 1), (MONDAY_TEN, 0)):
        with transaction():
            assert upkeep.wake_snoozed(now) == expected
    fresh = db.session.get_one(Conversation, row.id, populate_existing=True)
    assert (fresh.status, fresh.unread, fresh.snoozed_until) == ("open", 1, None)


def test_a_conversation_closes_itself_after_thirty_idle_days(office: Office) -> None:
    row = office.conversation()
    for days, expected in ((29, 0), (30, 1)):
        with transaction():
            assert upkeep.close_idle(MONDAY_TEN + timedelta(days=days)) == expected
    assert db.session.get_one(Conversation, row.id, populate_existing=True).status == "closed"


def test_an_ambiguous_answer_shows_its_candidates(office: Office) -> None:
    row = office.conversation(needs_match=True)
    lead = make_lead(office.client, first_name="Ada", last_name="Brook", company="Brook & Co")
    make_message(row, match_candidates=[{"lead_id": lead.id, "delivery_id": None, "conversation_id": None, "rule": "same_domain"}])
    found = thread.thread(office.client.id, row.id)
    assert found is not None and [(one.lead_id, one.name, one.rule) for one in found.candidates] == [(lead.id, "Ada Brook", "same_domain")]


def test_the_thread_knows_that_the_writer_must_not_be_contacted(office: Office) -> None:
    from app.models import Suppression

    row = office.conversation()
    message = make_message(row)
    found = thread.thread(office.client.id, row.id)
    assert found is not None and not found.suppressed
    address = message.from_address
    save(Suppression(client_id=office.client.id, email=address, email_key=address, reason="unsubscribed", source="reply", at=MONDAY_TEN))
    found = thread.thread(office.client.id, row.id)
    assert found is not None and found.suppressed and found.answer_to == address
