"""Gmail in IMAP's clothes: one message lies in All Mail and wears labels; folders are views of it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

CAPABILITY = "X-GM-EXT-1"
DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class GmailFacts:
    """What Gmail tells beside a message: its number and its thread's (of this account), and its labels."""

    message: int
    thread: int
    labels: frozenset[str]

    @property
    def identity(self) -> str:
        """The same in every folder and under every numbering of the account."""
        return f"gm:{self.message}"


def role_of(labels: Collection[str]) -> str:
    """sent, draft, inbox, or other: a filter or a person sent it past the inbox."""
    worn = {label.lower() for label in labels}
    if worn & {"\\draft", "\\drafts"}:
        return DRAFT
    if "\\sent" in worn:
        return "sent"
    return "inbox" if "\\inbox" in worn else "other"


def thread_key(mailbox_id: int, thread: int) -> str:
    """Gmail numbers threads per account: the key says whose."""
    return f"gm:{mailbox_id}:{thread}"
