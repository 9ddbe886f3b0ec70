"""The dry run is what then happens: day by day and mailbox by mailbox."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.core.db import Scope, transaction
from app.core.extensions import db
from app.domain.working_time import day_start, local_date
from app.queries import campaign_progress as progress
from app.services import forecast, launch
from app.services.outbox.advancing import StepLeft, advance
from app.services.outbox.plain import plain_connection
from jobs.sequence import run
from tests.factories import WEEKDAYS_9_TO_17, make_campaign, make_client, make_enrollment, make_lead, make_mailbox

pytestmark = pytest.mark.usefixtures("app")
MONDAY_EIGHT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
ZONE = "Europe/Berlin"


def leave(now: datetime) -> int:
    """An engine in small: each free mailbox sends its oldest due message, keeps its gap and counts it."""
    with transaction():
        rows = db.session.execute(
            text(
                "SELECT DISTINCT ON (d.sender_id) d.id, d.enrollment_id, d.campaign_id, d.step_id, d.sender_id, s.min_gap_s, s.timezone FROM deliveries d"
                " JOIN senders s ON s.id = d.sender_id WHERE d.status = 'queued' AND d.due_at <= :now AND (s.next_at IS NULL OR s.next_at <= :now)"
                " ORDER BY d.sender_id, d.due_at, d.id"
            ),
            {"now": now},
        ).all()
        for row in rows:
            db.session.execute(text("UPDATE deliveries SET status = 'sent', sent_at = :now, mime = 'x' WHERE id = :id"), {"now": now, "id": row.id})
            db.session.execute(
                text("UPDATE senders SET next_at = :at WHERE id = :id"), {"at": now + timedelta(seconds=row.min_gap_s), "id": row.sender_id}
            )
            db.session.execute(
                text(
                    "INSERT INTO usage_counters (scope_kind, scope_id, action, window_start, used) VALUES ('sender', :id, 'day', :day, 1)"
                    " ON CONFLICT (scope_kind, scope_id, action, window_start) DO UPDATE SET used = usage_counters.used + 1"
                ),
                {"id": str(row.sender_id), "day": day_start(row.timezone, local_date(row.timezone, now))},
            )
        advance(plain_connection(), [StepLeft(row.enrollment_id, row.campaign_id, row.step_id, now) for row in rows])
    return len(rows)


def next_look(now: datetime) -> datetime | None:
    """When something can change next."""
    with transaction():
        return db.session.execute(
            text(
                "SELECT min(at) FROM (SELECT greatest(d.due_at, s.next_at) AS at FROM deliveries d JOIN senders s ON s.id = d.sender_id"
                " WHERE d.status = 'queued' UNION ALL SELECT next_at FROM enrollments WHERE status = 'waiting' AND next_at > :now"
                " UNION ALL SELECT s.next_at FROM senders s UNION ALL SELECT :later) x WHERE at > :now"
            ),
            {"now": now, "later": now + timedelta(hours=1)},
        ).scalar_one()


@pytest.mark.slow
def test_the_forecast_is_what_the_tick_and_the_engine_then_do() -> None:
    client = make_client(timezone=ZONE)
    mailboxes = (
        make_mailbox(client, daily_cap=4, min_gap_s=1500, timezone=ZONE),
        make_mailbox(client, daily_cap=3, min_gap_s=900, timezone=ZONE),
    )
    campaign = make_campaign(
        client, mailboxes=mailboxes, steps=2, status="draft", timezone=ZONE, windows=WEEKDAYS_9_TO_17, weekend={"mode": "closed"}
    )
    for number in range(13):
        make_enrollment(campaign, make_lead(client), mailboxes[number % 2])
    scope = Scope(client_id=client.id, client_ids=(client.id,))
    with transaction(scope):
        foretold = forecast.forecast(client.id, campaign.id, days=10, now=MONDAY_EIGHT - timedelta(hours=2))
    with transaction(scope):
        launch.start(client.id, campaign.id, by=None, now=MONDAY_EIGHT - timedelta(hours=2))
    now: datetime | None = MONDAY_EIGHT - timedelta(hours=2)
    while now is not None and now < MONDAY_EIGHT + timedelta(days=9):
        run(now)
        while leave(now):
            run(now)
        now = next_look(now)
    rows = db.session.execute(text("SELECT sender_id, sent_at FROM deliveries WHERE status = 'sent'")).all()
    happened = Counter((row.sender_id, local_date(ZONE, row.sent_at)) for row in rows)
    assert sum(happened.values()) == 26
    for line in foretold.senders:
        real = [happened[line.sender_id, day] for day in foretold.days]
        assert real == list(line.per_day), line.address
    assert foretold.first_at == min(row.sent_at for row in rows)
    assert foretold.last_at == max(row.sent_at for row in rows)
    assert foretold.beyond == 0


def test_the_forecast_leaves_out_whom_we_may_not_write_to_and_mailboxes_that_cannot_send() -> None:
    client = make_client()
    working, broken = make_mailbox(client), make_mailbox(client, status="auth_failed")
    campaign = make_campaign(client, mailboxes=(working, broken), steps=1)
    make_enrollment(campaign, make_lead(client), working, next_at=MONDAY_EIGHT)
    make_enrollment(campaign, make_lead(client, bounced_at=MONDAY_EIGHT), working, next_at=MONDAY_EIGHT)
    make_enrollment(campaign, make_lead(client), broken, next_at=MONDAY_EIGHT)
    found = forecast.forecast(client.id, campaign.id, days=3, now=MONDAY_EIGHT)
    assert found.totals == (1, 0, 0)


def test_what_the_campaign_has_used_of_its_new_leads_today_is_taken_off() -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,), steps=1, daily_new_leads=3)
    for _ in range(5):
        make_enrollment(campaign, make_lead(client), mailbox, next_at=MONDAY_EIGHT)
    for action, used in (("day", 2), ("new_leads", 2)):
        db.session.execute(
            text("INSERT INTO usage_counters (scope_kind, scope_id, action, window_start, used) VALUES ('campaign', :id, :action, :day, :used)"),
            {"id": str(campaign.id), "action": action, "day": MONDAY_EIGHT.replace(hour=0), "used": used},
        )
    db.session.commit()
    assert forecast.forecast(client.id, campaign.id, days=3, now=MONDAY_EIGHT).totals == (1, 3, 1)


def test_the_next_events_and_todays_strip_name_people_and_times_of_a_running_campaign() -> None:
    client = make_client()
    mailbox = make_mailbox(client, min_gap_s=600)
    campaign = make_campaign(client, mailboxes=(mailbox,), windows=WEEKDAYS_9_TO_17, weekend={"mode": "closed"})
    people = [make_lead(client, first_name=name) for name in ("Ada", "Grace", "Joan", "Mary")]
    for lead in people:
        make_enrollment(campaign, lead, mailbox, next_at=MONDAY_EIGHT)
    nine = MONDAY_EIGHT + timedelta(hours=1)
    events = progress.next_events(client.id, campaign.id, now=MONDAY_EIGHT)
    assert [(event.at, event.lead_id, event.step_number, event.row) for event in events] == [
        (nine + timedelta(minutes=10 * place), lead.id, 1, False) for place, lead in enumerate(people[:3])
    ]
    run(nine)
    leave(nine)
    strip = progress.today(client.id, campaign.id, now=nine + timedelta(minutes=1))
    assert (strip.sent, strip.planned, strip.spans) == (1, 3, ((nine, nine + timedelta(hours=8)),))
    assert [mark.past for mark in strip.marks] == [True, False, False, False]
    assert strip.marks[0].label == "Ada · message 1"
    assert progress.next_events(client.id, campaign.id, now=nine)[0].row


def test_a_paused_campaign_has_no_next_events() -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,), status="paused")
    make_enrollment(campaign, make_lead(client), mailbox)
    assert progress.next_events(client.id, campaign.id, now=MONDAY_EIGHT) == []
    assert progress.today(client.id, campaign.id, now=MONDAY_EIGHT).planned == 0


NINE = MONDAY_EIGHT + timedelta(hours=1)
SIX_LEADS = 6


def used_up(scope: str, scope_id: int, action: str, start: datetime, used: int) -> None:
    db.session.execute(
        text("INSERT INTO usage_counters (scope_kind, scope_id, action, window_start, used) VALUES (:scope, :id, :action, :start, :used)"),
        {"scope": scope, "id": str(scope_id), "action": action, "start": start, "used": used},
    )
    db.session.commit()


@pytest.mark.parametrize(
    ("held_by", "planned_today", "first"),
    [
        ("sender_day", 0, None), ("campaign_day", 0, None), ("new_leads_day", 0, None), ("sender_hour", 6, NINE.replace(hour=10)),
        ("client_hour", 6, NINE.replace(hour=10)), ("instance_hour", 6, NINE.replace(hour=10)), ("nothing", 6, NINE),
    ],
)  # fmt: skip
def test_the_strip_shows_what_a_full_cap_holds_where_it_will_leave(held_by: str, planned_today: int, first: datetime | None) -> None:
    """Leads that a cap holds are not planned for this moment: they stand where the cap starts anew, tomorrow's not at all."""
    from app.services import settings

    client = make_client()
    mailbox = make_mailbox(client, daily_cap=30, hourly_cap=2 if held_by == "sender_hour" else None, min_gap_s=60)
    caps = {"campaign_day": {"daily_cap": 2}, "new_leads_day": {"daily_new_leads": 2}}.get(held_by, {})
    campaign = make_campaign(client, mailboxes=(mailbox,), steps=1, windows=WEEKDAYS_9_TO_17, weekend={"mode": "closed"}, **caps)
    for _ in range(SIX_LEADS):
        make_enrollment(campaign, make_lead(client), mailbox, next_at=MONDAY_EIGHT)
    midnight = NINE.replace(hour=0)
    if held_by in ("client_hour", "instance_hour"):
        scope = held_by.removesuffix("_hour")
        with transaction():
            settings.change(scope, client.id if scope == "client" else 0, {f"{scope}_hour_cap": 2})
    for name, row in {
        "sender_day": ("sender", mailbox.id, "day", midnight, 30), "campaign_day": ("campaign", campaign.id, "day", midnight, 2),
        "new_leads_day": ("campaign", campaign.id, "new_leads", midnight, 2), "sender_hour": ("sender", mailbox.id, "hour", NINE, 2),
        "client_hour": ("client", client.id, "hour", NINE, 2), "instance_hour": ("instance", 0, "hour", NINE, 2),
    }.items():  # fmt: skip
        if name == held_by:
            used_up(*row)
    strip = progress.today(client.id, campaign.id, now=NINE)
    assert strip.planned == planned_today
    assert (strip.marks[0].at if strip.marks else None) == first
    if held_by.endswith("_hour"):
        assert Counter(mark.at.hour for mark in strip.marks) == {10: 2, 11: 2, 12: 2}, "and no later hour goes over the cap either"


def test_a_step_counts_as_queued_what_goes_on_by_itself_and_not_what_is_held() -> None:
    from app.domain.reasons import Reason
    from app.services import enrollments

    client = make_client()
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,), steps=1)
    walks = [make_enrollment(campaign, make_lead(client), mailbox, next_at=MONDAY_EIGHT) for _ in range(5)]
    run(NINE)

    def queued() -> int:
        return progress.progress(client.id, campaign.id).funnel[0].queued

    assert queued() == 5
    with transaction():
        enrollments.pause(client.id, [walks[0].id], None)
        enrollments.hold_until(client.id, [walks[1].id], NINE + timedelta(days=2))
        held = enrollments.locked_active(client.id, [walks[2].lead_id])
        enrollments.hold_locked(client.id, held, Reason.DIRECTION_UNKNOWN)
    assert queued() == 2
    with transaction():
        enrollments.resume(client.id, [walks[0].id], now=NINE)
    assert queued() == 3
