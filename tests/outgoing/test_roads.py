"""The product's own roads lead to a receiver: an answer that was read, a wish to leave, a login that fails, a press of a button."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core import clock
from app.core.db import transaction
from app.core.extensions import db
from app.models import OutgoingCall, OutgoingEvent
from app.services import retention
from app.services.receiving import reading_state
from jobs.outgoing import tell
from tests import factories as make
from tests.api.api_client import ApiClient
from tests.conftest import ROOT
from tests.outgoing.receiver import Receiver
from tests.outgoing.test_telling import all_of, happen, subscribe
from tests.services.test_receiving import Story, story  # noqa: F401  a fixture


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def test_what_is_read_is_told(app: Flask, story: Story, receiver: Receiver) -> None:  # noqa: F811
    _, secret = subscribe(app, story.client, receiver.url)
    got = story.arrives(story.answer())
    story.arrives(story.answer("unsubscribe", message_id="<second@buyer.test>"))
    with transaction():
        (box,) = [one for one in reading_state.readable(range(64)) if one.id == story.mailbox.id]
        reading_state.auth_failed(box, "[AUTHENTICATIONFAILED] no")
    lead, mailbox, sent = story.lead.email, story.mailbox.address, story.sent.id
    tell()
    told = {one.json["type"]: one.json["data"] for one in receiver.arrived}
    assert {"reply.received", "lead.unsubscribed", "mailbox.auth_failed"} <= set(told)
    answers = {one.json["data"]["message"]["id"]: one for one in receiver.arrived if one.json["type"] == "reply.received"}
    first = answers[got.message_id]  # calls of one moment arrive in any order
    assert first.signed_with(secret) and first.json["data"]["lead"]["email"] == lead
    message = first.json["data"]["message"]
    assert (message["id"], message["conversation_id"]) == (got.message_id, got.conversation_id) and message["snippet"].startswith("Sounds good")
    assert first.json["data"]["delivery"]["id"] == sent
    assert told["lead.unsubscribed"]["source"] == "reply" and told["mailbox.auth_failed"]["mailbox"]["email"] == mailbox


def test_a_button_pressed_over_the_web_roles_connection_is_told(app: Flask, receiver: Receiver) -> None:
    client, other = make.make_client(), make.make_client()
    subscribe(app, client, receiver.url, "campaign.paused", "campaign.resumed", "campaign.stopped")
    subscribe(app, other, receiver.url, "campaign.paused")
    campaign = make.make_campaign(client, name="Autumn", mailboxes=(make.make_mailbox(client),))
    admin = ApiClient(app).log_in(make.make_user(client))
    for verb in ("pause", "resume", "stop"):
        assert admin.post(f"/api/campaigns/{campaign.id}/{verb}").status == 200
    assert admin.post(f"/api/campaigns/{campaign.id}/pause").status == 409
    tell()
    told = sorted((one.json for one in receiver.arrived), key=lambda one: one["timestamp"])  # calls go out side by side: there is no order
    assert [one["type"] for one in told] == ["campaign.paused", "campaign.resumed", "campaign.stopped"]
    assert len({one["timestamp"] for one in told}) == 3, "when it happened gives the order back"
    assert {event.client_id for event in all_of(OutgoingEvent)} == {client.id}


def test_the_example_of_the_papers_believes_a_real_call_and_no_other(app: Flask, receiver: Receiver) -> None:
    client = make.make_client()
    _, secret = subscribe(app, client, receiver.url, "reply.received")
    happen(client, "message_received")
    tell()
    (example,) = re.findall(r"```python\n(import base64.*?)```", (ROOT / "docs" / "api.md").read_text(), re.S)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102  our own words
    believed = names["really_from_emberpost"]
    call = receiver.arrived[0]
    assert believed(secret, call.headers, call.body)
    assert not believed(secret, call.headers, call.body + b" ")
    assert not believed("whsec_" + "A" * 43 + "=", call.headers, call.body)
    assert not believed(secret, {**call.headers, "webhook-timestamp": str(int(call.headers["webhook-timestamp"]) - 301)}, call.body)


def test_what_was_told_is_forgotten_after_thirty_days_and_what_is_on_its_way_is_not(app: Flask) -> None:
    client = make.make_client()
    subscribe(app, client, "http://127.0.0.1:9/nobody", "reply.received")
    for _ in range(3):
        happen(client, "message_received")
    tell()
    with transaction() as session:
        session.execute(text("UPDATE outgoing_calls SET status = 'failed' WHERE id < (SELECT max(id) FROM outgoing_calls)"))
        session.execute(text("UPDATE outgoing_events SET created_at = created_at - interval '31 days' WHERE id > 1"))
    with transaction():
        assert retention.forget_outgoing(clock.now() + timedelta(days=365)) == 1, "the young one and the one on its way stay"
    assert len(all_of(OutgoingEvent)) == len(all_of(OutgoingCall)) == 2
    db.session.rollback()
