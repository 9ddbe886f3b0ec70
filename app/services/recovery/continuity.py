"""Is this the ledger that sent last? A restored or moved one does not know what left after its copy was made.

Two signs, both looked at by every sending process before its first claim and at each new connection: the cluster's identity
(system identifier, timeline, database, table) differs from the stored one, or the ledger's mark, which senders advance every few
seconds, is behind what they remember outside it. The third sign is the reading engine's: a mail of ours in a Sent folder that
the ledger never let leave. Each of them stops the whole instance and keeps it stopped until ``flask recover`` is through.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb

from app.core import clock
from app.core.db import HOT_LOCK
from app.services.outbox import switches
from app.services.outbox.plain import Connection, rows, run
from app.strings import t

MOVED = t("doctor.moved")
SET_BACK = t("doctor.set_back")
BEHIND = t("doctor.behind")
#: Why the instance is stopped, on the page of stops; a release by a person is refused while recovery is needed.
STOP_REASON = t("doctor.stop_reason")

Highest = Callable[[str], int]

_IDENTITY = """
SELECT concat_ws('/', (pg_control_system()).system_identifier,
  CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END,
  (SELECT oid FROM pg_database WHERE datname = current_database()), 'instance'::regclass::oid) AS cluster
"""
_FACTS = "SELECT facts FROM instance WHERE id = 1"
_FIRST = "UPDATE instance SET facts = facts || %(facts)s WHERE id = 1 AND NOT facts ? 'ledger'"
_BEAT = """
UPDATE instance SET facts = jsonb_set(facts, '{ledger}', (facts -> 'ledger') || jsonb_build_object(
  'mark', (facts #>> '{ledger,mark}')::bigint + 1, 'at', clock_timestamp()))
WHERE id = 1 AND facts ? 'ledger' AND NOT facts ? 'recovery'
RETURNING facts #>> '{ledger,id}' AS id, (facts #>> '{ledger,mark}')::bigint AS mark
"""
_NEEDED = "UPDATE instance SET facts = facts || %(facts)s WHERE id = 1 AND NOT facts ? 'recovery' RETURNING id"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why nothing may be sent. ``since``: the last sign of life of the senders in this ledger (machine time)."""

    why: str
    since: datetime | None

    @property
    def fix(self) -> str:
        since = f"{self.since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if self.since else t("doctor.time_of_backup")
        return t("doctor.recover", since=since)


def facts(connection: Connection) -> dict[str, Any]:
    """What is stored of the instance; empty before its first start."""
    found = rows(connection, _FACTS)
    return dict(found[0].facts) if found else {}


def identity(connection: Connection) -> str:
    return str(rows(connection, _IDENTITY)[0].cluster)


def problem(connection: Connection, highest: Highest) -> Problem | None:
    """Looks, changes nothing. None: this ledger may send."""
    return _problem(connection, facts(connection), highest)


def _problem(connection: Connection, stored: dict[str, Any], highest: Highest) -> Problem | None:
    ledger = stored.get("ledger") or {}
    since = datetime.fromisoformat(ledger["at"]) if ledger.get("at") else None
    if "recovery" in stored:
        return Problem(stored["recovery"]["why"], since)
    if not ledger:
        return None
    if ledger["cluster"] != identity(connection):
        return Problem(MOVED, since)
    if highest(ledger["id"]) > int(ledger["mark"]):
        return Problem(SET_BACK, since)
    return None


def establish(connection: Connection, highest: Highest) -> Problem | None:
    """Before sending: remember which ledger this is at the first time, stop everything when it is another one since.

    Call inside a transaction that begins here.
    """
    stored = facts(connection)
    found = _problem(connection, stored, highest)
    if found is not None:
        need_recovery(connection, found.why)
        return found
    if not stored.get("ledger"):
        fresh = {"id": secrets.token_hex(8), "cluster": identity(connection), "mark": 1, "at": clock.machine_now().isoformat()}
        run(connection, _FIRST, {"facts": Jsonb({"ledger": fresh})})
    return None


def beat(connection: Connection) -> tuple[str, int] | None:
    """Senders are at work: advance the mark. (ledger id, mark) to be remembered outside once this is committed."""
    found = rows(connection, _BEAT)
    return (found[0].id, int(found[0].mark)) if found else None


def need_recovery(connection: Connection, why: str) -> bool:
    """Stop the instance until ``flask recover`` is through. False when it was known already. Takes the hot lock."""
    run(connection, "SELECT pg_advisory_xact_lock(%(key)s)", {"key": HOT_LOCK})
    needed = {"why": why, "found_at": clock.machine_now().isoformat()}
    if not rows(connection, _NEEDED, {"facts": Jsonb({"recovery": needed})}):
        return False
    switches.stop_by_the_system(connection, STOP_REASON)
    return True


def count_uncertain(connection: Connection) -> int:
    """Messages nobody can be sure of, of all clients."""
    return int(rows(connection, "SELECT count(*) AS n FROM deliveries WHERE shelf = 'uncertain'")[0].n)
