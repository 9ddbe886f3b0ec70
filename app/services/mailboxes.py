"""Mailboxes: adding, changing, pausing, resuming, stopping and removing them. Verifying is in ``mailbox_verification``.

States: ``connecting`` (nobody logged in with these settings yet) → ``active`` → ``paused`` (by a person, stopped, or a brake; the
reason says which) or ``auth_failed``. What must win over a permit takes the hot lock before it writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError

from app.core import bell, clock
from app.core.db import lock_hot
from app.core.errors import Conflict, Invalid, NotFound
from app.core.extensions import db
from app.core.queue import Job, enqueue_after_commit, ring_job_after_commit
from app.domain.statuses import CampaignStatus, SenderStatus
from app.models import Campaign, CampaignSender, Client, Mailbox
from app.services import audit, mailbox_secrets, mailbox_values
from app.services.mailbox_targets import Targets
from app.strings import t

STOPPED, BY_PERSON = "stopped", "paused_by_person"
OLDEST_DAYS = 365
TAKEN = t("mailboxes.exists_already")
_LIVE_CAMPAIGNS = (CampaignStatus.DRAFT, CampaignStatus.RUNNING, CampaignStatus.PAUSED)


def create(client_id: int, values: Mapping[str, Any], targets: Targets, *, verify: bool = True) -> Mailbox:
    """Add a mailbox of ``client_id`` in state connecting; ``verify`` has it logged in to right after the commit.

    ``values``: email, display_name, smtp_host/port/security/user/password, imap_…, timezone, daily_cap, hourly_cap, min_gap_s,
    save_to_sent, show_all_mail. Known providers need only email and password. Raises Invalid per field.
    """
    client = db.session.get_one(Client, client_id)
    wanted = mailbox_values.complete(values, client.timezone, targets.allow_reserved)
    if faults := targets.faults(wanted):
        raise Invalid(t("fields.marked"), details=faults)
    passwords = {side: wanted.pop(f"{side}_password") for side in mailbox_values.SIDES}
    mailbox = Mailbox(client_id=client_id, channel="email", read_since=clock.now(), status_product_at=clock.now(), **wanted)
    try:
        with db.session.begin_nested():
            db.session.add(mailbox)
            db.session.flush()
    except IntegrityError as error:
        raise Invalid(t("fields.marked"), details={"email": [TAKEN]}) from error
    _seal(mailbox, passwords)
    db.session.flush()
    audit.record("mailbox.create", "mailbox", mailbox.id, client_id=client_id, after=wanted)
    _changed(mailbox, verify=verify)
    return mailbox


def update(mailbox: Mailbox, values: Mapping[str, Any], targets: Targets, *, verify: bool = True, seen: str | None = None) -> Mailbox:
    """Change the given fields; passwords only where one was typed. New servers or logins must be verified again.

    Raises Invalid per field, Conflict when the mailbox's ``version`` is no longer ``seen``.
    """
    if seen is not None:
        lock_hot()
        db.session.refresh(mailbox)
        if mailbox_values.version(mailbox) != seen:
            raise Conflict.meanwhile("mailbox")
    wanted = mailbox_values.changes(mailbox, values)
    passwords = {side: wanted.pop(f"{side}_password") for side in mailbox_values.SIDES if f"{side}_password" in wanted}
    reconnect = bool(passwords) or any(name in wanted for name in mailbox_values.CONNECTION)
    if reconnect:
        present = {name: wanted.get(name, getattr(mailbox, name)) for name in mailbox_values.CONNECTION}
        if faults := targets.faults(present):
            raise Invalid(t("fields.marked"), details=faults)
    if not wanted and not passwords:
        return mailbox
    lock_hot()
    before = {name: getattr(mailbox, name) for name in wanted}
    for name, value in wanted.items():
        setattr(mailbox, name, value)
    _seal(mailbox, passwords)
    if not mailbox.smtp_user:
        mailbox.smtp_secret = None  # no login there: nothing to keep
    if reconnect:
        _must_connect(mailbox)
    db.session.flush()
    after = {**wanted, **{f"{side}_password": "" for side in passwords}}
    audit.record("mailbox.update", "mailbox", mailbox.id, client_id=mailbox.client_id, before=before, after=after)
    if not {"daily_cap", "hourly_cap", "own_hours", "restrict_campaigns"}.isdisjoint(wanted):
        ring_job_after_commit(Job.LOOK_AGAIN)
    _changed(mailbox, verify=verify and reconnect)
    return mailbox


def find(client_id: int, mailbox_id: int) -> Mailbox:
    """A mailbox of this client that was not removed. Raises NotFound."""
    found = db.session.scalar(
        select(Mailbox).where(Mailbox.id == mailbox_id, Mailbox.client_id == client_id, Mailbox.deleted_at.is_(None))
    )
    if found is None:
        raise NotFound
    return found


def pause(mailbox: Mailbox) -> Mailbox:
    """Nothing leaves through it until somebody resumes it; it is still read."""
    return _hold(mailbox, BY_PERSON, "mailbox.pause")


def stop(mailbox: Mailbox, why: str = "") -> Mailbox:
    """As pausing, and it also holds the answers people write. ``why``: in a person's words, for the trail."""
    return _hold(mailbox, STOPPED, "mailbox.stop", why)


def _hold(mailbox: Mailbox, reason: str, action: str, why: str = "") -> Mailbox:
    lock_hot()
    before = {"status": mailbox.status, "status_reason": mailbox.status_reason}
    set_status(mailbox, SenderStatus.PAUSED, reason)
    audit.record(action, "mailbox", mailbox.id, client_id=mailbox.client_id, before=before,
                 after={"status_reason": reason, **({"reason": why} if why else {})})  # fmt: skip
    bell.live_after_commit(mailbox.client_id, "switches")
    _changed(mailbox)
    return mailbox


def resume(mailbox: Mailbox) -> Mailbox:
    """Active again if somebody ever logged in with these settings, else connecting and verified anew."""
    lock_hot()
    before = {"status": mailbox.status, "status_reason": mailbox.status_reason}
    proven = mailbox.verified_at is not None and mailbox.status != SenderStatus.AUTH_FAILED
    set_status(mailbox, SenderStatus.ACTIVE if proven else SenderStatus.CONNECTING)
    mailbox.uncertain_streak = 0
    audit.record("mailbox.resume", "mailbox", mailbox.id, client_id=mailbox.client_id, before=before, after={"status": mailbox.status})
    bell.live_after_commit(mailbox.client_id, "switches")
    _changed(mailbox, verify=not proven)
    return mailbox


def read_older(mailbox: Mailbox, days: int) -> Mailbox:
    """Also read what lay in the mailbox before it was connected, ``days`` (1 to 365) days back from now.

    It is shown and stops nothing: what was written before we wrote is no answer. Asking again only reaches further back.
    Raises Invalid.
    """
    if not 1 <= days <= OLDEST_DAYS:
        raise Invalid.field("days", t("mailboxes.days_range", limit=OLDEST_DAYS))
    since = clock.now() - timedelta(days=days)
    if mailbox.older_since is None or since < mailbox.older_since:
        mailbox.older_since = since
        db.session.flush()
        audit.record("mailbox.read_older", "mailbox", mailbox.id, client_id=mailbox.client_id, after={"days": days})
        _changed(mailbox)
    return mailbox


def set_status(mailbox: Mailbox, status: SenderStatus, reason: str = "") -> None:
    """Move to ``status``; every change counts up the epoch, which running logins compare. The caller holds the hot lock."""
    if (mailbox.status, mailbox.status_reason) == (str(status), reason):
        return
    mailbox.status, mailbox.status_reason = str(status), reason
    mailbox.status_since = func.clock_timestamp()
    mailbox.status_product_at = clock.now()
    mailbox.status_epoch = mailbox.status_epoch + 1
    db.session.flush()


def campaigns_using(mailbox: Mailbox) -> list[Campaign]:
    """Campaigns that still want to send through it."""
    return list(
        db.session.scalars(
            select(Campaign)
            .join(CampaignSender, CampaignSender.campaign_id == Campaign.id)
            .where(
                CampaignSender.sender_id == mailbox.id, Campaign.client_id == mailbox.client_id,
                Campaign.status.in_(_LIVE_CAMPAIGNS), Campaign.deleted_at.is_(None),
            )
            .order_by(Campaign.id)
        )
    )  # fmt: skip


def remove(mailbox: Mailbox, *, although_used: bool = False) -> None:
    """Take it out of use for good: its secrets are forgotten, its messages stay. Raises Conflict while a campaign uses it."""
    used = campaigns_using(mailbox)
    if used and not although_used:
        names = ", ".join(campaign.name for campaign in used[:3])
        raise Conflict(
            t("mailboxes.used_by", names=names),
            code="mailbox_in_use",
            details={"campaign_ids": [campaign.id for campaign in used]},
        )
    lock_hot()
    set_status(mailbox, SenderStatus.PAUSED, STOPPED)
    mailbox_secrets.forget(mailbox)
    mailbox.deleted_at = clock.now()
    db.session.flush()
    db.session.execute(
        delete(CampaignSender).where(CampaignSender.sender_id == mailbox.id, CampaignSender.campaign_id.in_([row.id for row in used]))
    )
    audit.record("mailbox.delete", "mailbox", mailbox.id, client_id=mailbox.client_id, before={"email": mailbox.address})
    _changed(mailbox)


def ask_verification(client_id: int, mailbox_ids: list[int]) -> None:
    """Have these mailboxes logged in to after the commit, ten at a time."""
    if mailbox_ids:
        enqueue_after_commit(Job.VERIFY_MAILBOX, client_id, mailbox_ids, timeout_s=3_600)


def _seal(mailbox: Mailbox, passwords: Mapping[Any, str]) -> None:
    for side, password in passwords.items():
        if password:
            mailbox_secrets.seal_password(mailbox, side, password)


def _must_connect(mailbox: Mailbox) -> None:
    mailbox.verified_at = None
    mailbox.verify_result = {}
    mailbox.read_error = ""
    if mailbox.status != SenderStatus.PAUSED:
        set_status(mailbox, SenderStatus.CONNECTING)


def _changed(mailbox: Mailbox, *, verify: bool = False) -> None:
    if verify:
        ask_verification(mailbox.client_id, [mailbox.id])
    bell.ring_after_commit(bell.READ, str(mailbox.id))
    bell.ring_after_commit(bell.DISPATCH)
    bell.live_after_commit(mailbox.client_id, f"mailbox-{mailbox.id}", "mailboxes", "counters")
