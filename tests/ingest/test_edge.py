"""The address that other services call: what is proven is kept once, and nothing else is."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.bell import bell
from app.core.db import transaction
from app.core.extensions import db
from app.core.queue import Job, QueueName, redis_queue
from app.models import InboundEvent, WebhookSource
from app.services import webhooks
from tests.ingest.callers import Caller, mail_event, make_caller
from tests.web.page_client import as_web

EVENT = mail_event("delivered", "<x@y.test>")


@pytest.fixture
def caller(app: Flask) -> Caller:
    bell().connection.flushdb()
    return make_caller(app)


def kept() -> list[InboundEvent]:
    db.session.rollback()
    db.session.expire_all()
    return db.session.query(InboundEvent).order_by(InboundEvent.id).all()


def source() -> WebhookSource:
    db.session.rollback()
    db.session.expire_all()
    return db.session.query(WebhookSource).one()


def test_a_proven_call_is_kept_as_it_came_and_rings_once(caller: Caller) -> None:
    raw = b'{"type": "x",  "odd":"\xc3\xa9"}\n'
    assert caller.call(raw, "evt-1").json == {"status": "kept"}
    (event,) = kept()
    assert (bytes(event.body), event.status, event.source, event.account, event.dedupe_key) == (raw, "new", "webhook", str(caller.id), "id:evt-1")
    assert event.body_sha256 == hashlib.sha256(raw).hexdigest()
    assert caller.call(EVENT, "evt-2").status_code == 200
    assert [job.func_name for job in redis_queue(QueueName.RECEIVE).jobs] == [str(Job.INBOUND_ARRIVED)]


def test_a_repeat_is_answered_like_the_first_counted_and_does_nothing(caller: Caller) -> None:
    assert caller.call(EVENT, "evt-1").json == {"status": "kept"}
    for _ in range(3):
        answer = caller.call({"other": "body"}, "evt-1")
        assert (answer.status_code, answer.json) == (200, {"status": "known"})
    (event,) = kept()
    assert event.seen == 4 and b"delivered" in bytes(event.body)


def test_what_is_not_proven_is_refused_counted_and_not_kept(caller: Caller) -> None:
    now = datetime.now(UTC)
    body = b'{"type": "x"}'
    good = caller.proof(body, "evt-1")
    wrong = [
        {}, {**good, "webhook-id": "evt-2"}, {**good, "webhook-signature": "v1,AAAA"}, {**good, "webhook-signature": good["webhook-signature"][3:]},
        caller.proof(body + b" "), caller.proof(body, at=now - timedelta(seconds=302)), caller.proof(body, at=now + timedelta(seconds=302)),
    ]  # fmt: skip
    for headers in wrong:
        answer = caller.call(body, headers=headers)
        assert answer.status_code == 401 and "signature" not in answer.get_data(as_text=True)
    assert kept() == [] and source().refused == len(wrong) and source().refused_why
    assert caller.call(body, headers=good).status_code == 200


def test_an_address_that_nobody_has_is_not_there(caller: Caller) -> None:
    assert caller.call(EVENT, token="no-such-token").status_code == 404
    assert caller.call(EVENT, token=("A" if caller.token[0] != "A" else "B") + caller.token[1:]).status_code == 404
    with transaction():
        webhooks.change_address(webhooks.get(caller.id), by=None)
    assert caller.call(EVENT).status_code == 404
    with transaction():
        webhooks.remove(webhooks.get(caller.id), by=None)
        token = webhooks.token_of(db.session.get_one(WebhookSource, caller.id))
    assert caller.call(EVENT, token=token).status_code == 404
    assert kept() == []


def test_a_source_without_a_valid_secret_accepts_nothing_and_says_come_back(caller: Caller) -> None:
    db.session.execute(text("UPDATE webhook_secrets SET ends_at = clock_timestamp()"))
    db.session.commit()
    answer = caller.call(EVENT)
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert kept() == []


def test_secrets_change_without_a_gap_and_old_ones_end(caller: Caller) -> None:
    old = caller.secret
    with transaction():
        caller.secret = webhooks.change_secret(webhooks.get(caller.id), by=None)
    new = caller.secret
    assert caller.call(EVENT).status_code == 200
    caller.secret = old
    assert caller.call(EVENT).status_code == 200
    with transaction():
        assert webhooks.end_old_secrets(webhooks.get(caller.id), by=None) == 1
    assert caller.call(EVENT).status_code == 401
    caller.secret = new
    assert caller.call(EVENT).status_code == 200


def test_a_secret_opens_only_on_its_own_row(caller: Caller) -> None:
    other = make_caller(caller.app, name="Other")
    first, second = (row.sealed for row in db.session.execute(text("SELECT sealed FROM webhook_secrets ORDER BY id")))
    assert caller.secret not in first + second
    assert caller.call(EVENT, headers=other.proof(b"{}")).status_code == 401


def test_too_much_is_refused_while_reading_whatever_its_length_claims(caller: Caller) -> None:
    large = b"[" + b"1," * 600_000 + b"1]"
    assert caller.call(large).status_code == 413
    client = caller.app.test_client()
    options: dict[str, Any] = {"input_stream": io.BytesIO(large), "headers": caller.proof(large), "environ_overrides": {"wsgi.input_terminated": True}}
    assert as_web(lambda: client.post(f"/webhooks/{caller.token}", **options)).status_code == 413
    exact = b'"' + b"a" * (1024 * 1024 - 2) + b'"'
    assert caller.call(exact).status_code == 200
    assert len(kept()) == 1


def test_a_fixed_header_proves_and_its_repeats_are_known_by_what_they_say(app: Flask) -> None:
    caller = make_caller(app, "static_header", header="Unipile-Auth")
    chat = {"event": "message_received", "account_id": "acc", "message_id": "m1", "message": "Hello", "timestamp": 1}
    assert caller.call(chat).json == {"status": "kept"}
    assert caller.call({**chat, "timestamp": 2}).json == {"status": "known"}
    assert caller.call({**chat, "message_id": "m2"}).json == {"status": "kept"}
    assert caller.call({"b": 1, "a": [2]}).json == {"status": "kept"}
    assert caller.call(b'{"a":[2],"b":1}').json == {"status": "known"}
    assert caller.call(chat, headers={"Unipile-Auth": caller.secret + "x"}).status_code == 401
    assert caller.call(chat, headers={"X-Other": caller.secret}).status_code == 401


def test_only_post_is_answered_and_no_cookie_or_token_of_ours_is_asked_for(caller: Caller) -> None:
    client = caller.app.test_client()
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert as_web(lambda method=method: client.open(f"/webhooks/{caller.token}", method=method)).status_code == 405
    answer = caller.call(EVENT)
    assert "Set-Cookie" not in answer.headers


def test_without_redis_the_event_is_kept_and_the_sweep_finds_it(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    import redis

    def away(*_: object, **__: object) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(type(bell().connection), "execute_command", away)
    assert caller.call({"type": "unknown"}).status_code == 200
    monkeypatch.undo()
    from jobs import receive

    receive.sweep()
    assert [event.status for event in kept()] == ["ignored"]
