"""The end of one attempt, as the engine tells it to the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.words import Word
from app.services.outbox.threads import Words


class What(Word):
    """The kinds of outcome."""

    ACCEPTED = "accepted"  # 2xx to the dot
    REFUSED = "refused"  # explicit, about the recipient or the message, for good
    LATER = "later"  # explicit and temporary, about the recipient: the retry ladder
    TROUBLE = "trouble"  # the sender's, the provider's or the network's: the lead is untouched
    RETURNED = "returned"  # nothing was tried to the end; no dot was written
    UNKNOWN = "unknown"  # the dot was written, no readable answer came
    UNWRITABLE = "unwritable"  # cannot be rendered: a value is missing, the address is unusable


@dataclass(slots=True)
class Outcome:
    """One attempt's end. ``wait_s`` (product seconds) is what the server asked for, or how long the sender rests.

    ``sender_id`` (0: not said) and ``enrollment_id`` are the row's: who says them saves the ledger a look before its locks.
    """

    delivery_id: int
    epoch: int
    what: What
    reason: str = ""
    phase: str = ""
    code: int = 0
    enhanced: str = ""
    text: str = ""
    provider_message_id: str = ""
    wait_s: int | None = None
    suppress: bool = False
    pause_sender: str = ""  # new status of the sender: paused or auth_failed
    words: Words | None = None
    sender_id: int = 0
    enrollment_id: int | None = None
