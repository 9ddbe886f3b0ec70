"""The caps: exact counters in PostgreSQL, locked in key order and added to inside the permit.

Which counters a message adds to is the domain's (``domain.limits``). A counter is kept where something reads it: per sender
and campaign always, per client, instance and provider only while a cap is set (an uncapped counter shared by everybody
would make all engines wait for each other for nothing).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from app.domain.address import RecipientProvider, recipient_provider, registrable_domain
from app.domain.kind_rules import KIND_RULES, KindRule
from app.domain.limits import Caps, CounterKey, Limit, LimitFacts, Scope, limits, minute_start
from app.domain.statuses import DeliveryKind
from app.services.outbox.plain import Connection, Question, rows, run, several

INSTANCE_MINUTE, INSTANCE_HOUR = "instance_minute_cap", "instance_hour_cap"
CLIENT_HOUR, BULK_READY = "client_hour_cap", "bulk_ready_domains"


@dataclass(frozen=True, slots=True)
class Use:
    """One counter a message adds to. ``heeded`` False: it counts, whatever the cap says."""

    limit: Limit
    heeded: bool
    key: CounterKey
    text: str  # the key as a delivery remembers it, in JSON


@dataclass(frozen=True, slots=True)
class HouseCaps:
    """Caps of the instance and of clients, from the table ``settings``."""

    instance: Caps = field(default_factory=Caps)
    client_hour: dict[int, int] = field(default_factory=dict)
    bulk_ready: frozenset[str] = frozenset()


_CAPS = "SELECT scope_kind, scope_id, key, value FROM settings WHERE key = ANY (%(keys)s) AND value <> 'null'::jsonb"


#: Asks for the caps as they are now; a change takes the hot lock, so they stand still while a permit holds it.
CAPS: Question = (_CAPS, {"keys": [INSTANCE_MINUTE, INSTANCE_HOUR, CLIENT_HOUR, BULK_READY]})


def house_caps(connection: Connection) -> HouseCaps:
    """The caps as they are now."""
    return caps_of(rows(connection, *CAPS))


def caps_of(found: list[Any]) -> HouseCaps:
    """What ``CAPS`` found."""
    instance: dict[str, int] = {}
    client_hour: dict[int, int] = {}
    ready: set[str] = set()
    for row in found:
        if row.key == BULK_READY:
            ready.update(str(name).lower() for name in row.value)
        elif row.key == CLIENT_HOUR and row.scope_kind == "client":
            client_hour[row.scope_id] = int(row.value)
        elif row.scope_kind == "instance":
            instance[row.key.removesuffix("_cap")] = int(row.value)
    caps = Caps(instance_minute=instance.get("instance_minute"), instance_hour=instance.get("instance_hour"))
    return HouseCaps(caps, client_hour, frozenset(ready))


#: What messages of one minute add to, by everything it depends on: windows begin on whole minutes.
_known: dict[tuple[Any, ...], list[Use]] = {}
_MOST_KNOWN = 4_096


def uses_of(row: Any, house: HouseCaps, now: datetime) -> list[Use]:
    """The counters that one delivery adds to, in locking order. The list is shared: do not change it."""
    minute = minute_start(now)
    if len(_known) > _MOST_KNOWN:
        _known.clear()
    provider = recipient_provider(row.recipient_domain)
    domain = registrable_domain(row.sender_domain) if provider is RecipientProvider.GMAIL else ""
    caps = house.instance
    what = (
        minute, row.kind, row.client_id, row.sender_id, row.sender_zone, row.campaign_id, row.campaign_zone, row.first_of_lead, row.daily_cap,
        row.hourly_cap, row.campaign_daily_cap, row.daily_new_leads, provider, domain, caps.instance_minute, caps.instance_hour,
        house.client_hour.get(row.client_id), domain in house.bulk_ready,
    )  # fmt: skip
    uses = _known.get(what)
    if uses is None:
        uses = _known[what] = _uses(row, house, minute, provider, domain)
    return uses


def _uses(row: Any, house: HouseCaps, now: datetime, provider: RecipientProvider, domain: str) -> list[Use]:
    kind = DeliveryKind(row.kind)
    facts = LimitFacts(
        now=now, client_id=row.client_id, sender_id=row.sender_id, sender_zone=row.sender_zone, sender_domain=domain,
        recipient_provider=provider, campaign_id=row.campaign_id, campaign_zone=row.campaign_zone or "UTC",
        first_of_lead=row.first_of_lead,
    )  # fmt: skip
    caps = replace(
        house.instance,
        client_hour=house.client_hour.get(row.client_id),
        campaign_day=row.campaign_daily_cap,
        new_leads_day=row.daily_new_leads,
        sender_day=row.daily_cap,
        sender_hour=row.hourly_cap,
        bulk_ready=domain in house.bulk_ready,
    )
    rule = KIND_RULES[kind]
    return [
        Use(limit, _heeded(limit, rule), limit.key, json.dumps(as_json(limit.key)))
        for limit in limits(kind, facts, caps)
        if _kept(limit, caps)
    ]


def _kept(limit: Limit, caps: Caps) -> bool:
    match limit.key.scope_kind, limit.key.action:
        case Scope.INSTANCE, "minute":
            return caps.instance_minute is not None
        case Scope.INSTANCE, _:
            return caps.instance_hour is not None
        case Scope.CLIENT, _:
            return caps.client_hour is not None
        case Scope.DOMAIN, _:
            return limit.cap is not None
        case Scope.SENDER, "hour":
            return caps.sender_hour is not None
    return True


def _heeded(limit: Limit, rule: KindRule) -> bool:
    match limit.key.scope_kind:
        case Scope.SENDER:
            return rule.sender_cap
        case Scope.INSTANCE | Scope.CLIENT:
            return rule.house_cap
    return True


def as_json(key: CounterKey) -> list[str]:
    """How a delivery remembers what its permit added to."""
    return [str(key.scope_kind), key.scope_id, str(key.action), key.window_start.isoformat()]


def from_json(entry: list[str]) -> CounterKey:
    return CounterKey(entry[0], entry[1], entry[2], datetime.fromisoformat(entry[3]))


_INSERT = """
INSERT INTO usage_counters (scope_kind, scope_id, action, window_start)
SELECT * FROM unnest(%(kinds)s::text[], %(ids)s::text[], %(actions)s::text[], %(starts)s::timestamptz[])
ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT u.scope_kind, u.scope_id, u.action, u.window_start, u.used FROM usage_counters u
JOIN unnest(%(kinds)s::text[], %(ids)s::text[], %(actions)s::text[], %(starts)s::timestamptz[])
     AS k (scope_kind, scope_id, action, window_start) USING (scope_kind, scope_id, action, window_start)
ORDER BY u.scope_kind COLLATE "C", u.scope_id COLLATE "C", u.action COLLATE "C", u.window_start FOR NO KEY UPDATE OF u
"""
_LOOK = _LOCK.replace("FOR NO KEY UPDATE OF u", "")
_ADD = """
UPDATE usage_counters u SET used = u.used + k.added,
    cap = CASE WHEN NOT k.forced THEN k.cap WHEN u.cap IS NOT NULL THEN greatest(u.cap, u.used + k.added) END
FROM unnest(%(kinds)s::text[], %(ids)s::text[], %(actions)s::text[], %(starts)s::timestamptz[],
            %(added)s::int[], %(caps)s::int[], %(forced)s::bool[])
     AS k (scope_kind, scope_id, action, window_start, added, cap, forced)
WHERE (u.scope_kind, u.scope_id, u.action, u.window_start) = (k.scope_kind, k.scope_id, k.action, k.window_start)
"""
_GIVE_BACK = """
UPDATE usage_counters u SET used = greatest(u.used - k.taken, 0)
FROM unnest(%(kinds)s::text[], %(ids)s::text[], %(actions)s::text[], %(starts)s::timestamptz[], %(taken)s::int[])
     AS k (scope_kind, scope_id, action, window_start, taken)
WHERE (u.scope_kind, u.scope_id, u.action, u.window_start) = (k.scope_kind, k.scope_id, k.action, k.window_start)
"""


def _columns(keys: list[CounterKey]) -> dict[str, Any]:
    return {
        "kinds": [str(key.scope_kind) for key in keys],
        "ids": [key.scope_id for key in keys],
        "actions": [str(key.action) for key in keys],
        "starts": [key.window_start for key in keys],
    }


def locking(keys: list[CounterKey], making: list[CounterKey]) -> list[Question]:
    """Lock these counters in key order, making those of ``making`` that are missing. The last answer is for ``by_key``."""
    made: list[Question] = [(_INSERT, _columns(making))] if making else []
    return [*made, (_LOCK, _columns(keys))] if keys else []


def lock(connection: Connection, wanted: Iterable[CounterKey], make: bool = True) -> dict[CounterKey, int]:
    """Lock these counters in key order, making those that are missing; what each has used."""
    keys = sorted(set(wanted))
    return by_key(keys, several(connection, locking(keys, keys if make else []))[-1]) if keys else {}


def peek(connection: Connection, wanted: Iterable[CounterKey]) -> dict[CounterKey, int]:
    """What these counters have used just now, without waiting for anybody."""
    keys = sorted(set(wanted))
    return by_key(keys, rows(connection, _LOOK, _columns(keys)) if keys else [])


def by_key(keys: list[CounterKey], found: list[Any]) -> dict[CounterKey, int]:
    """What each has used, under the very objects that were asked for (comparing those costs nothing)."""
    asked = {(key.scope_kind, key.scope_id, key.action, key.window_start): key for key in keys}
    return {asked[row.scope_kind, row.scope_id, row.action, row.window_start]: row.used for row in found}


@dataclass(slots=True)
class Added:
    """What a permit adds to one counter. ``forced``: some of it counts beyond the cap."""

    count: int = 0
    cap: int | None = None
    forced: bool = False


def add(connection: Connection, additions: dict[CounterKey, Added]) -> None:
    """Add to locked counters; the CHECK ``used <= cap`` is the belt."""
    several(connection, adding(additions))


def adding(additions: dict[CounterKey, Added]) -> list[Question]:
    """The same, for whoever has more to ask in the same trip."""
    if not additions:
        return []
    keys = sorted(additions)
    values = _columns(keys)
    values["added"] = [additions[key].count for key in keys]
    values["caps"] = [additions[key].cap for key in keys]
    values["forced"] = [additions[key].forced for key in keys]
    return [(_ADD, values)]


def give_back(connection: Connection, taken: dict[CounterKey, int]) -> None:
    """An explicit refusal gives back what its permit took. The counters must be locked."""
    if not taken:
        return
    keys = sorted(taken)
    run(connection, _GIVE_BACK, {**_columns(keys), "taken": [taken[key] for key in keys]})


_RECOUNT = """
WITH counted AS (
  SELECT k.entry ->> 0 AS scope_kind, k.entry ->> 1 AS scope_id, k.entry ->> 2 AS action,
         (k.entry ->> 3)::timestamptz AS window_start, count(*)::int AS used
  FROM deliveries d, jsonb_array_elements(CASE jsonb_typeof(d.counters) WHEN 'array' THEN d.counters ELSE '[]' END) AS k (entry)
  WHERE d.permit_product_at > %(since)s GROUP BY 1, 2, 3, 4),
 lost AS (
  INSERT INTO usage_counters (scope_kind, scope_id, action, window_start, used)
  SELECT c.scope_kind, c.scope_id, c.action, c.window_start, c.used FROM counted c
  WHERE c.window_start > %(since)s ON CONFLICT DO NOTHING
  RETURNING scope_kind, scope_id, action, window_start, used),
 drift AS (
  SELECT u.scope_kind, u.scope_id, u.action, u.window_start, u.used AS before, coalesce(c.used, 0) AS after
  FROM usage_counters u LEFT JOIN counted c USING (scope_kind, scope_id, action, window_start)
  WHERE u.window_start > %(since)s AND u.used <> coalesce(c.used, 0)),
 healed AS (
  UPDATE usage_counters u SET used = drift.after, cap = CASE WHEN u.cap IS NOT NULL THEN greatest(u.cap, drift.after) END
  FROM drift WHERE (u.scope_kind, u.scope_id, u.action, u.window_start)
    = (drift.scope_kind, drift.scope_id, drift.action, drift.window_start)
  RETURNING concat_ws('/', u.scope_kind, u.scope_id, u.action, u.window_start) AS key, drift.before, drift.after)
SELECT key, before, after FROM healed
UNION ALL SELECT concat_ws('/', scope_kind, scope_id, action, window_start), 0, used FROM lost
"""


def recount(connection: Connection, now: datetime) -> list[tuple[str, int, int]]:
    """Count the windows of the last two days again from the rows; (key, before, after) of each that had drifted.

    The caller holds the hot lock exclusively: no permit adds meanwhile.
    """
    return [(row.key, row.before, row.after) for row in rows(connection, _RECOUNT, {"since": now - timedelta(days=2)})]
