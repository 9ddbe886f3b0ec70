"""Leads walk through a sequence while people edit it: any order of sends, insertions and deletions keeps the walk's promises."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.domain.sequence import (
    Finished,
    Next,
    StepNode,
    check,
    in_order,
    insertion_effect,
    moved_by_insertion,
    plan_next,
)
from app.domain.working_time import Calendar, DelayUnit, closed_reason, is_open_day, local_date

LEADS = 4
BERLIN = Calendar("Europe/Berlin", country="DE")
MONDAY = datetime(2026, 3, 23, 8, 0, tzinfo=UTC)  # the clocks change at the end of this week


class Walks(RuleBasedStateMachine):
    """Four leads, one campaign. ``sent``: what each was sent and when; ``promised``: who must get an inserted step, who must not."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = [StepNode(1, subject="Hello")]
        self.sent: list[list[tuple[int, datetime]]] = [[] for _ in range(LEADS)]
        self.skips: dict[int, set[int]] = {}
        self.deleted_before: dict[int, set[int]] = {}

    def last(self, lead: int) -> int | None:
        return self.sent[lead][-1][0] if self.sent[lead] else None

    def living(self) -> list[int]:
        return [step.id for step in self.steps if not step.deleted]

    @rule(lead=st.integers(0, LEADS - 1), late=st.integers(0, 3_000))
    def send(self, lead: int, late: int) -> None:
        """The lead's next message leaves, some minutes after it was due but inside the hours."""
        before = self.sent[lead][-1][1] if self.sent[lead] else MONDAY
        plan = plan_next(self.steps, BERLIN, self.last(lead), before, lead)
        if isinstance(plan, Finished):
            return
        assert isinstance(plan, Next) and not plan.step.deleted
        assert closed_reason(BERLIN, plan.due_at, lead) is None and plan.due_at >= before
        if plan.step.delay_unit is DelayUnit.WORKING_DAYS:
            self.check_working_days(before, plan)
        at = plan.due_at + timedelta(minutes=late)
        self.sent[lead].append((plan.step.id, at if closed_reason(BERLIN, at, lead) is None else plan.due_at))

    def check_working_days(self, before: datetime, plan: Next) -> None:
        day, last = local_date(BERLIN.zone, before), local_date(BERLIN.zone, plan.due_at)
        passed = sum(is_open_day(BERLIN, day + timedelta(days=shift)) for shift in range(1, (last - day).days + 1))
        assert plan.step.delay_value <= passed <= plan.step.delay_value + 1

    @rule(data=st.data(), value=st.integers(0, 9), unit=st.sampled_from(DelayUnit))
    def insert(self, data: st.DataObject, value: int, unit: DelayUnit) -> None:
        after = data.draw(st.sampled_from([None, *self.living()]))
        number = max(step.id for step in self.steps) + 1
        effect = insertion_effect(self.steps, after, {lead: self.last(lead) for lead in range(LEADS)})
        moved = moved_by_insertion(self.steps, after)
        self.steps = [replace(step, parent_id=number) if step.id in moved else step for step in self.steps]
        self.steps.append(StepNode(number, parent_id=after, delay_value=value, delay_unit=unit))
        self.skips[number] = set(effect.skips)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        if len(self.living()) > 1:
            number = data.draw(st.sampled_from(self.living()))
            self.deleted_before[number] = {lead for lead in range(LEADS) if number not in self.of(lead)}
            self.steps = [replace(step, deleted=True) if step.id == number else step for step in self.steps]

    def of(self, lead: int) -> list[int]:
        return [step for step, _ in self.sent[lead]]

    @invariant()
    def the_tree_is_one_and_nobody_gets_a_step_twice_or_one_that_was_deleted(self) -> None:
        check(self.steps)
        assert [step.id for step in in_order(self.steps)] and len(in_order(self.steps)) == len(self.living())
        for lead in range(LEADS):
            got = self.of(lead)
            assert len(got) == len(set(got))
            assert [at for _, at in self.sent[lead]] == sorted(at for _, at in self.sent[lead])
            assert not [step for step, without in self.deleted_before.items() if lead in without and step in got]

    def teardown(self) -> None:
        """Everybody walks on to the end: then exactly those whom the dialog named have skipped an inserted step."""
        for lead in range(LEADS):
            for _ in range(len(self.steps)):
                self.send(lead, 0)
            got = set(self.of(lead))
            for number, skips in self.skips.items():
                if number not in self.deleted_before:
                    assert (number not in got) == (lead in skips), f"lead {lead}, step {number}"


Walks.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_walks = Walks.TestCase
