"""Campaigns on the pages, without scripts: the list, four short steps, the dry run, and a running one."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from flask import Flask

from app.core.extensions import db
from app.models import Campaign, Client, Enrollment, Lead, Mailbox, Step
from app.queries.campaign_people import PeopleFilter
from app.services import lead_work
from tests.factories import (
    make_campaign,
    make_client,
    make_delivery,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_user,
)
from tests.web.page_client import PageClient

BASE = "/c/acme/campaigns"


@pytest.fixture
def client(app: Flask) -> Client:
    return make_client(slug="acme", postal_address="1 Main Street")


@pytest.fixture
def page(app: Flask, client: Client) -> PageClient:
    return PageClient(app).log_in(make_user(client))


def _running(client: Client, **values: Any) -> tuple[Campaign, Lead, Mailbox, Enrollment]:
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,), **{"status": "running", **values})
    lead = make_lead(client, first_name="Ada", last_name="Byron", company="Engines")
    return campaign, lead, mailbox, make_enrollment(campaign, lead, mailbox)


def _last() -> Campaign:
    db.session.expire_all()
    return db.session.query(Campaign).order_by(Campaign.id.desc()).first()


def test_the_first_visit_says_what_a_campaign_is_and_has_one_button(page: PageClient) -> None:
    found = page.get(f"{BASE}/")
    assert "No campaign yet" in found.words and len(found.all("a", class_="btn-primary")) == 1


def test_only_a_name_is_needed_and_a_draft_is_kept(page: PageClient) -> None:
    assert page.post(f"{BASE}/new", {"name": "  "}).status == 422
    answer = page.post(f"{BASE}/new", {"name": "Spring"})
    assert answer.status == 303 and answer.location.endswith("/people")
    assert "No leads yet" in page.follow(answer).words
    assert _last().status == "draft"
    assert "Spring" in page.get(f"{BASE}/").words


def test_the_whole_way_from_a_name_to_a_running_campaign(page: PageClient, client: Client) -> None:
    mailbox = make_mailbox(client)
    leads = [make_lead(client, first_name=f"Name{number}") for number in range(3)]
    page.post(f"{BASE}/new", {"name": "Spring"})
    here = f"{BASE}/{_last().id}"
    assert "3 that match" in page.get(f"{here}/people/add").words
    page.post(f"{here}/people/add", {"action": "ticked", "ids": [str(leads[0].id)]})
    assert page.post(f"{here}/people/add", {"action": "all"}).status == 303
    assert "Name2" in page.get(f"{here}/people").words
    saved = page.post(f"{here}/schedule", {**_week(), "senders": [str(mailbox.id)], "then": "next"})
    assert saved.status == 303 and saved.location.endswith("/steps")
    assert "First contact" in page.follow(saved).words
    page.post(f"{here}/steps/starter", {"key": "first-contact"})
    assert "Name0" in page.get(f"{here}/steps").words
    launch = page.get(f"{here}/launch")
    assert "Start: 3 leads, first mail" in launch.words and "class=\"series-0\"" in launch.text
    started = page.post(f"{here}/launch")
    assert started.status == 303
    assert "Running" in page.follow(started).words
    assert _last().status == "running"


def _week(**values: Any) -> dict[str, Any]:
    days = {f"day-{day}": "9-17" if day < 5 else "" for day in range(7)}
    return {**days, "timezone": "Europe/Berlin", "weekend": "closed", "holidays_country": "", "closed_days": "", "daily_cap": "", **values}


def test_a_campaign_that_cannot_start_says_what_to_mend(page: PageClient) -> None:
    page.post(f"{BASE}/new", {"name": "Empty"})
    here = f"{BASE}/{_last().id}/launch"
    found = page.get(here)
    assert "There is no message yet" in found.words and found.form("/launch").find(".//button").get("disabled") is not None
    assert page.post(here).status == 422


def test_hours_that_cannot_be_read_keep_what_was_typed(page: PageClient) -> None:
    page.post(f"{BASE}/new", {"name": "Hours"})
    here = f"{BASE}/{_last().id}/schedule"
    wrong = page.post(here, _week(**{"day-2": "nine to five"}))
    assert wrong.status == 422 and wrong.find("input", id="day-2").get("value") == "nine to five"
    assert page.post(here, _week(**{"day-2": "09:15-12:00, 13-18"})).status == 303
    assert {"weekday": 2, "from": "09:15", "to": "12:00"} in _last().windows
    shown = page.post(here, _week(preset="mornings"))
    assert shown.status == 200 and shown.find("input", id="day-0").get("value") == "08:00-12:00"


def test_limits_and_days_reach_the_campaign(page: PageClient) -> None:
    page.post(f"{BASE}/new", {"name": "Limits"})
    here = f"{BASE}/{_last().id}/schedule"
    page.post(here, _week(daily_cap="120", closed_days="2027-12-24\n2027-12-31", weekend="reduced", weekend_percent="25", holidays_country="DE"))
    found = _last()
    assert (found.daily_cap, found.closed_days, found.weekend) == (120, ["2027-12-24", "2027-12-31"], {"mode": "reduced", "percent": 25})
    assert page.post(here, _week(daily_cap="many")).status == 422


def test_a_running_campaign_shows_its_day_and_can_be_paused_and_resumed(page: PageClient, client: Client) -> None:
    campaign, lead, mailbox, enrollment = _running(client)
    make_delivery(enrollment, lead, mailbox, status="queued")
    here = f"{BASE}/{campaign.id}"
    assert "class=\"strip\"" in page.get(here).text
    assert "Paused" in page.follow(page.post(f"{here}/pause")).words
    assert "sent since: 0" in page.get(here).words
    assert page.post(f"{here}/resume", fragment=True).status == 200
    assert _last().status == "running"


def test_stopping_for_good_needs_the_typed_name(page: PageClient, client: Client) -> None:
    campaign, *_ = _running(client)
    here = f"{BASE}/{campaign.id}"
    page.post(f"{here}/stop", {"typed": "something"})
    assert _last().status == "running"
    page.post(f"{here}/stop", {"typed": campaign.name})
    assert _last().status == "stopped"
    copied = page.post(f"{here}/duplicate")
    assert copied.status == 303 and _last().name.endswith("(copy)")


def test_the_editor_shows_the_fault_with_its_line_and_keeps_the_text(page: PageClient, client: Client) -> None:
    campaign, *_ = _running(client, status="draft")
    step = db.session.query(Step).filter_by(campaign_id=campaign.id, parent_id=None).one()
    here = f"{BASE}/{campaign.id}/steps/{step.id}"
    wrong = page.post(here, {"subject": "Hello", "text": "Dear\n{{ first_name"})
    assert wrong.status == 422 and "Line 2" in wrong.words and "{{ first_name" in wrong.find("textarea", id="text").text
    assert page.post(here, {"subject": "For {{ first_name }}", "text": "Dear {{ first_name }}"}).status == 303
    assert "For Ada" in page.get(f"{BASE}/{campaign.id}/steps?step={step.id}").words
    typed = page.post(f"{here}/preview", {"subject": "S", "text": "Good day, {{ company }}"}, fragment=True)
    assert "Good day, Engines" in typed.words and typed.find("section", id="preview") is not None


def test_a_missing_value_is_named_in_the_preview(page: PageClient, client: Client) -> None:
    campaign, *_ = _running(client, status="draft")
    step = db.session.query(Step).filter_by(campaign_id=campaign.id, parent_id=None).one()
    typed = page.post(f"{BASE}/{campaign.id}/steps/{step.id}/preview", {"subject": "S", "text": "{{ title }}"}, fragment=True)
    assert "No value for title" in typed.words


def test_messages_are_added_moved_and_removed(page: PageClient, client: Client) -> None:
    campaign, *_ = _running(client, status="draft")
    steps = f"{BASE}/{campaign.id}/steps"
    first = db.session.query(Step).filter_by(campaign_id=campaign.id, parent_id=None).one()
    page.post(steps, {"after": str(first.id)})
    new = db.session.query(Step).order_by(Step.id.desc()).first()
    assert new.parent_id == first.id
    page.post(f"{steps}/{new.id}/up")
    db.session.expire_all()
    assert db.session.get_one(Step, new.id).parent_id is None
    page.post(f"{steps}/{new.id}/remove")
    db.session.expire_all()
    assert db.session.get_one(Step, new.id).deleted_at is not None


def test_removing_a_message_of_a_running_campaign_names_who_loses_it(page: PageClient, client: Client) -> None:
    campaign, _, _, enrollment = _running(client)
    first = db.session.query(Step).filter_by(campaign_id=campaign.id, parent_id=None).one()
    second = db.session.query(Step).filter_by(parent_id=first.id).one()
    enrollment.last_step_id = first.id
    enrollment.next_step_id = second.id
    db.session.commit()
    here = f"{BASE}/{campaign.id}/steps/{second.id}/remove"
    asked = page.post(here)
    if asked.status == 409:
        assert "Ada Byron" in asked.words
        assert page.post(here, {"confirmed": "1"}).status == 303
    else:
        assert asked.status == 303


def test_the_people_page_says_why_each_lead_waits_and_acts_on_the_ticked(page: PageClient, client: Client) -> None:
    campaign, lead, _, enrollment = _running(client)
    here = f"{BASE}/{campaign.id}/people"
    assert "Ada Byron" in page.get(here).words
    page.post(f"{here}/bulk", {"action": "pause", "ids": str(lead.id)})
    db.session.expire_all()
    assert db.session.get_one(Enrollment, enrollment.id).status == "paused"
    assert "Ada Byron" in page.get(f"{here}?status=paused").words
    page.post(f"{here}/bulk", {"action": "resume", "ids": str(lead.id)})
    asked = page.post(f"{here}/bulk", {"action": "take_out", "ids": str(lead.id)})
    assert asked.status == 200 and "Take 1 lead out" in asked.words and page.get(here).words.count("Ada Byron")
    assert page.post(f"{here}/bulk", {"action": "take_out", "ids": str(lead.id), "sure": "1", "typed": "7"}).status == 422
    page.post(f"{here}/bulk", {"action": "take_out", "ids": str(lead.id), "sure": "1", "typed": "1"})
    assert "No leads yet" in page.get(here).words


@pytest.mark.slow
def test_all_leads_of_a_campaign_that_match_are_acted_on_and_who_was_passed_over_is_said(
    page: PageClient, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign, _lead, mailbox, _walk = _running(client)
    for number in range(54):
        make_enrollment(campaign, make_lead(client, company="Other" if number % 2 else "Engines"), mailbox)
    make_enrollment(campaign, make_lead(client, company="Engines"), mailbox, status="replied", reason="replied")
    here = f"{BASE}/{campaign.id}/people"
    assert "All 56 leads that match" in page.get(here).words and "that match" not in page.get(f"{here}?q=Engines").words
    paused = page.post(f"{here}/bulk", {"action": "pause", "all": "1", "q": "Engines"})
    assert "28 leads are paused. Left out: 1 had ended already." in page.follow(paused).words
    assert _statuses(campaign) == {"paused": 28, "waiting": 27, "replied": 1}
    asked = page.post(f"{here}/bulk", {"action": "skip", "all": "1", "status": "waiting"})
    assert "Skip 27 leads for good?" in asked.words and _statuses(campaign)["waiting"] == 27
    monkeypatch.setattr(lead_work, "AT_ONCE", 10)  # more than a page waits for
    started = page.post(f"{here}/bulk", {"action": "skip", "all": "1", "status": "waiting", "typed": "27"})
    assert "27 leads are worked on" in page.follow(started).words
    work = lead_work.carry_out(PeopleFilter(client.id, campaign.id, "waiting"), "skip", None, 2**62, None)
    assert (work.changed, work.skipped, work.running) == (27, {}, False)
    assert _statuses(campaign) == {"paused": 28, "skipped": 27, "replied": 1}
    assert "27 leads are skipped." in page.get(here).words


def _statuses(campaign: Campaign) -> dict[str, int]:
    db.session.expire_all()
    found = Counter(walk.status for walk in db.session.query(Enrollment).filter_by(campaign_id=campaign.id))
    db.session.rollback()
    return dict(found)


def test_a_missing_value_is_filled_in_where_it_is_shown(page: PageClient, client: Client) -> None:
    campaign, lead, _, enrollment = _running(client)
    enrollment.status, enrollment.reason, enrollment.detail = "needs_attention", "needs_attention_variable", "title"
    db.session.commit()
    here = f"{BASE}/{campaign.id}/people"
    assert "Fill in" in page.get(f"{here}?status=needs_attention").words
    fixing = f"{here}/{enrollment.id}/fix"
    assert page.post(fixing, {"value-title": ""}).status == 422
    assert page.post(fixing, {"value-title": "Countess"}).status == 303
    db.session.expire_all()
    assert db.session.get_one(Lead, lead.id).title == "Countess"
    assert db.session.get_one(Enrollment, enrollment.id).status == "waiting"


def test_a_test_message_goes_to_the_person_who_asks(page: PageClient, client: Client) -> None:
    campaign, *_ = _running(client)
    step = db.session.query(Step).filter_by(campaign_id=campaign.id, parent_id=None).one()
    answer = page.post(f"{BASE}/{campaign.id}/steps/{step.id}/test", {"subject": "Hi {{ first_name }}", "text": "Text"})
    assert answer.status == 200 and "A test is on its way" in answer.words


@pytest.mark.parametrize("role", ["agent", "viewer"])
def test_who_may_not_launch_sees_no_button_and_is_refused(app: Flask, client: Client, role: str) -> None:
    campaign, *_ = _running(client, status="draft")
    page = PageClient(app).log_in(make_user(client, role))
    assert not [form for form in page.get(f"{BASE}/{campaign.id}/launch").all("form") if form.get("action", "").endswith("/launch")]
    assert page.post(f"{BASE}/{campaign.id}/launch").status == 403
    assert page.post(f"{BASE}/{campaign.id}/stop", {"typed": campaign.name}).status == 403


def test_an_agent_drafts_but_does_not_change_what_runs(app: Flask, client: Client) -> None:
    campaign, *_ = _running(client)
    page = PageClient(app).log_in(make_user(client, "agent"))
    assert page.post(f"{BASE}/{campaign.id}/name", {"name": "Mine"}).status == 403
    assert page.post(f"{BASE}/new", {"name": "Mine"}).status == 303


def test_another_clients_campaign_does_not_exist(page: PageClient) -> None:
    campaign = make_campaign(make_client(slug="other"))
    for path in ("", "/people", "/schedule", "/steps", "/launch"):
        assert page.get(f"{BASE}/{campaign.id}{path}").status == 404


def test_every_page_is_a_fragment_too(page: PageClient, client: Client) -> None:
    campaign, *_ = _running(client)
    for path in ("", "/people", "/schedule", "/steps"):
        found = page.get(f"{BASE}/{campaign.id}{path}", fragment=True)
        assert found.status == 200 and not found.all("nav", class_="sidebar"), json.dumps(path)


def test_a_running_campaign_shows_what_other_hours_move_before_they_count(page: PageClient, client: Client) -> None:
    campaign, _lead, mailbox, _walk = _running(client, windows=[{"weekday": day, "from": "09:00", "to": "17:00"} for day in range(5)])
    here = f"{BASE}/{campaign.id}/schedule"
    same = {**_week(timezone="UTC", weekend="reduced", weekend_percent="100", senders=[str(mailbox.id)])}
    assert page.post(here, {**same, "daily_cap": "50"}).status == 303, "what moves nothing is saved at once"
    later = {**same, **{f"day-{day}": "20:00-23:00" for day in range(5)}}
    asked = page.post(here, later)
    assert asked.status == 409 and "Nothing is changed yet" in asked.words and "Ada Byron" in asked.words
    assert asked.find("input", id="day-0").get("value") == "20:00-23:00"
    assert _last().windows[0]["from"] == "09:00"
    assert page.post(here, {**later, "confirmed": "1"}).status == 303
    assert _last().windows[0]["from"] == "20:00"


def test_a_schedule_that_somebody_else_saved_meanwhile_is_not_overwritten_unseen(page: PageClient, client: Client) -> None:
    page.post(f"{BASE}/new", {"name": "Two tabs"})
    here = f"{BASE}/{_last().id}/schedule"
    version = page.get(here).find("input", name="version").get("value")
    assert page.post(here, _week(daily_cap="10", version=version)).status == 303
    second = page.post(here, _week(daily_cap="20", version=version))
    assert second.status == 409 and "Somebody else saved" in second.words and second.find("input", id="daily_cap").get("value") == "20"
    assert _last().daily_cap == 10
    assert page.post(here, _week(daily_cap="20", version=second.find("input", name="version").get("value"))).status == 303


def test_enter_in_a_field_presses_what_the_form_is_for(page: PageClient, client: Client) -> None:
    """A browser presses the first button of a form: not a preset, which would overwrite the week."""
    page.post(f"{BASE}/new", {"name": "Enter"})
    schedule = page.get(f"{BASE}/{_last().id}/schedule").find("form", id="campaign-schedule")
    mailbox = page.get("/c/acme/mailboxes/new").find("form", id="new-mailbox")
    first = [next(button for button in form.iter() if button.tag.endswith("button") and button.get("type") == "submit") for form in (schedule, mailbox)]
    assert [(button.get("name"), button.get("value")) for button in first] == [("then", "stay"), (None, None)]


def test_a_message_that_somebody_else_saved_meanwhile_is_not_overwritten_unseen(page: PageClient, client: Client) -> None:
    campaign, *_ = _running(client)
    step = db.session.query(Step).filter_by(campaign_id=campaign.id, parent_id=None).one()
    here = f"{BASE}/{campaign.id}/steps/{step.id}"
    was = page.get(f"{BASE}/{campaign.id}/steps?step={step.id}").find("input", name="was").get("value")
    words = {"subject": "Hi", "delay_value": "0", "delay_unit": "days", "was": was}
    assert page.post(here, {**words, "text": "Theirs"}).status == 303
    mine = page.post(here, {**words, "text": "Mine"})
    assert mine.status == 409 and "Somebody else saved" in mine.words and "Mine" in mine.find("textarea", id="text").text
    assert db.session.get_one(Step, step.id, populate_existing=True).text == "Theirs"
    assert page.post(here, {**words, "text": "Mine", "was": mine.find("input", name="was").get("value")}).status == 303
