"""The schedule as an operator sees and turns it: does its process live, is it paused, when did it last ring.

Pausing is not the stop: what is due already still leaves, answers people write too. It keeps new work from being made (no next
message of a sequence, no nightly upkeep), while replies, freed leases and the seals of the trail go on (``safety`` in
jobs/schedule.py). The setting is stored: a restart does not end the pause.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from app.core.clock import machine_now
from app.core.extensions import db
from app.models import ProcessBeat, ScheduledRun, Setting, User
from app.services import settings

KEY = "scheduler_paused"
SILENT_AFTER = timedelta(seconds=20)


@dataclass(frozen=True)
class ScheduleState:
    """``running``: it lives and rings everything; moments are machine time."""

    alive: bool
    paused: bool
    paused_by: str | None
    paused_at: datetime | None
    last_tick: datetime | None
    seen_at: datetime | None

    @property
    def running(self) -> bool:
        return self.alive and not self.paused


def paused_now() -> bool:
    """From the ledger itself, inside the caller's transaction."""
    return bool(settings.current("instance", settings.INSTANCE, KEY).value)


def state() -> ScheduleState:
    seen_at = db.session.scalar(select(func.max(ProcessBeat.seen_at)).where(ProcessBeat.kind == "scheduler"))
    turned = db.session.execute(
        select(Setting.value, Setting.changed_at, User.name)
        .outerjoin(User, User.id == Setting.changed_by)
        .where(Setting.scope_kind == "instance", Setting.scope_id == settings.INSTANCE, Setting.key == KEY)
    ).first()
    paused = bool(turned and turned.value)
    return ScheduleState(
        alive=seen_at is not None and machine_now() - seen_at <= SILENT_AFTER,
        paused=paused,
        paused_by=turned.name if turned and paused else None,
        paused_at=turned.changed_at if turned and paused else None,
        last_tick=db.session.scalar(select(func.max(ScheduledRun.queued_at))),
        seen_at=seen_at,
    )


def turn(*, paused: bool) -> ScheduleState:
    """Pause or start; obeyed by the next look of the scheduler (half a second), kept in the trail. Twice is the same as once."""
    settings.change("instance", settings.INSTANCE, {KEY: paused})
    return state()
