"""An SMTP conversation up to the first mail: connecting, greeting, TLS, login; and how each question is asked.

Every wait is limited by the phase it is in; what goes wrong becomes one of the channel errors with that phase.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.channels.base import (
    AuthenticationFailed,
    EndPoint,
    OnPhase,
    PasswordCredential,
    PermanentFailure,
    Phase,
    Security,
    TemporaryFailure,
)
from app.channels.connect_errors import connect_error
from app.channels.smtp_errors import lost, reply_error
from app.channels.smtp_wire import BadReply, Capabilities, read_reply
from app.channels.wire import ConnectFailed, Net, Wire, WireClosed
from app.core.net import Purpose
from app.domain.smtp_reply import Concern, Reply

#: RFC 5321: never give up on the answer to the dot earlier (seconds).
REPLY_WAIT = 600.0
#: No dot is written later than this after its permit (seconds on the monotonic clock).
PERMIT_LIFE = 5.0


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """Seconds for each wait. `reply` can only be made longer than 600."""

    connect: float = 30
    banner: float = 60
    ehlo: float = 60
    starttls: float = 30
    auth: float = 60
    mail: float = 60
    rcpt: float = 60
    data: float = 120
    body: float = 180
    permit: float = PERMIT_LIFE
    reply: float = REPLY_WAIT
    quit: float = 3

    def __post_init__(self) -> None:
        if self.reply < REPLY_WAIT:
            raise ValueError("the answer to the dot is waited for at least 600 s")

    def of(self, phase: Phase) -> float:
        return float(getattr(self, phase))


def _nothing(_phase: Phase) -> None:
    return None


class SmtpConversation:
    """One connection of one mailbox, for one task at a time: `open` it, and talk.

    `clock` is the monotonic clock that `Permit.granted_at` is read on. `on_phase` hears of each phase as it begins.
    """

    def __init__(
        self,
        endpoint: EndPoint,
        *,
        ehlo_name: str,
        net: Net,
        timeouts: SmtpTimeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_phase: OnPhase | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.phase = Phase.CONNECT
        self.capabilities = Capabilities()
        self._ehlo_name = _safe_name(ehlo_name)
        self._net = net
        self._timeouts = timeouts or SmtpTimeouts()
        self._clock = clock
        self._on_phase = on_phase or _nothing
        self._wire: Wire | None = None
        self._dirty = False

    @property
    def usable(self) -> bool:
        """Whether another mail may be tried on this connection."""
        return self._wire is not None and not self._wire.closed and not self._wire.speaks

    # -- opening -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, greet, secure, log in. Raises the channel errors; nothing sent so far matters to anyone."""
        try:
            await self._open()
        except BaseException:
            self.abort()
            raise

    async def _open(self) -> None:
        self._enter(Phase.CONNECT)
        try:
            async with asyncio.timeout(self._timeouts.connect):
                self._wire = await self._net.open(self.endpoint.host, self.endpoint.port, Purpose.SMTP)
        except ConnectFailed as error:
            raise connect_error(error, Phase.CONNECT) from None
        except TimeoutError:
            raise connect_error(ConnectFailed("timeout"), Phase.CONNECT) from None
        if self.endpoint.security is Security.TLS:
            await self._upgrade()
        self._enter(Phase.BANNER)
        await self._expect(2)
        await self._ehlo()
        if self.endpoint.security is Security.STARTTLS:
            await self._starttls()
        if self.endpoint.user and self.endpoint.credential is not None:
            await self._authenticate()

    async def _ehlo(self) -> None:
        self._enter(Phase.EHLO)
        reply = await self._ask(f"EHLO {self._ehlo_name}")
        if reply.code // 100 == 5:
            await self._command(f"HELO {self._ehlo_name}", 2)
            self.capabilities = Capabilities()
            return
        self._require(reply, 2)
        self.capabilities = Capabilities.parse(reply.text)

    async def _starttls(self) -> None:
        self._enter(Phase.STARTTLS)
        if "STARTTLS" not in self.capabilities.names:
            # Never fall back to clear text: who strips STARTTLS from the answer wants the password.
            raise PermanentFailure("starttls_not_offered", phase=Phase.STARTTLS, concerns=Concern.SENDER)
        await self._command("STARTTLS", 2)
        await self._upgrade()
        await self._ehlo()

    async def _upgrade(self) -> None:
        self._enter(Phase.STARTTLS)
        try:
            async with asyncio.timeout(self._timeouts.starttls):
                await self._net.upgrade(self._live(), self.endpoint.host.strip().rstrip("."))
        except ConnectFailed as error:
            raise connect_error(error, Phase.STARTTLS) from None
        except TimeoutError:
            raise lost(Phase.STARTTLS, "timeout") from None
        except WireClosed as error:
            raise lost(Phase.STARTTLS, "connection_reset" if error.reset else "connection_closed") from None

    async def _authenticate(self) -> None:
        self._enter(Phase.AUTH)
        wire = self._live()
        if not wire.secure and not wire.trusted:
            raise AuthenticationFailed("tls_required", phase=Phase.AUTH, concerns=Concern.SENDER)
        user, credential = self.endpoint.user, self.endpoint.credential
        offered = self.capabilities.auth
        if not isinstance(credential, PasswordCredential):
            assert credential is not None
            token = await credential.token()
            reply = await self._ask("AUTH XOAUTH2 " + _b64(f"user={user}\x01auth=Bearer {token}\x01\x01"))
            if reply.code == 334:
                # The error is in the challenge; an empty line makes the server state it as a reply.
                reply = await self._ask("")
        elif "PLAIN" in offered or "LOGIN" not in offered:
            if not offered:
                raise AuthenticationFailed("auth_not_offered", phase=Phase.AUTH, concerns=Concern.SENDER)
            reply = await self._ask("AUTH PLAIN " + _b64(f"\0{user}\0{credential.password}"))
        else:
            self._require(await self._ask("AUTH LOGIN"), 3)
            self._require(await self._ask(_b64(user)), 3)
            reply = await self._ask(_b64(credential.password))
        self._require(reply, 2)

    # -- closing -------------------------------------------------------------------------------------------------

    async def quit(self) -> None:
        """Say goodbye and close; never raises and never waits long: all mails of this session are settled."""
        if self._wire is None:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._timeouts.quit):
                self._wire.write(b"QUIT\r\n")
                await self._wire.read_line()
        self._wire.close()
        self._wire = None

    def abort(self) -> None:
        """Drop the connection at once; whatever has no dot yet is thereby no mail."""
        if self._wire is not None:
            self._wire.abort()

    # -- talking -------------------------------------------------------------------------------------------------

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._on_phase(phase)

    def _live(self) -> Wire:
        if self._wire is None:
            raise lost(self.phase, "connection_closed")
        return self._wire

    def _write(self, text: str) -> None:
        try:
            self._live().write(text.encode("utf-8"))
        except WireClosed as error:
            raise lost(self.phase, "connection_reset" if error.reset else "connection_closed") from None

    async def _heard(self, phase: Phase, patience: float) -> Reply:
        """The next reply. Raises BadReply, and TimeoutError after `patience` seconds."""
        wire = self._live()
        wire.patient(patience)
        try:
            return await read_reply(wire, phase, self.endpoint.provider)
        finally:
            wire.patient(None)

    async def _reply(self) -> Reply:
        try:
            reply = await self._heard(self.phase, self._timeouts.of(self.phase))
        except TimeoutError:
            self.abort()
            raise lost(self.phase, "timeout") from None
        except BadReply as error:
            self.abort()
            cause = ("connection_reset" if error.reset else "connection_closed") if error.lost else "bad_reply"
            raise lost(self.phase, cause, error.text) from None
        if reply.code == 421:
            self.abort()
        return reply

    async def _ask(self, command: str) -> Reply:
        self._write(command + "\r\n")
        return await self._reply()

    def _require(self, reply: Reply, first_digit: int) -> None:
        if reply.code // 100 == first_digit:
            return
        if reply.code // 100 in (4, 5):
            raise reply_error(reply, self.endpoint)
        self.abort()
        raise TemporaryFailure("bad_reply", phase=reply.phase, code=reply.code, text=reply.text)

    async def _expect(self, first_digit: int) -> None:
        self._require(await self._reply(), first_digit)

    async def _command(self, command: str, first_digit: int) -> None:
        self._require(await self._ask(command), first_digit)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def _safe_name(name: str) -> str:
    """The EHLO argument: a host name or an address literal; anything else could be a second command."""
    if not name or not name.isascii() or not all(c.isalnum() or c in ".-_[]:" for c in name):
        raise ValueError(f"EHLO name {name!r} is not a host name: set EMBERPOST_EHLO_NAME.")
    return name
