"""What arrived, read and judged before any transaction: bytes and facts in, a decision-ready value out. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.domain import headers, quoting, reading
from app.domain.autoreply import classify
from app.domain.mail_threads import thread_keys
from app.domain.reading import ReadMessage
from app.domain.reply_matching import MATCHER_VERSION
from app.domain.verdicts import CLASSIFIER_VERSION, MailKind, Verdict

#: Kinds that may put an address on the list: whoever records them takes the hot lock first.
MAY_SUPPRESS = frozenset({MailKind.BOUNCE, MailKind.COMPLAINT, MailKind.UNSUBSCRIBE_REQUEST, MailKind.LEFT_COMPANY})
VERSION = f"{reading.READER_VERSION}.{CLASSIFIER_VERSION}.{MATCHER_VERSION}"


@dataclass(frozen=True)
class Arrival:
    """One mail as it lay in a mailbox. ``received_at``: product time it was read; ``role``: inbox, sent, junk, other.

    ``whole`` False: ``raw`` was cut at the size we read; ``size`` is the whole. ``historical``: it lay there before the mailbox was
    connected and was read on request; then ``received_at`` is when its server got it. ``thread``: the key of the thread its provider
    put it into (``gmail.thread_key``), where the provider tells.
    """

    client_id: int
    mailbox_id: int
    raw: bytes = field(repr=False)
    role: str
    received_at: datetime
    internal_date: datetime | None = None
    size: int = 0
    whole: bool = True
    historical: bool = False
    thread: str = ""


@dataclass(frozen=True)
class Incoming:
    """An arrival that was understood. ``external_id``: Message-ID without brackets, or a hash of the bytes."""

    arrival: Arrival
    msg: ReadMessage
    verdict: Verdict
    external_id: str
    snippet: str

    @property
    def may_suppress(self) -> bool:
        return self.arrival.role != "sent" and self.verdict.kind in MAY_SUPPRESS

    @property
    def thread(self) -> str | None:
        """The key by which later mails of its thread are known, the provider's first."""
        return next(iter(thread_keys(self.msg, self.arrival.thread)), None)

    @property
    def at(self) -> datetime:
        """When it was written as far as believable: the Date header, never later than we read it."""
        claimed = self.msg.date
        return min(claimed, self.arrival.received_at) if claimed is not None else self.arrival.received_at


def understand(arrival: Arrival) -> Incoming:
    """Read and classify. Never raises for any bytes; slow mails (megabytes) cost time here, not in a transaction."""
    msg = reading.read(arrival.raw)
    verdict = classify(msg, arrival.internal_date or arrival.received_at)
    visible = quoting.split_reply(msg.plain_for_display[:200_000]).visible
    snippet = quoting.snippet(visible or msg.plain_for_display[:2_000])
    return Incoming(arrival, msg, verdict, external_id(arrival.raw, msg), snippet)


def external_id(raw: bytes, msg: ReadMessage) -> str:
    if msg.message_id:
        return headers.normal_id(msg.message_id)[:990]
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def verdict_facts(verdict: Verdict) -> dict[str, Any]:
    """What is stored of the verdict beside the message."""
    return {
        "kind": str(verdict.kind),
        "rule": verdict.rule,
        "confidence": verdict.confidence,
        "return_date": verdict.return_date.isoformat() if verdict.return_date else None,
        "successor": verdict.successor,
        "looks_automatic": verdict.looks_automatic,
        "recipients": [
            {"address": one.address, "class": str(one.bounce_class), "permanence": str(one.permanence), "status": one.status,
             "code": one.code, "text": one.text}
            for one in verdict.recipients[:20]
        ],
        "version": VERSION,
    }  # fmt: skip
