"""A person decides where an ambiguous answer belongs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text

from app.core import clock
from app.core.bell import live_after_commit
from app.core.errors import Conflict, NotFound
from app.core.extensions import db
from app.models import Activity, Conversation, Message
from app.services import audit, conversations, enrollments
from app.services.conversations import Place
from app.strings import t


def resolve_match(client_id: int, message_id: int, lead_id: int | None, user_id: int | None, *, now: datetime | None = None) -> None:
    """Give a message that needs a match to a lead (it then stops every sequence of the lead) or to nobody (``None``).

    The other leads it might have been from were held since it came; they go on.
    Raises NotFound for a message or lead that is not the client's, Conflict when it was decided before.
    """
    now = now or clock.now()
    message = db.session.get(Message, message_id)
    if message is None or message.client_id != client_id or message.conversation_id is None:
        raise NotFound()
    conversation = db.session.get(Conversation, message.conversation_id, with_for_update=True, populate_existing=True)
    assert conversation is not None
    if not conversation.needs_match:
        raise Conflict(t("inbox.decided_already"))
    conversation.needs_match = False
    conversation.version += 1
    if lead_id is not None:
        _give(client_id, message, conversation, lead_id, now)
    elif conversation.lead_id is None:
        conversation.is_other = True
    db.session.flush()
    enrollments.free_decided(client_id, _candidates(client_id, conversation.id), now)
    audit.record(
        "message.match", "message", message.id, client_id=client_id, user_id=user_id,
        before={"candidates": message.match_candidates or []}, after={"lead_id": lead_id},
    )  # fmt: skip
    live_after_commit(client_id, "inbox", f"conversation-{conversation.id}", "counters")


def _candidates(client_id: int, conversation_id: int) -> list[int]:
    """Every lead that any message of the thread might have been from."""
    found = db.session.execute(
        text(
            "SELECT DISTINCT (found.id #>> '{}')::bigint FROM messages m"
            " CROSS JOIN LATERAL jsonb_path_query(m.match_candidates, '$[*].lead_id') AS found(id)"
            " WHERE m.client_id = :client AND m.conversation_id = :id AND jsonb_typeof(found.id) = 'number'"
        ),
        {"client": client_id, "id": conversation_id},
    )
    return list(found.scalars())


def _give(client_id: int, message: Message, conversation: Conversation, lead_id: int, now: datetime) -> None:
    known = db.session.execute(
        text("SELECT 1 FROM leads WHERE id = :id AND client_id = :client"), {"id": lead_id, "client": client_id}
    ).first()
    if known is None:
        raise NotFound()
    chosen: dict[str, Any] = next((one for one in message.match_candidates or [] if one.get("lead_id") == lead_id), {})
    delivery = _delivery(client_id, chosen.get("delivery_id"))
    enrollments.stop_for_reply(client_id, [lead_id], campaign_id=delivery.campaign_id if delivery else None, now=now)
    conversation.lead_id = lead_id
    message.match_rule = "person"
    if delivery is not None:
        conversation.campaign_id = delivery.campaign_id
        place = Place(client_id, conversation.sender_id, lead_id, delivery.campaign_id, delivery.enrollment_id, delivery.id,
                      conversation.id)  # fmt: skip
        conversations.conversation_for(place, subject=conversation.subject, who=None)
    db.session.add(
        Activity(client_id=client_id, kind="message_received", channel="email", lead_id=lead_id, message_id=message.id,
                 campaign_id=delivery.campaign_id if delivery else None, enrollment_id=delivery.enrollment_id if delivery else None,
                 sender_id=message.sender_id, meta={"rule": "person"}, at=now)
    )  # fmt: skip


def _delivery(client_id: int, delivery_id: int | None) -> Any:
    return db.session.execute(
        text("SELECT id, campaign_id, enrollment_id FROM deliveries WHERE id = :id AND client_id = :client"),
        {"id": delivery_id, "client": client_id},
    ).first()
