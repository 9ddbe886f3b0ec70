"""One folder: what is new since the cursor, what the cursor jumped over, and what a renumbering means.

The cursor only moves past a UID whose message is recorded, kept aside, or proved to be gone. An answer without a UID proves
nothing: it is asked again, five times before the ones behind it and then in every round (``checking.py``).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.channels.imap import Fetched, FolderState, MailboxSession
from app.channels.imap import Folder as ServerFolder
from app.channels.imap_conversation import Refused
from app.domain import gmail, headers
from app.domain.headers import message_ids, split_head, unfold
from app.services.receiving import reading_state
from app.services.receiving.effects import TooEarly
from app.services.receiving.reading_state import Box, Folder
from jobs.reading import checking
from jobs.reading.ledger import Arrived, Ledger

MAX_BYTES = 26_214_400
CHUNK = 200
CLOCKS_APART = timedelta(minutes=10)  # between the server's INTERNALDATE and ours
TIMES_NOT_SHOWN = 5  # so often a message that is listed and not shown holds up the ones behind it
TOO_EARLY_WAITS = (0.1, 0.2, 0.4, 0.8)


class NotShown(Exception):
    """The server lists a UID but does not show its message; the connection is made anew and it is asked again."""

    def __init__(self, uid: int) -> None:
        super().__init__(f"the server lists message {uid} and does not show it")
        self.uid = uid


@dataclass
class FolderReader:
    """Reads one folder of one mailbox through a session. ``since``: the moment of connecting (product time).

    What lay there before is read as far back as somebody asked for (``box.older_since``).
    """

    box: Box
    server_folder: ServerFolder
    role: str
    ledger: Ledger
    since: datetime
    everything: bool = False  # the folder holds what the others hold, and what was sent past them
    not_shown: dict[tuple[str, int, int], int] = field(default_factory=dict)  # (folder, numbering, uid): how often; outlives connections
    checked: bool = False  # the newest piece is looked at for gaps once per connection
    unfinished: bool = False  # the full check found more than it took in at once

    async def read(self, session: MailboxSession) -> int:
        """Record everything new. Returns how many messages were looked at."""
        state = await session.select(self.server_folder, readonly=True)
        folder = await self.ledger.do(reading_state.folder, self.box, self.server_folder.name, self.role)
        if folder.uidvalidity != state.uidvalidity:
            folder = await self._begin(session, folder, state)
        await checking.ask_again(self, session, folder, state.uidvalidity)
        if folder.check_due or not self.checked:
            self.checked = await checking.look_for_gaps(self, session, folder, state.uidvalidity)
            self.unfinished = not self.checked
        if self._older_wanted(folder):
            await self._read_older(session, folder, state.uidvalidity)
        return await self.read_new(session, folder, state.uidvalidity)

    async def read_new(self, session: MailboxSession, folder: Folder, uidvalidity: int) -> int:
        """Everything above the cursor of the folder that is selected."""
        uids = await session.uids_from(folder.last_uid + 1)
        for start in range(0, len(uids), CHUNK):
            chunk = uids[start : start + CHUNK]
            known = await self._met_elsewhere(session, chunk)
            for uid in chunk:  # in order: the cursor moves past each
                if uid in known:
                    await self.ledger.do(reading_state.passed, self.box, folder.id, uidvalidity, uid, known[uid])
                else:
                    await self._one(session, folder, uidvalidity, uid)
        return len(uids)

    async def _met_elsewhere(self, session: MailboxSession, uids: list[int]) -> dict[int, str]:
        """UIDs of a folder of everything whose messages were recorded from another folder, each with its identity."""
        if not self.everything or (session.is_gmail and len(uids) == 1):  # there one new message is hardly ever known
            return {}
        found = await session.fetch_headers(uids)
        ids = {one.uid: one.gmail.identity for one in found if one.gmail}
        seen = await self.ledger.do(reading_state.seen_identities, self.box.id, list(ids.values()))
        known = {uid: identity for uid, identity in ids.items() if identity in seen}
        named = {one.uid: name for one in found if (name := _message_id(one.raw)) is not None}
        recorded = await self.ledger.do(reading_state.already_recorded, self.box.id, list(named.values()), ["in", "out"])
        return known | {uid: name for uid, name in named.items() if name in recorded}

    async def look_again(self, session: MailboxSession, uidvalidity: int) -> int:
        """The folder is selected and something may have come."""
        folder = await self.ledger.do(reading_state.folder, self.box, self.server_folder.name, self.role)
        return await self.read_new(session, folder, uidvalidity)

    async def _one(self, session: MailboxSession, folder: Folder, uidvalidity: int, uid: int) -> None:
        """Take in one message, or find out why there is none. Raises NotShown."""
        if not await self.take(session, folder, uidvalidity, uid):
            await self._missing(session, folder, uidvalidity, uid)

    async def take(self, session: MailboxSession, folder: Folder, uidvalidity: int, uid: int) -> bool:
        """Record one message, or pass over it where it is too old for us. False: the server does not show it now."""
        try:
            mail = await session.fetch(uid, MAX_BYTES)
        except Refused:
            return False
        if mail is None:
            return False
        role = self._role_of(mail)
        if self.older(mail.internaldate):
            await self.ledger.do(reading_state.passed, self.box, folder.id, uidvalidity, uid, reading_state.OLDER)
        elif role == gmail.DRAFT:
            await self.ledger.do(reading_state.passed, self.box, folder.id, uidvalidity, uid, reading_state.DRAFT)
        else:
            historical = mail.internaldate is not None and mail.internaldate < self.since - CLOCKS_APART
            await self._store(Arrived(self.box, folder, role, self.server_folder.name, uidvalidity, mail, historical))
        return True

    def _role_of(self, mail: Fetched) -> str:
        """The folder's, and in a folder of everything what Gmail's labels or the draft flag say."""
        if not self.everything:
            return self.role
        if mail.gmail is not None:
            return gmail.role_of(mail.gmail.labels)
        return gmail.DRAFT if any(flag.lower() == "\\draft" for flag in mail.flags) else self.role

    async def _store(self, arrived: Arrived) -> None:
        for wait in TOO_EARLY_WAITS:
            try:
                await self.ledger.store(arrived)
                return
            except TooEarly:
                await asyncio.sleep(wait)
        await self.ledger.store(arrived, patient=False)

    async def _missing(self, session: MailboxSession, folder: Folder, uidvalidity: int, uid: int) -> None:
        """Gone for good, or only not shown? Only a fresh search that no longer lists it proves that it is gone."""
        identity = "gone"
        if uid in await session.uids_from(uid):
            key = (self.server_folder.name, uidvalidity, uid)
            self.not_shown[key] = self.not_shown.get(key, 0) + 1
            if self.not_shown[key] < TIMES_NOT_SHOWN:
                raise NotShown(uid)
            identity = reading_state.UNSHOWN
        await self.ledger.do(reading_state.passed, self.box, folder.id, uidvalidity, uid, identity)

    @property
    def reach(self) -> datetime:
        """What the server took before this moment (product time) is not read."""
        return min(self.since, self.box.older_since or self.since) - CLOCKS_APART

    def older(self, internaldate: datetime | None) -> bool:
        return internaldate is not None and internaldate < self.reach

    def _older_wanted(self, folder: Folder) -> bool:
        wanted = self.box.older_since
        return wanted is not None and (folder.older_since is None or folder.older_since > wanted)

    async def _read_older(self, session: MailboxSession, folder: Folder, uidvalidity: int) -> None:
        """What somebody asked for: the messages below the cursor that are young enough and were not recorded."""
        uids = [uid for uid in await session.uids_from(1) if uid <= folder.last_uid]
        known = await self.ledger.do(reading_state.recorded_uids, folder.id, uidvalidity)
        for uid in sorted(await self._since_connecting(session, uids)):
            if uid not in known:
                await self._one(session, folder, uidvalidity, uid)
        await self.ledger.do(reading_state.older_read, self.box, folder.id, self.box.older_since)

    async def _begin(self, session: MailboxSession, folder: Folder, state: FolderState) -> Folder:
        """First look, or new numbers: find the first message since connecting; what is below is not ours to read.

        After a renumbering the same messages come again under other UIDs; those recorded are passed over by their ids.
        """
        uids = await session.uids_from(1)
        wanted = await self._since_connecting(session, uids)
        newest = max([*uids, state.uidnext - 1, 0])
        last = min(wanted) - 1 if wanted else newest
        await self.ledger.do(reading_state.start_numbering, folder.id, state.uidvalidity, last)
        if folder.uidvalidity and wanted:
            await self._pass_known(session, folder, state.uidvalidity, sorted(wanted))
        return await self.ledger.do(reading_state.folder, self.box, self.server_folder.name, self.role)

    async def _since_connecting(self, session: MailboxSession, uids: list[int]) -> list[int]:
        """UIDs not older than we read back to, looked for from the newest down, two chunks past the last find."""
        wanted: list[int] = []
        barren = 0
        for end in range(len(uids), 0, -CHUNK):
            found = [one.uid for one in await session.fetch_headers(uids[max(0, end - CHUNK) : end]) if not self.older(one.internaldate)]
            wanted += found
            barren = 0 if found else barren + 1
            if barren >= 2:
                break
        return wanted

    async def _pass_known(self, session: MailboxSession, folder: Folder, uidvalidity: int, uids: list[int]) -> None:
        """Move over the leading messages that are recorded already, without fetching their bodies again."""
        directions = ["out" if self.role == "sent" else "in"]
        for start in range(0, len(uids), CHUNK):
            ids = {one.uid: _message_id(one.raw) for one in await session.fetch_headers(uids[start : start + CHUNK])}
            known = await self.ledger.do(
                reading_state.already_recorded, self.box.id, [one for one in ids.values() if one], directions
            )
            for uid in uids[start : start + CHUNK]:
                if ids.get(uid) not in known:
                    return
                await self.ledger.do(reading_state.passed, self.box, folder.id, uidvalidity, uid, ids[uid])


def _message_id(raw: bytes) -> str | None:
    fields, _, _ = split_head(raw)
    value = next((one for name, one in fields if name.lower() == "message-id"), None)
    ids = message_ids(unfold(value)) if value is not None else ()
    return headers.normal_id(ids[0]) if ids else None
