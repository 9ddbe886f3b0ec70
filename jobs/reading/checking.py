"""What the cursor jumped over: a folder's UIDs are set against those known, the newest at every connection, all of them every night.

A server may list a message late (below the cursor by then), or list one and not show it; that one is asked for in every round. The
check asks for UIDs in pieces, from the newest down, as far back as we read; only the dates of unknown ones are fetched, and only the
bodies of those that are ours to read. Silence deletes nothing: a UID that is known and not listed any more stays as it is.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from app.channels.imap import MailboxSession
from app.services.receiving import reading_state
from app.services.receiving.reading_state import Box, Folder
from jobs.reading.ledger import Ledger

PIECE = 2_000  # UIDs known to us in one question
AT_ONCE = 200  # messages taken in before new mail is looked at again
ZONES_APART = timedelta(days=1)  # servers search by the day of their own zone


class Reader(Protocol):
    """The part of a folder's reader that a check needs."""

    box: Box
    ledger: Ledger

    @property
    def reach(self) -> datetime: ...

    def older(self, internaldate: datetime | None) -> bool: ...

    async def take(self, session: MailboxSession, folder: Folder, uidvalidity: int, uid: int) -> bool: ...


async def ask_again(reader: Reader, session: MailboxSession, folder: Folder, uidvalidity: int) -> None:
    """What was listed and not shown may be an answer: it waits for no night. The folder is selected."""
    for uid in await reader.ledger.do(reading_state.unshown, folder.id, uidvalidity):
        await _late(reader, session, folder, uidvalidity, uid)


async def look_for_gaps(reader: Reader, session: MailboxSession, folder: Folder, uidvalidity: int) -> bool:
    """The newest piece, or all of them when the nightly check is due. The folder is selected.

    False: more was found than is taken in at once, and the rest waits for the next round.
    """
    last, left = folder.last_uid, AT_ONCE
    while last >= 1:
        first = await reader.ledger.do(reading_state.piece_start, folder.id, uidvalidity, last, PIECE)
        late, again = await _unknown(reader, session, folder, uidvalidity, first, last)
        for uid in (*late[:left], *(again[-AT_ONCE:] if folder.check_due else ())):
            await _late(reader, session, folder, uidvalidity, uid)
        if len(late) > left:
            return False
        left -= len(late)
        last = first - 1
        if not folder.check_due:
            return True
    if folder.check_due:
        await reader.ledger.do(reading_state.fully_checked, folder.id)
    return True


async def _unknown(
    reader: Reader, session: MailboxSession, folder: Folder, uidvalidity: int, first: int, last: int
) -> tuple[list[int], list[int]]:
    """UIDs of a piece that the server lists and we do not know, as far as not older than we read; and those to ask for again."""
    listed = await session.uids_between(first, last, (reader.reach - ZONES_APART).date())
    known = await reader.ledger.do(reading_state.known_uids, folder.id, uidvalidity, first, last)
    unknown = [uid for uid in listed if uid not in known and first <= uid <= last]
    again = [uid for uid in listed if known.get(uid)]
    dates = await session.dates(unknown)
    old = [uid for uid in unknown if reader.older(dates.get(uid))]
    if old:
        await reader.ledger.do(reading_state.passed_older, reader.box, folder.id, uidvalidity, old)
    return sorted(set(unknown) - set(old)), again


async def _late(reader: Reader, session: MailboxSession, folder: Folder, uidvalidity: int, uid: int) -> None:
    if not await reader.take(session, folder, uidvalidity, uid):
        gone = uid not in await session.uids_from(uid)
        identity = "gone" if gone else reading_state.UNSHOWN
        await reader.ledger.do(reading_state.passed, reader.box, folder.id, uidvalidity, uid, identity)
