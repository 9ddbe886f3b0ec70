"""What a service that carried our mail tells about it (``emberpost.mail-event``): found by Message-ID, then the effects of any report."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from app.core import clock
from app.core.bell import live_after_commit
from app.core.extensions import db
from app.domain.mail_event import Event, MailEvent, parse
from app.domain.reply_matching import Match, MatchKind, MatchRule
from app.services.receiving import effects, matching
from app.strings import t

_KINDS = {
    Event.DELIVERED: MatchKind.DELIVERED, Event.BOUNCED: MatchKind.BOUNCE, Event.COMPLAINED: MatchKind.COMPLAINT,
    Event.UNSUBSCRIBED: MatchKind.UNSUBSCRIBE,
}  # fmt: skip

# Bytes and Message-ID are stored before anything leaves, so an id that is not here was never ours.
_FOUND = text(
    "SELECT d.id, d.client_id, d.sender_id, d.lead_id, d.campaign_id, d.enrollment_id, d.conversation_id, d.to_address, d.permitted_at, d.kind"
    " FROM deliveries d WHERE d.id IN"
    " (SELECT k.delivery_id FROM known_message_ids k WHERE k.message_id = ANY(:ids) AND k.source IN ('ours', 'provider')) ORDER BY d.id DESC LIMIT 1"
)


def process(payload: Any, patient: bool) -> str:
    """Apply one event. "" when it did (or had done) its work, else why it does nothing. Raises Unreadable, TooEarly."""
    told = parse(payload)
    row = db.session.execute(_FOUND, {"ids": matching.both_forms([told.message_id])}).first()
    if row is None:
        return t("arrivals.no_such_message", id=told.message_id[:200])
    if row.kind not in ("campaign_step", "reply"):
        return t("arrivals.not_to_a_lead", id=row.id)
    if row.permitted_at is None:
        return t("arrivals.never_left", id=row.id)
    effects.report(effects.Told(row.client_id, row.sender_id, clock.now()), _match(row, told), patient=patient)
    topics = [f"campaign-{row.campaign_id}"] if row.campaign_id is not None else []
    live_after_commit(row.client_id, "counters", *topics)
    return ""


def _match(row: Any, told: MailEvent) -> Match:
    recipients = (told.failure(row.to_address),) if told.event is Event.BOUNCED else ()
    return Match(_KINDS[told.event], MatchRule.RETURNED_ID, row.lead_id, row.enrollment_id, row.id, row.conversation_id, row.campaign_id,
                 recipients=recipients)  # fmt: skip
