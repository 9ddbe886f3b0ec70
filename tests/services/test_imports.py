"""Imports: from a file to leads, with reasons for what is not taken; trials, duplicates, resuming after a death, and undoing."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from openpyxl import Workbook
from sqlalchemy import select, text

from app.core import clock
from app.core.db import Scope, transaction
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.models import Client, ImportReject, Lead, LeadImport
from app.services import importing, leads
from app.services.importing import running
from jobs import imports as jobs
from tests.factories import make_campaign, make_client, make_delivery, make_enrollment, make_lead, make_mailbox

PEOPLE = "Email;Vorname;Nachname;Firma;Icebreaker\nada@x.com;Ada;Lovelace;Engines Ltd;saw your talk\ngrace@x.com;Grace;Hopper;Navy;\n"


@pytest.fixture
def client(app: Flask) -> Client:
    return make_client()


def take(client: Client, data: str | bytes, *, dry_run: bool = False, existing: str | None = None, **options: Any) -> LeadImport:
    """Upload and run at once."""
    raw = data.encode() if isinstance(data, str) else data
    with transaction(Scope(client_id=client.id)):
        row = importing.upload(client.id, options.pop("filename", "people.csv"), raw, by=None, sheet=options.pop("sheet", ""))
        importing.start(row, mapping=options.pop("mapping", None), existing=existing, dry_run=dry_run, enqueue=False)
        importing.run_now(row, allow_reserved=False)
    return row


def emails(client: Client) -> list[str]:
    return list(db.session.scalars(select(Lead.email).where(Lead.client_id == client.id).order_by(Lead.email_key)))


def lead(client: Client, email: str) -> Lead:
    db.session.expire_all()
    return db.session.scalars(select(Lead).where(Lead.client_id == client.id, Lead.email_key == email)).one()


def rejects(row: LeadImport) -> dict[int, str]:
    rows = db.session.scalars(select(ImportReject).where(ImportReject.import_id == row.id).order_by(ImportReject.line))
    return {found.line: found.reason for found in rows}


def figures(row: LeadImport) -> tuple[int, int, int]:
    return row.created, row.updated, row.skipped


def test_a_german_file_becomes_leads_without_a_word_about_its_columns(client: Client) -> None:
    row = take(client, PEOPLE)
    assert figures(row) == (2, 0, 0) and row.status == "done"
    ada = lead(client, "ada@x.com")
    assert (ada.first_name, ada.last_name, ada.company, ada.custom) == ("Ada", "Lovelace", "Engines Ltd", {"icebreaker": "saw your talk"})
    assert lead(client, "grace@x.com").custom == {}
    assert ada.source_import_id == row.id


def test_each_row_that_is_not_taken_has_its_line_and_its_reason(client: Client) -> None:
    row = take(
        client,
        "email,first_name,company\nada@x.com,Ada,A\nno address,Bob,B\n,Carl,C\nADA@x.com,Ada again,A\n"
        '"dan@x.com","Dan\r\nBcc: all@x.com",D\n'
        "eve@x.com,Eve,E,one cell too many\nfay@x.com,=?utf-8?q?Fay?=,F\ngus@localhost,Gus,G\nhal@x.com,Hal\n",
    )
    assert emails(client) == ["ada@x.com", "hal@x.com"]
    found = rejects(row)
    assert figures(row) == (2, 0, 7) and list(found) == [3, 4, 5, 6, 8, 9, 10]
    assert "no @" in found[3] and "no e-mail address" in found[4] and "line 2" in found[5] and "line break" in found[6]
    assert "4 cells, the heading has 3" in found[8] and "encoded word" in found[9]


def test_a_trial_says_exactly_what_the_run_will_do_and_leaves_nothing(client: Client) -> None:
    make_lead(client, email="ada@x.com", first_name="A.")
    said = take(client, PEOPLE + "broken;;;;\n", dry_run=True)
    assert figures(said) == (1, 1, 1) and emails(client) == ["ada@x.com"]
    assert lead(client, "ada@x.com").first_name == "A."
    assert db.session.execute(text("SELECT count(*) FROM import_changes")).scalar() == 0
    with transaction(Scope(client_id=client.id)):
        row = db.session.get_one(LeadImport, said.id)
        importing.start(row, dry_run=False, enqueue=False)
        importing.run_now(row, allow_reserved=False)
    assert figures(row) == (1, 1, 1) and len(rejects(row)) == 1


@pytest.mark.parametrize(
    ("existing", "name", "company"), [("update", "Ada", "Engines Ltd"), ("fill", "A.", "Engines Ltd"), ("skip", "A.", "")]
)
def test_known_leads_are_updated_filled_or_left_alone(client: Client, existing: str, name: str, company: str) -> None:
    make_lead(client, email="ada@x.com", first_name="A.", company="", custom={"city": "Porto"})
    row = take(client, PEOPLE, existing=existing)
    ada = lead(client, "ada@x.com")
    assert (ada.first_name, ada.company, ada.custom["city"]) == (name, company, "Porto")
    assert figures(row) == ((1, 0, 1) if existing == "skip" else (1, 1, 0))


def test_an_empty_cell_never_clears_what_is_known(client: Client) -> None:
    make_lead(client, email="grace@x.com", first_name="Grace", title="Admiral", custom={"icebreaker": "hello"})
    take(client, "email,first_name,title,icebreaker\ngrace@x.com,,,\n")
    grace = lead(client, "grace@x.com")
    assert (grace.first_name, grace.title, grace.custom) == ("Grace", "Admiral", {"icebreaker": "hello"})


def test_the_same_person_in_another_client_is_another_lead(client: Client) -> None:
    other = make_client()
    take(client, PEOPLE)
    assert figures(take(other, PEOPLE)) == (2, 0, 0)


@pytest.mark.parametrize(
    "raw",
    [
        PEOPLE.encode("utf-16"),
        PEOPLE.encode("utf-16-le"),
        b"\xef\xbb\xbf" + PEOPLE.replace(";", ",").encode(),
        ("sep=;\r\n" + PEOPLE.replace("\n", "\r\n")).encode("cp1252"),
        PEOPLE.replace(";", "\t").encode(),
        PEOPLE.replace("\n", ";;;\r\n").encode(),
    ],
)
def test_every_way_a_spreadsheet_saves_gives_the_same_leads(client: Client, raw: bytes) -> None:
    assert figures(take(client, raw)) == (2, 0, 0)
    assert lead(client, "ada@x.com").company == "Engines Ltd"


def workbook(**sheets: list[list[Any]]) -> bytes:
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for cells in rows:
            sheet.append(cells)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_a_workbook_is_read_from_the_sheet_that_was_chosen(client: Client) -> None:
    data = workbook(Notes=[["nothing"], ["here"]], People=[["E-Mail", "Prénom", "Employees"], ["ada@x.com", "Ada", 42.0]])
    row = take(client, data, sheet="People", filename="people.xlsx")
    assert figures(row) == (1, 0, 0)
    assert lead(client, "ada@x.com").custom == {"employees": "42"}
    with pytest.raises(Invalid, match="no sheet named"), transaction(Scope(client_id=client.id)):
        importing.upload(client.id, "people.xlsx", data, by=None, sheet="Nobody")


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 not a zip at all", b"\xd0\xcf\x11\xe0 old", b"%PDF-1.7", b"\n\n\n"])
def test_what_is_no_table_is_refused_with_what_to_do(client: Client, raw: bytes) -> None:
    with pytest.raises(Invalid) as refused, transaction(Scope(client_id=client.id)):
        importing.upload(client.id, "x.csv", raw, by=None)
    assert refused.value.details["file"]


def test_a_mapping_that_cannot_be_used_is_refused_by_column(client: Client) -> None:
    unknown = ({"Email": "email", "Nobody": "company"}, "mapping.Nobody")
    for mapping, key in (unknown, ({"Email": "password"}, "mapping.Email"), ({}, "mapping.email")):
        with pytest.raises(Invalid) as refused:
            take(client, PEOPLE, mapping=mapping)
        assert key in refused.value.details
    assert emails(client) == []


def start_running(client: Client, count: int) -> int:
    rows = "".join(f"p{n}@x.com,P{n}\n" for n in range(count))
    with transaction(Scope(client_id=client.id)):
        row = importing.upload(client.id, "many.csv", f"email,first_name\n{rows}p0@x.com,twice\n".encode(), by=None)
        importing.start(row, dry_run=False, enqueue=False)
        return row.id


def test_an_import_whose_process_died_goes_on_where_it_was(client: Client, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "BATCH", 10)
    import_id = start_running(client, 25)

    class Killed(BaseException):
        pass

    real, calls = running.merging.merge, []

    def dies(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            real(*arguments)
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(running.merging, "merge", dies)
    with pytest.raises(Killed):
        jobs.run(import_id)
    assert len(emails(client)) == 10
    jobs.run(import_id)
    row = db.session.get_one(LeadImport, import_id)
    assert figures(row) == (25, 0, 1) and row.status == "done" and row.done_rows == row.total_rows == 26
    assert "line 2" in rejects(row)[27]
    jobs.run(import_id)
    assert len(emails(client)) == 25


def test_an_import_that_cannot_go_on_says_so_keeps_what_it_did_and_goes_on_when_started_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "BATCH", 10)
    import_id, client_id = start_running(client, 25), client.id
    real, calls = running.merging.merge, []

    def breaks(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("a fault of ours")
        return real(*arguments)

    monkeypatch.setattr(running.merging, "merge", breaks)
    jobs.run(import_id)
    client = db.session.get_one(Client, client_id)
    row = db.session.get_one(LeadImport, import_id)
    assert row.status == "failed" and "start it again" in row.error and len(emails(client)) == 10
    with transaction(Scope(client_id=client.id)):
        importing.start(db.session.get_one(LeadImport, import_id), dry_run=False, enqueue=False)
    jobs.run(import_id)
    row = db.session.get_one(LeadImport, import_id)
    assert (row.status, row.error) == ("done", "") and figures(row) == (25, 0, 1)


def test_a_lost_job_is_found_by_the_sweep(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    import_id = start_running(client, 3)
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(jobs, "enqueue", lambda job, *arguments, **_options: asked.append((job, *arguments)))
    jobs.sweep()
    assert asked == [("jobs.imports.run", import_id)]


def undo(row_id: int) -> LeadImport:
    with transaction():
        importing.begin_undo(db.session.get_one(LeadImport, row_id), enqueue=False)
    jobs.undo(row_id)
    return db.session.get_one(LeadImport, row_id)


def test_undoing_takes_away_what_was_created_and_gives_back_what_was_changed(client: Client) -> None:
    make_lead(client, email="ada@x.com", first_name="A.", company="Old", timezone="UTC", custom={"city": "Porto", "icebreaker": "old"})
    row = take(client, PEOPLE)
    row = undo(row.id)
    assert row.status == "undone" and emails(client) == ["ada@x.com"]
    ada = lead(client, "ada@x.com")
    assert (ada.first_name, ada.last_name, ada.company, ada.custom) == ("A.", "", "Old", {"city": "Porto", "icebreaker": "old"})
    assert row.options["undo"] == {"removed": 1, "restored": 1}


def test_undoing_leaves_what_a_person_changed_since(client: Client) -> None:
    make_lead(client, email="ada@x.com", first_name="A.", company="Old")
    row_id = take(client, PEOPLE).id
    with transaction(Scope(client_id=client.id)):
        leads.change_lead(lead(client, "ada@x.com"), {"first_name": "Augusta"}, allow_reserved=False, by=None)
    undo(row_id)
    ada = lead(client, "ada@x.com")
    assert (ada.first_name, ada.company, ada.custom) == ("Augusta", "Old", {})


def test_contacted_leads_stay_and_are_listed_and_waiting_ones_go_with_their_walk(client: Client) -> None:
    row_id = take(client, PEOPLE + "dan@x.com;Dan;;;\n").id
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    ada, grace, dan = (lead(client, f"{name}@x.com") for name in ("ada", "grace", "dan"))
    sent = make_enrollment(campaign, ada, mailbox)
    make_delivery(sent, ada, mailbox, status="sent", mime=b"x", sent_at=clock.now(), attempts=1)
    make_delivery(make_enrollment(campaign, grace, mailbox), grace, mailbox)
    dan.contacted_at = clock.now()
    db.session.commit()
    row = undo(row_id)
    assert emails(client) == ["ada@x.com", "dan@x.com"]
    kept = db.session.execute(text("SELECT lead_id FROM import_changes WHERE import_id = :i ORDER BY lead_id"), {"i": row.id})
    assert list(kept.scalars()) == [ada.id, dan.id] and row.options["undo"]["removed"] == 1
    assert db.session.execute(text("SELECT count(*) FROM enrollments")).scalar() == 1


def test_an_undo_that_died_goes_on_and_a_second_one_is_refused(client: Client) -> None:
    row_id = take(client, PEOPLE).id
    with transaction():
        importing.begin_undo(db.session.get_one(LeadImport, row_id), enqueue=False)
    jobs.undo(row_id)
    jobs.undo(row_id)
    assert emails(client) == []
    with pytest.raises(Conflict, match="already been undone"), transaction():
        importing.begin_undo(db.session.get_one(LeadImport, row_id), enqueue=False)


def test_after_thirty_days_nothing_is_undone(client: Client) -> None:
    row = take(client, PEOPLE)
    assert importing.undoable(row, row.finished_at + timedelta(days=30))
    assert not importing.undoable(row, row.finished_at + timedelta(days=30, seconds=1))
    assert not importing.undoable(take(client, PEOPLE, dry_run=True))


def test_a_lead_another_import_names_too_stays(client: Client) -> None:
    first = take(client, PEOPLE).id
    take(client, "email,company\nada@x.com,New Ltd\n")
    undo(first)
    assert emails(client) == ["ada@x.com"]


HOSTILE = [
    "Ada\r\nBcc: evil@x.com", "Ada\x00", "Ada\x1b[31m", "Ada\u2028Bcc: x", "=?utf-8?q?a=0d=0aBcc:x?=", '=HYPERLINK("http://x")', "+1+1",
    "@SUM(A1)", "-2+3", "{{ config }}", "{% for x in y %}", "${7*7}", "<script>alert(1)</script>", "'; DROP TABLE leads; --", "\\.",
    "\\N", "a\tb", "\ufeff=1",
]  # fmt: skip


@pytest.mark.parametrize("payload", HOSTILE)
def test_no_payload_is_more_than_text(client: Client, payload: str) -> None:
    out = io.StringIO()
    import csv

    csv.writer(out).writerows([["email", "first_name", "company", "note"], ["ada@x.com", payload, payload, payload]])
    row = take(client, out.getvalue())
    assert figures(row) in {(1, 0, 0), (0, 0, 1)}
    if row.created:
        ada = lead(client, "ada@x.com")
        assert ada.first_name == payload.strip("\ufeff").replace("\t", " ") and ada.first_name.isprintable() and "=?" not in ada.first_name
        json.dumps(ada.custom)
    else:
        assert rejects(row)[2]
