"""The schedule as data: what is looked at, how often, on which machine time. The runner is ``jobs/scheduler.py``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from app.core.queue import Job


@dataclass(frozen=True)
class Every:
    """Every ``seconds`` of machine time; ``scaled``: shorter in a rehearsal whose product time runs faster (at least 1 s)."""

    seconds: float
    scaled: bool = False

    def next_after(self, last: datetime, factor: float) -> datetime:
        seconds = max(1.0, self.seconds / factor) if self.scaled else self.seconds
        return last + timedelta(seconds=seconds)


@dataclass(frozen=True)
class Daily:
    """Once a day at a wall-clock time of ``zone``."""

    hour: int
    minute: int
    zone: str = "UTC"

    def next_after(self, last: datetime, factor: float) -> datetime:
        local = last.astimezone(ZoneInfo(self.zone))
        at = local.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0)
        return at if at > local else at + timedelta(days=1)


@dataclass(frozen=True)
class Entry:
    job: Job
    when: Every | Daily
    timeout_s: int
    what: str
    safety: bool = False  # goes on while an operator has paused the schedule: nothing that arrives, is held or was done may wait for it


SCHEDULE: tuple[Entry, ...] = (
    Entry(Job.SEQUENCE_TICK, Every(15, scaled=True), 60, "Makes the next message of every lead that is due"),
    Entry(Job.DELIVERY_SWEEP, Every(30, scaled=True), 60, "Frees leases that ran out, shows what is uncertain", safety=True),
    Entry(Job.INBOUND_SWEEP, Every(15), 60, "Finds what arrived and was not worked on", safety=True),
    Entry(Job.WAKE_SNOOZED, Every(30, scaled=True), 60, "Brings snoozed conversations back"),
    Entry(Job.IMPORT_SWEEP, Every(60), 60, "Lets imports go on whose process was lost"),
    Entry(Job.RESOLVE_UNCERTAIN, Every(300), 600, "Looks for evidence of messages we are not sure of"),
    Entry(Job.VERIFY_SWEEP, Every(60), 600, "Logs in to mailboxes that are still connecting"),
    Entry(Job.CLOSE_IDLE, Every(3600, scaled=True), 300, "Closes conversations idle for 30 days"),
    Entry(Job.LEDGER_EQUATION, Every(3600), 300, "Checks that planned equals the sum of all states"),
    Entry(Job.SEAL_TRAIL, Every(15), 60, "Seals what people changed, so that no line is taken out unseen", safety=True),
    Entry(Job.TELL_OUTGOING, Every(5), 120, "Tells clients' own programs what happened", safety=True),
    Entry(Job.RECOUNT, Daily(3, 10), 1800, "Counts counters again from the rows and heals drift"),
    Entry(Job.RETENTION, Daily(2, 0), 3600, "Removes what is older than its keeping time"),
)
