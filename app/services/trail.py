"""The seals of the trail: made by the scheduler a few seconds after an entry, proved by anybody who may read it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, text

from app.core.extensions import db

AT_ONCE = 2_000


def seal(most: int = AT_ONCE) -> int:
    """Seal at most ``most`` entries that have no seal yet, oldest first; returns how many."""
    return int(db.session.scalar(select(func.emberpost_seal_audit(most))) or 0)


@dataclass(frozen=True)
class Fault:
    """A seal that does not fit. ``chain``: the client's id, 0 for the instance; ``what``: changed, missing or gap."""

    chain: int
    number: int
    entry_id: int
    what: str


@dataclass(frozen=True)
class Proof:
    """What a whole reading of the seals found. ``waiting``: entries written a moment ago that have no seal yet."""

    sealed: int
    waiting: int
    faults: tuple[Fault, ...]


_FAULTS = """
WITH read AS (
    SELECT s.chain, s.number, s.entry_id, s.digest, a.id AS found,
           coalesce(lag(s.digest) OVER chain, ''::bytea) AS before, coalesce(lag(s.number) OVER chain, 0) AS number_before,
           emberpost_audit_payload(a) AS payload
    FROM audit_seals s LEFT JOIN audit_entries a ON a.id = s.entry_id
    WHERE CAST(:chain AS bigint) IS NULL OR s.chain = :chain
    WINDOW chain AS (PARTITION BY s.chain ORDER BY s.number)
)
SELECT chain, number, entry_id,
       CASE WHEN found IS NULL THEN 'missing' WHEN number <> number_before + 1 THEN 'gap' ELSE 'changed' END AS what
FROM read
WHERE found IS NULL OR number <> number_before + 1 OR digest <> sha256(before || payload)
ORDER BY chain, number LIMIT 100
"""


def prove(chain: int | None = None) -> Proof:
    """Read every seal of ``chain`` (a client's id, 0 the instance, None all) again. About a second per 100,000 entries.

    A changed entry breaks its own seal; a line taken out, with its seal, leaves a gap in the numbers; whoever renumbers the rest has to
    make every later digest anew, which no grant of the product allows.
    """
    rows = db.session.execute(text(_FAULTS), {"chain": chain})
    faults = tuple(Fault(row.chain, row.number, row.entry_id, row.what) for row in rows)
    counted = db.session.execute(
        text(
            "SELECT count(s.entry_id) AS sealed, count(*) - count(s.entry_id) AS waiting FROM audit_entries a"
            " LEFT JOIN audit_seals s ON s.entry_id = a.id WHERE CAST(:chain AS bigint) IS NULL OR coalesce(a.client_id, 0) = :chain"
        ),
        {"chain": chain},
    ).one()
    return Proof(counted.sealed, counted.waiting, faults)
