"""The Sent folders themselves: every mail since a day, and the whole of those a row has to be made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.channels.base import EndPoint, PasswordCredential, Security
from app.channels.imap import Fetched, ImapReader, MailboxSession, Role
from app.channels.imap_folders import as_chosen
from app.core.crypto import vault
from app.domain.headers import parse_date, split_head, unfold
from app.services.outbox.plain import plain_connection, rows
from app.services.recovery.finding import Copy

CHUNK = 200
MAX_BYTES = 26_214_400

_BOXES = """
SELECT m.id, m.client_id, s.address, m.imap_host, m.imap_port, m.imap_security, m.imap_user, m.imap_secret, m.provider,
  m.sent_folder
FROM mailboxes m JOIN senders s ON s.id = m.id WHERE s.deleted_at IS NULL AND m.imap_secret IS NOT NULL ORDER BY m.id
"""


@dataclass(frozen=True)
class SentFolder:
    """An open Sent folder and what lies in it since the day asked for; ``uids`` ascending."""

    sender_id: int
    session: MailboxSession
    uids: list[int]

    async def copies(self) -> AsyncIterator[tuple[int, Copy]]:
        """(uid, its head as a copy), oldest first."""
        for start in range(0, len(self.uids), CHUNK):
            for one in await self.session.fetch_headers(self.uids[start : start + CHUNK]):
                copy = _copy(self.sender_id, one)
                if copy is not None:
                    yield one.uid, copy

    async def whole(self, uid: int) -> bytes | None:
        found = await self.session.fetch(uid, MAX_BYTES)
        return found.raw if found is not None and not found.truncated else None


def mailboxes() -> list[Any]:
    """Every mailbox that can be read, whatever its state."""
    return rows(plain_connection(), _BOXES)


@asynccontextmanager
async def sent_folder(reader: ImapReader, box: Any, since: datetime) -> AsyncIterator[SentFolder | None]:
    """None where the mailbox has no Sent folder. Raises the channels' errors, CannotOpen."""
    credential = PasswordCredential(vault().open(box.imap_secret, f"mailboxes.imap_secret:{box.id}"))
    endpoint = EndPoint(box.imap_host, box.imap_port, Security(box.imap_security), box.imap_user, credential, box.provider)
    session = await reader.open(endpoint)
    try:
        folder = next((one for one in as_chosen(await session.folders(), sent=box.sent_folder) if one.role is Role.SENT), None)
        if folder is None:
            yield None
            return
        await session.select(folder, readonly=True)
        # a server's day may be another one than ours: two days of room
        yield SentFolder(box.id, session, await session.uids_since((since - timedelta(days=2)).date()))
    finally:
        await session.logout()


def _copy(sender_id: int, one: Fetched) -> Copy | None:
    fields, _, _ = split_head(one.raw)
    named = {name.lower(): unfold(value) for name, value in reversed(fields)}
    message_id = _text(named.get("message-id"))
    at = parse_date(_text(named.get("date"))) or one.internaldate or datetime.now(UTC)
    return Copy(sender_id, message_id, at, _text(named.get("to"))[:320]) if message_id else None


def _text(value: bytes | str | None) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else value or "").strip()
