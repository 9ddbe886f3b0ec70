"""A sender without a gap keeps its session for a moment; a session that its server has left costs nobody anything."""

from __future__ import annotations

import pytest

from app.core.extensions import db
from jobs.sending import parking
from sandbox.mail.faults import Phase, ScriptedReply
from tests.engine.conftest import fresh, statuses, until


@pytest.fixture
def patient(monkeypatch):
    """Sessions lie for as long as the test takes."""
    monkeypatch.setattr(parking, "IDLE_SECONDS", 300.0)


def kept(process) -> list[parking.Kept]:
    return list(process.engine.parking._kept.values())


def second(tale, process) -> None:
    tale.add()
    process.engine.ring()
    until(lambda: statuses().get("sent") == 2)
    until(lambda: kept(process))


def test_the_next_visit_of_a_sender_goes_through_the_session_of_the_last(story, engine, patient, mail):
    tale = story(min_gap_s=0)
    with engine() as process:
        (first,) = until(lambda: statuses().get("sent") == 1 and kept(process))
        second(tale, process)
        (again,) = kept(process)
        assert again.session is first.session and (first.visits, again.visits) == (1, 2)
    assert len(mail.accepted()) == 2 and kept(process) == []  # the process that ends leaves none open


def test_a_session_whose_server_has_left_is_replaced_and_nobody_rests_for_it(story, engine, patient, mail):
    tale = story(min_gap_s=0)
    with engine() as process:
        (first,) = until(lambda: statuses().get("sent") == 1 and kept(process))
        mail.script(ScriptedReply(Phase.MAIL, "421 4.4.2 idle for too long", times=1))
        second(tale, process)
        (again,) = kept(process)
        assert again.session is not first.session and again.visits == 1
    assert fresh(tale.mailbox).backoff_until is None
    assert [fresh(delivery).attempts for delivery in tale.deliveries] == [1, 1]
    assert len(mail.accepted()) == 2


def test_trouble_on_a_fresh_session_is_the_senders_as_before(story, engine, patient, mail):
    tale = story(min_gap_s=0)
    mail.script(ScriptedReply(Phase.MAIL, "421 4.7.0 try again later", times=1))
    with engine() as process:
        until(lambda: fresh(tale.mailbox).backoff_until is not None)
        assert statuses() == {"queued": 1} and kept(process) == []


def test_a_sender_that_keeps_a_gap_keeps_no_session(story, engine, patient):
    story(min_gap_s=60)
    with engine() as process:
        until(lambda: statuses().get("sent") == 1)
        until(lambda: not process.engine._visits)
        assert kept(process) == []


def test_what_a_permit_refuses_on_a_kept_session_goes_back_with_its_reason_and_no_session_is_opened_for_what_follows(
    story, engine, patient, mail
):
    """A sender whose session lies open is not looked at before it is used; one without a session is."""
    tale = story(min_gap_s=0)
    with engine() as process:
        until(lambda: statuses().get("sent") == 1 and kept(process))
        fresh(tale.mailbox).daily_cap = 1
        db.session.commit()
        tale.add()
        process.engine.ring()
        until(lambda: fresh(tale.deliveries[1]).reason == "sender_day_cap")
        opened = mail.server.sessions_opened
        tale.add()
        process.engine.ring()
        until(lambda: fresh(tale.deliveries[2]).reason == "sender_day_cap")
        assert mail.server.sessions_opened == opened
    assert statuses() == {"sent": 1, "queued": 2} and len(mail.accepted()) == 1
    assert [fresh(delivery).mime for delivery in tale.deliveries[1:]] == [None, None]
