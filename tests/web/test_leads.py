"""Leads and imports on the pages, without scripts."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from app.models import Enrollment, Lead, LeadImport, Suppression
from app.services import lead_work
from jobs import imports as jobs
from tests.factories import make_campaign, make_client, make_enrollment, make_lead, make_mailbox, make_user
from tests.web.page_client import Page, PageClient

LIST = "/c/acme/leads/"
PEOPLE = (
    "E-Mail;Vorname;Firma;Stadt\n"
    "ann@firm.test;Ann;Acme;Porto\n"
    "ben@firm.test;Ben;=cmd|' /C calc'!A0;Lisbon\n"
    "nobody;Cy;Brook;Faro\n"
    "ann@firm.test;Twin;Acme;Porto\n"
)


@pytest.fixture
def page(app: Flask) -> PageClient:
    return PageClient(app).log_in(make_user(make_client(slug="acme")))


def fresh() -> None:
    db.session.rollback()
    db.session.expire_all()


def the_client() -> Any:
    from app.models import Client

    fresh()
    return db.session.query(Client).filter_by(slug="acme").one()


def leads_by_email() -> dict[str, Lead]:
    fresh()
    return {lead.email or "": lead for lead in db.session.query(Lead)}


def upload(page: PageClient, data: bytes, name: str = "people.csv") -> Page:
    page.get("/c/acme/imports/new")
    sent = page.post("/c/acme/imports/new", {"file": (io.BytesIO(data), name)}, content_type="multipart/form-data")
    return page.follow(sent)


def only_import() -> LeadImport:
    fresh()
    return db.session.query(LeadImport).one()


def chosen(row: LeadImport, **more: str) -> dict[str, str]:
    """What the mapping page sends when nothing is changed on it."""
    typed = {"mapped": "1", "existing": "update"}
    for at, name in enumerate(row.columns):
        field = row.mapping[name]
        typed[f"field-{at}"] = "custom" if field.startswith("custom.") else field
        typed[f"own-{at}"] = field.removeprefix("custom.") if field.startswith("custom.") else ""
    return {**typed, **more}


def test_what_was_done_to_the_leads_of_a_campaign_is_not_told_here(app: Flask) -> None:
    client = make_client(slug="acme")
    make_lead(client, first_name="Ada")
    page = PageClient(app).log_in(make_user(client))
    lead_work._tell(client.id, lead_work.Work("skip", 3, 3, 3, running=False))
    assert "Ada" in page.get(LIST).words
    lead_work._tell(client.id, lead_work.Work("skip", 3, 1, 1))
    assert "1 of 3 leads done" in page.get(LIST).words
    lead_work._tell(client.id, lead_work.Work("remove", 3, 3, 3, running=False))
    assert "3 leads are removed." in page.get(LIST).words


def test_a_file_is_mapped_tried_imported_and_undone(page: PageClient) -> None:
    assert "No leads yet" in page.get(LIST).words
    mapping = upload(page, PEOPLE.encode("utf-16"))
    row = only_import()
    path = f"/c/acme/imports/{row.id}"
    assert "Vorname" in mapping.words and "Porto" in mapping.words and "=cmd" in mapping.words
    selected = {element.get("name"): value(element) for element in mapping.all("select")}
    assert (selected["field-0"], selected["field-1"], selected["field-2"], selected["field-3"]) == ("email", "first_name", "company", "custom")
    tried = page.follow(page.post(f"{path}/start", chosen(row, action="trial")))
    assert "This was a trial" in tried.words and "The same address already stands in line 2" in tried.words
    assert not leads_by_email()
    done = page.follow(page.post(f"{path}/start", {"action": "run"}))
    assert "Done" in done.words and "Undo this import" in done.words
    found = leads_by_email()
    assert set(found) == {"ann@firm.test", "ben@firm.test"} and found["ann@firm.test"].custom == {"stadt": "Porto"}
    rejected = page.get(f"{path}/rejected.csv")
    assert "nobody" in rejected.text and "Firma" in rejected.text and rejected.text.count("\r\n") == 3
    assert "ann@firm.test" in page.get(f"{LIST}?import={row.id}").words
    undone = page.post(f"{path}/undo")
    assert "Being undone" in page.follow(undone).words
    jobs.undo(row.id)
    assert "2 leads are removed" in page.get(path).words and not leads_by_email()
    assert "Undone" in page.get("/c/acme/imports/").words


def value(select: Any) -> str:
    return next((option.get("value") for option in select.iter("option") if option.get("selected") is not None), "")


def test_a_large_file_runs_in_the_background_and_its_page_shows_the_progress(page: PageClient) -> None:
    rows = "email,name\n" + "".join(f"p{n}@firm.test,Person {n}\n" for n in range(2_100))
    upload(page, rows.encode())
    row = only_import()
    running = page.follow(page.post(f"/c/acme/imports/{row.id}/start", chosen(row, action="run")))
    assert "Running" in running.words and running.all("progress")
    assert running.find("div", id="import-state").get("hx-trigger", "").startswith(f"import-{row.id} from:body")
    jobs.run(row.id)
    part = page.get(f"/c/acme/imports/{row.id}", fragment=True)
    assert "2100" in part.words and "Done" in part.words and not part.all("progress")


def test_columns_that_do_not_fit_are_said_beside_them_and_nothing_runs(page: PageClient) -> None:
    upload(page, PEOPLE.encode())
    row = only_import()
    path = f"/c/acme/imports/{row.id}/start"
    twice = page.post(path, chosen(row, **{"field-1": "email", "action": "run"}))
    assert twice.status == 422 and "two columns cannot be one field" in twice.words
    assert value(twice.find("select", name="field-1")) == "email"
    none = page.post(path, chosen(row, **{"field-0": "", "action": "run"}))
    assert none.status == 422 and "which column holds the e-mail address" in none.words
    assert only_import().status == "uploaded" and not leads_by_email()


def test_a_file_that_is_no_table_is_refused_in_words(page: PageClient) -> None:
    page.get("/c/acme/imports/new")
    wrong = page.post("/c/acme/imports/new", {"file": (io.BytesIO(b""), "x.csv")}, content_type="multipart/form-data")
    assert wrong.status == 422 and wrong.all("p", class_="field-error")
    assert page.post("/c/acme/imports/new", {}, content_type="multipart/form-data").status == 422


def test_a_lead_is_added_changed_and_removed_with_its_own_fields(page: PageClient) -> None:
    page.get(f"{LIST}new")
    refused = page.post(f"{LIST}new", {"email": "no address", "first_name": "Ada"})
    assert refused.status == 422 and "Ada" in refused.text
    added = page.post(f"{LIST}new", {"email": "ada@firm.test", "first_name": "Ada", "new-name": "city", "new-value": "Porto"})
    lead = leads_by_email()["ada@firm.test"]
    shown = page.follow(added)
    assert lead.custom == {"city": "Porto"} and shown.find("input", name="own.city").get("value") == "Porto"
    known = page.post(f"{LIST}new", {"email": "ADA@firm.test"})
    assert known.status == 422 and f"/leads/{lead.id}" in known.text
    path = f"{LIST}{lead.id}"
    page.post(path, {"email": "ada@firm.test", "first_name": "Ada", "company": "Engines", "own.city": "", "new-name": "team", "new-value": "7"})
    lead = leads_by_email()["ada@firm.test"]
    assert (lead.company, lead.custom) == ("Engines", {"team": "7"})
    bad = page.post(path, {"email": "ada@firm.test", "company": "x\r\nBcc: all@firm.test", "new-name": "no good", "new-value": "1"})
    assert bad.status == 422 and leads_by_email()["ada@firm.test"].company == "Engines"
    page.post(f"{path}/remove")
    assert not leads_by_email() and page.get(path).status == 404


def test_filters_stand_in_the_address_and_pages_follow_each_other(page: PageClient) -> None:
    client = the_client()
    for number in range(60):
        make_lead(client, email=f"p{number:02}@firm.test", first_name=f"Person{number:02}", company="Acme" if number % 2 else "")
    first = page.get(LIST)
    assert "p59@" in first.words and "p09@" not in first.words
    older = next(link.get("href") for link in first.all("a", rel="next"))
    second = page.get(str(older))
    assert "p09@" in second.words and "p10@" not in second.words
    missing = page.get(f"{LIST}?missing=company&q=person1")
    assert "Without Company" in missing.words and "p10@" in missing.words and "p11@" not in missing.words
    assert page.get(f"{LIST}?state=nonsense&campaign=x&missing=custom.'%3B--&before=²").status == 200


def test_ticked_leads_enter_a_campaign_and_all_that_match_are_never_written_to_again(page: PageClient) -> None:
    client = the_client()
    campaign = make_campaign(client, mailboxes=(make_mailbox(client),))
    some = [make_lead(client, email=f"p{number}@firm.test", company="Acme") for number in range(3)]
    make_lead(client, email="other@else.test", company="Brook")
    ids, campaign_id = [lead.id for lead in some], campaign.id
    page.get(LIST)
    page.post(f"{LIST}bulk", {"ids": [str(ids[0]), str(ids[1])], "to": str(campaign_id), "action": "add"})
    fresh()
    assert {row.lead_id for row in db.session.query(Enrollment)} == set(ids[:2])
    asked = page.post(f"{LIST}bulk", {"all": "1", "q": "acme", "action": "suppress"})
    assert asked.status == 200 and "Never write to 3 leads again?" in asked.words and db.session.query(Suppression).count() == 0
    page.post(f"{LIST}bulk", {"all": "1", "q": "acme", "action": "suppress", "sure": "1", "typed": "3"})
    fresh()
    assert sorted(row.email for row in db.session.query(Suppression)) == ["p0@firm.test", "p1@firm.test", "p2@firm.test"]
    assert "other@else.test" not in page.get(f"{LIST}?state=suppressed").words


def test_removing_many_is_asked_first_and_leaves_those_with_a_history(page: PageClient) -> None:
    client = the_client()
    gone = make_lead(client, email="gone@firm.test").id
    from app.core import clock

    stays = make_lead(client, email="stays@firm.test", contacted_at=clock.now()).id
    page.get(LIST)
    wanted = {"ids": [str(gone), str(stays)], "action": "remove"}
    assert "Remove 2 leads?" in page.post(f"{LIST}bulk", wanted).words
    assert page.post(f"{LIST}bulk", {**wanted, "sure": "1", "typed": "3"}).status == 422 and len(leads_by_email()) == 2
    done = page.post(f"{LIST}bulk", {**wanted, "sure": "1", "typed": "2"})
    assert set(leads_by_email()) == {"stays@firm.test"}
    assert "1 lead is removed. 1 stays" in page.follow(done).words


@pytest.fixture
def crowd(page: PageClient, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forty-five leads where a press takes ten: what twenty thousand are to the product."""
    from app.core.bell import bell
    from app.core.queue import QueueName, redis_queue

    monkeypatch.setattr(lead_work, "AT_ONCE", 10)
    monkeypatch.setattr(lead_work, "BATCHES", dict.fromkeys(lead_work.BATCHES, 7))
    client = the_client()
    bell().connection.delete(lead_work._key(client.id))
    redis_queue(QueueName.BULK).empty()
    for number in range(45):
        make_lead(client, email=f"p{number:02}@firm.test", company="Acme")
    make_lead(client, email="other@else.test", company="Brook")
    page.get(LIST)
    return client


def carried_out() -> None:
    """What the worker does with the one job that waits."""
    from app.core.queue import QueueName, redis_queue
    from jobs import leads as lead_jobs

    (job,) = redis_queue(QueueName.BULK).get_jobs()
    assert job.func_name == "jobs.leads.act_on_many"
    lead_jobs.act_on_many(*job.args)
    job.delete()


@pytest.mark.parametrize("action", ["add", "suppress", "remove"])
def test_everybody_who_matches_is_taken_once_however_many_they_are(page: PageClient, crowd: Any, action: str) -> None:
    campaign = make_campaign(crowd, mailboxes=(make_mailbox(crowd),))
    wanted = {"all": "1", "q": "acme", "action": action, "to": str(campaign.id)}
    if action != "add":
        asked = page.post(f"{LIST}bulk", wanted)
        assert "45 leads" in asked.words and len(asked.text) < 60_000, "the ids are not carried through the page"
    pressed = page.post(f"{LIST}bulk", {**wanted, "sure": "1", "typed": "45"})
    assert pressed.status == 303
    shown = page.follow(pressed)
    assert "0 of 45 leads done" in shown.words and shown.all("progress")
    assert "still running" in page.follow(page.post(f"{LIST}bulk", {**wanted, "sure": "1", "typed": "45"})).words
    late = make_lead(crowd, email="late@firm.test", company="Acme").id
    carried_out()
    fresh()
    if action == "add":
        assert db.session.query(Enrollment).count() == 45 and db.session.query(Enrollment).filter_by(lead_id=late).count() == 0
    elif action == "suppress":
        assert {row.email for row in db.session.query(Suppression)} == {f"p{number:02}@firm.test" for number in range(45)}
    else:
        assert set(leads_by_email()) == {"other@else.test", "late@firm.test"}
    end = page.get(LIST).words
    assert {"add": "45 leads", "suppress": "45 addresses are never written to again", "remove": "45 leads are removed"}[action] in end
    assert "leads done" not in end


def test_a_work_on_many_that_is_refused_or_repeated_says_so(page: PageClient, crowd: Any) -> None:
    campaign = make_campaign(crowd, mailboxes=(make_mailbox(crowd),))
    wanted = {"all": "1", "q": "acme", "action": "add", "to": str(campaign.id)}
    page.post(f"{LIST}bulk", wanted)
    carried_out()
    page.post(f"{LIST}bulk", wanted)
    carried_out()
    fresh()
    assert db.session.query(Enrollment).count() == 45 and "45 already in" in page.get(LIST).words
    page.post(f"{LIST}bulk", wanted)
    db.session.execute(text("UPDATE campaigns SET status = 'stopped'"))
    db.session.commit()
    carried_out()
    assert "was stopped for good" in page.get(LIST).words
    assert "Choose a campaign first" in page.follow(page.post(f"{LIST}bulk", {**wanted, "to": ""})).words
    assert page.post(f"{LIST}bulk", {**wanted, "to": "999999"}).status == 404


def test_the_export_holds_what_the_filter_shows_and_no_formula(page: PageClient) -> None:
    client = the_client()
    make_lead(client, email="a@firm.test", company="=HYPERLINK(1)", custom={"city": "@SUM(A1)"})
    make_lead(client, email="b@firm.test", company="Brook")
    answer = page.get(f"{LIST}export.csv?q=a@firm")
    assert answer.response.mimetype == "text/csv" and "'=HYPERLINK(1)" in answer.text and "'@SUM(A1)" in answer.text
    assert "b@firm.test" not in answer.text and "custom.city" in answer.text


def test_a_lead_shows_its_campaigns_and_what_happened(page: PageClient) -> None:
    client = the_client()
    mailbox = make_mailbox(client)
    campaign, lead = make_campaign(client, mailboxes=(mailbox,), name="Autumn"), make_lead(client, email="a@firm.test")
    make_enrollment(campaign, lead, mailbox)
    shown = page.get(f"{LIST}{lead.id}")
    assert "Autumn" in shown.words and "Nothing has happened" in shown.words


def test_who_may_not_sees_no_button_and_is_refused(app: Flask) -> None:
    client = make_client(slug="acme")
    lead_id = make_lead(client, email="a@firm.test").id
    viewer = PageClient(app).log_in(make_user(client, role="viewer"))
    agent = PageClient(app).log_in(make_user(client, role="agent"))
    seen = viewer.get(LIST)
    assert "a@firm.test" in seen.words and not seen.all("input", name="ids") and "Import leads" not in seen.words
    assert viewer.get(f"{LIST}export.csv").status == 403 and viewer.post(f"{LIST}{lead_id}", {"email": "b@firm.test"}).status == 403
    agent.get(LIST)
    assert agent.post(f"{LIST}bulk", {"ids": [str(lead_id)], "to": "1", "action": "add"}).status == 403
    assert agent.get("/c/acme/imports/new").status == 403
    stranger = PageClient(app).log_in(make_user(make_client(slug="other")))
    assert stranger.get(f"/c/other/leads/{lead_id}").status == 404
