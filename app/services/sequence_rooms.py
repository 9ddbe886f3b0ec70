"""How many messages each sender and each campaign can still take just now, and what holds those that can take none."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain.limits import Caps, CounterKey, Limit, LimitFacts, Scope, limits
from app.domain.reasons import Reason
from app.domain.statuses import DeliveryKind
from app.services.outbox import counters
from app.services.outbox.plain import plain_connection, rows

UNLIMITED = 1_000_000_000

_SENDERS = """
SELECT s.id, s.client_id, s.status, s.status_reason, s.deleted_at IS NOT NULL AS lost, s.daily_cap, s.hourly_cap, s.min_gap_s, s.next_at,
       s.timezone AS sender_zone, s.domain AS sender_domain, s.backoff_until,
       EXISTS (SELECT 1 FROM switches w WHERE w.scope_kind = 'instance' AND w.stopped) AS all_stopped,
       EXISTS (SELECT 1 FROM switches w WHERE w.scope_kind = 'client' AND w.scope_id = s.client_id AND w.stopped) AS client_stopped
FROM senders s
WHERE EXISTS (SELECT 1 FROM enrollments e WHERE e.sender_id = s.id AND e.status = 'waiting' AND e.next_at <= %(until)s)
"""
_CAMPAIGNS = """
SELECT c.id, c.client_id, c.daily_cap AS campaign_daily_cap, c.daily_new_leads, c.timezone AS campaign_zone
FROM campaigns c WHERE c.status = 'running' AND c.deleted_at IS NULL
"""
# rows that will really leave soon: what a pause holds back must not keep other leads of the sender waiting
_PENDING = """
SELECT d.sender_id, d.campaign_id, d.first_of_lead, count(*) AS n
FROM deliveries d JOIN enrollments e ON e.id = d.enrollment_id JOIN campaigns c ON c.id = d.campaign_id
WHERE d.shelf IN ('queued', 'held') AND d.due_at <= %(until)s AND d.kind = 'campaign_step'
  AND c.status = 'running' AND e.status IN ('waiting', 'in_flight')
GROUP BY d.sender_id, d.campaign_id, d.first_of_lead
"""


@dataclass
class Rooms:
    """``senders``: how many more each may get; ``held``: why some get none. ``full``: campaigns that have used up a cap."""

    senders: dict[int, int] = field(default_factory=dict)
    held: dict[int, Reason] = field(default_factory=dict)
    campaigns: dict[int, int] = field(default_factory=dict)
    new_leads: dict[int, int] = field(default_factory=dict)
    full: dict[int, Reason] = field(default_factory=dict)

    @property
    def open_campaigns(self) -> list[int]:
        return [number for number, room in self.campaigns.items() if room > 0]

    @property
    def without_new_leads(self) -> list[int]:
        return [number for number, room in self.new_leads.items() if room <= 0]

    def take(self, sender_id: int, campaign_id: int, *, first: bool) -> bool:
        """Use up one place if there is one everywhere."""
        wanted = [(self.senders, sender_id), (self.campaigns, campaign_id)] + ([(self.new_leads, campaign_id)] if first else [])
        if any(rooms.get(number, 0) <= 0 for rooms, number in wanted):
            return False
        for rooms, number in wanted:
            rooms[number] -= 1
        return True


def count_rooms(now: datetime, until: datetime) -> Rooms:
    """Rooms for messages due up to ``until`` (both product time), by the counters the permit uses."""
    connection = plain_connection()
    senders = rows(connection, _SENDERS, {"until": until})
    campaigns = rows(connection, _CAMPAIGNS)
    uses = {("s", row.id): _of_sender(row, now) for row in senders}
    uses.update({("c", row.id): _of_campaign(row, now) for row in campaigns})
    used = counters.peek(connection, {limit.key for found in uses.values() for limit in found.values()})
    pending = _Pending(rows(connection, _PENDING, {"until": until}))
    rooms = Rooms()
    for row in senders:
        _sender_room(rooms, row, uses["s", row.id], used, pending, now, until)
    for row in campaigns:
        _campaign_room(rooms, row, uses["c", row.id], used, pending)
    return rooms


class _Pending:
    """Messages already made out that will leave soon."""

    def __init__(self, found: list[Any]) -> None:
        self.sender: dict[int, int] = {}
        self.campaign: dict[int, int] = {}
        self.first: dict[int, int] = {}
        for row in found:
            self.sender[row.sender_id] = self.sender.get(row.sender_id, 0) + row.n
            self.campaign[row.campaign_id] = self.campaign.get(row.campaign_id, 0) + row.n
            if row.first_of_lead:
                self.first[row.campaign_id] = self.first.get(row.campaign_id, 0) + row.n


def _of_sender(row: Any, now: datetime) -> dict[Reason, Limit]:
    """The sender's own counters, by the reason of a full one. Caps that all senders share only the permit can keep."""
    facts = LimitFacts(now=now, client_id=row.client_id, sender_id=row.id, sender_zone=row.sender_zone)
    return _limits(facts, Caps(sender_day=row.daily_cap, sender_hour=row.hourly_cap), Scope.SENDER)


def _of_campaign(row: Any, now: datetime) -> dict[Reason, Limit]:
    facts = LimitFacts(
        now=now, client_id=row.client_id, campaign_id=row.id, campaign_zone=row.campaign_zone, first_of_lead=True
    )
    return _limits(facts, Caps(campaign_day=row.campaign_daily_cap, new_leads_day=row.daily_new_leads), Scope.CAMPAIGN)


def _limits(facts: LimitFacts, caps: Caps, scope: Scope) -> dict[Reason, Limit]:
    found = limits(DeliveryKind.CAMPAIGN_STEP, facts, caps)
    return {limit.reason: limit for limit in found if limit.key.scope_kind == scope and limit.cap is not None}


def _left(known: dict[Reason, Limit], used: dict[CounterKey, int], reason: Reason, pending: int) -> int:
    limit = known.get(reason)
    if limit is None or limit.cap is None:
        return UNLIMITED
    return limit.cap - used.get(limit.key, 0) - pending


def _standing(row: Any, now: datetime) -> Reason | None:
    """What holds a sender altogether, higher rules first."""
    if row.lost:
        return Reason.NO_SENDER
    if row.status == "auth_failed":
        return Reason.SENDER_AUTH_FAILED
    if row.status == "connecting":
        return Reason.SENDER_CONNECTING
    if row.backoff_until is not None and row.backoff_until > now:
        return Reason.PROVIDER_BACKOFF
    if row.all_stopped:
        return Reason.STOPPED_INSTANCE
    if row.client_stopped:
        return Reason.STOPPED_CLIENT
    if row.status != "active":
        return Reason.STOPPED_SENDER if row.status_reason == "stopped" else Reason.SENDER_PAUSED
    return None


def _sender_room(
    rooms: Rooms, row: Any, uses: dict[Reason, Limit], used: dict[CounterKey, int], pending: _Pending, now: datetime, until: datetime
) -> None:
    waiting = pending.sender.get(row.id, 0)
    held = _standing(row, now)
    if held is not None:
        rooms.held[row.id] = held
        return
    for reason in (Reason.SENDER_DAY_CAP, Reason.SENDER_HOUR_CAP):
        left = _left(uses, used, reason, waiting)
        if left <= 0:
            rooms.held.setdefault(row.id, reason)
        rooms.senders[row.id] = min(rooms.senders.get(row.id, UNLIMITED), left)
    if row.min_gap_s:
        start = max(now, row.next_at or now)
        fit = int((until - start).total_seconds() // row.min_gap_s) + 1 if start <= until else 0
        rooms.senders[row.id] = min(rooms.senders[row.id], fit - waiting)


def _campaign_room(rooms: Rooms, row: Any, uses: dict[Reason, Limit], used: dict[CounterKey, int], pending: _Pending) -> None:
    rooms.campaigns[row.id] = _left(uses, used, Reason.CAMPAIGN_DAY_CAP, pending.campaign.get(row.id, 0))
    rooms.new_leads[row.id] = _left(uses, used, Reason.NEW_LEADS_CAP, pending.first.get(row.id, 0))
    if rooms.campaigns[row.id] <= 0:
        rooms.full[row.id] = Reason.CAMPAIGN_DAY_CAP
    elif rooms.new_leads[row.id] <= 0:
        rooms.full[row.id] = Reason.NEW_LEADS_CAP
