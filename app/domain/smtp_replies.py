"""From a server's reply to what we do: the rules of `smtp_reply_rules`, searched in order, then the code itself.

Total: any reply gets an action. What was heard after the dot and is no explicit 2xx, 4xx or 5xx is uncertain.
"""

from __future__ import annotations

import re
from functools import lru_cache

from app.domain.smtp_reply import Action, Concern, Phase, Reply, ReplyAction
from app.domain.smtp_reply_rules import RULES, Rule

_ENVELOPE = frozenset(
    {Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY, Phase.PERMIT, Phase.DOT, Phase.REPLY}
)
#: Longer waits than two days are not obeyed: the ladder has given up by then.
_LONGEST_WAIT = 48 * 3600


class _Compiled:
    """A rule ready to be matched."""

    __slots__ = ("code", "enhanced", "phases", "rule", "text")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.phases = _phases(rule.phases)
        self.code = re.compile(rule.code)
        self.enhanced = re.compile(rule.enhanced) if rule.enhanced else None
        self.text = re.compile(rule.text, re.IGNORECASE) if rule.text else None

    def matches(self, reply: Reply, code: str, text: str) -> bool:
        return (
            (not self.phases or reply.phase in self.phases)
            and self.code.match(code) is not None
            and (self.enhanced is None or self.enhanced.match(reply.enhanced) is not None)
            and (self.text is None or self.text.search(text) is not None)
        )


def _phases(names: str) -> frozenset[Phase]:
    found: set[Phase] = set()
    for name in names.split():
        found |= _ENVELOPE if name == "envelope" else {Phase(name)}
    return frozenset(found)


@lru_cache(maxsize=1)
def _compiled() -> tuple[_Compiled, ...]:
    return tuple(_Compiled(rule) for rule in RULES)


def decide(reply: Reply) -> ReplyAction:
    """What a reply means. Never raises; `retry_after` (seconds) obeys "try again in N minutes" before the rule's own."""
    kind = reply.code // 100
    if kind == 2:
        return ReplyAction(Action.DONE, "accepted", Concern.PROVIDER)
    if kind not in (4, 5):
        action = Action.UNCERTAIN if reply.phase in (Phase.DOT, Phase.REPLY) else Action.RETRY
        return ReplyAction(action, "unreadable_reply", Concern.NETWORK)
    code, text = str(reply.code), reply.text[:2_000]
    for number, compiled in enumerate(_compiled()):
        if compiled.matches(reply, code, text):
            return _verdict(compiled.rule, number, text)
    raise AssertionError("the fallback rows match every 4xx and 5xx")


def _verdict(rule: Rule, number: int, text: str) -> ReplyAction:
    asked = wait_asked_for(text)
    wait = rule.retry_after
    if asked is not None and rule.action in (Action.RETRY, Action.SLOW):
        wait = asked
    return ReplyAction(rule.action, rule.reason, rule.concerns, wait, f"{rule.reason}#{number}")


_WAIT = re.compile(
    r"(?:again|retry|wait|back|after|delay(?:ed)?)\D{0,24}?\b(\d{1,6})\s?(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"(?:again|retry|wait)\D{0,24}?\b(\d{1,2}):(\d{2}):(\d{2})\b", re.IGNORECASE)
_SCALE = {"s": 1, "m": 60, "h": 3600}


def wait_asked_for(text: str) -> int | None:
    """Seconds a server asks us to wait ("try again in 5 minutes", "retry after 00:04:30"), at least 1, at most 48 h."""
    clock = _CLOCK.search(text)
    if clock:
        hours, minutes, seconds = (int(part) for part in clock.groups())
        return max(1, min(hours * 3600 + minutes * 60 + seconds, _LONGEST_WAIT))
    found = _WAIT.search(text)
    if not found:
        return None
    return max(1, min(int(found.group(1)) * _SCALE[found.group(2)[0].lower()], _LONGEST_WAIT))
