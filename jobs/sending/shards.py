"""Which senders an engine looks after: 64 shards, shared out among the engines alive, as rows on PostgreSQL's clock.

Correctness does not rest on it (a claim skips senders somebody holds); it only keeps engines out of each other's way.
"""

from __future__ import annotations

from app.services.outbox.plain import Connection, rows, run

SHARDS = 64
LEASE_SECONDS = 15
RENEW_SECONDS = 5.0

_MAKE = """
INSERT INTO shards (kind, id) SELECT %(kind)s, generate_series(0, 63)
WHERE NOT EXISTS (SELECT FROM shards WHERE kind = %(kind)s AND id = 63) ON CONFLICT DO NOTHING
"""
_ALIVE = """
SELECT count(DISTINCT owner) AS others FROM shards
WHERE kind = %(kind)s AND leased_until > clock_timestamp() AND owner <> %(owner)s
"""
# engines that beat and own nothing yet: the others make room for them
_HUNGRY = """
SELECT count(*) AS n FROM process_beats p
WHERE p.kind = %(kind)s AND p.name <> %(owner)s AND p.seen_at > clock_timestamp() - interval '7 s'
  AND NOT EXISTS (SELECT 1 FROM shards s WHERE s.kind = %(kind)s AND s.owner = p.name AND s.leased_until > clock_timestamp())
"""
_KEEP = """
UPDATE shards SET leased_until = clock_timestamp() + make_interval(secs => %(lease)s)
WHERE kind = %(kind)s AND owner = %(owner)s AND leased_until > clock_timestamp() RETURNING id
"""
# our share of what is free, what was left longest first (else where engines come and go the last shards would hardly ever be looked
# at); and whatever nobody took for a while, for a hungry engine may have died
_TAKE = """
UPDATE shards s SET owner = %(owner)s, epoch = s.epoch + 1, leased_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM (SELECT id, leased_until, row_number() OVER (ORDER BY leased_until NULLS FIRST, id) AS place FROM (
        SELECT id, leased_until FROM shards
        WHERE kind = %(kind)s AND (leased_until IS NULL OR leased_until < clock_timestamp())
        ORDER BY id FOR UPDATE SKIP LOCKED) open) free
WHERE s.kind = %(kind)s AND s.id = free.id
  AND (free.place <= %(limit)s OR free.leased_until < clock_timestamp() - interval '6 s')
RETURNING s.id
"""
_GIVE = """
UPDATE shards SET owner = NULL, leased_until = clock_timestamp() WHERE kind = %(kind)s AND owner = %(owner)s AND id = ANY (%(ids)s)
"""


def hold(connection: Connection, owner: str, kind: str = "dispatch") -> tuple[int, ...]:
    """Renew ours, take our share of what is free, give up what is more than our share. Which are ours now."""
    values = {"kind": kind, "owner": owner, "lease": LEASE_SECONDS}
    run(connection, _MAKE, values)
    mine = sorted(row.id for row in rows(connection, _KEEP, values))
    engines = 1 + rows(connection, _ALIVE, values)[0].others + rows(connection, _HUNGRY, values)[0].n
    share = -(-SHARDS // engines)
    if len(mine) > share:
        run(connection, _GIVE, {**values, "ids": mine[share:]})
        return tuple(mine[:share])
    mine += [row.id for row in rows(connection, _TAKE, {**values, "limit": share - len(mine)})]
    return tuple(sorted(mine))


def release(connection: Connection, owner: str, kind: str = "dispatch") -> None:
    """Leave all of ours to the others at once."""
    run(
        connection,
        "UPDATE shards SET owner = NULL, leased_until = clock_timestamp() WHERE kind = %(kind)s AND owner = %(owner)s",
        {"kind": kind, "owner": owner},
    )
