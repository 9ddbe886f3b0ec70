from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.domain.personalisation import compile_template, render
from app.domain.reasons import Reason
from app.domain.sequence import (
    Finished,
    Next,
    SequenceError,
    StepNode,
    Waiting,
    check,
    deletion_effect,
    forecast,
    in_order,
    insertion_effect,
    moved_by_insertion,
    next_step,
    plan_next,
)
from app.domain.starter_sequences import STARTER_SEQUENCES, starter_sequence
from app.domain.working_time import Calendar, DelayUnit

BERLIN = Calendar("Europe/Berlin")
MONDAY = datetime(2026, 11, 23, 9, 7, tzinfo=UTC)
LINE = (
    StepNode(1, subject="Hello"),
    StepNode(4, parent_id=1, delay_value=3),
    StepNode(2, parent_id=4, delay_value=6),
    StepNode(9, parent_id=2, delay_value=9, subject="New"),
)


def test_a_line_is_walked_from_first_to_last() -> None:
    assert [step.id for step in in_order(LINE)] == [1, 4, 2, 9]
    assert next_step(LINE, None) == LINE[0]
    assert next_step(LINE, 4) == LINE[2]
    assert next_step(LINE, 9) is None


def test_only_a_mail_without_a_subject_continues_the_thread() -> None:
    assert [step.continues_thread for step in LINE] == [False, True, True, False]


def test_delays_run_from_the_moment_the_previous_step_was_sent() -> None:
    first = plan_next(LINE, BERLIN, None, MONDAY)
    assert first == Next(LINE[0], MONDAY)
    sent_late = datetime(2026, 11, 24, 14, 0, tzinfo=UTC)
    assert plan_next(LINE, BERLIN, 1, sent_late) == Next(LINE[1], datetime(2026, 11, 27, 14, 0, tzinfo=UTC))
    assert plan_next(LINE, BERLIN, 9, MONDAY) == Finished()


def test_a_calendar_that_never_opens_makes_the_lead_wait() -> None:
    closed = Calendar("UTC", windows=((),) * 7)
    assert plan_next(LINE, closed, None, MONDAY) == Waiting(Reason.OUTSIDE_WINDOW)
    assert forecast(LINE, closed, MONDAY, 3) == []


def test_the_forecast_is_the_planner_run_ahead() -> None:
    days = [entry.due_at.date().isoformat() for entry in forecast(LINE, BERLIN, MONDAY, 10)]
    assert days == ["2026-11-23", "2026-11-26", "2026-12-04", "2026-12-17"]
    assert [entry.step.id for entry in forecast(LINE, BERLIN, MONDAY, 2, last_step_id=1)] == [4, 2]


def test_a_deleted_step_is_passed_over_and_those_who_had_it_go_on() -> None:
    without = (LINE[0], replace(LINE[1], deleted=True), *LINE[2:])
    assert [step.id for step in in_order(without)] == [1, 2, 9]
    assert next_step(without, 1) == LINE[2]
    assert next_step(without, 4) == LINE[2]
    only = (replace(LINE[0], deleted=True),)
    assert next_step(only, None) is None


def test_an_insertion_moves_exactly_the_followers() -> None:
    assert moved_by_insertion(LINE, 4) == (2,)
    new = StepNode(10, parent_id=4)
    after = (*(replace(step, parent_id=10) if step.id == 2 else step for step in LINE), new)
    assert [step.id for step in in_order(after)] == [1, 4, 10, 2, 9]
    assert moved_by_insertion(LINE, 9) == ()


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ((StepNode(1), StepNode(1, parent_id=1)), "same number"),
        ((StepNode(1), StepNode(2)), "same step"),
        ((StepNode(1), StepNode(2, parent_id=7)), "hangs on nothing"),
        ((StepNode(1, parent_id=2), StepNode(2, parent_id=1)), "hangs on nothing"),
    ],
)
def test_what_is_no_tree_is_refused(steps: tuple[StepNode, ...], says: str) -> None:
    with pytest.raises(SequenceError, match=says):
        check(steps)


def test_branches_do_not_disturb_the_ordinary_way() -> None:
    tree = (*LINE, StepNode(20, parent_id=1, branch="opened", delay_unit=DelayUnit.HOURS))
    check(tree)
    assert next_step(tree, 1) == LINE[1]
    assert next_step(tree, 1, "opened") == tree[-1]


def test_an_insertion_behind_everybody_is_free() -> None:
    assert insertion_effect(LINE, 2, {100: 1, 101: 2, 102: None}).free
    assert insertion_effect(LINE, 1, {100: 1, 101: None}).free


def test_an_insertion_names_those_who_are_past_it() -> None:
    assert insertion_effect(LINE, 1, {100: 1, 101: 4, 102: 9, 103: None}).skips == (101, 102)
    assert insertion_effect(LINE, None, {100: 1, 103: None}).skips == (100,)


def test_a_deletion_names_those_who_would_have_got_it() -> None:
    assert deletion_effect(LINE, 9, {100: 1, 101: 2}).free
    effect = deletion_effect(LINE, 4, {100: 1, 101: 4, 102: 9, 103: None})
    assert effect.loses == (100, 103) and not effect.free


def test_the_starter_sequences_can_be_sent_to_a_lead_of_whom_only_the_address_is_known() -> None:
    assert len({sequence.key for sequence in STARTER_SEQUENCES}) == len(STARTER_SEQUENCES) == 3
    bare = {"client_name": "Acme", "sender_name": "Grace", "unsubscribe_url": "https://x.example/u/1"}
    for sequence in STARTER_SEQUENCES:
        assert sequence.steps[0].subject and sequence.steps[0].delay_value == 0
        assert [step.delay_value for step in sequence.steps] == [0, 3, 6, 9][: len(sequence.steps)]
        for step in sequence.steps:
            for seed in range(8):
                text = render(compile_template(step.text, "text"), bare, seed)
                assert "https://x.example/u/1" in text and "Grace" in text and "{" not in text and "there" in text
                render(compile_template(step.subject, "subject"), bare, seed)
    assert starter_sequence("first-contact") is STARTER_SEQUENCES[0]
    assert starter_sequence("nope") is None
