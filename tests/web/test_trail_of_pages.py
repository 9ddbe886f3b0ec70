"""Every button of a page that changes something, every download and every look at a secret leaves its line in the trail."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from werkzeug.exceptions import MethodNotAllowed, NotFound

from app.core.extensions import db
from app.models import (
    ApiKey,
    AuditEntry,
    Campaign,
    Client,
    Lead,
    LeadImport,
    Mailbox,
    Membership,
    Message,
    OutgoingCall,
    OutgoingEndpoint,
    Step,
    Suppression,
    User,
    UserSession,
    WebhookSource,
)
from tests.api.test_deliveries import MIME
from tests.api.test_trail_of_everything import _blob
from tests.factories import (
    MONDAY_TEN,
    make_campaign,
    make_client,
    make_conversation,
    make_delivery,
    make_enrollment,
    make_lead,
    make_mailbox,
    make_message,
    make_user,
    save,
)
from tests.second_factors import PASSWORD, code, next_step
from tests.web.page_client import PageClient
from tests.web.test_auth_pages import link

pytestmark = pytest.mark.thorough

#: Buttons that change nothing of anybody's, and why.
CHANGE_NOTHING = {
    "campaigns.preview_step": "shows the message as typed so far",
    "public.left": "of people who have no login: the list of addresses never to be contacted names them",
    "webhooks.receive": "of programs: arrivals are rows of their own",
    "auth.claim": "the story of a new instance asks for its line (tests/web/test_auth_pages.py)",
}
DOWNLOADS = {"leads.export", "imports.rejected", "suppressions.export", "trail.export", "mail_frame.source"}


class Person:
    def __init__(self, app: Flask, user: User, client: Client) -> None:
        self.page, self.user_id, self.client_id, self.slug = PageClient(app).log_in(user), user.id, client.id, client.slug
        self.map = self.page.app.url_map.bind("localhost")
        self.done: set[str] = set()
        self.silent: list[str] = []

    def _endpoint(self, path: str, method: str) -> str:
        try:
            return str(self.map.match(path.split("?")[0], method=method)[0])
        except (NotFound, MethodNotAllowed) as error:
            raise AssertionError(f"{method} {path}: {error}") from None

    def __call__(self, path: str, *, get: bool = False, **form: Any) -> None:
        path = f"/c/{self.slug}{path[1:]}" if path.startswith("~") else path
        endpoint = self._endpoint(path, "GET" if get else "POST")
        last = db.session.scalar(select(func.max(AuditEntry.id))) or 0
        db.session.rollback()
        answer = self.page.get(path) if get else self.page.post(path, form)
        assert answer.status < 400, f"{endpoint} {path}: {answer.status} {answer.words[:1500]}"
        self.done.add(endpoint)
        lines = db.session.query(AuditEntry).filter(AuditEntry.id > last, AuditEntry.user_id == self.user_id, AuditEntry.address != "").all()
        if not [line for line in lines if line.client_id in {None, self.client_id}] and endpoint not in CHANGE_NOTHING:
            self.silent.append(f"{endpoint} {path}")
        db.session.rollback()


@pytest.fixture
def client(app: Flask) -> Client:
    return make_client()


@pytest.fixture
def do(app: Flask, client: Client) -> Person:
    return Person(app, make_user(client, is_operator=True, password=PASSWORD), client)


def _newest(model: Any) -> int:
    found = db.session.scalar(select(func.max(model.id)))
    db.session.rollback()
    return int(found or 0)


def test_every_button_that_changes_something_leaves_its_line(do: Person, client: Client, app: Flask) -> None:
    _leads(do)
    _lists_and_imports(do)
    _mailboxes(do)
    _campaigns(do, client)
    _outbox_and_inbox(do, client)
    _people(do)
    _webhooks(do)
    _installation(do)
    _oneself(do, app)
    assert do.silent == []
    buttons = {rule.endpoint for rule in app.url_map.iter_rules() if "POST" in (rule.methods or set())}
    buttons = {name for name in buttons if name.split(".")[0] not in {"api", "original"}}
    assert (buttons | DOWNLOADS) - do.done - set(CHANGE_NOTHING) == set(), "press here every button that changes something"


def _leads(do: Person) -> None:
    do("~/leads/new", email="ada@buyer.test", first_name="Ada")
    lead = _newest(Lead)
    do(f"~/leads/{lead}", email="ada@buyer.test", first_name="Ada B")
    do(f"~/leads/{lead}/suppress")
    do(f"~/leads/{lead}/remove")
    do("~/leads/new", email="bob@buyer.test")
    do("~/leads/bulk", action="suppress", ids=[_newest(Lead)])
    do("~/leads/export.csv", get=True)


def _lists_and_imports(do: Person) -> None:
    do("~/do-not-contact/", addresses="never@buyer.test", reason="manual")
    do(f"~/do-not-contact/{_newest(Suppression)}/remove", reason="asked")
    do("~/do-not-contact/export.csv", get=True)
    do("/operations/do-not-contact", addresses="nobody@everywhere.test", reason="law")
    campaign = make_campaign(db.session.get_one(Client, do.client_id)).id
    do("~/imports/new", file=(io.BytesIO(b"email\ncara@buyer.test\nno address"), "list.csv"))
    one = _newest(LeadImport)
    do(f"~/imports/{one}/sheet", sheet="")
    do(f"~/imports/{one}/start")
    do(f"~/imports/{one}/rejected.csv", get=True)
    do(f"~/imports/{one}/add", campaign=campaign)
    do(f"~/imports/{one}/undo")


def _mailboxes(do: Person) -> None:
    servers = {"smtp_host": "127.0.0.1", "smtp_port": 9, "smtp_security": "none", "imap_host": "127.0.0.1", "imap_port": 9, "imap_security": "none"}
    do("~/mailboxes/new", email="me@ourhouse.test", smtp_password="secret of it", **servers)
    box = _newest(Mailbox)
    do(f"~/mailboxes/{box}", daily_cap=17)
    do(f"~/mailboxes/{box}/older", days=30)
    for action in ("verify", "pause", "resume", "stop"):
        do(f"~/mailboxes/{box}/{action}")
    do("~/mailboxes/bulk", action="resume", ids=[box])
    do("~/mailboxes/many", action="add", lines="two@gmail.com,app password words")
    do(f"~/stop/mailbox/{box}/stop")
    do(f"~/stop/mailbox/{box}/release")
    do(f"~/mailboxes/{box}/remove", typed="me@ourhouse.test")


def _campaigns(do: Person, client: Client) -> None:
    box, lead = make_mailbox(client).id, make_lead(client).id
    do("~/campaigns/new", name="Spring")
    made = _newest(Campaign)
    here = f"~/campaigns/{made}"
    do(f"{here}/name", name="Summer")
    do(f"{here}/steps/starter", key="first-contact")
    do(f"{here}/steps")
    step = _newest(Step)
    do(f"{here}/steps/{step}", subject="Hello", text="Hi {{ unsubscribe_url }}", delay_value=1, delay_unit="days")
    do(f"{here}/steps/{step}/preview", text="Hi")
    do(f"{here}/steps/{step}/down")
    hours = {f"day-{day}": "00:00-24:00" for day in range(7)}
    do(f"{here}/schedule", timezone="UTC", weekend="closed", senders=[box], **hours)
    do(f"{here}/steps/{step}/test", subject="Hello", text="Hi {{ unsubscribe_url }}")
    do(f"{here}/steps/{step}/remove")
    do(f"{here}/people/add", ids=[lead])
    do(f"{here}/people/bulk", action="pause", ids=[lead])
    do(f"{here}/people/bulk", action="resume", ids=[lead])
    do(f"{here}/rehearse")
    do(f"{here}/launch")
    do(f"{here}/pause")
    do(f"{here}/resume")
    do(f"~/stop/campaign/{made}/stop")
    do(f"~/stop/campaign/{made}/release")
    do(f"{here}/duplicate")
    do(f"{here}/stop", typed="Summer")
    do(f"{here}/remove", typed="Summer")
    waiting = make_campaign(client)
    walk = make_enrollment(
        waiting, make_lead(client, title=""), status="needs_attention", reason="needs_attention_variable", detail="No value for: title."
    )
    do(f"~/campaigns/{waiting.id}/people/{walk.id}/fix", **{"value-title": "CEO"})


def _outbox_and_inbox(do: Person, client: Client) -> None:
    mailbox = make_mailbox(client)
    campaign = make_campaign(client, mailboxes=(mailbox,))
    rows = {}
    for status in ("uncertain", "failed"):
        lead = make_lead(client)
        walk = make_enrollment(campaign, lead, mailbox, status="held" if status == "uncertain" else "failed")
        rows[status] = make_delivery(
            walk, lead, mailbox, status=status, mime=MIME, permitted_at=MONDAY_TEN, permit_product_at=MONDAY_TEN, message_id=f"<{status}@ours.test>"
        ).id
    do(f"~/messages/{rows['uncertain']}/decide", outcome="was_sent")
    do(f"~/messages/{rows['failed']}/suppress")
    lead = make_lead(client)
    talk = make_conversation(client, mailbox, lead, unread=1)
    message = make_message(talk, match_candidates=[{"lead_id": lead.id}])
    here = f"~/inbox/{talk.id}"
    for verb in ("read", "unread", "close", "reopen"):
        do(f"{here}/{verb}")
    do(f"{here}/assign", user_id=do.user_id)
    do(f"{here}/snooze", preset="tomorrow")
    do("~/inbox/many", do="reopen", ids=[talk.id])
    talk.needs_match = True
    save(talk)
    do(f"{here}/match", message_id=message.id, lead_id=lead.id)
    do(f"{here}/reply", text="Thank you.", nonce="one")
    do(f"~/inbox/messages/{_newest(Message)}/undo")
    source = make_message(talk, raw_sha256=_blob(client, MIME))
    do(f"~/inbox/messages/{source.id}/source", get=True)


def _people(do: Person) -> None:
    do("~/settings/people", email="new@house.test", name="New", role="agent")
    seat = _newest(Membership)
    do(f"~/settings/people/{seat}/link")
    do(f"~/settings/people/{seat}/role", role="viewer")
    do(f"~/settings/people/{seat}/remove")
    do("/operations/people", email="login@house.test", name="Login")
    user = _newest(User)
    for action in ("link", "promote", "demote", "end_sessions", "disable", "enable"):
        do(f"/operations/people/{user}/{action}")
    do(f"/operations/people/{user}/profile", timezone="Asia/Tokyo", language="ja")
    do("~/settings/api-keys", name="CRM", scope="read", days="30")
    do(f"~/settings/api-keys/{_newest(ApiKey)}/revoke")
    do("~/settings/", name="House", timezone="UTC", language="en", retention_days=400, client_hour_cap=99, hours_0="09:00-17:00", postal_address="1 Lane")
    do("~/stop/stop", reason="test")
    do("~/stop/release")
    do("~/settings/trail.csv", get=True)


def _oneself(do: Person, app: Flask) -> None:
    user = db.session.get_one(User, do.user_id)
    do("/profile", name="Ada", timezone="Asia/Tokyo", language="pt", theme="dark")
    do("/profile/password", current_password=PASSWORD, new_password="four quiet herons wade")
    do("/profile/password", current_password="four quiet herons wade", new_password=PASSWORD)
    for path in ("/profile/sessions/{}/end", "/profile/sessions/end-others"):
        PageClient(app).log_in(user)
        do(path.format(_newest(UserSession)))
    do("/logout")
    do.page.get("/login")
    do("/login", email=user.email, password=PASSWORD)
    do.page.get("/profile")
    do("/profile/second-factor/begin", password=PASSWORD)
    do("/profile/second-factor/confirm", otp=code(user))
    next_step()
    do("/profile/second-factor/codes", otp=code(user))
    next_step()
    path = link(do.page, user, "login")
    do.page.get(path)
    do(path)  # a link alone does not pass by the second factor
    do.page.get("/login/code")
    do("/login/code", otp=code(user))
    next_step()
    do.page.get("/profile")
    do("/profile/second-factor/off", otp=code(user))


def _webhooks(do: Person) -> None:
    do("~/settings/webhooks", url="http://127.0.0.1:9/nobody", events=["reply.received"])
    here = f"~/settings/webhooks/{_newest(OutgoingEndpoint)}"
    do(f"{here}/test")
    do(f"~/settings/webhooks/deliveries/{_newest(OutgoingCall)}/redeliver")
    do(here, url="http://127.0.0.1:9/nobody", description="Ours", events=["reply.received"])
    do(f"{here}/secret")
    for action in ("end_old", "redeliver", "off", "on", "remove"):
        do(f"{here}/{action}")


def _installation(do: Person) -> None:
    do("/operations/settings", instance_hour_cap=900)
    do("/operations/stop/stop")
    do("/operations/stop/release")
    do("/operations/schedule/pause")
    do("/operations/schedule/start")
    do("/operations/replay")
    do("/operations/arrivals/replay", ids=[1])
    do("/operations/arrivals/let-be", ids=[1])
    do("/operations/webhooks/", name="Carrier", verifier="standard_webhooks")
    here = f"/operations/webhooks/{_newest(WebhookSource)}"
    do(f"{here}/rename", name="Other")
    for action in ("secret", "end_old", "address", "reveal", "release", "remove"):
        do(f"{here}/{action}")
    before, do.client_id = do.client_id, _newest(Client) + 1
    do("/clients/new", name="Another", slug="another", timezone="UTC")
    do.client_id = before
