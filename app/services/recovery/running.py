"""One recovery from beginning to end: its number, what is done already, its report. Stored, so that it may be interrupted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from app.core import clock
from app.core.bell import DISPATCH, SETTINGS, ring_after_commit
from app.core.db import OWNER_ROLE, lock_hot
from app.services import audit
from app.services.outbox import switches
from app.services.outbox.plain import plain_connection, rows, run
from app.services.recovery import continuity
from app.services.recovery.continuity import Highest, Problem
from app.strings import t

#: Ids go on this much further after a recovery, so that none of the lost history is given to something else.
GAP = 10_000_000


@dataclass
class Run:
    """``number`` names it on the rows it held; ``began`` is machine time, ``cutoff`` and ``since`` tell what may have been sent."""

    number: str
    since: datetime
    began: datetime
    cutoff: datetime
    done: set[int] = field(default_factory=set)
    told: dict[str, int] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)

    def count(self, what: str, how_many: int = 1) -> None:
        self.told[what] = self.told.get(what, 0) + how_many


def begin(since: datetime | None, highest: Highest, *, anyway: bool) -> Run | Problem | None:
    """Stop the instance and begin, or go on with the one that was begun. None: nothing says that a recovery is needed."""
    lock_hot()
    connection = plain_connection()
    found = continuity.problem(connection, highest)
    if found is None and not anyway:
        return None
    continuity.need_recovery(connection, found.why if found else t("doctor.asked_for"))
    stored = continuity.facts(connection)
    recovery = stored["recovery"]
    if "run" not in recovery:
        last = found.since if found else None
        start = min(filter(None, (since, last)), default=None)
        if start is None:
            return Problem(t("doctor.no_sign_of_life"), None)
        now = clock.machine_now()
        recovery["run"] = {
            "number": f"{now:%Y%m%dT%H%M%S}", "since": start.isoformat(), "began": now.isoformat(), "cutoff": clock.now().isoformat(),
        }  # fmt: skip
        _store(recovery)
    return _read(recovery["run"])


def _read(stored: dict[str, Any]) -> Run:
    moments = {name: datetime.fromisoformat(stored[name]) for name in ("since", "began", "cutoff")}
    return Run(
        stored["number"], **moments, done=set(stored.get("done", ())), told=dict(stored.get("told", {})),
        strangers=list(stored.get("strangers", ())),
    )  # fmt: skip


def save(one: Run) -> None:
    """Remember how far it has come."""
    recovery = continuity.facts(plain_connection())["recovery"]
    recovery["run"] |= {"done": sorted(one.done), "told": one.told, "strangers": one.strangers[:10_000]}
    _store(recovery)


def _store(recovery: dict[str, Any]) -> None:
    run(plain_connection(), "UPDATE instance SET facts = facts || %(facts)s WHERE id = 1", {"facts": Jsonb({"recovery": recovery})})


_UNREAD = """
SELECT s.address FROM mailboxes m JOIN senders s ON s.id = m.id
WHERE s.deleted_at IS NULL AND s.status IN ('active', 'paused') AND m.imap_secret IS NOT NULL
  AND (m.last_read_at IS NULL OR m.last_read_at < %(cutoff)s) ORDER BY s.address
"""


def unread(one: Run) -> list[str]:
    """Mailboxes whose answers were not read since it began: who answered after the backup is known only from there."""
    return [row.address for row in rows(plain_connection(), _UNREAD, {"cutoff": one.cutoff})]


_SEQUENCES = """
SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename) AS name, coalesce(last_value, 0) AS last FROM pg_sequences
WHERE schemaname = 'public'
"""


def finish(one: Run | None, highest: Highest) -> bool:
    """This ledger is the one that sends from now on. True when the instance was released (a person's own stop stays).

    ``one`` None: it was moved, and nothing was sent after the copy was made.
    """
    lock_hot()
    connection = plain_connection()
    stored = continuity.facts(connection)
    before = stored.get("ledger") or {}
    if one is not None:
        _skip_lost_ids()
    mark = max(int(before.get("mark", 0)), highest(before["id"]) if before else 0) + 1
    now = clock.machine_now()
    ledger = {**before, "cluster": continuity.identity(connection), "mark": mark, "at": now.isoformat()}
    if "id" not in ledger:
        ledger["id"] = f"{now:%Y%m%d%H%M%S%f}"
    report = {"at": now.isoformat(), "product_at": clock.now().isoformat(), **(one.told if one else {})}
    fresh = {"ledger": ledger, "last_recovery": report}
    run(connection, "UPDATE instance SET facts = (facts - 'recovery') || %(facts)s WHERE id = 1", {"facts": Jsonb(fresh)})
    audit.record("recovery.finish" if one else "recovery.move", "instance", 0, after=report)
    released = switches.release_by_the_system(connection, continuity.STOP_REASON)
    ring_after_commit(SETTINGS)
    ring_after_commit(DISPATCH)
    return released


def _skip_lost_ids() -> None:
    connection = plain_connection()
    before = rows(connection, "SELECT current_user AS name")[0].name
    connection.execute(f"SET LOCAL ROLE {OWNER_ROLE}")
    for row in rows(connection, _SEQUENCES):
        run(connection, "SELECT setval(%(name)s::regclass, %(value)s)", {"name": row.name, "value": row.last + GAP})
    connection.execute(f'SET LOCAL ROLE "{before}"')
