"""The frame: who may open what, one transaction per request, fragments, headers, words, and pages that say what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, g
from sqlalchemy import event, text
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, TestResponse

from app import create_app
from app.blueprints.access import load, requires, seal
from app.core import clock
from app.core.db import on_commit
from app.core.errors import Conflict, Forbidden, Invalid
from app.core.extensions import db
from app.domain.permissions import Permission
from app.models import Client, Lead
from app.strings import CATALOGUE, t
from tests.factories import (
    make_campaign,
    make_client,
    make_delivery,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_user,
)
from tests.web.page_client import NotAPage, PageClient, validate, web_app

rung: list[str] = []
TEMPLATES = Path(__file__).resolve().parents[2] / "app" / "templates"


def make_probes() -> Blueprint:
    """Routes that only these tests have."""
    probe = Blueprint("probe", __name__, url_prefix="/c/<slug>/probe")

    @probe.get("/lead/<int:lead_id>")
    @requires(Permission.LEADS_READ)
    def lead(lead_id: int) -> str:
        return str(load(Lead, lead_id).email)

    @probe.post("/rename/<how>")
    @requires(Permission.SETTINGS_MANAGE)
    def rename(how: str) -> Any:
        client = db.session.get_one(Client, g.client.id)
        client.name = how
        db.session.flush()
        on_commit(lambda: rung.append(how))
        if how == "raise":
            raise Conflict("It changed meanwhile.")
        if how == "answer":
            return "no", 422
        if how == "break":
            raise ZeroDivisionError
        return "done"

    @probe.get("/seen")
    @requires(Permission.CLIENT_READ)
    def seen() -> str:
        rows = db.session.execute(text("SELECT count(*) FROM leads")).scalar()
        return f"{rows} {g.role}"

    return probe


@pytest.fixture
def page(app: Flask) -> Iterator[PageClient]:
    rung.clear()
    found = web_app(app)
    if "probe" not in found.blueprints:
        found._got_first_request = False  # the product serves already: these routes come late
        found.register_blueprint(make_probes())
        seal(found)
    yield PageClient(app)


def test_a_page_that_says_what_went_wrong_asks_the_database_nothing_more(page: PageClient) -> None:
    page.log_in(make_user(make_client(slug="acme"), "viewer"))
    with page.app.app_context():
        engine = db.engine
    asked: list[str] = []

    def note(*words: Any) -> None:
        asked.append(words[2])

    event.listen(engine, "before_cursor_execute", note)
    try:
        assert page.get("/c/acme/probe/lead/999").status == 404
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert "FROM leads" in asked[-1]


def test_a_route_that_declares_nothing_keeps_the_product_from_starting(app: Flask) -> None:
    fresh = create_app(app.extensions["settings"])
    fresh.add_url_rule("/open-door", "open_door", lambda: "hello")
    with pytest.raises(RuntimeError, match="open_door"):
        seal(fresh)


def test_every_route_of_the_product_is_guarded(app: Flask) -> None:
    assert all(getattr(view, "sealed", False) for view in web_app(app).view_functions.values())


def test_a_client_of_strangers_and_a_client_that_is_none_look_the_same(page: PageClient) -> None:
    make_client(slug="theirs")
    page.log_in(make_user(make_client(slug="ours")))
    theirs, nothing = page.get("/c/theirs/probe/seen"), page.get("/c/nothing/probe/seen")
    assert theirs.status == nothing.status == 404
    assert re.sub(r'nonce[-="\w]+|content="[^"]*"|value="[^"]*"', "", theirs.text) == re.sub(
        r'nonce[-="\w]+|content="[^"]*"|value="[^"]*"', "", nothing.text
    )


def test_the_object_of_a_stranger_does_not_exist(page: PageClient) -> None:
    ours, theirs = make_client(slug="ours"), make_client()
    own, foreign = make_lead(ours), make_lead(theirs)
    page.log_in(make_user(ours))
    assert page.get(f"/c/ours/probe/lead/{own.id}").text == own.email
    assert page.get(f"/c/ours/probe/lead/{foreign.id}").status == 404
    assert page.get("/c/ours/probe/lead/99999999999999999999999").status == 404


def test_a_member_of_two_clients_sees_in_each_only_its_own(page: PageClient) -> None:
    first, second = make_client(slug="first"), make_client(slug="second")
    user = make_user(first)
    from app.models import Membership
    from tests.factories import save

    save(Membership(client_id=second.id, user_id=user.id, role="viewer"))
    lead = make_lead(first)
    page.log_in(user)
    assert page.get("/c/first/probe/seen").text == "1 admin" and page.get("/c/second/probe/seen").text == "0 viewer"
    assert page.get(f"/c/second/probe/lead/{lead.id}").status == 404


def test_a_role_that_lacks_the_permission_is_told_so_and_changes_nothing(page: PageClient) -> None:
    client = make_client(slug="ours", name="Ours")
    page.log_in(make_user(client, role="agent"))
    refused = page.post("/c/ours/probe/rename/fine")
    assert refused.status == 403 and "role" in refused.words and rung == []


@pytest.mark.parametrize(
    ("how", "status", "kept"),
    [("fine", 200, True), ("raise", 409, False), ("answer", 422, False), ("break", 500, False)],
)
def test_one_request_is_one_transaction_and_bells_ring_only_after_its_commit(
    page: PageClient, how: str, status: int, kept: bool
) -> None:
    client = make_client(slug="ours", name="Ours")
    page.log_in(make_user(client))
    page.app.testing = False
    assert page.post(f"/c/ours/probe/rename/{how}").status == status
    db.session.expire_all()
    assert db.session.execute(text("SELECT name FROM clients")).scalar() == (how if kept else "Ours")
    assert rung == ([how] if kept else [])


def test_what_broke_says_a_reference_and_nothing_of_our_insides(page: PageClient) -> None:
    page.log_in(make_user(make_client(slug="ours")))
    broken = page.post("/c/ours/probe/rename/break")
    assert broken.status == 500 and re.search(r"noted as [0-9a-f]{8}", broken.words)
    assert "ZeroDivision" not in broken.text and "Traceback" not in broken.text


def test_every_answer_carries_the_wall_of_headers_and_a_nonce_of_its_own(page: PageClient) -> None:
    page.log_in(make_user(make_client(slug="ours")))
    nonces = set()
    for path in (
        "/profile",
        "/clients",
        "/nothing",
        "/login",
        "/healthz",
        "/api/me",
        "/openapi.json",
        "/docs",
        "/static/css/ember.css",
    ):
        answer = page.get(path).response
        answer.close()
        headers = answer.headers
        policy = headers["Content-Security-Policy"]
        nonces.add(re.search(r"'nonce-([\w-]+)'", policy)[1])  # type: ignore[index]
        assert (
            "unsafe" not in policy
            and "default-src 'none'" in policy
            and "base-uri 'none'" in policy
            and "frame-ancestors 'none'" in policy
        )
        assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"], headers["Referrer-Policy"]) == (
            "nosniff",
            "DENY",
            "same-origin",
        )
    assert len(nonces) == 9


def test_behind_https_cookies_are_bound_to_host_and_tls(app: Flask) -> None:
    from dataclasses import replace

    fresh = create_app(replace(app.extensions["settings"], behind_https=True))
    answer = fresh.test_client().get("/login", headers={"X-Forwarded-Proto": "https"})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-emberpost-") and "Secure" in cookie and "Domain" not in cookie
    assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]


def test_an_address_that_only_takes_forms_leads_to_the_page_above_it(page: PageClient) -> None:
    """A refused form's page has that address: a reload of it, or a login in between, must not end at a wall."""
    client = make_client()
    mailbox = make_mailbox(client)
    campaign, base = make_campaign(client, mailboxes=(mailbox,)), f"/c/{client.slug}"
    page.log_in(make_user(client, "admin"))
    for own in (f"{base}/campaigns/{campaign.id}", f"{base}/mailboxes/{mailbox.id}"):
        answer = page.get(f"{own}/name" if "campaigns" in own else f"{own}/verify")
        assert (answer.status, answer.location) == (302, own)
        assert page.get(own).status == 200
    assert page.get(f"{base}/campaigns/{campaign.id}/name", fragment=True).status == 405
    assert page.get("/logout").status == 405


def test_a_fragment_is_only_the_asked_block_and_says_what_it_varies_by(page: PageClient) -> None:
    page.log_in(make_user(make_client(slug="ours"), is_operator=True))
    whole, part = page.get("/clients/new"), page.post("/clients/new", {"name": ""}, fragment=True)
    assert whole.text.lstrip().startswith("<!doctype") and whole.response.headers["Vary"].startswith("HX-Request")
    assert (
        part.status == 422
        and part.text.lstrip().startswith("<form")
        and "HX-Request-Type" in part.response.headers["Vary"]
    )
    back = page.get("/clients/new", headers={"HX-Request": "true", "HX-Request-Type": "full"})
    assert back.text.lstrip().startswith("<!doctype"), "Back and boosted links want the page"


def test_a_fragment_that_fails_is_a_plain_sentence(page: PageClient) -> None:
    page.log_in(make_user(make_client(slug="ours")))
    answer = page.post("/c/ours/probe/rename/raise", fragment=True)
    assert (answer.status, answer.text, answer.response.mimetype) == (409, "It changed meanwhile.", "text/plain")


def test_the_live_card_counts_what_is_there(page: PageClient) -> None:
    from tests.factories import make_conversation

    client = make_client(slug="ours")
    box = make_mailbox(client)
    make_conversation(client, box, unread=2)
    other = make_client()
    make_conversation(other, make_mailbox(other), unread=1)
    page.log_in(make_user(client))
    card = page.get("/c/ours/live-card", fragment=True)
    assert "Unread1" in card.words.replace(" ", "") and "1/1" in card.words


def test_the_live_card_says_how_many_of_todays_planned_messages_are_sent(page: PageClient) -> None:
    client = make_client(slug="ours")
    box, now = make_mailbox(client, daily_cap=4), clock.now()
    running, paused = make_campaign(client, mailboxes=(box,)), make_campaign(client, mailboxes=(box,), status="paused")
    for campaign, next_at in ((running, now), (running, now), (running, now + timedelta(days=3)), (paused, now)):
        make_enrollment(campaign, make_lead(client), box, next_at=next_at)
    lead = make_lead(client)
    make_delivery(make_enrollment(running, lead, box, status="in_flight"), lead, box, status="sent", mime=b"x", sent_at=now, due_at=now)
    page.log_in(make_user(client))
    card = page.get("/c/ours/live-card", fragment=True)
    assert "Sent today1/3" in card.words.replace(" today ", " today") and "may send 4" in card.text
    for _ in range(3):
        make_enrollment(running, make_lead(client), box, next_at=now)
    assert "1/4" in page.get("/c/ours/live-card", fragment=True).words, "no more are planned than may leave"


def test_nul_and_half_characters_are_refused_before_any_sql(page: PageClient) -> None:
    page.log_in(make_user(make_client(slug="ours")))
    assert page.get("/profile?q=%00").status == 400
    assert page.post("/profile", {"name": "a\0b"}).status == 400


def test_the_catalogue_knows_every_text_that_templates_ask_for() -> None:
    asked = {
        key
        for path in TEMPLATES.rglob("*.html")
        for key in re.findall(r"""\bt\(["']([a-z_]+\.[a-z0-9_]+)["'][,)]""", path.read_text())
    }
    assert sorted(asked - set(CATALOGUE)) == []


def test_texts_count_and_fill_their_places() -> None:
    assert (t("trail.proved", n=1), t("trail.proved", n=2)[:7]) == ("One line is sealed and fits.", "All 2 s")
    with pytest.raises(KeyError):
        t("frame.unknown")


def test_no_template_has_an_hx_attribute_without_the_nonce_beside_it() -> None:
    lost = []
    for path in TEMPLATES.rglob("*.html"):
        for tag in re.findall(
            r"<[a-z][^<>]*\shx-(?!nonce)[^<>]*>",
            re.sub(
                r"\{\{.*?\}\}|\{%.*?%\}",
                lambda found: "hx-nonce" if "hx()" in found[0] else "",
                path.read_text(),
                flags=re.DOTALL,
            ),
        ):
            if "hx-nonce" not in tag:
                lost.append(f"{path.name}: {tag[:80]}")
    assert lost == []


BAD = {
    "an id twice": '<p id="a">x</p><p id="a">y</p>',
    "a form without action": "<form></form>",
    "a form without token": '<form method="post" action="/x"></form>',
    "a script without nonce": "<script>1</script>",
    "a style attribute": '<p style="color:red">x</p>',
    "hx without nonce": '<button type="button" hx-get="/x">x</button>',
    "broken nesting": "<div><p></div></p>",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_the_page_client_itself_refuses_bad_pages(body: str) -> None:
    answer = TestResponse(
        [body.encode()], "200 OK", Headers({"Content-Type": "text/html"}), EnvironBuilder("/x").get_request()
    )
    with pytest.raises(NotAPage):
        validate(answer)


def test_forbidden_and_invalid_carry_their_fields() -> None:
    assert Invalid.field("name", "Write a name.").details == {"name": ["Write a name."]}
    assert Forbidden("No.").status == 403
