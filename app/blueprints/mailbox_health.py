"""How a mailbox's state is said to a person: a kind for the colour, a word, and the reason with what to do."""

from __future__ import annotations

from dataclasses import dataclass

from app.blueprints import times
from app.core import clock
from app.domain.reasons import EXPLANATIONS, Reason
from app.domain.statuses import SenderStatus
from app.queries.mailboxes import MailboxLine
from app.strings import CATALOGUE, t


@dataclass(frozen=True)
class Health:
    """``kind``: good, waiting, attention, broken or quiet."""

    kind: str
    word: str
    why: str = ""


def health(line: MailboxLine) -> Health:
    if line.verifying:
        return Health("waiting", t("mailboxes.state_queued" if line.verify["state"] == "queued" else "mailboxes.state_verifying"))
    if line.status == SenderStatus.AUTH_FAILED:
        return Health("broken", t("mailboxes.state_auth_failed"), _cause(line) or _words(line.status_reason))
    if line.status == SenderStatus.CONNECTING:
        cause = _cause(line)
        return Health("attention", t("mailboxes.state_not_connected"), cause) if cause else Health(
            "waiting", t("mailboxes.state_connecting"), t("mailboxes.why_connecting")
        )
    if line.status == SenderStatus.PAUSED:
        return _paused(line)
    return _active(line)


def _paused(line: MailboxLine) -> Health:
    if line.status_reason == "stopped":
        return Health("broken", t("mailboxes.state_stopped"), t("mailboxes.why_stopped"))
    if line.tripped:
        return Health("attention", t("mailboxes.state_braked"), _words(line.status_reason))
    return Health("quiet", t("mailboxes.state_paused"), t("mailboxes.why_paused"))


def _active(line: MailboxLine) -> Health:
    if line.read_error:
        return Health("attention", t("mailboxes.state_not_read"), _words(line.read_error))
    if line.backoff_until and line.backoff_until > clock.now():
        return Health("waiting", t("mailboxes.state_backoff"), t("mailboxes.why_backoff", time=times.short(line.backoff_until)))
    return Health("good", t("mailboxes.state_active"))


def _cause(line: MailboxLine) -> str:
    """The sentence of the first server that failed."""
    checks = [line.verify.get(side) for side in ("smtp", "imap")] if line.verify.get("state") == "done" else []
    return next((_words(check["cause"]) for check in checks if check and not check["ok"]), "")


def _words(reason: str) -> str:
    for key in (f"mailboxes.why_{reason}", f"verify.{reason}"):
        if key in CATALOGUE:
            return t(key)
    if reason in set(Reason):
        explained = EXPLANATIONS[Reason(reason)]
        return f"{explained.text} {explained.frees}".strip()
    return reason
