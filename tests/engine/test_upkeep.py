"""Sweeps, evidence, recount and the ledger equation."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import text

from app.core.config import libpq_url
from app.core.db import transaction
from app.core.extensions import db
from app.core.queue import Job, QueueName, looking, redis_queue
from app.models import UsageCounter
from app.services import campaigns, mailboxes, settings
from app.services.outbox import postponed
from app.services.outbox.plain import plain_connection
from jobs import counting, upkeep
from sandbox.mail.faults import Death, Fault, Point
from tests import factories
from tests.engine.conftest import fresh, statuses, until
from tests.patience import in_time


def expired(app, status: str):
    client = factories.make_client()
    box, lead = factories.make_mailbox(client), factories.make_lead(client)
    campaign = factories.make_campaign(client, mailboxes=(box,))
    walk = factories.make_enrollment(campaign, lead, box, status="in_flight")
    past = datetime.now(UTC) - timedelta(seconds=1)
    return factories.make_delivery(
        walk, lead, box, status=status, epoch=1, leased_until=past, lease_owner="gone", mime=b"x", message_id="<x@y.test>"
    )


@pytest.mark.out_of_balance  # rows made by hand
def test_a_lease_that_ran_out_before_the_permit_goes_back_and_after_it_becomes_visible(app):
    before, after = expired(app, "leased"), expired(app, "committing")
    assert upkeep.sweep_deliveries() == {"freed": 1, "uncertain": 1, "cancelled": 0}
    assert (fresh(before).status, fresh(before).leased_until) == ("queued", None)
    assert fresh(after).status == "uncertain"
    assert upkeep.sweep_deliveries() == {"freed": 0, "uncertain": 0, "cancelled": 0}


def test_what_a_stopped_campaign_left_is_cancelled_and_its_leads_end(app):
    row = expired(app, "leased")
    db.session.execute(text("UPDATE campaigns SET status = 'stopped'"))
    db.session.commit()
    assert upkeep.sweep_deliveries()["cancelled"] == 2
    assert (fresh(row).status, fresh(row).reason) == ("cancelled", "stopped_campaign")
    assert db.session.execute(text("SELECT status FROM enrollments")).scalar() == "stopped"


def test_the_sent_folder_proves_arrival_and_only_a_copying_provider_proves_absence(story, engine, mail):
    tale = story(leads=2, mailboxes=2)
    for box in tale.mailboxes:
        mail.server.store.accounts[box.address].copies_to_sent = True
    mail.fault(Fault(Point.DOT_AFTER, Death.RESET))
    mail.fault(Fault(Point.DOT_BEFORE, Death.RESET))
    with engine():
        until(lambda: statuses().get("uncertain") == 2)
    assert len(mail.accepted()) == 1
    assert upkeep.resolve_uncertain() == {"found": 1, "absent": 0, "unknown": 1}
    assert statuses() == {"sent": 1, "uncertain": 1}
    db.session.execute(text("UPDATE mailboxes SET save_to_sent = 'provider'"))
    db.session.commit()
    assert upkeep.resolve_uncertain() == {"found": 0, "absent": 0, "unknown": 1}, "a quarter of an hour is not over"
    db.session.execute(text("UPDATE deliveries SET permitted_at = permitted_at - interval '16 min' WHERE status = 'uncertain'"))
    db.session.commit()
    assert upkeep.resolve_uncertain() == {"found": 0, "absent": 1, "unknown": 0}
    with engine():
        until(lambda: statuses() == {"sent": 2})
    assert sorted(mail.counts_by_message_id().values()) == [1, 1]


@pytest.mark.out_of_balance  # rows made by hand
def test_the_ledger_equation_holds_and_a_fault_is_named(app, database_url):
    row = expired(app, "leased")
    assert counting.check_ledger() == {}
    with psycopg.connect(libpq_url(database_url), autocommit=True) as owner:  # the product itself cannot: the trigger of all these tests
        owner.execute("UPDATE deliveries SET status = 'cancelled', reason = NULL, leased_until = NULL")
    assert counting.check_ledger()["cancelled_without_reason"] == [1]
    assert fresh(row).status == "cancelled"


def test_the_recount_heals_a_counter_that_drifted(story, engine):
    story(leads=3)
    with engine():
        until(lambda: statuses().get("sent") == 3)
    assert counting.recount() == 0
    db.session.execute(text("UPDATE usage_counters SET used = 17, cap = NULL WHERE scope_kind = 'sender'"))
    db.session.commit()
    assert counting.recount() == 1
    db.session.rollback()
    assert db.session.query(UsageCounter).filter_by(scope_kind="sender", action="day").one().used == 3


def test_a_raised_cap_frees_what_was_put_off_until_tomorrow(story, engine, mail):
    tale = story(leads=5, daily_cap=2)
    with engine():
        until(lambda: statuses().get("sent") == 2)
        until(lambda: all(fresh(row).due_at > datetime.now(UTC) for row in tale.deliveries if fresh(row).status == "queued"))
        with transaction():
            assert postponed.look_again(plain_connection(), datetime.now(UTC)) == 0
        fresh(tale.mailbox).daily_cap = 4
        db.session.commit()
        with transaction():
            assert postponed.look_again(plain_connection(), datetime.now(UTC)) == 3
        until(lambda: statuses().get("sent") == 4)
    assert len(mail.accepted()) == 4


@pytest.mark.parametrize("by", ["mailbox", "campaign", "client"])
def test_a_cap_that_is_raised_frees_what_it_held_within_two_seconds(story, engine, mail, by):
    """Through the product's own door: the change rings a job of the short queue, which need not wait for the next sweep."""
    tale = story(leads=4, **({"daily_cap": 2} if by == "mailbox" else {}))
    if by == "campaign":
        fresh(tale.campaign).daily_cap = 2
        db.session.commit()
    if by == "client":
        with transaction():
            settings.change("client", tale.campaign.client_id, {"client_hour_cap": 2})
    redis_queue(QueueName.RECEIVE).empty()
    looking(Job.LOOK_AGAIN)
    with engine():
        until(lambda: statuses().get("sent") == 2)
        until(lambda: all(fresh(row).due_at > datetime.now(UTC) for row in tale.deliveries if fresh(row).status == "queued"))
        began = time.monotonic()
        with transaction():
            if by == "mailbox":
                mailboxes.update(fresh(tale.mailbox), {"daily_cap": 3}, None)
            elif by == "campaign":
                campaigns.edit(tale.campaign.client_id, tale.campaign.id, {"daily_cap": 3}, by=None)
            else:
                settings.change("client", tale.campaign.client_id, {"client_hour_cap": 3})
        assert [job.func_name for job in redis_queue(QueueName.RECEIVE).get_jobs()] == ["jobs.upkeep.look_again"]
        assert upkeep.look_again() == 2
        until(lambda: statuses().get("sent") == 3)
        in_time(time.monotonic() - began < 4 * 2, "a changed cap was heeded too late")
        until(lambda: all(fresh(row).due_at > datetime.now(UTC) for row in tale.deliveries if fresh(row).status == "queued"))
    assert len(mail.accepted()) == 3
