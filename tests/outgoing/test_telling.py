"""What happened reaches a client's own program: signed, told again until it is taken, and never for a client that did not ask."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.core import clock
from app.core.db import transaction
from app.core.extensions import db
from app.domain.outgoing import EVENTS, TRIES
from app.models import Activity, AuditEntry, Client, OutgoingCall, OutgoingEndpoint, OutgoingEvent, OutgoingTry
from app.services import suppressions
from app.services.outgoing import calls, endpoints, events
from app.services.outgoing.addresses import Addresses
from app.services.sequencing import finish_campaigns
from jobs.outgoing import tell
from tests import factories as make
from tests.outgoing.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def client(app: Flask) -> Client:
    return make.make_client(slug="acme")


def subscribe(app: Flask, client: Client, url: str, *kinds: str) -> tuple[int, str]:
    with transaction():
        endpoint, secret = endpoints.create(
            client.id, {"url": url, "events": kinds or tuple(EVENTS)}, Addresses.of(app.extensions["settings"]), by=None
        )
        return endpoint.id, secret


def happen(client: Client, kind: str, **values: Any) -> None:
    """A line of the timeline, as every road writes it."""
    with transaction() as session:
        session.add(Activity(client_id=client.id, kind=kind, channel="email", at=clock.now(), **values))


def shift(**columns: str) -> None:
    """Let time pass: move moments of every call and endpoint back."""
    with transaction() as session:
        for name, ago in columns.items():
            table, _, column = name.partition("__")
            session.execute(text(f"UPDATE outgoing_{table} SET {column} = {column} - interval '{ago}'"))


def all_of(model: type[Any]) -> list[Any]:
    db.session.rollback()
    db.session.expire_all()
    return list(db.session.scalars(select(model).order_by(model.id)))


def test_every_kind_of_event_is_told_once_with_the_facts_a_receiver_needs(app: Flask, client: Client, receiver: Receiver) -> None:
    _, secret = subscribe(app, client, receiver.url)
    mailbox = make.make_mailbox(client, email="ann@ourhouse.test")
    lead = make.make_lead(client, email="bo@buyer.test", first_name="Bo")
    campaign = make.make_campaign(client, mailboxes=(mailbox,), name="Autumn")
    walk = make.make_enrollment(campaign, lead, mailbox, status="in_flight")
    sent = make.make_delivery(walk, lead, mailbox, status="sent", sent_at=make.MONDAY_TEN, mime=b"x", message_id="<m@ourhouse.test>")
    lost = make.make_delivery(walk, lead, mailbox, idempotency_key="a", status="queued", mime=b"x", message_id="<n@ourhouse.test>")
    refused = make.make_delivery(walk, lead, mailbox, idempotency_key="b", status="queued", reply_code=550, reply_text="no such user")
    message = make.make_message(make.make_conversation(client, mailbox, lead), "Sounds good.")
    about = {"campaign_id": campaign.id, "enrollment_id": walk.id, "lead_id": lead.id, "sender_id": mailbox.id, "delivery_id": sent.id}
    happen(client, "message_sent", **about)
    happen(client, "message_received", **about, message_id=message.id)
    happen(client, "reply_automatic", **about, message_id=message.id)
    happen(client, "mail_bounced", **about, meta={"class": "no_such_user", "hard": True})
    happen(client, "enrollment_started", **about)  # nobody's event
    with transaction() as session:
        session.execute(text("UPDATE deliveries SET status = 'uncertain' WHERE id = :id"), {"id": lost.id})
        session.execute(text("UPDATE deliveries SET status = 'failed', reason = 'refused' WHERE id = :id"), {"id": refused.id})
    with transaction() as session:  # the same state once more is no event
        session.execute(text("UPDATE deliveries SET status = 'failed', detail = 'x' WHERE id = :id"), {"id": refused.id})
    with transaction():
        suppressions.suppress(client.id, "bo@buyer.test", "unsubscribed", "link")
        suppressions.suppress(client.id, "unknown@buyer.test", "complained", "complaint")
    for status in ("paused", "running", "finished", "running", "stopped"):
        with transaction() as session:
            session.execute(text("UPDATE campaigns SET status = :status WHERE id = :id"), {"status": status, "id": campaign.id})
    with transaction() as session:
        session.execute(text("UPDATE senders SET status = 'auth_failed', status_reason = '535 no' WHERE id = :id"), {"id": mailbox.id})

    assert tell()["accepted"] == 14 and tell()["accepted"] == 0
    by_kind = {one.json["type"]: one for one in receiver.arrived}
    assert set(by_kind) == set(EVENTS) and len(receiver.arrived) == len(EVENTS)
    assert all(one.signed_with(secret) and one.id == one.json["id"] for one in receiver.arrived)
    assert len({one.id for one in receiver.arrived}) == len(EVENTS) and receiver.arrived[0].path == "/hook?for=us"
    data = {kind: one.json["data"] for kind, one in by_kind.items()}
    assert all(told["client_id"] == client.id for told in data.values())
    assert data["delivery.sent"]["delivery"] == {
        "id": sent.id, "kind": "campaign_step", "to": "bo@buyer.test", "message_id": "<m@ourhouse.test>", "sent_at": "2026-11-23T10:00:00.000Z",
    }  # fmt: skip
    assert data["reply.received"]["message"]["snippet"] == "Sounds good." and data["reply.received"]["lead"]["first_name"] == "Bo"
    assert data["reply.received"]["campaign"] == {"id": campaign.id, "name": "Autumn"}
    assert data["delivery.failed"]["delivery"]["reply_code"] == 550 and data["delivery.failed"]["delivery"]["reason"] == "refused"
    assert data["delivery.uncertain"]["delivery"]["id"] == lost.id and data["lead.bounced"]["bounce"]["hard"] is True
    assert data["lead.unsubscribed"]["lead"]["id"] == lead.id and data["lead.unsubscribed"]["source"] == "link"
    assert data["lead.complained"]["lead"] == {"id": None, "email": "unknown@buyer.test", "first_name": None, "last_name": None, "company": None}
    assert data["campaign.finished"]["to"] == "finished" and data["campaign.resumed"]["from"] == "paused"
    assert data["mailbox.auth_failed"] == {"client_id": client.id, "mailbox": {"id": mailbox.id, "email": "ann@ourhouse.test"}, "reason": "535 no"}


def test_the_products_own_tick_finishes_a_campaign_and_that_is_told(app: Flask, client: Client, receiver: Receiver) -> None:
    subscribe(app, client, receiver.url, "campaign.finished")
    campaign = make.make_campaign(client)
    make.make_enrollment(campaign, make.make_lead(client), status="finished", ended_at=make.MONDAY_TEN)
    with transaction():
        assert finish_campaigns(make.MONDAY_TEN) == [campaign.id]
    tell()
    assert [one.json["type"] for one in receiver.arrived] == ["campaign.finished"]


def test_what_nobody_asked_for_is_not_even_written_down(app: Flask, client: Client, receiver: Receiver) -> None:
    other = make.make_client()
    subscribe(app, client, receiver.url, "reply.received")
    happen(client, "message_sent")
    happen(other, "message_received")
    assert all_of(OutgoingEvent) == []
    with transaction() as session:  # an effect that is taken back takes its event back
        session.add(Activity(client_id=client.id, kind="message_received", channel="email", at=clock.now()))
        session.flush()
        assert session.scalar(text("SELECT count(*) FROM outgoing_events")) == 1
        session.rollback()
    assert all_of(OutgoingEvent) == []


def test_a_test_message_to_oneself_is_told_to_nobody(app: Flask, client: Client, receiver: Receiver) -> None:
    subscribe(app, client, receiver.url)
    mailbox, lead = make.make_mailbox(client), make.make_lead(client)
    walk = make.make_enrollment(make.make_campaign(client, mailboxes=(mailbox,)), lead, mailbox)
    delivery = make.make_delivery(walk, lead, mailbox, kind="test")
    happen(client, "message_sent", delivery_id=delivery.id)
    with transaction() as session:
        session.execute(text("UPDATE deliveries SET status = 'failed'"))
    assert tell()["accepted"] == 0 and receiver.arrived == []


def test_a_refused_call_comes_again_by_the_ladder_with_the_same_id_and_bytes(app: Flask, client: Client, receiver: Receiver) -> None:
    endpoint_id, secret = subscribe(app, client, receiver.url, "reply.received")
    happen(client, "message_received")
    receiver.answers = [(500, b"secret words of the receiver"), (302, b"", {"Location": receiver.url}), (429, b"", {"Retry-After": "120"})]
    waits = []
    for _ in range(3):
        tell()
        tell()  # nothing is due
        waits.append(db.session.scalar(text("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM outgoing_calls")))
        shift(calls__due_at="10 hours", endpoints__rests_until="1 hour")
    assert 2 < waits[0] < 7 and 50 < waits[1] < 67 and 265 < waits[2] < 335
    assert tell()["accepted"] == 1 and len(receiver.arrived) == 4, "a redirect is an answer, and is not followed"
    assert len({(one.id, one.body) for one in receiver.arrived}) == 1 and all(one.signed_with(secret) for one in receiver.arrived)
    tries = all_of(OutgoingTry)
    assert [(one.status, one.length, one.error) for one in tries] == [(500, 28, ""), (302, 0, "redirect"), (429, 0, ""), (200, 6, "")]
    tables = ("calls", "tries", "events", "endpoints")
    everything = " ".join(str(row) for name in tables for row in db.session.execute(text(f"SELECT t::text FROM outgoing_{name} t")))
    assert "secret words" not in everything, "of an answer nothing is kept but status and length"
    call = all_of(OutgoingCall)[0]
    assert (call.status, call.last_status) == ("delivered", 200)
    endpoint = db.session.get_one(OutgoingEndpoint, endpoint_id)
    assert endpoint.failing_since is None and endpoint.last_success_at and endpoint.rests_until is None


def test_a_call_is_given_up_after_the_last_rung_and_all_since_then_can_be_told_again(app: Flask, client: Client, receiver: Receiver) -> None:
    endpoint_id, _ = subscribe(app, client, receiver.url, "reply.received")
    began = clock.machine_now()
    for _ in range(3):
        happen(client, "message_received")
    receiver.answers = [(400, b"")] * 3 * TRIES
    for _ in range(TRIES):
        tell()
        shift(calls__due_at="48 hours", endpoints__rests_until="1 hour")
    assert {call.status for call in all_of(OutgoingCall)} == {"failed"} and len(receiver.arrived) == 3 * TRIES
    with transaction():
        endpoint = db.session.get_one(OutgoingEndpoint, endpoint_id)
        assert calls.redeliver_failed(endpoint, clock.machine_now() + timedelta(hours=1)) == 0
        assert calls.redeliver_failed(endpoint, began - timedelta(hours=49)) == 3
    assert tell()["accepted"] == 3 and len({one.id for one in receiver.arrived}) == 3
    lines = list(db.session.scalars(select(AuditEntry).where(AuditEntry.action == "webhook_endpoint.redeliver_failed").order_by(AuditEntry.id)))
    assert [line.after["count"] for line in lines] == [0, 3]


@pytest.mark.parametrize("how", ["failing", "gone"])
def test_an_endpoint_that_fails_for_days_switches_itself_off_where_people_see_it(app: Flask, client: Client, receiver: Receiver, how: str) -> None:
    endpoint_id, _ = subscribe(app, client, receiver.url, "reply.received")
    happen(client, "message_received")
    receiver.answers = [(503, b""), (503, b"")] if how == "failing" else [(410, b"")]
    tell()
    if how == "failing":
        assert all_of(OutgoingEndpoint)[0].state == "on"
        shift(calls__due_at="10 hours", endpoints__rests_until="1 hour", endpoints__failing_since="72 hours")
        tell()
    endpoint = all_of(OutgoingEndpoint)[0]
    assert (endpoint.state, endpoint.state_why) == ("broken", how)
    assert db.session.scalars(select(AuditEntry).where(AuditEntry.action == "webhook_endpoint.switched_off_by_itself")).one().user_id is None
    happen(client, "message_received")  # kept for later, tried never
    seen = len(receiver.arrived)
    assert tell()["refused"] == 0 and len(receiver.arrived) == seen
    assert [(call.status, call.last_error) for call in all_of(OutgoingCall)] == [("failed", "switched_off")] * 2
    with transaction():
        endpoint = db.session.get_one(OutgoingEndpoint, endpoint_id)
        endpoints.switch(endpoint, True)
        assert calls.redeliver_failed(endpoint, clock.machine_now() - timedelta(days=4)) == 2
    assert tell()["accepted"] == 2


@pytest.mark.slow
def test_a_dead_endpoint_is_asked_by_one_call_at_a_time_and_holds_nobody_up(app: Flask, client: Client, receiver: Receiver) -> None:
    subscribe(app, client, "http://127.0.0.1:9/nobody", "reply.received")
    subscribe(app, client, receiver.url, "reply.received")
    for _ in range(30):
        happen(client, "message_received")
    assert tell()["accepted"] == 30
    first = len(all_of(OutgoingTry)) - 30
    assert first == calls.EACH, "the first batch finds out"
    for _ in range(3):
        shift(calls__due_at="10 hours", endpoints__rests_until="1 hour")
        tell()
    dead = db.session.scalars(select(OutgoingTry).where(OutgoingTry.error == "unreachable")).all()
    assert len(dead) == first + 3


def test_a_process_that_died_before_the_record_leads_to_a_second_call_under_the_same_id(app: Flask, client: Client, receiver: Receiver) -> None:
    subscribe(app, client, receiver.url, "reply.received")
    happen(client, "message_received")
    with transaction():
        events.make_calls()
        (lost,) = calls.claim()
        assert calls.claim() == []
    assert tell()["accepted"] == 0
    shift(calls__leased_until="2 minutes")
    assert tell()["accepted"] == 1 and receiver.arrived[0].id == lost.webhook_id
    with transaction():  # the dead one wakes up: its lease is no longer its own
        calls.settle([calls.Tried(lost, 5, 500)])
    assert all_of(OutgoingCall)[0].status == "delivered"


def test_what_was_on_its_way_when_its_endpoint_was_switched_off_is_given_up_and_not_asked_again(app: Flask, client: Client, receiver: Receiver) -> None:
    endpoint_id, _ = subscribe(app, client, receiver.url, "reply.received")
    for _ in range(2):
        happen(client, "message_received")
    with transaction():
        events.make_calls()
        refused, lost = calls.claim()
    with transaction():
        endpoints.switch(db.session.get_one(OutgoingEndpoint, endpoint_id), False)
    with transaction():
        calls.settle([calls.Tried(refused, 5, 500)])
    shift(calls__leased_until="2 minutes")
    tell()
    assert [call.status for call in all_of(OutgoingCall)] == ["failed", "failed"] and receiver.arrived == [] and lost.id > refused.id


def test_while_a_secret_changes_both_sign_and_afterwards_only_the_new_one(app: Flask, client: Client, receiver: Receiver) -> None:
    endpoint_id, old = subscribe(app, client, receiver.url, "reply.received")

    def arrive() -> Any:
        happen(client, "message_received")
        tell()
        return receiver.arrived[-1]

    with transaction():
        new = endpoints.rotate_secret(db.session.get_one(OutgoingEndpoint, endpoint_id), 24)
    both = arrive()
    assert old != new and both.signed_with(old) and both.signed_with(new) and len(both.signatures) == 2
    shift(secrets__ends_at="25 hours")
    only = arrive()
    assert only.signed_with(new) and not only.signed_with(old) and len(only.signatures) == 1
    with transaction():
        at_once = endpoints.rotate_secret(db.session.get_one(OutgoingEndpoint, endpoint_id), 0)
    last = arrive()
    assert last.signed_with(at_once) and not last.signed_with(new)
    kept = " ".join(str(row) for row in db.session.execute(text("SELECT s::text FROM outgoing_secrets s UNION ALL SELECT a::text FROM audit_entries a")))
    assert not any(secret[6:] in kept for secret in (old, new, at_once)), "sealed at rest, and in no line of the trail"
