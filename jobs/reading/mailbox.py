"""One mailbox's life in the reading engine: connect, read its folders, wait for news, begin again after a failure."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from app.channels.base import AuthenticationFailed, ChannelError, EndPoint, PasswordCredential, RateLimited, Security
from app.channels.imap import Folder as ServerFolder
from app.channels.imap import MailboxSession
from app.channels.imap_folders import as_chosen
from app.core import clock
from app.core.crypto import CannotOpen
from app.services.receiving import reading_state
from app.services.receiving.reading_state import Box
from app.strings import t
from jobs.reading.accounts import Accounts
from jobs.reading.folders import FolderReader, NotShown
from jobs.reading.ledger import Ledger, LedgerAway

log = logging.getLogger("emberpost.reading")

POLL_S = 300.0  # product seconds between looks where nothing tells us sooner
POLL_FLOOR_S = 5.0  # machine seconds
IDLE_LOOK_S = 60.0  # even while IDLE is held
LONGEST_BACKOFF_S = 300.0
ROLES = ("sent", "junk", "all", "inbox")  # the inbox last: its news is waited for while it stays selected

AUTH_WORDS = {
    "tls_required": t("mailboxes.read_needs_tls"),
    "imap_disabled": t("mailboxes.read_imap_off"),
    "password_expired": t("mailboxes.read_password_expired"),
    "login_blocked": t("mailboxes.read_login_blocked"),
}


class Reader(Protocol):
    """What opens sessions (the channels' ImapReader)."""

    def open(self, endpoint: EndPoint) -> Awaitable[MailboxSession]: ...


@dataclass
class Hosts:
    """Incidents in a row per host: all mailboxes of a struggling server wait together, each with its own jitter.

    A thousand connections cut by one restart are one incident, so failures while one is waited out do not lengthen it.
    """

    incidents: dict[str, tuple[int, float]] = field(default_factory=dict)  # host → (how many, when the wait is over)

    def failed(self, host: str, now: float) -> float:
        """Seconds to wait. ``now``: the loop's clock."""
        count, over = self.incidents.get(host, (0, 0.0))
        if now >= over:
            count = min(count + 1, 12)
            over = now + min(LONGEST_BACKOFF_S, 0.5 * 2**count)
            self.incidents[host] = (count, over)
        return (over - now) * random.uniform(0.5, 1.5) + random.uniform(0.05, 0.5)

    def worked(self, host: str) -> None:
        self.incidents.pop(host, None)


class MailboxTask:
    """Runs until cancelled, or until the server refuses the login."""

    def __init__(
        self, box: Box, reader: Reader, ledger: Ledger, hosts: Hosts, accounts: Accounts, slots: asyncio.Semaphore,
        crowded: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.box = box
        self._reader = reader
        self._ledger = ledger
        self._hosts = hosts
        self._accounts = accounts
        self._slots = slots
        self._crowded = crowded
        self.poke = asyncio.Event()
        self._not_shown: dict[tuple[str, int, int], int] = {}

    async def run(self) -> None:
        self._accounts.join(self.box)
        try:
            await self._live()
        finally:
            self._accounts.leave(self.box)

    async def _live(self) -> None:
        while True:
            try:
                async with self._accounts.place(self.box), self._slots:
                    await self._connected()
                await self._pause(poll_seconds())  # crowded: others use the connection meanwhile
            except (AuthenticationFailed, CannotOpen) as error:
                await self._refused(error)
                return
            except (ChannelError, NotShown, OSError) as error:
                await self._failed(error)
            except LedgerAway as error:
                log.warning("the ledger is away: %s", error)
                await asyncio.sleep(random.uniform(0.5, 1.5))

    async def _connected(self) -> None:
        """One connection from login to its end."""
        session = await self._reader.open(_endpoint(self.box))
        try:
            since = await self._ledger.do(reading_state.begin, self.box.id, clock.now())
            known = as_chosen(await session.folders(), self.box.sent_folder, self.box.junk_folder)
            chosen = _chosen(known, session.is_gmail)
            if chosen[-1][0] == "all":
                await self._ledger.do(reading_state.only_everything, self.box, chosen[-1][1].name)
            folders = [
                FolderReader(self.box, folder, "other" if role == "all" else role, self._ledger, since, role == "all", self._not_shown)
                for role, folder in chosen
            ]
            while True:
                for folder in folders:
                    await folder.read(session)
                self._hosts.worked(self.box.host)
                await self._ledger.do(reading_state.note_read, self.box, "ok")
                if self._crowded() or self._accounts.crowded(self.box):
                    break
                if not any(folder.unfinished for folder in folders):
                    await self._wait_for_news(session, folders[-1])
            await session.logout()
        finally:
            session.abort()

    async def _wait_for_news(self, session: MailboxSession, inbox: FolderReader) -> None:
        """Until the next full round is due: IDLE on the inbox where the server can, else sleep."""
        loop = asyncio.get_running_loop()
        round_ends = loop.time() + poll_seconds()
        if not session.can_idle:
            await self._pause(round_ends - loop.time())
            return
        state = await session.select(inbox.server_folder, readonly=True)
        while True:
            await inbox.look_again(session, state.uidvalidity)
            left = round_ends - loop.time()
            if left <= 0:
                return
            await session.idle(min(left, IDLE_LOOK_S))

    async def _pause(self, seconds: float) -> None:
        self.poke.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.05)):
                await self.poke.wait()

    async def _refused(self, error: Exception) -> None:
        words = t("mailboxes.read_cannot_open")
        if isinstance(error, AuthenticationFailed):
            words = AUTH_WORDS.get(error.reason) or t("mailboxes.read_not_accepted")
            words = t("mailboxes.read_answered", what=words, answer=error.text) if error.text else words
        log.warning("mailbox %s: login refused: %s", self.box.id, error)
        with contextlib.suppress(LedgerAway):
            await self._ledger.do(reading_state.auth_failed, self.box, words)

    async def _failed(self, error: Exception) -> None:
        wait = self._hosts.failed(self.box.host, asyncio.get_running_loop().time())
        if isinstance(error, RateLimited) and error.retry_after:
            wait = max(wait, min(float(error.retry_after), 900.0))
        log.info("mailbox %s: %s; again in %.1f s", self.box.id, error, wait)
        with contextlib.suppress(LedgerAway):
            await self._ledger.do(reading_state.note_read, self.box, "failing", str(error))
        await self._pause(wait)


def poll_seconds() -> float:
    """Machine seconds between full rounds: five minutes of product time, never below the floor."""
    return max(POLL_FLOOR_S, POLL_S / max(clock.factor(), 0.001))


def _endpoint(box: Box) -> EndPoint:
    return EndPoint(box.host, box.port, Security(box.security), box.user, PasswordCredential(box.password()), box.provider)


def _chosen(folders: list[ServerFolder], is_gmail: bool = False) -> list[tuple[str, ServerFolder]]:
    """INBOX, Sent, Junk and the folder of everything as far as the server has them, that whose news is waited for last.

    Gmail's All Mail holds the inbox, Sent and what a filter sent past them, and its labels tell which; only Spam is not in it.
    """
    by_role = {str(folder.role): folder for folder in reversed(folders) if folder.role is not None and folder.selectable}
    by_role.setdefault("inbox", ServerFolder("INBOX", None, "INBOX"))
    roles = ("junk", "all") if is_gmail and "all" in by_role else ROLES
    return [(role, by_role[role]) for role in roles if role in by_role]
