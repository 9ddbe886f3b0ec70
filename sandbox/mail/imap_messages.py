"""IMAP commands about messages: FETCH, STORE, SEARCH, COPY, MOVE, EXPUNGE, by UID or by sequence number."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from sandbox.mail.faults import ImapFault
from sandbox.mail.imap_gmail import ITEMS, gmail_item
from sandbox.mail.imap_search import compile_search
from sandbox.mail.imap_structure import body_structure, envelope, section
from sandbox.mail.imap_view import No, View, shown_flags
from sandbox.mail.imap_wire import BadCommand, Token, compact_set, select_numbers, text_of
from sandbox.mail.store import DELETED, SEEN, NoSuchFolder, StoredMessage
from sandbox.mail.wire import Death

if TYPE_CHECKING:
    from sandbox.mail.imap import ImapSession

Handler = Callable[[list[Token]], Awaitable[str | None]]
BODY_ITEM = re.compile(r"^BODY(\.PEEK)?\[(.*)\](?:<(\d+)(?:\.(\d+))?>)?$", re.IGNORECASE | re.DOTALL)
OLD_ITEMS = {"RFC822": "BODY[]", "RFC822.HEADER": "BODY.PEEK[HEADER]", "RFC822.TEXT": "BODY[TEXT]"}
MACROS = {
    "ALL": ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"],
    "FAST": ["FLAGS", "INTERNALDATE", "RFC822.SIZE"],
    "FULL": ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"],
}
WRITE_AT = 262_144


class MessageCommands:
    """Commands of the selected state."""

    def __init__(self, session: ImapSession) -> None:
        self._session = session

    def commands(self) -> dict[str, Handler]:
        both = {"FETCH": self._fetch, "STORE": self._store, "SEARCH": self._search, "COPY": self._copy}
        found: dict[str, Handler] = {}
        for name, command in {**both, "MOVE": self._move}.items():
            found[name] = partial(command, by_uid=False)
            found[f"UID {name}"] = partial(command, by_uid=True)
        found["EXPUNGE"] = self._expunge
        found["UID EXPUNGE"] = self._expunge
        found["CHECK"] = self._check
        found["CLOSE"] = self._close
        found["UNSELECT"] = self._unselect
        return found

    @property
    def _view(self) -> View:
        if self._session.view is None:
            raise BadCommand("No mailbox selected")
        return self._session.view

    async def _tell(self, text: str) -> None:
        await self._session.channel.write(text.encode() + b"\r\n")

    def _named(self, numbers: Token, by_uid: bool) -> list[StoredMessage]:
        """The messages of a set which still exist."""
        view = self._view
        if by_uid:
            uids = select_numbers(text_of(numbers), view.uids)
        else:
            chosen = select_numbers(text_of(numbers), range(1, len(view.uids) + 1))
            uids = [view.uids[number - 1] for number in chosen]
        return [view.folder.messages[uid] for uid in uids if uid in view.folder.messages]

    # FETCH

    async def _fetch(self, arguments: list[Token], by_uid: bool) -> None:
        wanted = arguments[1] if isinstance(arguments[1], list) else [arguments[1]]
        items = _items(wanted, by_uid)
        since = _changed_since(arguments[2:])
        if since is not None and "MODSEQ" not in items:
            items.append("MODSEQ")
        out = bytearray()
        whole = any(item.upper().startswith(("BODY[]", "BODY.PEEK[]")) for item in items)
        if whole and self._session.server.faults.imap(ImapFault.NOT_SHOWN, self._view.account.address):
            return
        for message in self._named(arguments[0], by_uid):
            if since is not None and message.modseq <= since:
                continue
            out += self._shown(message, items)
            await self._drop_in_the_middle(out)
            if len(out) > WRITE_AT:
                await self._session.channel.write(bytes(out))
                out.clear()
        await self._session.channel.write(bytes(out))

    async def _drop_in_the_middle(self, out: bytearray) -> None:
        if b"BODY[" in out and self._session.server.faults.imap(ImapFault.DROP_MID_FETCH, self._view.account.address):
            await self._session.channel.write(bytes(out[: len(out) // 2]))
            await self._session.channel.die(Death.CLOSE)

    def _shown(self, message: StoredMessage, items: list[str]) -> bytes:
        view = self._view
        if not view.read_only and SEEN not in message.flags and any(_marks_seen(item) for item in items):
            self._session.server.store.set_flags(view.account, view.folder, message, message.flags | {SEEN})
            view.told(message)
            items = items if "FLAGS" in items else [*items, "FLAGS"]
        shown = b" ".join(self._item(message, item) for item in items)
        return b"* %d FETCH (%s)\r\n" % (view.number(message.uid), shown)

    def _item(self, message: StoredMessage, item: str) -> bytes:
        if item in ITEMS and self._view.account.gmail and self._view.account.tells_gmail:
            return gmail_item(self._view.account, message, item)
        return _item(message, item)

    # STORE

    async def _store(self, arguments: list[Token], by_uid: bool) -> str | None:
        view = self._view
        if view.read_only:
            raise No("[READ-ONLY] Mailbox is read-only")
        limit: int | None = None
        if isinstance(arguments[1], list):
            limit = int(text_of(arguments[1][1]))
            arguments = [arguments[0], *arguments[2:]]
        action = text_of(arguments[1]).upper()
        given = arguments[2] if isinstance(arguments[2], list) else arguments[2:]
        flags = {_flag(text_of(flag)) for flag in given}
        refused: list[int] = []
        for message in self._named(arguments[0], by_uid):
            if limit is not None and message.modseq > limit:
                refused.append(message.uid if by_uid else view.number(message.uid))
                continue
            self._session.server.store.set_flags(
                view.account, view.folder, message, _combined(message.flags, action, flags)
            )
            view.told(message)
            if not action.endswith(".SILENT"):
                await self._tell(
                    f"* {view.number(message.uid)} FETCH "
                    f"(UID {message.uid} FLAGS {shown_flags(message)} MODSEQ ({message.modseq}))"
                )
        return f"OK [MODIFIED {compact_set(refused)}] Conditional STORE failed" if refused else None

    # SEARCH

    async def _search(self, arguments: list[Token], by_uid: bool) -> None:
        view = self._view
        matches = compile_search(arguments, view.uids)
        found = [
            uid if by_uid else number
            for number, uid in enumerate(view.uids, start=1)
            if uid in view.folder.messages and matches(number, view.folder.messages[uid])
        ]
        await self._tell(" ".join(["* SEARCH", *map(str, found)]))

    # COPY, MOVE, EXPUNGE

    def _copied(self, arguments: list[Token], by_uid: bool) -> tuple[list[int], str]:
        view, store = self._view, self._session.server.store
        try:
            target = store.folder(view.account, text_of(arguments[1]))
        except NoSuchFolder as missing:
            raise No("[TRYCREATE] No such mailbox") from missing
        sources = self._named(arguments[0], by_uid)
        copies = [store.append(view.account, target, m.raw, m.flags, m.internal_date).uid for m in sources]
        uids = [message.uid for message in sources]
        if not uids:
            return [], ""
        return uids, f"[COPYUID {target.uid_validity} {compact_set(uids)} {compact_set(copies)}]"

    async def _copy(self, arguments: list[Token], by_uid: bool) -> str:
        _, code = self._copied(arguments, by_uid)
        return f"OK {code} Copy completed"

    async def _move(self, arguments: list[Token], by_uid: bool) -> None:
        view = self._view
        if view.read_only:
            raise No("[READ-ONLY] Mailbox is read-only")
        uids, code = self._copied(arguments, by_uid)
        if uids:
            await self._tell(f"* OK {code} Moved")
        self._session.server.store.expunge(view.account, view.folder, uids)

    async def _expunge(self, arguments: list[Token]) -> None:
        view = self._view
        if view.read_only:
            raise No("[READ-ONLY] Mailbox is read-only")
        chosen = self._named(arguments[0], by_uid=True) if arguments else list(view.folder.messages.values())
        doomed = [message.uid for message in chosen if DELETED in message.flags]
        self._session.server.store.expunge(view.account, view.folder, doomed)

    async def _check(self, _arguments: list[Token]) -> None:
        return None

    async def _close(self, _arguments: list[Token]) -> None:
        if not self._view.read_only:
            await self._expunge([])
        self._session.leave_folder()

    async def _unselect(self, _arguments: list[Token]) -> None:
        self._session.leave_folder()


def _items(wanted: list[Token], by_uid: bool) -> list[str]:
    """FETCH items in upper case (sections keep their inner case), UID added where it is implied."""
    items: list[str] = []
    for token in wanted:
        name = text_of(token)
        items += MACROS.get(name.upper(), [name.upper() if "[" not in name else name])
    if by_uid and "UID" not in items:
        items.insert(0, "UID")
    return items


def _changed_since(options: list[Token]) -> int | None:
    for option in options:
        if isinstance(option, list) and option and text_of(option[0]).upper() == "CHANGEDSINCE":
            return int(text_of(option[1]))
    return None


def _marks_seen(item: str) -> bool:
    found = BODY_ITEM.match(OLD_ITEMS.get(item, item))
    return bool(found) and not found[1] if found else False


def _item(message: StoredMessage, item: str) -> bytes:
    if item == "UID":
        return b"UID %d" % message.uid
    if item == "FLAGS":
        return b"FLAGS " + shown_flags(message).encode()
    if item == "INTERNALDATE":
        return b'INTERNALDATE "%s"' % message.internal_date.strftime("%d-%b-%Y %H:%M:%S %z").encode()
    if item == "RFC822.SIZE":
        return b"RFC822.SIZE %d" % len(message.raw)
    if item == "MODSEQ":
        return b"MODSEQ (%d)" % message.modseq
    if item == "ENVELOPE":
        return b"ENVELOPE " + envelope(message)
    if item in ("BODYSTRUCTURE", "BODY"):
        return item.encode() + b" " + body_structure(message)
    return _body_item(message, item)


def _body_item(message: StoredMessage, item: str) -> bytes:
    found = BODY_ITEM.match(OLD_ITEMS.get(item, item))
    if found is None:
        raise BadCommand(f"Unknown FETCH item {item}")
    content = section(message, found[2])
    shown = item if item in OLD_ITEMS else f"BODY[{found[2].upper()}]"
    if found[3] is not None:
        start = int(found[3])
        content = content[start : start + int(found[4])] if found[4] else content[start:]
        shown += f"<{start}>"
    return b"%s {%d}\r\n%s" % (shown.encode(), len(content), content)


def _flag(name: str) -> str:
    return f"\\{name[1:].capitalize()}" if name.startswith("\\") else name


def _combined(before: set[str], action: str, flags: set[str]) -> set[str]:
    if action.startswith("+"):
        return before | flags
    if action.startswith("-"):
        return before - flags
    return set(flags)
