"""The sending road as a model: a few rows, a few processes, a network that loses answers, and every order in which things can happen.

States and arrows come from ``app.domain.delivery_edges``, the table that the product's statements are held to. What the table leaves
open is as hostile as it can be: a lease may run out at any moment although its process lives; a process may sleep for as long as
it likes between permit and dot; what a dead process wrote may be taken by the server at any later moment or never; a sender's
other rows protect nothing. Steps that only one process can see are one step with what follows them.

A state is (rows, workers, budget). A row is (status, lease over?, times accepted, dots still on their way without a writer).
A worker is None or (phase, row, whether its epoch is still the row's, what a one-statement permit saw used).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from app.domain.delivery_edges import EDGES, Actor, Edge, Event, Guard
from app.domain.statuses import DELIVERY_ENDED
from app.domain.statuses import DeliveryStatus as D


class Row(NamedTuple):
    status: D = D.QUEUED
    lease_over: bool = False
    accepted: int = 0
    on_the_way: int = 0  # dots of dead processes or lost connections


class Worker(NamedTuple):
    phase: str  # claimed, looked, permitted, dotted, taken
    row: int
    mine: bool = True
    saw: int = 0


class Budget(NamedTuple):
    """How much may still go wrong."""

    crashes: int = 3
    lost: int = 3
    refusals: int = 2
    called_off: int = 1


EVERYTHING = Budget()
State = tuple[tuple[Row, ...], tuple[Worker, ...], Budget]
Move = tuple[str, State]

COUNTED = frozenset({D.COMMITTING, D.SENT, D.UNCERTAIN})
MAY_HAVE_ARRIVED = frozenset({D.COMMITTING, D.UNCERTAIN, D.SENT})
WRITING = frozenset({"permitted", "dotted", "taken"})


@dataclass(frozen=True)
class Model:
    """The table, and how the product uses it. The fields after ``edges`` describe one broken product each."""

    edges: tuple[Edge, ...] = EDGES
    workers: int = 3
    rows: int = 2
    cap: int = 1
    budget: Budget = EVERYTHING
    gate: bool = True  # False: the dot follows the body without a permit
    locks_counters: bool = True  # False: the permit is one statement that sees the counters as they were when it began

    @property
    def start(self) -> State:
        return (Row(),) * self.rows, (), self.budget

    @cached_property
    def _arrows(self) -> dict[tuple[Event, D], list[Edge]]:
        found: dict[tuple[Event, D], list[Edge]] = defaultdict(list)
        for edge in self.edges:
            found[edge.event, edge.source].append(edge)
        return found

    # -- taking an arrow -------------------------------------------------------------------------------------------------

    def _holds(self, guard: Guard, state: State, at: int, worker: Worker | None) -> bool:
        rows, workers, _ = state
        row = rows[at]
        match guard:
            case Guard.SAME_EPOCH:
                return worker is not None and worker.mine
            case Guard.LEASE_ALIVE:
                return not row.lease_over
            case Guard.LEASE_OVER:
                return row.lease_over
            case Guard.CAP_LEFT:
                return (used(rows) if self.locks_counters or worker is None else worker.saw) < self.cap
            case Guard.NO_DOT:
                return worker is not None and worker.phase in ("claimed", "looked", "permitted")
            case Guard.WRITER_GONE:
                return not any(other.row == at and other.phase in WRITING for other in workers)
            case Guard.PEER_GAVE_UP:
                return not row.on_the_way and not any(other.row == at and other.phase == "dotted" for other in workers)
            case Guard.NOT_FOUND:
                return row.accepted == 0
        return True  # what is stored on the row: looked at by the tests' trigger

    def _target(self, event: Event, actor: Actor, state: State, at: int, worker: Worker | None = None) -> D | None:
        for edge in self._arrows.get((event, state[0][at].status), ()):
            if edge.actor is actor and all(self._holds(guard, state, at, worker) for guard in edge.guards):
                return edge.target
        return None

    def _recorded(self, event: Event, state: State, worker: Worker) -> State:
        """The worker writes an outcome, as far as it may, and is free."""
        target = self._target(event, Actor.ENGINE, state, worker.row, worker)
        rows, workers, budget = state
        if target is not None:
            rows = changed(rows, worker.row, status=target, lease_over=False)
        return rows, without(workers, worker), budget

    # -- what can happen next ------------------------------------------------------------------------------------------------

    def moves(self, state: State) -> Iterator[Move]:
        rows, workers, _ = state
        if len(workers) < self.workers:
            for at in range(len(rows)):
                yield from self._claim(state, at)
        for worker in dict.fromkeys(workers):
            yield from self._work(state, worker)
            yield from self._crash(state, worker)
        for at in range(len(rows)):
            yield from self._time(state, at)
            yield from self._sweep_and_evidence(state, at)

    def _claim(self, state: State, at: int) -> Iterator[Move]:
        target = self._target(Event.CLAIMED, Actor.ENGINE, state, at)
        if target is not None:
            rows, workers, budget = state
            fenced = any(Guard.NEXT_EPOCH in edge.guards for edge in self._arrows[Event.CLAIMED, rows[at].status])
            others = [other._replace(mine=False) if fenced and other.row == at else other for other in workers]
            yield "claim", (changed(rows, at, status=target, lease_over=False), ordered([*others, Worker("claimed", at)]), budget)

    def _work(self, state: State, worker: Worker) -> Iterator[Move]:
        match worker.phase:
            case "claimed":
                yield from self._ask(state, worker)
                yield from self._explicit(state, worker)
            case "looked":
                yield self._permit(state, worker)
            case "permitted":
                yield "dot", with_phase(state, worker, "dotted")
                if state[2].lost:
                    yield "connection lost before the dot", self._recorded(Event.RETURNED, spend(state, "lost"), worker)
            case "dotted":
                yield from self._answer(state, worker)
                yield from self._explicit(state, worker)
            case "taken":
                yield "2xx", self._recorded(Event.ACCEPTED, state, worker)
                if state[2].lost:
                    yield "answer lost", self._recorded(Event.NO_ANSWER, spend(state, "lost"), worker)

    def _ask(self, state: State, worker: Worker) -> Iterator[Move]:
        if not self.gate:
            yield "dot without a permit", with_phase(state, worker, "dotted")
        elif self.locks_counters:
            yield self._permit(state, worker)
        else:
            yield "look at the counters", with_phase(state, worker, "looked", used(state[0]))

    def _permit(self, state: State, worker: Worker) -> Move:
        target = self._target(Event.PERMITTED, Actor.ENGINE, state, worker.row, worker)
        if target is None:
            return "no permit", self._recorded(Event.RETURNED, state, worker)
        rows, workers, budget = with_phase(state, worker, "permitted")
        return "permit", (changed(rows, worker.row, status=target, lease_over=False), workers, budget)

    def _explicit(self, state: State, worker: Worker) -> Iterator[Move]:
        if state[2].refusals:
            less = spend(state, "refusals")
            yield "4xx", self._recorded(Event.DEFERRED, less, worker)
            yield "5xx", self._recorded(Event.REFUSED, less, worker)

    def _answer(self, state: State, worker: Worker) -> Iterator[Move]:
        """What becomes of a dot whose writer listens."""
        row = state[0][worker.row]
        yield "taken", with_row(with_phase(state, worker, "taken"), worker.row, accepted=row.accepted + 1)
        if state[2].lost:
            less = spend(state, "lost")
            yield "dropped unanswered", self._recorded(Event.NO_ANSWER, less, worker)
            rows, workers, budget = self._recorded(Event.NO_ANSWER, less, worker)
            yield "connection lost after the dot", (changed(rows, worker.row, on_the_way=row.on_the_way + 1), workers, budget)

    def _crash(self, state: State, worker: Worker) -> Iterator[Move]:
        if state[2].crashes:
            rows, workers, budget = spend(state, "crashes")
            if worker.phase == "dotted":
                rows = changed(rows, worker.row, on_the_way=rows[worker.row].on_the_way + 1)
            yield "crash", (rows, without(workers, worker), budget)

    def _time(self, state: State, at: int) -> Iterator[Move]:
        row = state[0][at]
        if row.status in (D.LEASED, D.COMMITTING) and not row.lease_over:
            yield "lease over", with_row(state, at, lease_over=True)
        if row.on_the_way:
            less = row.on_the_way - 1
            yield "taken late", with_row(state, at, on_the_way=less, accepted=row.accepted + 1)
            yield "never taken", with_row(state, at, on_the_way=less)

    def _sweep_and_evidence(self, state: State, at: int) -> Iterator[Move]:
        events = [(Event.LEASE_RAN_OUT, Actor.SWEEP), (Event.ABSENT, Actor.EVIDENCE)]
        if state[0][at].accepted:
            events.append((Event.FOUND, Actor.EVIDENCE))
        for event, actor in events:
            target = self._target(event, actor, state, at)
            if target is not None:
                yield str(event), with_row(state, at, status=target, lease_over=False)
        if state[2].called_off and (target := self._target(Event.CALLED_OFF, Actor.RULE, state, at)) is not None:
            yield "called off", with_row(spend(state, "called_off"), at, status=target, lease_over=False)

    # -- what must always be true --------------------------------------------------------------------------------------------

    def wrong(self, state: State) -> str | None:
        rows, _, _ = state
        for row in rows:
            if row.accepted > 1:
                return "accepted twice"
            if row.accepted == 0 and row.status is D.SENT:
                return "sent without acceptance"
            if (row.accepted or row.on_the_way) and row.status not in MAY_HAVE_ARRIVED:
                return f"{row.status} although it arrived or may still arrive"
        if used(rows) > self.cap or sum(row.accepted for row in rows) > self.cap:
            return "over the cap"
        return None

    def at_rest(self, state: State) -> bool:
        """Everything has ended, or waits for nothing but the cap."""
        rows, workers, _ = state
        full = used(rows) >= self.cap
        return not workers and all(row.status in DELIVERY_ENDED or (row.status is D.QUEUED and full) for row in rows)


# -- small changes of a state ----------------------------------------------------------------------------------------------------


def used(rows: tuple[Row, ...]) -> int:
    return sum(row.status in COUNTED for row in rows)


def changed(rows: tuple[Row, ...], at: int, **values: object) -> tuple[Row, ...]:
    return (*rows[:at], rows[at]._replace(**values), *rows[at + 1 :])  # type: ignore[arg-type]


def with_row(state: State, at: int, **values: object) -> State:
    return changed(state[0], at, **values), state[1], state[2]


def spend(state: State, what: str) -> State:
    return state[0], state[1], state[2]._replace(**{what: getattr(state[2], what) - 1})


def ordered(workers: Iterable[Worker]) -> tuple[Worker, ...]:
    """Processes have no names: their order does not matter."""
    return tuple(sorted(workers))


def without(workers: tuple[Worker, ...], worker: Worker) -> tuple[Worker, ...]:
    at = workers.index(worker)
    return (*workers[:at], *workers[at + 1 :])


def with_phase(state: State, worker: Worker, phase: str, saw: int = 0) -> State:
    moved = worker._replace(phase=phase, saw=saw)
    return state[0], ordered([*without(state[1], worker), moved]), state[2]


# -- the search ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """``problem`` None: nothing is wrong in any of ``states`` states. ``trace``: the shortest way to the problem."""

    states: int
    problem: str | None = None
    trace: tuple[str, ...] = ()


def search(model: Model) -> Found:
    """Every state that can be reached, nearest first, until one is wrong."""
    start = model.start
    came: dict[State, tuple[State, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = waiting.popleft()
        nowhere_to_go = True
        for name, following in model.moves(state):
            nowhere_to_go = False
            if following in came:
                continue
            came[following] = state, name
            problem = model.wrong(following)
            if problem is not None:
                return Found(len(came), problem, _trace(came, following))
            waiting.append(following)
        if nowhere_to_go and not model.at_rest(state):
            return Found(len(came), "lost: nothing will ever happen to it again", _trace(came, state))
    return Found(len(came))


def _trace(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    names: list[str] = []
    while (step := came[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))


def can_always_end(model: Model) -> Found:
    """From every state there is a way to rest, although nobody calls anything off. The model's budget is best kept small."""
    model = replace(model, budget=model.budget._replace(called_off=0))
    before: dict[State, list[State]] = {model.start: []}
    waiting = deque([model.start])
    while waiting:
        state = waiting.popleft()
        for _, following in model.moves(state):
            if following not in before:
                before[following] = []
                waiting.append(following)
            before[following].append(state)
    good = {state for state in before if model.at_rest(state)}
    waiting = deque(good)
    while waiting:
        for earlier in before[waiting.popleft()]:
            if earlier not in good:
                good.add(earlier)
                waiting.append(earlier)
    stuck = len(before) - len(good)
    return Found(len(before), f"{stuck} states from which it never ends" if stuck else None)
