"""Claim: the time-limited right to a row. One sender's rows are never held by two engines.

Three statements, each with its own snapshot: the first looks at the oldest due rows of each shard (a window, so that a look
costs the same however much waits) and says which may go, without a second look at those of senders that the engine is busy with;
the second locks their senders, skipping those another engine is just claiming or permitting for; the third leases rows of the
locked senders that still hold nothing, and that are still due: another engine may have been refused one meanwhile, and to ask for
it again would only take its reason away.
What a switch, a pause or a person holds back is passed over: nothing is written for it. A shard whose whole window is held
back is looked at further on next time (``Place``), until the engine begins from the oldest row again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.core.failpoints import Name, point
from app.services.outbox.kinds import with_rules
from app.services.outbox.plain import DELIVERIES, Connection, for_table, glance, rows, run, several

#: How many rows of one sender may be leased together when it keeps no gap: they go in order through one session.
ROWS_PER_SENDER = 20
#: How many rows of each shard one look sees at least.
SMALLEST_WINDOW = 8

_MAY_GO = """
      s.status = 'active' AND s.deleted_at IS NULL
      AND (d.not_before IS NULL OR d.not_before <= clock_timestamp())
      AND (s.backoff_until IS NULL OR s.backoff_until <= %(now)s)
      AND (NOT {is gap} OR s.min_gap_s = 0 OR s.next_at IS NULL OR s.next_at <= %(now)s)
      AND (NOT {is by_campaign} OR c.status = 'running')
      AND (d.enrollment_id IS NULL OR e.status IN ('waiting', 'in_flight'))
      AND NOT ({is by_instance} AND EXISTS (SELECT 1 FROM switches w WHERE w.scope_kind = 'instance' AND w.stopped))
      AND NOT ({is by_client} AND d.client_id IN (SELECT w.scope_id FROM switches w WHERE w.scope_kind = 'client' AND w.stopped AND w.scope_id IS NOT NULL))
      AND d.sender_id NOT IN (SELECT h.sender_id FROM {looked_at} CROSS JOIN LATERAL (
            SELECT h.sender_id FROM {table} h WHERE h.sender_id = n.sender_id AND h.shelf = 'held' LIMIT 1) h)
"""
_FACTS = """
    JOIN senders s ON s.id = d.sender_id
    LEFT JOIN enrollments e ON e.id = d.enrollment_id
    LEFT JOIN campaigns c ON c.id = d.campaign_id
"""

# Behind the rows that may go: the last row of each window that was full.
_WINDOWS = (
    """
WITH windows AS (
        SELECT w.* FROM unnest(%(shards)s::smallint[], %(dues)s::timestamptz[], %(after)s::bigint[]) AS p (shard, due_at, id)
        CROSS JOIN LATERAL (
          SELECT d.id, d.shard, d.kind, d.client_id, d.sender_id, d.enrollment_id, d.campaign_id, d.due_at, d.not_before,
                 row_number() OVER (ORDER BY d.due_at, d.id) AS place
          FROM {table} d
          WHERE d.shelf = 'queued' AND d.shard = p.shard AND d.due_at <= %(now)s AND (d.due_at, d.id) > (p.due_at, p.id)
          ORDER BY d.due_at, d.id LIMIT %(window)s) w)
SELECT d.id, d.shard, d.sender_id, d.due_at, {is calendar} AS calendar, s.min_gap_s, true AS may_go FROM windows d """
    + _FACTS
    + " WHERE d.sender_id NOT IN (SELECT unnest(%(busy)s::bigint[])) AND "
    + _MAY_GO.replace("{looked_at}", "(SELECT DISTINCT sender_id FROM windows WHERE sender_id NOT IN (SELECT unnest(%(busy)s::bigint[]))) AS n")
    + """
UNION ALL
SELECT d.id, d.shard, d.sender_id, d.due_at, false, 0, false FROM windows d WHERE d.place = %(window)s
"""
)

_LOCK_SENDERS = "SELECT id FROM senders WHERE id = ANY (%(senders)s::bigint[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"

_LEASE = (
    """
WITH ranked AS (
        SELECT d.id, d.due_at, {is calendar} AS calendar, s.min_gap_s,
               row_number() OVER (PARTITION BY d.sender_id ORDER BY {is calendar}, d.due_at, d.id) AS place
        FROM {table} d """
    + _FACTS
    + """
        WHERE d.id = ANY (%(ids)s::bigint[]) AND coalesce(d.status, '') = 'queued' AND d.due_at <= %(now)s
          AND d.sender_id = ANY (%(senders)s::bigint[]) AND """
    + _MAY_GO.replace("{looked_at}", "unnest(%(senders)s::bigint[]) AS n (sender_id)")
    + """),
     chosen AS (
        SELECT id FROM ranked WHERE place = 1 OR (min_gap_s = 0 AND place <= %(per_sender)s)
        ORDER BY calendar, due_at, id LIMIT %(limit)s),
     free AS (SELECT id FROM {table} WHERE id IN (SELECT id FROM chosen) AND coalesce(status, '') = 'queued' AND due_at <= %(now)s
              ORDER BY id FOR UPDATE SKIP LOCKED),
     leased AS (
        UPDATE {table} d SET status = 'leased', epoch = d.epoch + 1, lease_owner = %(owner)s, reason = NULL, phase = NULL,
               leased_until = clock_timestamp() + make_interval(secs => %(lease)s)
        FROM free WHERE d.id = free.id
        RETURNING d.id, d.epoch, d.client_id, d.kind, d.sender_id, d.campaign_id, d.enrollment_id, d.step_id, d.lead_id,
                  d.due_at, d.to_address, d.mime, d.message_id, d.first_of_lead),
     tries AS (
        INSERT INTO delivery_attempts (delivery_id, epoch, client_id, engine)
        SELECT id, epoch, client_id, %(owner)s FROM leased ON CONFLICT DO NOTHING)
SELECT l.*, b.smtp_host, b.smtp_port, b.smtp_security, b.smtp_user, b.smtp_secret, b.provider, b.credential_kind,
       b.save_to_sent, s.address AS sender_address, s.min_gap_s
FROM leased l JOIN senders s ON s.id = l.sender_id LEFT JOIN mailboxes b ON b.id = l.sender_id
ORDER BY (l.kind <> 'reply'), l.due_at, l.id
"""
)

#: Where the look at one shard begins: after this (due_at, id).
Place = tuple[datetime, int]
THE_BEGINNING: Place = (datetime(1970, 1, 1, tzinfo=UTC), 0)


@dataclass(frozen=True, slots=True)
class Claim:
    """What to lease: for ``owner``, at most ``limit`` rows of its shards that are due at ``now`` (product time).

    ``senders``: of how many senders at most (each is a session of its own). ``busy``: senders that hold something already.
    """

    owner: str
    shards: Mapping[int, Place]
    now: datetime
    limit: int
    lease_s: int
    per_sender: int = ROWS_PER_SENDER
    senders: int = 1_000_000
    busy: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Leased:
    """``rows`` carry what opens the sender's session. ``further``: shards whose whole window was held back, and where it ended."""

    rows: list[Any]
    further: dict[int, Place]


def claim(connection: Connection, wanted: Claim, table: str = DELIVERIES) -> Leased:
    """Lease what is due; call inside a transaction of its own."""
    if not wanted.shards or wanted.limit <= 0 or wanted.senders <= 0:
        return Leased([], {})
    window = max(SMALLEST_WINDOW, -(-2 * wanted.limit // len(wanted.shards)))
    values: dict[str, Any] = {
        "shards": list(wanted.shards), "dues": [place[0] for place in wanted.shards.values()],
        "after": [place[1] for place in wanted.shards.values()], "now": wanted.now, "limit": wanted.limit,
        "owner": wanted.owner, "lease": wanted.lease_s, "per_sender": wanted.per_sender, "window": window,
        "busy": list(wanted.busy),
    }  # fmt: skip
    seen = glance(connection, [(with_rules(for_table(_WINDOWS, table)), values)])[0]
    going = sorted((row for row in seen if row.may_go), key=lambda row: (row.calendar, row.due_at, row.id))
    further = _held_back(seen)
    senders = list(dict.fromkeys(row.sender_id for row in going))[: min(wanted.limit, wanted.senders)]
    if not senders:
        return Leased([], further)
    mine = [row.id for row in rows(connection, _LOCK_SENDERS, {"senders": sorted(senders)})]
    if not mine:
        return Leased([], further)
    values |= {"senders": mine, "ids": _first_of(going, set(mine), wanted)}
    leased = several(connection, [(with_rules(for_table(_LEASE, table)), values)], Name.CLAIM_BEFORE_COMMIT)[0]
    point(Name.CLAIM_BEFORE_COMMIT)
    return Leased(leased, further)


def _first_of(going: list[Any], senders: set[int], wanted: Claim) -> list[int]:
    """The rows worth a second look: of locked senders, as many as may be leased, and a few in case some are gone."""
    counts: Counter[int] = Counter()
    found: list[int] = []
    for row in going:
        counts[row.sender_id] += 1
        most = wanted.per_sender if row.min_gap_s == 0 else 2
        if row.sender_id in senders and counts[row.sender_id] <= most:
            found.append(row.id)
            if len(found) >= wanted.limit + wanted.limit // 8 + 2:
                break
    return found


def _held_back(seen: list[Any]) -> dict[int, Place]:
    """The shards of which a full window was seen and nothing may go; where each window ended."""
    going = {row.shard for row in seen if row.may_go}
    return {row.shard: (row.due_at, row.id) for row in seen if not row.may_go and row.shard not in going}


_STORE = """
WITH given AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(epochs)s::int[], %(mimes)b::bytea[], %(message_ids)s::text[])
        AS g (id, epoch, mime, message_id)),
 stored AS (
    UPDATE {table} d SET mime = g.mime, message_id = g.message_id, rendered_at = coalesce(d.rendered_at, %(now)s)
    FROM given g WHERE d.id = g.id AND d.epoch = g.epoch AND coalesce(d.status, '') = 'leased' AND d.mime IS NULL
    RETURNING d.id, d.epoch, d.client_id, d.message_id, d.inbox_message_id),
 known AS (
    INSERT INTO known_message_ids (client_id, message_id, source, delivery_id)
    SELECT client_id, message_id, 'ours', id FROM stored ON CONFLICT DO NOTHING),
 inbox AS (
    UPDATE messages m SET external_id = stored.message_id FROM stored WHERE m.id = stored.inbox_message_id)
SELECT id, epoch FROM stored
"""


@dataclass(slots=True)
class Bytes:
    """The final bytes of one row, under the lease of ``epoch``."""

    delivery_id: int
    epoch: int
    mime: bytes
    message_id: str


def store_bytes(connection: Connection, batch: list[Bytes], now: datetime, table: str = DELIVERIES) -> set[tuple[int, int]]:
    """Freeze bytes and Message-ID; the (id, epoch) for which it was still ours to do."""
    values = {
        "ids": [item.delivery_id for item in batch],
        "epochs": [item.epoch for item in batch],
        "mimes": [item.mime for item in batch],
        "message_ids": [item.message_id for item in batch],
        "now": now,
    }
    stored = several(connection, [(for_table(_STORE, table), values)], Name.BYTES_BEFORE_COMMIT)[0]
    point(Name.BYTES_BEFORE_COMMIT)
    return {(row.id, row.epoch) for row in stored}


_RENEW = """
UPDATE {table} d SET leased_until = clock_timestamp() + make_interval(secs => %(lease)s)
FROM unnest(%(ids)s::bigint[], %(epochs)s::int[]) AS g (id, epoch)
WHERE d.id = g.id AND d.epoch = g.epoch AND coalesce(d.status, '') IN ('leased', 'committing')
"""


def renew(connection: Connection, held: list[tuple[int, int]], lease_s: int, table: str = DELIVERIES) -> int:
    """Keep what this engine still holds; how many rows that are."""
    values = {"ids": [pair[0] for pair in held], "epochs": [pair[1] for pair in held], "lease": lease_s}
    return run(connection, for_table(_RENEW, table), values)


_GIVE_BACK = """
WITH back AS (
    UPDATE {table} d SET status = 'queued', leased_until = NULL, lease_owner = NULL
    FROM unnest(%(ids)s::bigint[], %(epochs)s::int[]) AS g (id, epoch)
    WHERE d.id = g.id AND d.epoch = g.epoch AND coalesce(d.status, '') = 'leased' RETURNING d.id, d.epoch)
UPDATE delivery_attempts a SET ended_at = clock_timestamp(), outcome = 'returned' FROM back
WHERE a.delivery_id = back.id AND a.epoch = back.epoch AND a.ended_at IS NULL
"""


def give_back(connection: Connection, held: list[tuple[int, int]], table: str = DELIVERIES) -> int:
    """A process that is about to end returns what it has no permit for; whoever asks for one later is refused. How many."""
    values = {"ids": [pair[0] for pair in held], "epochs": [pair[1] for pair in held]}
    return run(connection, for_table(_GIVE_BACK, table), values)
