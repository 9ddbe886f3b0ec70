"""Mail of ours met in a mailbox: copies of what we sent (evidence), and what somebody of us wrote with another program."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from app.core.extensions import db
from app.domain.reply_matching import MatchKind, candidates_needed
from app.domain.reply_matching import match as decide
from app.services import conversations, enrollments
from app.services.conversations import Place
from app.services.outbox import own_ids, uncertain
from app.services.outbox.plain import plain_connection, rows
from app.services.receiving import matching
from app.services.receiving.arrivals import Incoming
from app.services.recovery import continuity


def own_mail_seen(incoming: Incoming, delivery_id: int) -> None:
    """A copy of a delivery: proof that it left, and the id under which the server knows it."""
    client_id = incoming.arrival.client_id
    row = db.session.execute(
        text("SELECT status, message_id, conversation_id FROM deliveries WHERE id = :id"), {"id": delivery_id}
    ).one()
    renamed = incoming.msg.message_id is not None and incoming.external_id not in matching.both_forms([row.message_id or ""])
    if renamed or incoming.thread:
        source = "provider" if renamed else "ours"
        conversations.know_id(client_id, incoming.external_id, source, delivery_id=delivery_id, thread=incoming.thread)
    if row.status == "uncertain":
        uncertain.arrived(delivery_id, "sent_folder" if incoming.arrival.role == "sent" else "own_copy")
    if row.conversation_id is not None:
        conversations.add_sent(client_id, row.conversation_id, [delivery_id])


def sent_without_our_knowledge(incoming: Incoming) -> bool:
    """A campaign's message of ours lies in Sent although the ledger never let it leave: the ledger is older than the mailbox.

    What was written before the last recovery is that one's business, not a new sign.
    """
    opened = own_ids.open_id(incoming.msg.message_id) if incoming.arrival.role == "sent" else None
    if opened is None or opened.step is None:
        return False
    connection = plain_connection()
    found = rows(connection, _EVER_LEFT, {"key": opened.key, "ids": matching.both_forms([incoming.msg.message_id or ""])})
    if found and found[0].ever:
        return False
    last = continuity.facts(connection).get("last_recovery")
    return not (last and incoming.at <= datetime.fromisoformat(last["product_at"]))


_EVER_LEFT = """
SELECT bool_or(permitted_at IS NOT NULL) AS ever FROM deliveries
WHERE id IN (
  SELECT id FROM deliveries WHERE idempotency_key = %(key)s UNION ALL
  SELECT delivery_id FROM known_message_ids WHERE message_id = ANY (%(ids)s::text[]) AND source = 'ours')
"""


def place_of(incoming: Incoming) -> Place | None:
    """Where a mail written outside belongs: the thread it answers, else the lead it goes to. None: none of our business."""
    arrival, msg = incoming.arrival, incoming.msg
    keys = candidates_needed(msg, arrival.thread)
    if keys.message_ids or keys.threads:
        facts = matching.find(arrival.client_id, msg, arrival.received_at, arrival.thread)
        match = decide(msg, incoming.verdict, facts, arrival.received_at, arrival.thread)
        if match.kind is MatchKind.OWN and (match.delivery_id or match.conversation_id):
            lead = match.lead_id or _lead_of(match.conversation_id)
            return Place(arrival.client_id, arrival.mailbox_id, lead, match.campaign_id, match.enrollment_id, match.delivery_id,
                         match.conversation_id)  # fmt: skip
    leads = enrollments.leads_of(arrival.client_id, [person.key for person in (*msg.to, *msg.cc)])
    return Place(arrival.client_id, arrival.mailbox_id, leads[0]) if leads else None


def _lead_of(conversation_id: int | None) -> int | None:
    return db.session.execute(text("SELECT lead_id FROM conversations WHERE id = :id"), {"id": conversation_id}).scalar()


def pause_leads(incoming: Incoming, place: Place) -> None:
    """Every lead the mail went to waits (`answered_elsewhere`) until a person resumes it."""
    arrival, msg = incoming.arrival, incoming.msg
    leads = set(enrollments.leads_of(arrival.client_id, [person.key for person in (*msg.to, *msg.cc)]))
    if place.lead_id is not None:
        leads.add(place.lead_id)
    enrollments.pause_for_outside(arrival.client_id, leads)
