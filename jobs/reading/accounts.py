"""How many connections one login may hold at its provider: mailboxes that share a login (addresses of one account) take turns.

Providers count per account and answer the one too many with a refusal, at times of the whole account. Two places are left free for
what else connects: a copy into Sent, *verify*, a recovery. Several reading processes divide the rest as they divide the mailboxes.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.domain.providers import CONNECTIONS, provider, provider_of_host
from app.services.receiving.reading_state import Box

KEPT_FREE = 2
Login = tuple[str, int, str]


class Accounts:
    """Used from one event loop. ``share``: the part of all mailboxes that this process reads, from 0 to 1."""

    def __init__(self) -> None:
        self.share = 1.0
        self._members: Counter[Login] = Counter()
        self._held: Counter[Login] = Counter()
        self._waiting: defaultdict[Login, deque[asyncio.Future[None]]] = defaultdict(deque)

    def join(self, box: Box) -> None:
        """A reader of this mailbox runs here."""
        self._members[_login(box)] += 1

    def leave(self, box: Box) -> None:
        """It ended."""
        self._members[_login(box)] -= 1

    def limit(self, box: Box) -> int:
        """Connections this process may hold to the account of this mailbox."""
        known = provider(box.provider) or provider_of_host(box.host)
        most = known.connections if known else CONNECTIONS
        return max(1, int((most - KEPT_FREE) * self.share))

    def crowded(self, box: Box) -> bool:
        """More mailboxes than places: each lets its connection go between looks."""
        return self._members[_login(box)] > self.limit(box)

    @asynccontextmanager
    async def place(self, box: Box) -> AsyncIterator[None]:
        """Wait for a place, first come first served, and hold it."""
        login = _login(box)
        while self._held[login] >= self.limit(box):
            turn = asyncio.get_running_loop().create_future()
            self._waiting[login].append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake(login)  # the turn was given to us: pass it on
                raise
        self._held[login] += 1
        try:
            yield
        finally:
            self._held[login] -= 1
            self._wake(login)

    def _wake(self, login: Login) -> None:
        waiting = self._waiting[login]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


def _login(box: Box) -> Login:
    return box.host.lower(), box.port, box.user.lower()
