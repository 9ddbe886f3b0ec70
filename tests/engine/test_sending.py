"""One message from the outbox to the server that counts, and everything that follows from its acceptance."""

from __future__ import annotations

from app.core.db import transaction
from app.core.extensions import db
from app.models import Activity, Conversation, DeliveryAttempt, KnownMessageId, Message, UsageCounter
from app.services import launch
from sandbox.mail.faults import Phase, ScriptedReply
from tests import factories
from tests.engine.conftest import fresh, statuses, until


def test_a_due_message_leaves_and_is_counted_once_at_the_receiver(story, engine, mail):
    tale = story()
    with engine():
        until(lambda: statuses().get("sent") == 1)
    delivery = fresh(tale.deliveries[0])
    assert [taken.message_id for taken in mail.accepted()] == [delivery.message_id]
    assert mail.accepted()[0].recipients == (tale.leads[0].email,)
    assert delivery.sent_at == delivery.permit_product_at
    assert delivery.reply_code == 250


def test_what_was_sent_moves_the_lead_on_and_appears_in_its_thread(story, engine):
    tale = story()
    with engine():
        until(lambda: statuses().get("sent") == 1)
    delivery, walk, lead = fresh(tale.deliveries[0]), fresh(tale.enrollments[0]), fresh(tale.leads[0])
    assert (walk.status, walk.last_step_id) == ("waiting", delivery.step_id)
    assert walk.next_step_id is not None and walk.next_at > delivery.sent_at
    assert lead.contacted_at == delivery.sent_at
    conversation = db.session.get(Conversation, walk.conversation_id)
    assert conversation.subject == f"Hello {lead.first_name}" and not conversation.in_inbox
    message = db.session.query(Message).filter_by(delivery_id=delivery.id).one()
    assert message.external_id == delivery.message_id and f"Hi {lead.first_name}" in message.text
    assert db.session.query(Activity).filter_by(kind="message_sent", delivery_id=delivery.id).count() == 1
    assert db.session.query(KnownMessageId).filter_by(message_id=delivery.message_id).count() == 1
    counters = {(row.scope_kind, row.action): row.used for row in db.session.query(UsageCounter)}
    assert counters == {("sender", "day"): 1, ("campaign", "day"): 1, ("campaign", "new_leads"): 1}


def test_a_pause_under_way_does_not_tire_the_mailbox_and_all_leave_when_it_is_lifted(story, engine, mail):
    """Refusals by our own permit end sessions; they are no trouble of the mailbox, however many of them come in a row."""
    tale, user = story(leads=8), factories.make_user()
    mail.script(ScriptedReply(Phase.RCPT, "250 2.1.5 Ok", times=1, delay_s=1.0))
    with engine():
        until(lambda: statuses().get("leased") == 8)
        with transaction():
            launch.pause(tale.client.id, tale.campaign.id, by=user.id)
        until(lambda: statuses() == {"queued": 8})
        assert fresh(tale.mailbox).backoff_until is None
        assert {tried.outcome for tried in db.session.query(DeliveryAttempt)} == {"refused_by_us"}
        with transaction():
            launch.resume(tale.client.id, tale.campaign.id, by=user.id)
        until(lambda: statuses() == {"sent": 8})
    assert len(mail.accepted()) == 8
