"""The days ahead, message by message: what leaves when if nobody answers and nothing goes wrong. Pure and deterministic.

Every sender is a queue with a clock of its own: it takes the lead that has been due longest, keeps its gap, its day and the
campaign's caps and hours. Cost grows with the messages that leave in the span, not with the leads that wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.domain.limits import hour_start
from app.domain.sequence import StepNode
from app.domain.working_time import Calendar, add_delay, local_date, next_day_start, next_open


@dataclass(frozen=True)
class CampaignPlan:
    """``ways``: step sent last → the step after it (None: over). ``calendars``: sender → hours. ``used_*``: today's counters."""

    id: int
    zone: str
    ways: Mapping[int | None, StepNode | None]
    calendars: Mapping[int, Calendar]
    daily_cap: int | None = None
    daily_new_leads: int | None = None
    used_today: int = 0
    new_today: int = 0


@dataclass(frozen=True)
class SenderPlan:
    """``free_at``: nothing leaves before. ``used_today`` of ``daily_cap`` on the sender's local day."""

    id: int
    zone: str
    daily_cap: int
    min_gap_s: int
    free_at: datetime
    used_today: int = 0
    hourly_cap: int | None = None
    used_this_hour: int = 0


@dataclass(frozen=True)
class HourlyCap:
    """A cap by the UTC hour that all senders share (the client's, the installation's), and what this hour has used of it."""

    cap: int
    used: int = 0


@dataclass(frozen=True, order=True)
class Walk:
    """One lead's place: its next message is due at ``due_at``; ``last_step_id`` None: nothing has left yet.

    ``stops``: steps that it has no value for; it waits for a person before the first of them.
    """

    due_at: datetime
    enrollment_id: int
    campaign_id: int = field(compare=False)
    sender_id: int = field(compare=False)
    last_step_id: int | None = field(compare=False, default=None)
    stops: frozenset[int] = field(compare=False, default=frozenset())


@dataclass(frozen=True)
class Send:
    """One message that will leave."""

    at: datetime
    enrollment_id: int
    campaign_id: int
    sender_id: int
    step_id: int
    first: bool


@dataclass
class _Days:
    """What one scope has used on its own local days."""

    zone: str
    used: dict[object, int] = field(default_factory=dict)

    def free_from(self, at: datetime, cap: int | None) -> datetime | None:
        """``at``, or the start of the next day with a place left; None: a cap of nothing never has one."""
        if cap is None:
            return at
        if cap <= 0:
            return None
        while self.used.get(local_date(self.zone, at), 0) >= cap:
            at = next_day_start(self.zone, at)
        return at

    def add(self, at: datetime) -> None:
        day = local_date(self.zone, at)
        self.used[day] = self.used.get(day, 0) + 1


@dataclass
class _Hours:
    """What one scope has used in each UTC hour."""

    used: dict[datetime, int] = field(default_factory=dict)

    def free_from(self, at: datetime, cap: int | None) -> datetime | None:
        """``at``, or the start of the next hour with a place left; None: a cap of nothing never has one."""
        if cap is None:
            return at
        if cap <= 0:
            return None
        while self.used.get(hour_start(at), 0) >= cap:
            at = hour_start(at) + timedelta(hours=1)
        return at

    def add(self, at: datetime) -> None:
        hour = hour_start(at)
        self.used[hour] = self.used.get(hour, 0) + 1


class Forecaster:
    """Runs the senders against each other in the order of time."""

    def __init__(
        self, campaigns: Iterable[CampaignPlan], senders: Iterable[SenderPlan], now: datetime, shared: Iterable[HourlyCap] = ()
    ) -> None:
        self._campaigns = {plan.id: plan for plan in campaigns}
        self._senders = {plan.id: plan for plan in senders}
        self._now = now
        self._free = {plan.id: max(plan.free_at, now) for plan in self._senders.values()}
        self._sender_days = {plan.id: self._days(plan.zone, plan.used_today) for plan in self._senders.values()}
        self._campaign_days = {plan.id: self._days(plan.zone, plan.used_today) for plan in self._campaigns.values()}
        self._new_days = {plan.id: self._days(plan.zone, plan.new_today) for plan in self._campaigns.values()}
        self._sender_hours = {plan.id: self._hours(plan.used_this_hour) for plan in self._senders.values()}
        self._shared = [(self._hours(one.used), one.cap) for one in shared]
        # per sender one queue for each (campaign, first message or not): inside one, all wait for the same caps
        self._queues: dict[int, dict[tuple[int, bool], list[Walk]]] = {plan.id: {} for plan in self._senders.values()}

    def _days(self, zone: str, used: int) -> _Days:
        return _Days(zone, {local_date(zone, self._now): used} if used else {})

    def _hours(self, used: int) -> _Hours:
        return _Hours({hour_start(self._now): used} if used else {})

    def add(self, walk: Walk) -> None:
        """A lead that waits; one whose sequence is over, whose sender is unknown or that lacks a value never leaves."""
        campaign = self._campaigns[walk.campaign_id]
        known = walk.sender_id in self._senders and walk.sender_id in campaign.calendars
        step = campaign.ways.get(walk.last_step_id)
        if known and step is not None and step.id not in walk.stops:
            queue = self._queues[walk.sender_id].setdefault((walk.campaign_id, walk.last_step_id is None), [])
            heapq.heappush(queue, walk)

    def waiting(self, campaign_id: int) -> int:
        """Leads of a campaign with a message still to come."""
        queues = (pair for own in self._queues.values() for pair in own.items())
        return sum(len(queue) for (campaign, _), queue in queues if campaign == campaign_id)

    def run(self, until: datetime, most: int = 200_000) -> list[Send]:
        """Messages that leave before ``until``, in order of time; at most ``most``."""
        sends: list[Send] = []
        ready = [(at, sender) for sender in self._senders if (at := self._next(sender)[0]) is not None]
        heapq.heapify(ready)
        while ready and len(sends) < most:
            at, sender = heapq.heappop(ready)
            now_at, key = self._next(sender)
            if now_at is None or key is None:
                continue
            if now_at > at:  # another sender has used up the campaign's place meanwhile
                heapq.heappush(ready, (now_at, sender))
                continue
            if at >= until:
                break
            sends.append(self._send(at, self._queues[sender][key]))
            following = self._next(sender)[0]
            if following is not None:
                heapq.heappush(ready, (following, sender))
        return sends

    def _next(self, sender: int) -> tuple[datetime | None, tuple[int, bool] | None]:
        """When this sender's next message leaves, and from which queue it comes."""
        best: tuple[datetime, Walk, tuple[int, bool]] | None = None
        for key, queue in self._queues[sender].items():
            if queue:
                at = self._possible(queue[0], first=key[1])
                if at is not None and (best is None or (at, queue[0]) < best[:2]):
                    best = (at, queue[0], key)
        return (best[0], best[2]) if best else (None, None)

    def _possible(self, walk: Walk, *, first: bool) -> datetime | None:
        """The first instant that calendar, gap and caps all allow; None when none comes."""
        campaign, sender = self._campaigns[walk.campaign_id], self._senders[walk.sender_id]
        calendar = campaign.calendars[walk.sender_id]
        at: datetime | None = max(walk.due_at, self._free[walk.sender_id])
        for _ in range(800):
            earlier = at
            for days, cap in (
                (self._sender_days[sender.id], sender.daily_cap),
                (self._campaign_days[campaign.id], campaign.daily_cap),
                (self._new_days[campaign.id], campaign.daily_new_leads if first else None),
            ):
                at = days.free_from(at, cap) if at is not None else None
            for hours, hourly in ((self._sender_hours[sender.id], sender.hourly_cap), *self._shared):
                at = hours.free_from(at, hourly) if at is not None else None
            at = next_open(calendar, at, walk.enrollment_id) if at is not None else None
            if at is None or at == earlier:
                return at
        return None

    def _send(self, at: datetime, queue: list[Walk]) -> Send:
        walk = heapq.heappop(queue)
        campaign, sender = self._campaigns[walk.campaign_id], self._senders[walk.sender_id]
        step = campaign.ways[walk.last_step_id]
        assert step is not None
        first = walk.last_step_id is None
        self._free[sender.id] = at + timedelta(seconds=sender.min_gap_s)
        self._sender_days[sender.id].add(at)
        self._campaign_days[campaign.id].add(at)
        for hours in (self._sender_hours[sender.id], *(shared for shared, _ in self._shared)):
            hours.add(at)
        if first:
            self._new_days[campaign.id].add(at)
        following = campaign.ways.get(step.id)
        if following is not None:
            calendar = campaign.calendars[sender.id]
            due = add_delay(calendar, at, following.delay_value, following.delay_unit, walk.enrollment_id)
            if due is not None:
                self.add(Walk(due, walk.enrollment_id, campaign.id, sender.id, step.id, walk.stops))
        return Send(at, walk.enrollment_id, campaign.id, sender.id, step.id, first)
