"""Mailboxes and folders in memory, with an optional journal that brings them back after a restart.

One thread owns the store (the server's event loop). Every change is one record appended to the journal and flushed to
the operating system: a killed process loses nothing, a killed machine may lose the last moments, which a rehearsal can
afford.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import IO, Any

SPECIAL_FOLDERS = {"INBOX": "", "Sent": "\\Sent", "Junk": "\\Junk", "Drafts": "\\Drafts", "Trash": "\\Trash"}
ALL_MAIL = {"[Gmail]/All Mail": "\\All"}
SEEN, DELETED = "\\Seen", "\\Deleted"


def machine_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class StoredMessage:
    """One message in one folder; `uid` and `modseq` are that folder's."""

    uid: int
    raw: bytes
    flags: set[str]
    internal_date: datetime
    modseq: int
    _parsed: Message | None = None
    _number: int = 0

    @property
    def number(self) -> int:
        """The same for the same bytes in every folder (X-GM-MSGID)."""
        if not self._number:
            self._number = int.from_bytes(hashlib.sha256(self.raw).digest()[:7]) + 1
        return self._number

    @property
    def head(self) -> bytes:
        """The header block including the empty line that ends it."""
        for gap in (b"\r\n\r\n", b"\n\n"):
            end = self.raw.find(gap)
            if end >= 0:
                return self.raw[: end + len(gap)]
        return self.raw

    @property
    def parsed(self) -> Message:
        """Headers only; the body is parsed where a structure is asked for."""
        if self._parsed is None:
            self._parsed = BytesParser().parsebytes(self.head, headersonly=True)
        return self._parsed


class Folder:
    """An ordered set of messages under ascending UIDs."""

    def __init__(self, name: str, special_use: str, uid_validity: int) -> None:
        self.name = name
        self.special_use = special_use
        self.uid_validity = uid_validity
        self.uid_next = 1
        self.highest_modseq = 1
        self.messages: dict[int, StoredMessage] = {}
        self.watchers: set[Callable[[], None]] = set()

    def changed(self) -> None:
        for watcher in tuple(self.watchers):
            watcher()

    def next_modseq(self) -> int:
        self.highest_modseq += 1
        return self.highest_modseq


@dataclass(slots=True)
class Account:
    """One mailbox of the world and how its provider behaves.

    `copies_to_sent`: the provider files what was submitted; `starttls_only`: no login before TLS; `answer_delay_s`:
    every command is answered that much later; `login_refused`: the password is always wrong; `gmail`: All Mail holds
    whatever lies in another folder but Junk and Trash, and messages tell their number, thread and labels
    (unless `tells_gmail` is false: then it only has that folder).
    """

    address: str
    password: str
    display_name: str = ""
    copies_to_sent: bool = False
    starttls_only: bool = False
    answer_delay_s: float = 0.0
    login_refused: bool = False
    gmail: bool = False
    tells_gmail: bool = True
    folders: dict[str, Folder] = field(default_factory=dict)

    def accepts(self, password: str) -> bool:
        return not self.login_refused and hmac.compare_digest(password.encode(), self.password.encode())


class NoSuchFolder(Exception):
    pass


class MailStore:
    """All accounts. `now` stamps what arrives (product time in a rehearsal)."""

    def __init__(self, now: Callable[[], datetime] = machine_now, directory: Path | None = None) -> None:
        self.now = now
        self.accounts: dict[str, Account] = {}
        self.extra_domains: set[str] = set()
        self.arrival_listeners: list[Callable[[str, StoredMessage], None]] = []
        self._last_uid_validity = 1_000
        self._journal: IO[bytes] | None = None
        self._replayed: dict[str, dict[str, Folder]] = {}
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._open_journal(directory / "mail.journal")

    # accounts and folders

    def add_account(self, account: Account) -> Account:
        """Add or replace an account; folders it had before (also in an earlier run) are kept."""
        address = account.address = account.address.lower()
        before = self.accounts.get(address)
        account.folders = before.folders if before else self._replayed.pop(address, {})
        self.accounts[address] = account
        for name, special_use in (SPECIAL_FOLDERS | (ALL_MAIL if account.gmail else {})).items():
            if name not in account.folders:
                self.create_folder(account, name, special_use)
        return account

    def account(self, address: str) -> Account | None:
        return self.accounts.get(address.lower())

    def mailbox_for(self, recipient: str) -> Account | None:
        """Who gets mail for `recipient`: the exact address, else the one before its plus part."""
        local, _, domain = recipient.lower().rpartition("@")
        return self.account(recipient) or self.account(f"{local.partition('+')[0]}@{domain}")

    def is_local_domain(self, address: str) -> bool:
        domain = address.rpartition("@")[2].lower()
        return domain in self.extra_domains or any(known.endswith(f"@{domain}") for known in self.accounts)

    def folder(self, account: Account, name: str) -> Folder:
        found = account.folders.get("INBOX" if name.upper() == "INBOX" else name)
        if found is None:
            raise NoSuchFolder(name)
        return found

    def create_folder(self, account: Account, name: str, special_use: str = "") -> Folder:
        folder = Folder(name, special_use, self._next_uid_validity())
        account.folders[name] = folder
        self._write("folder", account, folder, use=special_use, validity=folder.uid_validity)
        return folder

    def delete_folder(self, account: Account, name: str) -> None:
        folder = self.folder(account, name)
        del account.folders[folder.name]
        self._write("drop", account, folder)

    def _next_uid_validity(self) -> int:
        self._last_uid_validity += 1
        return self._last_uid_validity

    # messages

    def append(
        self, account: Account, folder: Folder, raw: bytes, flags: Iterable[str] = (), when: datetime | None = None
    ) -> StoredMessage:
        message = StoredMessage(folder.uid_next, raw, set(flags), when or self.now(), folder.next_modseq())
        folder.uid_next += 1
        folder.messages[message.uid] = message
        self._write(
            "append",
            account,
            folder,
            raw,
            uid=message.uid,
            flags=sorted(message.flags),
            at=message.internal_date.timestamp(),
        )
        folder.changed()
        if account.gmail:
            self._file_everywhere(account, folder, message)
        return message

    def _file_everywhere(self, account: Account, folder: Folder, message: StoredMessage) -> None:
        """Gmail: what lies anywhere lies in All Mail too, once; what is put into Junk or Trash leaves it."""
        everything = account.folders[next(iter(ALL_MAIL))]
        there = [uid for uid, one in everything.messages.items() if one.number == message.number]
        if folder.special_use in ("\\Junk", "\\Trash"):
            self.expunge(account, everything, there)
        elif not there:
            self.append(account, everything, message.raw, message.flags, message.internal_date)

    def show_late(self, account: Account, folder: Folder, raw: bytes, uid: int) -> StoredMessage:
        """A message that is listed only now, under a UID below others (a replica that lagged behind)."""
        message = StoredMessage(uid, raw, set(), self.now(), folder.next_modseq())
        folder.messages[uid] = message
        folder.messages = dict(sorted(folder.messages.items()))
        self._write("late", account, folder, raw, uid=uid, at=message.internal_date.timestamp())
        folder.changed()
        return message

    def arrive(self, account: Account, raw: bytes) -> StoredMessage:
        """New mail in the INBOX; whoever lives at this address hears of it."""
        message = self.append(account, account.folders["INBOX"], raw)
        for listener in self.arrival_listeners:
            listener(account.address, message)
        return message

    def set_flags(self, account: Account, folder: Folder, message: StoredMessage, flags: set[str]) -> None:
        if flags == message.flags:
            return
        message.flags = flags
        message.modseq = folder.next_modseq()
        self._write("flags", account, folder, uid=message.uid, flags=sorted(flags))
        folder.changed()

    def expunge(self, account: Account, folder: Folder, uids: Iterable[int]) -> list[int]:
        gone = [uid for uid in uids if folder.messages.pop(uid, None) is not None]
        if gone:
            folder.next_modseq()
            self._write("expunge", account, folder, uids=gone)
            folder.changed()
        return gone

    def renumber(self, account: Account, folder: Folder, first_uid: int = 1) -> None:
        """A new UIDVALIDITY: the same messages under new UIDs from `first_uid` on (a provider's restored backup)."""
        kept = list(folder.messages.values())
        folder.uid_validity = self._next_uid_validity()
        folder.messages = {}
        for uid, message in enumerate(kept, start=first_uid):
            message.uid = uid
            message.modseq = folder.next_modseq()
            folder.messages[uid] = message
        folder.uid_next = first_uid + len(kept)
        self._write("renumber", account, folder, validity=folder.uid_validity, first=first_uid)
        folder.changed()

    # the journal: a JSON line, followed by as many bytes as it says

    def _write(self, kind: str, account: Account, folder: Folder, raw: bytes = b"", **fields: Any) -> None:
        if self._journal is None:
            return
        entry = {"kind": kind, "address": account.address, "folder": folder.name, "size": len(raw), **fields}
        self._journal.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n" + raw)
        self._journal.flush()

    def _open_journal(self, path: Path) -> None:
        intact = 0
        if path.exists():
            with path.open("rb") as journal:
                for entry, raw, end in _entries(journal):
                    self._replay(entry, raw)
                    intact = end
        self._journal = path.open("ab")
        self._journal.truncate(intact)

    def _replay(self, entry: dict[str, Any], raw: bytes) -> None:
        folders = self._replayed.setdefault(entry["address"], {})
        name = entry["folder"]
        if entry["kind"] == "folder":
            self._last_uid_validity = max(self._last_uid_validity, entry["validity"])
            folders[name] = Folder(name, entry["use"], entry["validity"])
        elif entry["kind"] == "drop":
            folders.pop(name, None)
        else:
            _replay_message(folders[name], entry, raw)
            self._last_uid_validity = max(self._last_uid_validity, folders[name].uid_validity)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None


def _replay_message(folder: Folder, entry: dict[str, Any], raw: bytes) -> None:
    kind = entry["kind"]
    if kind == "append":
        at = datetime.fromtimestamp(entry["at"], UTC)
        folder.messages[entry["uid"]] = StoredMessage(entry["uid"], raw, set(entry["flags"]), at, folder.next_modseq())
        folder.uid_next = entry["uid"] + 1
    elif kind == "late":
        at = datetime.fromtimestamp(entry["at"], UTC)
        folder.messages[entry["uid"]] = StoredMessage(entry["uid"], raw, set(), at, folder.next_modseq())
        folder.messages = dict(sorted(folder.messages.items()))
    elif kind == "flags":
        message = folder.messages[entry["uid"]]
        message.flags, message.modseq = set(entry["flags"]), folder.next_modseq()
    elif kind == "expunge":
        folder.next_modseq()
        for uid in entry["uids"]:
            folder.messages.pop(uid, None)
    elif kind == "renumber":
        kept = list(folder.messages.values())
        folder.uid_validity, folder.messages = entry["validity"], {}
        for uid, message in enumerate(kept, start=entry["first"]):
            message.uid, message.modseq = uid, folder.next_modseq()
            folder.messages[uid] = message
        folder.uid_next = entry["first"] + len(kept)


def _entries(journal: IO[bytes]) -> Iterator[tuple[dict[str, Any], bytes, int]]:
    """Whole records only: a record torn by a crash ends the replay (and is cut off by the caller)."""
    while line := journal.readline():
        if not line.endswith(b"\n"):
            return
        entry = json.loads(line)
        raw = journal.read(entry["size"])
        if len(raw) < entry["size"]:
            return
        yield entry, raw, journal.tell()
