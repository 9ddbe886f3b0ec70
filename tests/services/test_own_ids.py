"""A Message-ID of ours names its intention, to us alone."""

from __future__ import annotations

import pytest
from flask import Flask

from app.services.outbox import own_ids

KEYS = ["step:1:2", "step:40000000001:9000000007", "retry:17:3", "reply:88", "test:4:0123456789abcdef", "digest:1:2026-W48:a@b.test"]


@pytest.mark.parametrize("key", KEYS)
def test_the_same_intention_has_the_same_message_id_and_only_ours_open(app: Flask, key: str) -> None:
    made = own_ids.message_id_of(key, "Ann@OurHouse.test")
    assert made == own_ids.message_id_of(key, "ann@ourhouse.test") and len(made.split("@")[0]) <= 61
    opened = own_ids.open_id(made.upper())
    assert opened is not None and opened.key == (key if key.split(":")[0] in ("step", "retry", "reply") else "")
    assert own_ids.open_id(made[1:-1]) == opened
    wrong = "<" + ("a" if made[1] != "a" else "b") + made[2:]
    assert own_ids.open_id(wrong) is None


def test_a_step_says_its_lead_and_step_and_other_kinds_do_not(app: Flask) -> None:
    opened = own_ids.open_id(own_ids.message_id_of("step:12:345", "a@b.test"))
    assert opened is not None and opened.step == (12, 345)
    other = own_ids.open_id(own_ids.message_id_of("reply:12", "a@b.test"))
    assert other is not None and other.step is None


@pytest.mark.parametrize("text", ["", "<>", "<CAF=abc@mail.gmail.com>", "<0123456789abcdef01234567@ourhouse.test>", "<" + "a" * 40 + "@x.test>", None])
def test_what_we_did_not_make_says_nothing(app: Flask, text: str | None) -> None:
    assert own_ids.open_id(text) is None
