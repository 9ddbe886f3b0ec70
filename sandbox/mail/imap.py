"""The IMAP side of the world (IMAP4rev1 with the extensions providers really offer).

    greeting → not authenticated → authenticated → selected → logout

Traps kept in mind: EXPUNGE may not be announced during FETCH, STORE or SEARCH by sequence number (numbers would shift
under the client), so the session keeps its own view and brings it up to date only where that is allowed. `*` in a UID
set means the largest UID even when the set starts above it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sandbox.mail.certificate import server_context
from sandbox.mail.faults import ImapFault
from sandbox.mail.imap_folders import FolderCommands
from sandbox.mail.imap_messages import MessageCommands
from sandbox.mail.imap_view import No, View
from sandbox.mail.imap_wire import BadCommand, Token, parse, read_command, text_of
from sandbox.mail.store import Account, NoSuchFolder
from sandbox.mail.wire import Channel, Death, Died, LineTooLong, PeerGone

if TYPE_CHECKING:
    from sandbox.mail.server import MailServer

Handler = Callable[[list[Token]], Awaitable[str | None]]
OFFERS = "IMAP4rev1 LITERAL+ SASL-IR UIDPLUS MOVE IDLE NAMESPACE ID ENABLE CONDSTORE SPECIAL-USE UNSELECT CHILDREN"
MAY_NOT_EXPUNGE = ("FETCH", "STORE", "SEARCH")


class ImapSession:
    """One connection. Command handlers return the text of a special OK line, or None for the ordinary one."""

    def __init__(self, server: MailServer, channel: Channel, encrypted: bool) -> None:
        self.server = server
        self.channel = channel
        self.encrypted = encrypted
        self.account: Account | None = None
        self.view: View | None = None
        self._folders = FolderCommands(self)
        self._messages = MessageCommands(self)
        self._anyone: dict[str, Handler] = {
            "CAPABILITY": self._capability,
            "NOOP": self._noop,
            "ID": self._id,
            "STARTTLS": self._starttls,
            "LOGIN": self._login,
            "AUTHENTICATE": self._authenticate,
        }
        self._known: dict[str, Handler] = {
            "ENABLE": self._enable,
            "NAMESPACE": self._namespace,
            "IDLE": self._idle,
            **self._folders.commands(),
        }
        self._selected: dict[str, Handler] = self._messages.commands()

    async def run(self) -> None:
        self.server.imap_sessions.add(self)
        try:
            await self._say(f"* OK [CAPABILITY {self._offers()}] rehearsal IMAP ready")
            while await self._one_command():
                continue
        except (PeerGone, Died):
            pass
        except LineTooLong:
            await self._say("* BYE Line too long")
        finally:
            self.leave_folder()
            self.server.imap_sessions.discard(self)
            self.channel.close()

    async def _one_command(self) -> bool:
        """Read and answer one command; False after LOGOUT."""
        try:
            tokens = parse(await read_command(self.channel))
            tag, name = text_of(tokens[0]), text_of(tokens[1]).upper()
        except (BadCommand, IndexError):
            await self._say("* BAD Cannot parse that")
            return True
        await self._strike_faults()
        if name == "LOGOUT":
            await self._say("* BYE Logging out")
            await self._say(f"{tag} OK Logout completed")
            return False
        if name == "STARTTLS" and self.server.config.starttls and not self.encrypted:
            await self._upgrade(tag)
        else:
            await self._say(f"{tag} {await self._answer(name, tokens[2:])}")
        return True

    async def _strike_faults(self) -> None:
        address = self.account.address if self.account else ""
        faults = self.server.faults
        if self.account is not None and faults.imap(ImapFault.BYE, address):
            await self._say("* BYE Server shutting down")
            await self.channel.die(Death.CLOSE)
        if self.account is not None and faults.imap(ImapFault.BLACKHOLE, address):
            await self.channel.die(Death.BLACKHOLE)
        if self.account is not None and self.account.answer_delay_s:
            await asyncio.sleep(self.account.answer_delay_s)

    async def _answer(self, name: str, arguments: list[Token]) -> str:
        by_uid = name == "UID"
        if by_uid and arguments:
            name = f"UID {text_of(arguments.pop(0)).upper()}"
        try:
            text = await self._handler(name)(arguments)
        except No as refusal:
            return f"NO {refusal}"
        except NoSuchFolder as missing:
            return f"NO [NONEXISTENT] No such mailbox: {missing}"
        except (BadCommand, IndexError, ValueError) as bad:
            return f"BAD {bad or 'Arguments are wrong'}"
        if self.view is not None:
            await self.channel.write(self.view.news(may_expunge=name not in MAY_NOT_EXPUNGE))
        return text or f"OK {name} completed"

    def _handler(self, name: str) -> Handler:
        if name in self._anyone:
            return self._anyone[name]
        if name in self._known:
            if self.account is None:
                raise BadCommand("Log in first")
            return self._known[name]
        if name in self._selected:
            if self.view is None:
                raise BadCommand("No mailbox selected")
            return self._selected[name]
        raise BadCommand(f"Unknown command {name}")

    async def _say(self, text: str) -> None:
        await self.channel.write(text.encode("utf-8") + b"\r\n")

    @property
    def user(self) -> Account:
        """The account that is logged in (the dispatcher has made sure that there is one)."""
        if self.account is None:
            raise BadCommand("Log in first")
        return self.account

    def enter_folder(self, view: View) -> None:
        self.leave_folder()
        self.view = view

    def leave_folder(self) -> None:
        if self.view is not None:
            self.view.close()
            self.view = None

    # commands of every state

    def _offers(self) -> str:
        tls = " STARTTLS" if self.server.config.starttls and not self.encrypted else ""
        gmail = " X-GM-EXT-1" if self.account is not None and self.account.gmail and self.account.tells_gmail else ""
        return f"{OFFERS}{gmail} AUTH=PLAIN{tls}"

    async def _capability(self, _arguments: list[Token]) -> None:
        await self._say(f"* CAPABILITY {self._offers()}")

    async def _noop(self, _arguments: list[Token]) -> None:
        return None

    async def _id(self, _arguments: list[Token]) -> None:
        await self._say('* ID ("name" "rehearsal")')

    async def _starttls(self, _arguments: list[Token]) -> str | None:
        raise BadCommand("TLS is already on" if self.encrypted else "TLS is not offered")

    async def _upgrade(self, tag: str) -> None:
        """STARTTLS is answered before the handshake, so it does not pass through the ordinary answer."""
        await self._say(f"{tag} OK Begin TLS negotiation now")
        await self.channel.start_tls(server_context())
        self.encrypted = True

    async def _login(self, arguments: list[Token]) -> str:
        return self._judge(text_of(arguments[0]), text_of(arguments[1]))

    async def _authenticate(self, arguments: list[Token]) -> str:
        if text_of(arguments[0]).upper() != "PLAIN":
            raise No("[CANNOT] Only PLAIN is offered")
        if len(arguments) > 1:
            blob = text_of(arguments[1])
        else:
            await self._say("+ ")
            blob = (await self.channel.line()).decode("ascii", "replace")
        try:
            _, user, password = base64.b64decode(blob, validate=True).decode().split("\0")
        except (ValueError, binascii.Error) as bad:
            raise BadCommand("Cannot decode that") from bad
        return self._judge(user, password)

    def _judge(self, user: str, password: str) -> str:
        account = self.server.store.account(user)
        if self.server.faults.imap(ImapFault.REFUSE_LOGIN, user.lower()):
            raise No("[UNAVAILABLE] Try again later")
        if account is not None and account.starttls_only and not self.encrypted:
            raise No("[PRIVACYREQUIRED] Encryption required")
        if account is None or not account.accepts(password):
            raise No("[AUTHENTICATIONFAILED] Invalid credentials")
        self.account = account
        return f"OK [CAPABILITY {self._offers()}] Logged in"

    # commands after login

    async def _enable(self, arguments: list[Token]) -> None:
        known = [text_of(name).upper() for name in arguments if text_of(name).upper() == "CONDSTORE"]
        await self._say(" ".join(["* ENABLED", *known]))

    async def _namespace(self, _arguments: list[Token]) -> None:
        await self._say('* NAMESPACE (("" "/")) NIL NIL')

    async def _idle(self, _arguments: list[Token]) -> str:
        await self._say("+ idling")
        deaf = self.server.faults.imap(ImapFault.LOST_IDLE, self.user.address)
        done = asyncio.create_task(self.channel.line())
        try:
            await self._push_until(done, deaf)
        finally:
            if not done.done():
                done.cancel()
        if (await done).upper() != b"DONE":
            raise BadCommand("Expected DONE")
        return "OK Idle completed"

    async def _push_until(self, done: asyncio.Task[bytes], deaf: bool) -> None:
        """Write news at once until the client says something."""
        while not done.done():
            if self.view is None or deaf:
                await asyncio.wait((done,))
                return
            await self.channel.write(self.view.news())
            news = asyncio.create_task(self.view.touched.wait())
            await asyncio.wait((done, news), return_when=asyncio.FIRST_COMPLETED)
            news.cancel()

    async def bye(self, text: str) -> None:
        """The server ends this session by itself."""
        try:
            await self._say(f"* BYE {text}")
        except PeerGone:
            return
        self.channel.close()
