"""What people decide on pages runs as the web role behind the second wall: stops, resolutions, second tries."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from app.core.db import Scope, transaction
from app.core.errors import Conflict, NotFound
from app.core.extensions import db
from app.services.outbox import failed, switches, uncertain
from app.services.outbox.enqueueing import NewDelivery, enqueue
from tests import factories
from tests.factories import MONDAY_TEN


@pytest.fixture
def rows(app):
    """(client, {status: delivery id}) with a row in each state a person decides about."""
    client = factories.make_client()
    box = factories.make_mailbox(client)
    campaign = factories.make_campaign(client, mailboxes=(box,))
    made = {}
    for status, walk_status in (("uncertain", "held"), ("failed", "failed")):
        lead = factories.make_lead(client)
        walk = factories.make_enrollment(campaign, lead, box, status=walk_status, reason="previous_uncertain")
        made[status] = factories.make_delivery(
            walk, lead, box, status=status, reason={"failed": "refused", "uncertain": "previous_uncertain"}[status], mime=b"Subject: Hello\r\n\r\nHi\r\n",
            message_id=f"<{status}@ourhouse.test>", permit_product_at=MONDAY_TEN,
        ).id
    return client.id, made


def as_client(client_id: int):
    return transaction(Scope(client_id=client_id))


def status_of(number: int, client_id: int) -> str:
    with as_client(client_id):
        return db.session.execute(text("SELECT status FROM deliveries WHERE id = :id"), {"id": number}).scalar()


def test_was_sent_moves_the_lead_on(rows, web_role):
    client_id, made = rows
    with as_client(client_id):
        uncertain.resolve(client_id, made["uncertain"], "was_sent", by=None)
    assert status_of(made["uncertain"], client_id) == "sent"
    with as_client(client_id), pytest.raises(Conflict):
        uncertain.resolve(client_id, made["uncertain"], "was_sent", by=None)


def test_send_again_makes_one_new_row(rows, web_role):
    client_id, made = rows
    with as_client(client_id):
        number = uncertain.resolve(client_id, made["uncertain"], "send_again", by=None)
    assert (status_of(made["uncertain"], client_id), status_of(number, client_id)) == ("cancelled", "queued")


def test_a_failed_one_is_tried_again_once(rows, web_role):
    client_id, made = rows
    with as_client(client_id):
        number = failed.try_again(client_id, made["failed"], by=None)
    assert status_of(number, client_id) == "queued"
    with as_client(client_id), pytest.raises(Conflict):
        failed.skip_step(client_id, made["failed"], by=None)


def test_a_failed_one_is_suppressed(rows, web_role):
    client_id, made = rows
    with as_client(client_id):
        failed.suppress(client_id, made["failed"], by=None)
    with as_client(client_id):
        assert db.session.execute(text("SELECT count(*) FROM suppressions")).scalar() == 1


def test_a_stranger_finds_nothing(rows, web_role):
    client_id, made = rows
    with as_client(client_id + 1), pytest.raises(NotFound):
        uncertain.resolve(client_id + 1, made["uncertain"], "was_sent", by=None)


@pytest.mark.parametrize("kind", ["instance", "client"])
def test_a_stop_is_set_told_and_released(rows, web_role, kind):
    client_id, _ = rows
    scope = 0 if kind == "instance" else client_id
    stop = switches.stop_instance if kind == "instance" else lambda **kw: switches.stop_client(client_id, **kw)
    free = switches.release_instance if kind == "instance" else lambda **kw: switches.release_client(client_id, **kw)
    with as_client(client_id):
        assert stop(by=None) is True
    with as_client(client_id):
        assert stop(by=None) is False, "stopped already"
        told = switches.state(kind, scope)
        assert (told.stopped, told.in_flight, told.sent_since) == (True, 0, 0) and told.stopped_at is not None
    with as_client(client_id):
        assert free(by=None) is True
        assert free(by=None) is False
    with as_client(client_id):
        assert switches.state(kind, scope).stopped is False


def test_a_delivery_is_born_once_per_intention(app):
    client = factories.make_client()
    box = factories.make_mailbox(client)
    new = NewDelivery("test:1:a", client.id, "test", box.id, "me@house.test", MONDAY_TEN, draft={"subject": "x", "text": "y"})
    with transaction():
        assert enqueue(new) is not None
        assert enqueue(new) is None
