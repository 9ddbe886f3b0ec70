"""The trail: every change is a line, lines are sealed in a chain, and whoever touches one is found out."""

from __future__ import annotations

import psycopg
import pytest
from flask import Flask
from sqlalchemy import select, text

from app.core.db import transaction
from app.core.extensions import db
from app.models import AuditEntry, AuditSeal, Campaign
from app.services import audit, trail
from tests.api.api_client import ApiClient
from tests.factories import make_campaign, make_client, make_lead, make_mailbox, make_user
from tests.web.page_client import PageClient


def write(count: int, client_id: int | None = None) -> None:
    with transaction():
        for number in range(count):
            audit.record("campaign.update", "campaign", number, client_id=client_id, after={"name": f"n{number}"})


def seal() -> int:
    with transaction():
        return trail.seal()


def proof(chain: int | None = None) -> trail.Proof:
    with transaction():
        return trail.prove(chain)


def as_owner(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(statement)


def test_every_entry_is_sealed_once_in_the_chain_of_its_client(app: Flask) -> None:
    one, two = make_client(), make_client()
    write(3, one.id)
    write(2, two.id)
    write(1)
    assert proof().waiting == 6
    assert (seal(), seal()) == (6, 0)
    rows = db.session.execute(select(AuditSeal.chain, AuditSeal.number).order_by(AuditSeal.chain, AuditSeal.number)).all()
    assert [tuple(row) for row in rows] == [(0, 1), (one.id, 1), (one.id, 2), (one.id, 3), (two.id, 1), (two.id, 2)]
    db.session.rollback()
    assert proof() == trail.Proof(6, 0, ())
    write(2, one.id)
    seal()
    assert proof(one.id) == trail.Proof(5, 0, ())


@pytest.mark.parametrize(
    ("harm", "what", "number"),
    [
        ("UPDATE audit_entries SET after = '{\"name\": \"another\"}' WHERE id = 2", "changed", 2),
        ("UPDATE audit_entries SET user_id = NULL, at = at + interval '1 microsecond' WHERE id = 2", "changed", 2),
        ("DELETE FROM audit_seals WHERE entry_id = 2; DELETE FROM audit_entries WHERE id = 2", "gap", 3),
        ("UPDATE audit_seals SET digest = sha256('x') WHERE entry_id = 2", "changed", 2),
    ],
)
def test_whoever_changes_or_takes_out_a_line_is_found_out(app: Flask, database_url: str, harm: str, what: str, number: int) -> None:
    client = make_client()
    write(4, client.id)
    seal()
    assert proof().faults == ()
    as_owner(database_url, harm)
    found = proof(client.id).faults
    assert (found[0].what, found[0].number) == (what, number)


def test_the_product_itself_can_neither_change_nor_remove_a_line_or_a_seal(app: Flask, database_url: str) -> None:
    client = make_client()
    write(1, client.id)
    for role in ("emberpost_web", "emberpost_jobs"):
        for statement in (
            "UPDATE audit_entries SET action = 'x'", "DELETE FROM audit_entries", "INSERT INTO audit_seals VALUES (1, 1, 1, 1, 'x')",
            "UPDATE audit_seals SET number = 9", "DELETE FROM audit_seals",
        ):  # fmt: skip
            with psycopg.connect(database_url, autocommit=True) as connection:
                connection.execute(f"SET ROLE {role}")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)


def test_a_line_committed_late_is_sealed_late_and_nobody_waits_for_it(app: Flask, database_url: str) -> None:
    client = make_client()
    with psycopg.connect(database_url) as slow:
        slow.execute("INSERT INTO audit_entries (client_id, action, object_kind, object_id) VALUES (%s, 'a.b', 'c', '1')", [client.id])
        write(2, client.id)
        assert seal() == 2
        slow.commit()
    assert seal() == 1
    assert proof().faults == ()
    assert db.session.scalars(select(AuditSeal.entry_id).order_by(AuditSeal.number)).all() == [2, 3, 1]


def test_an_admin_reads_filters_and_proves_the_trail_and_an_agent_does_not(app: Flask) -> None:
    client = make_client(slug="acme")
    write(60, client.id)
    seal()
    admin = PageClient(app).log_in(make_user(client, name="Ada"))
    page = admin.get("/c/acme/settings/trail")
    assert "Campaign: update" in page.words and page.find("nav", class_="pager") is not None
    assert "All 60 sealed lines fit" in admin.get("/c/acme/settings/trail?prove=1").words
    assert "No line fits" in admin.get("/c/acme/settings/trail?kind=campaign&by=999999").words
    csv = admin.client.get("/c/acme/settings/trail.csv")
    db.session.rollback()
    assert db.session.scalars(select(AuditEntry.action).order_by(AuditEntry.id.desc())).first() == "trail.export", csv.status
    assert PageClient(app).log_in(make_user(client, "agent")).get("/c/acme/settings/trail").status == 403


def test_programs_read_and_prove_the_trail(app: Flask, database_url: str) -> None:
    client = make_client()
    write(3, client.id)
    seal()
    admin = ApiClient(app).log_in(make_user(client))
    lines = admin.get("/api/audit?kind=campaign&limit=2").json
    assert [one["seal"] for one in lines["items"]] == [3, 2] and lines["next_cursor"]
    assert admin.get(f"/api/audit?kind=campaign&cursor={lines['next_cursor']}").json["items"][0]["after"] == {"name": "n0"}
    assert admin.get("/api/audit/proof").json["faults"] == []
    as_owner(database_url, "UPDATE audit_entries SET action = 'campaign.stop' WHERE id = 1")
    assert [one["what"] for one in admin.get("/api/audit/proof").json["faults"]] == ["changed"]
    assert db.session.scalar(text("SELECT count(*) FROM audit_seals")) == 3


def test_lines_name_what_they_are_about_as_it_is_called_today(app: Flask) -> None:
    client, other = make_client(slug="acme"), make_client()
    mailbox, lead, foreign = make_mailbox(client, address="ada@acme.test"), make_lead(client, first_name="Bob", last_name="Hill"), make_lead(other)
    campaign = make_campaign(client, name="Autumn")
    lines = [("mailbox.pause", "mailbox", mailbox.id), ("lead.remove", "lead", f"{lead.id},987654"), ("lead.update", "lead", foreign.id),
             ("campaign.launch", "campaign", campaign.id), ("suppression.add", "suppression", "eve@far.example")]  # fmt: skip
    told = {("mailbox", str(mailbox.id)): "ada@acme.test", ("lead", f"{lead.id},987654"): "Bob Hill, 987654", ("lead", str(foreign.id)): "",
            ("campaign", str(campaign.id)): "Winter", ("suppression", "eve@far.example"): ""}  # fmt: skip
    with transaction():
        for action, kind, number in lines:
            audit.record(action, kind, number, client_id=client.id)
        db.session.get_one(Campaign, campaign.id).name = "Winter"
    ada = make_user(client, name="Ada Admin")
    shown = ApiClient(app).log_in(ada).get("/api/audit").json["items"]
    assert {(line["object_kind"], line["object_id"]): line["object_name"] for line in shown if line["object_kind"] != "user"} == told
    page = PageClient(app).log_in(ada)
    words = page.get("/c/acme/settings/trail").words
    assert "mailbox ada@acme.test" in words and "campaign Winter" in words and f"lead {foreign.id}" in words
    table = page.client.get("/c/acme/settings/trail.csv").get_data(as_text=True)
    assert f"mailbox {mailbox.id},ada@acme.test" in table


def test_the_trail_of_the_installation_names_people_and_nothing_of_a_client(app: Flask) -> None:
    lead, ada = make_lead(make_client()), make_user(is_operator=True, name="Ada Operator")
    with transaction():
        audit.record("user.password", "user", ada.id)
        audit.record("lead.update", "lead", lead.id)
    shown = ApiClient(app).log_in(ada).get("/api/admin/audit").json["items"]
    assert {(line["action"], line["object_name"]) for line in shown} >= {("user.password", "Ada Operator"), ("lead.update", "")}
