"""Sessions of senders that keep no gap, kept for a moment after a visit: such a sender mostly has more to send.

Connecting, greeting and leaving cost as much as three messages. A kept session is another's trouble at most once: what fails on it
before a permit was asked for is tried again on a fresh one (``Visit``). Servers give up on sessions that idle or carry
too much, so both have a limit. All on the engine's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from app.channels.base import EmailSession, EndPoint

#: How long a session lies idle, and for how many visits it serves (each sends at most twenty messages).
IDLE_SECONDS = 2.0
MOST_VISITS = 10
#: Sessions that lie idle in one process: they are files of the process, which has other use for them.
MOST = 256


@dataclass(frozen=True, slots=True)
class Kept:
    """``until``: the loop's time at which it is closed. ``visits``: how many it has served."""

    endpoint: EndPoint
    session: EmailSession
    until: float
    visits: int


class Parking:
    """At most one session per sender."""

    def __init__(self) -> None:
        self._kept: dict[int, Kept] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def senders(self) -> frozenset[int]:
        """Whose sessions lie here. The last message of each was permitted."""
        return frozenset(self._kept)

    def take(self, sender_id: int, endpoint: EndPoint) -> Kept | None:
        """The sender's session, if it is still good for this server and login."""
        found = self._kept.pop(sender_id, None)
        if found is None:
            return None
        if found.endpoint == endpoint and found.session.usable and found.until > asyncio.get_running_loop().time():
            return found
        self._leave(found.session)
        return None

    def keep(self, sender_id: int, endpoint: EndPoint, session: EmailSession, visits: int) -> bool:
        """False when it should leave instead."""
        if visits >= MOST_VISITS or len(self._kept) >= MOST or not session.usable or sender_id in self._kept:
            return False
        self._kept[sender_id] = Kept(endpoint, session, asyncio.get_running_loop().time() + IDLE_SECONDS, visits)
        return True

    def tidy(self, shards: Collection[int], number_of_shards: int) -> None:
        """Close what lay too long or belongs to senders that another engine looks after now."""
        now = asyncio.get_running_loop().time()
        for sender_id, kept in list(self._kept.items()):
            if kept.until <= now or sender_id % number_of_shards not in shards:
                self._leave(self._kept.pop(sender_id).session)

    async def close(self) -> None:
        """Close all; ``EmailSession.quit`` never waits long."""
        for sender_id in list(self._kept):
            self._leave(self._kept.pop(sender_id).session)
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _leave(self, session: EmailSession) -> None:
        task = asyncio.create_task(session.quit())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
