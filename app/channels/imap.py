"""IMAP on our own wire: few commands, every wait limited, nothing deleted, silence never taken for absence.

A session is used by one task at a time. `idle` is the only call that waits long; it is renewed before the 29 minutes
after which servers may hang up. Folder names go over the wire as the server spelled them; all other texts are quoted
or sent as literals, and line ends in them are refused.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime

from app.channels.base import Concern, EndPoint, PermanentFailure, Phase
from app.channels.imap_conversation import ImapConversation, ImapTimeouts, Refused
from app.channels.imap_folders import Folder, Role, with_roles
from app.channels.imap_values import (
    Fetched,
    FolderState,
    MailboxEvent,
    code,
    date_of,
    event,
    fetched,
    flag,
    internal_date,
    wire_name,
)
from app.channels.imap_wire import Text, argument, decode_folder
from app.channels.wire import Net
from app.domain import gmail

#: Servers may end an IDLE after 30 minutes (RFC 2177); ours ends before.
LONGEST_IDLE = 28 * 60.0
_UIDS_PER_FETCH = 200


class MailboxSession(ImapConversation):
    """`open`, then read; `logout` or `abort` at the end. Errors are the channels' own."""

    async def folders(self) -> list[Folder]:
        """All folders with their roles."""
        extended = {"SPECIAL-USE", "LIST-EXTENDED"} <= self.capabilities
        tail = (b"RETURN", b"(SPECIAL-USE)") if extended else ()
        rows: list[tuple[str, str, list[str], str]] = []
        for response in await self._command(b"LIST", b'""', b'"*"', *tail):
            if response.kind != "LIST" or len(response.values) < 3:
                continue
            attributes, delimiter, raw = response.values[:3]
            if isinstance(raw, bytes) and isinstance(attributes, list):
                names = [item.decode("ascii", "replace") for item in attributes if isinstance(item, bytes)]
                split = delimiter.decode("ascii", "replace") if isinstance(delimiter, bytes) else ""
                rows.append((decode_folder(raw), raw.decode("utf-8", "replace"), names, split))
        return with_roles(rows)

    async def select(self, folder: Folder | str, *, readonly: bool = False) -> FolderState:
        """Open a folder. Raises PermanentFailure("no_such_folder") when the server refuses it."""
        name = wire_name(folder)
        verb = b"EXAMINE" if readonly else b"SELECT"
        tail = (b"(CONDSTORE)",) if "CONDSTORE" in self.capabilities else ()
        self.selected, self._exists = "", 0
        try:
            responses = await self._command(verb, argument(name), *tail)
        except Refused as refused:
            raise PermanentFailure(
                "no_such_folder", phase=Phase.DATA, text=refused.text, concerns=Concern.SENDER
            ) from None
        self.selected, self._grown = name, False
        exists = max((r.number for r in responses if r.kind == "EXISTS"), default=0)
        texts = " ".join(response.text for response in responses)
        return FolderState(code(texts, "UIDVALIDITY"), code(texts, "UIDNEXT"), code(texts, "HIGHESTMODSEQ"), exists)

    async def uids_from(self, uid: int) -> list[int]:
        """UIDs ≥ `uid` of the selected folder, ascending. (`n:*` also names the last message below n: left out.)"""
        self._grown = False  # what is announced while or after we ask may not be in the answer
        found = await self._search(b"UID " + str(max(uid, 1)).encode() + b":*")
        return [number for number in found if number >= uid]

    async def uids_since(self, day: date) -> list[int]:
        """UIDs of the selected folder that the server took on this day or later, ascending."""
        return await self._search(b"SINCE " + internal_date(datetime(day.year, day.month, day.day, tzinfo=UTC))[:11].strip())

    async def uids_between(self, first: int, last: int, day: date) -> list[int]:
        """UIDs from `first` to `last` of the selected folder that the server took on this day (by its own zone) or later."""
        since = b"SINCE " + internal_date(datetime(day.year, day.month, day.day, tzinfo=UTC))[:11].strip()
        return await self._search(b"UID %d:%d" % (first, last), since)

    async def dates(self, uids: Sequence[int]) -> dict[int, datetime | None]:
        """When the server took these messages; those it does not show now are left out."""
        found: dict[int, datetime | None] = {}
        for start in range(0, len(uids), _UIDS_PER_FETCH):
            some = ",".join(str(int(uid)) for uid in uids[start : start + _UIDS_PER_FETCH]).encode()
            responses = await self._command(b"UID FETCH", some, b"(UID INTERNALDATE)", timeout=self._timeouts.transfer)
            found.update(dated for one in responses if one.kind == "FETCH" and (dated := date_of(one)) is not None)
        return found

    async def find_message_id(self, folder: Folder | str, message_id: str) -> list[int]:
        """UIDs in `folder` whose Message-ID header is this one; leaves that folder selected, read-only."""
        await self.select(folder, readonly=True)
        return await self._search(b"HEADER", b"Message-ID", argument(message_id.strip()))

    async def _search(self, *criteria: bytes) -> list[int]:
        responses = await self._command(b"UID SEARCH", *criteria, timeout=self._timeouts.transfer)
        numbers: set[int] = set()
        for response in responses:
            if response.kind == "SEARCH":
                numbers |= {int(v) for v in response.values if isinstance(v, bytes) and v.isdigit()}
        return sorted(numbers)

    async def fetch(self, uid: int, max_size: int) -> Fetched | None:
        """One message, its first `max_size` bytes; None when the server does not show it now (which proves nothing)."""
        items = b"(UID FLAGS INTERNALDATE RFC822.SIZE%s BODY.PEEK[]<0.%d>)" % (self._gmail_items, max_size)
        found = await self._fetch(str(uid).encode(), items)
        return next((message for message in found if message.uid == uid), None)

    async def fetch_headers(self, uids: Sequence[int]) -> list[Fetched]:
        """The header blocks of these messages (64 kB of each at most), in the order the server has them."""
        found: list[Fetched] = []
        for start in range(0, len(uids), _UIDS_PER_FETCH):
            some = ",".join(str(int(uid)) for uid in uids[start : start + _UIDS_PER_FETCH]).encode()
            items = b"(UID FLAGS INTERNALDATE RFC822.SIZE%s BODY.PEEK[HEADER]<0.65536>)" % self._gmail_items
            found += await self._fetch(some, items)
        return found

    @property
    def is_gmail(self) -> bool:
        """The server has Gmail's extensions: messages come with `Fetched.gmail`."""
        return gmail.CAPABILITY in self.capabilities

    @property
    def _gmail_items(self) -> bytes:
        return b" X-GM-MSGID X-GM-THRID X-GM-LABELS" if self.is_gmail else b""

    async def _fetch(self, uids: bytes, items: bytes) -> list[Fetched]:
        responses = await self._command(b"UID FETCH", uids, items, timeout=self._timeouts.transfer)
        found = [fetched(response) for response in responses if response.kind == "FETCH"]
        return [message for message in found if message is not None]

    async def idle(self, until: float) -> list[MailboxEvent]:
        """Wait at most `until` seconds (never over 28 minutes) for news of the selected folder; [] when none came.

        Mail that the server announced since the last search, beside another answer, is news at once.
        """
        if self._grown:
            self._grown = False
            return [MailboxEvent("exists", self._exists)]
        tag = self._tag()
        self._write(tag + b" IDLE\r\n")
        events: list[MailboxEvent] = []
        try:
            async with asyncio.timeout(min(until, LONGEST_IDLE)):
                while not events:
                    response = await self._next()
                    if response.tag == tag:
                        self._finish(response)
                        return events
                    events += event(response)
        except TimeoutError:
            pass
        except BaseException:
            self.abort()
            raise
        self._write(b"DONE\r\n")
        async with self._limit(self._timeouts.command):
            while (response := await self._next()).tag != tag:
                events += event(response)
        self._finish(response)
        return events

    # -- writing -------------------------------------------------------------------------------------------------

    async def append(
        self, folder: Folder | str, raw: bytes, flags: Sequence[str] = (), date: datetime | None = None
    ) -> int | None:
        """Put a message into a folder; its UID where the server tells it (UIDPLUS)."""
        words: list[bytes] = [b"(" + b" ".join(flag(one) for one in flags) + b")"] if flags else []
        if date is not None:
            words.append(b'"' + internal_date(date) + b'"')
        responses = await self._command(
            b"APPEND", argument(wire_name(folder)), *words, Text(raw), timeout=self._timeouts.transfer
        )
        found = re.search(r"\[APPENDUID \d+ (\d+)\]", responses[-1].text)
        return int(found.group(1)) if found else None

    async def mark_seen(self, uids: Sequence[int]) -> None:
        """Set \\Seen in the selected folder."""
        if uids:
            await self._command(b"UID STORE", ",".join(map(str, uids)).encode(), b"+FLAGS.SILENT", b"(\\Seen)")

    async def noop(self) -> list[MailboxEvent]:
        """Ask for news without IDLE."""
        return [one for response in await self._command(b"NOOP") for one in event(response)]


class ImapReader:
    """Opens mailbox sessions; holds what all of them share."""

    def __init__(self, net: Net, timeouts: ImapTimeouts | None = None) -> None:
        self._net = net
        self._timeouts = timeouts

    async def open(self, endpoint: EndPoint) -> MailboxSession:
        """A session that is logged in; raises the channel errors."""
        session = MailboxSession(endpoint, net=self._net, timeouts=self._timeouts)
        await session.open()
        return session


__all__ = ["Fetched", "Folder", "FolderState", "ImapReader", "ImapTimeouts", "MailboxEvent", "MailboxSession", "Role"]
