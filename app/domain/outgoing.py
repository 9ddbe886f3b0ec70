"""What we tell a client's own programs: the kinds of events, the body of one, its signature, and when a call is tried again.

Signed by the Standard Webhooks specification. The body of an event is made once; every try carries the same ``webhook-id`` and the
same bytes, with a timestamp and signatures of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from app.domain.webhook_proof import sign
from app.strings import t

#: Kind → what it tells, in the order in which people choose them.
EVENTS: Mapping[str, str] = {
    "reply.received": t("outgoing.event_reply_received"),
    "reply.automatic": t("outgoing.event_reply_automatic"),
    "delivery.sent": t("outgoing.event_delivery_sent"),
    "delivery.failed": t("outgoing.event_delivery_failed"),
    "delivery.uncertain": t("outgoing.event_delivery_uncertain"),
    "lead.bounced": t("outgoing.event_lead_bounced"),
    "lead.unsubscribed": t("outgoing.event_lead_unsubscribed"),
    "lead.complained": t("outgoing.event_lead_complained"),
    "campaign.started": t("outgoing.event_campaign_started"),
    "campaign.paused": t("outgoing.event_campaign_paused"),
    "campaign.resumed": t("outgoing.event_campaign_resumed"),
    "campaign.stopped": t("outgoing.event_campaign_stopped"),
    "campaign.finished": t("outgoing.event_campaign_finished"),
    "mailbox.auth_failed": t("outgoing.event_mailbox_auth_failed"),
}
#: What the test button sends; nobody subscribes to it.
TEST = "webhook.test"

#: Seconds after the first, second, … failed try; 11 tries in about 2.5 days.
LADDER_S = (5, 60, 300, 1_800, 7_200, 18_000, 36_000, 36_000, 50_400, 64_800)
TRIES = len(LADDER_S) + 1
#: An endpoint of which nothing was accepted for so long (machine time) is switched off.
SWITCHED_OFF_AFTER = timedelta(days=3)
#: How long events are still kept for an endpoint that was switched off that way, so that they can be sent later.
MISSED_KEPT = timedelta(days=7)
#: The longest an endpoint rests between two tries while it fails.
LONGEST_REST_S = 900
LONGEST_WAIT_S = 86_400
#: 410 Gone: the receiver says that it wants nothing more.
GONE = 410


def body_of(webhook_id: str, kind: str, at: datetime, data: Mapping[str, Any]) -> str:
    """The JSON text of one event; ``at`` is product time."""
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = {"id": webhook_id, "type": kind, "timestamp": stamp, "data": data}
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def signed(webhook_id: str, at: datetime, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers; one signature for each secret, the newest first. ``at``: machine time of this try."""
    each = [sign(webhook_id, at, body, secret) for secret in secrets]
    return {**each[0], "webhook-signature": " ".join(one["webhook-signature"] for one in each)}


def succeeded(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def is_the_servers_trouble(status: int | None) -> bool:
    """Would every other call fail as well just now? Then the endpoint rests; a refusal of one event lets the others go on."""
    return status is None or status == 429 or status >= 500


def wait_s(tries: int, spread: float, retry_after: int | None = None) -> int | None:
    """Seconds until the next try after ``tries`` failed ones; None: no further one. ``spread`` from 0 to 1 shifts it by up to a fifth."""
    if tries > len(LADDER_S):
        return None
    seconds = LADDER_S[tries - 1] * (0.9 + 0.2 * spread)
    return round(max(seconds, min(retry_after or 0, LONGEST_WAIT_S)))


def rest_s(failures: int, retry_after: int | None = None) -> int:
    """Seconds an endpoint rests after so many failures in a row: 5, 10, 20, … at most LONGEST_REST_S."""
    return max(min(5 << min(failures - 1, 10), LONGEST_REST_S), min(retry_after or 0, LONGEST_REST_S))


def data_of(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """What a receiver of this event needs: ids, and the few words to act on. ``row``: one line of ``queries.outgoing.facts``."""
    meta = row["facts"]
    data: dict[str, Any] = {"client_id": row["client_id"]}
    if row["campaign_id"] is not None:
        data["campaign"] = {"id": row["campaign_id"], "name": row["campaign_name"]}
    if row["sender_id"] is not None:
        data["mailbox"] = {"id": row["sender_id"], "email": row["mailbox_email"]}
    if kind.startswith(("reply.", "delivery.", "lead.")):
        data["lead"] = _lead(row, meta)
        data |= {"enrollment_id": row["enrollment_id"], "step_id": row["step_id"]}
    if kind.startswith("delivery.") or row["delivery_id"] is not None:
        data["delivery"] = _delivery(kind, row)
    return {**data, **_special(kind, row, meta)}


def _lead(row: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    names = ("first_name", "last_name", "company")
    email = row["lead_email"] or row["to_address"] or meta.get("email") or row["from_address"]
    return {"id": row["lead_id"], "email": email, **{name: row[name] for name in names}}


def _delivery(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    told = {"id": row["delivery_id"], "kind": row["delivery_kind"], "to": row["to_address"], "message_id": row["delivery_message_id"]}
    if kind == "delivery.sent":
        told["sent_at"] = _moment(row["sent_at"])
    if kind in ("delivery.failed", "delivery.uncertain"):
        told |= {"reason": row["reason"], "reply_code": row["reply_code"], "reply_text": row["reply_text"]}
    return told


def _special(kind: str, row: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    if kind.startswith("reply."):
        message = {
            "id": row["message_id"], "conversation_id": row["conversation_id"], "from": row["from_address"], "subject": row["subject"],
            "snippet": row["snippet"], "received_at": _moment(row["received_at"]),
        }  # fmt: skip
        return {"message": message}
    if kind == "lead.bounced":  # a refusal in the dialogue that blocks the address carries its text only
        return {"bounce": {"hard": bool(meta.get("hard", True)), "class": meta.get("class") or "unknown", "text": meta.get("text") or row["reply_text"]}}
    if kind in ("lead.unsubscribed", "lead.complained"):
        return {"source": meta.get("source")}
    if kind.startswith("campaign."):
        return {"from": meta.get("from"), "to": meta.get("to")}
    if kind == "mailbox.auth_failed":
        return {"reason": meta.get("reason")}
    return {}


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
