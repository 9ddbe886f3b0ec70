"""What a rehearsal found, as plain values for the command and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from app.domain.reasons import EXPLANATIONS, Reason
from app.strings import t


class Ending(StrEnum):
    """Why a rehearsal ended."""

    FINISHED = "finished"
    NOTHING_DUE = "nothing_due"
    DAYS = "days"
    MESSAGES = "messages"
    TIME = "time"


SENTENCES = {
    Ending.FINISHED: t("rehearsals.ended_finished"),
    Ending.NOTHING_DUE: t("rehearsals.ended_nothing_due"),
    Ending.DAYS: t("rehearsals.ended_days"),
    Ending.MESSAGES: t("rehearsals.ended_messages"),
    Ending.TIME: t("rehearsals.ended_time"),
}


@dataclass(frozen=True)
class SenderDay:
    """``first_at``, ``last_at``: product time of the day's first and last message through this sender."""

    sender: str
    messages: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class People:
    """How many leads stand at one place. ``reason``: a code of ours, ``sentence``: what it says to people."""

    status: str
    reason: str
    sentence: str
    leads: int


@dataclass(frozen=True)
class Day:
    """One date of the campaign's clock. ``waiting``: who still waited when it ended, and why."""

    date: date
    senders: tuple[SenderDay, ...]
    waiting: tuple[People, ...]


@dataclass(frozen=True)
class Rehearsal:
    """``finished_at``: when the last sequence ended (product time), None while some has not. ``others``: messages of campaigns
    that write through the same senders."""

    campaign_id: int
    name: str
    zone: str
    began_at: datetime
    ended_at: datetime
    finished_at: datetime | None
    ending: Ending
    sentence: str
    messages: int
    others: int
    seed: int
    replies_percent: int
    days: tuple[Day, ...]
    people: tuple[People, ...]

    def as_json(self) -> dict[str, Any]:
        """The same in what JSON knows; times in ISO 8601, UTC."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    def as_text(self) -> str:
        """For a terminal; times on the campaign's clock."""
        return "\n".join(_lines(self))


def people(rows: Iterable[Any]) -> tuple[People, ...]:
    """Rows of (status, reason, leads)."""
    return tuple(People(row.status, row.reason or "", sentence_of(row.reason), row.leads) for row in rows)


def sentence_of(code: str | None) -> str:
    try:
        return EXPLANATIONS[Reason(code)].text if code else ""
    except ValueError:
        return ""  # a word that a person wrote


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, date) else value


def _lines(found: Rehearsal) -> list[str]:
    zone = ZoneInfo(found.zone)
    lines = [f"{found.name}: {found.messages} messages from {found.began_at.astimezone(zone):%a %d %b %Y %H:%M} ({found.zone})"]
    for day in found.days:
        lines.append(f"{day.date:%a %d %b}")
        for line in day.senders:
            first, last = line.first_at.astimezone(zone), line.last_at.astimezone(zone)
            lines.append(f"  {line.messages:5}  {line.sender}  {first:%H:%M}-{last:%H:%M}")
        lines += [f"  {one.leads:5}  wait: {_said(one)}" for one in day.waiting]
    lines.append("At the end")
    lines += [f"  {one.leads:5}  {one.status}: {_said(one)}" for one in found.people]
    if found.others:
        lines.append(f"Other campaigns sent {found.others} messages through the same senders.")
    lines.append(found.sentence)
    if found.finished_at is not None:
        lines.append(f"The campaign would finish {found.finished_at.astimezone(zone):%a %d %b %Y %H:%M}.")
    return lines


def _said(one: People) -> str:
    return f"{one.sentence} ({one.reason})" if one.sentence else one.reason or "it goes on by itself"
