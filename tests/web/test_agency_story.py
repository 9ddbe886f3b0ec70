"""The story an agency needs to tell: a colleague invited, an agent with one client, and proof of who launched what."""

from __future__ import annotations

import csv
import io
import json

import pytest
from flask import Flask

from app.core.db import transaction
from app.models import Client, Membership
from app.services import trail
from tests.factories import make_client, make_lead, make_mailbox, make_user, save
from tests.web.page_client import PageClient
from tests.web.test_campaigns import _last, _week
from tests.web.test_people import PASSWORD, link_in


def accept(app: Flask, link: str) -> PageClient:
    guest = PageClient(app)
    guest.get(link)
    assert guest.post(link, {"password": PASSWORD}).status == 303
    guest.get("/profile")
    return guest


def prepared(page: PageClient, client: Client, name: str) -> tuple[str, str]:
    """A campaign drafted on the pages, and a lead for it: (address, id of the lead)."""
    mailbox = make_mailbox(client)
    lead = make_lead(client, first_name=name)
    base = f"/c/{client.slug}/campaigns"
    page.get(f"{base}/")
    page.post(f"{base}/new", {"name": name})
    here = f"{base}/{_last().id}"
    page.post(f"{here}/steps/starter", {"key": "first-contact"})
    page.post(f"{here}/schedule", {**_week(), "senders": [str(mailbox.id)], "then": "next"})
    return here, str(lead.id)


@pytest.mark.slow
def test_an_admin_invites_a_colleague_gives_an_agent_one_client_and_proves_who_launched_what(app: Flask) -> None:
    acme, globex = make_client(slug="acme", name="Acme"), make_client(slug="globex", name="Globex")
    owner = make_user(acme, name="Olga Owner", email="olga@agency.test")

    save(Membership(client_id=globex.id, user_id=owner.id, role="admin"))
    olga = PageClient(app).log_in(owner)
    olga.get("/c/acme/settings/people")
    people = {"kim@agency.test": ("Kim Colleague", "admin"), "ali@agency.test": ("Ali Agent", "agent")}
    links = {
        email: link_in(olga.post("/c/acme/settings/people", {"email": email, "name": name, "role": role}))
        for email, (name, role) in people.items()
    }
    kim, ali = accept(app, links["kim@agency.test"]), accept(app, links["ali@agency.test"])

    assert "Globex" in olga.get("/clients").words, "who works for several clients chooses"
    assert olga.get("/c/acme/campaigns/").all("a", href="/c/globex/"), "and changes between them from any page"
    assert ali.get("/").location == "/c/acme/" and "Globex" not in ali.get("/clients").words
    assert ali.get("/c/acme/inbox/").status == 200
    for path in ("", "inbox/", "campaigns/", "settings/people"):
        assert ali.get(f"/c/globex/{path}").status == 404, "one client, and the other does not exist"

    (spring, lena), (autumn, otto) = prepared(ali, acme, "Spring"), prepared(olga, acme, "Autumn")
    for here, lead in ((spring, lena), (autumn, otto)):
        olga.get(f"{here}/people/add")
        assert olga.post(f"{here}/people/add", {"action": "ticked", "ids": [lead]}).status == 303
    assert ali.post(f"{spring}/launch").status == 403, "an agent drafts and does not launch"
    kim.get(f"{spring}/launch")
    assert kim.post(f"{spring}/launch").status == 303
    olga.get(f"{autumn}/launch")
    started = olga.post(f"{autumn}/launch")

    with transaction():
        trail.seal()
    page = kim.get("/c/acme/settings/trail?kind=campaign&prove=1")
    assert "sealed lines fit: none was changed or taken out" in page.words
    lines = list(csv.DictReader(io.StringIO(kim.client.get("/c/acme/settings/trail.csv").get_data(as_text=True))))
    launched = {line["object"]: line["who"] for line in lines if line["action"] == "campaign.launch"}
    number = spring.rsplit("/", 1)[1]
    assert launched[f"campaign {number}"] == "Kim Colleague"
    assert started.status == 303 and launched[f"campaign {autumn.rsplit('/', 1)[1]}"] == "Olga Owner"
    grants = [(line["who"], json.loads(line["after"])["role"]) for line in lines if line["action"] == "member.grant"]
    assert sorted(grants) == [("Olga Owner", "admin"), ("Olga Owner", "agent")]
    assert all(line["seal"] for line in lines if line["action"] == "campaign.launch")
    assert not [line for line in lines if line["who"] == "Ali Agent" and line["action"] == "campaign.launch"]
