"""One visit: the leased rows of one sender, in order, through one session with its server."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.channels.base import (
    AuthenticationFailed,
    ChannelError,
    Credential,
    EmailSession,
    EmailTransport,
    EndPoint,
    Envelope,
    NotPermitted,
    PasswordCredential,
    Permit,
    Phase,
    Security,
    TemporaryFailure,
)
from app.core import clock
from app.core.crypto import CannotOpen, vault
from app.core.failpoints import Name, armed, point
from app.domain.reasons import Reason
from app.domain.smtp_reply import Concern
from app.services.outbox.claiming import Bytes
from app.services.outbox.outcomes import Outcome, What
from app.services.outbox.permitting import LEDGER_AWAY, Asked, look_early
from app.services.outbox.rendering import CannotRender, render
from app.services.outbox.threads import Words
from app.strings import t
from jobs.sending import verdicts
from jobs.sending.ledger import Claimed, Ledger
from jobs.sending.parking import Parking

log = logging.getLogger("emberpost.dispatch")

#: How often one visit opens a session anew after losing it.
REOPENINGS = 1
#: How many of its rows a visit renders ahead, so that their bytes are stored while others are on the wire.
AHEAD = 4
#: How many accepted messages may wait for their outcome to be written before the visit waits as well.
UNWRITTEN = 4


class Desk(Protocol):
    """What a visit needs of its engine."""

    ledger: Ledger
    transport: EmailTransport
    parking: Parking
    draining: bool

    def settled(self, row: Any, outcome: Outcome | None) -> None: ...
    def streak(self, sender_id: int) -> int: ...
    def left(self, row: Any, mime: bytes) -> None: ...


def endpoint_of(row: Any) -> EndPoint:
    """Where and as whom to log in; the secret is opened now and not kept."""
    credential: Credential | None = None
    if row.smtp_secret:
        try:
            credential = PasswordCredential(vault().open(row.smtp_secret, f"mailboxes.smtp_secret:{row.sender_id}"))
        except CannotOpen as error:
            raise AuthenticationFailed("secret_unreadable", phase=Phase.AUTH, text=str(error), concerns=Concern.SENDER) from error
    return EndPoint(row.smtp_host, row.smtp_port, Security(row.smtp_security), row.smtp_user, credential, row.provider)


_FAILPOINTS = {Phase.PERMIT: Name.BODY_WRITTEN, Phase.DOT: Name.BEFORE_DOT, Phase.REPLY: Name.AFTER_DOT, Phase.DONE: Name.ANSWERED}


def _passing(phase: Phase) -> None:
    if armed() and (name := _FAILPOINTS.get(phase)) is not None:
        point(name)


def _of(row: Any, outcome: Outcome) -> Outcome:
    """Whose it is, so that the ledger need not look."""
    outcome.sender_id, outcome.enrollment_id = row.sender_id, row.enrollment_id
    return outcome


@dataclass(slots=True)
class _Written:
    """A row's final bytes; ``stored`` says when (and whether) the ledger has them."""

    mime: bytes = field(repr=False)
    words: Words | None = None
    stored: asyncio.Future[bool] | None = None


@dataclass(slots=True)
class Visit:
    """Sends its rows one after the other. Whatever happens, every row ends in an outcome or with its lease."""

    desk: Desk
    claimed: list[Claimed]
    session: EmailSession | None = None
    reopened: int = 0
    over: ChannelError | None = field(default=None)
    refused: bool = False
    visits: int = 0  # how many visits the session has served before this one
    kept: bool = False  # the session lay idle since its last visit, and nothing was accepted on it yet
    asked: int = 0  # the row for which a permit was asked last
    unwritten: set[asyncio.Future[None]] = field(default_factory=set)

    async def run(self) -> None:
        waiting, ready = deque(self.claimed), deque[tuple[Claimed, _Written | Outcome]]()
        try:
            while waiting or ready:
                while waiting and len(ready) < AHEAD and not (ready and self.desk.draining):
                    item = waiting.popleft()
                    ready.append((item, self._written(item)))
                await self._one(*ready.popleft())
            if self.unwritten:
                await asyncio.wait(self.unwritten)
        finally:
            if self.session is not None and not self._parked(self.session):
                await self.session.quit()

    def _parked(self, session: EmailSession) -> bool:
        """A sender without a gap mostly has more to send: its session waits for the next visit."""
        row = self.claimed[0].row
        if row.min_gap_s or self.over is not None or self.desk.draining:
            return False
        return self.desk.parking.keep(row.sender_id, session.endpoint, session, self.visits + 1)

    async def _one(self, item: Claimed, written: _Written | Outcome) -> None:
        row = item.row
        try:
            lost = isinstance(written, _Written) and written.stored is not None and not await written.stored
            if lost or self.desk.draining:
                written = Outcome(row.id, row.epoch, What.RETURNED)
            if isinstance(written, Outcome):
                await self._record(row, written)
            elif self.refused and await self._given_back(row):
                await self._record(row, None)
            else:
                await self._send(row, written.mime, written.words)
        except asyncio.CancelledError:
            raise
        except Exception:
            # The session turns everything behind the dot into OutcomeUnknown; should that ever fail, nobody sends it again either.
            log.exception("a message could not be handled", extra={"facts": {"delivery": row.id}})
            await self._record(row, self._broken(row))

    def _broken(self, row: Any) -> Outcome:
        if self.asked == row.id:
            return Outcome(row.id, row.epoch, What.UNKNOWN, reason="internal_error", phase=str(Phase.REPLY))
        return Outcome(row.id, row.epoch, What.TROUBLE, reason="internal_error", wait_s=60)

    def _written(self, item: Claimed) -> _Written | Outcome:
        """The frozen bytes: stored ones, or rendered now and given to the ledger; nothing is sent before it has them."""
        row = item.row
        if row.mime is not None:
            return _Written(bytes(row.mime))
        if item.given is None:
            return Outcome(row.id, row.epoch, What.RETURNED)
        try:
            result = render(item.given)
        except Exception as error:
            log.exception("a message could not be rendered", extra={"facts": {"delivery": row.id}})
            result = CannotRender(Reason.NEEDS_ATTENTION_VARIABLE, t("texts.cannot_be_written", why=error))
        if isinstance(result, CannotRender):
            return Outcome(row.id, row.epoch, What.UNWRITABLE, reason=str(result.reason), text=result.sentence)
        point(Name.RENDERED)
        stored = self.desk.ledger.store(Bytes(row.id, row.epoch, result.mime, result.message_id))
        return _Written(result.mime, result.words, stored)

    async def _send(self, row: Any, mime: bytes, words: Words | None) -> None:
        def permit() -> Awaitable[Permit]:
            self.asked = row.id
            return self.desk.ledger.permit(Asked(row.id, row.epoch))

        try:
            session = await self._open(row)
            receipt = await session.send(Envelope(row.sender_address, row.to_address, mime), permit)
        except NotPermitted as refusal:
            # We broke off ourselves, so opening another session is no re-opening of a lost one: a stop must not tire the sender.
            self.session, self.refused = None, True
            # Usually the ledger has already put the row back. When it was away it may not have: we know no dot was written.
            outcome = Outcome(row.id, row.epoch, What.RETURNED) if refusal.reason == LEDGER_AWAY else None
            await self._record(row, outcome)
        except ChannelError as error:
            if self.kept and self.asked != row.id and error.reversible and error.code in (0, 421):
                # It lay idle and its server has left meanwhile: no permit was asked for, so a fresh session begins anew.
                self.session, self.kept = None, False
                await self._send(row, mime, words)
                return
            await self._record(row, verdicts.failed(row.id, row.epoch, error, self.desk.streak(row.sender_id), clock.factor()))
        else:
            self.refused = self.kept = False
            self.desk.left(row, mime)
            await self._record_soon(row, verdicts.accepted(row.id, row.epoch, receipt, words))

    async def _given_back(self, row: Any) -> bool:
        """After a refusal the next row is looked at before a session is opened for it: what stopped one mostly stops all."""
        asked = [Asked(row.id, row.epoch)]
        return bool(await self.desk.ledger.call(lambda c: look_early(c, asked, clock.now())))

    async def _open(self, row: Any) -> EmailSession:
        """The visit's session, opened again at most once; after trouble of the sender's own nothing more is tried."""
        if self.over is not None:
            raise self.over
        if self.session is not None and self.session.usable:
            return self.session
        if self.session is not None:
            self.reopened += 1
            if self.reopened > REOPENINGS:
                self.over = TemporaryFailure("connection_closed", phase=Phase.CONNECT, concerns=Concern.NETWORK)
                raise self.over
        try:
            endpoint = endpoint_of(row)
            if self.session is None and (found := self.desk.parking.take(row.sender_id, endpoint)):
                self.session, self.visits, self.kept = found.session, found.visits, True
                return self.session
            self.visits, self.kept = 0, False
            self.session = await self.desk.transport.open(endpoint, on_phase=_passing)
        except ChannelError as error:
            self.over = error
            raise
        point(Name.CONNECTED)
        return self.session

    async def _record(self, row: Any, outcome: Outcome | None) -> None:
        if outcome is not None:
            await self.desk.ledger.record(_of(row, outcome))
        self.desk.settled(row, outcome)

    async def _record_soon(self, row: Any, outcome: Outcome) -> None:
        """Give the outcome to the ledger and go on; the row stays held until it is written."""
        written = self.desk.ledger.record(_of(row, outcome))
        self.unwritten.add(written)

        def settled(future: asyncio.Future[None]) -> None:
            self.unwritten.discard(future)
            self.desk.settled(row, outcome)

        written.add_done_callback(settled)
        if len(self.unwritten) >= UNWRITTEN:
            await asyncio.wait(self.unwritten, return_when=asyncio.FIRST_COMPLETED)
