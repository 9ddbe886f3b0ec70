"""Whatever a proven caller sends: no accident, no row lost, no worker dead, and what is good is worked on all the same."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.core.db import transaction
from app.domain import mail_event as shape
from app.domain.webhook_body import Unreadable, dedupe_key, kind_of, read, shown
from jobs import receive
from tests.factories import MONDAY_TEN
from tests.ingest.callers import mail_event, make_caller

REQUESTS = int(os.environ.get("EMBERPOST_FUZZ", "300"))
LARGE = 1024 * 1024 - 200

SHAPES: list[Any] = [
    mail_event("bounced", "<x@y.test>", status="5.1.1", text="550 5.1.1 user unknown", permanent=True, at="2026-11-23T10:00:00Z"),
    mail_event("delivered", "<x@y.test>"),
    {"event": "message_received", "account_id": "a", "chat_id": "c", "message_id": "m", "message": "Hello", "sender": {"attendee_id": "p"}},
    {"event": "new_relation", "account_id": "a", "user_provider_id": "p"},
    {"AccountStatus": {"account_id": "a", "account_type": "LINKEDIN", "message": "CREDENTIALS"}},
    {"event": "mail_received", "email_id": "e", "account_id": "a", "body": "<p>x</p>", "to_attendees": [{"identifier": "x@y.test"}]},
    {"event": "message_reaction", "account_id": "a", "message_id": "m", "reaction": "👍", "reaction_sender": {"attendee_id": "p"}},
]
ODD: list[Any] = [
    None, True, -1, 0, 10**30, 2**63, 1e308, [], [None], {}, {"a": {"b": []}}, "", " ", "\0", "\ud800", "\udfff\ud800", "x" * 70_000, "é" * 300, "\u202eabc",
    "<script>", "' OR 1=1", "9" * 5_000, "1_000", "²", "NaN", "a@b\r\nBcc: c@d.test", [[[[]]]] * 50, "delivered", "<x@y.test>", "emberpost.mail-event",
]  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, item in inner for place in _places(item, (*path, key))]


def _changed(dice: random.Random, action: Callable[[Any, Any], None]) -> bytes:
    copy = json.loads(json.dumps(dice.choice(SHAPES)))
    path = dice.choice(_places(copy))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    action(holder, path[-1])
    return json.dumps(copy).encode()


def _retype(dice: random.Random) -> bytes:
    return _changed(dice, lambda holder, key: holder.__setitem__(key, dice.choice(ODD)))


def _drop(dice: random.Random) -> bytes:
    return _changed(dice, lambda holder, key: holder.__delitem__(key))


def _bytes(dice: random.Random) -> bytes:
    raw = bytearray(json.dumps(dice.choice(SHAPES)).encode())
    for _ in range(dice.randint(1, 6)):
        raw[dice.randrange(len(raw))] = dice.randrange(256)
    return bytes(raw)


def _cut(dice: random.Random) -> bytes:
    raw = json.dumps(dice.choice(SHAPES)).encode()
    return raw[: dice.randrange(len(raw))]


def _special(dice: random.Random) -> bytes:
    return dice.choice(SPECIAL)


SPECIAL = [
    b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b'"' + b"x" * LARGE + b'"', b"[" * LARGE, b"1" * LARGE,
    b"-" + b"9" * 5_000, b'{"type": NaN}', b'{"type": Infinity}', b'{"type": "a", "type": "emberpost.mail-event"}',
    b'{"event": "x", "event": {"event": 1}}', b"\x00", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "{}".encode("utf-32"), b"\xff" * 1_000,
    b'{"\\u0000": "\\u0000"}', b'{"\\ud800": "\\udc00\\ud800"}', b"", b" " * 1_000, b"null", b"0", b'""',
    b'{"type": "emberpost.mail-event", "event": "bounced", "message_id": "\\u0000@\\ud800"}', b'{"type": "' + b"t" * 100_000 + b'"}',
    b"a=1&b=%7B%7D", b"\r\n\r\n",
]  # fmt: skip
WAYS = [_retype, _retype, _drop, _bytes, _cut, _special]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_mutated_events_are_all_kept_and_judged_and_none_is_an_accident(app: Flask) -> None:
    dice = random.Random(int(os.environ.get("EMBERPOST_SEED", "1")))
    signed, fixed = make_caller(app), make_caller(app, "static_header", name="Fixed")
    statuses: dict[int, int] = {}
    kept = repeats = 0
    for number in range(REQUESTS):
        body = SPECIAL[number] if number < len(SPECIAL) else dice.choice(WAYS)(dice)
        answer = (fixed if number % 4 == 3 else signed).call(body, f"evt-{number}")
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        kept += answer.json == {"status": "kept"}
        repeats += answer.json == {"status": "known"}
    assert statuses == {200: REQUESTS} and kept + repeats == REQUESTS
    with transaction() as session:
        assert session.execute(text("SELECT count(*), sum(seen) FROM inbound_events")).one() == (kept, REQUESTS)
    receive.work_through(600)
    with transaction() as session:
        rows = session.execute(text("SELECT status, attempts, error FROM inbound_events")).all()
        assert {row.status for row in rows} <= {"done", "ignored", "quarantined"} and len(rows) == kept
        assert not [row.error for row in rows if "Traceback" in row.error], "a processor failed instead of judging"
        assert session.execute(text("SELECT count(*) FROM deliveries")).scalar() == 0


_NAMES = ["type", "event", "id", "event_id", "account_id", "message_id", "AccountStatus", "token", "permanent", "status", "text"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=5), inner, max_size=6),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(_JSON)
def test_any_json_has_a_kind_a_key_and_can_be_shown(value: Any) -> None:
    body = json.dumps(value).encode()
    key = dedupe_key(None, body, MONDAY_TEN)
    assert 0 < len(key) <= 200 and key.isascii() and key == dedupe_key(None, body, MONDAY_TEN)
    assert "\0" not in shown(body)
    try:
        assert kind_of(read(body)).encode() is not None
        shape.parse(read(body))
    except Unreadable:
        pass


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_have_a_key_and_can_be_shown(body: bytes) -> None:
    assert dedupe_key(None, body, MONDAY_TEN)
    assert "\0" not in shown(body)


def test_what_looks_like_a_secret_is_covered_wherever_it_stands() -> None:
    canary = "sup3r-s3cret-canary"
    for body in (
        {"password": canary}, {"a": [{"Api-Key": canary}]}, {"access_token": canary, "b": {"client_secret": {"x": canary}}},
        {"Authorization": f"Bearer {canary}"},
    ):  # fmt: skip
        assert canary not in shown(json.dumps(body).encode())
    for line in (f"password={canary}", f"Authorization: Bearer {canary}", f"x-api-key: {canary}\n", f'token="{canary}"', f"{{'secret': '{canary}'"):
        assert canary not in shown(line.encode())
    assert "Hello" in shown(b'{"message": "Hello"}') and "Subject: odd" in shown(b"Subject: odd\r\n\r\nx")
    deep: Any = canary
    for _ in range(200):
        deep = {"a": deep}
    assert canary not in shown(json.dumps({"a": deep}).encode())
