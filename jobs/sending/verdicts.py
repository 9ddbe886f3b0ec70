"""From a channel's error to the outcome that is recorded: whose fault it was, and what it means for row and sender."""

from __future__ import annotations

from app.channels.base import (
    AuthenticationFailed,
    ChannelError,
    OutcomeUnknown,
    PermanentFailure,
    Receipt,
    TemporaryFailure,
)
from app.domain.smtp_reply import Concern, Phase
from app.services.outbox.outcomes import Outcome, What
from app.services.outbox.threads import Words

#: How long a sender rests after trouble of its own, by how many troubles came in a row (machine seconds).
RESTS = (15, 60, 300, 900, 1800)
#: Faults of the message itself, although the rules call them the sender's: this one fails, the mailbox goes on.
OF_THE_MESSAGE = frozenset({"too_large", "bare_line_end", "content_rejected", "message_too_large"})


def accepted(delivery_id: int, epoch: int, receipt: Receipt, words: Words | None) -> Outcome:
    return Outcome(
        delivery_id,
        epoch,
        What.ACCEPTED,
        phase=str(Phase.DONE),
        code=receipt.code,
        enhanced=receipt.enhanced,
        text=receipt.text,
        provider_message_id=receipt.provider_message_id,
        words=words,
    )


def failed(delivery_id: int, epoch: int, error: ChannelError, streak: int, factor: float) -> Outcome:
    """``streak``: troubles of this sender in a row before this one. ``factor``: product seconds per machine second."""
    what, wait, status = _judged(error, streak, factor)
    return Outcome(
        delivery_id,
        epoch,
        what,
        reason=error.reason,
        phase=str(error.phase),
        code=error.code,
        enhanced=error.enhanced,
        text=error.text or error.reason,
        wait_s=wait,
        suppress=error.suppress and what is What.REFUSED,
        pause_sender=status,
    )


def _judged(error: ChannelError, streak: int, factor: float) -> tuple[What, int | None, str]:
    if isinstance(error, OutcomeUnknown) or not error.reversible:
        return What.UNKNOWN, None, ""
    if isinstance(error, AuthenticationFailed):
        return What.TROUBLE, None, "auth_failed"
    if isinstance(error, PermanentFailure):
        if error.concerns is Concern.RECIPIENT or error.reason in OF_THE_MESSAGE:
            return What.REFUSED, None, ""
        return What.TROUBLE, None, "paused"
    wait = error.retry_after if isinstance(error, TemporaryFailure) else None
    if error.concerns is Concern.RECIPIENT or (error.code and error.phase in (Phase.RCPT, Phase.REPLY) and not error.pause_sender):
        return What.LATER, wait, ""
    rest = int(RESTS[min(streak, len(RESTS) - 1)] * factor)
    return What.TROUBLE, max(wait or 0, rest), "paused" if error.pause_sender else ""
