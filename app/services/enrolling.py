"""Putting leads into a campaign: who is taken, who is not and why, and through which mailbox each will be written to."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text

from app.core import clock
from app.core.bell import live_after_commit
from app.core.errors import Conflict, NotFound
from app.core.extensions import db
from app.services.enrollments import ACTIVE, hold_undecided, undecided_leads
from app.strings import t

MAX_AT_ONCE = 5_000


@dataclass(frozen=True)
class Enrolled:
    """How many leads entered, and how many did not, by reason.

    Reasons: not_found, needs_attention_address, suppressed_client, suppressed_global, bounced, already_enrolled,
    duplicate_in_other_campaign.
    """

    enrolled: int
    skipped: dict[str, int] = field(default_factory=dict)
    lead_ids: tuple[int, ...] = ()


def enroll(
    client_id: int,
    campaign_id: int,
    lead_ids: Iterable[int] | None = None,
    *,
    import_id: int | None = None,
    allow_elsewhere: bool | None = None,
    now: datetime | None = None,
) -> Enrolled:
    """Put leads (by id, or all of one import) into a campaign.

    ``allow_elsewhere`` None: the campaign's own tick counts. Raises NotFound, or Conflict when the campaign was stopped.
    """
    now = now or clock.now()
    campaign = _campaign(client_id, campaign_id)
    wanted = sorted(set(lead_ids)) if lead_ids is not None else _of_import(client_id, import_id)
    elsewhere = bool(campaign.allow_elsewhere) if allow_elsewhere is None else allow_elsewhere
    skipped: dict[str, int] = {}
    taken: list[int] = []
    for start in range(0, len(wanted), MAX_AT_ONCE):
        part = wanted[start : start + MAX_AT_ONCE]
        verdicts = _verdicts(client_id, campaign_id, part, elsewhere)
        for lead_id in part:
            reason = verdicts.get(lead_id, "not_found")
            if reason is None:
                taken.append(lead_id)
            else:
                skipped[reason] = skipped.get(reason, 0) + 1
    entered = _insert(client_id, campaign_id, taken, now)
    if len(entered) < len(taken):  # somebody else put them in at the same moment
        skipped["already_enrolled"] = skipped.get("already_enrolled", 0) + len(taken) - len(entered)
    if unclear := undecided_leads(client_id, entered):
        hold_undecided(client_id, unclear)
    if entered and campaign.status == "finished":
        db.session.execute(
            text("UPDATE campaigns SET status = 'running', finished_at = NULL, status_at = clock_timestamp(), status_product_at = :now,"
                 " status_epoch = status_epoch + 1, version = version + 1 WHERE id = :id AND status = 'finished'"),
            {"id": campaign_id, "now": now})  # fmt: skip
    live_after_commit(client_id, "campaigns", f"campaign-{campaign_id}")
    return Enrolled(len(entered), skipped, tuple(entered))


def _campaign(client_id: int, campaign_id: int) -> Any:
    row = db.session.execute(
        text("SELECT id, status, allow_elsewhere FROM campaigns WHERE id = :id AND client_id = :client AND deleted_at IS NULL"),
        {"id": campaign_id, "client": client_id},
    ).first()
    if row is None:
        raise NotFound()
    if row.status == "stopped":
        raise Conflict(t("campaigns.stopped_no_leads"))
    return row


def _of_import(client_id: int, import_id: int | None) -> list[int]:
    rows = db.session.execute(
        text("SELECT lead_id FROM import_changes WHERE client_id = :client AND import_id = :id ORDER BY line, lead_id"),
        {"client": client_id, "id": import_id},
    )
    return list(rows.scalars())


# The first reason of each lead; NULL when it may enter. One set-based look, whatever the number.
_VERDICTS = text(
    "SELECT l.id, CASE"
    " WHEN l.email_key IS NULL THEN 'needs_attention_address'"
    " WHEN l.bounced_at IS NOT NULL THEN 'bounced'"
    " WHEN EXISTS (SELECT 1 FROM suppressions s WHERE s.client_id = :client AND s.email_key = l.email_key) THEN 'suppressed_client'"
    " WHEN EXISTS (SELECT 1 FROM global_suppressions g WHERE g.email_key = l.email_key) THEN 'suppressed_global'"
    " WHEN EXISTS (SELECT 1 FROM enrollments e WHERE e.campaign_id = :campaign AND e.lead_id = l.id) THEN 'already_enrolled'"
    " WHEN NOT :elsewhere AND EXISTS (SELECT 1 FROM enrollments e WHERE e.client_id = :client AND e.lead_id = l.id"
    "   AND e.status = ANY(:active)) THEN 'duplicate_in_other_campaign'"
    " END FROM leads l WHERE l.client_id = :client AND l.id = ANY(:leads)"
)


def _verdicts(client_id: int, campaign_id: int, leads: Sequence[int], elsewhere: bool) -> dict[int, str | None]:
    rows = db.session.execute(
        _VERDICTS,
        {"client": client_id, "campaign": campaign_id, "leads": list(leads), "elsewhere": elsewhere, "active": list(ACTIVE)},
    )
    return {row[0]: row[1] for row in rows}


def choose_senders(leads: Sequence[int], loads: dict[int, int], before: dict[int, int]) -> list[int | None]:
    """One sender per lead: the one it had before if the campaign still uses it, else the least loaded (lowest id on a tie)."""
    if not loads:
        return [None] * len(leads)
    heap = [(load, sender) for sender, load in loads.items()]
    heapq.heapify(heap)
    chosen: list[int | None] = []
    for lead in leads:
        if before.get(lead) in loads:
            chosen.append(before[lead])
            continue
        load, sender = heap[0]
        heapq.heapreplace(heap, (load + 1, sender))
        chosen.append(sender)
    return chosen


def _loads(client_id: int, campaign_id: int) -> dict[int, int]:
    """Senders of the campaign and how many active leads each has, over all campaigns."""
    rows = db.session.execute(
        text(
            "SELECT cs.sender_id, (SELECT count(*) FROM enrollments e WHERE e.sender_id = cs.sender_id AND e.status = ANY(:active))"
            " FROM campaign_senders cs JOIN senders s ON s.id = cs.sender_id AND s.deleted_at IS NULL"
            " WHERE cs.campaign_id = :campaign AND cs.client_id = :client"
        ),
        {"campaign": campaign_id, "client": client_id, "active": list(ACTIVE)},
    )
    return {row[0]: row[1] for row in rows}


def _senders_before(client_id: int, leads: Sequence[int]) -> dict[int, int]:
    rows = db.session.execute(
        text(
            "SELECT DISTINCT ON (lead_id) lead_id, sender_id FROM enrollments WHERE client_id = :client AND lead_id = ANY(:leads)"
            " AND sender_id IS NOT NULL ORDER BY lead_id, id DESC"
        ),
        {"client": client_id, "leads": list(leads)},
    )
    return {row[0]: row[1] for row in rows}


_INSERT = text(
    "INSERT INTO enrollments (client_id, campaign_id, lead_id, sender_id, status, next_step_id, next_at, enrolled_at)"
    " SELECT :client, :campaign, x.lead_id, x.sender_id, 'waiting',"
    " (SELECT id FROM steps WHERE campaign_id = :campaign AND parent_id IS NULL AND deleted_at IS NULL ORDER BY position, id LIMIT 1),"
    " :now, :now FROM unnest(cast(:leads AS bigint[]), cast(:senders AS bigint[])) WITH ORDINALITY AS x(lead_id, sender_id, n)"
    " ORDER BY x.n ON CONFLICT (campaign_id, lead_id) DO NOTHING RETURNING lead_id"
)
_STARTED = text(
    "INSERT INTO activities (client_id, kind, channel, campaign_id, enrollment_id, lead_id, sender_id, meta, at)"
    " SELECT client_id, 'enrollment_started', 'email', campaign_id, id, lead_id, sender_id, '{}', :now"
    " FROM enrollments WHERE campaign_id = :campaign AND lead_id = ANY(:leads)"
)


def _insert(client_id: int, campaign_id: int, leads: Sequence[int], now: datetime) -> list[int]:
    entered: list[int] = []
    loads = _loads(client_id, campaign_id) if leads else {}
    for start in range(0, len(leads), MAX_AT_ONCE):
        part = leads[start : start + MAX_AT_ONCE]
        senders = choose_senders(part, loads, _senders_before(client_id, part))
        for sender in senders:
            if sender is not None:
                loads[sender] += 1
        rows = db.session.execute(
            _INSERT, {"client": client_id, "campaign": campaign_id, "leads": list(part), "senders": senders, "now": now}
        )
        got = list(rows.scalars())
        db.session.execute(_STARTED, {"campaign": campaign_id, "leads": got, "now": now})
        entered += got
    return entered
