"""A minimal SMTP receiver for kill loops: accepts everything and counts durably in an append-only file.

One line per taken message: `<unix time> <session> <Message-ID> <mail from> <recipient>[,...]`. The line is written with
one `write` to an O_APPEND descriptor before the answer, so that killing any process never loses or halves a count; many
forked sinks may share one file. No AUTH check (any login is accepted), no TLS.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.mail.wire import Channel, Death, Died, LineTooLong, PeerGone

MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
CAPABILITIES = (
    b"250-sink\r\n250-PIPELINING\r\n250-SIZE 36700160\r\n250-8BITMIME\r\n"
    b"250-AUTH PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES\r\n"
)
FIXED_ANSWERS = {
    b"AUTH": b"235 2.7.0 Accepted\r\n",
    b"RSET": b"250 2.0.0 Ok\r\n",
    b"NOOP": b"250 2.0.0 Ok\r\n",
    b"HELO": b"250 sink\r\n",
    b"EHLO": CAPABILITIES,
}


@dataclass(frozen=True, slots=True)
class SinkRates:
    """Shares (0 to 1): connection lost before or after counting, 451 instead of taking, late answers of `delay_s`."""

    drop_before: float = 0.0
    drop_after: float = 0.0
    defer: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.1
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """One line of the count file."""

    at: float
    session: str
    message_id: str
    mail_from: str
    recipients: tuple[str, ...]


class Sink:
    """Serve with `await serve(port)`; `port` is filled in when 0 was asked for."""

    def __init__(self, path: Path, rates: SinkRates = SinkRates()) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._rates = rates
        self._dice = random.Random(rates.seed)
        self._sessions = 0
        self._listener: asyncio.Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1 (SO_REUSEPORT, so that several forked sinks may share a port); returns the port."""
        self._listener = await asyncio.start_server(self._session, "127.0.0.1", port, backlog=1024, reuse_port=True)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self.port

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        os.close(self._file)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = Channel(reader, writer)
        self._sessions += 1
        with suppress(PeerGone, Died, LineTooLong, asyncio.CancelledError):
            await self._converse(channel, f"{os.getpid()}-{self._sessions}")
        channel.close()

    async def _converse(self, channel: Channel, session: str) -> None:
        sender, recipients = b"", list[bytes]()
        await channel.write(b"220 sink ESMTP\r\n")
        while True:
            line = await channel.line()
            verb = line[:4].upper()
            if verb == b"MAIL":
                sender, recipients = _address(line), []
                await channel.write(b"250 2.1.0 Ok\r\n")
            elif verb == b"RCPT":
                recipients.append(_address(line))
                await channel.write(b"250 2.1.5 Ok\r\n")
            elif verb == b"DATA":
                await channel.write(b"354 Go ahead\r\n")
                await self._take(channel, await channel.dot_block(), session, sender, recipients)
            elif verb == b"QUIT":
                await channel.write(b"221 2.0.0 Bye\r\n")
                return
            elif line.upper().startswith(b"AUTH LOGIN"):
                await self._login(channel, line)
            elif line.upper() == b"AUTH PLAIN":
                await channel.write(b"334 \r\n")
                await channel.line()
                await channel.write(FIXED_ANSWERS[b"AUTH"])
            else:
                await channel.write(FIXED_ANSWERS.get(verb, b"500 5.5.2 Unknown command\r\n"))

    async def _login(self, channel: Channel, line: bytes) -> None:
        if len(line.split()) < 3:
            await channel.write(b"334 VXNlcm5hbWU6\r\n")
            await channel.line()
        await channel.write(b"334 UGFzc3dvcmQ6\r\n")
        await channel.line()
        await channel.write(FIXED_ANSWERS[b"AUTH"])

    async def _take(self, channel: Channel, raw: bytes, session: str, sender: bytes, recipients: list[bytes]) -> None:
        rates, drawn = self._rates, self._dice.random()
        if drawn < rates.drop_before:
            await channel.die(Death.CLOSE)
        if drawn < rates.drop_before + rates.defer:
            await channel.write(b"451 4.3.0 Try again later\r\n")
            return
        found = MESSAGE_ID.search(raw)
        fields = (b"%.6f" % time.time(), session.encode(), found[1] if found else b"-", sender or b"<>")
        os.write(self._file, b" ".join((*fields, b",".join(recipients))) + b"\n")
        self.counted(sender, fields[2])
        if drawn < rates.drop_before + rates.defer + rates.drop_after:
            await channel.die(Death.CLOSE)
        if self._dice.random() < rates.delay:
            await asyncio.sleep(rates.delay_s)
        await channel.write(b"250 2.0.0 Ok\r\n")

    def counted(self, sender: bytes, message_id: bytes) -> None:
        """It has been counted and not been answered yet: for receivers that also keep something."""


def _address(line: bytes) -> bytes:
    return line.partition(b"<")[2].partition(b">")[0].replace(b" ", b"_")


def read_counts(path: Path) -> list[Counted]:
    """Every taken message of a count file, in order."""
    counted = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        at, session, message_id, sender, recipients = line.split(" ", 4)
        counted.append(Counted(float(at), session, message_id, sender, tuple(recipients.split(","))))
    return counted


def counts_by_message_id(path: Path) -> Counter[str]:
    """Message-ID to how often it was taken."""
    return Counter(taken.message_id for taken in read_counts(path))


def run_sink(path: Path, port: int, rates: SinkRates = SinkRates()) -> None:
    """Serve until killed; meant for a forked child. `port` must be a free one chosen by the parent."""

    async def forever() -> None:
        sink = Sink(path, rates)
        await sink.start(port)
        await asyncio.Event().wait()

    asyncio.run(forever())
