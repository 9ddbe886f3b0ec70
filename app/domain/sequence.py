"""The steps of a campaign as a tree: what comes next for one lead, when, and whom an edit of a running one touches.

Pure: steps, calendar and instants in, decisions out. A linear sequence is the tree in which every step has one child.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.reasons import Reason
from app.domain.statuses import Channel
from app.domain.working_time import Calendar, DelayUnit, add_delay
from app.strings import t


class SequenceError(ValueError):
    """The steps form no sequence; `str(error)` is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class StepNode:
    """One step. `parent_id` None: the first. `branch` "": the ordinary way on; other names belong to conditions.

    A deleted step keeps its place in the tree: nobody gets it any more, but those who already had it find their way on.
    """

    id: int
    parent_id: int | None = None
    branch: str = ""
    position: int = 0
    channel: Channel = Channel.EMAIL
    delay_value: int = 0
    delay_unit: DelayUnit = DelayUnit.WORKING_DAYS
    subject: str = ""
    deleted: bool = False

    @property
    def continues_thread(self) -> bool:
        """A later mail without a subject of its own answers in the same thread."""
        return self.channel is Channel.EMAIL and not self.subject.strip()


@dataclass(frozen=True, slots=True)
class Next:
    """This step, at this instant (UTC, inside a window)."""

    step: StepNode
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Finished:
    """No step is left."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A step is left but no time can be named."""

    reason: Reason


Plan = Next | Finished | Waiting


def child_of(steps: Iterable[StepNode], step_id: int | None, branch: str = "") -> StepNode | None:
    """The living step that follows `step_id` (None: the first one) on this branch; deleted ones are passed over."""
    every = tuple(steps)
    for _ in range(len(every) + 1):
        followers = [step for step in every if step.parent_id == step_id and step.branch == branch]
        if not followers:
            return None
        found = min(followers, key=lambda step: (step.deleted, step.position, step.id))
        if not found.deleted:
            return found
        step_id, branch = found.id, ""
    return None


def next_step(steps: Iterable[StepNode], last_step_id: int | None, branch: str = "") -> StepNode | None:
    """What follows the step that was sent last; None when the sequence is over. Hand in the deleted steps too."""
    return child_of(steps, last_step_id, branch)


def moved_by_insertion(steps: Iterable[StepNode], after_step_id: int | None, branch: str = "") -> tuple[int, ...]:
    """The steps (deleted ones as well) whose parent becomes the step that is inserted after `after_step_id`."""
    return tuple(step.id for step in steps if step.parent_id == after_step_id and step.branch == branch)


def in_order(steps: Sequence[StepNode]) -> list[StepNode]:
    """The ordinary way from the first step to the last. Raises `SequenceError` for a tree that is none."""
    check(steps)
    way: list[StepNode] = []
    step = child_of(steps, None)
    while step is not None:
        way.append(step)
        step = child_of(steps, step.id)
    return way


def check(steps: Sequence[StepNode]) -> None:
    """Every step hangs on one that exists, there is one beginning, nobody is their own ancestor."""
    parents = {step.id: step.parent_id for step in steps}
    if len(parents) != len(steps):
        raise SequenceError(t("sequences.same_number"))
    places = [(step.parent_id, step.branch) for step in steps if not step.deleted]
    if len(set(places)) != len(places):
        raise SequenceError(t("sequences.same_place"))
    for step in steps:
        seen: set[int] = set()
        at: int | None = step.id
        while at is not None:
            if at in seen or at not in parents:
                raise SequenceError(t("sequences.hangs_on_nothing"))
            seen.add(at)
            at = parents[at]


def plan_next(
    steps: Iterable[StepNode],
    calendar: Calendar,
    last_step_id: int | None,
    reference: datetime,
    key: int | None = None,
) -> Plan:
    """What comes next for one lead, and when.

    `reference`: when the previous step was sent, or, before the first, when the lead was started. `key` (the
    enrollment's id) decides about reduced weekends.
    """
    step = next_step(steps, last_step_id)
    if step is None:
        return Finished()
    due_at = add_delay(calendar, reference, step.delay_value, step.delay_unit, key)
    return Waiting(Reason.OUTSIDE_WINDOW) if due_at is None else Next(step, due_at)


def forecast(
    steps: Sequence[StepNode],
    calendar: Calendar,
    start: datetime,
    n: int,
    last_step_id: int | None = None,
    key: int | None = None,
) -> list[Next]:
    """The next `n` sends of one lead if every message leaves the moment it is due. Computed, never stored."""
    found: list[Next] = []
    reference = start
    while len(found) < n:
        plan = plan_next(steps, calendar, last_step_id, reference, key)
        if not isinstance(plan, Next):
            break
        found.append(plan)
        last_step_id, reference = plan.step.id, plan.due_at
    return found


def depths(steps: Sequence[StepNode]) -> dict[int, int]:
    """Step → how many steps lie before it."""
    parents = {step.id: step.parent_id for step in steps}
    found: dict[int, int] = {}
    for step in steps:
        count, at = 0, step.parent_id
        while at is not None and count <= len(steps):
            count, at = count + 1, parents.get(at)
        found[step.id] = count
    return found


@dataclass(frozen=True, slots=True)
class EditEffect:
    """Whom an edit of a running campaign touches, by enrollment id.

    `skips`: will never get the inserted step, being past its place already. `loses`: would have got the deleted one.
    `free`: nobody has started at or behind this place, so no dialog is needed.
    """

    skips: tuple[int, ...] = ()
    loses: tuple[int, ...] = ()

    @property
    def free(self) -> bool:
        return not self.skips and not self.loses


def insertion_effect(
    steps: Sequence[StepNode], after_step_id: int | None, progress: Mapping[int, int | None]
) -> EditEffect:
    """Who skips a step inserted after `after_step_id`.

    `progress`: active enrollment → its furthest started step (sent, or with a message already made out; None: none).
    """
    depth = depths(steps)
    place = 0 if after_step_id is None else depth[after_step_id] + 1
    skips = [
        enrollment
        for enrollment, furthest in progress.items()
        if furthest is not None and depth.get(furthest, -1) >= place
    ]
    return EditEffect(skips=tuple(sorted(skips)))


def deletion_effect(steps: Sequence[StepNode], step_id: int, progress: Mapping[int, int | None]) -> EditEffect:
    """Who skips a deleted step: everybody before it. Those whose message is past its permit still get it."""
    depth = depths(steps)
    place = depth[step_id]
    furthest_of_all = max((depth.get(step, -1) for step in progress.values() if step is not None), default=-1)
    if place > furthest_of_all:
        return EditEffect()
    loses = [
        enrollment
        for enrollment, furthest in progress.items()
        if (depth.get(furthest, -1) if furthest is not None else -1) < place
    ]
    return EditEffect(loses=tuple(sorted(loses)))
