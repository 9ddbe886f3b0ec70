"""An outsider drives the whole road through the API against foreign mail servers, and counts at the receiver.

``bin/run --empty`` is a real instance: nothing knows that the servers are ours. Counted is what they accepted: no double, no loss,
no mail after a reply, no mail outside the window.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import make_msgid
from typing import Any

import pytest
import requests

from sandbox.mail.server import MailConfig, RunningMailServer
from tests.story import canaries
from tests.story.house import House, running_house, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.serial]

EMAIL, PASSWORD = "owner@agency.test", "canary harbour, seven gulls on kelp"
MAILBOX_PASSWORD = "canary-8Jd2vQ_mailbox-secret-kPz4"
LEADS = 24
ANSWERING = 8
ELSEWHEN = 6  # leads of the campaign whose hours are on another day
SENDERS = ("nora@agency.test", "theo@agency.test")
ALL_WEEK = [{"weekday": day, "from": "00:00", "to": "24:00"} for day in range(7)]


class Api:
    """The product as a program sees it."""

    def __init__(self, house: House) -> None:
        self.house, self.token, self.client_id = house, "", 0

    def call(self, method: str, path: str, expect: int = 200, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = requests.request(method, f"{self.house.url}{path}", headers=headers, timeout=60, **options)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text[:800]}\n{self.house.logs(5)}"
        return answer.json() if answer.content and "json" in answer.headers.get("Content-Type", "") else answer.content

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any] | None = None, expect: int = 200) -> Any:
        return self.call("POST", path, expect, json=body or {})

    def every(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """All items of a list, page after page."""
        items: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self.get(path, limit=200, **({"cursor": cursor} if cursor else {}), **query)
            items += page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                return items


@pytest.fixture(scope="module")
def servers() -> Iterator[RunningMailServer]:
    with RunningMailServer(MailConfig()) as mail:
        for address in SENDERS:
            mail.add_account(address, MAILBOX_PASSWORD)
        for address in (*map(lead, range(LEADS)), *map(on_another_day, range(ELSEWHEN))):
            mail.add_account(address)
        yield mail


@pytest.fixture(scope="module")
def api(servers: RunningMailServer) -> Iterator[Api]:
    environment = {"EMBERPOST_ALLOW_TARGETS": "127.0.0.1", "EMBERPOST_ADMIN_EMAIL": EMAIL, "EMBERPOST_ADMIN_PASSWORD": PASSWORD}
    with running_house("--empty", **environment) as house:
        api = Api(house)
        logged = api.post("/api/auth/login", {"email": EMAIL, "password": PASSWORD})
        assert {"access_token", "refresh_token", "expires_in", "user"} <= logged.keys()
        api.token = logged["access_token"]
        yield api


def lead(number: int) -> str:
    return f"lead{number}@buyers.test"


def on_another_day(number: int) -> str:
    return f"patient{number}@buyers.test"


def csv_of_leads() -> bytes:
    rows = ["E-mail;First name;Company"] + [f"{lead(n)};Person{n};Buyer {n} Ltd" for n in range(LEADS)]
    return "\r\n".join([*rows, "not an address;Nobody;Nowhere"]).encode("utf-8-sig")


def set_up(api: Api, mail: RunningMailServer) -> tuple[list[int], int]:
    """Client, verified mailboxes, imported leads: (mailbox ids, import id)."""
    client = api.post(
        "/api/clients", {"name": "Agency", "slug": "agency", "postal_address": "1 Quay Street, Porto", "timezone": "UTC", "language": "en"}, 201
    )
    api.client_id = client["id"]
    mailboxes = []
    for address in SENDERS:
        body = {
            "client_id": client["id"], "email": address, "display_name": address.split("@")[0].title(),
            "smtp_host": "127.0.0.1", "smtp_port": mail.ports.smtp, "smtp_security": "none", "smtp_user": address, "smtp_password": MAILBOX_PASSWORD,
            "imap_host": "127.0.0.1", "imap_port": mail.ports.imap, "imap_security": "none", "imap_user": address, "imap_password": MAILBOX_PASSWORD,
            "timezone": "UTC", "daily_cap": 200, "min_gap_s": 0,
        }  # fmt: skip
        created = api.post("/api/mailboxes", body, 201)
        assert MAILBOX_PASSWORD not in json.dumps(created)
        mailboxes.append(created["id"])
    for number in mailboxes:
        api.post(f"/api/mailboxes/{number}/verify")
        wait_for("an active mailbox", lambda n=number: api.get(f"/api/mailboxes/{n}")["status"] == "active", 40, logs=api.house.logs)
    return mailboxes, imported(api)


def imported(api: Api) -> int:
    mapping = json.dumps({"E-mail": "email", "First name": "first_name", "Company": "company"})
    for dry_run in ("true", "false"):
        answer = api.call(
            "POST", "/api/imports", 201, files={"file": ("leads.csv", csv_of_leads(), "text/csv")},
            data={"client_id": api.client_id, "mapping": mapping, "dry_run": dry_run},
        )  # fmt: skip
        assert (answer["created"], answer["updated"], [row["line"] for row in answer["skipped"]]) == (LEADS, 0, [LEADS + 2])
    assert len(api.every("/api/leads", client_id=api.client_id)) == LEADS
    number: int = answer["id"]
    return number


def campaign(api: Api, name: str, mailboxes: list[int], who: dict[str, Any], **changes: Any) -> int:
    steps = [
        {"channel": "email", "delay": {"value": 0, "unit": "minutes"}, "subject": "For {{ first_name }}",
         "text": "Hello {{ first_name }} of {{ company }}.\n\nNo more: {{ unsubscribe_url }}", "html": ""},
        {"channel": "email", "delay": {"value": 1, "unit": "minutes"}, "subject": "",
         "text": "A reminder, {{ first_name }}.\n\nNo more: {{ unsubscribe_url }}", "html": ""},
    ]  # fmt: skip
    body = {
        "client_id": api.client_id, "name": name, "timezone": "UTC", "windows": ALL_WEEK, "closed_days": [],
        "weekend": {"mode": "reduced", "percent": 100}, "holidays_country": None, "mailbox_ids": mailboxes, "daily_cap": None,
        "daily_new_leads": None, "steps": steps, **changes,
    }  # fmt: skip
    number: int = api.post("/api/campaigns", body, 201)["id"]
    api.post(f"/api/campaigns/{number}/leads", who)
    return number


def campaign_with_other_hours(api: Api, mailboxes: list[int]) -> int:
    """Started while its hours are on another day, with leads of its own: whatever reaches one of them left outside its window."""
    hours = [{"weekday": (datetime.now(UTC) + timedelta(days=3)).weekday(), "from": "09:00", "to": "17:00"}]
    people = [{"client_id": api.client_id, "email": on_another_day(n), "first_name": f"Patient{n}", "company": "Later Ltd"} for n in range(ELSEWHEN)]
    number = campaign(api, "Only on another day", mailboxes, {"lead_ids": [api.post("/api/leads", one, 201)["id"] for one in people]}, windows=hours)
    api.post(f"/api/campaigns/{number}/launch")
    return number


def mails_to(mail: RunningMailServer, address: str) -> list[EmailMessage]:
    return [message_from_bytes(stored.raw, policy=policy.default) for stored in mail.messages(address)]  # type: ignore[misc]


def taken_for_leads(mail: RunningMailServer) -> int:
    """How many the servers took for the leads of the first campaign; whatever else arrives is counted at the end."""
    wanted = {lead(n) for n in range(LEADS)}
    return sum(address in wanted for one in mail.accepted() for address in one.recipients)


def answer_to(mail: RunningMailServer, address: str) -> str:
    """The lead answers the first mail it got, as its mail program would; the id of the answer."""
    original = mails_to(mail, address)[0]
    answer = EmailMessage()
    answer["From"], answer["To"] = address, original["From"]
    answer["Subject"] = f"Re: {original['Subject']}"
    answer["In-Reply-To"] = answer["References"] = original["Message-ID"]
    answer["Message-ID"] = make_msgid(domain="buyers.test")
    answer["Date"] = datetime.now(UTC)
    answer.set_content("Yes, call me on Thursday.\n\n> " + "\n> ".join(original.get_body(("plain",)).get_content().splitlines()))  # type: ignore[union-attr]
    sender = next(one for one in SENDERS if one in str(original["From"]))
    mail.deliver(sender, answer.as_bytes(policy=policy.SMTP))
    return str(answer["Message-ID"])


def test_the_whole_road_through_the_api_counted_at_the_receiver(api: Api, servers: RunningMailServer) -> None:
    mailboxes, import_id = set_up(api, servers)
    closed = campaign_with_other_hours(api, mailboxes)
    number = campaign(api, "First contact", mailboxes, {"import_id": import_id})
    preview = api.post(f"/api/campaigns/{number}/preview")
    assert "Person" in json.dumps(preview)
    api.post(f"/api/campaigns/{number}/launch")

    wait_for("the first mail to every lead", lambda: taken_for_leads(servers) >= LEADS, 120, logs=api.house.logs)
    answering = [lead(n) for n in range(ANSWERING)]
    for address in answering:
        answer_to(servers, address)
    wait_for("every answer in the inbox", lambda: len(conversations(api)) == ANSWERING, 60, logs=lambda: in_the_inbox(api))
    second_step_arrives_only_where_nobody_answered(api, servers, answering)
    a_conversation_is_answered(api, servers)
    nothing_left_outside_the_window(api, servers, closed)
    the_ledger_agrees_with_the_receiver(api, servers, number)
    stop_ends_it_for_good(api, number, closed)


def conversations(api: Api) -> list[dict[str, Any]]:
    return api.every("/api/inbox/conversations", client_id=api.client_id)


def in_the_inbox(api: Api) -> str:
    mailboxes = api.every("/api/mailboxes", client_id=api.client_id)
    return json.dumps([conversations(api), [(one["status"], one["read_error"], one["last_read_at"]) for one in mailboxes]], indent=1) + api.house.logs()


def second_step_arrives_only_where_nobody_answered(api: Api, mail: RunningMailServer, answering: list[str]) -> None:
    wanted = LEADS + LEADS - ANSWERING
    wait_for("the second step", lambda: taken_for_leads(mail) >= wanted, 240, logs=api.house.logs)
    per_lead = Counter(address for one in mail.accepted() for address in one.recipients)
    assert {per_lead[address] for address in answering} == {1}
    assert {per_lead[lead(n)] for n in range(ANSWERING, LEADS)} == {2}
    first, second = mails_to(mail, lead(LEADS - 1))
    assert second["In-Reply-To"] == first["Message-ID"] and second["Subject"] == f"Re: {first['Subject']}"
    assert first["List-Unsubscribe"] and f"Person{LEADS - 1}" in str(first["Subject"])


def a_conversation_is_answered(api: Api, mail: RunningMailServer) -> None:
    thread = conversations(api)[0]
    assert thread["unread"] == 1
    assert api.get("/api/inbox/counters", client_id=api.client_id)["views"]["unread"] == ANSWERING
    before = len(mails_to(mail, thread["address"]))
    api.post(f"/api/inbox/conversations/{thread['id']}/reply", {"text": "Thursday at ten, then.", "html": "", "attachments": []}, 201)
    wait_for("our answer", lambda: len(mails_to(mail, thread["address"])) == before + 1, 60, logs=api.house.logs)
    ours = mails_to(mail, thread["address"])[-1]
    assert "Thursday at ten" in ours.get_body(("plain",)).get_content() and ours["In-Reply-To"]  # type: ignore[union-attr]
    api.post(f"/api/inbox/conversations/{thread['id']}/read")
    api.post(f"/api/inbox/conversations/{thread['id']}/close")
    assert api.get(f"/api/inbox/conversations/{thread['id']}")["status"] == "closed"


def nothing_left_outside_the_window(api: Api, mail: RunningMailServer, closed: int) -> None:
    """It ran all the while the others were written to twice, and the mailboxes that would send for it sent."""
    waiting = {on_another_day(n) for n in range(ELSEWHEN)}
    assert not waiting & {address for one in mail.accepted() for address in one.recipients}
    assert [mails_to(mail, address) for address in sorted(waiting)] == [[]] * ELSEWHEN
    people = api.every(f"/api/campaigns/{closed}/leads")
    assert {one["email"] for one in people} == waiting
    told = {one["reason"] for one in people}
    assert told == {"outside_window"} and all(one["text"] and one["frees"] for one in people), people
    opens = min(datetime.fromisoformat(one["next_at"]) for one in people)
    assert opens > datetime.now(UTC) + timedelta(days=1)
    assert api.get(f"/api/campaigns/{closed}/status")["status"] == "running"


def the_ledger_agrees_with_the_receiver(api: Api, mail: RunningMailServer, number: int) -> None:
    assert set(mail.counts_by_message_id().values()) == {1}
    taken = {message_id.strip("<>") for message_id in mail.counts_by_message_id()}
    rows = api.every("/api/deliveries", client_id=api.client_id, status="sent")
    assert {row["message_id"].strip("<>") for row in rows} == taken
    status = api.get(f"/api/campaigns/{number}/status")
    assert str(ANSWERING) in json.dumps(status)


def stop_ends_it_for_good(api: Api, number: int, closed: int) -> None:
    api.post(f"/api/campaigns/{closed}/stop")
    assert api.get(f"/api/campaigns/{closed}")["status"] == "stopped"
    refused = api.post(f"/api/campaigns/{closed}/resume", expect=409)
    assert {"code", "message", "details"} <= refused.keys()
    api.call("GET", "/api/campaigns/999999999", 404)


def test_no_secret_is_seen_again_in_pages_answers_logs_or_redis(api: Api, servers: RunningMailServer) -> None:
    """After the whole road was walked: what was handed in or shown once is nowhere to be read, in whatever spelling."""
    mailbox = {
        "client_id": api.client_id, "email": SENDERS[0], "display_name": "Nora", "smtp_host": "127.0.0.1", "smtp_port": servers.ports.smtp, "smtp_security": "none",
        "smtp_user": SENDERS[0], "smtp_password": MAILBOX_PASSWORD, "imap_host": "127.0.0.1", "imap_port": servers.ports.imap, "imap_security": "none",
        "imap_user": SENDERS[0], "imap_password": MAILBOX_PASSWORD, "timezone": "UTC", "daily_cap": 200, "min_gap_s": 0,
    }  # fmt: skip
    assert MAILBOX_PASSWORD and servers.accepted(), "it was used to send"
    kept = canaries.seed(api, EMAIL, PASSWORD, mailbox)
    found, read = canaries.pages_and_answers(api, EMAIL, PASSWORD, kept)
    written = [*canaries.logs(api.house), *canaries.redis_contents(api.house)]
    for where, content in written:
        found += canaries.hits(kept, where, content)
    assert not found, "\n".join(found)
    assert len(kept) >= 20 and read >= 60 and sum(where.startswith("Redis") for where, _ in written) >= 5, (len(kept), read, len(written))
    assert canaries.hits(kept, "a page", b"x " + base64.b64encode(b"\0nora\0" + MAILBOX_PASSWORD.encode())), "the search finds what is there"
