"""People who read their INBOX and act on it: deterministic by seed, in product time.

A mail arrives → `Cast.receive` decides what its reader will do and when → `Cast.due` hands out what is due now → the
world performs it (real SMTP to the MX port, a POST to the way out). Nothing here opens a socket or asks for the time.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, unquote

from sandbox.letters import Letters, Received, Writer, read_mail
from sandbox.mail.dsn import MAILBOX_FULL, MAILBOX_FULL_FOR_NOW, NO_SUCH_USER

MAX_ANSWERS_PER_THREAD = 3


class Persona(StrEnum):
    ANSWERS_SOON = "answers_soon"  # within three quarters of an hour, and goes on talking
    ANSWERS_LATE = "answers_late"  # after one or two days
    NEVER_ANSWERS = "never_answers"
    OUT_OF_OFFICE = "out_of_office"
    BOUNCES = "bounces"  # hard: 5.1.1
    MAILBOX_FULL = "mailbox_full"  # 4.2.2 first, 5.2.2 a day later
    ASKS_TO_STOP = "asks_to_stop"
    ONE_CLICK = "one_click"
    OTHER_ADDRESS = "other_address"
    HTML_ANSWER = "html_answer"
    BOTTOM_POSTING = "bottom_posting"
    ATTACHMENT = "attachment"
    HOSTILE = "hostile"
    FORGES_REPORTS = "forges_reports"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who lives in the world. `other_address` is where OTHER_ADDRESS answers from."""

    address: str
    first_name: str
    last_name: str
    persona: Persona
    company: str = ""
    title: str = ""
    language: str = "en"
    timezone: str = "Europe/Berlin"
    other_address: str = ""

    @property
    def writer(self) -> Writer:
        return Writer(self.address, self.first_name, self.last_name, self.company, self.title, self.language)


class ActKind(StrEnum):
    MAIL = "mail"
    POST = "post"  # one click on the way out


@dataclass(frozen=True, slots=True)
class Act:
    """Something a person does at `due` (product time): send `raw`, or POST to `url`."""

    due: datetime
    person: str
    kind: ActKind
    mail_from: str = ""
    mail_to: str = ""
    raw: bytes = b""
    url: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "due": self.due.isoformat(), "raw": self.raw.decode("utf-8", "surrogateescape")}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Act:
        due = datetime.fromisoformat(fields["due"])
        raw = fields["raw"].encode("utf-8", "surrogateescape")
        return cls(**{**fields, "due": due, "raw": raw, "kind": ActKind(fields["kind"])})


@dataclass(slots=True)
class _Memory:
    """What a person remembers: mails read, answers given per correspondent, until when away."""

    read: set[str] = field(default_factory=set)
    answers: dict[str, int] = field(default_factory=dict)
    back_at: datetime | None = None
    told_away: set[str] = field(default_factory=set)


class Cast:
    """All persons and what they are about to do."""

    def __init__(self, people: Iterable[Person], seed: int = 0) -> None:
        self._people = {person.address.lower(): person for person in people}
        self._memories = {address: _Memory() for address in self._people}
        self._seed = seed
        self._acts: list[Act] = []

    @property
    def people(self) -> list[Person]:
        return list(self._people.values())

    def receive(self, address: str, raw: bytes, now: datetime) -> list[Act]:
        """Somebody reads a mail; returns what was planned because of it (nothing for strangers and known mails)."""
        person = self._people.get(address.lower())
        if person is None:
            return []
        mail, memory = read_mail(raw), self._memories[person.address.lower()]
        if mail.automatic or mail.message_id in memory.read:
            return []
        memory.read.add(mail.message_id)
        planned = self._plan(person, memory, mail, now)
        self._acts = sorted([*self._acts, *planned], key=lambda act: act.due)
        return planned

    def due(self, now: datetime) -> list[Act]:
        """Take out what is due, oldest first."""
        ready = [act for act in self._acts if act.due <= now]
        self._acts = self._acts[len(ready) :]
        return ready

    def next_act(self) -> datetime | None:
        """When somebody does something next, if nothing else happens."""
        return self._acts[0].due if self._acts else None

    def put_back(self, act: Act, due: datetime) -> None:
        """An act that could not be performed is tried again at `due`."""
        again = Act(due, act.person, act.kind, act.mail_from, act.mail_to, act.raw, act.url)
        self._acts = sorted([*self._acts, again], key=lambda waiting: waiting.due)

    # what each kind of person does

    def _dice(self, person: Person, mail: Received) -> random.Random:
        told = f"{self._seed}|{person.address}|{mail.message_id or mail.subject}"
        return random.Random(hashlib.sha256(told.encode()).digest())

    def _plan(self, person: Person, memory: _Memory, mail: Received, now: datetime) -> list[Act]:
        dice = self._dice(person, mail)
        if person.persona in (Persona.BOUNCES, Persona.MAILBOX_FULL):
            return _reports(person, mail, now, dice)
        if person.persona is Persona.FORGES_REPORTS:
            return [_forged(person, mail, now, dice, self._people)]
        if person.persona is Persona.OUT_OF_OFFICE:
            return _away(person, memory, mail, now, dice)
        given = memory.answers.get(mail.reply_to, 0)
        if person.persona is Persona.NEVER_ANSWERS or given >= MAX_ANSWERS_PER_THREAD:
            return []
        memory.answers[mail.reply_to] = given + 1
        if given:
            return [_talks_on(person, mail, now, dice)] if person.persona in TALKATIVE else []
        if person.persona is Persona.ONE_CLICK:
            return _leaves(person, mail, now, dice)
        return [_answers(person, mail, now, dice)]

    # state that survives a restart

    def to_json(self) -> dict[str, Any]:
        memories = {
            address: {
                "read": sorted(memory.read),
                "answers": memory.answers,
                "back_at": memory.back_at.isoformat() if memory.back_at else None,
                "told_away": sorted(memory.told_away),
            }
            for address, memory in self._memories.items()
            if memory.read
        }
        return {"acts": [act.to_json() for act in self._acts], "memories": memories}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `to_json` left off; people who have moved away since are forgotten."""
        self._acts = [Act.from_json(fields) for fields in state["acts"]]
        for address, kept in state["memories"].items():
            if address in self._memories:
                back = datetime.fromisoformat(kept["back_at"]) if kept["back_at"] else None
                told = set(kept["told_away"])
                self._memories[address] = _Memory(set(kept["read"]), dict(kept["answers"]), back, told)


TALKATIVE = (Persona.ANSWERS_SOON, Persona.HTML_ANSWER, Persona.BOTTOM_POSTING, Persona.ATTACHMENT)


def _minutes(dice: random.Random, low: float, high: float) -> timedelta:
    return timedelta(minutes=dice.uniform(low, high))


def _delay(persona: Persona, dice: random.Random) -> timedelta:
    """How long this kind of person takes to act."""
    if persona is Persona.ANSWERS_SOON:
        return _minutes(dice, 6, 45)
    if persona is Persona.ANSWERS_LATE:
        return _minutes(dice, 22 * 60, 50 * 60)
    if persona is Persona.OTHER_ADDRESS:
        return _minutes(dice, 60, 240)
    return _minutes(dice, 20, 180)


def _answers(person: Person, mail: Received, now: datetime, dice: random.Random) -> Act:
    due = now + _delay(person.persona, dice)
    letters = Letters(person.writer, mail, due, dice)
    sender = person.address
    if person.persona is Persona.OTHER_ADDRESS:
        sender = person.other_address or f"{person.first_name.lower() or 'me'}@private-post.test"
        raw = letters.top_posting(sender=sender)
    elif person.persona is Persona.ASKS_TO_STOP:
        raw = letters.stop()
    elif person.persona is Persona.HTML_ANSWER:
        raw = letters.html_answer()
    elif person.persona is Persona.BOTTOM_POSTING:
        raw = letters.bottom_posting()
    elif person.persona is Persona.ATTACHMENT:
        raw = letters.with_attachment()
    elif person.persona is Persona.HOSTILE:
        raw = letters.hostile()
    else:
        raw = letters.top_posting()
    return Act(due, person.address, ActKind.MAIL, sender, mail.reply_to, raw)


def _talks_on(person: Person, mail: Received, now: datetime, dice: random.Random) -> Act:
    due = now + _minutes(dice, 5, 40)
    raw = Letters(person.writer, mail, due, dice).top_posting(again=True)
    return Act(due, person.address, ActKind.MAIL, person.address, mail.reply_to, raw)


def _reports(person: Person, mail: Received, now: datetime, dice: random.Random) -> list[Act]:
    steps = [(timedelta(minutes=1), NO_SUCH_USER)]
    if person.persona is Persona.MAILBOX_FULL:
        steps = [(timedelta(minutes=2), MAILBOX_FULL_FOR_NOW), (timedelta(days=1), MAILBOX_FULL)]
    acts = []
    for delay, failure in steps:
        raw = Letters(person.writer, mail, now + delay, dice).report(failure)
        acts.append(Act(now + delay, person.address, ActKind.MAIL, "", mail.reply_to, raw))
    return acts


def _forged(person: Person, mail: Received, now: datetime, dice: random.Random, people: dict[str, Person]) -> Act:
    due = now + _minutes(dice, 10, 30)
    victim = min(people)
    raw = Letters(person.writer, mail, due, dice).forged_report(NO_SUCH_USER, victim)
    return Act(due, person.address, ActKind.MAIL, "", mail.reply_to, raw)


def _away(person: Person, memory: _Memory, mail: Received, now: datetime, dice: random.Random) -> list[Act]:
    """One automatic answer per correspondent (RFC 3834), and an ordinary answer once back."""
    if memory.back_at is None:
        day = (now + timedelta(days=dice.randint(2, 6))).replace(hour=7, minute=30, second=0, microsecond=0)
        memory.back_at = day
    if now >= memory.back_at:
        due = now + _delay(Persona.ANSWERS_SOON, dice)
        raw = Letters(person.writer, mail, due, dice).top_posting()
        return [Act(due, person.address, ActKind.MAIL, person.address, mail.reply_to, raw)]
    if mail.reply_to in memory.told_away:
        return []
    memory.told_away.add(mail.reply_to)
    due = now + timedelta(seconds=30)
    raw = Letters(person.writer, mail, due, dice).out_of_office(memory.back_at)
    return [Act(due, person.address, ActKind.MAIL, "", mail.reply_to, raw)]


def _leaves(person: Person, mail: Received, now: datetime, dice: random.Random) -> list[Act]:
    """One click where one is offered, else the mail form of the way out, else plain words."""
    due = now + _delay(person.persona, dice)
    letters = Letters(person.writer, mail, due, dice)
    links = re.findall(r"<([^<>]+)>", mail.list_unsubscribe)
    urls = [link for link in links if link.startswith(("http://", "https://"))]
    if urls and mail.one_click:
        return [Act(due, person.address, ActKind.POST, url=urls[0])]
    targets = [link for link in links if link.startswith("mailto:")]
    if targets:
        to, _, query = targets[0].removeprefix("mailto:").partition("?")
        to, asked = unquote(to), dict(parse_qsl(query))
        raw = letters.unsubscribe_mail(to, asked.get("subject", "unsubscribe"), asked.get("body", "unsubscribe"))
        return [Act(due, person.address, ActKind.MAIL, person.address, to, raw)]
    return [Act(due, person.address, ActKind.MAIL, person.address, mail.reply_to, letters.stop())]
