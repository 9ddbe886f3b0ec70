# ruff: noqa: E501 - mails and cases as tables
"""The inbox in a browser without scripts: every pane, every verb by plain forms, messages of strangers in a box of their own."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from flask import Flask

from app.core.extensions import db
from app.models import Attachment, Conversation, Delivery
from app.services.conversations import put_blob
from tests.factories import (
    MONDAY_TEN,
    make_campaign,
    make_client,
    make_conversation,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_message,
    make_user,
    save,
)
from tests.web.page_client import PageClient

HTML_MAIL = (
    b"From: Ada <ada@buyer.test>\r\nTo: us@ourhouse.test\r\nSubject: Hello\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b"<p>Dear all</p><script>window.ran=1</script><img src='http://far.test/x.png' alt='far'><img src='cid:logo'>"
    b"<div class='gmail_quote'><blockquote>old words</blockquote></div><form action='http://far.test'><input name=x></form>"
)


class Desk:
    def __init__(self, app: Flask, role: str = "agent") -> None:
        self.client = make_client(slug="acme")
        self.user = make_user(self.client, role)
        self.mailbox = make_mailbox(self.client)
        self.lead = make_lead(self.client, first_name="Ada", last_name="Brook", company="Brook & Co")
        self.conversation = make_conversation(self.client, self.mailbox, self.lead, unread=1, subject="Rye flour", display_name="Ada Brook")
        self.message = make_message(
            self.conversation, "Yes, call me: https://brook.test/call\n\nOn Mon, 23 Nov 2026 at 09:00, us@ourhouse.test wrote:\n> Hello", external_id="in-1@buyer.test"
        )
        self.page = PageClient(app).log_in(self.user)
        self.path = f"/c/acme/inbox/{self.conversation.id}"

    def fresh(self) -> Conversation:
        return db.session.get_one(Conversation, self.conversation.id, populate_existing=True)


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


def test_the_list_shows_who_wrote_what_and_the_scopes_count(desk: Desk) -> None:
    page = desk.page.get("/c/acme/inbox/")
    assert page.find("title").text.startswith("(1) Inbox")
    row = page.find("li", class_="is-unread")
    words = " ".join("".join(row.itertext()).split())
    assert "Ada Brook" in words and "Rye flour" in words and "1 unread message" in words
    assert [link.get("href") for link in page.all("a", class_="conversation-link")] == [desk.path]


def test_a_thread_is_its_own_address_with_quotes_folded_and_links_made(desk: Desk) -> None:
    page = desk.page.get(desk.path)
    assert page.find("h2", title="Rye flour") is not None and "Brook & Co" in page.words
    text = page.find("div", class_="message-text")
    assert [link.get("href") for link in text.iter("a")] == ["https://brook.test/call", "mailto:us@ourhouse.test"]
    assert "> Hello" in "".join("".join(fold.itertext()) for fold in page.all("details", class_="quoted"))
    assert desk.fresh().unread == 1, "reading by GET changes nothing"


def test_who_left_the_company_is_said_with_whom_they_named_instead(desk: Desk) -> None:
    desk.message.kind, desk.message.verdict = "left_company", {"successor": "new@brook.test"}
    db.session.commit()
    words = desk.page.get(desk.path).words
    assert "left the company: the address is on the list" in words and "Named instead: new@brook.test" in words


def test_parts_of_the_page_come_alone_for_the_script(desk: Desk) -> None:
    rows = desk.page.get("/c/acme/inbox/?part=list", fragment=True)
    assert rows.status == 200 and not rows.all("html") and rows.find("div", id="inbox-rows") is not None
    thread = desk.page.get(f"{desk.path}?part=thread&view=unread", fragment=True)
    assert thread.find("textarea", id="answer-text") is not None and not thread.all("nav")


def test_an_answer_by_a_plain_form_is_queued_and_drawn_with_its_undo(desk: Desk) -> None:
    nonce = desk.page.get(desk.path).find("input", name="nonce").get("value")
    data = {"nonce": nonce, "text": "Gladly.", "when": "now", "files": (io.BytesIO(b"hi"), "plan.txt")}
    sent = desk.page.post(f"{desk.path}/reply", data, content_type="multipart/form-data")
    assert sent.status == 303
    again = desk.page.post(f"{desk.path}/reply", {"nonce": nonce, "text": "Gladly.", "when": "now"})
    assert again.status == 303 and db.session.query(Delivery).count() == 1
    page = desk.page.get(desk.path)
    card = page.find("article", class_="message-queued")
    assert "Gladly." in "".join(card.itertext()) and "plan.txt" in "".join(card.itertext())
    undone = desk.page.post(card.find(".//form").get("action"))  # type: ignore[union-attr]
    back = desk.page.follow(undone)
    assert (back.find("textarea", id="answer-text").text or "").strip() == "Gladly." and not back.all("article", class_="message-queued")
    assert back.find("input", name="kept") is not None


def test_an_empty_answer_comes_back_with_what_to_do(desk: Desk) -> None:
    page = desk.page.post(f"{desk.path}/reply", {"nonce": "n", "text": " "})
    assert page.status == 422 and "Write something first." in page.words


def test_triage_by_plain_forms(desk: Desk) -> None:
    for verb, data, expected in (
        ("read", {}, ("open", 0)), ("unread", {}, ("open", 1)), ("close", {}, ("closed", 0)), ("reopen", {}, ("open", 0)),
        ("snooze", {"preset": "tomorrow"}, ("snoozed", 0)), ("assign", {"user_id": str(desk.user.id)}, ("snoozed", 0)),
    ):  # fmt: skip
        answer = desk.page.post(f"{desk.path}/{verb}", {"back": "/c/acme/inbox/?view=unread", **data})
        assert answer.status == 303 and answer.location.startswith("/c/acme/inbox/"), verb
        row = desk.fresh()
        assert (row.status, row.unread) == expected, verb
    assert desk.fresh().assignee_id == desk.user.id


def test_a_wrong_day_without_scripts_comes_back_to_the_conversation_with_what_to_do(desk: Desk) -> None:
    for day in ({}, {"day": "yesterday"}, {"day": "2001-01-01"}):
        answer = desk.page.post(f"{desk.path}/snooze", day)
        assert answer.status == 303 and answer.location == desk.path, day
        assert "that is still ahead" in desk.page.follow(answer).words
    assert desk.fresh().status == "open"


def test_what_has_no_place_on_a_page_leads_back_to_the_page_it_came_from(desk: Desk) -> None:
    refused = desk.page.post(f"{desk.path}/assign", {"user_id": "nobody"}, headers={"Referer": f"http://localhost{desk.path}?view=unread"})
    assert refused.status == 422 and "Choose somebody of the list" in refused.words
    assert refused.find("a", class_="btn").get("href") == f"{desk.path}?view=unread"
    foreign = desk.page.post(f"{desk.path}/assign", {"user_id": "nobody"}, headers={"Referer": "https://far.test/page"})
    assert foreign.find("a", class_="btn").get("href") == "/"


def test_the_way_back_never_leads_elsewhere(desk: Desk) -> None:
    for back in ("https://far.test/", "//far.test/c/acme/inbox/", "/profile"):
        assert desk.page.post(f"{desk.path}/close", {"back": back}).location == "/c/acme/inbox/"


def test_ticked_rows_are_changed_together(desk: Desk) -> None:
    other = make_conversation(desk.client, desk.mailbox, make_lead(desk.client))
    answer = desk.page.post("/c/acme/inbox/many", {"ids": [str(desk.conversation.id), str(other.id)], "do": "close"})
    assert answer.status == 303 and desk.fresh().status == "closed"
    assert "Nothing to answer" in desk.page.get("/c/acme/inbox/").words


def test_for_the_script_a_change_is_a_toast_with_its_undo(desk: Desk) -> None:
    answer = desk.page.post(f"{desk.path}/close", fragment=True)
    assert answer.status == 204 and '"undo": "' in answer.response.headers["HX-Trigger"]


def test_an_assignment_is_undone_to_who_had_it_before(desk: Desk) -> None:
    given = desk.page.post(f"{desk.path}/assign", {"user_id": str(desk.user.id)}, fragment=True)
    undo = json.loads(given.response.headers["HX-Trigger"])["inboxdone"]["undo"]
    assert desk.fresh().assignee_id == desk.user.id
    taken = desk.page.post(undo, fragment=True)
    assert desk.fresh().assignee_id is None
    desk.page.post(json.loads(taken.response.headers["HX-Trigger"])["inboxdone"]["undo"], fragment=True)
    assert desk.fresh().assignee_id == desk.user.id


def test_html_is_shown_in_a_box_that_runs_and_loads_nothing(desk: Desk) -> None:
    message = html_message(desk)
    frame = desk.page.get(desk.path).find("iframe")
    assert frame.get("sandbox") == "allow-same-origin allow-popups" and frame.get("loading") == "lazy"
    answer = desk.page.client.get(frame.get("src") or "")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-same-origin allow-popups; default-src 'none';") and "script" not in policy
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    text = answer.get_data(as_text=True)
    assert "Dear all" in text and "<details>" in text
    for bad in ("<script", "window.ran", "far.test", "<form", "<input"):
        assert bad not in text, bad
    file = save(Attachment(client_id=desk.client.id, message_id=message.id, position=0, filename="logo.png", content_type="image/png", size=4,
                           sha256=put_blob(desk.client.id, b"\x89PNG"), content_id="logo", inline=True))  # fmt: skip
    again = desk.page.client.get(frame.get("src") or "").get_data(as_text=True)
    assert f"/c/acme/inbox/files/{file.id}/picture" in again


def html_message(desk: Desk):  # type: ignore[no-untyped-def]
    sha = put_blob(desk.client.id, HTML_MAIL)
    return make_message(desk.conversation, "Dear all", has_html=True, raw_sha256=sha, received_at=MONDAY_TEN + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [("plan.pdf", "application/pdf", "application/pdf"), ("page.html", "text/html", "application/octet-stream"),
     ("x.svg", "image/svg+xml", "application/octet-stream"), ("ünï\u202ecod.exe", "application/x-msdownload", "application/octet-stream")],
)  # fmt: skip
def test_files_are_kept_never_shown_as_part_of_us(desk: Desk, name: str, kind: str, shown: str) -> None:
    file = save(Attachment(client_id=desk.client.id, message_id=desk.message.id, position=0, filename=name, content_type=kind, size=2,
                           sha256=put_blob(desk.client.id, b"hi")))  # fmt: skip
    answer = desk.page.client.get(f"/c/acme/inbox/files/{file.id}")
    assert answer.headers["Content-Type"] == shown and answer.headers["Content-Disposition"].startswith("attachment; ")
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Content-Security-Policy"].startswith("sandbox")
    assert desk.page.get(f"/c/acme/inbox/files/{file.id}/picture").status == 404


def test_the_raw_source_is_for_those_who_answer(app: Flask, desk: Desk) -> None:
    message = html_message(desk)
    path = f"/c/acme/inbox/messages/{message.id}/source"
    answer = desk.page.client.get(path)
    assert answer.get_data() == HTML_MAIL and answer.headers["Content-Disposition"].startswith("attachment")
    viewer = PageClient(app).log_in(make_user(desk.client, "viewer"))
    assert viewer.get(path).status == 403
    page = viewer.get(desk.path)
    assert "Your role reads conversations" in page.words and not page.all("textarea")
    assert viewer.post(f"{desk.path}/close").status == 403


def test_strangers_find_nothing(app: Flask, desk: Desk) -> None:
    message = html_message(desk)
    stranger = PageClient(app).log_in(make_user(make_client(slug="other")))
    for path in (desk.path, f"/c/acme/inbox/messages/{message.id}/frame", f"/c/other/inbox/{desk.conversation.id}", f"/c/other/inbox/messages/{message.id}/source"):
        assert stranger.get(path).status == 404, path
    assert stranger.post(f"/c/other/inbox/{desk.conversation.id}/close").status == 404


def test_an_ambiguous_answer_is_decided_on_its_page(desk: Desk) -> None:
    campaign = make_campaign(desk.client, mailboxes=(desk.mailbox,))
    make_enrollment(campaign, desk.lead, desk.mailbox)
    unclear = make_conversation(desk.client, desk.mailbox, needs_match=True, unread=1)
    message = make_message(unclear, match_candidates=[{"lead_id": desk.lead.id, "delivery_id": None, "conversation_id": None, "rule": "same_domain"}])
    page = desk.page.get(f"/c/acme/inbox/{unclear.id}?view=decide")
    assert "It is Ada Brook" in page.words
    done = desk.page.post(f"/c/acme/inbox/{unclear.id}/match", {"message_id": str(message.id), "lead_id": str(desk.lead.id)})
    assert done.status == 303
    assert "stopped by the answer" in desk.page.follow(done).words


def test_every_scope_and_odd_addresses_answer(desk: Desk) -> None:
    for query in ("view=all", "view=closed", "view=nonsense", "q=rye", "q=%25", "mailbox=999999999999", "campaign=x", "cursor=zzz", "n=100000", "older=9&q=x"):
        assert desk.page.get(f"/c/acme/inbox/?{query}").status == 200, query


def test_one_press_acts_on_all_that_the_list_holds_not_only_on_the_page(desk: Desk) -> None:
    for number in range(60):
        make_conversation(desk.client, desk.mailbox, unread=number % 2, subject=f"Wheat {number}")
    assert "All 61 of this list" in desk.page.get("/c/acme/inbox/").words
    assert "of this list" not in desk.page.get("/c/acme/inbox/?view=unread").words, "31 fit on one page"
    searched = "/c/acme/inbox/?q=Wheat"
    answer = desk.page.post("/c/acme/inbox/many", {"all": "1", "back": searched, "do": "close"})
    assert answer.status == 303 and answer.location.endswith("q=Wheat")
    assert (desk.fresh().status, desk.fresh().unread) == ("open", 1), "the search did not find it"
    assert db.session.query(Conversation).filter_by(status="closed", unread=0).count() == 60
