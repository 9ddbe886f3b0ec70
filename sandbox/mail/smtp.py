"""The SMTP side of the world: a submission port (with AUTH) and an MX port (without), dying where it is told to."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import TYPE_CHECKING

from sandbox.mail.certificate import server_context
from sandbox.mail.dsn import NO_SUCH_USER, delivery_report, original_head
from sandbox.mail.faults import Phase, Point, ScriptedReply
from sandbox.mail.store import SEEN, Account
from sandbox.mail.wire import Channel, Death, Died, LineTooLong, PeerGone

if TYPE_CHECKING:
    from sandbox.mail.server import MailServer

MAX_SIZE = 36_700_160
HOST = "mail.rehearsal.test"
PATH = re.compile(r"^(FROM|TO):\s*<([^<>]*)>(.*)$", re.IGNORECASE)


@dataclass(slots=True)
class Envelope:
    mail_from: str | None = None
    recipients: list[str] = field(default_factory=list)


class SmtpSession:
    """One connection, from banner to QUIT."""

    def __init__(self, server: MailServer, channel: Channel, number: int, submission: bool, encrypted: bool) -> None:
        self._server = server
        self._channel = channel
        self._number = number
        self._submission = submission
        self._encrypted = encrypted
        self._helo = ""
        self._login: Account | None = None
        self._envelope = Envelope()
        self._verbs: dict[str, Callable[[str], Awaitable[None]]] = {
            "EHLO": self._ehlo,
            "HELO": self._hello,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
        }

    async def run(self) -> None:
        try:
            await self._converse()
        except (PeerGone, Died):
            pass
        except LineTooLong:
            await self._channel.write(b"500 5.5.6 Line too long\r\n")
        finally:
            self._channel.close()

    async def _converse(self) -> None:
        await self._point(Point.CONNECT)
        await self._point(Point.BANNER, before_death=b"220 " + HOST.encode()[:6])
        await self._answer(Phase.BANNER, f"220 {HOST} ESMTP rehearsal")
        while True:
            verb, _, argument = (await self._channel.line()).decode("utf-8", "replace").partition(" ")
            verb = verb.strip().upper()
            if self._login is not None and self._login.answer_delay_s:
                await asyncio.sleep(self._login.answer_delay_s)
            if verb == "QUIT":
                await self._point(Point.QUIT)
                await self._say("221 2.0.0 Bye")
                return
            handler = self._verbs.get(verb)
            if handler is None:
                await self._say("500 5.5.2 Unknown command")
            else:
                await handler(argument.strip())

    # answers and faults

    @property
    def _sender(self) -> str:
        return self._envelope.mail_from or (self._login.address if self._login else "")

    async def _say(self, text: str) -> None:
        await self._channel.write(text.replace("\r\n", "\n").replace("\n", "\r\n").encode() + b"\r\n")

    async def _point(self, point: Point, recipients: tuple[str, ...] | None = None, before_death: bytes = b"") -> None:
        """Die here if that was asked for, after writing `before_death`."""
        concerned = tuple(self._envelope.recipients) if recipients is None else recipients
        death = self._server.faults.death_at(point, self._sender, concerned)
        if death is not None:
            if before_death:
                await self._channel.write(before_death)
                await asyncio.sleep(0.01)
            await self._channel.die(death)

    def _script(self, phase: Phase, recipients: tuple[str, ...] | None = None) -> ScriptedReply | None:
        concerned = tuple(self._envelope.recipients) if recipients is None else recipients
        return self._server.faults.scripted(phase, self._sender, concerned)

    async def _play(self, reply: ScriptedReply) -> None:
        await asyncio.sleep(reply.delay_s)
        if reply.split:
            await self._channel.write_split(reply.text.replace("\n", "\r\n").encode() + b"\r\n")
        else:
            await self._say(reply.text)
        if reply.then_close:
            await self._channel.die(Death.CLOSE)

    async def _answer(self, phase: Phase, text: str) -> None:
        reply = self._script(phase)
        await (self._say(text) if reply is None else self._play(reply))

    # greeting and login

    async def _ehlo(self, argument: str) -> None:
        await self._point(Point.EHLO)
        self._helo, self._envelope = argument, Envelope()
        offers = [HOST, "PIPELINING", f"SIZE {MAX_SIZE}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self._server.config.starttls and not self._encrypted:
            offers.append("STARTTLS")
        if self._submission:
            offers.append("AUTH PLAIN LOGIN")
        lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
        await self._answer(Phase.EHLO, "\n".join(lines))

    async def _hello(self, argument: str) -> None:
        await self._point(Point.EHLO)
        self._helo, self._envelope = argument, Envelope()
        await self._answer(Phase.EHLO, f"250 {HOST}")

    async def _starttls(self, _argument: str) -> None:
        await self._point(Point.STARTTLS)
        if self._encrypted or not self._server.config.starttls:
            await self._say("454 4.7.0 TLS not available")
            return
        await self._say("220 2.0.0 Ready to start TLS")
        context: ssl.SSLContext = server_context()
        await self._channel.start_tls(context)
        self._encrypted, self._login, self._envelope = True, None, Envelope()

    async def _auth(self, argument: str) -> None:
        await self._point(Point.AUTH)
        if not self._submission:
            await self._say("503 5.5.1 AUTH not available here")
            return
        reply = self._script(Phase.AUTH)
        if reply is not None:
            await self._play(reply)
            return
        mechanism, _, initial = argument.partition(" ")
        try:
            user, password = await self._credentials(mechanism.upper(), initial)
        except (ValueError, binascii.Error):
            await self._say("501 5.5.2 Cannot decode that")
            return
        await self._judge_login(user, password)

    async def _credentials(self, mechanism: str, initial: str) -> tuple[str, str]:
        if mechanism == "PLAIN":
            blob = initial or await self._challenge("")
            _, user, password = base64.b64decode(blob, validate=True).decode().split("\0")
            return user, password
        if mechanism == "LOGIN":
            user = initial or await self._challenge("VXNlcm5hbWU6")
            password = await self._challenge("UGFzc3dvcmQ6")
            return base64.b64decode(user).decode(), base64.b64decode(password).decode()
        raise ValueError(mechanism)

    async def _challenge(self, prompt: str) -> str:
        await self._say(f"334 {prompt}")
        answer = (await self._channel.line()).decode("ascii", "replace")
        if answer == "*":
            raise ValueError("cancelled")
        return answer

    async def _judge_login(self, user: str, password: str) -> None:
        account = self._server.store.account(user)
        if account is not None and account.starttls_only and not self._encrypted:
            await self._say("538 5.7.11 Encryption required for requested authentication mechanism")
        elif account is None or not account.accepts(password):
            await self._say("535 5.7.8 Error: authentication failed: wrong user name or password")
        else:
            self._login = account
            await self._say("235 2.7.0 Authentication successful")

    # the envelope

    async def _mail(self, argument: str) -> None:
        found = PATH.match(argument)
        if found is None or found[1].upper() != "FROM":
            await self._say("501 5.5.4 Syntax: MAIL FROM:<address>")
        elif self._submission and self._login is None:
            await self._say("530 5.7.0 Authentication required")
        elif self._envelope.mail_from is not None:
            await self._say("503 5.5.1 Error: nested MAIL command")
        elif _declared_size(found[3]) > MAX_SIZE:
            await self._say("552 5.3.4 Message size exceeds fixed limit")
        else:
            self._envelope = Envelope(mail_from=found[2])
            await self._point(Point.MAIL)
            reply = self._script(Phase.MAIL)
            if reply is None:
                await self._say("250 2.1.0 Ok")
            else:
                if not reply.text.startswith("2"):
                    self._envelope = Envelope()
                await self._play(reply)

    async def _rcpt(self, argument: str) -> None:
        found = PATH.match(argument)
        if found is None or found[1].upper() != "TO" or not found[2]:
            await self._say("501 5.5.4 Syntax: RCPT TO:<address>")
            return
        if self._envelope.mail_from is None:
            await self._say("503 5.5.1 Error: need MAIL command")
            return
        recipient = found[2]
        await self._point(Point.RCPT, recipients=(recipient,))
        reply = self._script(Phase.RCPT, recipients=(recipient,))
        refusal = reply.text if reply is not None else self._refusal(recipient)
        if refusal is None or refusal.startswith("2"):
            self._envelope.recipients.append(recipient)
        if reply is not None:
            await self._play(reply)
        else:
            await self._say(refusal or "250 2.1.5 Ok")

    def _refusal(self, recipient: str) -> str | None:
        """Why this recipient is refused at once, or None."""
        store, config = self._server.store, self._server.config
        if store.mailbox_for(recipient) is not None:
            return None
        if not store.is_local_domain(recipient):
            keeps = self._submission and config.keep_outside
            return None if keeps else f"550 5.7.1 <{recipient}>: Relay access denied"
        if self._submission and config.report_unknown:
            return None
        return f"550 5.1.1 <{recipient}>: Recipient address rejected: User unknown"

    # the message

    async def _data(self, _argument: str) -> None:
        if not self._envelope.recipients:
            await self._say("503 5.5.1 Error: need RCPT command")
            return
        await self._point(Point.DATA)
        reply = self._script(Phase.DATA)
        if reply is not None and not reply.text.startswith("3"):
            await self._play(reply)
            return
        await self._say("354 End data with <CR><LF>.<CR><LF>")
        await self._point(Point.GO_AHEAD)
        await self._channel.some()
        await self._point(Point.BODY)
        raw = await self._channel.dot_block()
        await self._point(Point.DOT_BEFORE)
        await self._finish(raw)
        self._envelope = Envelope()

    async def _finish(self, raw: bytes) -> None:
        """After the dot: take the message and say so, or fail as the faults in force want it."""
        reply = self._script(Phase.DOT)
        if reply is not None:
            if reply.taken:
                self._take(raw)
            await self._play(reply)
            return
        if len(raw) > MAX_SIZE:
            await self._say("552 5.3.4 Message size exceeds fixed limit")
            return
        mishap = self._server.faults.roll()
        if mishap == "drop_before":
            await self._channel.die(Death.CLOSE)
        if mishap == "defer":
            await self._say("451 4.3.0 Temporary lookup failure, try again later")
            return
        number = self._take(raw)
        if mishap == "drop_after":
            await self._channel.die(Death.CLOSE)
        if mishap == "delay":
            await asyncio.sleep(self._server.faults.delay_s)
        await self._point(Point.DOT_AFTER)
        await self._point(Point.REPLY, before_death=b"250 2.0")
        await self._say(f"250 2.0.0 Ok: queued as {number:08X}")

    def _take(self, raw: bytes) -> int:
        """Count the message and put it where it belongs; returns its number."""
        server, envelope = self._server, self._envelope
        sender = envelope.mail_from or ""
        login = self._login.address if self._login else ""
        port = "submission" if self._submission else "mx"
        recipients = tuple(envelope.recipients)
        taken = server.ledger.record(raw, sender, recipients, server.store.now(), self._number, port, login)
        for recipient in recipients:
            account = server.store.mailbox_for(recipient)
            if account is not None:
                server.store.arrive(account, self._trace(sender, recipient, taken.number) + raw)
            elif server.store.is_local_domain(recipient):
                self._report_unknown(raw, sender, recipient, taken.number)
            else:
                server.outside.append((sender, recipient, raw))
        if self._login is not None and self._login.copies_to_sent:
            server.store.append(self._login, self._login.folders["Sent"], raw, {SEEN})
        return taken.number

    def _trace(self, sender: str, recipient: str, number: int) -> bytes:
        protocol = "ESMTP" + ("S" if self._encrypted else "") + ("A" if self._login else "")
        helo = re.sub(r"[^\w.:\[\]-]", "?", self._helo)[:80] or "unknown"
        return (
            f"Return-Path: <{sender}>\r\n"
            f"Delivered-To: {recipient}\r\n"
            f"Received: from {helo} ([127.0.0.1]) by {HOST} (rehearsal) with {protocol} id {number:08X}\r\n"
            f"\tfor <{recipient}>; {format_datetime(self._server.store.now())}\r\n"
        ).encode()

    def _report_unknown(self, raw: bytes, sender: str, recipient: str, number: int) -> None:
        account = self._server.store.mailbox_for(sender)
        if account is None:
            return
        now = self._server.store.now()
        token = f"dsn-{number}-{int(now.timestamp())}"
        report = delivery_report(NO_SUCH_USER, recipient, sender, HOST, original_head(raw), now, token)
        self._server.store.arrive(account, b"Return-Path: <>\r\n" + report)

    async def _rset(self, _argument: str) -> None:
        self._envelope = Envelope()
        await self._say("250 2.0.0 Ok")

    async def _noop(self, _argument: str) -> None:
        await self._say("250 2.0.0 Ok")

    async def _vrfy(self, _argument: str) -> None:
        await self._say("252 2.0.0 Cannot verify, send anyway")


def _declared_size(parameters: str) -> int:
    found = re.search(r"\bSIZE=(\d+)", parameters, re.IGNORECASE)
    return int(found[1]) if found else 0
