"""An IMAP conversation: connecting, TLS, login, and how each command is asked and answered."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from app.channels.base import (
    AuthenticationFailed,
    ChannelError,
    Concern,
    EndPoint,
    PasswordCredential,
    PermanentFailure,
    Phase,
    Security,
    TemporaryFailure,
)
from app.channels.connect_errors import connect_error
from app.channels.imap_login import login_error
from app.channels.imap_wire import BadResponse, Response, Text, argument, read_response
from app.channels.wire import ConnectFailed, LineTooLong, Net, Wire, WireClosed
from app.core.net import Purpose


@dataclass(frozen=True, slots=True)
class ImapTimeouts:
    """Seconds: `command` for ordinary answers, `transfer` for bodies and searches."""

    connect: float = 30
    command: float = 60
    transfer: float = 300
    quit: float = 3


class ImapConversation:
    """One connection, for one task at a time: `open` it and ask; `logout` or `abort` at the end."""

    def __init__(self, endpoint: EndPoint, *, net: Net, timeouts: ImapTimeouts | None = None) -> None:
        self.endpoint = endpoint
        self.capabilities: frozenset[str] = frozenset()
        self.selected: str = ""
        self._net = net
        self._timeouts = timeouts or ImapTimeouts()
        self._wire: Wire | None = None
        self._counter = 0
        self._phase = Phase.CONNECT
        self._exists = 0  # messages in the selected folder, as far as the server said
        self._grown = False  # it said so since the last search: waiting for news would wait past them

    @property
    def usable(self) -> bool:
        return self._wire is not None and not self._wire.closed

    @property
    def can_idle(self) -> bool:
        return "IDLE" in self.capabilities

    # -- opening -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, secure, log in, read the capabilities. Raises the channel errors."""
        try:
            await self._open()
        except BaseException:
            self.abort()
            raise

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._timeouts.connect):
                self._wire = await self._net.open(self.endpoint.host, self.endpoint.port, Purpose.IMAP)
        except ConnectFailed as error:
            raise connect_error(error, Phase.CONNECT) from None
        except TimeoutError:
            raise connect_error(ConnectFailed("timeout"), Phase.CONNECT) from None
        if self.endpoint.security is Security.TLS:
            await self._upgrade()
        self._phase = Phase.BANNER
        greeting = await self._read(self._timeouts.command)
        if greeting.kind not in {"OK", "PREAUTH"}:
            raise TemporaryFailure("server_unwilling", phase=Phase.BANNER, text=greeting.text, concerns=Concern.PROVIDER)
        self._note_capabilities(greeting.text)
        if self.endpoint.security is Security.STARTTLS:
            await self._starttls()
        if not self.capabilities:
            await self._ask_capabilities()
        if greeting.kind == "OK" and self.endpoint.user and self.endpoint.credential is not None:
            await self._login()

    async def _starttls(self) -> None:
        self._phase = Phase.STARTTLS
        if not self.capabilities:
            await self._ask_capabilities()
        if "STARTTLS" not in self.capabilities:
            raise PermanentFailure("starttls_not_offered", phase=Phase.STARTTLS, concerns=Concern.SENDER)
        await self._command(b"STARTTLS")
        await self._upgrade()
        await self._ask_capabilities()

    async def _upgrade(self) -> None:
        self._phase = Phase.STARTTLS
        try:
            async with asyncio.timeout(self._timeouts.connect):
                await self._net.upgrade(self._live(), self.endpoint.host.strip().rstrip("."))
        except ConnectFailed as error:
            raise connect_error(error, Phase.STARTTLS) from None
        except TimeoutError:
            raise self._lost("timeout") from None
        except WireClosed as error:
            raise self._lost("connection_reset" if error.reset else "connection_closed") from None

    async def _login(self) -> None:
        self._phase = Phase.AUTH
        wire = self._live()
        if not wire.secure and (not wire.trusted or "LOGINDISABLED" in self.capabilities):
            raise AuthenticationFailed("tls_required", phase=Phase.AUTH, concerns=Concern.SENDER)
        user, credential = self.endpoint.user, self.endpoint.credential
        self.capabilities, before = frozenset(), self.capabilities
        try:
            if isinstance(credential, PasswordCredential):
                await self._command(b"LOGIN", argument(user), argument(credential.password))
            else:
                assert credential is not None
                token = await credential.token()
                await self._xoauth2(f"user={user}\x01auth=Bearer {token}\x01\x01", "SASL-IR" in before)
        except Refused as refused:
            raise login_error(refused.text, self.endpoint.provider) from None
        self._phase = Phase.DATA
        if not self.capabilities:
            await self._ask_capabilities()

    async def _xoauth2(self, token: str, initial: bool) -> None:
        encoded = base64.b64encode(token.encode())
        tag = self._tag()
        line = tag + b" AUTHENTICATE XOAUTH2" + (b" " + encoded if initial else b"") + b"\r\n"
        self._write(line)
        sent = initial
        async with self._limit(self._timeouts.command):
            while True:
                response = await self._next()
                if response.tag == b"+":
                    # The first challenge asks for the token; a later one carries the error and wants an empty line.
                    self._write((b"" if sent else encoded) + b"\r\n")
                    sent = True
                elif response.tag == tag:
                    self._finish(response)
                    return

    async def _ask_capabilities(self) -> None:
        await self._command(b"CAPABILITY")

    def _note_capabilities(self, text: str) -> None:
        found = re.search(r"\[CAPABILITY ([^\]]*)\]", text, re.IGNORECASE)
        if found:
            self.capabilities = frozenset(found.group(1).upper().split())

    async def logout(self) -> None:
        """Say goodbye and close; never raises."""
        if self._wire is None:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._timeouts.quit):
                self._wire.write(self._tag() + b" LOGOUT\r\n")
                while (await read_response(self._wire)).kind != "BYE":
                    pass
        self._wire.close()
        self._wire = None

    def abort(self) -> None:
        if self._wire is not None:
            self._wire.abort()

    # -- talking -------------------------------------------------------------------------------------------------

    def _tag(self) -> bytes:
        self._counter += 1
        return b"E%d" % self._counter

    async def _command(self, *words: bytes, timeout: float | None = None) -> list[Response]:
        """Send a command and collect everything up to its tagged answer (the last element). NO raises."""
        tag = self._tag()
        collected: list[Response] = []
        try:
            async with self._limit(timeout or self._timeouts.command):
                await self._send(tag, words, collected)
                while True:
                    response = await self._next()
                    collected.append(response)
                    if response.tag == tag:
                        self._finish(response)
                        return collected
        except (Refused, ChannelError):
            raise
        except BaseException:
            # Cancelled in the middle: what comes next on this connection would be the answer to something else.
            self.abort()
            raise

    async def _send(self, tag: bytes, words: Sequence[bytes], collected: list[Response]) -> None:
        out = bytearray(tag)
        plus = "LITERAL+" in self.capabilities
        for word in words:
            if not isinstance(word, Text):
                out += b" " + word
                continue
            out += b" {%d%s}\r\n" % (len(word), b"+" if plus else b"")
            if not plus:
                self._write(bytes(out))
                out.clear()
                while (response := await self._next()).tag != b"+":
                    collected.append(response)
                    if response.tag == tag:
                        raise Refused(response.text)
            out += word
        self._write(bytes(out) + b"\r\n")
        await self._live().drain()

    def _finish(self, response: Response) -> None:
        if response.kind != "OK":
            raise Refused(response.text)

    async def _next(self) -> Response:
        try:
            response = await read_response(self._live())
        except WireClosed as error:
            raise self._lost("connection_reset" if error.reset else "connection_closed") from None
        except (BadResponse, LineTooLong) as error:
            self.abort()
            raise self._lost("bad_reply", str(error)) from None
        if response.kind == "CAPABILITY":
            words = [value for value in response.values if isinstance(value, bytes)]
            self.capabilities = frozenset(word.decode("ascii", "replace").upper() for word in words)
        elif response.kind == "OK":
            self._note_capabilities(response.text)
        elif response.kind == "EXISTS":
            self._grown |= response.number > self._exists
            self._exists = response.number
        elif response.kind == "EXPUNGE":
            self._exists = max(0, self._exists - 1)
        elif response.kind == "BYE":
            self.abort()
            raise self._lost("server_closing", response.text)
        return response

    async def _read(self, timeout: float) -> Response:
        async with self._limit(timeout):
            return await self._next()

    @contextlib.asynccontextmanager
    async def _limit(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            self.abort()
            raise self._lost("timeout") from None
        except WireClosed:
            raise self._lost("connection_closed") from None

    def _live(self) -> Wire:
        if self._wire is None:
            raise self._lost("connection_closed")
        return self._wire

    def _write(self, data: bytes) -> None:
        try:
            self._live().write(data)
        except WireClosed as error:
            raise self._lost("connection_reset" if error.reset else "connection_closed") from None

    def _lost(self, cause: str, text: str = "") -> TemporaryFailure:
        return TemporaryFailure(cause, phase=self._phase, text=text)


class Refused(TemporaryFailure):
    """The server answered NO or BAD to a command."""

    def __init__(self, text: str) -> None:
        super().__init__("refused", phase=Phase.DATA, text=text, concerns=Concern.PROVIDER)
