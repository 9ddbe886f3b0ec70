"""SMTP with the phases in our own hands: the final dot is the only irrevocable act, so it is ours to time.

    connect → banner → EHLO → STARTTLS → AUTH → MAIL → RCPT → DATA → body │ permit │ DOT → reply

Everything left of the dot is undone by dropping the connection (RFC 5321 4.1.1.4: without the end of data there is no
mail). So: the body is written and drained, `permit` is asked, and only if it says yes, the connection still lives, the
peer has not spoken unasked and no more than 5 s went by, the three bytes `.` CR LF follow. After them only an explicit
reply tells what happened; a lost connection, silence or garbage is `OutcomeUnknown`, never a retry (RFC 1047).
The peer is given at least 600 s for that reply: giving up early is what makes duplicates (RFC 5321 4.5.3.2.6).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from app.channels.base import (
    ChannelError,
    EndPoint,
    Envelope,
    NotPermitted,
    OnPhase,
    OutcomeUnknown,
    PermanentFailure,
    PermitFn,
    Phase,
    Receipt,
    TemporaryFailure,
)
from app.channels.smtp_conversation import PERMIT_LIFE, REPLY_WAIT, SmtpConversation
from app.channels.smtp_conversation import SmtpTimeouts as SmtpTimeouts
from app.channels.smtp_errors import lost, reply_error
from app.channels.smtp_wire import BadReply, BareLineEnd, assigned_message_id, path, stuffed
from app.channels.wire import Net, WireClosed
from app.domain.smtp_reply import Concern

_CHUNK = 262_144
#: Phases at whose refusal the connection can go on with the next mail.
_STEADY = frozenset({Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.REPLY})


class SmtpSession(SmtpConversation):
    """One connection of one mailbox: `open`, then `send` any number of times, then `quit`. Not for concurrent use."""

    async def send(self, envelope: Envelope, permit: PermitFn) -> Receipt:
        """Transmit one mail, asking `permit` directly before the dot.

        Raises NotPermitted when it says no, the channel errors otherwise; `reversible` is False only for
        OutcomeUnknown. Cancelled: nothing was sent unless `phase` is dot or reply. After an explicit refusal the
        session may stay `usable` for the next mail; after anything else it is gone.
        """
        body, sender, recipient = self._checked(envelope)
        try:
            await self._transaction(sender, recipient, len(body))
            await self._write_body(body)
            await self._may_i(permit)
            return await self._dot()
        except BaseException as error:
            # Only after an explicit answer are both sides certain to be at the same place of the conversation.
            explicit = isinstance(error, ChannelError) and error.code != 0 and error.phase in _STEADY
            if not explicit or not self.usable:
                self.abort()
            raise

    def _checked(self, envelope: Envelope) -> tuple[bytes, str, str]:
        """What can be refused before a byte is sent: arguments that would break a command, size, bare line ends."""
        try:
            body = stuffed(envelope.data)
            sender, recipient = path(envelope.mail_from), path(envelope.rcpt_to)
        except BareLineEnd:
            raise PermanentFailure("bare_line_end", phase=Phase.MAIL, concerns=Concern.SENDER) from None
        except ValueError:
            raise PermanentFailure("bad_address", phase=Phase.MAIL, concerns=Concern.RECIPIENT) from None
        limit = self.capabilities.size
        if limit and len(envelope.data) > limit:
            raise PermanentFailure("too_large", phase=Phase.MAIL, concerns=Concern.SENDER)
        names = self.capabilities.names
        arguments = f" SIZE={len(envelope.data)}" if "SIZE" in names else ""
        if "8BITMIME" in names and not envelope.data.isascii():
            arguments += " BODY=8BITMIME"
        if not (sender + recipient).isascii():
            if "SMTPUTF8" not in names:
                raise PermanentFailure("smtputf8_not_offered", phase=Phase.RCPT, concerns=Concern.RECIPIENT)
            arguments += " SMTPUTF8"
        return body, sender + arguments, recipient

    async def _transaction(self, sender: str, recipient: str, size: int) -> None:
        self._enter(Phase.MAIL)
        if not self.usable:
            raise lost(Phase.MAIL, "connection_closed")
        if self._dirty:
            await self._command("RSET", 2)
        self._dirty = True
        if "PIPELINING" in self.capabilities.names:
            await self._pipelined(sender, recipient)
            return
        await self._command(f"MAIL FROM:{sender}", 2)
        self._enter(Phase.RCPT)
        await self._command(f"RCPT TO:{recipient}", 2)
        self._enter(Phase.DATA)
        await self._command("DATA", 3)

    async def _pipelined(self, sender: str, recipient: str) -> None:
        """RFC 2920: the three commands in one write, their replies in turn; the body never before the 354."""
        self._write(f"MAIL FROM:{sender}\r\nRCPT TO:{recipient}\r\nDATA\r\n")
        mail = await self._reply()
        self._enter(Phase.RCPT)
        rcpt = await self._reply() if mail.code != 421 else mail
        self._enter(Phase.DATA)
        data = await self._reply() if rcpt.code != 421 else rcpt
        refused = next((reply for reply in (mail, rcpt) if reply.code // 100 != 2), None)
        if refused is not None:
            if data.code // 100 == 3:
                # It waits for a body although nobody would get it: only dropping the connection says "no mail".
                self.abort()
            self.phase = refused.phase
            raise reply_error(refused, self.endpoint)
        self._require(data, 3)

    async def _write_body(self, body: bytes) -> None:
        """All of the body and nothing of the dot; returns when the kernel has it. A peer that speaks up is heard."""
        self._enter(Phase.BODY)
        wire = self._live()
        try:
            for start in range(0, len(body), _CHUNK):
                wire.write(body[start : start + _CHUNK])
                if not wire.flushed:
                    async with asyncio.timeout(self._timeouts.body):
                        await wire.drain()
                if wire.speaks:
                    break
        except TimeoutError:
            raise lost(Phase.BODY, "timeout") from None
        except WireClosed as error:
            if not wire.speaks:
                raise lost(Phase.BODY, "connection_reset" if error.reset else "connection_closed") from None
        await self._heard_early(Phase.BODY)

    async def _heard_early(self, phase: Phase) -> None:
        """A reply before the dot can only be a refusal (too large, shutting down)."""
        if self._live().speaks:
            reply = await self._reply()
            if reply.code // 100 in (4, 5):
                raise reply_error(reply, self.endpoint)
            raise TemporaryFailure("unexpected_reply", phase=phase, code=reply.code, text=reply.text)
        if self._live().closed:
            raise lost(phase, "connection_closed")

    async def _may_i(self, permit: PermitFn) -> None:
        self._enter(Phase.PERMIT)
        try:
            answer = await self._live().within(self._timeouts.permit, permit())
        except TimeoutError:
            raise TemporaryFailure("permit_timeout", phase=Phase.PERMIT, concerns=Concern.NETWORK) from None
        if not answer.granted:
            raise NotPermitted(answer.reason)
        await self._heard_early(Phase.PERMIT)
        self._on_phase(Phase.DOT)
        # Looked at last, with nothing awaited until the dot is written: a process that slept wakes here or before.
        if self._clock() - answer.granted_at > PERMIT_LIFE:
            raise TemporaryFailure("permit_stale", phase=Phase.BODY, concerns=Concern.NETWORK)
        if self._live().closed:
            raise lost(Phase.PERMIT, "connection_closed")
        # A cancellation that was asked for but not delivered yet would otherwise strike after the dot.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError

    async def _dot(self) -> Receipt:
        self.phase = Phase.DOT
        wire = self._live()
        try:
            # One way from here on; even an error while writing leaves open what the peer has seen.
            wire.write(b".\r\n")
            self._enter(Phase.REPLY)
            reply = await self._heard(Phase.REPLY, max(self._timeouts.reply, REPLY_WAIT))
        except Exception as error:  # whatever it was, the dot may have been seen: nobody may take it for a failure
            self.abort()
            raise _unknown(error) from error
        if reply.code // 100 == 2:
            self._dirty = False
            self._enter(Phase.DONE)
            assigned = assigned_message_id(reply.text, self.endpoint.host)
            return Receipt(reply.code, reply.enhanced, reply.text, assigned)
        if reply.code // 100 == 3:
            self.abort()
            raise _unknown(BadReply(f"{reply.code} {reply.text}"))
        if reply.code == 421:
            self.abort()
        raise reply_error(reply, self.endpoint)


def _unknown(error: Exception) -> OutcomeUnknown:
    """What is known of an attempt whose answer never came; `text` is the last line heard."""
    if isinstance(error, TimeoutError):
        reason, text = "no_answer", ""
    elif isinstance(error, BadReply):
        reason, text = ("connection_lost" if error.lost else "bad_reply"), error.text
    else:
        reason, text = "connection_lost", ""
    return OutcomeUnknown(reason, phase=Phase.REPLY, text=text, concerns=Concern.NETWORK, reversible=False)


class SmtpTransport:
    """Opens SMTP sessions; holds what all of them share."""

    def __init__(
        self, net: Net, ehlo_name: str, timeouts: SmtpTimeouts | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._net = net
        self._ehlo_name = ehlo_name
        self._timeouts = timeouts
        self._clock = clock

    async def open(
        self, endpoint: EndPoint, *, ehlo_name: str = "", on_phase: OnPhase | None = None
    ) -> SmtpSession:
        """A session that is logged in; raises the channel errors."""
        session = SmtpSession(
            endpoint,
            ehlo_name=ehlo_name or self._ehlo_name,
            net=self._net,
            timeouts=self._timeouts,
            clock=self._clock,
            on_phase=on_phase,
        )
        await session.open()
        return session
