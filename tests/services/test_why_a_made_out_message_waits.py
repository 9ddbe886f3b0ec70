"""A message that is made out already waits for a mailbox, a client or the installation: the lead's line says so, nobody wrote it down."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from app.core import clock
from app.core.db import Scope, transaction
from app.core.extensions import db
from app.models import Campaign, Client, Enrollment, Mailbox
from app.queries import campaign_progress as progress
from app.queries import campaigns as reading
from tests.factories import make_campaign, make_client, make_delivery, make_enrollment, make_lead, make_mailbox

pytestmark = pytest.mark.usefixtures("app")


def made_out(**walk: object) -> tuple[Client, Campaign, Mailbox, Enrollment]:
    client = make_client()
    mailbox, lead = make_mailbox(client), make_lead(client)
    made = make_campaign(client, mailboxes=(mailbox,), steps=1)
    standing = make_enrollment(made, lead, mailbox, **{"status": "in_flight", **walk})
    make_delivery(standing, lead, mailbox)
    return client, made, mailbox, standing


def change(sentence: str, **values: object) -> None:
    db.session.rollback()
    db.session.execute(text(sentence), values)
    db.session.commit()


def reasons(client: Client, made: Campaign) -> tuple[str | None, str]:
    """What the list of leads and what the status of the campaign say."""
    db.session.rollback()
    with transaction(Scope(client_id=client.id, client_ids=(client.id,))):
        line = reading.people(client.id, made.id)[0][0]
        waiting = progress.waiting_for(client.id, made.id)
        assert [one.reason for one in waiting] == [line.reason]
        assert [one.frees for one in waiting] == [line.frees]
        found = reading.people(client.id, made.id, reason=line.reason)[0]
        assert len(found) == 1
        return line.reason, line.frees


@pytest.mark.parametrize(
    ("status", "status_reason", "reason"),
    [
        ("active", "", "in_flight"),
        ("paused", "paused_by_person", "sender_paused"),
        ("paused", "stopped", "stopped_sender"),
        ("paused", "circuit_open", "circuit_open"),
        ("auth_failed", "wrong_password", "sender_auth_failed"),
        ("connecting", "", "sender_connecting"),
    ],
)
def test_the_mailbox_that_stands_still_is_named(status: str, status_reason: str, reason: str) -> None:
    client, made, mailbox, _ = made_out()
    change("UPDATE senders SET status = :status, status_reason = :why WHERE id = :id", status=status, why=status_reason, id=mailbox.id)
    assert reasons(client, made)[0] == reason


@pytest.mark.parametrize("scope", ["client", "instance"])
def test_a_stop_of_the_client_or_of_all_is_named(scope: str) -> None:
    client, made, _, _ = made_out()
    change(
        "INSERT INTO switches (scope_kind, scope_id, stopped) VALUES (:kind, :scope, true)"
        " ON CONFLICT (scope_kind, scope_id) DO UPDATE SET stopped = true",
        kind=scope, scope=client.id if scope == "client" else 0,
    )  # fmt: skip
    assert reasons(client, made)[0] == f"stopped_{scope}"


def test_a_server_that_asked_us_to_wait_is_named_with_the_time_it_asked_for() -> None:
    client, made, mailbox, _ = made_out()
    until = clock.now() + timedelta(minutes=7)
    change("UPDATE senders SET backoff_until = :until WHERE id = :id", until=until, id=mailbox.id)
    assert reasons(client, made)[0] == "provider_backoff"
    with transaction(Scope(client_id=client.id, client_ids=(client.id,))):
        assert [one.until for one in progress.waiting_for(client.id, made.id)] == [until]
        assert [line.next_at for line in reading.people(client.id, made.id)[0]] == [until]
    change("DELETE FROM deliveries")
    change("UPDATE enrollments SET status = 'waiting', reason = 'provider_backoff', next_at = :past", past=until - timedelta(hours=1))
    with transaction(Scope(client_id=client.id, client_ids=(client.id,))):
        assert [one.until for one in progress.waiting_for(client.id, made.id)] == [until]


def test_an_absent_lead_goes_on_at_its_return_and_not_when_its_message_was_due() -> None:
    back = clock.now() + timedelta(days=7)
    client, made, _, _ = made_out(status="held", reason="out_of_office_until", held_until=back)
    with transaction(Scope(client_id=client.id, client_ids=(client.id,))):
        assert [line.next_at for line in reading.people(client.id, made.id)[0]] == [back]


def test_a_message_that_is_due_later_is_not_called_on_its_way() -> None:
    client, made, _, _ = made_out()
    due = clock.now() + timedelta(minutes=9)
    change("UPDATE deliveries SET due_at = :due", due=due)
    assert reasons(client, made)[0] == "delay_not_over"


def test_a_lead_whose_last_message_was_deleted_since_was_written_to_nevertheless() -> None:
    client, _, _, walk = made_out(last_sent_at=clock.now())
    with transaction(Scope(client_id=client.id, client_ids=(client.id,))):
        facts = progress.why(client.id, walk.id).facts
    assert "The last one sent was a message that was deleted since." in facts
    assert "No message was sent yet." not in facts


@pytest.mark.parametrize("reason", ["outside_window", "closed_day", "campaign_day_cap", "provider_backoff"])
def test_what_a_time_ends_is_over_when_it_has_come_and_the_gap_is_named(reason: str) -> None:
    client, made, mailbox, _ = made_out()
    change("UPDATE deliveries SET reason = :reason, due_at = :due", reason=reason, due=clock.now() + timedelta(minutes=1))
    assert reasons(client, made)[0] == reason
    change("UPDATE deliveries SET due_at = :due", due=clock.now() - timedelta(minutes=1))
    assert reasons(client, made)[0] == "in_flight"
    change("UPDATE senders SET next_at = :at WHERE id = :id", at=clock.now() + timedelta(seconds=20), id=mailbox.id)
    assert reasons(client, made)[0] == "min_gap"


def test_what_a_person_must_end_stays_named_however_late_it_is() -> None:
    client, made, _, _ = made_out()
    change("UPDATE deliveries SET reason = 'answered_elsewhere'")
    assert reasons(client, made)[0] == "answered_elsewhere"


@pytest.mark.parametrize("reason", ["stopped_client", "sender_paused", "sender_auth_failed", "campaign_paused"])
def test_a_stop_that_was_released_is_not_named_any_more(reason: str) -> None:
    client, made, _, _ = made_out()
    change("UPDATE deliveries SET reason = :reason", reason=reason)
    assert reasons(client, made)[0] == "in_flight"
