"""IMAP commands about folders: LIST, SELECT, STATUS, CREATE, APPEND and their kin."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from sandbox.mail.imap_view import No, View
from sandbox.mail.imap_wire import BadCommand, Token, quote, text_of
from sandbox.mail.store import SEEN, Folder, NoSuchFolder

if TYPE_CHECKING:
    from sandbox.mail.imap import ImapSession

Handler = Callable[[list[Token]], Awaitable[str | None]]


class FolderCommands:
    """Commands of the authenticated state."""

    def __init__(self, session: ImapSession) -> None:
        self._session = session

    def commands(self) -> dict[str, Handler]:
        return {
            "LIST": self._list,
            "LSUB": self._lsub,
            "XLIST": self._list,
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._subscribe,
            "CREATE": self._create,
            "DELETE": self._delete,
            "SELECT": self._select,
            "EXAMINE": self._examine,
            "STATUS": self._status,
            "APPEND": self._append,
        }

    async def _tell(self, text: str) -> None:
        await self._session.channel.write(text.encode() + b"\r\n")

    async def _list(self, arguments: list[Token]) -> None:
        await self._show_folders("LIST", arguments)

    async def _lsub(self, arguments: list[Token]) -> None:
        await self._show_folders("LSUB", arguments)

    async def _show_folders(self, word: str, arguments: list[Token]) -> None:
        only_special = bool(arguments) and isinstance(arguments[0], list)
        if only_special:
            only_special = "SPECIAL-USE" in [text_of(option).upper() for option in arguments[0]]
            arguments = arguments[1:]
        patterns = arguments[1] if isinstance(arguments[1], list) else [arguments[1]]
        if [text_of(pattern) for pattern in patterns] == [""]:
            await self._tell(f'* {word} (\\Noselect) "/" ""')
            return
        wanted = [_pattern(text_of(arguments[0]) + text_of(pattern)) for pattern in patterns]
        for folder in tuple(self._session.user.folders.values()):
            if only_special and not folder.special_use:
                continue
            if any(pattern.fullmatch(folder.name) for pattern in wanted):
                flags = " ".join(filter(None, ("\\HasNoChildren", folder.special_use)))
                await self._tell(f'* {word} ({flags}) "/" {quote(folder.name).decode()}')

    async def _subscribe(self, _arguments: list[Token]) -> None:
        return None

    async def _create(self, arguments: list[Token]) -> None:
        name = text_of(arguments[0]).rstrip("/")
        account = self._session.user
        if name in account.folders or name.upper() == "INBOX":
            raise No("[ALREADYEXISTS] Mailbox exists")
        self._session.server.store.create_folder(account, name)

    async def _delete(self, arguments: list[Token]) -> None:
        name = text_of(arguments[0])
        if name.upper() == "INBOX":
            raise No("[CANNOT] INBOX stays")
        self._session.server.store.delete_folder(self._session.user, name)

    async def _select(self, arguments: list[Token]) -> str:
        return await self._open(text_of(arguments[0]), read_only=False)

    async def _examine(self, arguments: list[Token]) -> str:
        return await self._open(text_of(arguments[0]), read_only=True)

    async def _open(self, name: str, read_only: bool) -> str:
        session = self._session
        session.leave_folder()
        folder = session.server.store.folder(session.user, name)
        session.enter_folder(View(session.user, folder, read_only))
        await self._tell("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)")
        await self._tell("* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] Flags permitted")
        await self._tell(f"* {len(folder.messages)} EXISTS")
        await self._tell("* 0 RECENT")
        await self._tell(f"* OK [UIDVALIDITY {folder.uid_validity}] UIDs valid")
        await self._tell(f"* OK [UIDNEXT {folder.uid_next}] Predicted next UID")
        await self._tell(f"* OK [HIGHESTMODSEQ {folder.highest_modseq}] Highest")
        return "OK [READ-ONLY] Examined" if read_only else "OK [READ-WRITE] Selected"

    async def _status(self, arguments: list[Token]) -> None:
        folder = self._session.server.store.folder(self._session.user, text_of(arguments[0]))
        shown = " ".join(f"{text_of(item).upper()} {_count(folder, text_of(item).upper())}" for item in arguments[1])
        await self._tell(f"* STATUS {quote(folder.name).decode()} ({shown})")

    async def _append(self, arguments: list[Token]) -> str:
        session = self._session
        name, raw = text_of(arguments[0]), arguments[-1]
        if not isinstance(raw, bytes):
            raise BadCommand("APPEND needs a literal")
        try:
            folder = session.server.store.folder(session.user, name)
        except NoSuchFolder as missing:
            raise No("[TRYCREATE] No such mailbox") from missing
        flags: set[str] = set()
        when: datetime | None = None
        for option in arguments[1:-1]:
            if isinstance(option, list):
                flags = {text_of(flag) for flag in option}
            else:
                when = _append_date(text_of(option))
        message = session.server.store.append(session.user, folder, raw, flags, when)
        return f"OK [APPENDUID {folder.uid_validity} {message.uid}] Append completed"


def _pattern(text: str) -> re.Pattern[str]:
    parts = [".*" if char == "*" else "[^/]*" if char == "%" else re.escape(char) for char in text]
    return re.compile("".join(parts), re.IGNORECASE if text.upper() == "INBOX" else 0)


def _count(folder: Folder, item: str) -> int:
    if item == "UNSEEN":
        return sum(1 for message in folder.messages.values() if SEEN not in message.flags)
    counts = {
        "MESSAGES": len(folder.messages),
        "RECENT": 0,
        "UIDNEXT": folder.uid_next,
        "UIDVALIDITY": folder.uid_validity,
        "HIGHESTMODSEQ": folder.highest_modseq,
    }
    if item not in counts:
        raise BadCommand(f"Unknown STATUS item {item}")
    return counts[item]


def _append_date(text: str) -> datetime:
    try:
        when = parsedate_to_datetime(text.strip().replace("-", " ", 2))
    except (ValueError, TypeError) as bad:
        raise BadCommand("Bad date") from bad
    return when if when.tzinfo else when.replace(tzinfo=UTC)
