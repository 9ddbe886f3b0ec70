"""A connection that did not come about, for every protocol alike."""

from __future__ import annotations

from app.channels.base import ChannelError, Concern, PermanentFailure, Phase, TemporaryFailure
from app.channels.wire import ConnectFailed


def connect_error(error: ConnectFailed, phase: Phase) -> ChannelError:
    """A wrong setting is permanent and concerns the mailbox; everything else may pass."""
    if error.permanent:
        return PermanentFailure(error.cause, phase=phase, text=error.text, concerns=Concern.SENDER)
    return TemporaryFailure(error.cause, phase=phase, text=error.text)
