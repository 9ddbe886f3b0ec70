"""The walks of campaigns that were stopped: ended in parts, each in a short transaction."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from app.core.extensions import db
from app.domain.reasons import Reason
from app.domain.statuses import EnrollmentStatus
from app.services.enrollments import ACTIVE, Ended, end_locked

AT_ONCE = 500

_LEFT = text(
    "SELECT e.client_id, e.id, e.campaign_id, e.lead_id FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id AND c.status = 'stopped'"
    " WHERE e.status = ANY(:active) AND (cast(:campaign AS bigint) IS NULL OR e.campaign_id = :campaign)"
    " ORDER BY e.id LIMIT :most FOR UPDATE OF e SKIP LOCKED"
)


def end_stopped(now: datetime, *, campaign_id: int | None = None, most: int | None = None) -> int:
    """End walks that are still active in a stopped campaign (None: in any) and cancel what has not left; how many, at most ``most``.

    What somebody else holds at this moment is passed over and found by the next tick; no permit is given for it meanwhile.
    """
    values = {"active": list(ACTIVE), "campaign": campaign_id, "most": most or AT_ONCE}
    walks: dict[int, list[Ended]] = {}
    for client_id, *rest in db.session.execute(_LEFT, values):
        walks.setdefault(client_id, []).append(Ended(*rest))
    for client_id, ended in walks.items():
        end_locked(client_id, ended, EnrollmentStatus.STOPPED, Reason.STOPPED_CAMPAIGN, now)
    return sum(map(len, walks.values()))
