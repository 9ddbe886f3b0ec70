"""The operator's verbs for the hour in which the pages are out of reach."""

from __future__ import annotations

from flask import Flask

from app.core.extensions import db
from app.models import AuditEntry, InboundEvent, Switch
from app.services.outbox import switches
from tests.factories import save
from tests.services.test_people_commands import said


def test_everything_is_stopped_and_released_by_typing_and_both_stand_in_the_trail(app: Flask) -> None:
    assert said(app, "stop-all", "--reason", "wrong list") == (0, "Everything is stopped.\n")
    assert said(app, "stop-all") == (0, "It was stopped already.\n")
    assert switches.state("instance", 0).stopped and db.session.query(Switch).one().reason == "wrong list"
    db.session.rollback()
    assert said(app, "release-all") == (0, "Sending goes on.\n")
    db.session.rollback()
    assert not switches.state("instance", 0).stopped
    assert [entry.action for entry in db.session.query(AuditEntry).order_by(AuditEntry.id)] == ["switch.stop", "switch.release"]


def test_quarantined_arrivals_are_read_again(app: Flask) -> None:
    for number in (1, 2):
        save(InboundEvent(source="imap", account="1", dedupe_key=str(number), body=b"x", facts={}, status="quarantined", attempts=5))
    first = db.session.query(InboundEvent).order_by(InboundEvent.id).first().id
    assert said(app, "replay", str(first))[1].startswith("1 arrival is read again")
    assert said(app, "replay")[1].startswith("1 arrival is read again")
    db.session.rollback()
    assert {event.status for event in db.session.query(InboundEvent)} == {"new"}
