"""What one session believes about its selected folder, and the news that bring it up to date."""

from __future__ import annotations

import asyncio
from bisect import bisect_left

from sandbox.mail.store import Account, Folder, StoredMessage


class No(Exception):
    """A command refused by NO; the text is what the client reads."""


def shown_flags(message: StoredMessage) -> str:
    return "(" + " ".join(sorted(message.flags)) + ")"


class View:
    """A snapshot of a folder's UIDs. Sequence numbers are positions in it."""

    def __init__(self, account: Account, folder: Folder, read_only: bool) -> None:
        self.account = account
        self.folder = folder
        self.read_only = read_only
        self.uids = list(folder.messages)
        self.touched = asyncio.Event()
        self._modseq = folder.highest_modseq
        self._told: dict[int, int] = {}
        self._validity = folder.uid_validity
        folder.watchers.add(self.touched.set)

    def close(self) -> None:
        self.folder.watchers.discard(self.touched.set)

    def number(self, uid: int) -> int:
        """The sequence number of `uid` in this session."""
        return bisect_left(self.uids, uid) + 1

    def told(self, message: StoredMessage) -> None:
        """The client has just been shown this message's flags: no news about them."""
        self._told[message.uid] = message.modseq

    def news(self, may_expunge: bool = True) -> bytes:
        """Untagged lines about what happened since the last look."""
        self.touched.clear()
        folder = self.folder
        if folder.uid_validity != self._validity:
            return b"* BYE UIDVALIDITY changed, select again\r\n"
        if folder.highest_modseq == self._modseq:
            return b""
        lines: list[str] = []
        if may_expunge:
            lines += self._expunged()
        newest = self.uids[-1] if self.uids else 0
        arrived = [uid for uid in reversed(folder.messages) if uid > newest] if self._has_newer(newest) else []
        for uid in self._flagged(newest):
            message = folder.messages[uid]
            self.told(message)
            lines.append(
                f"* {self.number(uid)} FETCH (UID {uid} FLAGS {shown_flags(message)} MODSEQ ({message.modseq}))"
            )
        if arrived:
            self.uids.extend(reversed(arrived))
            lines += [f"* {len(self.uids)} EXISTS", "* 0 RECENT"]
        if may_expunge:
            self._modseq = folder.highest_modseq
            self._told.clear()
        return "".join(f"{line}\r\n" for line in lines).encode()

    def _has_newer(self, newest: int) -> bool:
        return self.folder.uid_next - 1 > newest

    def _flagged(self, newest: int) -> list[int]:
        known, told = self.folder.messages, self._told
        return [
            uid
            for uid in self.uids
            if uid in known and uid <= newest and known[uid].modseq > max(self._modseq, told.get(uid, 0))
        ]

    def _expunged(self) -> list[str]:
        lines = []
        for index in range(len(self.uids) - 1, -1, -1):
            if self.uids[index] not in self.folder.messages:
                del self.uids[index]
                lines.append(f"* {index + 1} EXPUNGE")
        return lines
