"""What became of a mail, told by a service that carried it: one neutral shape (``emberpost.mail-event``, docs/api.md). Pure.

Events come in any order and more than once. What they do is decided by rank, never by which came first: sent < delivered < bounced <
complained. A wish to leave has no state of its own on the message; it outranks a bounce on the list and on the lead's walk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.domain.bounces import judged
from app.domain.headers import normal_id
from app.domain.statuses import DeliveryStatus
from app.domain.verdicts import BounceClass, Permanence, ReportedRecipient
from app.domain.webhook_body import Unreadable, storable
from app.strings import t

TYPE = "emberpost.mail-event"
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


class Event(StrEnum):
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"


#: A state may only be left for one of a higher rank.
RANK: Mapping[str, int] = {
    DeliveryStatus.SENT: 0, DeliveryStatus.DELIVERED: 1, DeliveryStatus.BOUNCED: 2, DeliveryStatus.COMPLAINED: 3,
}  # fmt: skip


def below(status: DeliveryStatus) -> list[str]:
    """The states from which a report of ``status`` still changes something."""
    return [name for name, rank in RANK.items() if rank < RANK[status]]


@dataclass(frozen=True, slots=True)
class MailEvent:
    """``message_id`` without brackets. The rest is about a bounce: the words of the receiving server and what they say."""

    event: Event
    message_id: str
    permanent: bool | None = None
    status: str = ""
    text: str = ""

    def failure(self, address: str) -> ReportedRecipient:
        """The failure, judged as one in a bounce mail is; ``permanent`` decides only where words and status leave it open."""
        found = judged(address, self.text, self.status, "delayed" if self.permanent is False else "failed")
        if self.permanent and found.permanence is Permanence.UNKNOWN:
            return ReportedRecipient(address, found.key, BounceClass.UNKNOWN, Permanence.PERMANENT, found.status, found.code, found.text)
        return found


def parse(payload: Any) -> MailEvent:
    """Raises Unreadable naming the field that does not fit. Fields we do not know are passed over."""
    if not isinstance(payload, dict):
        raise Unreadable(t("arrivals.not_an_object"))
    try:
        event = Event(payload.get("event", ""))
    except (ValueError, TypeError):
        raise Unreadable(t("arrivals.event_one_of", names=", ".join(Event))) from None
    message_id = payload.get("message_id")
    if not isinstance(message_id, str) or not 3 <= len(normal_id(message_id)) <= 990:
        raise Unreadable(t("arrivals.need_message_id"))
    permanent, status, words = payload.get("permanent"), payload.get("status", ""), payload.get("text", "")
    if permanent is not None and not isinstance(permanent, bool):
        raise Unreadable(t("arrivals.permanent_shape"))
    if not isinstance(status, str) or (status and not _STATUS.fullmatch(status)):
        raise Unreadable(t("arrivals.status_shape"))
    if not isinstance(words, str):
        raise Unreadable(t("arrivals.text_shape"))
    return MailEvent(event, storable(normal_id(message_id)), permanent, status, storable(words[:2_000]))
