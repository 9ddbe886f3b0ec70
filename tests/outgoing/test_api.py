"""Webhook endpoints by program and by page: whose they are, where they may stand, what is shown once, and what the trail keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select, text

from app.core.crypto import Vault, use_vault, vault
from app.core.db import transaction
from app.core.extensions import db
from app.domain.outgoing import EVENTS
from app.models import AuditEntry, Client, OutgoingEndpoint, OutgoingSecret
from app.services import doctor, key_rotation
from app.services.outgoing import endpoints
from jobs.outgoing import tell
from tests.api.api_client import ApiClient
from tests.factories import make_client, make_user
from tests.outgoing.receiver import Receiver
from tests.outgoing.test_telling import happen, shift
from tests.services.test_key_rotation import KEYS, NEWER
from tests.web.page_client import PageClient

ALL = "/api/webhook-endpoints"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def client(app: Flask) -> Client:
    return make_client(slug="acme")


@pytest.fixture
def admin(app: Flask, client: Client) -> ApiClient:
    return ApiClient(app).log_in(make_user(client))


def test_the_whole_life_of_an_endpoint_by_program(app: Flask, client: Client, admin: ApiClient, receiver: Receiver) -> None:
    made = admin.post(ALL, {"url": receiver.url, "events": ["reply.received", "campaign.finished"], "description": "the CRM"})
    assert made.status == 201, made.text
    one, secret = f"{ALL}/{made.json['endpoint']['id']}", made.json["secret"]
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret)
    assert (made.json["endpoint"]["state"], made.json["endpoint"]["valid_secrets"]) == ("on", 1)
    assert secret not in admin.get(one).text + admin.get(ALL).text, "shown once"

    tested = admin.post(f"{one}/test")
    assert tested.status == 200 and tested.json["status"] == "delivered" and tested.json["event"] == "webhook.test", tested.text
    assert [(attempt["status"], attempt["length"]) for attempt in tested.json["attempts"]] == [(200, 6)]
    assert receiver.arrived[0].signed_with(secret) and receiver.arrived[0].body.decode() == tested.json["payload"]

    happen(client, "message_received")
    receiver.answers = [(500, b"no")]
    tell()
    (failing,) = admin.get(f"{one}/deliveries?event=reply.received").json["items"]
    assert (failing["status"], failing["tries"], failing["last_status"]) == ("queued", 1, 500) and failing["due_at"]
    assert admin.get(one).json["failing_since"] and admin.get(one).json["waiting"] == 1
    again = admin.post(f"/api/webhook-deliveries/{failing['id']}/redeliver")
    assert again.status == 200 and again.json["tries"] == 0
    tell()
    assert admin.get(f"/api/webhook-deliveries/{failing['id']}").json["status"] == "delivered"
    assert receiver.arrived[-1].id == receiver.arrived[-2].id == failing["webhook_id"]
    page = admin.get(f"{one}/deliveries?limit=1").json
    rest = admin.get(f"{one}/deliveries?limit=1&cursor={page['next_cursor']}").json
    assert [line["event"] for line in page["items"] + rest["items"]] == ["reply.received", "webhook.test"] and rest["next_cursor"] is None

    rotated = admin.post(f"{one}/rotate-secret", {"overlap_hours": 1})
    assert rotated.json["endpoint"]["valid_secrets"] == 2 and rotated.json["secret"] != secret
    assert admin.post(f"{one}/end-old-secrets").json["valid_secrets"] == 1
    changed = admin.patch(one, {"events": ["lead.bounced"], "enabled": False})
    assert (changed.json["events"], changed.json["state"]) == (["lead.bounced"], "off")
    assert admin.post(f"/api/webhook-deliveries/{failing['id']}/redeliver").status == 409
    assert admin.post(f"{one}/redeliver-failed", {"since": "2026-01-01T00:00:00Z"}).status == 409
    assert admin.patch(one, {"enabled": True}).json["state"] == "on"
    assert admin.post(f"{one}/redeliver-failed", {"since": "2026-01-01T00:00:00Z"}).json == {"count": 0}
    assert admin.delete(one).status == 204 and admin.get(one).status == 404
    assert admin.get(f"/api/webhook-deliveries/{failing['id']}").status == 404

    db.session.rollback()
    actions = list(db.session.scalars(select(AuditEntry.action).where(AuditEntry.action.like("webhook_endpoint.%")).order_by(AuditEntry.id)))
    assert [action.split(".")[1] for action in actions] == [
        "create", "test", "redeliver", "rotate_secret", "end_old_secrets", "update", "switch_off", "switch_on", "redeliver_failed", "remove",
    ]  # fmt: skip
    lines = db.session.scalars(select(AuditEntry).where(AuditEntry.action.like("webhook_endpoint.%"))).all()
    assert all(line.client_id == client.id and line.user_id is not None for line in lines)


def test_a_strangers_endpoint_does_not_exist_and_only_admins_manage_their_own(app: Flask, client: Client, admin: ApiClient, receiver: Receiver) -> None:
    theirs = ApiClient(app).log_in(make_user(make_client()))
    foreign = theirs.post(ALL, {"url": receiver.url}).json["endpoint"]["id"]
    call = theirs.post(f"{ALL}/{foreign}/test").json["id"]
    for role in ("viewer", "agent"):
        assert ApiClient(app).log_in(make_user(client, role)).get(ALL).status == 403
    assert admin.get(ALL).json["items"] == []
    one = f"{ALL}/{foreign}"
    answers = [
        admin.get(one), admin.patch(one, {"enabled": False}), admin.delete(one), admin.get(f"{one}/deliveries"),
        *(admin.post(f"{one}/{verb}") for verb in ("test", "rotate-secret", "end-old-secrets")),
        admin.post(f"{one}/redeliver-failed", {"since": "2026-01-01T00:00:00Z"}), admin.get(f"/api/webhook-deliveries/{call}"),
        admin.post(f"/api/webhook-deliveries/{call}/redeliver"),
    ]  # fmt: skip
    assert {answer.status for answer in answers} == {404}
    page = PageClient(app).log_in(make_user(client))
    assert {page.get(f"/c/acme/settings/webhooks/{path}").status for path in (foreign, f"deliveries/{call}")} == {404}
    assert page.post(f"/c/acme/settings/webhooks/{foreign}/remove").status == 404
    assert theirs.get(one).json["state"] == "on"
    # the second wall alone: the web role in the scope of one client sees no row of the other
    with transaction() as session:
        session.execute(text("SET LOCAL ROLE emberpost_web"))
        session.execute(text("SELECT set_config('app.client_id', :id, true)"), {"id": str(client.id)})
        for table in ("endpoints", "secrets", "events", "calls", "tries"):
            assert session.scalar(text(f"SELECT count(*) FROM outgoing_{table}")) == 0
        session.rollback()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://10.0.0.5/hook", "not an allowed target"), ("https://169.254.169.254/latest", "not an allowed target"),
        ("https://[::ffff:10.0.0.5]/", "not an allowed target"), ("https://0x7f000001/", "Write an address"), ("http://93.184.216.34/", "Use https"),
        ("http://93.184.216.34:443/", "Use https"), ("https://93.184.216.34:22/", "port"), ("https://user:pw@hooks.test/", "Write an address"),
        ("ftp://hooks.test/", "Write an address"), ("hooks.test/x", "Write an address"), ("https://hooks.test/#part", "Write an address"),
        ("https://", "Write an address"), ("http://nobody.invalid/", "Use https"),
    ],
)  # fmt: skip
def test_an_address_we_must_not_call_is_refused_when_it_is_saved(app: Flask, client: Client, admin: ApiClient, url: str, says: str) -> None:
    refused = admin.post(ALL, {"url": url})
    assert refused.status == 422 and says in refused.details["url"][0], refused.text
    assert admin.get(ALL).json["items"] == []


def test_odd_requests_are_refused_in_words(app: Flask, client: Client, admin: ApiClient, receiver: Receiver) -> None:
    assert admin.post(ALL, {"url": receiver.url, "events": ["everything"]}).status == 422
    assert admin.post(ALL, {"url": receiver.url, "events": []}).status == 422
    assert admin.post(ALL, {"url": receiver.url, "state": "on"}).details == {"state": ["Unknown field."]}
    one = f"{ALL}/{admin.post(ALL, {'url': receiver.url}).json['endpoint']['id']}"
    assert admin.get(one).json["events"] == list(EVENTS)
    assert admin.post(f"{one}/rotate-secret", {"overlap_hours": 1000}).status == 422
    assert admin.post(f"{one}/redeliver-failed", {}).status == 422
    for _ in range(endpoints.MOST - 1):
        assert admin.post(ALL, {"url": receiver.url}).status == 201
    assert admin.post(ALL, {"url": receiver.url}).status == 409
    answers = [admin.post(f"{one}/test").status for _ in range(11)]
    assert answers == [200] * 10 + [429] and len(receiver.arrived) == 10


def test_keys_rotate_seals_the_secrets_anew_while_events_go_on(app: Flask, client: Client, admin: ApiClient, receiver: Receiver) -> None:
    made = admin.post(ALL, {"url": receiver.url, "events": ["reply.received"]}).json
    old = vault()
    try:
        use_vault(Vault(f"{NEWER},{KEYS}"))
        assert key_rotation.old_secrets() == 1
        assert app.test_cli_runner().invoke(args=["keys", "rotate"]).exit_code == 0
        use_vault(Vault(NEWER))
        db.session.expire_all()
        row = db.session.scalars(select(OutgoingSecret)).one()
        assert made["secret"] not in row.signing_secret and endpoints.opened(row) == made["secret"]
        db.session.rollback()
        happen(client, "message_received")
        tell()
        assert receiver.arrived[0].signed_with(made["secret"])
    finally:
        use_vault(old)


@pytest.mark.slow
def test_the_pages_do_the_same_and_show_the_secret_once(app: Flask, client: Client, receiver: Receiver) -> None:
    page = PageClient(app).log_in(make_user(client))
    home = "/c/acme/settings/webhooks"
    assert "Nobody is told yet" in page.get(home).words
    wrong = page.post(home, {"url": "https://10.0.0.5/", "events": ["reply.received"]})
    assert wrong.status == 422 and "not an allowed target" in wrong.words and wrong.find("input", id="url").get("value") == "https://10.0.0.5/"
    assert "Choose at least one" in page.post(home, {"url": receiver.url}).words
    added = page.post(home, {"url": receiver.url, "description": "the CRM", "events": ["reply.received", "lead.bounced"]})
    secret = added.find("input", id="handed-link").get("value") or ""
    assert added.status == 200 and secret.startswith("whsec_") and added.response.headers["Cache-Control"] == "no-store"
    endpoint_id = db.session.scalars(select(OutgoingEndpoint.id)).one()
    db.session.rollback()
    one = f"{home}/{endpoint_id}"
    assert secret not in page.get(one).text and "the CRM" in page.get(home).words
    assert page.post(f"{one}/test").status == 303 and receiver.arrived[0].signed_with(secret)
    assert "accepted: 200" in page.get(one).text or "A test" in page.get(one).words
    happen(client, "message_received")
    receiver.answers = [(500, b"")]
    tell()
    assert "Failing" in page.get(home).words and "Nothing was accepted since" in page.get(one).words
    shift(calls__due_at="10 hours", endpoints__rests_until="1 hour", endpoints__failing_since="73 hours")
    receiver.answers = [(500, b"")]
    tell()
    broken = page.get(one)
    assert "Off: it failed" in broken.words and "Nothing was accepted for three days" in broken.words
    with transaction():
        assert doctor.check_outgoing(app.extensions["settings"]).state == "warning"
    assert page.post(f"{one}/on").status == 303
    assert page.post(f"{one}/redeliver", {"hours": "24"}).status == 303
    tell()
    log = page.get(one)
    assert "A person answered" in log.words and "Accepted" in log.words
    link = next(found.get("href") for found in log.all("a") if "/deliveries/" in (found.get("href") or ""))
    story = page.get(str(link))
    answered = [(element.text or "").strip() for row in story.all("li", class_="row-line") for element in row.iter()]
    assert answered.count("500") == 2 and answered.count("200") == 1 and "webhook-id" in story.words and '"type":"reply.received"' in story.words
    assert page.post(f"{link}/redeliver").status == 303
    rotated = page.post(f"{one}/secret", {"at_once": "1"}).find("input", id="handed-link").get("value") or ""
    assert rotated.startswith("whsec_") and rotated != secret
    assert page.post(one, {"url": receiver.url, "events": ["lead.bounced"], "description": "x"}).status == 303
    assert page.post(one, {"url": "nonsense", "events": ["lead.bounced"]}).status == 422
    for action in ("off", "end_old", "remove"):
        assert page.post(f"{one}/{action}").status == 303
    assert page.get(one).status == 404 and "Nobody is told yet" in page.get(home).words
