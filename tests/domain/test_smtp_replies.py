"""Replies of mail servers: every rule is reached by its own example, and nothing is ever without a verdict."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.rates import next_retry
from app.domain.smtp_replies import _compiled, decide, wait_asked_for
from app.domain.smtp_reply import Action, Concern, Phase, Reply, enhanced_code
from app.domain.smtp_reply_rules import RULES, Rule


def reply_of(line: str, phases: str) -> Reply:
    first = phases.split()[0] if phases else "rcpt"
    phase = Phase.RCPT if first == "envelope" else Phase(first)
    code, _, text = line.partition(" ")
    enhanced = enhanced_code(text)
    return Reply(phase, int(code), enhanced, text.removeprefix(enhanced).strip() if enhanced else text)


def test_there_are_at_least_120_rules() -> None:
    assert len(RULES) >= 120


@pytest.mark.parametrize("rule", RULES, ids=[f"{i}-{rule.reason}" for i, rule in enumerate(RULES)])
def test_each_example_gets_its_rules_reason_and_action(rule: Rule) -> None:
    verdict = decide(reply_of(rule.example, rule.phases))
    assert (verdict.reason, verdict.action, verdict.concerns) == (rule.reason, rule.action, rule.concerns)


def test_unknown_texts_fall_back_to_the_code() -> None:
    assert decide(Reply(Phase.RCPT, 550, "", "zzz")).action is Action.FAIL
    assert decide(Reply(Phase.RCPT, 450, "", "zzz")).action is Action.RETRY
    assert decide(Reply(Phase.REPLY, 250, "", "zzz")).action is Action.DONE
    assert decide(Reply(Phase.REPLY, 0, "", "")).action is Action.UNCERTAIN
    assert decide(Reply(Phase.REPLY, 354, "", "go on")).action is Action.UNCERTAIN
    assert decide(Reply(Phase.MAIL, 0, "", "")).action is Action.RETRY


def test_a_closing_server_before_the_dot_is_nothing_the_lead_did() -> None:
    for phase in (Phase.BANNER, Phase.MAIL, Phase.RCPT, Phase.BODY):
        verdict = decide(Reply(phase, 421, "", "closing"))
        assert verdict.action is Action.RETRY and verdict.concerns is Concern.PROVIDER


@given(st.sampled_from(list(Phase)), st.integers(0, 999), st.text(max_size=300))
def test_any_reply_gets_a_verdict(phase: Phase, code: int, text: str) -> None:
    assert decide(Reply(phase, code, enhanced_code(text), text)).reason


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Greylisted, try again in 5 minutes", 300),
        ("please retry in 300 seconds", 300),
        ("Try again after 1 hour", 3600),
        ("Greylisted for 00:04:30, retry after 00:04:30", 270),
        ("wait 90s", 90),
        ("come back in 10 min", 600),
        ("try again in 99999 hours", 172800),
        ("try again later", None),
        ("error 450 again", None),
    ],
)
def test_a_wait_that_is_asked_for_is_read(text: str, seconds: int | None) -> None:
    assert wait_asked_for(text) == seconds


def test_a_wait_that_is_asked_for_wins_over_the_rule() -> None:
    assert decide(Reply(Phase.RCPT, 451, "4.7.1", "Greylisted, try again in 7 minutes")).retry_after == 420


@pytest.mark.parametrize("filler", ["a", "user ", "mailbox not ", "1 ", "exceed "])
def test_hostile_texts_are_read_in_linear_time(filler: str) -> None:
    text = (filler * 100_000)[:100_000]
    for compiled in _compiled():
        if compiled.text is not None:
            began = time.perf_counter()
            compiled.text.search(text[:2_000])
            assert time.perf_counter() - began < 0.05
    began = time.perf_counter()
    decide(Reply(Phase.RCPT, 550, "", text))
    wait_asked_for(text)
    assert time.perf_counter() - began < 0.5


def test_the_ladder_climbs_and_gives_up() -> None:
    first = datetime(2026, 11, 23, 9, tzinfo=UTC)
    now, waits = first, []
    for attempt in range(1, 20):
        at = next_retry(attempt, first, now)
        if at is None:
            break
        waits.append(at - now)
        now = at
    minutes = [int(wait / timedelta(minutes=1)) for wait in waits]
    assert minutes[:5] == [5, 15, 60, 240, 720]
    assert now - first <= timedelta(hours=48)
    assert len(waits) == 7


def test_a_hint_is_obeyed_and_a_hint_beyond_the_end_gives_up() -> None:
    now = datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert next_retry(1, now, now, hint=420) == now + timedelta(seconds=420)
    assert next_retry(1, now - timedelta(hours=47), now, hint=7200) is None
