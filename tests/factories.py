"""Rows for tests, written straight into the ledger with sensible defaults; each returns the row. Call inside ``app``.

They commit: a test reads as a story of things that already happened.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import text

from app.core.crypto import vault
from app.core.extensions import db
from app.models import (
    Campaign,
    CampaignSender,
    Client,
    Conversation,
    Delivery,
    Enrollment,
    KnownMessageId,
    Lead,
    Mailbox,
    Membership,
    Message,
    Step,
    User,
)

_number = itertools.count(1)
Row = TypeVar("Row")
MONDAY_TEN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
WEEKDAYS_9_TO_17 = [{"weekday": day, "from": "09:00", "to": "17:00"} for day in range(5)]
ALWAYS = [{"weekday": day, "from": "00:00", "to": "24:00"} for day in range(7)]


def save(row: Row) -> Row:
    """Write as the owner, whatever role the test's connections have: who may write what is not what a factory tests."""
    with db.session.no_autoflush:
        db.session.execute(text("SET LOCAL ROLE emberpost_owner"))
    db.session.add(row)
    db.session.commit()
    return row


def make_client(**values: Any) -> Client:
    number = next(_number)
    defaults = {"name": f"Client {number}", "slug": f"client-{number}", "postal_address": "1 Ember Lane, Porto", "timezone": "UTC"}
    return save(Client(**{**defaults, **values}))


def make_user(client: Client | None = None, role: str = "admin", password: str | None = None, **values: Any) -> User:
    """A user, member of ``client`` with ``role``. With ``password`` it can log in (hashed by services.auth)."""
    number = next(_number)
    defaults: dict[str, Any] = {"email": f"user{number}@house.test", "name": f"User {number}", "timezone": "UTC"}
    merged = {**defaults, **values}
    merged["email_key"] = merged["email"].lower()
    if password is not None:
        from argon2 import PasswordHasher

        merged["password_hash"] = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(password)
    user = save(User(**merged))
    if client is not None:
        save(Membership(client_id=client.id, user_id=user.id, role=role))
    return user


def make_mailbox(client: Client, *, password: str = "secret-of-the-mailbox", **values: Any) -> Mailbox:
    """An active mailbox on 127.0.0.1; give ``smtp_port`` and ``imap_port`` of the sandbox to use it for real."""
    number = next(_number)
    email = values.pop("email", f"sender{number}@ourhouse.test")
    defaults: dict[str, Any] = {
        "client_id": client.id, "address": email, "address_key": email.lower(), "domain": email.split("@")[1],
        "display_name": f"Sender {number}", "timezone": "UTC", "status": "active", "daily_cap": 1000, "min_gap_s": 0,
        "smtp_host": "127.0.0.1", "smtp_port": 2525, "smtp_security": "none", "smtp_user": email,
        "imap_host": "127.0.0.1", "imap_port": 1143, "imap_security": "none", "imap_user": email,
        "save_to_sent": "never",
    }  # fmt: skip
    mailbox = save(Mailbox(**{**defaults, **values}))
    mailbox.smtp_secret = vault().seal(password, f"mailboxes.smtp_secret:{mailbox.id}")
    mailbox.imap_secret = vault().seal(password, f"mailboxes.imap_secret:{mailbox.id}")
    db.session.commit()
    return mailbox


def make_lead(client: Client, **values: Any) -> Lead:
    number = next(_number)
    defaults: dict[str, Any] = {"email": f"lead{number}@buyer{number}.test", "first_name": f"Ada{number}", "company": "Buyer Ltd"}
    merged = {**defaults, **values, "client_id": client.id}
    if merged["email"] is not None:
        merged.setdefault("email_key", merged["email"].lower())
    return save(Lead(**merged))


def make_campaign(client: Client, *, mailboxes: tuple[Mailbox, ...] = (), steps: int = 2, **values: Any) -> Campaign:
    """A running campaign, open at all hours, with ``steps`` plain steps one working day apart."""
    number = next(_number)
    defaults: dict[str, Any] = {
        "client_id": client.id, "name": f"Campaign {number}", "status": "running", "timezone": "UTC", "windows": ALWAYS,
        "weekend": {"mode": "reduced", "percent": 100}, "closed_days": [],
    }  # fmt: skip
    campaign = save(Campaign(**{**defaults, **values}))
    parent: int | None = None
    for index in range(steps):
        step = save(
            Step(
                client_id=client.id, campaign_id=campaign.id, parent_id=parent, position=0, delay_value=1 if index else 0,
                subject="Hello {{first_name}}" if index == 0 else "", text=f"Hi {{{{first_name}}}},\n\nstep {index + 1}.\n\n{{{{unsubscribe_url}}}}",
            )
        )  # fmt: skip
        parent = step.id
    for position, mailbox in enumerate(mailboxes):
        save(CampaignSender(campaign_id=campaign.id, sender_id=mailbox.id, client_id=client.id, position=position))
    return campaign


def set_apart(*rows: Any) -> None:
    """They keep the values they have and leave their session, which several threads would otherwise ask for them at once."""
    for row in rows:
        db.session.refresh(row)
        db.session.expunge(row)
    db.session.commit()


def first_step(campaign: Campaign) -> Step:
    """Leaves no transaction behind: an open one keeps every dead row version of a long test in its tables, and each look reads them."""
    step = db.session.query(Step).filter_by(campaign_id=campaign.id, parent_id=None).one()
    db.session.commit()
    return step


def make_enrollment(campaign: Campaign, lead: Lead, mailbox: Mailbox | None = None, **values: Any) -> Enrollment:
    defaults: dict[str, Any] = {
        "client_id": campaign.client_id, "campaign_id": campaign.id, "lead_id": lead.id, "sender_id": mailbox.id if mailbox else None,
        "status": "waiting", "next_step_id": first_step(campaign).id, "next_at": MONDAY_TEN, "enrolled_at": MONDAY_TEN,
    }  # fmt: skip
    return save(Enrollment(**{**defaults, **values}))


def make_delivery(enrollment: Enrollment, lead: Lead, mailbox: Mailbox, **values: Any) -> Delivery:
    """A queued campaign step, due at MONDAY_TEN."""
    defaults: dict[str, Any] = {
        "client_id": enrollment.client_id, "kind": "campaign_step", "sender_id": mailbox.id, "campaign_id": enrollment.campaign_id,
        "enrollment_id": enrollment.id, "step_id": enrollment.next_step_id, "lead_id": lead.id, "due_at": MONDAY_TEN,
        "idempotency_key": f"step:{enrollment.id}:{enrollment.next_step_id}", "to_address": lead.email, "email_key": lead.email_key,
        "recipient_domain": (lead.email or "@").split("@")[1],
    }  # fmt: skip
    made = save(Delivery(**{**defaults, **values}))
    if made.message_id:  # known from the moment it is stored, as the ledger does it
        save(KnownMessageId(client_id=made.client_id, message_id=made.message_id, source="ours", delivery_id=made.id))
    return made


def make_conversation(client: Client, mailbox: Mailbox, lead: Lead | None = None, **values: Any) -> Conversation:
    defaults: dict[str, Any] = {
        "client_id": client.id, "sender_id": mailbox.id, "lead_id": lead.id if lead else None, "subject": "Hello", "subject_base": "hello",
        "in_inbox": True, "last_message_at": MONDAY_TEN, "last_inbound_at": MONDAY_TEN, "display_name": lead.first_name if lead else "Somebody",
        "display_address": (lead.email if lead else None) or "somebody@elsewhere.test",
    }  # fmt: skip
    return save(Conversation(**{**defaults, **values}))


def make_message(conversation: Conversation, text: str = "Sounds good.", **values: Any) -> Message:
    number = next(_number)
    defaults: dict[str, Any] = {
        "client_id": conversation.client_id, "conversation_id": conversation.id, "sender_id": conversation.sender_id, "direction": "in",
        "external_id": f"<in-{number}@buyer.test>", "text": text, "snippet": text[:120], "subject": conversation.subject,
        "from_name": conversation.display_name, "from_address": conversation.display_address, "from_key": conversation.display_address,
        "received_at": MONDAY_TEN,
    }  # fmt: skip
    return save(Message(**{**defaults, **values}))
