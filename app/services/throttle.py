"""Guessing waits longer and longer, and nothing is ever locked for good. Machine time.

Failures are counted by account and by network. Whoever logged in before from their own network is counted apart from strangers, so that
somebody who guesses at an account all day does not keep its owner out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.core.clock import machine_now
from app.core.errors import TooMany
from app.core.extensions import db
from app.core.tokens import token_hash
from app.models import LoginThrottle, UserSession
from app.services import audit
from app.strings import t

log = logging.getLogger("emberpost.login")
FORGET_FAILURES = timedelta(hours=1)
KNOWN_FOR = timedelta(days=30)


@dataclass(frozen=True)
class Patience:
    """How many failures are free, and how long the growing wait may become (seconds)."""

    free: int
    longest_s: int

    def wait(self, failures: int) -> int:
        return 0 if failures < self.free else min(2 ** (failures - self.free), self.longest_s)


ACCOUNT = Patience(free=5, longest_s=300)
NETWORK = Patience(free=40, longest_s=120)
SECOND_FACTOR = Patience(free=10, longest_s=300)


def network_of(address: str) -> str:
    """The /24 or /64 an address belongs to, so that a whole prefix shares one patience."""
    if ":" in address:
        return ":".join(address.split(":")[:4]) + "::/64"
    return address.rsplit(".", 1)[0] + ".0/24"


def key_of(kind: str, name: str, user_id: int | None, address: str) -> str:
    """``account:<name>`` for strangers, ``account-known:<name>:<network>`` from where this user logged in within 30 days.

    Asks the same of the ledger for a name that nobody has (``user_id`` None).
    """
    addresses = db.session.scalars(
        select(UserSession.address)
        .where(UserSession.user_id == (user_id or 0), UserSession.created_at > machine_now() - KNOWN_FOR)
        .distinct()
        .limit(200)
    )
    network = network_of(address)
    known = network in {network_of(one) for one in addresses if one}
    return f"{kind}-known:{name}:{network}" if known else f"{kind}:{name}"


def refuse_while_waiting(first: str, *others: str) -> None:
    """Locks the row of ``first``: parallel guesses at one account go one after the other. Raises TooMany."""
    now, keys = machine_now(), sorted({first, *others})
    statement = insert(LoginThrottle).values([{"key": key, "last_failure_at": now} for key in keys])
    db.session.execute(statement.on_conflict_do_nothing())
    db.session.execute(select(LoginThrottle.key).where(LoginThrottle.key == first).with_for_update())
    until = db.session.scalar(select(func.max(LoginThrottle.blocked_until)).where(LoginThrottle.key.in_(keys)))
    if until is not None and until > now:
        seconds = int((until - now).total_seconds()) + 1
        raise TooMany(t("auth.too_many_attempts", seconds=seconds), seconds)


def count_failure(keys: Mapping[str, Patience]) -> None:
    """The edge keeps the transaction of a failure: its count is stored. What was typed is written down nowhere."""
    now = machine_now()
    whose = next(iter(keys))
    log.info("a guess was wrong", extra={"facts": {
        "kind": whose.partition(":")[0], "whose": token_hash(whose)[:12], "address": audit.caller_address.get()}})  # fmt: skip
    rows = db.session.scalars(
        select(LoginThrottle).where(LoginThrottle.key.in_(keys)).with_for_update().order_by(LoginThrottle.key)
    )
    for row in rows.all():
        row.failures = 1 if now - row.last_failure_at > FORGET_FAILURES else row.failures + 1
        row.last_failure_at = now
        wait = keys[row.key].wait(row.failures)
        row.blocked_until = now + timedelta(seconds=wait) if wait else None
    db.session.flush()


def forget(key: str) -> None:
    """It went well: this key begins anew."""
    db.session.execute(update(LoginThrottle).where(LoginThrottle.key == key).values(failures=0, blocked_until=None))
