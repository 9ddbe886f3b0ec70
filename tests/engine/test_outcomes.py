"""What became of an attempt: refusals, ladders, silence, late answers, and who is touched by whose fault."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import text

from app.core.config import libpq_url
from app.core.db import transaction
from app.core.errors import Conflict
from app.core.extensions import db
from app.models import Activity, AuditEntry, Delivery, DeliveryAttempt, Suppression, UsageCounter
from app.services.outbox import failed, outcomes, sweeping, switches, uncertain
from app.services.outbox.outcomes import Outcome, What
from app.services.outbox.plain import plain_connection
from app.services.outbox.threads import Words
from jobs.sending import verdicts
from sandbox.mail.faults import Death, Fault, Phase, Point, ScriptedReply
from tests import factories
from tests.engine.conftest import fresh, statuses, until, unwritable


def used(action: str = "day", kind: str = "sender") -> int:
    db.session.rollback()
    row = db.session.query(UsageCounter).filter_by(scope_kind=kind, action=action).first()
    return row.used if row else 0


#: Every row has its permit, under a lease that ends so much later.
PERMITTED = """
UPDATE deliveries SET status = 'committing', epoch = 1, lease_owner = 'us', leased_until = now() + %s::interval, mime = 'x',
  message_id = id || '@ourhouse.test', permitted_at = now(), permit_product_at = now()
"""
BEFORE = (Point.CONNECT, Point.BANNER, Point.EHLO, Point.AUTH, Point.MAIL, Point.RCPT, Point.DATA, Point.GO_AHEAD, Point.BODY)


@pytest.mark.slow
@pytest.mark.parametrize("point", BEFORE, ids=str)
@pytest.mark.parametrize("death", [Death.CLOSE, Death.RESET], ids=str)
def test_a_server_that_dies_before_the_dot_leaves_the_row_in_the_queue_and_it_arrives_once(story, engine, mail, point, death):
    tale = story()
    mail.fault(Fault(point, death))
    with engine():
        until(lambda: sum(mail.hits().values()))
        until(lambda: statuses().get("queued") == 1 or statuses().get("sent") == 1)
        db.session.execute(text("UPDATE senders SET backoff_until = NULL"))
        db.session.commit()
        until(lambda: statuses().get("sent") == 1)
    assert len(mail.accepted()) == 1
    assert fresh(tale.enrollments[0]).status == "waiting"
    assert used() == 1


@pytest.mark.parametrize(
    ("point", "arrived"), [(Point.DOT_BEFORE, False), (Point.DOT_AFTER, True), (Point.REPLY, True)], ids=str
)
def test_a_server_that_dies_after_the_dot_leaves_an_uncertain_row_that_no_timer_sends_again(story, engine, mail, point, arrived):
    tale = story()
    mail.fault(Fault(point, Death.RESET))
    with engine():
        until(lambda: statuses().get("uncertain") == 1)
        until(lambda: len(mail.accepted()) == int(arrived), 2)
    with transaction():
        sweeping.return_dead_leases(plain_connection())
        sweeping.show_lost_permits(plain_connection())
    delivery, walk = fresh(tale.deliveries[0]), fresh(tale.enrollments[0])
    assert (delivery.status, delivery.reason) == ("uncertain", "previous_uncertain")
    assert (walk.status, walk.reason) == ("held", "previous_uncertain")
    assert used() == 1, "it may have arrived, so it counts"


def test_a_fault_of_ours_behind_the_dot_leaves_the_message_unsure_and_not_in_the_queue(story, engine, mail, monkeypatch):
    def broken(*_values):
        raise RuntimeError("seeded")

    monkeypatch.setattr(verdicts, "accepted", broken)
    tale = story()
    with engine():
        until(lambda: statuses().get("uncertain") == 1)
    assert len(mail.accepted()) == 1 and used() == 1
    assert db.session.query(DeliveryAttempt).one().outcome.startswith("unknown")
    assert fresh(tale.enrollments[0]).reason == "previous_uncertain"


def test_a_fault_of_ours_before_the_permit_puts_the_message_back(story, engine, mail, monkeypatch):
    def broken(_row):
        raise RuntimeError("seeded")

    monkeypatch.setattr("jobs.sending.visit.endpoint_of", broken)
    tale = story()
    with engine():
        until(lambda: fresh(tale.mailbox).backoff_until is not None)
    assert statuses() == {"queued": 1} and mail.accepted() == []


def unsure(story, engine, mail):
    tale = story()
    mail.fault(Fault(Point.DOT_AFTER, Death.RESET))
    with engine():
        until(lambda: statuses().get("uncertain") == 1)
    return tale


def test_a_late_acceptance_turns_uncertain_into_sent_and_the_lead_goes_on(story, engine, mail):
    tale = unsure(story, engine, mail)
    delivery = fresh(tale.deliveries[0])
    with transaction():
        late = Outcome(delivery.id, delivery.epoch, What.ACCEPTED, code=250, text="2.0.0 at last")
        outcomes.record(plain_connection(), [late], datetime.now(UTC))
    delivery, walk = fresh(delivery), fresh(tale.enrollments[0])
    assert (delivery.status, delivery.evidence["found"], delivery.sent_at) == ("sent", "late_answer", delivery.permit_product_at)
    assert walk.status == "waiting" and walk.last_step_id == delivery.step_id


def test_sent_again_by_a_person_is_a_new_row_and_a_late_acceptance_of_the_old_one_shows_as_a_double(story, engine, mail):
    tale = unsure(story, engine, mail)
    old = fresh(tale.deliveries[0])
    with transaction():
        number = uncertain.resolve(tale.client.id, old.id, "send_again", by=None)
    assert (fresh(old).status, old.reason) == ("cancelled", "resent")
    new = db.session.get(Delivery, number)
    assert (new.retry_of, new.idempotency_key) == (old.id, f"retry:{old.id}:1")
    with transaction():
        late = Outcome(old.id, old.epoch, What.ACCEPTED, code=250, text="2.0.0 at last")
        outcomes.record(plain_connection(), [late], datetime.now(UTC))
    assert (fresh(old).status, old.late_accept) == ("cancelled", True)
    with engine():
        until(lambda: statuses().get("sent") == 1)
    assert fresh(new).message_id != old.message_id
    assert fresh(tale.enrollments[0]).last_step_id == new.step_id


def test_a_silence_that_is_being_counted_while_its_answer_comes_late_does_not_stay_counted(story, database_url):
    """The sweep has not committed yet when the answer is looked at: its sender shows no silence to be forgotten then."""
    tale = story()
    late = Outcome(tale.deliveries[0].id, 1, What.ACCEPTED, code=250, words=Words("Hello", "Hello"))
    db.session.rollback()
    with psycopg.connect(libpq_url(database_url), autocommit=True) as sweep, psycopg.connect(libpq_url(database_url), autocommit=True) as engine:
        sweep.execute(PERMITTED, ("- 1 min",))
        sweep.execute("INSERT INTO known_message_ids (client_id, message_id, source, delivery_id) SELECT client_id, message_id, 'ours', id FROM deliveries")

        def answer() -> None:
            with engine.transaction():
                outcomes.record(engine, [late], datetime.now(UTC))

        with ThreadPoolExecutor(1) as threads:
            with sweep.transaction():
                assert len(sweeping.show_lost_permits(sweep)) == 1
                answered = threads.submit(answer)
                while sweep.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
                    assert not answered.done(), answered.exception()
            answered.result(20)
    assert (statuses(), fresh(tale.mailbox).uncertain_streak) == ({"sent": 1}, 0)


def test_a_person_says_it_was_sent(story, engine, mail):
    tale = unsure(story, engine, mail)
    user = factories.make_user(tale.client)
    with transaction():
        uncertain.resolve(tale.client.id, tale.deliveries[0].id, "was_sent", by=user.id)
    delivery = fresh(tale.deliveries[0])
    assert (delivery.status, delivery.resolved_by) == ("sent", user.id)
    assert fresh(tale.enrollments[0]).status == "waiting"
    assert db.session.query(Activity).filter_by(kind="message_sent").count() == 1


@pytest.mark.out_of_balance  # the other decision is written by hand
def test_who_decides_second_is_refused_and_leaves_no_line_in_the_trail(story, engine, mail, monkeypatch):
    tale = unsure(story, engine, mail)
    number, locked = tale.deliveries[0].id, uncertain._lock

    def after_another_decision(connection, row):
        with db.engine.begin() as other:
            other.execute(text("UPDATE deliveries SET status = 'cancelled', reason = 'resent' WHERE id = :id"), {"id": number})
        locked(connection, row)

    monkeypatch.setattr(uncertain, "_lock", after_another_decision)
    with pytest.raises(Conflict), transaction():
        uncertain.resolve(tale.client.id, number, "was_sent", by=None)
    assert db.session.query(AuditEntry).filter_by(action="delivery.resolve").count() == 0


def test_proof_of_absence_sends_the_same_bytes_again_and_gives_the_cap_back(story, engine, mail):
    tale = story()
    mail.fault(Fault(Point.DOT_BEFORE, Death.RESET))
    with engine():
        until(lambda: statuses().get("uncertain") == 1)
    before = bytes(fresh(tale.deliveries[0]).mime)
    with transaction():
        uncertain.absent(plain_connection(), tale.deliveries[0].id, "test")
    assert used() == 0
    with engine():
        until(lambda: statuses().get("sent") == 1)
    assert bytes(fresh(tale.deliveries[0]).mime) == before
    assert [taken.message_id for taken in mail.accepted()] == [tale.deliveries[0].message_id]
    assert used() == 1


def test_a_refused_recipient_fails_the_row_and_the_lead_and_gives_the_counter_back(story, engine, mail):
    tale = story()
    mail.script(ScriptedReply(Phase.DOT, "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup"))
    with engine():
        until(lambda: statuses().get("failed") == 1)
    delivery, walk = fresh(tale.deliveries[0]), fresh(tale.enrollments[0])
    assert (delivery.reason, delivery.reply_code, walk.status) == ("refused", 550, "failed")
    assert used() == 0 and fresh(tale.mailbox).status == "active"


def test_an_address_that_does_not_exist_is_suppressed_for_the_client(story, engine, mail):
    tale = story()
    mail.script(ScriptedReply(Phase.RCPT, "550 5.1.1 User unknown"))
    with engine():
        until(lambda: statuses().get("failed") == 1)
    delivery, walk = fresh(tale.deliveries[0]), fresh(tale.enrollments[0])
    assert (delivery.reason, walk.status, delivery.reply_code) == ("bounced", "bounced", 550)
    assert db.session.query(Suppression).filter_by(email_key=delivery.email_key, reason="bounced").count() == 1
    assert fresh(tale.leads[0]).bounced_at is not None
    assert db.session.query(Activity).filter_by(kind="mail_bounced").count() == 1


def test_a_greylisted_recipient_climbs_the_ladder_and_gives_the_counter_back(story, engine, mail):
    tale = story()
    mail.script(ScriptedReply(Phase.RCPT, "450 4.2.0 Greylisted, please try again later"))
    with engine():
        until(lambda: statuses().get("queued") == 1 and fresh(tale.deliveries[0]).attempts == 1)
    delivery = fresh(tale.deliveries[0])
    wait = delivery.due_at - datetime.now(UTC)
    assert timedelta(minutes=3) < wait <= timedelta(minutes=16)
    assert delivery.mime is not None, "the bytes never change between attempts"
    assert used() == 0 and fresh(tale.enrollments[0]).status == "in_flight"


def test_the_ladder_ends_after_48_hours(app):
    client = factories.make_client()
    mailbox = factories.make_mailbox(client)
    campaign = factories.make_campaign(client, mailboxes=(mailbox,))
    lead = factories.make_lead(client)
    walk = factories.make_enrollment(campaign, lead, mailbox, status="in_flight")
    now = datetime.now(UTC)
    delivery = factories.make_delivery(
        walk, lead, mailbox, status="leased", epoch=7, leased_until=now + timedelta(minutes=1), attempts=8,
        rendered_at=now - timedelta(hours=47), mime=b"x", message_id="<x@y.test>",
    )  # fmt: skip
    with transaction():
        outcomes.record(plain_connection(), [Outcome(delivery.id, 7, What.LATER, code=450, text="later")], now)
    assert (fresh(delivery).status, fresh(walk).status) == ("failed", "failed")


def test_a_wrong_password_pauses_the_mailbox_and_leaves_every_lead_untouched(story, engine, mail):
    tale = story(leads=3)
    mail.script(ScriptedReply(Phase.AUTH, "535 5.7.8 Authentication failed", times=None))
    with engine():
        until(lambda: fresh(tale.mailbox).status == "auth_failed")
        until(lambda: statuses() == {"queued": 3})
    assert {fresh(row).reason for row in tale.deliveries} == {"sender_auth_failed"}
    assert {fresh(walk).status for walk in tale.enrollments} == {"in_flight"}
    assert mail.accepted() == []


def test_a_missing_value_holds_the_lead_and_a_correction_sends_the_same_row(story, engine, mail):
    tale = story(leads=0)
    delivery = tale.add(lead={"first_name": ""})
    with engine():
        until(lambda: fresh(tale.enrollments[0]).status == "needs_attention")
        walk, row = fresh(tale.enrollments[0]), fresh(delivery)
        assert (walk.reason, walk.detail) == ("needs_attention_variable", "first_name")
        assert (row.status, row.reason, row.mime) == ("queued", "needs_attention_variable", None)
        tale.leads[0].first_name = "Grace"
        walk.status, walk.reason = "in_flight", None
        db.session.commit()
        until(lambda: statuses().get("sent") == 1)
    assert len(mail.accepted()) == 1


@pytest.mark.slow
def test_five_silences_in_a_row_rest_the_mailbox(story, engine, mail):
    tale = story(leads=7)
    mail.fault(Fault(Point.DOT_AFTER, Death.RESET, times=None))
    began, epoch = tale.mailbox.status_since, tale.mailbox.status_epoch

    def rested() -> bool:
        db.session.execute(text("UPDATE senders SET backoff_until = NULL"))
        db.session.commit()
        return fresh(tale.mailbox).status == "paused"

    with engine():
        until(rested, 20)
    assert tale.mailbox.status_reason == "circuit_open"
    assert tale.mailbox.status_since > began and tale.mailbox.status_epoch == epoch + 1, "it rests since now, and logins under way see it"
    assert switches.state("sender", tale.mailbox.id).stopped_at == tale.mailbox.status_product_at
    assert statuses().get("uncertain", 0) + statuses().get("queued", 0) == 7


def test_an_accepted_message_breaks_the_row_of_silences(story, engine, mail):
    tale = story(leads=2)
    db.session.execute(text("UPDATE senders SET uncertain_streak = 4"))
    db.session.commit()
    with engine():
        until(lambda: statuses().get("sent") == 2)
    assert fresh(tale.mailbox).uncertain_streak == 0


@pytest.mark.out_of_balance  # a row that no statement can write any more
def test_an_accepted_message_whose_row_cannot_be_written_leaves_nothing_half_recorded(story, database_url):
    tale = story(leads=2)
    ends = [Outcome(row.id, 1, What.ACCEPTED, code=250, words=Words("Hello", "Hello")) for row in tale.deliveries]
    db.session.rollback()
    with psycopg.connect(libpq_url(database_url), autocommit=True) as owner:
        owner.execute(PERMITTED, ("1 min",))
        with unwritable(owner, ends[0].delivery_id):
            with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="a locked row changed, written: 1"), transaction():
                outcomes.record(plain_connection(), ends, datetime.now(UTC))
            assert statuses() == {"committing": 2}
            assert db.session.query(Activity).filter_by(kind="message_sent").count() == 0
            db.session.rollback()
    with transaction():
        outcomes.record(plain_connection(), ends, datetime.now(UTC))
    assert statuses() == {"sent": 2}


def test_a_failed_message_is_tried_again_as_a_new_row_or_its_step_is_skipped(story, engine, mail):
    tale = story(leads=2)
    mail.script(ScriptedReply(Phase.RCPT, "550 5.1.1 User unknown", times=2))
    with engine():
        until(lambda: statuses().get("failed") == 2)
    first, second = (fresh(row) for row in tale.deliveries)
    db.session.query(Suppression).delete()
    db.session.commit()
    with transaction():
        failed.try_again(tale.client.id, first.id, by=None)
    with transaction():
        failed.skip_step(tale.client.id, second.id, by=None)
    assert fresh(tale.enrollments[0]).status == "in_flight"
    walk = fresh(tale.enrollments[1])
    assert (walk.status, walk.last_step_id, walk.last_sent_at) == ("waiting", second.step_id, None)
    with engine():
        until(lambda: statuses().get("sent") == 1)


def test_every_attempt_is_a_row_with_its_phase_and_answer(story, engine, mail):
    tale = story()
    mail.script(ScriptedReply(Phase.RCPT, "450 4.2.0 Greylisted"))
    with engine():
        until(lambda: fresh(tale.deliveries[0]).attempts == 1)
        db.session.execute(text("UPDATE deliveries SET due_at = now()"))
        db.session.commit()
        until(lambda: statuses().get("sent") == 1)
    tries = db.session.query(DeliveryAttempt).order_by(DeliveryAttempt.epoch).all()
    assert [(one.epoch, one.phase, one.code) for one in tries] == [(1, "rcpt", 450), (2, "done", 250)]
    assert tries[0].permitted_at is None and tries[1].permitted_at is not None
