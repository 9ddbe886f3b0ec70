"""The words in which an arrived mail is judged: its kind, and for delivery reports what each recipient's failure means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

CLASSIFIER_VERSION = 1


class MailKind(StrEnum):
    BOUNCE = "bounce"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"
    OUT_OF_OFFICE = "out_of_office"
    LEFT_COMPANY = "left_company"
    TICKET_RECEIPT = "ticket_receipt"
    CHALLENGE = "challenge"
    AUTOMATIC = "automatic"
    UNSUBSCRIBE_REQUEST = "unsubscribe_request"
    DMARC_REPORT = "dmarc_report"
    LIST_MAIL = "list_mail"
    HUMAN = "human"


class BounceClass(StrEnum):
    NO_SUCH_USER = "no_such_user"
    NO_SUCH_DOMAIN = "no_such_domain"
    DISABLED = "disabled"
    FULL = "full"
    TOO_BIG = "too_big"
    CONTENT = "content"
    POLICY = "policy"
    REPUTATION = "reputation"
    RATE = "rate"
    GREYLIST = "greylist"
    NETWORK = "network"
    EXPIRED = "expired"
    RELAY_DENIED = "relay_denied"
    MOVED = "moved"
    SYSTEM = "system"
    UNKNOWN = "unknown"


class Permanence(StrEnum):
    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    UNKNOWN = "unknown"


SUPPRESSING = frozenset({BounceClass.NO_SUCH_USER, BounceClass.NO_SUCH_DOMAIN, BounceClass.DISABLED})
# Kinds a person wrote: only these stop a sequence as an answer.
ANSWERS = frozenset({MailKind.HUMAN, MailKind.UNSUBSCRIBE_REQUEST})
REPORTS = frozenset({MailKind.BOUNCE, MailKind.DELAYED, MailKind.DELIVERED, MailKind.COMPLAINT})


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One address of a report. `status` is the enhanced code (5.1.1), `code` the SMTP reply (550), as far as named."""

    address: str
    key: str
    bounce_class: BounceClass
    permanence: Permanence
    status: str | None
    code: int | None
    text: str

    @property
    def suppresses(self) -> bool:
        """Whether this failure alone ends all mail to the address (only: no such user or domain, disabled)."""
        return self.permanence is Permanence.PERMANENT and self.bounce_class in SUPPRESSING


@dataclass(frozen=True, slots=True)
class Verdict:
    """What kind of mail it is and why. `return_date`: the last day of absence or the day of return, as written.

    `confidence` is between 0 and 1; `looks_automatic` marks a mail counted as human although something spoke against."""

    kind: MailKind
    rule: str
    confidence: float
    recipients: tuple[ReportedRecipient, ...] = ()
    original_ids: tuple[str, ...] = ()
    return_date: date | None = None
    successor: str | None = None
    looks_automatic: bool = False
    version: int = CLASSIFIER_VERSION

    @property
    def is_answer(self) -> bool:
        return self.kind in ANSWERS
