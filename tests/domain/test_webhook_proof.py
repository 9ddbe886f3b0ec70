"""Proofs of origin: vectors made by hand from the specification, and everything that is one bit away from them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.webhook_proof import (
    BadSecret,
    Call,
    Refused,
    check_secret,
    good_header,
    key_of,
    sign,
    standard_webhooks,
    static_header,
)

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
NAMES = ["webhook-id", "webhook-timestamp", "webhook-signature", "svix-id", "svix-signature"]
BODY = b'{"type":"emberpost.mail-event","event":"delivered"}'

#: (id, seconds, body, secret, signature), computed with OpenSSL: openssl dgst -sha256 -mac HMAC -macopt hexkey:… -binary | base64
VECTORS = [
    ("msg_1", 1795428000, BODY, SECRET, "wKgB/mPZOKxnPY0A4HX14nG5mzykS4yG6yLhB3j512g="),
    ("msg_2", 1795428000, b"", SECRET, "JHSe30ZJt83yj3lmVHPdPrzo9SR1pADspM02rIKVOpA="),
    ("msg 3.with.dots", 1795428000, b"\x00\xff\r\n", OTHER, "JTZI8DKa2Z5s8gDCsaZf1uZReTQNFaSryZSVUmIN5IQ="),
]


def call(headers: dict[str, str], body: bytes = BODY, at: datetime = NOW) -> Call:
    return Call(headers, body, at)


def headers_of(event_id: str, seconds: int, signature: str) -> dict[str, str]:
    return {"webhook-id": event_id, "webhook-timestamp": str(seconds), "webhook-signature": f"v1,{signature}"}


@pytest.mark.parametrize(("event_id", "seconds", "body", "secret", "signature"), VECTORS)
def test_the_vectors_are_accepted_and_written_alike(event_id: str, seconds: int, body: bytes, secret: str, signature: str) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    assert sign(event_id, at, body, secret) == headers_of(event_id, seconds, signature)
    assert standard_webhooks(call(headers_of(event_id, seconds, signature), body, at), [secret]).event_id == event_id
    svix = {name.replace("webhook", "svix"): value for name, value in headers_of(event_id, seconds, signature).items()}
    assert standard_webhooks(call(svix, body, at), [secret]).event_id == event_id


def refused(headers: dict[str, str], body: bytes = BODY, at: datetime = NOW, secrets: tuple[str, ...] = (SECRET,)) -> bool:
    try:
        standard_webhooks(call(headers, body, at), secrets)
    except Refused:
        return True
    return False


def test_every_single_bit_counts() -> None:
    good = sign("msg_1", NOW, BODY, SECRET)
    assert not refused(good)
    for bit in range(len(BODY) * 8):
        flipped = bytearray(BODY)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refused(good, bytes(flipped)), bit
    for bit in range(32 * 8):
        key = bytearray(range(32))
        key[bit // 8] ^= 1 << bit % 8
        assert refused(good, secrets=("whsec_" + base64.b64encode(bytes(key)).decode(),)), bit
    signature = base64.b64decode(good["webhook-signature"][3:])
    for bit in range(len(signature) * 8):
        wrong = bytearray(signature)
        wrong[bit // 8] ^= 1 << bit % 8
        assert refused({**good, "webhook-signature": "v1," + base64.b64encode(bytes(wrong)).decode()}), bit
    for name in ("webhook-id", "webhook-timestamp"):
        for at in range(len(good[name])):
            for bit in range(7):
                value = good[name][:at] + chr(ord(good[name][at]) ^ 1 << bit) + good[name][at + 1 :]
                assert refused({**good, name: value}), (name, value)


def test_a_stamp_may_be_five_minutes_off_and_no_more() -> None:
    for off, fits in ((0, True), (299, True), (-299, True), (302, False), (-302, False), (86_400, False), (-86_400, False)):
        assert refused(sign("m", NOW - timedelta(seconds=off), BODY, SECRET)) is not fits, off
    good = sign("m", NOW, BODY, SECRET)
    for stamp in ("", "-1", "1e9", " 1795428000", "١٧٩٥٤٢٨٠٠٠", "9" * 40, "0x10", "nan"):
        assert refused({**good, "webhook-timestamp": stamp}), stamp


def test_any_of_several_secrets_and_any_of_several_signatures_will_do() -> None:
    old, new = sign("m", NOW, BODY, SECRET), sign("m", NOW, BODY, OTHER)
    assert not refused(old, secrets=(OTHER, SECRET)) and not refused(new, secrets=(OTHER, SECRET))
    both = {**old, "webhook-signature": f"{new['webhook-signature']} v1a,xyz {old['webhook-signature']}"}
    assert not refused(both, secrets=(SECRET,))
    assert refused(old, secrets=()) and refused(old, secrets=(OTHER,))
    many = {**old, "webhook-signature": "v1,AAAA " * 5_000 + old["webhook-signature"]}
    assert refused(many)  # nobody makes us compare thousands


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=60)), st.binary(max_size=60))
def test_no_headers_are_an_accident(headers: dict[str, str], body: bytes) -> None:
    assert refused(headers, body)


def test_the_signed_text_is_id_stamp_and_body_and_nothing_else() -> None:
    made = sign("a", NOW, b"b", SECRET)
    content = b"a." + made["webhook-timestamp"].encode() + b".b"
    assert made["webhook-signature"] == "v1," + base64.b64encode(hmac.new(bytes(range(32)), content, hashlib.sha256).digest()).decode()


def test_a_fixed_header_is_compared_whole() -> None:
    assert static_header(call({"unipile-auth": "a" * 20}), ["b" * 20, "a" * 20], "Unipile-Auth").event_id is None
    for headers in ({}, {"unipile-auth": ""}, {"unipile-auth": "a" * 19}, {"unipile-auth": "a" * 21}, {"unipile-auth": "\ud800"}, {"other": "a" * 20}):
        with pytest.raises(Refused):
            static_header(call(headers), ["a" * 20], "Unipile-Auth")


def test_what_cannot_be_a_secret_or_a_header_is_refused() -> None:
    for secret in ("", "whsec_", "whsec_AAAA", "whsec_" + "é" * 40, "whsec_" + "A" * 400, "no base64 at all, surely not"):
        with pytest.raises(BadSecret):
            key_of(secret)
    for secret in ("short", " " + "a" * 20, "a" * 600, "é" * 20):
        with pytest.raises(BadSecret):
            check_secret("static_header", secret)
    assert good_header("X-Secret") and not any(map(good_header, ("", "Cookie", "content-length", "A B", "X\r\nY", "X:Y", "é")))
