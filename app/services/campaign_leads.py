"""The leads of one campaign: put in, taken out, paused, resumed, skipped, given to another sender."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import text

from app.core import clock
from app.core.errors import Conflict, Invalid, NotFound
from app.core.extensions import db
from app.domain.reasons import Reason
from app.domain.statuses import EnrollmentStatus
from app.queries import campaigns as reading
from app.services import audit, enrollments
from app.services.campaign_rows import locked, tell
from app.services.campaign_senders import assign
from app.services.campaigns import sender_ids
from app.services.enrolling import Enrolled, enroll
from app.services.replanning import first_times
from app.strings import t


def add_leads(
    client_id: int, campaign_id: int, *, lead_ids: Iterable[int] | None = None, import_id: int | None = None,
    allow_elsewhere: bool | None = None, by: int | None,
) -> Enrolled:  # fmt: skip
    """Put leads into the campaign, by id or all of one import (give one of the two). A finished campaign runs again.

    ``allow_elsewhere`` None: the campaign's own tick counts. Result: enrolled, skipped {reason: n}, lead_ids.
    """
    if (lead_ids is None) == (import_id is None):
        raise Invalid.field("lead_ids", t("api.lead_ids_or_import"))
    if import_id is not None and not _import_exists(client_id, import_id):
        raise NotFound
    campaign = locked(client_id, campaign_id)
    now = clock.now()
    done = enroll(client_id, campaign_id, lead_ids, import_id=import_id, allow_elsewhere=allow_elsewhere, now=now)
    db.session.refresh(campaign)
    if campaign.status != "draft" and done.lead_ids:
        first_times(campaign, now, list(done.lead_ids))
    audit.record(
        "campaign.add_leads", "campaign", campaign_id, client_id=client_id, user_id=by,
        after={"enrolled": done.enrolled, "skipped": done.skipped, "import_id": import_id},
    )  # fmt: skip
    return done


def _import_exists(client_id: int, import_id: int) -> bool:
    statement = text("SELECT 1 FROM lead_imports WHERE id = :id AND client_id = :client")
    return db.session.execute(statement, {"id": import_id, "client": client_id}).first() is not None


def remove_lead(client_id: int, campaign_id: int, lead_id: int, *, by: int | None) -> None:
    """Take a lead out. One for whom nothing was ever made out leaves no trace; otherwise its walk ends as ``skipped``."""
    reading.campaign(client_id, campaign_id)
    walks = _walks(client_id, campaign_id, [lead_id])
    if not walks:
        raise NotFound
    number = walks[0]
    untouched = text(
        "DELETE FROM enrollments e WHERE e.id = :id AND e.last_step_id IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.enrollment_id = e.id)"
        " AND NOT EXISTS (SELECT 1 FROM conversations v WHERE v.id = e.conversation_id) RETURNING e.id"
    )
    if db.session.execute(untouched, {"id": number}).first() is None:
        enrollments.end(client_id, [number], EnrollmentStatus.SKIPPED, Reason.SKIPPED)
    audit.record("campaign.remove_lead", "campaign", campaign_id, client_id=client_id, user_id=by, after={"lead_id": lead_id})
    tell(client_id, campaign_id)


def take_out(client_id: int, campaign_id: int, lead_ids: Iterable[int], *, by: int | None) -> int:
    """``remove_lead`` for many; those that are not in the campaign any more are passed over. How many were."""
    count = 0
    for lead_id in sorted(set(lead_ids)):
        try:
            remove_lead(client_id, campaign_id, lead_id, by=by)
        except NotFound:
            continue
        count += 1
    return count


def pause_leads(client_id: int, campaign_id: int, lead_ids: Iterable[int], *, by: int | None) -> int:
    """Pause these leads in this campaign; how many were active."""
    count = enrollments.pause(client_id, _walks(client_id, campaign_id, lead_ids), by)
    return _recorded("campaign.pause_leads", client_id, campaign_id, count, by)


def resume_leads(client_id: int, campaign_id: int, lead_ids: Iterable[int], *, by: int | None) -> int:
    """Let paused, held or attention-needing leads go on; how many did (not those behind an uncertain message)."""
    count = enrollments.resume(client_id, _walks(client_id, campaign_id, lead_ids))
    return _recorded("campaign.resume_leads", client_id, campaign_id, count, by)


def skip_leads(client_id: int, campaign_id: int, lead_ids: Iterable[int], *, by: int | None) -> int:
    """End these leads' walk; how many were active."""
    count = enrollments.skip(client_id, _walks(client_id, campaign_id, lead_ids))
    return _recorded("campaign.skip_leads", client_id, campaign_id, count, by)


def _recorded(action: str, client_id: int, campaign_id: int, count: int, by: int | None) -> int:
    audit.record(action, "campaign", campaign_id, client_id=client_id, user_id=by, after={"leads": count})
    tell(client_id, campaign_id)
    return count


def _walks(client_id: int, campaign_id: int, lead_ids: Iterable[int]) -> list[int]:
    rows = db.session.execute(
        text("SELECT id FROM enrollments WHERE client_id = :client AND campaign_id = :campaign AND lead_id = ANY(:leads) ORDER BY id"),
        {"client": client_id, "campaign": campaign_id, "leads": sorted(set(lead_ids))},
    )
    return list(rows.scalars())


def assign_sender(client_id: int, campaign_id: int, lead_ids: Iterable[int], sender_id: int, *, by: int | None) -> int:
    """Give leads to another sender of the campaign: silently before the first step, afterwards as a new thread.

    Raises Conflict when the sender is not one of the campaign's. Leads with a message on its way keep theirs.
    """
    locked(client_id, campaign_id)
    if sender_id not in sender_ids(campaign_id):
        raise Conflict(t("campaigns.choose_mailbox_first"))
    rows = db.session.execute(
        text(
            "SELECT e.id FROM enrollments e WHERE e.client_id = :client AND e.id = ANY(:ids) AND e.sender_id IS DISTINCT FROM :sender"
            " AND e.status IN ('waiting', 'in_flight', 'held', 'paused', 'needs_attention')"
            " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.enrollment_id = e.id"
            "  AND (d.status IN ('leased', 'committing', 'uncertain') OR d.status = 'queued' AND d.mime IS NOT NULL))"
            " ORDER BY e.id FOR UPDATE OF e"
        ),
        {"client": client_id, "ids": _walks(client_id, campaign_id, lead_ids), "sender": sender_id},
    )
    ids = [row[0] for row in rows]
    assign(client_id, ids, [sender_id] * len(ids))
    # a thread belongs to the mailbox that began it: the next message of these leads begins a new one
    db.session.execute(text("UPDATE enrollments SET conversation_id = NULL WHERE id = ANY(:ids)"), {"ids": ids})
    return _recorded("campaign.assign_sender", client_id, campaign_id, len(ids), by)
