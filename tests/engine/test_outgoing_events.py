"""What the sending engine learns of its messages is told to the client's own programs, by no statement of the engine's."""

from __future__ import annotations

import pytest

from sandbox.mail.faults import Death, Fault, Phase, Point, ScriptedReply
from tests.engine.conftest import statuses, until
from tests.outgoing.receiver import Receiver
from tests.outgoing.test_telling import subscribe


@pytest.mark.slow
def test_a_message_that_left_was_refused_or_is_not_sure_is_told(app, story, engine, mail):
    from jobs.outgoing import tell

    tale = story()
    with Receiver() as receiver, engine():
        _, secret = subscribe(app, tale.client, receiver.url, "delivery.sent", "delivery.failed", "delivery.uncertain", "lead.bounced")
        until(lambda: statuses().get("sent") == 1)
        mail.script(ScriptedReply(Phase.RCPT, "550 5.1.1 User unknown"))
        refused = tale.add().id
        until(lambda: statuses().get("failed") == 1)
        mail.fault(Fault(Point.DOT_AFTER, Death.RESET))
        lost = tale.add().id
        until(lambda: statuses().get("uncertain") == 1)
        to = tale.leads[0].email
        tell()
        told = {one.json["type"]: one.json["data"] for one in receiver.arrived}
        assert all(one.signed_with(secret) for one in receiver.arrived)
    assert sorted(told) == ["delivery.failed", "delivery.sent", "delivery.uncertain", "lead.bounced"] and len(receiver.arrived) == 4
    assert told["delivery.sent"]["delivery"]["to"] == to and told["delivery.sent"]["delivery"]["message_id"]
    assert (told["delivery.failed"]["delivery"]["id"], told["delivery.failed"]["delivery"]["reply_code"]) == (refused, 550)
    assert told["lead.bounced"]["bounce"]["hard"] and "User unknown" in told["lead.bounced"]["bounce"]["text"]
    assert told["delivery.uncertain"]["delivery"]["id"] == lost
