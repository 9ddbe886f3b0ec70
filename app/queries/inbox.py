"""The list of conversations and the counts beside its scopes. Read-only, one client at a time, a fixed number of statements."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, literal, or_, select, text, tuple_, union_all

from app.core.extensions import db
from app.domain.address import email_key
from app.domain.statuses import ConversationStatus, Direction
from app.models import Campaign, Conversation, Membership, Participant, Sender, User

SEARCH_WINDOW = 5_000  # conversations looked through at once, newest first; "search older" widens it
AT_ONCE = 5_000  # conversations one press acts on
COUNTED = 1_000  # closed ones are counted up to here


class View(StrEnum):
    """The scopes of the inbox. Without a search, all but SNOOZED, CLOSED and UNREAD hold what is open."""

    ALL = "all"
    UNREAD = "unread"
    MINE = "mine"
    UNASSIGNED = "unassigned"
    AWAITING = "awaiting"  # the last word is ours
    DECIDE = "decide"
    SNOOZED = "snoozed"
    CLOSED = "closed"
    OTHER = "other"


@dataclass(frozen=True)
class InboxFilter:
    """What the list shows. ``user_id``: whose *Mine*; ``older``: how many search windows are looked through."""

    client_id: int
    user_id: int
    view: View = View.ALL
    mailbox_id: int | None = None
    campaign_id: int | None = None
    q: str = ""
    older: int = 1


@dataclass(frozen=True)
class Place:
    """A mailbox or campaign of the scope list, with its open conversations."""

    kind: str
    id: int
    name: str
    open: int
    unread: int


@dataclass(frozen=True)
class Counters:
    """How many conversations each scope holds; ``closed`` stops counting at COUNTED."""

    views: dict[str, int]
    mailboxes: dict[int, tuple[int, int]] = field(default_factory=dict)  # id → (open, unread)
    campaigns: dict[int, tuple[int, int]] = field(default_factory=dict)


_C = Conversation
_OPEN = _C.status == ConversationStatus.OPEN
_MAIN = _C.is_other.is_(False)


def _in_view(view: View, user_id: int) -> ColumnElement[bool]:
    rules: dict[View, ColumnElement[bool]] = {
        View.ALL: and_(_OPEN, _MAIN),
        View.UNREAD: and_(_C.unread > 0, _MAIN),
        View.MINE: and_(_OPEN, _MAIN, _C.assignee_id == user_id),
        View.UNASSIGNED: and_(_OPEN, _MAIN, _C.assignee_id.is_(None)),
        View.AWAITING: and_(_OPEN, _MAIN, _C.last_direction == Direction.OUT),
        View.DECIDE: _C.needs_match.is_(True),
        View.SNOOZED: and_(_C.status == ConversationStatus.SNOOZED, _MAIN),
        View.CLOSED: and_(_C.status == ConversationStatus.CLOSED, _MAIN),
        View.OTHER: and_(_OPEN, _C.is_other),
    }
    return rules[view]


def conversations(wanted: InboxFilter) -> Select[Any]:
    """One row per conversation with what the list draws; order and paging (``last_message_at``, ``id``) are the caller's."""
    statement: Select[Any] = (
        select(  # type: ignore[assignment]
            _C.id, _C.client_id, _C.channel, _C.sender_id, _C.lead_id, _C.campaign_id, _C.subject, _C.status, _C.snoozed_until,
            _C.assignee_id, _C.unread, _C.is_other, _C.needs_match, _C.looks_automatic, _C.last_direction, _C.last_message_at,
            _C.last_inbound_at, _C.snippet, _C.display_name, _C.display_address, _C.closed_at, _C.version, _C.created_at,
            Sender.address.label("mailbox"), Sender.timezone.label("mailbox_zone"), User.name.label("assignee"),
        )
        .join(Sender, Sender.id == _C.sender_id)
        .outerjoin(User, User.id == _C.assignee_id)
        .where(_C.client_id == wanted.client_id, _C.in_inbox, _C.last_message_at.is_not(None))
    )  # fmt: skip
    if wanted.mailbox_id is not None:
        statement = statement.where(_C.sender_id == wanted.mailbox_id)
    if wanted.campaign_id is not None:
        statement = statement.where(_C.campaign_id == wanted.campaign_id)
    if wanted.q:
        return statement.where(_found(wanted))
    return statement.where(_in_view(wanted.view, wanted.user_id))


def ids(wanted: InboxFilter) -> list[int]:
    """The conversations the list holds, newest first, up to AT_ONCE."""
    newest = conversations(wanted).with_only_columns(_C.id).order_by(_C.last_message_at.desc(), _C.id.desc())
    return list(db.session.scalars(newest.limit(AT_ONCE)))


def _window(wanted: InboxFilter) -> Select[Any]:
    """The newest conversations a search looks through. Text comparison is not leakproof, so it may not read the whole table."""
    return select(_C.id).where(_C.client_id == wanted.client_id, _C.in_inbox).order_by(_C.last_message_at.desc(), _C.id.desc())


def _found(wanted: InboxFilter) -> ColumnElement[bool]:
    words = wanted.q.split()[:6]
    window = _window(wanted).limit(SEARCH_WINDOW * wanted.older).subquery()
    each = [
        or_(*(column.icontains(word, autoescape=True) for column in (_C.display_name, _C.display_address, _C.subject)))
        for word in words
    ]
    found = and_(_C.id.in_(select(window.c.id)), *each)
    if "@" not in wanted.q:
        return found
    known = select(Participant.conversation_id).where(
        Participant.client_id == wanted.client_id, Participant.address_key == email_key(wanted.q.strip())
    )
    return or_(found, _C.id.in_(known))


def search_has_older(wanted: InboxFilter) -> bool:
    """Are there conversations the search has not looked through?"""
    beyond = _window(wanted).offset(SEARCH_WINDOW * wanted.older).limit(1)
    return db.session.scalar(beyond) is not None


def counters(client_id: int, user_id: int) -> Counters:
    """The counts of every scope, in one statement."""
    closed = (
        select(_C.id)
        .where(_C.client_id == client_id, _C.in_inbox, _in_view(View.CLOSED, user_id))
        .limit(COUNTED)
        .subquery()
    )
    live = [view for view in View if view is not View.CLOSED]
    statement = (
        select(
            func.grouping(_C.sender_id, _C.campaign_id).label("level"),
            _C.sender_id,
            _C.campaign_id,
            *(func.count().filter(_in_view(view, user_id)).label(view.value) for view in live),
            select(func.count()).select_from(closed).scalar_subquery().label("closed"),
        )
        .where(_C.client_id == client_id, _C.in_inbox, or_(_C.status != ConversationStatus.CLOSED, _C.unread > 0, _C.needs_match))
        .group_by(func.grouping_sets(text("()"), tuple_(_C.sender_id), tuple_(_C.campaign_id)))
    )
    views: dict[str, int] = {}
    mailboxes: dict[int, tuple[int, int]] = {}
    campaigns: dict[int, tuple[int, int]] = {}
    for row in db.session.execute(statement).mappings():
        if row["level"] == 3:
            views = {view.value: int(row[view.value]) for view in View}
        elif row["level"] == 1:
            mailboxes[row["sender_id"]] = (row["all"], row["unread"])
        elif row["campaign_id"] is not None:
            campaigns[row["campaign_id"]] = (row["all"], row["unread"])
    return Counters(views, mailboxes, campaigns)


def places(client_id: int, counts: Counters, wanted: InboxFilter | None = None) -> list[Place]:
    """The mailboxes of the client, and the campaigns that have open conversations (or are looked at), by name."""
    campaign_ids = {*counts.campaigns, *([wanted.campaign_id] if wanted and wanted.campaign_id else [])}
    named = union_all(
        select(literal("mailbox").label("kind"), Sender.id.label("id"), Sender.address.label("name")).where(
            Sender.client_id == client_id, or_(Sender.deleted_at.is_(None), Sender.id.in_(counts.mailboxes))
        ),
        select(literal("campaign"), Campaign.id, Campaign.name).where(
            Campaign.client_id == client_id, Campaign.id.in_(campaign_ids)
        ),
    )
    found = []
    for row in db.session.execute(named):
        of_kind = counts.mailboxes if row.kind == "mailbox" else counts.campaigns
        found.append(Place(row.kind, row.id, row.name, *of_kind.get(row.id, (0, 0))))
    return sorted(found, key=lambda place: (place.kind != "mailbox", place.name.lower()))


def members(client_id: int) -> list[tuple[int, str]]:
    """(id, name) of those a conversation can be given to: who may answer."""
    rows = db.session.execute(
        select(User.id, User.name)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.client_id == client_id, Membership.role.in_(("admin", "agent")), User.disabled_at.is_(None))
        .order_by(User.name, User.id)
    )
    return [(row.id, row.name) for row in rows]
