"""One conversation, read whole: its head, its messages with how far ours got, files, people, and the lead's sequences."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Float, cast, exists, func, select, text
from sqlalchemy.orm import aliased

from app.core.extensions import db
from app.domain import quoting
from app.domain.address import email_key
from app.domain.quoting import PartKind, TextPart
from app.domain.reasons import EXPLANATIONS, Explanation, Reason
from app.domain.statuses import DELIVERY_LEFT_THE_HOUSE, DeliveryStatus
from app.domain.verdicts import MailKind
from app.models import (
    Attachment,
    Campaign,
    Conversation,
    Delivery,
    Enrollment,
    GlobalSuppression,
    Lead,
    Message,
    Participant,
    Sender,
    Suppression,
    User,
)

SHOWN = 60  # newest messages of a thread; the rest on request
LONGEST_TEXT = 200_000
OFFERED = 10  # leads an undecided answer is offered to, the newest contacts first

_WAITING = frozenset({DeliveryStatus.QUEUED, DeliveryStatus.LEASED, DeliveryStatus.COMMITTING})


@dataclass(frozen=True)
class Head:
    """The conversation and what stands around it. ``answer_to``: who wrote last, whom an answer goes to."""

    conversation: Conversation
    mailbox: str
    mailbox_name: str
    mailbox_zone: str
    mailbox_status: str
    mailbox_gone: bool
    campaign: str | None
    assignee: str | None
    lead: Lead | None


@dataclass(frozen=True)
class Said:
    """One message as the thread draws it. ``state``: received, queued, sent, uncertain, failed, bounced, cancelled."""

    message: Message
    author: str | None
    state: str
    delivery_id: int | None = None
    why: Explanation | None = None
    server_said: str = ""
    undo_seconds: int = 0  # machine seconds in which it can be taken back for sure
    can_undo: bool = False
    due_at: datetime | None = None
    sent_at: datetime | None = None
    late_accept: bool = False
    parts: tuple[TextPart, ...] = ()
    files: tuple[Attachment, ...] = ()

    @property
    def at(self) -> datetime:
        return self.sent_at or self.message.sent_at or self.message.received_at

    @property
    def inbound(self) -> bool:
        return self.message.direction == "in"

    @property
    def sign(self) -> str:
        """Changes when the drawing of this message changes: the open page keeps what has not."""
        return f"{self.state}-{self.due_at and self.due_at.timestamp()}-{self.why and self.why.text}-{bool(self.message.read_at)}"


@dataclass(frozen=True)
class Walk:
    """One campaign of the lead and where it stands."""

    campaign_id: int
    campaign: str
    status: str
    reason: str | None


@dataclass(frozen=True)
class Candidate:
    """A lead an ambiguous answer may belong to, and the rule that named it."""

    lead_id: int
    name: str
    email: str
    company: str
    rule: str
    campaign: str | None


@dataclass(frozen=True)
class Thread:
    head: Head
    messages: list[Said]
    older: bool
    people: list[Participant]
    walks: list[Walk]
    suppressed: bool
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def newest_inbound(self) -> Said | None:
        return next((said for said in reversed(self.messages) if said.inbound), None)

    @property
    def answer_to(self) -> str:
        """Who wrote to us last: an answer goes there."""
        said = next((said for said in reversed(self.messages) if said.inbound and said.message.kind not in REPORTS), None)
        found = said or self.newest_inbound
        return found.message.from_address if found else ""


#: Reports of mail servers: they are answered only when nothing else is there.
REPORTS = frozenset({MailKind.BOUNCE, MailKind.DELAYED, MailKind.DELIVERED, MailKind.COMPLAINT, MailKind.DMARC_REPORT})


def head(client_id: int, conversation_id: int) -> Head | None:
    row = db.session.execute(
        select(
            Conversation, Sender.address, Sender.display_name, Sender.timezone, Sender.status, Sender.deleted_at.is_not(None),
            Campaign.name, User.name, Lead,
        )
        .join(Sender, Sender.id == Conversation.sender_id)
        .outerjoin(Campaign, Campaign.id == Conversation.campaign_id)
        .outerjoin(User, User.id == Conversation.assignee_id)
        .outerjoin(Lead, Lead.id == Conversation.lead_id)
        .where(Conversation.id == conversation_id, Conversation.client_id == client_id)
    ).first()  # fmt: skip
    return Head(*row) if row else None


def thread(client_id: int, conversation_id: int, shown: int = SHOWN) -> Thread | None:
    """The conversation with its newest ``shown`` messages, oldest first; None when it is not this client's."""
    top = head(client_id, conversation_id)
    if top is None:
        return None
    rows = messages(client_id, conversation_id, limit=shown + 1)
    older, rows = len(rows) > shown, rows[-shown:]
    files = files_of([said.message.id for said in rows])
    rows = [replace(said, files=files.get(said.message.id, ())) for said in rows]
    people = list(
        db.session.scalars(
            select(Participant).where(Participant.client_id == client_id, Participant.conversation_id == conversation_id).limit(20)
        )
    )
    walks = _walks(client_id, top.conversation.lead_id)
    whole = Thread(top, rows, older, people, walks, False)
    suppressed = is_suppressed(client_id, whole.answer_to)
    candidates = _candidates(client_id, rows) if top.conversation.needs_match else []
    return Thread(top, rows, older, people, walks, suppressed, candidates)


def messages(client_id: int, conversation_id: int, *, limit: int = SHOWN, ids: list[int] | None = None) -> list[Said]:
    """The newest messages, oldest first. What a person took back before it left is not shown."""
    author = aliased(User)
    left = cast(func.extract("epoch", Delivery.not_before - func.clock_timestamp()), Float)
    statement = (
        select(
            Message, author.name.label("author"), Delivery.id.label("delivery_id"), Delivery.status, Delivery.reason, Delivery.detail,
            Delivery.due_at, Delivery.sent_at, Delivery.reply_text, Delivery.late_accept, left.label("left"),
        )
        .outerjoin(Delivery, Delivery.id == Message.delivery_id)
        .outerjoin(author, author.id == Message.author_id)
        .where(Message.client_id == client_id, Message.conversation_id == conversation_id)
        .where(func.coalesce(Delivery.reason, "") != Reason.UNDONE)
        .order_by(func.coalesce(Message.sent_at, Message.received_at).desc(), Message.id.desc())
        .limit(limit)
    )  # fmt: skip
    if ids is not None:
        statement = statement.where(Message.id.in_(ids))
    return [_said(row) for row in reversed(db.session.execute(statement).all())]


def _said(row: Any) -> Said:
    message: Message = row.Message
    parts = _folds(quoting.split_reply(message.text[:LONGEST_TEXT]).parts) if message.text else ()
    if row.delivery_id is None:
        return Said(message, row.author, "received" if message.direction == "in" else "sent", parts=parts)
    status = DeliveryStatus(row.status)
    why = EXPLANATIONS.get(Reason(row.reason)) if row.reason in set(Reason) else None
    return Said(
        message, row.author, _state(status), row.delivery_id, why if status not in DELIVERY_LEFT_THE_HOUSE else None,
        server_said=(row.reply_text or row.detail or "")[:500] if status not in {DeliveryStatus.SENT, DeliveryStatus.DELIVERED} else "",
        undo_seconds=max(0, round(row.left or 0)) if status in _WAITING else 0,
        can_undo=status in {DeliveryStatus.QUEUED, DeliveryStatus.LEASED}, due_at=row.due_at if status in _WAITING else None,
        sent_at=row.sent_at, late_accept=row.late_accept, parts=parts,
    )  # fmt: skip


def _folds(parts: tuple[TextPart, ...]) -> tuple[TextPart, ...]:
    """Hidden parts that stand together fold together: "On Monday … wrote:" belongs to the quote below it."""
    folded: list[TextPart] = []
    for part in parts:
        hidden = part.kind in (PartKind.INTRODUCTION, PartKind.QUOTED)
        if folded and hidden and folded[-1].kind is PartKind.QUOTED:
            folded[-1] = TextPart(PartKind.QUOTED, folded[-1].text + part.text)
        else:
            folded.append(TextPart(PartKind.QUOTED, part.text) if hidden else part)
    return tuple(folded)


def _state(status: DeliveryStatus) -> str:
    if status in _WAITING:
        return "queued"
    return "sent" if status is DeliveryStatus.DELIVERED else str(status)


def files_of(message_ids: list[int]) -> dict[int, tuple[Attachment, ...]]:
    """Attachments by message, in their order."""
    found: dict[int, tuple[Attachment, ...]] = {}
    if message_ids:
        statement = select(Attachment).where(Attachment.message_id.in_(message_ids)).order_by(Attachment.message_id, Attachment.position)
        for one in db.session.scalars(statement):
            found[one.message_id] = (*found.get(one.message_id, ()), one)
    return found


def _walks(client_id: int, lead_id: int | None) -> list[Walk]:
    if lead_id is None:
        return []
    rows = db.session.execute(
        select(Campaign.id, Campaign.name, Enrollment.status, Enrollment.reason)
        .join(Campaign, Campaign.id == Enrollment.campaign_id)
        .where(Enrollment.client_id == client_id, Enrollment.lead_id == lead_id)
        .order_by(Enrollment.id.desc())
        .limit(3)
    )
    return [Walk(*row) for row in rows]


def is_suppressed(client_id: int, address: str) -> bool:
    """Is the address on the client's or the installation's list of those never to be contacted?"""
    if not address:
        return False
    key = email_key(address)
    here = exists().where(Suppression.client_id == client_id, Suppression.email_key == key)
    everywhere = exists().where(GlobalSuppression.email_key == key)
    return bool(db.session.scalar(select(here | everywhere)))


def _candidates(client_id: int, rows: list[Said]) -> list[Candidate]:
    named = [one for said in rows for one in (said.message.match_candidates or []) if one.get("lead_id")]
    rules = {one["lead_id"]: one.get("rule", "") for one in reversed(named[:OFFERED])}
    deliveries = {one["lead_id"]: one.get("delivery_id") for one in reversed(named)}
    if not rules:
        return []
    found = db.session.execute(
        select(Lead, Campaign.name)
        .outerjoin(Delivery, (Delivery.lead_id == Lead.id) & Delivery.id.in_([number for number in deliveries.values() if number]))
        .outerjoin(Campaign, Campaign.id == Delivery.campaign_id)
        .where(Lead.client_id == client_id, Lead.id.in_(rules))
        .order_by(Lead.id)
    )
    return [
        Candidate(lead.id, f"{lead.first_name} {lead.last_name}".strip(), lead.email or "", lead.company, rules[lead.id], campaign)
        for lead, campaign in found
    ]


def visible(parts: tuple[TextPart, ...]) -> str:
    """What the person wrote, without quotes and signature."""
    return "\n\n".join(part.text.strip("\r\n") for part in parts if part.kind is PartKind.VISIBLE and part.text.strip()).strip()


def raw_source(client_id: int, message_id: int) -> bytes | None:
    """The bytes of a message as they came (or left); None where only its headers were kept."""
    found = db.session.execute(
        text(
            "SELECT coalesce(b.bytes, d.mime) AS raw FROM messages m LEFT JOIN blobs b ON b.client_id = m.client_id"
            " AND b.sha256 = m.raw_sha256 LEFT JOIN deliveries d ON d.id = m.delivery_id"
            " WHERE m.id = :id AND m.client_id = :client"
        ),
        {"id": message_id, "client": client_id},
    ).scalar()
    return bytes(found) if found is not None else None


def file_bytes(client_id: int, sha256: str) -> bytes | None:
    found = db.session.execute(
        text("SELECT bytes FROM blobs WHERE client_id = :client AND sha256 = :sha"), {"client": client_id, "sha": sha256}
    ).scalar()
    return bytes(found) if found is not None else None
