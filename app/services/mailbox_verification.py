"""Verifying a mailbox: begin (in a transaction), log in to both servers (in none), record (in another).

A result is recorded only while the settings it was found with still stand. A login that is refused for good makes the mailbox
auth_failed; what may pass by itself leaves it connecting, and a sweep tries again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select

from app.channels.base import EndPoint
from app.channels.imap_folders import Role
from app.channels.verify import CheckResult, VerifyResult
from app.core import bell, clock
from app.core.crypto import CannotOpen
from app.core.db import lock_hot
from app.core.errors import TooMany
from app.core.extensions import db
from app.domain.statuses import SenderStatus
from app.models import AuditEntry, Mailbox
from app.services import audit, mailbox_secrets, mailboxes
from app.strings import t

TESTS_PER_MINUTE = 10
LOOK_BACK = 300
OFFERED_FOLDERS = 200  # names a person chooses Sent and Junk from
AGAIN_SECONDS = (60, 300, 1_800)


@dataclass(frozen=True)
class Case:
    """What one verification needs outside the ledger."""

    client_id: int
    mailbox_id: int
    smtp: EndPoint
    imap: EndPoint
    fingerprint: str


def count_test(client_id: int, user_id: int, mailbox_ids: list[int]) -> None:
    """Note that ``user_id`` asked for a test (one press of a button, however many mailboxes). Raises TooMany above 10 a minute."""
    newest = select(AuditEntry).where(AuditEntry.client_id == client_id).order_by(AuditEntry.id.desc()).limit(LOOK_BACK).subquery()
    recent = db.session.scalar(
        select(func.count())
        .select_from(newest)
        .where(
            newest.c.user_id == user_id, newest.c.action == "mailbox.verify",
            newest.c.at > func.clock_timestamp() - timedelta(minutes=1),
        )
    )  # fmt: skip
    if (recent or 0) >= TESTS_PER_MINUTE:
        raise TooMany(t("mailboxes.tests_per_minute", limit=TESTS_PER_MINUTE), 60)
    audit.record("mailbox.verify", "mailbox", ",".join(map(str, mailbox_ids[:20])), client_id=client_id, user_id=user_id)


def begin(client_id: int, mailbox_id: int) -> Case | None:
    """Mark the mailbox as being verified and say where to log in; None when it is gone or its secret cannot be opened."""
    mailbox = _locked(client_id, mailbox_id)
    if mailbox is None:
        return None
    try:
        smtp, imap = mailbox_secrets.endpoint(mailbox, "smtp"), mailbox_secrets.endpoint(mailbox, "imap")
    except CannotOpen:
        broken = {"ok": False, "cause": "secret_lost", "phase": "", "said": ""}
        mailbox.verify_result = {"state": "done", "at": clock.now().isoformat(), "smtp": broken, "imap": broken}
        _tell(mailbox)
        return None
    mailbox.verify_result = {**mailbox.verify_result, "state": "running"}
    _tell(mailbox)
    return Case(client_id, mailbox_id, smtp, imap, mailbox_secrets.fingerprint(mailbox))


def ask(client_id: int, mailbox_ids: list[int]) -> None:
    """Show these mailboxes as waiting for their turn, and have them verified after the commit."""
    wanted = select(Mailbox).where(Mailbox.client_id == client_id, Mailbox.id.in_(mailbox_ids), Mailbox.deleted_at.is_(None))
    for mailbox in db.session.scalars(wanted.order_by(Mailbox.id)):
        mailbox.verify_result = {**mailbox.verify_result, "state": "queued"}
        _tell(mailbox)
    mailboxes.ask_verification(client_id, mailbox_ids)


def record(case: Case, result: VerifyResult) -> Mailbox | None:
    """Store what the servers answered; None when the mailbox is gone or its settings changed meanwhile."""
    lock_hot()
    mailbox = _locked(case.client_id, case.mailbox_id)
    if mailbox is None or mailbox_secrets.fingerprint(mailbox) != case.fingerprint:
        return None
    now = clock.now()
    failures = 0 if result.ok else int(mailbox.verify_result.get("failures", 0)) + 1
    mailbox.verify_result = {
        "state": "done", "at": now.isoformat(), "failures": failures, "smtp": _as_json(result.smtp), "imap": _as_json(result.imap),
        "folders": {folder.role.value: folder.name for folder in result.folders if folder.role is not None},
        "folder_names": [folder.name for folder in result.folders if folder.selectable and folder.role is not Role.INBOX][:OFFERED_FOLDERS],
    }  # fmt: skip
    if result.sent_copies is not None and mailbox.save_to_sent == "unknown":
        mailbox.save_to_sent = result.sent_copies.value
    if result.ok:
        _working(mailbox, now)
    elif mailbox.status in (SenderStatus.CONNECTING, SenderStatus.ACTIVE) and _for_good(result):
        mailboxes.set_status(mailbox, SenderStatus.AUTH_FAILED, _first_cause(result))
    db.session.flush()
    _tell(mailbox)
    return mailbox


def _working(mailbox: Mailbox, now: Any) -> None:
    mailbox.verified_at = now
    mailbox.read_error = ""
    if mailbox.status in (SenderStatus.CONNECTING, SenderStatus.AUTH_FAILED):
        mailboxes.set_status(mailbox, SenderStatus.ACTIVE)


def _for_good(result: VerifyResult) -> bool:
    return any(not check.ok and not check.passing for check in (result.smtp, result.imap))


def _first_cause(result: VerifyResult) -> str:
    return next(check.cause.value for check in (result.smtp, result.imap) if not check.ok and not check.passing)


def _as_json(check: CheckResult) -> dict[str, Any]:
    return {"ok": check.ok, "cause": check.cause.value, "phase": check.phase.value, "said": check.said}


def due_again(limit: int = 50) -> list[tuple[int, int]]:
    """(client, mailbox) still connecting whose turn it is: never looked at for a minute, or failed in a way that may pass."""
    rows = db.session.execute(
        select(Mailbox.client_id, Mailbox.id, Mailbox.verify_result)
        .where(
            Mailbox.status == SenderStatus.CONNECTING, Mailbox.deleted_at.is_(None),
            or_(Mailbox.imap_secret.is_not(None), Mailbox.smtp_secret.is_not(None)),
            Mailbox.status_since < func.clock_timestamp() - timedelta(minutes=1),
        )
        .order_by(Mailbox.id)
        .limit(limit)
    )  # fmt: skip
    return [(row.client_id, row.id) for row in rows if _patient_enough(row.verify_result)]


def _patient_enough(result: dict[str, Any]) -> bool:
    """The first failures are tried again soon, later ones after half an hour (product time)."""
    failures, at = int(result.get("failures", 0)), result.get("at")
    if not failures or not at:
        return True
    wait = AGAIN_SECONDS[min(failures, len(AGAIN_SECONDS)) - 1]
    return (clock.now() - datetime.fromisoformat(at)).total_seconds() >= wait


def _locked(client_id: int, mailbox_id: int) -> Mailbox | None:
    return db.session.scalar(
        select(Mailbox)
        .where(Mailbox.id == mailbox_id, Mailbox.client_id == client_id, Mailbox.deleted_at.is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _tell(mailbox: Mailbox) -> None:
    bell.live_after_commit(mailbox.client_id, f"mailbox-{mailbox.id}", "mailboxes", "counters")
    bell.ring_after_commit(bell.READ, str(mailbox.id))
