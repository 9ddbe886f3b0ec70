"""What a mail server answered, as data: the phases of one mail, a reply, and what a reply means for us."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from app.domain.words import Word


class Phase(Word):
    """How far one attempt came. Everything before `dot` is reversible; from `dot` until the reply nobody can know."""

    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    PERMIT = "permit"
    DOT = "dot"
    REPLY = "reply"
    DONE = "done"



class Concern(StrEnum):
    """Whose fault it is: decides whether the lead, the mailbox or nobody is touched."""

    RECIPIENT = "recipient"
    SENDER = "sender"
    PROVIDER = "provider"
    NETWORK = "network"


class Action(StrEnum):
    DONE = "done"
    RETRY = "retry"
    SLOW = "slow"
    PAUSE_MAILBOX = "pause_mailbox"
    FAIL = "fail"
    FAIL_SUPPRESS = "fail_suppress"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of the peer. `code` 0 means that nothing readable was heard; `enhanced` is like "5.1.1" or empty."""

    phase: Phase
    code: int
    enhanced: str
    text: str
    provider: str = ""


@dataclass(frozen=True, slots=True)
class ReplyAction:
    """`reason` is the rule's class; `retry_after` is seconds or None (then the ladder decides)."""

    action: Action
    reason: str
    concerns: Concern
    retry_after: int | None = None
    rule: str = ""


_ENHANCED = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")


def enhanced_code(text: str) -> str:
    """The enhanced status code (RFC 3463) of a reply's text: at its beginning, or the first further in; else empty."""
    found = _ENHANCED.search(text[:200])
    return found.group(1) if found else ""
