"""Two windows on the same thing: who saves second is shown what the first one stored, and neither is lost."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from app.core.extensions import db
from app.models import Campaign, Client, Lead, Mailbox, Step
from app.services import settings
from tests.factories import make_client, make_lead, make_mailbox, make_user
from tests.web.page_client import Page, PageClient


@pytest.fixture
def client(app: Flask) -> Client:
    return make_client(slug="acme", name="Acme", postal_address="1 Old Street")


@pytest.fixture
def page(app: Flask, client: Client) -> PageClient:
    return PageClient(app).log_in(make_user(client, name="Ada Admin"))


def fresh() -> None:
    db.session.rollback()
    db.session.expire_all()


def filled(page: Page, form_id: str) -> dict[str, Any]:
    """What a browser sends for this form as it stands."""
    values: dict[str, Any] = {}
    for field in page.find("form", id=form_id).iter():
        tag, name = str(field.tag).rsplit("}", 1)[-1], field.get("name")
        if not name or name == "csrf_token" or (field.get("type") == "checkbox" and field.get("checked") is None):
            continue
        if tag == "input":
            values[name] = field.get("value") or ""
        elif tag == "textarea":
            values[name] = (field.text or "").removeprefix("\n")
        elif tag == "select":
            chosen = [option.get("value") for option in field.iter() if option.get("selected") is not None]
            values[name] = chosen[0] if chosen else ""
    return values


def test_a_lead_two_people_change_keeps_what_the_first_one_saved(page: PageClient, client: Client) -> None:
    lead = make_lead(client, first_name="Ada", company="Old Ltd", custom={"city": "Porto"})
    here, key = f"/c/acme/leads/{lead.id}", lead.id
    window = filled(page.get(here), "lead-form")
    assert page.post(here, {**window, "company": "Theirs Ltd", "own.city": "Lisbon"}).status == 303
    mine = page.post(here, {**window, "first_name": "Adele"})
    assert mine.status == 409 and "Somebody else saved this meanwhile" in mine.words
    assert "Stored now: Ada" in mine.words and mine.words.count("Stored now") == 1, "only what I changed is a question"
    again = filled(mine, "lead-form")
    assert (again["first_name"], again["company"], again["own.city"]) == ("Adele", "Theirs Ltd", "Lisbon"), "what I typed is still there"
    fresh()
    assert db.session.get_one(Lead, key).company == "Theirs Ltd"
    assert page.post(here, again).status == 303
    fresh()
    saved = db.session.get_one(Lead, key)
    assert (saved.first_name, saved.company, saved.custom) == ("Adele", "Theirs Ltd", {"city": "Lisbon"})


def test_an_own_field_that_somebody_added_or_emptied_meanwhile_stays_so(page: PageClient, client: Client) -> None:
    lead = make_lead(client, first_name="Ada", custom={"city": "Porto", "size": "12"})
    here, key = f"/c/acme/leads/{lead.id}", lead.id
    window = filled(page.get(here), "lead-form")
    assert page.post(here, {**window, "own.city": "", "new-name": "plan", "new-value": "gold"}).status == 303
    mine = page.post(here, {**window, "own.size": "13"})
    assert mine.status == 409 and mine.words.count("Stored now") == 1
    assert page.post(here, filled(mine, "lead-form")).status == 303
    fresh()
    assert db.session.get_one(Lead, key).custom == {"size": "13", "plan": "gold"}


@pytest.mark.parametrize("prints", ["", "{", "[1]", "[" * 50_000], ids=["none", "broken", "a list", "deep"])
def test_a_form_that_does_not_say_what_it_was_filled_with_keeps_all_that_was_typed(page: PageClient, client: Client, prints: str) -> None:
    lead = make_lead(client, first_name="Ada", company="Old Ltd")
    here = f"/c/acme/leads/{lead.id}"
    window = filled(page.get(here), "lead-form")
    assert page.post(here, {**window, "company": "Theirs Ltd"}).status == 303
    mine = page.post(here, {**window, "first_name": "Adele", "loaded": prints})
    assert mine.status == 409 and "Stored now: Theirs Ltd" in mine.words and filled(mine, "lead-form")["company"] == "Old Ltd"


def test_a_refused_lead_does_not_take_in_what_was_saved_meanwhile(page: PageClient, client: Client) -> None:
    """The form that comes back with a wrong field still knows which lead it was drawn for."""
    lead = make_lead(client, first_name="Ada")
    here, key = f"/c/acme/leads/{lead.id}", lead.id
    window = filled(page.get(here), "lead-form")
    refused = page.post(here, {**window, "timezone": "Mars"})
    assert refused.status == 422
    assert page.post(here, {**window, "first_name": "Theirs"}).status == 303
    assert page.post(here, {**filled(refused, "lead-form"), "timezone": "", "first_name": "Mine"}).status == 409
    fresh()
    assert db.session.get_one(Lead, key).first_name == "Theirs"


def test_a_value_set_back_is_what_was_seen(page: PageClient, client: Client) -> None:
    lead = make_lead(client, first_name="Ada")
    here = f"/c/acme/leads/{lead.id}"
    window = filled(page.get(here), "lead-form")
    for name in ("Theirs", "Ada"):
        assert page.post(here, {**window, "version": filled(page.get(here), "lead-form")["version"], "first_name": name}).status == 303
    assert page.post(here, {**window, "first_name": "Mine"}).status == 303


def test_a_mailbox_two_people_change_keeps_what_the_first_one_saved(page: PageClient, client: Client) -> None:
    mailbox = make_mailbox(client, daily_cap=40)
    here, key = f"/c/acme/mailboxes/{mailbox.id}", mailbox.id
    window = filled(page.get(here), "mailbox-form")
    assert page.post(here, {**window, "daily_cap": "20", "show_all_mail": "1"}).status == 303
    mine = page.post(here, {**window, "display_name": "Mine", "daily_cap": "30"})
    assert mine.status == 409 and "Stored now: 20" in mine.words and "Stored now: yes" not in mine.words
    fresh()
    stored = db.session.get_one(Mailbox, key)
    assert (stored.daily_cap, stored.show_all_mail, stored.display_name) == (20, True, window["display_name"])
    assert page.post(here, filled(mine, "mailbox-form")).status == 303
    fresh()
    stored = db.session.get_one(Mailbox, key)
    assert (stored.display_name, stored.daily_cap) == ("Mine", 30)
    assert stored.show_all_mail is True, "a tick that I left alone is what the other one made of it"
    window = filled(page.get(here), "mailbox-form")
    assert page.post(here, {**window, "show_all_mail": "", "daily_cap": "31"}).status == 303
    ticked = page.post(here, {**window, "show_all_mail": "1", "daily_cap": "32"})
    assert ticked.status == 409 and "Stored now: 31" in ticked.words


def test_pausing_or_reading_a_mailbox_is_no_change_to_its_form(page: PageClient, client: Client) -> None:
    mailbox = make_mailbox(client)
    here = f"/c/acme/mailboxes/{mailbox.id}"
    window = filled(page.get(here), "mailbox-form")
    page.post(f"{here}/pause")
    assert page.post(here, {**window, "daily_cap": "21"}).status == 303


def test_settings_two_people_change_keep_what_the_first_one_saved(page: PageClient, client: Client) -> None:
    client_id = client.id
    window = filled(page.get("/c/acme/settings/"), "client-settings")
    assert page.post("/c/acme/settings/", {**window, "postal_address": "2 Their Street"}).status == 303
    mine = page.post("/c/acme/settings/", {**window, "name": "Acme Labs", "client_hour_cap": "300"})
    assert mine.status == 409 and "Stored now: Acme" in mine.words and mine.words.count("Stored now") == 2, mine.words
    fresh()
    assert settings.get("client", client_id, "client_hour_cap") != 300
    again = filled(mine, "client-settings")
    assert (again["name"], again["postal_address"], again["client_hour_cap"]) == ("Acme Labs", "2 Their Street", "300")
    assert page.post("/c/acme/settings/", again).status == 303, "once is enough to have seen it"
    fresh()
    row = db.session.get_one(Client, client_id)
    assert (row.name, row.postal_address, settings.get("client", client_id, "client_hour_cap")) == ("Acme Labs", "2 Their Street", 300)


def test_a_limit_that_somebody_changed_leaves_the_other_fields_of_the_form_unwritten(page: PageClient, client: Client) -> None:
    client_id = client.id
    window = filled(page.get("/c/acme/settings/"), "client-settings")
    assert page.post("/c/acme/settings/", {**window, "client_hour_cap": "300"}).status == 303
    mine = page.post("/c/acme/settings/", {**window, "name": "Acme Labs"})
    assert mine.status == 409 and "Stored now: Acme" in mine.words and mine.words.count("Stored now") == 1
    fresh()
    assert db.session.get_one(Client, client_id).name == "Acme"
    assert page.post("/c/acme/settings/", filled(mine, "client-settings")).status == 303
    fresh()
    assert settings.get("client", client_id, "client_hour_cap") == 300


def test_settings_of_the_installation_can_be_saved_by_who_has_seen_the_others(app: Flask, client: Client) -> None:
    operator = PageClient(app).log_in(make_user(is_operator=True))
    window = filled(operator.get("/operations/settings"), "instance-settings")
    assert operator.post("/operations/settings", {**window, "instance_minute_cap": "600", "api_minute_limit": "700"}).status == 303
    mine = operator.post("/operations/settings", {**window, "instance_minute_cap": "500"})
    assert mine.status == 409 and "Stored now: 600" in mine.words
    assert operator.post("/operations/settings", filled(mine, "instance-settings")).status == 303
    fresh()
    assert settings.get("instance", settings.INSTANCE, "instance_minute_cap") == 500
    assert settings.get("instance", settings.INSTANCE, "api_minute_limit") == 700


def _campaign(page: PageClient) -> tuple[str, int]:
    """(address, id) of a draft made on the pages."""
    page.post("/c/acme/campaigns/new", {"name": "Two windows"})
    found = db.session.query(Campaign).one()
    return f"/c/acme/campaigns/{found.id}", found.id


def test_a_schedule_saved_second_is_shown_what_the_first_one_stored(page: PageClient, client: Client) -> None:
    make_mailbox(client, address="ada@acme.test")
    here, key = _campaign(page)
    here += "/schedule"
    window = filled(page.get(here), "campaign-schedule")
    theirs = {"day-0": "10:00-12:00", "day-1": "", "weekend": "reduced", "weekend_percent": "40", "holidays_country": "PT", "daily_cap": "30",
              "closed_days": "2027-12-24", "allow_elsewhere": "1"}  # fmt: skip
    assert page.post(here, {**window, **theirs}).status == 303
    changed = {"day-0": "11:00-12:00", "day-1": "8:00-9:00", "weekend": "reduced", "weekend_percent": "50", "holidays_country": "ES",
               "closed_days": "2027-12-25"}  # fmt: skip
    mine = page.post(here, {**window, **changed, "daily_cap": "50", "day-2": "9-17"})
    assert mine.status == 409 and "Somebody else saved this meanwhile" in mine.words and "Load it again" not in mine.words
    for stored in ("10:00-12:00", "closed", "40", "Portugal", "30", "2027-12-24"):
        assert f"Stored now: {stored}" in mine.words, stored
    assert mine.words.count("Stored now") == 6, "hours that say the same in other words are no difference"
    again = filled(mine, "campaign-schedule")
    assert (again["daily_cap"], again["day-2"]) == ("50", "9-17"), "what I typed is still there"
    assert page.post(here, again).status == 303
    fresh()
    saved = db.session.get_one(Campaign, key)
    assert (saved.daily_cap, saved.weekend, saved.allow_elsewhere) == (50, {"mode": "reduced", "percent": 50}, True)


def test_a_schedule_saved_again_leaves_what_i_did_not_touch_as_the_first_one_stored_it(page: PageClient, client: Client) -> None:
    one, two = (make_mailbox(client, address=f"{name}@acme.test").id for name in ("ada", "bob"))
    here, key = _campaign(page)
    here += "/schedule"
    assert page.post(here, {**filled(page.get(here), "campaign-schedule"), "senders": [one]}).status == 303
    window = {**filled(page.get(here), "campaign-schedule"), "senders": [one]}
    theirs = {"day-0": "10:00-12:00", "weekend": "reduced", "weekend_percent": "40", "closed_days": "2027-12-24", "senders": [one, two]}
    assert page.post(here, {**window, **theirs}).status == 303
    mine = page.post(here, {**window, "daily_cap": "50"})
    assert mine.status == 409 and mine.words.count("Stored now") == 1
    assert page.post(here, {**filled(mine, "campaign-schedule"), "senders": [one, two]}).status == 303
    assert all(mine.find("input", id=f"sender-{number}").get("checked") is not None for number in (one, two))
    fresh()
    saved = db.session.get_one(Campaign, key)
    assert (saved.daily_cap, saved.weekend, saved.closed_days) == (50, {"mode": "reduced", "percent": 40}, ["2027-12-24"])
    assert saved.windows[0] == {"weekday": 0, "from": "10:00", "to": "12:00"}


@pytest.mark.parametrize("more", [{"day-0": "all day"}, {"preset": "mornings"}])
def test_a_schedule_that_comes_back_does_not_take_in_what_was_saved_meanwhile(page: PageClient, client: Client, more: dict[str, str]) -> None:
    """Refused for a wrong field, or redrawn with a preset: it still stands for the campaign it was drawn from."""
    here, key = _campaign(page)
    here += "/schedule"
    window = filled(page.get(here), "campaign-schedule")
    assert page.post(here, {**window, "daily_cap": "30"}).status == 303
    drawn = filled(page.post(here, {**window, **more}), "campaign-schedule")
    assert page.post(here, {**drawn, "day-0": "", "preset": "", "daily_cap": "50"}).status == 409
    fresh()
    assert db.session.get_one(Campaign, key).daily_cap == 30


def test_a_message_saved_second_is_shown_the_whole_one_that_is_stored(page: PageClient, client: Client) -> None:
    here, _key = _campaign(page)
    page.post(f"{here}/steps/starter", {"key": "first-contact"})
    step = db.session.query(Step).filter(Step.parent_id.isnot(None)).order_by(Step.id).first()
    assert step is not None
    form = f"step-{step.id}"
    window = filled(page.get(f"{here}/steps?step={step.id}"), form)
    save = f"{here}/steps/{step.id}"
    theirs = "Their words. " * 100
    assert page.post(save, {**window, "text": theirs, "delay_value": "5", "delay_unit": "days"}).status == 303
    looked = filled(page.post(save, {**window, "text": "Mine", "then": "preview"}), form)
    assert page.post(save, looked).status == 409, "a look at the preview does not take in what was saved meanwhile"
    both = page.post(save, {**window, "text": "Mine", "delay_value": "4"})
    assert both.status == 409 and "Stored now: 5 days later" in both.words
    mine = page.post(save, {**window, "text": "Mine"})
    assert mine.status == 409 and f"Stored now: {theirs.strip()}" in mine.words and mine.words.count("Stored now") == 1
    again = filled(mine, form)
    assert again["text"].strip() == "Mine" and (again["delay_value"], again["delay_unit"]) == ("5", "days"), "what I left alone is as it is stored"
    assert page.post(save, filled(mine, form)).status == 303


def test_a_refused_form_opens_at_what_it_says(page: PageClient, client: Client) -> None:
    """On a phone the form stands far below the top, where nothing would say that it was refused."""
    lead, mailbox = make_lead(client, first_name="Ada"), make_mailbox(client, address="ada@acme.test")
    lead_page, mailbox_page = f"/c/acme/leads/{lead.id}", f"/c/acme/mailboxes/{mailbox.id}"
    for here, form, wrong in [(lead_page, "lead-form", {"timezone": "Mars"}), (mailbox_page, "mailbox-form", {"daily_cap": "many"})]:
        refused = page.post(here, {**filled(page.get(here), form), **wrong})
        said = refused.find("div", class_="form-errors")
        assert refused.status == 422 and said.get("autofocus") is not None and said.get("tabindex") == "-1", here


def test_a_number_that_is_none_is_told_once(page: PageClient, client: Client) -> None:
    mailbox = make_mailbox(client, address="ada@acme.test")
    here = f"/c/acme/mailboxes/{mailbox.id}"
    window = filled(page.get(here), "mailbox-form")
    refused = page.post(here, {**window, "daily_cap": "-5"})
    assert refused.status == 422 and "Write a whole number from 0 to 100000." in refused.words and "Please fill this in" not in refused.words
    assert "Please fill this in" in page.post(here, {**window, "daily_cap": ""}).words


@pytest.mark.parametrize(
    ("wrong", "opened"),
    [
        ({"own_hours": "whenever"}, False), ({"save_to_sent": "maybe"}, False), ({"daily_cap": ""}, False), ({"smtp_port": "no"}, True),
        ({"imap_host": ""}, True),
    ],
)  # fmt: skip
def test_a_refused_mailbox_opens_only_the_fold_that_holds_what_is_wrong(page: PageClient, client: Client, wrong: dict[str, str], opened: bool) -> None:
    here = f"/c/acme/mailboxes/{make_mailbox(client).id}"
    refused = page.post(here, {**filled(page.get(here), "mailbox-form"), **wrong})
    fold = next(one for one in refused.find("form", id="mailbox-form").iter() if str(one.tag).endswith("details"))
    assert refused.status == 422 and (fold.get("open") is not None) is opened


@pytest.mark.parametrize("name", ["a b", ""])
def test_the_name_of_a_new_own_field_can_be_corrected(page: PageClient, client: Client, name: str) -> None:
    lead = make_lead(client, first_name="Ada")
    here = f"/c/acme/leads/{lead.id}"
    refused = page.post(here, {**filled(page.get(here), "lead-form"), "new-name": name, "new-value": "Porto"})
    again = filled(refused, "lead-form")
    assert refused.status == 422 and "Use letters, digits and underscores" in refused.words
    assert (again["new-name"], again["new-value"]) == (name, "Porto") and f"own.{name}" not in again
    assert page.post(here, {**again, "new-name": "city"}).status == 303
    fresh()
    assert db.session.query(Lead).one().custom == {"city": "Porto"}
