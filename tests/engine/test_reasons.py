"""Reasons to wait, each brought about as people bring it about: by the service behind the button, while the messages are already claimed.

The permit then refuses with that reason, and the list of the campaign's leads (the page's and the API's) says it with what would free it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from app.channels.base import Permit
from app.core.db import transaction
from app.core.extensions import db
from app.domain.reasons import EXPLANATIONS, Reason
from app.models import Delivery
from app.queries import campaign_people
from app.services import campaign_leads, campaigns, launch, mailboxes, settings, suppressions
from app.services.outbox import claiming, permitting, switches
from app.services.outbox.claiming import Bytes, Claim
from app.services.outbox.permitting import Asked
from app.services.outbox.plain import plain_connection
from sandbox.mail.faults import Phase, ScriptedReply
from tests import factories
from tests.engine.conftest import fresh, until

#: A Saturday, and in Albania a holiday (28 November, Flag Day).
NOON = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
EVERYWHERE = dict.fromkeys(range(64), claiming.THE_BEGINNING)


class Due:
    """Two messages of one mailbox, claimed and with their bytes: whatever is done now, only the permit can see it."""

    def __init__(self) -> None:
        self.client = factories.make_client()
        self.box = factories.make_mailbox(self.client, daily_cap=1_000)
        self.campaign = factories.make_campaign(self.client, mailboxes=(self.box,), steps=1)
        self.leads = [factories.make_lead(self.client) for _ in range(2)]
        for lead in self.leads:
            walk = factories.make_enrollment(self.campaign, lead, self.box, status="in_flight")
            factories.make_delivery(walk, lead, self.box, first_of_lead=True)
        with transaction():
            wanted = Claim("e", EVERYWHERE, NOON, 10, 600)
            self.asked = [Asked(row.id, row.epoch) for row in claiming.claim(plain_connection(), wanted).rows]
            some = [Bytes(one.delivery_id, one.epoch, b"Subject: x\r\n\r\nx\r\n", f"<{one.delivery_id}@ourhouse.test>") for one in self.asked]
            claiming.store_bytes(plain_connection(), some, NOON)
        assert len(self.asked) == 2

    def edited(self, **values: Any) -> None:
        campaigns.edit(self.client.id, self.campaign.id, values, by=None)

    def capped(self, **values: int) -> None:
        mailboxes.update(mailboxes.find(self.client.id, self.box.id), values, None)  # type: ignore[arg-type]

    def mailbox(self, *acts: Callable[[Any], object]) -> None:
        for act in acts:
            act(mailboxes.find(self.client.id, self.box.id))

    def lead_ids(self) -> list[int]:
        return [lead.id for lead in self.leads]

    def told(self) -> set[str | None]:
        """What the list of the campaign's leads says."""
        db.session.rollback()
        lines, _ = campaign_people.people(self.client.id, self.campaign.id, now=NOON)
        for line in lines:
            words = EXPLANATIONS[Reason(line.reason or "")]
            assert (line.text, line.frees) == (words.text, words.frees)
        return {line.reason for line in lines}


#: What a person does, by the service its button and its address of the API call.
DONE_BY_PEOPLE: dict[Reason, Callable[[Due], object]] = {
    Reason.STOPPED_INSTANCE: lambda due: switches.stop_instance(by=None),
    Reason.STOPPED_CLIENT: lambda due: switches.stop_client(due.client.id, by=None),
    Reason.CAMPAIGN_PAUSED: lambda due: launch.pause(due.client.id, due.campaign.id, by=None),
    Reason.STOPPED_CAMPAIGN: lambda due: launch.stop(due.client.id, due.campaign.id, by=None),
    Reason.STOPPED_SENDER: lambda due: due.mailbox(mailboxes.stop),
    Reason.SENDER_PAUSED: lambda due: due.mailbox(mailboxes.pause),
    Reason.SENDER_CONNECTING: lambda due: due.mailbox(mailboxes.pause, mailboxes.resume),  # nobody ever logged in to it
    Reason.LEAD_PAUSED: lambda due: campaign_leads.pause_leads(due.client.id, due.campaign.id, due.lead_ids(), by=None),
    Reason.SUPPRESSED_CLIENT: lambda due: [suppressions.suppress(due.client.id, lead.email, "manual", "person") for lead in due.leads],
    Reason.SUPPRESSED_GLOBAL: lambda due: [suppressions.suppress_globally(lead.email, "manual") for lead in due.leads],
    Reason.OUTSIDE_WINDOW: lambda due: due.edited(windows=[{"weekday": day, "from": "06:00", "to": "07:00"} for day in range(7)]),
    Reason.WEEKEND: lambda due: due.edited(weekend={"mode": "closed"}),
    Reason.CLOSED_DAY: lambda due: due.edited(closed_days=[str(NOON.date())]),
    Reason.HOLIDAY: lambda due: due.edited(holidays_country="AL"),
}
#: Limits that a person sets: one of the two messages is within, the other waits.
LIMITS: dict[Reason, Callable[[Due], object]] = {
    Reason.SENDER_DAY_CAP: lambda due: due.capped(daily_cap=1),
    Reason.SENDER_HOUR_CAP: lambda due: due.capped(hourly_cap=1),
    Reason.MIN_GAP: lambda due: due.capped(min_gap_s=600),
    Reason.CAMPAIGN_DAY_CAP: lambda due: due.edited(daily_cap=1),
    Reason.NEW_LEADS_CAP: lambda due: due.edited(daily_new_leads=1),
    Reason.CLIENT_HOUR_CAP: lambda due: settings.change("client", due.client.id, {"client_hour_cap": 1}),
    Reason.INSTANCE_MINUTE_CAP: lambda due: settings.change("instance", 0, {"instance_minute_cap": 1}),
    Reason.INSTANCE_HOUR_CAP: lambda due: settings.change("instance", 0, {"instance_hour_cap": 1}),
}


def decided(due: Due, act: Callable[[Due], object]) -> list[Permit]:
    with transaction():
        act(due)
    with transaction():
        return list(permitting.permit(plain_connection(), due.asked, NOON, 600).values())


@pytest.mark.out_of_balance  # an engine that stops behind its permits
@pytest.mark.parametrize("reason", list(DONE_BY_PEOPLE), ids=str)
def test_what_a_person_does_holds_what_is_claimed_already_and_the_list_of_leads_says_why(app, reason):
    due = Due()
    answers = decided(due, DONE_BY_PEOPLE[reason])
    assert not any(answer.granted for answer in answers)
    assert {row.reason for row in db.session.query(Delivery)} == {reason}
    assert due.told() == {reason}


@pytest.mark.out_of_balance
@pytest.mark.parametrize("reason", list(LIMITS), ids=str)
def test_a_limit_that_a_person_sets_lets_one_leave_and_holds_the_next_with_its_reason(app, reason):
    due = Due()
    answers = decided(due, LIMITS[reason])
    assert sorted((answer.granted, answer.reason) for answer in answers) == [(False, reason), (True, "")]
    assert {row.reason for row in db.session.query(Delivery).filter_by(status="queued")} == {reason}
    assert due.told() == {reason, "in_flight"}


def test_leads_of_a_draft_wait_for_its_start(app):
    client = factories.make_client()
    with transaction():
        made = campaigns.create(client.id, {"name": "Later", "mailbox_ids": [factories.make_mailbox(client).id]}, by=None).id
        campaign_leads.add_leads(client.id, made, lead_ids=[factories.make_lead(client).id], by=None)
    lines, _ = campaign_people.people(client.id, made)
    assert [(line.reason, line.frees) for line in lines] == [("draft", "Start the campaign.")]


def test_a_server_that_asks_us_to_wait_is_given_time(story, engine, mail):
    tale = story()
    mail.script(ScriptedReply(Phase.MAIL, "421 4.7.0 Too many messages, slow down"))
    with engine():
        until(lambda: fresh(tale.deliveries[0]).reason == "provider_backoff")
    assert fresh(tale.mailbox).backoff_until is not None and mail.accepted() == []
    lines, _ = campaign_people.people(tale.client.id, tale.campaign.id)
    assert [line.reason for line in lines] == ["provider_backoff"]
