"""Rehearsals that people ask for by page or API: one at a time for each campaign, worked on in the background, the newest ten kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select, text

from app.core import clock
from app.core.bell import live_after_commit
from app.core.errors import Conflict
from app.core.extensions import db
from app.core.queue import Job, enqueue_after_commit
from app.models import CampaignRehearsal
from app.services import audit
from app.services.campaign_rows import locked
from app.strings import t

KEPT = 10
#: Machine time after which one that has not ended is no longer waited for (its own limit is two minutes).
LOST_AFTER = timedelta(minutes=15)
TIMEOUT_S = 600
LOST = t("rehearsals.never_ended")
_FORGET = text(
    "DELETE FROM campaign_rehearsals WHERE client_id = :client AND campaign_id = :campaign AND id NOT IN (SELECT id FROM campaign_rehearsals"
    " WHERE client_id = :client AND campaign_id = :campaign ORDER BY id DESC LIMIT :kept)"
)


def ask(client_id: int, campaign_id: int, *, by: int | None, days: int = 60, replies_percent: int = 0, seed: int = 1) -> CampaignRehearsal:
    """Have a campaign rehearsed in the background. Raises NotFound, Conflict while one is under way or for a campaign that is over."""
    campaign = locked(client_id, campaign_id)
    if campaign.status not in ("draft", "running", "paused"):
        raise Conflict(t("rehearsals.nothing_ahead", status=campaign.status))
    before = next(iter(newest(client_id, campaign_id)), None)
    if before is not None and before.status in ("queued", "running"):
        raise Conflict(t("rehearsals.under_way"), code="rehearsal_running")
    row = CampaignRehearsal(
        client_id=client_id, campaign_id=campaign_id, days=days, replies_percent=replies_percent, seed=seed, created_by=by
    )  # fmt: skip
    db.session.add(row)
    db.session.flush()
    db.session.execute(_FORGET, {"client": client_id, "campaign": campaign_id, "kept": KEPT})
    asked = {"days": days, "replies_percent": replies_percent, "seed": seed}
    audit.record("campaign.rehearse", "campaign", campaign_id, client_id=client_id, user_id=by, after=asked)
    enqueue_after_commit(Job.REHEARSE, row.id, timeout_s=TIMEOUT_S)
    return row


def newest(client_id: int, campaign_id: int) -> list[CampaignRehearsal]:
    """The newest first. One that was lost is said to have failed."""
    wanted = select(CampaignRehearsal).where(CampaignRehearsal.client_id == client_id, CampaignRehearsal.campaign_id == campaign_id)
    found = list(db.session.scalars(wanted.order_by(CampaignRehearsal.id.desc()).limit(KEPT)))
    for row in found:
        if row.status in ("queued", "running") and row.created_at < clock.machine_now() - LOST_AFTER:
            db.session.expunge(row)  # said, not written: this only reads
            row.status, row.error = "failed", LOST
    return found


def begin(rehearsal_id: int) -> CampaignRehearsal | None:
    """Take it, if nobody has: the job's first transaction."""
    row = db.session.get(CampaignRehearsal, rehearsal_id, with_for_update=True)
    if row is None or row.status != "queued":
        return None
    row.status = "running"
    return row


def end(rehearsal_id: int, result: dict[str, Any] | None, error: str = "") -> None:
    """Store the report, or the sentence that says why there is none."""
    row = db.session.get(CampaignRehearsal, rehearsal_id, with_for_update=True)
    if row is None:
        return
    row.status, row.result, row.error = ("failed" if error else "done"), result or {}, error
    row.finished_at = clock.machine_now()
    live_after_commit(row.client_id, f"campaign-{row.campaign_id}")
