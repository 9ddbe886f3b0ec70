"""A test of one step, sent to nobody but the person who asks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import select, text

from app.core import clock
from app.core.errors import Conflict, Invalid, NotFound
from app.core.extensions import db
from app.domain.statuses import DeliveryKind
from app.models import User
from app.queries import campaigns as reading
from app.services import audit
from app.services.campaign_steps import check_texts
from app.services.outbox.enqueueing import NewDelivery, enqueue
from app.services.outbox.rendering import CannotRender, Rendered, RenderInput, render
from app.services.preview import example_or_lead, render_input
from app.strings import t

_SENDERS = text(
    "SELECT s.id, s.address, s.display_name, s.timezone FROM campaign_senders cs JOIN senders s ON s.id = cs.sender_id"
    " WHERE cs.campaign_id = :campaign AND cs.client_id = :client AND s.status = 'active' AND s.deleted_at IS NULL"
    " ORDER BY cs.position, s.id"
)


def send_test(
    client_id: int, campaign_id: int, step_id: int, *, user_id: int, sender_id: int | None = None, lead_id: int | None = None,
    texts: Mapping[str, Any] | None = None, public_url: str = "",
) -> int:  # fmt: skip
    """Put a test message to the user's own address into the outbox; its delivery id.

    Values are those of ``lead_id`` (None: the first lead, else examples); ``texts``: unsaved ones of the editor. Counts towards the
    sender's cap. Raises Conflict when no mailbox of the campaign is active, Invalid when a text or value is at fault.
    """
    user = db.session.execute(select(User.email, User.name).where(User.id == user_id)).first()
    if user is None:
        raise NotFound
    sender = _sender(client_id, campaign_id, sender_id)
    lead = example_or_lead(client_id, campaign_id, lead_id)
    given, _ = render_input(client_id, campaign_id, step_id, lead, texts=texts, public_url=public_url)
    rendered = _rendered(replace(
        given, to_address=user.email, to_name=user.name, sender_address=sender.address, sender_name=sender.display_name,
        sender_zone=sender.timezone,
    ))  # fmt: skip
    delivery = enqueue(
        NewDelivery(
            idempotency_key=f"test:{user_id}:{secrets.token_hex(8)}",
            client_id=client_id,
            kind=DeliveryKind.TEST,
            sender_id=sender.id,
            to_address=user.email,
            due_at=clock.now(),
            draft={"subject": f"Test: {rendered.subject}", "text": rendered.words.text, "html": rendered.html},
        )
    )
    audit.record(
        "campaign.test", "campaign", campaign_id, client_id=client_id, user_id=user_id, after={"step_id": step_id, "to": user.email}
    )
    assert delivery is not None  # the key is new
    return delivery


def _rendered(given: RenderInput) -> Rendered:
    """The message as it would leave. Raises Invalid where a text or a value is at fault."""
    problems = check_texts(given.subject, given.text, given.html)
    if problems:
        details = {problem.field: [t("texts.at_place", line=problem.line, column=problem.column, said=problem.message)] for problem in problems}
        raise Invalid(t("texts.cannot_be_used"), details=details)
    rendered = render(given)
    if isinstance(rendered, CannotRender):
        missing = t("texts.no_value_for", names=", ".join(rendered.names)) if rendered.names else rendered.sentence
        raise Invalid(missing, details={"text": [missing]})
    return rendered


def _sender(client_id: int, campaign_id: int, wanted: int | None) -> Any:
    reading.campaign(client_id, campaign_id)
    active = db.session.execute(_SENDERS, {"campaign": campaign_id, "client": client_id}).all()
    if wanted is not None:
        active = [row for row in active if row.id == wanted]
    if not active:
        raise Conflict(t("campaigns.no_mailbox_sends"))
    return active[0]
