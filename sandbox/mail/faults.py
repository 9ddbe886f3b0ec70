"""What goes wrong on purpose, as data: where a session dies, what is refused, what is slow.

Faults are set from tests (Python objects) or over the control port (the same fields as JSON). Every hit is counted,
so that a test can prove that the point it names was really reached.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from sandbox.mail.wire import Death


class Point(StrEnum):
    """The 14 moments of an SMTP session at which the server can die, in order."""

    CONNECT = "connect"  # accepted by the kernel, no byte sent
    BANNER = "banner"  # half of the banner was sent
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # DATA was read, no 354 yet
    GO_AHEAD = "354"  # 354 was sent, nothing of the message read
    BODY = "body"  # some bytes of the message were read
    DOT_BEFORE = "dot_before"  # the whole message was read, not taken
    DOT_AFTER = "dot_after"  # taken and counted, no answer
    REPLY = "reply"  # taken and counted, half of the answer was sent
    QUIT = "quit"


class Phase(StrEnum):
    """Commands whose answer can be scripted."""

    BANNER = "banner"
    EHLO = "ehlo"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


class ImapFault(StrEnum):
    """IMAP sessions that misbehave."""

    DROP_MID_FETCH = "drop_mid_fetch"  # the connection ends inside a literal
    BYE = "bye"  # the next command is answered by BYE
    LOST_IDLE = "lost_idle"  # IDLE is accepted, but never pushes
    BLACKHOLE = "blackhole"  # the next command is never answered
    NOT_SHOWN = "not_shown"  # a FETCH of bodies is answered without any message
    REFUSE_LOGIN = "refuse_login"  # NO [UNAVAILABLE] at login


@dataclass(frozen=True, slots=True)
class Fault:
    """Die at `point` the next `times` times (None: always), for one sender or recipient only where given."""

    point: Point
    death: Death = Death.CLOSE
    times: int | None = 1
    sender: str | None = None
    recipient: str | None = None


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """Answer `phase` by `text` (may hold several lines) instead of the ordinary reply.

    `taken` decides for Phase.DOT whether the message is accepted and counted nevertheless; `split` sends the answer
    byte by byte; `then_close` hangs up after it.
    """

    phase: Phase
    text: str
    times: int | None = 1
    sender: str | None = None
    recipient: str | None = None
    taken: bool = False
    split: bool = False
    delay_s: float = 0.0
    then_close: bool = False


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares (0 to 1) of finished messages that are dropped unanswered before or after taking, deferred, or delayed."""

    drop_before: float = 0.0
    drop_after: float = 0.0
    defer: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ImapRule:
    """An IMAP fault for one address (None: everybody), `times` times (None: always)."""

    fault: ImapFault
    address: str | None = None
    times: int | None = 1


Rule = TypeVar("Rule", Fault, ScriptedReply, ImapRule)


class Faults:
    """The faults in force now, and how often each was hit."""

    def __init__(self) -> None:
        self._points: list[Fault] = []
        self._scripts: list[ScriptedReply] = []
        self._imap: list[ImapRule] = []
        self._rates = Rates()
        self._dice = random.Random(0)
        self.hits: Counter[str] = Counter()

    def add(self, fault: Fault) -> None:
        self._points.append(fault)

    def script(self, reply: ScriptedReply) -> None:
        self._scripts.append(reply)

    def add_imap(self, rule: ImapRule) -> None:
        self._imap.append(rule)

    def set_rates(self, rates: Rates) -> None:
        self._rates = rates
        self._dice = random.Random(rates.seed)

    def clear(self) -> None:
        """Everything works again; the hit counts stay."""
        self._points.clear()
        self._scripts.clear()
        self._imap.clear()
        self._rates = Rates()

    def death_at(self, point: Point, sender: str, recipients: tuple[str, ...]) -> Death | None:
        for index, fault in enumerate(self._points):
            if fault.point is point and _concerns(fault.sender, fault.recipient, sender, recipients):
                _spend(self._points, index, fault)
                self.hits[f"{point}:{fault.death}"] += 1
                return fault.death
        return None

    def scripted(self, phase: Phase, sender: str, recipients: tuple[str, ...]) -> ScriptedReply | None:
        for index, reply in enumerate(self._scripts):
            if reply.phase is phase and _concerns(reply.sender, reply.recipient, sender, recipients):
                _spend(self._scripts, index, reply)
                self.hits[f"script:{phase}"] += 1
                return reply
        return None

    def imap(self, fault: ImapFault, address: str) -> bool:
        """Whether `fault` strikes this session now."""
        for index, rule in enumerate(self._imap):
            if rule.fault is fault and rule.address in (None, address):
                _spend(self._imap, index, rule)
                self.hits[f"imap:{fault}"] += 1
                return True
        return False

    def roll(self) -> str | None:
        """One of drop_before, drop_after, defer, delay, or None, by the rates."""
        rates, drawn = self._rates, self._dice.random()
        shares = (("drop_before", rates.drop_before), ("drop_after", rates.drop_after))
        for name, share in (*shares, ("defer", rates.defer), ("delay", rates.delay)):
            if drawn < share:
                self.hits[f"rate:{name}"] += 1
                return name
            drawn -= share
        return None

    @property
    def delay_s(self) -> float:
        return self._rates.delay_s


def _concerns(want_sender: str | None, want_recipient: str | None, sender: str, recipients: tuple[str, ...]) -> bool:
    if want_sender is not None and want_sender.lower() != sender.lower():
        return False
    return want_recipient is None or want_recipient.lower() in (address.lower() for address in recipients)


def _spend(rules: list[Rule], index: int, rule: Rule) -> None:
    if rule.times is None:
        return
    if rule.times <= 1:
        del rules[index]
    else:
        rules[index] = replace(rule, times=rule.times - 1)
