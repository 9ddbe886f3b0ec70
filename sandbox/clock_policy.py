"""When the rehearsal's clock may jump. Pure: everything it looks at is handed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

LEAD_IN = timedelta(minutes=5)  # arrive this long before what is next, so that it is seen coming
SMALLEST_JUMP = timedelta(minutes=20)
JUST_DUE = timedelta(minutes=10)  # due that recently: somebody is about to act on it; older rows are stuck, not next
START = time(8, 55)


@dataclass(frozen=True, slots=True)
class OpenHours:
    """The hours in which the demo's campaign works: weekdays (0 = Monday) from `opens` to `closes`, local."""

    zone: ZoneInfo
    opens: time = time(9, 0)
    closes: time = time(17, 0)
    weekdays: frozenset[int] = frozenset(range(5))

    def is_open(self, now: datetime) -> bool:
        local = now.astimezone(self.zone)
        return local.weekday() in self.weekdays and self.opens <= local.time() < self.closes

    def next_opening(self, now: datetime) -> datetime:
        """The first opening after `now`, in the zone of `now`."""
        local = now.astimezone(self.zone)
        for ahead in range(9):
            day = local.date() + timedelta(days=ahead)
            opening = datetime.combine(day, self.opens, self.zone)
            if day.weekday() in self.weekdays and opening > local:
                return opening.astimezone(now.tzinfo)
        raise ValueError("these hours never open")


def first_monday(now: datetime, zone: ZoneInfo) -> datetime:
    """Where a new rehearsal starts: 08:55 on the latest Monday that is not in the future, in `zone`."""
    local = now.astimezone(zone)
    monday = local.date() - timedelta(days=local.weekday())
    return datetime.combine(monday, START, zone).astimezone(now.tzinfo)


def next_jump(
    now: datetime, next_due: Iterable[datetime | None], in_flight: int, busy: bool, hours: OpenHours
) -> datetime | None:
    """Where product time may jump to now, or None: let it run.

    `next_due`: when anything is due next (deliveries, enrollments, people); None entries are ignored. Jumps only over
    closed hours, only when nothing is in flight and no reader is busy, never past what is next, never backwards.
    """
    if in_flight or busy or hours.is_open(now):
        return None
    due = [moment for moment in next_due if moment is not None]
    if any(now - JUST_DUE < moment <= now for moment in due):
        return None
    ahead = [moment for moment in due if moment > now]
    target = min([hours.next_opening(now), *ahead]) - LEAD_IN
    return target if target - now >= SMALLEST_JUMP else None
