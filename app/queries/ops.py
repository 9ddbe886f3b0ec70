"""What operators look at: schedule, processes, queues, the ledger's figures, arrivals that could not be understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis
from sqlalchemy import func, select, text

from app.core.clock import machine_now
from app.core.extensions import db
from app.core.queue import Job, QueueName, redis_queue
from app.models import AuditEntry, Campaign, Instance, ProcessBeat, ScheduledRun, Sender, Switch, User

SILENT_AFTER_S = 20


@dataclass(frozen=True)
class Run:
    """One entry of the schedule; all moments are machine time."""

    job: str
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    next_at: datetime | None
    error: str

    @property
    def name(self) -> str:
        """``jobs.upkeep.sweep_deliveries`` → ``upkeep: sweep deliveries``."""
        _, _, rest = self.job.partition(".")
        module, _, verb = rest.partition(".")
        return f"{module}: {verb.replace('_', ' ')}"

    @property
    def running(self) -> bool:
        return self.started_at is not None and (self.finished_at is None or self.finished_at < self.started_at)


def schedule() -> list[Run]:
    """Every scheduled job that is known, by name."""
    known = {str(job) for job in Job}
    rows = db.session.scalars(select(ScheduledRun).order_by(ScheduledRun.job))
    return [
        Run(row.job, row.queued_at, row.started_at, row.finished_at, row.duration_ms, row.next_at, row.error)
        for row in rows
        if row.job in known
    ]


@dataclass(frozen=True)
class Process:
    name: str
    kind: str
    started_at: datetime
    seen_at: datetime
    silent: bool


def processes() -> list[Process]:
    now = machine_now()
    rows = db.session.scalars(select(ProcessBeat).order_by(ProcessBeat.kind, ProcessBeat.name))
    return [
        Process(row.name, row.kind, row.started_at, row.seen_at, (now - row.seen_at).total_seconds() > SILENT_AFTER_S) for row in rows
    ]


def queue_depths() -> dict[str, int] | None:
    """Jobs waiting per queue; None when Redis does not answer."""
    try:
        return {str(name): redis_queue(name).count for name in QueueName}
    except redis.RedisError:
        return None


def ledger(now: datetime) -> Mapping[str, int]:
    """Messages of all clients the caller may read: due, in flight, uncertain, failed. ``now``: product time."""
    row = db.session.execute(
        text(
            "SELECT count(*) FILTER (WHERE status = 'queued' AND due_at <= :now) AS due,"
            " count(*) FILTER (WHERE status IN ('leased', 'committing')) AS in_flight,"
            " count(*) FILTER (WHERE status = 'uncertain') AS uncertain, count(*) FILTER (WHERE status = 'failed') AS failed_messages"
            " FROM deliveries WHERE shelf IN ('queued', 'held', 'uncertain', 'failed')"
        ),
        {"now": now},
    ).one()
    return dict(row._mapping)


@dataclass(frozen=True)
class Arrival:
    """Something that arrived and failed five times; ``head`` is its first 2,000 bytes as text."""

    id: int
    source: str
    account: str
    error: str
    attempts: int
    size: int
    head: str
    received_at: datetime

    @property
    def last_line(self) -> str:
        return self.error.strip().rpartition("\n")[2][:300]


def quarantined(limit: int = 50) -> list[Arrival]:
    """Newest first; empty for whoever is no operator (the database itself decides)."""
    rows = db.session.execute(text("SELECT * FROM emberpost_quarantined(:most)"), {"most": limit}).mappings()
    return [Arrival(**{**row, "head": bytes(row["head"] or b"").decode("utf-8", "replace")}) for row in rows]


@dataclass(frozen=True)
class Stopped:
    """Who stopped it and why."""

    by: str | None
    reason: str


def who_stopped(kind: str, scope_id: int) -> Stopped | None:
    """Of the instance or a client: from the switch; of a campaign or a mailbox: from the trail, where it stopped last."""
    if kind in _TRAILS:
        object_kind, actions = _TRAILS[kind]
        trail = (
            select(User.name, AuditEntry.after["reason"].astext.label("reason"))
            .select_from(AuditEntry)
            .outerjoin(User, User.id == AuditEntry.user_id)
            .where(AuditEntry.object_kind == object_kind, AuditEntry.object_id == str(scope_id), AuditEntry.action.in_(actions))
            .order_by(AuditEntry.id.desc())
            .limit(1)
        )
        found = db.session.execute(trail).first()
        return Stopped(found.name, found.reason or "") if found else None
    row = db.session.execute(
        select(User.name, Switch.reason)
        .select_from(Switch)
        .outerjoin(User, User.id == Switch.changed_by)
        .where(Switch.scope_kind == kind, Switch.scope_id == scope_id, Switch.stopped)
    ).first()
    return Stopped(row.name, row.reason) if row else None


_TRAILS = {"campaign": ("campaign", ("campaign.pause", "campaign.stop")), "sender": ("mailbox", ("mailbox.pause", "mailbox.stop"))}


@dataclass(frozen=True)
class Stoppable:
    """A campaign or a mailbox with its own stop."""

    id: int
    name: str
    status: str


def stoppable_campaigns(client_id: int, most: int = 50) -> list[Stoppable]:
    """Those that send or are paused; the paused first."""
    rows = db.session.execute(
        select(Campaign.id, Campaign.name, Campaign.status)
        .where(Campaign.client_id == client_id, Campaign.deleted_at.is_(None), Campaign.status.in_(("running", "paused")))
        .order_by((Campaign.status != "paused"), Campaign.name, Campaign.id)
        .limit(most)
    )
    return [Stoppable(*row) for row in rows]


def stoppable_senders(client_id: int, most: int = 50) -> list[Stoppable]:
    """Mailboxes that are active or paused; the paused first."""
    rows = db.session.execute(
        select(Sender.id, Sender.address, Sender.status)
        .where(Sender.client_id == client_id, Sender.deleted_at.is_(None), Sender.status.in_(("active", "paused")))
        .order_by((Sender.status != "paused"), Sender.address, Sender.id)
        .limit(most)
    )
    return [Stoppable(*row) for row in rows]


_RECOVERY = select(Instance.facts["recovery"]["why"].astext)  # written once: every page asks it


def recovery_notice() -> str:
    """Why nothing is sent until ``flask recover`` is through; empty in ordinary times."""
    return str(db.session.scalar(_RECOVERY) or "")


def equation() -> Mapping[str, Any]:
    """What the hourly look at the ledger's equation found last; empty before the first."""
    found = db.session.scalar(select(Instance.facts["equation"]))
    return {**found, "at": datetime.fromisoformat(found["at"])} if found else {}


@dataclass(frozen=True)
class Change:
    """One change of a setting, for the history beside the form. ``at`` is machine time."""

    key: str
    before: Any
    after: Any
    by: str | None
    at: datetime


def setting_changes(client_id: int | None, limit: int = 8) -> list[Change]:
    """The newest changes of a client's settings (None: of the installation's)."""
    mine = AuditEntry.client_id == client_id if client_id is not None else AuditEntry.client_id.is_(None)
    rows = db.session.execute(
        select(AuditEntry.object_id, AuditEntry.before, AuditEntry.after, User.name, AuditEntry.at)
        .outerjoin(User, User.id == AuditEntry.user_id)
        .where(mine, AuditEntry.action == "setting.change")
        .order_by(AuditEntry.id.desc())
        .limit(limit)
    )
    return [Change(row.object_id.partition(":")[2], row.before.get("value"), row.after.get("value"), row.name, row.at) for row in rows]


def replay(ids: list[int] | None) -> int:
    """Have quarantined arrivals (all, or these) read again; how many."""
    return int(db.session.scalar(select(func.emberpost_replay(ids))) or 0)
