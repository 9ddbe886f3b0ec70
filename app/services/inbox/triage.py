"""Triage of conversations, one or many at once: read, unread, close, reopen, assign, snooze. Every verb may be repeated.

Each returns the ids it touched, and each of those is a line of the trail; ids of other clients are passed over (a page asks for its
own rows first).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select, text

from app.core.errors import Invalid
from app.core.extensions import db
from app.domain.statuses import Role
from app.domain.working_time import day_start, local_date
from app.models import Membership
from app.services import audit
from app.services.inbox.reply import changed
from app.strings import t

MOST_AT_ONCE = 500
LONGEST_SNOOZE = timedelta(days=366)
MORNING = timedelta(hours=9)


def _update(client_id: int, ids: Sequence[int], assignments: str, condition: str = "true", **values: Any) -> list[int]:
    """One statement for all rows, in id order; the pages of those that changed look again."""
    if len(ids) > MOST_AT_ONCE:
        raise Invalid.field("ids", t("inbox.at_once", limit=MOST_AT_ONCE))
    rows = db.session.execute(
        text(
            f"UPDATE conversations SET {assignments}, version = version + 1 WHERE id IN (SELECT id FROM conversations"
            f" WHERE client_id = :client AND id = ANY(:ids) AND ({condition}) ORDER BY id FOR NO KEY UPDATE) RETURNING id"
        ),
        {"client": client_id, "ids": list(ids), **values},
    )
    touched = sorted(rows.scalars())
    db.session.expire_all()
    if touched:
        changed(client_id, touched)
    return touched


def _trail(verb: str, client_id: int, ids: Sequence[int], **after: Any) -> None:
    for number in ids:
        audit.record(f"conversation.{verb}", "conversation", number, client_id=client_id, after=after)


def _messages_read(ids: Sequence[int], now: datetime) -> None:
    db.session.execute(
        text("UPDATE messages SET read_at = :now WHERE conversation_id = ANY(:ids) AND direction = 'in' AND read_at IS NULL"),
        {"ids": list(ids), "now": now},
    )


def mark_read(client_id: int, ids: Sequence[int], *, now: datetime) -> list[int]:
    touched = _update(client_id, ids, "unread = 0", "unread > 0")
    _messages_read(touched, now)
    _trail("read", client_id, touched)
    return touched


def mark_unread(client_id: int, ids: Sequence[int]) -> list[int]:
    """The newest message of theirs counts as unread again."""
    touched = _update(client_id, ids, "unread = 1", "unread = 0")
    db.session.execute(
        text(
            "UPDATE messages SET read_at = NULL WHERE id IN (SELECT DISTINCT ON (conversation_id) id FROM messages"
            " WHERE conversation_id = ANY(:ids) AND direction = 'in' ORDER BY conversation_id, received_at DESC, id DESC)"
        ),
        {"ids": touched},
    )
    _trail("unread", client_id, touched)
    return touched


def close(client_id: int, ids: Sequence[int], *, now: datetime) -> list[int]:
    """Done with it: out of the open list, read. An answer of theirs opens it again."""
    touched = _update(
        client_id, ids, "status = 'closed', closed_at = :now, snoozed_until = NULL, unread = 0", "status <> 'closed'", now=now
    )
    _messages_read(touched, now)
    _trail("close", client_id, touched)
    return touched


def reopen(client_id: int, ids: Sequence[int]) -> list[int]:
    """Open again, whether it was closed or snoozed."""
    touched = _update(client_id, ids, "status = 'open', closed_at = NULL, snoozed_until = NULL", "status <> 'open'")
    _trail("reopen", client_id, touched)
    return touched


def assign(client_id: int, ids: Sequence[int], user_id: int | None) -> list[int]:
    """Give conversations to a member who may answer, or to nobody. Raises Invalid for anybody else."""
    if user_id is not None:
        seat = db.session.scalar(
            select(Membership.id).where(
                Membership.client_id == client_id, Membership.user_id == user_id, Membership.role.in_((Role.ADMIN, Role.AGENT))
            )
        )
        if seat is None:
            raise Invalid.field("user_id", t("inbox.assignee_choice"))
    touched = _update(client_id, ids, "assignee_id = :user", "assignee_id IS DISTINCT FROM cast(:user AS bigint)", user=user_id)
    _trail("assign", client_id, touched, user_id=user_id)
    return touched


def snooze(client_id: int, ids: Sequence[int], until: datetime, *, now: datetime) -> list[int]:
    """Away until a moment of product time, then back as unread. Raises Invalid for a moment that is not ahead."""
    if until <= now:
        raise Invalid.field("until", t("inbox.moment_ahead"))
    if until > now + LONGEST_SNOOZE:
        raise Invalid.field("until", t("inbox.moment_within_year"))
    touched = _update(
        client_id, ids, "status = 'snoozed', snoozed_until = :until, closed_at = NULL, unread = 0", until=until
    )
    _messages_read(touched, now)
    _trail("snooze", client_id, touched, until=until.isoformat())
    return touched


def snooze_choices(now: datetime, zone: str) -> list[tuple[str, datetime]]:
    """The presets in the reader's zone: later today (in three hours, until the evening), tomorrow at nine, Monday at nine."""
    today = local_date(zone, now)
    tomorrow = _morning(zone, today + timedelta(days=1))
    monday = _morning(zone, today + timedelta(days=7 - today.weekday()))
    later = now + timedelta(hours=3)
    choices = [("tomorrow", tomorrow)]
    if later.astimezone(ZoneInfo(zone)).date() == today:
        choices.insert(0, ("later_today", later))
    if monday != tomorrow:
        choices.append(("next_week", monday))
    return choices


def morning_of(zone: str, day: date) -> datetime:
    """Nine o'clock of a local date."""
    return _morning(zone, day)


def _morning(zone: str, day: date) -> datetime:
    return day_start(zone, day) + MORNING
