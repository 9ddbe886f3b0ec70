"""Threads as mail programs name them beside Message-IDs: Gmail's number of a thread, Outlook's Thread-Index. Pure."""

from __future__ import annotations

import base64
import binascii

from app.domain.reading import ReadMessage

GMAIL, OUTLOOK = "gm:", "ti:"
_ROOT = 22  # bytes: when the conversation began and its GUID; what follows is one block for each answer


def thread_index_key(value: str) -> str | None:
    """The key of the conversation a Thread-Index header names; None for what is none."""
    try:
        raw = base64.b64decode("".join(value[:8_000].split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return OUTLOOK + raw[:_ROOT].hex() if len(raw) >= _ROOT and raw[0] == 1 else None


def thread_keys(msg: ReadMessage, provider_thread: str = "") -> tuple[str, ...]:
    """The threads a mail says it belongs to, the surest first; ``provider_thread``: what its mailbox tells (``gmail.thread_key``)."""
    told = thread_index_key(msg.header("thread-index"))
    return tuple(key for key in (provider_thread, told) if key)
