"""The door into the outbox: a delivery is born once per intention, whoever asks how often."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from app.core.bell import DISPATCH, ring_after_commit
from app.domain.address import email_key, recipient_provider
from app.domain.statuses import DeliveryKind
from app.services.outbox.plain import plain_connection, rows


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """What to send. ``due_at`` product time, ``not_before`` machine time (the undo of an answer).

    ``draft`` is what a person wrote: {subject, text, html, attachments: [{filename, content_type, sha256}], in_reply_to,
    references}. Campaign steps have none: they are rendered from the step when they are claimed.
    """

    idempotency_key: str
    client_id: int
    kind: DeliveryKind
    sender_id: int
    to_address: str
    due_at: datetime
    campaign_id: int | None = None
    enrollment_id: int | None = None
    step_id: int | None = None
    lead_id: int | None = None
    conversation_id: int | None = None
    inbox_message_id: int | None = None
    retry_of: int | None = None
    first_of_lead: bool = False
    not_before: datetime | None = None
    draft: dict[str, Any] = field(default_factory=dict)


_INSERT = """
INSERT INTO deliveries (idempotency_key, client_id, kind, sender_id, to_address, due_at, campaign_id, enrollment_id, step_id,
  lead_id, conversation_id, inbox_message_id, retry_of, first_of_lead, not_before, draft, email_key, recipient_domain,
  recipient_provider)
VALUES (%(idempotency_key)s, %(client_id)s, %(kind)s, %(sender_id)s, %(to_address)s, %(due_at)s, %(campaign_id)s,
  %(enrollment_id)s, %(step_id)s, %(lead_id)s, %(conversation_id)s, %(inbox_message_id)s, %(retry_of)s, %(first_of_lead)s,
  %(not_before)s, %(draft)s, %(email_key)s, %(domain)s, %(provider)s)
ON CONFLICT (idempotency_key) DO NOTHING RETURNING id
"""


def enqueue(new: NewDelivery, ring: bool = True) -> int | None:
    """Insert unless the intention is known already; its id, or None. Rings the engine after the commit.

    ``ring`` False: the caller makes many rows and rings once.
    """
    key = email_key(new.to_address)
    domain = key.rpartition("@")[2]
    values = {
        **asdict(new),
        "kind": str(new.kind),
        "draft": Jsonb(new.draft),
        "email_key": key,
        "domain": domain,
        "provider": str(recipient_provider(domain)),
    }
    found = rows(plain_connection(), _INSERT, values)
    if ring:
        ring_after_commit(DISPATCH)
    return found[0].id if found else None


def delivery_known(idempotency_key: str) -> int | None:
    """The id of the delivery with this key, if it was ever made."""
    found = rows(plain_connection(), "SELECT id FROM deliveries WHERE idempotency_key = %(key)s", {"key": idempotency_key})
    return found[0].id if found else None
