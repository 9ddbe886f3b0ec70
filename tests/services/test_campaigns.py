"""A campaign's life below the pages: shape, steps and who skips an edit, senders, launch checks, start, pause, stop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import text

from app.core import clock
from app.core.db import Scope, transaction
from app.core.errors import Conflict, Invalid, NotFound
from app.core.extensions import db
from app.models import AuditEntry, Campaign, Client, Delivery, Enrollment, Mailbox, Step
from app.queries import campaign_progress as progress
from app.queries import campaigns as reading
from app.services import campaign_leads, campaign_steps, campaigns, launch, preview
from app.services.launch import CheckState
from app.services.test_send import send_test
from jobs.sequence import run
from tests.factories import (
    make_campaign,
    make_client,
    make_delivery,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_user,
    save,
)

pytestmark = pytest.mark.usefixtures("app")
T = TypeVar("T")
#: A Monday morning before the office opens.
MONDAY_EIGHT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def do(verb: Callable[..., T], client: Client, *arguments: Any, **options: Any) -> T:
    """One request of a person: its own transaction, in the client's scope."""
    db.session.rollback()
    with transaction(Scope(client_id=client.id, client_ids=(client.id,))):
        return verb(client.id, *arguments, **options)


def shape(**more: Any) -> dict[str, Any]:
    return {
        "name": "Autumn",
        "timezone": "UTC",
        "steps": [
            {"channel": "email", "delay": {"value": 0, "unit": "days"}, "subject": "Hello {{first_name}}", "text": "Hi {{first_name}}"},
            {"channel": "email", "delay": {"value": 3, "unit": "working_days"}, "subject": "", "text": "Again"},
        ],
        **more,
    }


def draft(client: Client, leads: int = 0, **more: Any) -> tuple[Campaign, Mailbox]:
    mailbox = make_mailbox(client)
    made = do(campaigns.create, client, shape(mailbox_ids=[mailbox.id], **more), by=None)
    people = [make_lead(client).id for _ in range(leads)]
    if people:
        do(campaign_leads.add_leads, client, made.id, lead_ids=people, by=None)
    return made, mailbox


def ids(campaign: Campaign) -> list[int]:
    return [step.id for step in reading.steps(campaign.client_id, campaign.id)]


def test_only_the_name_is_needed_and_the_rest_takes_the_clients_values() -> None:
    client = make_client(timezone="Asia/Kolkata", country="IN")
    made = do(campaigns.create, client, {"name": "  Quiet   start "}, by=None)
    assert (made.name, made.status, made.timezone, made.holidays_country) == ("Quiet start", "draft", "Asia/Kolkata", "IN")
    assert made.windows[0] == {"weekday": 0, "from": "09:00", "to": "17:00"} and len(made.windows) == 5


def test_every_fault_of_a_shape_is_named_under_its_field_at_once() -> None:
    client = make_client()
    faulty = shape(name=" ", timezone="Mars/Olympus", windows=[{"weekday": 0, "from": "17:00", "to": "09:00"}], daily_cap=0, mailbox_ids=[99999])
    faulty["steps"][1]["text"] = "{{ unfinished"
    with pytest.raises(Invalid) as refused:
        do(campaigns.create, client, faulty, by=None)
    assert set(refused.value.details) == {"name", "timezone", "windows", "daily_cap", "mailbox_ids", "steps.1.text"}
    assert "Line 1, column 1" in refused.value.details["steps.1.text"][0]


def test_a_mailbox_of_a_stranger_cannot_be_chosen_and_a_strangers_campaign_does_not_exist() -> None:
    client, stranger = make_client(), make_client()
    with pytest.raises(Invalid):
        do(campaigns.create, client, shape(mailbox_ids=[make_mailbox(stranger).id]), by=None)
    made, _ = draft(client)
    for verb in (lambda c, i: campaigns.edit(c, i, {"name": "x"}, by=None), reading.campaign, progress.progress, progress.stop_state):
        with pytest.raises(NotFound):
            do(verb, stranger, made.id)


def test_who_saves_on_an_old_version_is_told_and_nothing_is_overwritten() -> None:
    client = make_client()
    made, _ = draft(client)
    do(campaigns.edit, client, made.id, {"name": "First"}, by=None, version=made.version)
    with pytest.raises(Conflict) as refused:
        do(campaigns.edit, client, made.id, {"name": "Second"}, by=None, version=1)
    assert refused.value.code == "changed_meanwhile"
    assert do(reading.campaign, client, made.id).name == "First"


def test_a_copy_has_the_steps_and_senders_but_no_leads_and_a_running_one_cannot_be_removed() -> None:
    client = make_client()
    made, mailbox = draft(client, leads=2)
    copy = do(campaigns.duplicate, client, made.id, by=None)
    assert copy.name == "Autumn (copy)" and campaigns.sender_ids(copy.id) == [mailbox.id]
    assert [step.text for step in reading.steps(client.id, copy.id)] == ["Hi {{first_name}}", "Again"]
    assert reading.people_counts(client.id, copy.id) == {"all": 0}
    do(launch.start, client, made.id, by=None, now=MONDAY_EIGHT)
    with pytest.raises(Conflict):
        do(campaigns.delete, client, made.id, by=None)
    do(launch.stop, client, made.id, by=None)
    do(campaigns.delete, client, made.id, by=None)
    with pytest.raises(NotFound):
        do(reading.campaign, client, made.id)


def test_steps_are_added_moved_and_removed_in_a_draft_and_ids_stay() -> None:
    client = make_client()
    made, _ = draft(client)
    first, second = ids(made)
    third = do(campaign_steps.add_step, client, made.id, {"text": "Third"}, after=second, by=None)
    zero = do(campaign_steps.add_step, client, made.id, {"text": "Zero", "subject": "Before all"}, after=None, by=None)
    assert ids(made) == [zero.id, first, second, third.id]
    do(campaign_steps.move_step, client, made.id, zero.id, second, by=None)
    assert ids(made) == [first, second, zero.id, third.id]
    do(campaign_steps.delete_step, client, made.id, second, by=None)
    assert ids(made) == [first, zero.id, third.id]
    starter = do(campaign_steps.use_starter, client, made.id, "first-contact", by=None)
    assert len(starter) == 4 and ids(made) == [step.id for step in starter]


def test_a_starter_sequence_can_be_launched_as_it_is() -> None:
    client = make_client()
    made, _ = draft(client, leads=1)
    do(campaign_steps.use_starter, client, made.id, "after-an-event", by=None)
    report = do(launch.report, client, made.id, now=MONDAY_EIGHT, public_url="https://mail.example.com")
    assert not report.blocked and report.leads == 1


def written(campaign: Campaign, walk: Enrollment, step_id: int, at: datetime) -> None:
    """This step has left for this lead."""
    save(
        Delivery(
            client_id=campaign.client_id, kind="campaign_step", sender_id=walk.sender_id, campaign_id=campaign.id, enrollment_id=walk.id,
            step_id=step_id, lead_id=walk.lead_id, due_at=at, sent_at=at, status="sent", mime=b"x", to_address="a@b.test", email_key="a@b.test",
            idempotency_key=f"step:{walk.id}:{step_id}",
        )
    )  # fmt: skip
    db.session.execute(
        text("UPDATE enrollments SET last_step_id = :s, last_sent_at = :at, status = 'waiting', next_at = :next WHERE id = :id"),
        {"s": step_id, "at": at, "next": at + timedelta(days=3), "id": walk.id},
    )
    db.session.commit()


def test_a_step_put_in_front_of_leads_that_are_past_it_names_them_and_needs_a_yes() -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    made = make_campaign(client, mailboxes=(mailbox,), steps=2)
    ahead, behind = (make_enrollment(made, make_lead(client, first_name=name), mailbox) for name in ("Ahead", "Behind"))
    first, second = ids(made)
    written(made, ahead, first, MONDAY_EIGHT)
    with pytest.raises(Conflict) as refused:
        do(campaign_steps.add_step, client, made.id, {"text": "New", "subject": "New"}, after=None, by=None)
    assert refused.value.code == "needs_confirmation" and refused.value.details["count"] == 1
    assert refused.value.details["who"][0]["name"].startswith("Ahead")
    new = do(campaign_steps.add_step, client, made.id, {"text": "New", "subject": "New"}, after=None, by=None, confirmed=True)
    db.session.expire_all()
    assert ids(made) == [new.id, first, second]
    assert db.session.get(Enrollment, behind.id).next_step_id == new.id
    assert db.session.get(Enrollment, ahead.id).last_step_id == first
    assert do(campaign_steps.effect_of_adding, client, made.id, second).count == 0


def test_who_already_had_a_removed_step_goes_on_behind_it() -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    made = make_campaign(client, mailboxes=(mailbox,), steps=3)
    walk = make_enrollment(made, make_lead(client), mailbox)
    first, second, third = ids(made)
    written(made, walk, first, MONDAY_EIGHT)
    do(campaign_steps.delete_step, client, made.id, first, by=None, confirmed=True)
    do(campaign_steps.delete_step, client, made.id, second, by=None, confirmed=True)
    db.session.expire_all()
    walk = db.session.get(Enrollment, walk.id)
    assert (walk.status, walk.next_step_id) == ("waiting", third)
    run(walk.next_at)
    assert db.session.query(Delivery).filter_by(status="queued").one().step_id == third


def test_a_removed_step_never_leaves_also_where_its_message_was_made_out_and_its_leads_go_on_behind_it() -> None:
    client = make_client()
    mailboxes = (make_mailbox(client), make_mailbox(client), make_mailbox(client))  # each has one message made out at a time
    made = make_campaign(client, mailboxes=mailboxes, steps=3)
    first, second, _third = ids(made)
    waits, leased, gone = (make_enrollment(made, make_lead(client), mailbox, next_at=MONDAY_EIGHT) for mailbox in mailboxes)
    run(MONDAY_EIGHT)
    rows = {row.enrollment_id: row for row in db.session.query(Delivery)}
    rows[leased.id].status, rows[leased.id].lease_owner, rows[leased.id].leased_until = "leased", "engine", clock.machine_now() + timedelta(minutes=1)
    rows[gone.id].status, rows[gone.id].leased_until, rows[gone.id].mime = "committing", clock.machine_now() + timedelta(minutes=1), b"x"
    db.session.commit()
    with pytest.raises(Conflict) as asked:
        do(campaign_steps.delete_step, client, made.id, first, by=None)
    assert asked.value.code == "needs_confirmation" and asked.value.details["count"] == 2, "who is past the permit gets it all the same"
    do(campaign_steps.delete_step, client, made.id, first, by=None, confirmed=True)
    db.session.expire_all()
    states = {row.enrollment_id: (row.status, row.reason) for row in db.session.query(Delivery).filter_by(step_id=first)}
    assert states == {waits.id: ("cancelled", "skipped"), leased.id: ("cancelled", "skipped"), gone.id: ("committing", None)}
    assert {(walk.status, walk.next_step_id) for walk in db.session.query(Enrollment) if walk.id != gone.id} == {("waiting", second)}
    run(db.session.get(Enrollment, waits.id).next_at)
    assert {row.step_id for row in db.session.query(Delivery).filter_by(status="queued")} == {second}


def test_a_shorter_delay_moves_the_leads_that_wait_for_it() -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    made = make_campaign(client, mailboxes=(mailbox,), steps=2)
    walk = make_enrollment(made, make_lead(client), mailbox)
    first, second = ids(made)
    written(made, walk, first, MONDAY_EIGHT)
    do(campaign_steps.edit_step, client, made.id, second, {"delay": {"value": 2, "unit": "hours"}}, by=None)
    db.session.expire_all()
    assert db.session.get(Enrollment, walk.id).next_at == MONDAY_EIGHT + timedelta(hours=2)


def test_leads_nobody_has_written_to_follow_to_a_new_mailbox_silently_and_the_others_wait_for_a_person() -> None:
    client = make_client()
    old, new = make_mailbox(client), make_mailbox(client)
    made = make_campaign(client, mailboxes=(old,), steps=2)
    fresh, begun = make_enrollment(made, make_lead(client), old), make_enrollment(made, make_lead(client), old)
    written(made, begun, ids(made)[0], MONDAY_EIGHT)
    do(campaigns.choose_senders, client, made.id, [new.id], by=None)
    run(MONDAY_EIGHT + timedelta(days=4))
    db.session.expire_all()
    assert db.session.get(Enrollment, fresh.id).sender_id == new.id
    assert db.session.get(Enrollment, begun.id).reason == "no_sender"
    assert do(campaign_leads.assign_sender, client, made.id, [begun.lead_id], new.id, by=None) == 1
    run(MONDAY_EIGHT + timedelta(days=4))
    assert {row.sender_id for row in db.session.query(Delivery).filter_by(status="queued")} == {new.id}


def states(report: launch.LaunchReport) -> dict[str, CheckState]:
    return {check.key: check.state for check in report.checks}


def test_an_empty_campaign_is_told_everything_that_stands_in_its_way_at_once() -> None:
    client = make_client(postal_address=" ")
    made = do(campaigns.create, client, {"name": "Empty"}, by=None)
    report = do(launch.report, client, made.id, now=MONDAY_EIGHT)
    blocking = {key for key, state in states(report).items() if state is CheckState.BLOCKING}
    assert blocking == {"steps", "senders", "people", "postal_address"}
    with pytest.raises(Invalid) as refused:
        do(launch.start, client, made.id, by=None, now=MONDAY_EIGHT)
    assert refused.value.code == "cannot_launch" and set(refused.value.details) == blocking
    assert do(reading.campaign, client, made.id).status == "draft"


def test_a_mailbox_whose_own_hours_never_meet_the_campaigns_blocks_with_both_clocks() -> None:
    client = make_client()
    made, mailbox = draft(client, leads=1)
    mailbox.restrict_campaigns, mailbox.own_hours = True, {"windows": [{"weekday": 6, "from": "01:00", "to": "02:00"}]}
    save(mailbox)
    check = next(one for one in do(launch.report, client, made.id, now=MONDAY_EIGHT).checks if one.key == "hours")
    assert check.state is CheckState.BLOCKING
    assert [whose for whose, _ in check.clocks] == ["The campaign", mailbox.address]


def test_the_launch_page_says_who_would_be_skipped_and_its_button_carries_the_true_numbers() -> None:
    client = make_client()
    made, _ = draft(client, leads=3)
    blank, gone = make_lead(client, first_name=""), make_lead(client)
    do(campaign_leads.add_leads, client, made.id, lead_ids=[blank.id, gone.id], by=None)
    gone.bounced_at = MONDAY_EIGHT
    save(gone)
    report = do(launch.report, client, made.id, now=MONDAY_EIGHT, public_url="https://mail.example.com")
    assert {group.reason: (group.count, group.who[0][0]) for group in report.skipped} == {
        "needs_attention_variable": (1, blank.id), "bounced": (1, gone.id)
    }  # fmt: skip
    assert report.button == "Start: 3 leads, first mail Mon 09:00"
    assert states(report)["way_out"] is CheckState.OK and not report.blocked


def test_the_dry_run_counts_who_starts_and_what_leaves_alike() -> None:
    """Without a value for the first message a lead does not start; without one for a later message it starts and stops there."""
    client = make_client()
    steps = [*shape()["steps"], {"channel": "email", "delay": {"value": 1, "unit": "working_days"}, "subject": "", "text": "{{company}}, {{plan}}?"}]
    made, _ = draft(client, leads=2, steps=steps)
    db.session.execute(text("UPDATE leads SET custom = '{\"Plan\": \"gold\"}', company = 'Acme'"))
    db.session.commit()
    nameless, planless, homeless = (
        make_lead(client, **{"company": "Acme", "custom": {"plan": "gold"}, **lacks}) for lacks in ({"first_name": ""}, {"custom": {}}, {"company": " "})
    )
    do(campaign_leads.add_leads, client, made.id, lead_ids=[nameless.id, planless.id, homeless.id], by=None)
    report = do(launch.report, client, made.id, now=MONDAY_EIGHT)
    assert {group.starts: [who for who, _ in group.who] for group in report.skipped} == {False: [nameless.id], True: [planless.id, homeless.id]}
    assert report.leads == sum(sum(line.first_per_day) for line in report.forecast.senders) == 4
    assert sum(report.forecast.totals) == 2 * 3 + 2 * 2 and report.forecast.beyond == 0
    assert {check.key for check in report.checks} >= {"skipped_needs_attention_variable", "stops_needs_attention_variable"}


@pytest.mark.parametrize(
    ("at", "reason"), [(MONDAY_EIGHT, "outside_window"), (MONDAY_EIGHT - timedelta(days=1), "weekend"), (MONDAY_EIGHT + timedelta(hours=2), "delay_not_over")]
)
def test_leads_of_a_campaign_started_while_it_is_closed_are_told_what_is_closed(at: datetime, reason: str) -> None:
    client = make_client()
    made, _ = draft(client, leads=2)
    do(launch.start, client, made.id, by=None, now=at)
    people, _ = do(reading.people, client, made.id)
    assert {line.reason for line in people} == {reason}
    run(at)
    people, _ = do(reading.people, client, made.id)
    assert {line.reason for line in people} == ({reason} if reason != "delay_not_over" else {"in_flight"})


def test_a_first_step_with_a_delay_waits_for_its_delay() -> None:
    client = make_client()
    late = {"channel": "email", "delay": {"value": 2, "unit": "working_days"}, "subject": "Hello", "text": "Hi"}
    made, _ = draft(client, leads=1, steps=[late])
    do(launch.start, client, made.id, by=None, now=MONDAY_EIGHT)
    assert [line.reason for line in do(reading.people, client, made.id)[0]] == ["delay_not_over"]


def test_after_the_start_the_first_messages_are_due_at_the_opening_and_a_second_start_is_refused() -> None:
    client = make_client()
    user = make_user(client)
    made, _ = draft(client, leads=2)
    do(launch.start, client, made.id, by=user.id, now=MONDAY_EIGHT)
    db.session.expire_all()
    nine = MONDAY_EIGHT + timedelta(hours=1)
    assert {walk.next_at for walk in db.session.query(Enrollment)} == {nine}
    assert db.session.query(AuditEntry).filter_by(action="campaign.launch").one().user_id == user.id
    with pytest.raises(Conflict):
        do(launch.start, client, made.id, by=None)
    assert run(nine - timedelta(minutes=20)).born == 0
    assert run(nine - timedelta(minutes=10)).born == 2


def test_a_pause_keeps_the_rows_a_resume_frees_them_and_a_stop_cancels_for_good() -> None:
    client = make_client()
    made, _ = draft(client, leads=2)
    do(launch.start, client, made.id, by=None, now=MONDAY_EIGHT)
    run(MONDAY_EIGHT + timedelta(hours=1))
    do(launch.pause, client, made.id, by=None)
    assert {row.status for row in db.session.query(Delivery)} == {"queued"}
    with pytest.raises(Conflict):
        do(launch.pause, client, made.id, by=None)
    stopped = do(progress.stop_state, client, made.id)
    assert (stopped.status, stopped.in_flight, stopped.sent_since, stopped.settled) == ("paused", 0, 0, True)
    assert {line.reason for line in do(progress.waiting_for, client, made.id)} == {"campaign_paused"}
    do(launch.resume, client, made.id, by=None)
    do(launch.stop, client, made.id, by=None)
    db.session.expire_all()
    assert {(row.status, row.reason) for row in db.session.query(Delivery)} == {("cancelled", "stopped_campaign")}
    assert {(walk.status, walk.reason) for walk in db.session.query(Enrollment)} == {("stopped", "stopped_campaign")}
    for verb in (launch.resume, launch.stop, launch.start):
        with pytest.raises(Conflict):
            do(verb, client, made.id, by=None)
    with pytest.raises(Conflict):
        do(campaign_leads.add_leads, client, made.id, lead_ids=[make_lead(client).id], by=None)


def test_the_walks_of_a_large_campaign_that_was_stopped_end_in_parts_and_nothing_leaves_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    client = make_client()
    made, _ = draft(client, leads=5)
    do(launch.start, client, made.id, by=None, now=MONDAY_EIGHT)
    monkeypatch.setattr("app.services.ending.AT_ONCE", 2)
    monkeypatch.setattr("jobs.sequence.AT_ONCE", 2)
    do(launch.stop, client, made.id, by=None)
    assert do(reading.people_counts, client, made.id) == {"stopped": 2, "waiting": 3, "all": 5}
    assert run(MONDAY_EIGHT + timedelta(hours=1)).born == 0
    assert do(reading.people_counts, client, made.id) == {"stopped": 5, "all": 5}


def test_a_changed_schedule_moves_who_waits() -> None:
    client = make_client()
    made, _ = draft(client, leads=1)
    do(launch.start, client, made.id, by=None, now=MONDAY_EIGHT)
    db.session.execute(text("UPDATE enrollments SET enrolled_at = :at"), {"at": MONDAY_EIGHT})
    db.session.commit()
    late = [{"weekday": day, "from": "14:00", "to": "18:00"} for day in range(5)]
    do(campaigns.edit, client, made.id, {"windows": late, "daily_cap": 7}, by=None)
    db.session.expire_all()
    assert db.session.query(Enrollment).one().next_at == MONDAY_EIGHT.replace(hour=14)
    assert do(reading.campaign, client, made.id).daily_cap == 7


def test_adding_leads_to_a_finished_campaign_opens_it_again() -> None:
    client = make_client()
    made, _ = draft(client, leads=1)
    do(launch.start, client, made.id, by=None, now=MONDAY_EIGHT)
    [walk] = db.session.query(Enrollment).all()
    do(campaign_leads.skip_leads, client, made.id, [walk.lead_id], by=None)
    run(MONDAY_EIGHT)
    assert do(reading.campaign, client, made.id).status == "finished"
    db.session.expire_all()
    assert do(campaign_leads.add_leads, client, made.id, lead_ids=[make_lead(client).id], by=None).enrolled == 1
    db.session.expire_all()
    assert do(reading.campaign, client, made.id).status == "running"


def test_a_lead_nobody_wrote_to_leaves_no_trace_and_one_written_to_is_skipped() -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    made = make_campaign(client, mailboxes=(mailbox,))
    fresh, begun = make_enrollment(made, make_lead(client), mailbox), make_enrollment(made, make_lead(client), mailbox)
    written(made, begun, ids(made)[0], MONDAY_EIGHT)
    for walk in (fresh, begun):
        do(campaign_leads.remove_lead, client, made.id, walk.lead_id, by=None)
    db.session.expire_all()
    assert [(walk.id, walk.status) for walk in db.session.query(Enrollment)] == [(begun.id, "skipped")]


def test_the_preview_goes_through_the_leads_with_their_own_values_and_shows_what_is_missing() -> None:
    client = make_client(name="Acme")
    made, _ = draft(client)
    ada, blank = make_lead(client, first_name="Ada"), make_lead(client, first_name="")
    do(campaign_leads.add_leads, client, made.id, lead_ids=[ada.id, blank.id], by=None)
    shown = do(preview.preview, client, made.id)
    assert (shown.subject, shown.lead_id, shown.next_lead_id, shown.place, shown.of) == ("Hello Ada", ada.id, blank.id, 1, 2)
    assert "1 Ember Lane" in shown.text
    missing = do(preview.preview, client, made.id, lead_id=blank.id)
    assert (missing.missing, missing.previous_lead_id, missing.text) == (("first_name",), ada.id, "")
    follow_up = do(preview.preview, client, made.id, step_id=ids(made)[1])
    assert follow_up.subject == "Re: Hello Ada"
    unsaved = do(preview.preview, client, made.id, texts={"subject": "New", "text": "{% if %}", "html": ""})
    assert unsaved.problems[0].field == "text" and unsaved.problems[0].line == 1


def test_a_campaign_without_leads_previews_an_example() -> None:
    client = make_client()
    made, _ = draft(client)
    assert do(preview.preview, client, made.id).subject == "Hello Ada"


def test_a_test_goes_to_nobody_but_the_person_who_asks() -> None:
    client = make_client()
    user = make_user(client, email="me@house.test")
    made, mailbox = draft(client, leads=1)
    number = do(send_test, client, made.id, ids(made)[0], user_id=user.id)
    row = db.session.get(Delivery, number)
    assert (row.kind, row.to_address, row.sender_id, row.enrollment_id) == ("test", "me@house.test", mailbox.id, None)
    assert row.draft["subject"].startswith("Test: Hello Ada")
    mailbox.status = "paused"
    save(mailbox)
    with pytest.raises(Conflict):
        do(send_test, client, made.id, ids(made)[0], user_id=user.id)


def test_progress_counts_come_from_the_rows_with_their_denominators() -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    made = make_campaign(client, mailboxes=(mailbox,), steps=2)
    walks = [make_enrollment(made, make_lead(client), mailbox) for _ in range(3)]
    first = ids(made)[0]
    for walk in walks[:2]:
        written(made, walk, first, MONDAY_EIGHT)
    do(campaign_leads.pause_leads, client, made.id, [walks[2].lead_id], by=None)
    db.session.execute(text("UPDATE enrollments SET status = 'replied', reason = 'replied' WHERE id = :id"), {"id": walks[0].id})
    db.session.commit()
    found = do(progress.progress, client, made.id)
    assert (found.leads, found.contacted, found.replied, found.active, found.sent) == (3, 2, 1, 2, 2)
    assert [(step.number, step.sent, step.replied) for step in found.funnel] == [(1, 2, 1), (2, 0, 0)]
    assert {line.reason: line.count for line in do(progress.waiting_for, client, made.id)} == {"delay_not_over": 1, "lead_paused": 1}
    answer = do(progress.why, client, walks[2].id)
    assert (answer.reason, answer.frees) == ("lead_paused", "Resume the lead.")
    people, _ = do(reading.people, client, made.id, status="replied")
    assert [line.lead_id for line in people] == [walks[0].lead_id]


def test_the_editor_knows_what_share_of_the_leads_has_a_value() -> None:
    client = make_client()
    made, _ = draft(client)
    leads = [make_lead(client, company="", custom={"city": "Porto"}), make_lead(client, custom={"city": " "}), make_lead(client)]
    do(campaign_leads.add_leads, client, made.id, lead_ids=[lead.id for lead in leads], by=None)
    shares = {share.name: (share.having, share.of) for share in do(reading.variables, client, made.id)}
    assert (shares["company"], shares["sender_name"], shares["city"]) == ((2, 3), (3, 3), (1, 3))


def test_steps_of_a_stranger_cannot_be_changed_through_ones_own_campaign() -> None:
    client, stranger = make_client(), make_client()
    made, _ = draft(client)
    theirs, _ = draft(stranger)
    step = ids(theirs)[0]
    for act in (
        lambda: do(campaign_steps.edit_step, client, made.id, step, {"text": "x"}, by=None),
        lambda: do(campaign_steps.delete_step, client, made.id, step, by=None),
        lambda: do(campaign_steps.move_step, client, made.id, step, None, by=None),
        lambda: do(campaign_steps.add_step, client, made.id, {"text": "x"}, after=step, by=None),
    ):
        with pytest.raises(NotFound):
            act()
    assert db.session.get(Step, step).deleted_at is None


def test_a_message_past_its_permit_says_that_it_is_on_its_way() -> None:
    client = make_client()
    mailbox = make_mailbox(client)
    lead = make_lead(client)
    made = make_campaign(client, mailboxes=(mailbox,), steps=1)
    walk = make_enrollment(made, lead, mailbox, status="in_flight")
    held = {"leased_until": datetime.now(UTC), "lease_owner": "engine", "mime": b"x", "message_id": "<x@ourhouse.test>"}
    make_delivery(walk, lead, mailbox, status="committing", permitted_at=MONDAY_EIGHT, **held)
    assert [line.reason for line in do(reading.people, client, made.id)[0]] == ["in_flight"]
