"""What arrived, for operators: the database itself decides whether the caller is one (functions of the migrations 0007)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, text

from app.core.extensions import db
from app.domain.webhook_body import covered_text, shown

STATES = ("quarantined", "ignored", "new", "done")


@dataclass(frozen=True)
class Line:
    """One arrival in a list; all moments are machine time. ``size`` 0: only the hash is kept."""

    id: int
    source: str
    account: str
    kind: str
    status: str
    error: str
    attempts: int
    seen: int
    size: int
    received_at: datetime
    processed_at: datetime | None
    next_try_at: datetime | None

    @property
    def last_line(self) -> str:
        return covered_text(self.error.strip().rpartition("\n")[2][:300])

    @property
    def source_id(self) -> int | None:
        return int(self.account) if self.source == "webhook" and self.account.isdigit() else None


@dataclass(frozen=True)
class Whole(Line):
    """One arrival whole; ``head``: its first 64 KiB."""

    dedupe_key: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    body_sha256: str | None = None
    code_version: str = ""
    head: bytes = b""

    @property
    def body(self) -> str:
        """For a person's eyes: spread over lines, secrets covered."""
        return shown(bytes(self.head))[:100_000]

    @property
    def why(self) -> str:
        return covered_text(self.error)


def page(
    states: Sequence[str] | None = None, source_id: int | None = None, since: datetime | None = None, before_id: int | None = None, limit: int = 100
) -> list[Line]:
    """Newest first. ``states`` None: all; ``source_id``: one webhook source; ``before_id``: older than that one."""
    rows = db.session.execute(
        text(
            "SELECT * FROM emberpost_arrivals(cast(:states AS text[]), :source, :account, cast(:since AS timestamptz), cast(:before AS bigint), :most)"
        ),
        {"states": list(states) if states else None, **_of(source_id), "since": since, "before": before_id, "most": limit},
    ).mappings()
    return [Line(**row) for row in rows]


def _of(source_id: int | None) -> dict[str, str | None]:
    return {"source": None, "account": None} if source_id is None else {"source": "webhook", "account": str(source_id)}


def one(arrival_id: int) -> Whole | None:
    """None for one that is not there, and for whoever is no operator."""
    row = db.session.execute(text("SELECT * FROM emberpost_arrival(:id)"), {"id": arrival_id}).mappings().first()
    return Whole(**row) if row else None


@dataclass
class Figures:
    """How the events of one source went."""

    events: int = 0
    repeats: int = 0
    last_at: datetime | None = None
    by_status: dict[str, int] = field(default_factory=dict)


def figures() -> tuple[dict[str, int], dict[int, Figures]]:
    """(how many arrivals per state, figures per webhook source)."""
    total: dict[str, int] = dict.fromkeys(STATES, 0)
    sources: dict[int, Figures] = {}
    for row in db.session.execute(text("SELECT * FROM emberpost_arrival_counts()")):
        total[row.status] += row.events
        if row.source == "webhook" and row.account.isdigit():
            found = sources.setdefault(int(row.account), Figures())
            found.events += row.events
            found.repeats += row.repeats
            found.by_status[row.status] = row.events
            found.last_at = max(filter(None, (found.last_at, row.last_at)), default=None)
    return total, sources


def replay(ids: Sequence[int] | None = None, states: Sequence[str] | None = None, source_id: int | None = None, since: datetime | None = None) -> int:
    """Have arrivals worked on again, by the same road as the first time; how many. Those without their bytes are passed over."""
    of = _of(source_id)
    given = (list(ids) if ids is not None else None, list(states) if states else None, of["source"], of["account"], since)
    return int(db.session.scalar(func.emberpost_replay_arrivals(*given)) or 0)


def let_be(ids: Sequence[int]) -> int:
    """Quarantined arrivals that nobody will work on again; how many. Their bytes go with the next retention."""
    return int(db.session.scalar(func.emberpost_let_arrivals_be(list(ids))) or 0)
