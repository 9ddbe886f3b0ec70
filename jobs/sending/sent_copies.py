"""A copy of what was sent into the mailbox's Sent folder, where the provider does not keep one by itself. Best effort."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from app.channels.base import EndPoint, PasswordCredential, Security
from app.channels.imap import ImapReader
from app.channels.imap_folders import Role, as_chosen
from app.core.crypto import vault
from app.services.outbox.plain import Connection, rows
from jobs.sending.ledger import Ledger

_IMAP = """
SELECT id, imap_host, imap_port, imap_security, imap_user, imap_secret, provider, sent_folder FROM mailboxes WHERE id = %(id)s
"""


def imap_endpoint(row: Any) -> EndPoint:
    """Where to read a mailbox; the secret is opened now and not kept. Raises CannotOpen."""
    credential = PasswordCredential(vault().open(row.imap_secret, f"mailboxes.imap_secret:{row.id}")) if row.imap_secret else None
    return EndPoint(row.imap_host, row.imap_port, Security(row.imap_security), row.imap_user, credential, row.provider)


def appender(ledger: Ledger, reader: ImapReader) -> Callable[[Any, bytes], Awaitable[None]]:
    """What the engine calls after a message of a mailbox with *save to Sent: append* was taken."""

    async def append(row: Any, mime: bytes) -> None:
        def look(connection: Connection) -> list[Any]:
            return rows(connection, _IMAP, {"id": row.sender_id})

        found = await ledger.call(look)
        if not found:
            return
        session = await reader.open(imap_endpoint(found[0]))
        try:
            folders = as_chosen(await session.folders(), sent=found[0].sent_folder)
            sent = next((folder for folder in folders if folder.role is Role.SENT), None)
            if sent is not None:
                await session.append(sent, mime)
        finally:
            await session.logout()

    return append
