"""After an edit of steps or calendar: where the waiting leads stand now, and when. Only what has no message yet moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import text

from app.core import clock
from app.core.extensions import db
from app.domain.reasons import Reason
from app.domain.sequence import StepNode
from app.domain.statuses import EnrollmentStatus
from app.domain.working_time import Calendar, add_delay, closed_reason, next_open
from app.models import Campaign
from app.queries.campaign_calendars import calendar_of
from app.queries.campaign_steps import nodes_of, ways_on
from app.services.enrollments import Ended, end_locked

ANY = object()

_WAITING = text(
    "SELECT e.id, e.campaign_id, e.lead_id, e.last_step_id, e.next_step_id, e.next_at, e.status,"
    " coalesce(e.last_sent_at, greatest(e.enrolled_at, c.launched_at)) AS reference"
    " FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id"
    " WHERE e.campaign_id = :campaign AND e.status IN ('waiting', 'held', 'paused', 'needs_attention')"
    " AND (cast(:everybody AS boolean) OR e.last_step_id IS NOT DISTINCT FROM cast(:behind AS bigint) OR e.last_step_id = ANY(:removed))"
    " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.enrollment_id = e.id"
    " AND d.status IN ('queued', 'leased', 'committing', 'uncertain'))"
    " ORDER BY e.id FOR UPDATE OF e"
)
_FIRST = text(
    "UPDATE enrollments e SET next_step_id = :step, next_at = x.at, reason = x.reason FROM unnest(cast(:ids AS bigint[]),"
    " cast(:ats AS timestamptz[]), cast(:reasons AS text[])) AS x(id, at, reason) WHERE e.id = x.id"
)
_MOVE = text(
    "UPDATE enrollments e SET next_step_id = x.step_id, next_at = x.at FROM unnest(cast(:ids AS bigint[]), cast(:steps AS bigint[]),"
    " cast(:ats AS timestamptz[])) AS x(id, step_id, at) WHERE e.id = x.id"
)


def replan(campaign: Campaign, behind: object = ANY, now: datetime | None = None) -> None:
    """Recompute next step and time of the leads whose last step is ``behind`` (or a removed one; not given: all of them).

    A lead for which nothing is left ends as finished. In a draft only the first step is noted; times come with the start.
    """
    nodes = nodes_of(campaign.id)
    ways = ways_on(nodes)
    values = {
        "campaign": campaign.id, "everybody": behind is ANY, "behind": None if behind is ANY else behind,
        "removed": [node.id for node in nodes if node.deleted],
    }  # fmt: skip
    rows = list(db.session.execute(_WAITING, values))
    left = [row for row in rows if ways.get(row.last_step_id) is None and row.last_step_id is not None]
    gone = [Ended(row.id, row.campaign_id, row.lead_id) for row in left if row.status == "waiting"]
    end_locked(campaign.client_id, gone, EnrollmentStatus.FINISHED, Reason.FINISHED, now or clock.now())
    done = {row.id for row in left}
    _move(campaign, [row for row in rows if row.id not in done], ways)


def _move(campaign: Campaign, rows: list[Any], ways: dict[int | None, StepNode | None]) -> None:
    times = _Times(calendar_of(campaign))
    ids, steps, ats = [], [], []
    for row in rows:
        step = ways.get(row.last_step_id)
        at = row.next_at if step is None or campaign.status == "draft" else times.due(row.reference, step, row.id)
        if (step.id if step else None) != row.next_step_id or at != row.next_at:
            ids.append(row.id)
            steps.append(step.id if step else None)
            ats.append(at)
    if ids:
        db.session.execute(_MOVE, {"ids": ids, "steps": steps, "ats": ats})


class _Times:
    """Due times, each computed once where the calendar treats all leads alike."""

    def __init__(self, calendar: Calendar | None) -> None:
        self._calendar = calendar
        self._known: dict[tuple[datetime, int, int | None], datetime] = {}

    def due(self, reference: datetime, step: StepNode, enrollment_id: int) -> datetime:
        """When ``step`` is due if the one before left at ``reference``; a day later where the calendar never opens."""
        calendar = self._calendar
        key = enrollment_id if calendar is not None and calendar.weekend_percent else None
        known = self._known.get((reference, step.id, key))
        if known is None:
            at = add_delay(calendar, reference, step.delay_value, step.delay_unit, key) if calendar is not None else None
            known = self._known[reference, step.id, key] = at or reference + timedelta(days=1)
        return known

    def why(self, reference: datetime, step: StepNode, enrollment_id: int) -> Reason | None:
        """What a step without a delay waits for: only the calendar can hold it. None for one whose delay is what it waits for."""
        if step.delay_value or self.due(reference, step, enrollment_id) <= reference:
            return None
        return Reason.OUTSIDE_WINDOW if self._calendar is None else closed_reason(self._calendar, reference, enrollment_id)


def first_times(campaign: Campaign, now: datetime, lead_ids: list[int] | None = None) -> None:
    """At the start (or when leads enter later): the first step's delay runs from ``now``; one without a delay says what is closed."""
    first = ways_on(nodes_of(campaign.id))[None]
    if first is None:
        return
    rows = db.session.execute(
        text(
            "SELECT id FROM enrollments WHERE campaign_id = :campaign AND last_step_id IS NULL AND status = 'waiting'"
            " AND (cast(:everybody AS boolean) OR lead_id = ANY(:leads)) ORDER BY id FOR UPDATE"
        ),
        {"campaign": campaign.id, "everybody": lead_ids is None, "leads": lead_ids or []},
    )
    times = _Times(calendar_of(campaign))
    ids = [row[0] for row in rows]
    ats = [times.due(now, first, number) for number in ids]
    reasons = [times.why(now, first, number) for number in ids]
    db.session.execute(_FIRST, {"step": first.id, "ids": ids, "ats": ats, "reasons": [reason and str(reason) for reason in reasons]})


@dataclass(frozen=True)
class Shift:
    """What another calendar would move: of ``waiting`` leads with no message made out yet, how many come earlier and later.

    ``first``: (name, when now, when then; None: never) of the first of them, product time.
    """

    waiting: int
    earlier: int
    later: int
    first: tuple[tuple[str, datetime | None, datetime | None], ...] = ()

    @property
    def moved(self) -> int:
        return self.earlier + self.later


NAMED = 5
_WAITING_NAMES = text(
    "SELECT e.id, e.last_step_id, e.next_at, coalesce(nullif(trim(l.first_name || ' ' || l.last_name), ''), l.email, '') AS name,"
    " coalesce(e.last_sent_at, greatest(e.enrolled_at, c.launched_at)) AS reference"
    " FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id JOIN leads l ON l.id = e.lead_id"
    " WHERE e.campaign_id = :campaign AND e.status IN ('waiting', 'held', 'paused', 'needs_attention') AND e.next_at IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.enrollment_id = e.id"
    " AND d.status IN ('queued', 'leased', 'committing', 'uncertain'))"
    " ORDER BY e.next_at, e.id"
)


def shift(campaign: Campaign, columns: Mapping[str, Any], now: datetime) -> Shift:
    """What the calendar of ``columns`` would move in a campaign that has started. Changes nothing."""
    stored = {name: getattr(campaign, name) for name in ("id", "timezone", "windows", "closed_days", "weekend", "holidays_country")}
    then = calendar_of(SimpleNamespace(**{**stored, **columns}))  # type: ignore[arg-type]  # a campaign's calendar is all that is read
    present, times, ways = calendar_of(campaign), _Times(then), ways_on(nodes_of(campaign.id))
    waiting = earlier = later = 0
    first: list[tuple[str, datetime | None, datetime | None]] = []
    for row in db.session.execute(_WAITING_NAMES, {"campaign": campaign.id}):
        waiting += 1
        step = ways.get(row.last_step_id)
        due = row.next_at if step is None else times.due(row.reference, step, row.id)
        before, after = _opening(present, row.next_at, now, row.id), _opening(then, due, now, row.id)
        if before == after:
            continue
        sooner = after is not None and (before is None or after < before)
        earlier, later = earlier + sooner, later + (not sooner)
        if len(first) < NAMED:
            first.append((row.name, before, after))
    return Shift(waiting, earlier, later, tuple(first))


def _opening(calendar: Calendar | None, at: datetime, now: datetime, key: int) -> datetime | None:
    """When a message due ``at`` could leave at the earliest; None: never."""
    return None if calendar is None else next_open(calendar, max(at, now), key)
