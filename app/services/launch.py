"""Before and after the start: the dry run, the numbers of the button, start, pause, resume, stop."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text

from app.core import clock
from app.core.bell import DISPATCH, live_after_commit, ring_after_commit
from app.core.db import lock_hot
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.core.queue import Job, enqueue_after_commit
from app.domain.statuses import CAMPAIGN_EDGES, CampaignStatus
from app.models import Campaign
from app.queries import campaigns as reading
from app.services import audit
from app.services.campaign_rows import locked, tell
from app.services.ending import AT_ONCE, end_stopped
from app.services.forecast import Forecast, forecast
from app.services.launch_checks import Check, CheckState, SkippedGroup, all_checks, going, skipped_leads
from app.services.replanning import first_times
from app.strings import t

__all__ = ["Check", "CheckState", "LaunchReport", "SkippedGroup", "pause", "report", "resume", "start", "stop"]


@dataclass(frozen=True)
class LaunchReport:
    """``leads``: how many would start. ``button``: "Start: 412 leads, first mail Tue 09:07" (campaign's zone)."""

    checks: tuple[Check, ...]
    skipped: tuple[SkippedGroup, ...]
    leads: int
    first_at: datetime | None
    button: str
    forecast: Forecast

    @property
    def blocked(self) -> bool:
        return any(check.state is CheckState.BLOCKING for check in self.checks)


def report(
    client_id: int, campaign_id: int, *, days: int = 14, now: datetime | None = None, public_url: str = ""
) -> LaunchReport:
    """The dry run of the launch page. ``public_url``: the instance's, from the settings. Raises NotFound."""
    now = now or clock.now()
    campaign = reading.campaign(client_id, campaign_id)
    ahead = forecast(client_id, campaign_id, days=days, now=now)
    skipped = tuple(skipped_leads(campaign))
    leads = going(campaign, skipped)
    checks = tuple(all_checks(campaign, ahead, leads, skipped, public_url, now))
    return LaunchReport(checks, skipped, leads, ahead.first_at, _button(leads, ahead), ahead)


def _button(leads: int, ahead: Forecast) -> str:
    if ahead.first_at is None:
        return t("checks.button", n=leads)
    return t("checks.button_first", n=leads, at=ahead.first_at.astimezone(ZoneInfo(ahead.zone)))


def start(client_id: int, campaign_id: int, *, by: int | None, now: datetime | None = None) -> Campaign:
    """draft → running. Raises Conflict from any other state, Invalid (details {check key: [sentence]}) when a check blocks."""
    now = now or clock.now()
    campaign = locked(client_id, campaign_id)  # nothing is forbidden by a start, so no permit has to wait for it
    if campaign.status != CampaignStatus.DRAFT:
        raise Conflict(t("checks.only_draft_starts", status=campaign.status))
    skipped = tuple(skipped_leads(campaign))
    checks = all_checks(campaign, None, going(campaign, skipped), skipped, "", now)
    blocking = [check for check in checks if check.state is CheckState.BLOCKING]
    if blocking:
        details = {check.key: [one.sentence for one in blocking if one.key == check.key] for check in blocking}
        raise Invalid(t("checks.cannot_start"), code="cannot_launch", details=details)
    campaign.launched_at = now
    _turn(campaign, CampaignStatus.RUNNING, by, now, "campaign.launch")
    first_times(campaign, now)
    return campaign


def pause(client_id: int, campaign_id: int, *, by: int | None, reason: str = "") -> Campaign:
    """running → paused, under the hot lock: no permit is given after the commit. ``reason``: why, in a person's words."""
    lock_hot()
    campaign = locked(client_id, campaign_id)
    if campaign.status != CampaignStatus.RUNNING:
        raise Conflict(t("checks.only_running_pauses", status=campaign.status))
    _turn(campaign, CampaignStatus.PAUSED, by, clock.now(), "campaign.pause", reason)
    return campaign


def resume(client_id: int, campaign_id: int, *, by: int | None) -> Campaign:
    """paused → running; overdue messages keep their order and leave at the ordinary pace."""
    lock_hot()
    campaign = locked(client_id, campaign_id)
    if campaign.status != CampaignStatus.PAUSED:
        raise Conflict(t("checks.only_paused_resumes", status=campaign.status))
    _turn(campaign, CampaignStatus.RUNNING, by, clock.now(), "campaign.resume")
    return campaign


def stop(client_id: int, campaign_id: int, *, by: int | None) -> Campaign:
    """Final: nothing leaves after the commit. Walks end and messages are cancelled: the first at once, those of a large campaign
    by the sequence tick, so that the hot lock is held for a moment only. Raises Conflict for a campaign already stopped."""
    lock_hot()
    campaign = locked(client_id, campaign_id)
    if CampaignStatus.STOPPED not in CAMPAIGN_EDGES[CampaignStatus(campaign.status)]:
        raise Conflict(t("checks.stopped_already"))
    now = clock.now()
    _turn(campaign, CampaignStatus.STOPPED, by, now, "campaign.stop")
    if end_stopped(now, campaign_id=campaign_id) >= AT_ONCE:
        enqueue_after_commit(Job.SEQUENCE_TICK)
    return campaign


def _turn(campaign: Campaign, status: CampaignStatus, by: int | None, now: datetime, action: str, reason: str = "") -> None:
    before = campaign.status
    campaign.status = str(status)
    campaign.status_epoch += 1
    campaign.status_at = db.session.execute(text("SELECT clock_timestamp()")).scalar_one()
    campaign.status_product_at = now
    campaign.status_by = by
    campaign.version += 1
    db.session.flush()
    audit.record(
        action, "campaign", campaign.id, client_id=campaign.client_id, user_id=by,
        before={"status": before}, after={"status": str(status), **({"reason": reason} if reason else {})},
    )  # fmt: skip
    tell(campaign.client_id, campaign.id)
    live_after_commit(campaign.client_id, "switches", "counters")
    if status is CampaignStatus.RUNNING:
        enqueue_after_commit(Job.SEQUENCE_TICK)  # the first messages need not wait for the next tick
    ring_after_commit(DISPATCH)
