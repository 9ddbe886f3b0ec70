"""The mail servers of the world: listeners, sessions and the objects they share.

`MailServer` lives in an event loop. `RunningMailServer` runs one in a thread of its own for tests and blocking callers;
its methods may be called from any thread and take effect before they return.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sandbox.mail.accepted import Accepted, Ledger
from sandbox.mail.certificate import server_context
from sandbox.mail.faults import Fault, Faults, ImapFault, ImapRule, Rates, ScriptedReply
from sandbox.mail.imap import ImapSession
from sandbox.mail.smtp import SmtpSession
from sandbox.mail.store import Account, MailStore, StoredMessage, machine_now
from sandbox.mail.wire import Channel

LOCALHOST = "127.0.0.1"
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class MailConfig:
    """Ports (0: any free one; None: not opened) and the servers' habits.

    `report_unknown`: a submission for an unknown local address is taken and comes back as a delivery report, otherwise
    it is refused at RCPT. `keep_outside`: submissions for foreign domains are taken into the box "outside" (and
    counted) instead of "relay denied". `directory`: state that survives a restart.
    """

    smtp_port: int | None = 0
    mx_port: int | None = 0
    imap_port: int | None = 0
    smtps_port: int | None = None
    imaps_port: int | None = None
    control_port: int | None = None
    starttls: bool = True
    report_unknown: bool = True
    keep_outside: bool = False
    directory: Path | None = None
    now: Callable[[], datetime] = machine_now


@dataclass(slots=True)
class Ports:
    smtp: int = 0
    mx: int = 0
    imap: int = 0
    smtps: int = 0
    imaps: int = 0
    control: int = 0


class MailServer:
    """Everything that belongs to one running world of mail. Use from its event loop only."""

    def __init__(self, config: MailConfig) -> None:
        self.config = config
        self.store = MailStore(config.now, config.directory)
        self.ledger = Ledger(config.directory)
        self.faults = Faults()
        self.ports = Ports()
        self.outside: list[tuple[str, str, bytes]] = []
        self.imap_sessions: set[ImapSession] = set()
        self.sessions_opened = 0
        self._listeners: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Open the listeners (127.0.0.1 only) and fill in `ports`. Raises OSError when a port is taken."""
        config, tls = self.config, server_context
        self.ports.smtp = await self._listen(config.smtp_port, self._submission)
        self.ports.mx = await self._listen(config.mx_port, self._exchange)
        self.ports.imap = await self._listen(config.imap_port, self._imap)
        if config.smtps_port is not None:
            self.ports.smtps = await self._listen(config.smtps_port, self._submission, tls())
        if config.imaps_port is not None:
            self.ports.imaps = await self._listen(config.imaps_port, self._imap, tls())

    async def _listen(
        self,
        port: int | None,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
        context: ssl.SSLContext | None = None,
    ) -> int:
        if port is None:
            return 0

        async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            # a session cancelled by stop() is no error, and asyncio would print one
            with suppress(asyncio.CancelledError):
                await serve(reader, writer)

        listener = await asyncio.start_server(tracked, LOCALHOST, port, ssl=context, backlog=512)
        self._listeners.append(listener)
        bound: int = listener.sockets[0].getsockname()[1]
        return bound

    def _numbered(self) -> int:
        self.sessions_opened += 1
        return self.sessions_opened

    async def _submission(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await SmtpSession(self, Channel(reader, writer), self._numbered(), True, _encrypted(writer)).run()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await SmtpSession(self, Channel(reader, writer), self._numbered(), False, _encrypted(writer)).run()

    async def _imap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ImapSession(self, Channel(reader, writer), _encrypted(writer)).run()

    async def end_imap_sessions(self, address: str | None = None) -> int:
        """BYE to everybody (or to the sessions of one address) at once; returns how many."""
        chosen = [s for s in self.imap_sessions if address is None or (s.account and s.account.address == address)]
        for session in chosen:
            await session.bye("Server shutting down")
        return len(chosen)

    async def stop(self) -> None:
        for listener in self._listeners:
            listener.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.store.close()
        self.ledger.close()


def _encrypted(writer: asyncio.StreamWriter) -> bool:
    return writer.get_extra_info("ssl_object") is not None


@dataclass
class RunningMailServer:
    """A mail server in its own thread: `with RunningMailServer(MailConfig()) as mail: ...`."""

    config: MailConfig = field(default_factory=MailConfig)

    def __post_init__(self) -> None:
        self.server = MailServer(self.config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="rehearsal-mail", daemon=True)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(self.server.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(self, function: Callable[[], Answer]) -> Answer:
        """Run `function` in the server's thread and return its result."""

        async def run() -> Answer:
            return function()

        answer: Answer = self._wait(run())
        return answer

    @property
    def ports(self) -> Ports:
        return self.server.ports

    def add_account(self, address: str, password: str = "secret", **habits: Any) -> Account:
        """A mailbox; `habits` are the fields of `Account` (copies_to_sent, starttls_only, ...)."""
        return self.call(lambda: self.server.store.add_account(Account(address, password, **habits)))

    def accepted(self) -> list[Accepted]:
        return self.call(lambda: list(self.server.ledger.accepted))

    def counts_by_message_id(self) -> dict[str, int]:
        """Message-ID to how often it was taken."""
        return self.call(lambda: dict(self.server.ledger.counts_by_message_id()))

    def messages(self, address: str, folder: str = "INBOX") -> list[StoredMessage]:
        """The messages of a folder, oldest first."""
        store = self.server.store
        return self.call(lambda: list(store.folder(store.accounts[address.lower()], folder).messages.values()))

    def deliver(
        self, address: str, raw: bytes, folder: str = "INBOX", flags: Iterable[str] = (), *, internaldate: datetime | None = None
    ) -> StoredMessage:
        """Put a message straight into a folder; ``internaldate``: when it is to have come (not given: now)."""
        store = self.server.store

        def put() -> StoredMessage:
            account = store.accounts[address.lower()]
            return store.append(account, store.folder(account, folder), raw, flags, internaldate)

        return self.call(put)

    def show_late(self, address: str, raw: bytes, uid: int, folder: str = "INBOX") -> StoredMessage:
        """A message under a UID that was skipped before: it shows up below others that a reader has passed."""
        store = self.server.store

        def put() -> StoredMessage:
            account = store.accounts[address.lower()]
            return store.show_late(account, store.folder(account, folder), raw, uid)

        return self.call(put)

    def skip_uids(self, address: str, how_many: int, folder: str = "INBOX") -> None:
        """Leave out the next UIDs."""

        def skip() -> None:
            self.server.store.folder(self.server.store.accounts[address.lower()], folder).uid_next += how_many

        self.call(skip)

    def expunge(self, address: str, uids: Iterable[int], folder: str = "INBOX") -> list[int]:
        store = self.server.store

        def remove() -> list[int]:
            account = store.accounts[address.lower()]
            return store.expunge(account, store.folder(account, folder), list(uids))

        return self.call(remove)

    def renumber(self, address: str, folder: str = "INBOX", first_uid: int = 1) -> None:
        """A new UIDVALIDITY and new UIDs from `first_uid` on."""
        store = self.server.store

        def bump() -> None:
            account = store.accounts[address.lower()]
            store.renumber(account, store.folder(account, folder), first_uid)

        self.call(bump)

    def fault(self, fault: Fault) -> None:
        self.call(lambda: self.server.faults.add(fault))

    def script(self, reply: ScriptedReply) -> None:
        self.call(lambda: self.server.faults.script(reply))

    def rates(self, rates: Rates) -> None:
        self.call(lambda: self.server.faults.set_rates(rates))

    def imap_fault(self, fault: ImapFault, address: str | None = None, times: int | None = 1) -> None:
        self.call(lambda: self.server.faults.add_imap(ImapRule(fault, address, times)))

    def heal(self) -> None:
        """No faults any more."""
        self.call(self.server.faults.clear)

    def hits(self) -> dict[str, int]:
        """How often each fault struck, by names such as `dot_after:reset`, `script:rcpt`, `imap:bye`."""
        return self.call(lambda: dict(self.server.faults.hits))

    def end_imap_sessions(self, address: str | None = None) -> int:
        count: int = self._wait(self.server.end_imap_sessions(address))
        return count
