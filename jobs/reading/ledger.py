"""The reading engine's way to the ledger: one thread, one transaction per call; the loop itself never waits for PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask
from sqlalchemy.exc import DBAPIError, OperationalError

from app.channels.imap import Fetched
from app.core import clock
from app.core.db import transaction
from app.core.extensions import db
from app.domain import gmail
from app.services.receiving import events, reading_state
from app.services.receiving.arrivals import Arrival, Incoming, understand
from app.services.receiving.effects import TooEarly
from app.services.receiving.reading_state import Box, Folder
from app.services.receiving.record import record

log = logging.getLogger("emberpost.reading")
Answer = TypeVar("Answer")


class LedgerAway(Exception):
    """PostgreSQL does not answer just now: nothing is lost, the same is asked again later."""


@dataclass(frozen=True)
class Arrived:
    """One fetched mail and where it lay."""

    box: Box
    folder: Folder
    role: str
    name: str
    uidvalidity: int
    mail: Fetched = field(repr=False)
    historical: bool = False  # it lay there before the mailbox was connected

    @property
    def place(self) -> str:
        return f"{self.folder.id}:{self.uidvalidity}:{self.mail.uid}"

    @property
    def thread(self) -> str:
        """The key of the thread its provider put it into; empty where that is only told by the mail itself."""
        return gmail.thread_key(self.box.id, self.mail.gmail.thread) if self.mail.gmail else ""


class Ledger:
    """Every method of the services it runs is called in the thread, inside one transaction of the jobs role."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def do(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """``function(*arguments)`` in a transaction. Raises LedgerAway when the database cannot be reached."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_transaction, function, arguments)

    async def store(self, arrived: Arrived, patient: bool = True) -> None:
        """Record one mail and move the cursor, both or neither. Raises TooEarly while ``patient``, LedgerAway.

        A mail that cannot be recorded is kept with its bytes and passed over: it never holds up the ones behind it.
        """
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store, arrived, patient)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _in_transaction(self, function: Callable[..., Answer], arguments: tuple[Any, ...]) -> Answer:
        with self._app.app_context():
            try:
                with transaction():
                    return function(*arguments)
            except OperationalError as error:
                raise LedgerAway(str(error.orig)) from error
            finally:
                db.session.remove()

    def _store(self, arrived: Arrived, patient: bool) -> None:
        arrival = _arrival(arrived)
        try:
            incoming = understand(arrival)
            self._in_transaction(_record_and_pass, (arrived, incoming, patient))
        except (LedgerAway, TooEarly):
            raise
        except DBAPIError as error:
            if error.connection_invalidated:
                raise LedgerAway(str(error.orig)) from error
            self._put_aside(arrived, arrival, error)
        except Exception as error:
            self._put_aside(arrived, arrival, error)

    def _put_aside(self, arrived: Arrived, arrival: Arrival, error: Exception) -> None:
        log.warning("a mail could not be recorded and is kept: %s", error, exc_info=True, extra={"facts": {"place": arrived.place}})
        self._in_transaction(_keep_and_pass, (arrived, arrival, repr(error)))


def _arrival(arrived: Arrived) -> Arrival:
    mail = arrived.mail
    received_at = mail.internaldate if arrived.historical and mail.internaldate else clock.now()
    return Arrival(
        arrived.box.client_id, arrived.box.id, mail.raw, arrived.role, received_at, mail.internaldate, mail.size, not mail.truncated,
        arrived.historical, arrived.thread,
    )  # fmt: skip


def _record_and_pass(arrived: Arrived, incoming: Incoming, patient: bool) -> None:
    record(incoming, patient=patient)
    identity = arrived.mail.gmail.identity if arrived.mail.gmail else incoming.external_id
    reading_state.passed(arrived.box, arrived.folder.id, arrived.uidvalidity, arrived.mail.uid, identity)


def _keep_and_pass(arrived: Arrived, arrival: Arrival, error: str) -> None:
    facts = {"folder": arrived.name, "uid": arrived.mail.uid, "uidvalidity": arrived.uidvalidity}
    events.keep_mail(arrival, dedupe_key=arrived.place, facts=facts, error=error)
    reading_state.passed(arrived.box, arrived.folder.id, arrived.uidvalidity, arrived.mail.uid, "kept")


