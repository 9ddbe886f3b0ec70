"""Logging in to both servers of a mailbox, and naming what is wrong in a way a person can act on.

A result carries a cause from a closed set; the pages translate it (`verify.<cause>` in the string catalogue). What a
server said is shown only where we got as far as its greeting and login: the answer about a target that is not allowed
stays coarse, or the page would be a port scanner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from app.channels.base import ChannelError, EndPoint, Phase
from app.channels.imap import Folder, ImapReader, Role
from app.channels.smtp import SmtpTransport
from app.domain.providers import SentCopies, provider_of_host


class Cause(StrEnum):
    """Why a check failed; `OK` when it did not."""

    OK = "ok"
    WRONG_PASSWORD = "wrong_password"
    APP_PASSWORD = "app_password_needed"
    OAUTH_NEEDED = "basic_auth_disabled"
    LOGIN_BLOCKED = "login_blocked"
    SMTP_DISABLED = "smtp_auth_disabled"
    IMAP_DISABLED = "imap_disabled"
    SUSPENDED = "account_suspended"
    PASSWORD_EXPIRED = "password_expired"
    AUTH_NOT_OFFERED = "auth_not_offered"
    TLS_REQUIRED = "tls_required"
    STARTTLS_NOT_OFFERED = "starttls_not_offered"
    CERTIFICATE = "certificate"
    TLS_FAILED = "tls"
    HOST_UNKNOWN = "host_unknown"
    BAD_HOST = "bad_host"
    BAD_PORT = "bad_port"
    PORT_CLOSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    NOT_ALLOWED = "not_allowed"
    CONNECTION_LOST = "connection_lost"
    NOT_A_MAIL_SERVER = "bad_reply"
    TOO_MANY = "too_many"
    BUSY = "busy"
    OTHER = "other"


#: Reasons of the channels that are not causes by name.
_CAUSES: dict[str, Cause] = {
    "auth_required": Cause.WRONG_PASSWORD,
    "auth_mechanism": Cause.AUTH_NOT_OFFERED,
    "connection_closed": Cause.CONNECTION_LOST,
    "connection_reset": Cause.CONNECTION_LOST,
    "too_many_logins": Cause.TOO_MANY,
    "too_many_connections": Cause.TOO_MANY,
    "concurrent_connections": Cause.TOO_MANY,
    "server_unwilling": Cause.BUSY,
    "server_closing": Cause.BUSY,
    "server_busy": Cause.BUSY,
    "server_trouble": Cause.BUSY,
    "login_temporarily_down": Cause.BUSY,
    "no_such_folder": Cause.OTHER,
}
#: Failures that may pass by themselves: the mailbox stays "connecting" instead of "auth_failed".
PASSING = frozenset({Cause.TIMEOUT, Cause.UNREACHABLE, Cause.CONNECTION_LOST, Cause.TOO_MANY, Cause.BUSY})


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One server. `said`: the server's own words, one line, may be empty. `message`: key of the string catalogue."""

    ok: bool
    cause: Cause = Cause.OK
    phase: Phase = Phase.DONE
    said: str = ""

    @property
    def message(self) -> str:
        return f"verify.{self.cause.value}"

    @property
    def passing(self) -> bool:
        """It may be different in a minute, without anybody changing a setting."""
        return self.cause in PASSING


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """Both checks; folders and Sent behaviour are known only when IMAP worked."""

    smtp: CheckResult
    imap: CheckResult
    sent_copies: SentCopies | None = None
    folders: tuple[Folder, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return self.smtp.ok and self.imap.ok

    def folder(self, role: Role) -> Folder | None:
        return next((folder for folder in self.folders if folder.role is role), None)


class Verifier:
    """`verify` never raises for what a server or a setting does; `limit` is seconds for each of the two checks."""

    def __init__(self, transport: SmtpTransport, reader: ImapReader, limit: float = 30.0) -> None:
        self._transport = transport
        self._reader = reader
        self._limit = limit

    async def verify(self, smtp: EndPoint, imap: EndPoint) -> VerifyResult:
        """Log in to both at once."""
        folders: list[Folder] = []

        async def read_folders() -> None:
            session = await self._reader.open(imap)
            try:
                await session.select("INBOX", readonly=True)
                folders.extend(await session.folders())
            finally:
                await session.logout()

        sent, received = await asyncio.gather(self._check(lambda: self._log_in(smtp)), self._check(read_folders))
        copies = _sent_copies(smtp.host, folders) if received.ok else None
        return VerifyResult(sent, received, copies, tuple(folders))

    async def _log_in(self, smtp: EndPoint) -> None:
        session = await self._transport.open(smtp)
        await session.quit()

    async def _check(self, attempt: Callable[[], Awaitable[None]]) -> CheckResult:
        try:
            async with asyncio.timeout(self._limit):
                await attempt()
        except ChannelError as error:
            return check_result(error)
        except TimeoutError:
            return CheckResult(False, Cause.TIMEOUT, Phase.CONNECT)
        except ValueError:
            return CheckResult(False, Cause.OTHER, Phase.AUTH)
        return CheckResult(True)


def check_result(error: ChannelError) -> CheckResult:
    """The cause behind a channel's error; also for engines that report why a mailbox stopped working."""
    try:
        cause = Cause(error.reason)
    except ValueError:
        cause = _CAUSES.get(error.reason, Cause.OTHER)
    if cause is Cause.BAD_HOST and error.phase is not Phase.CONNECT:
        cause = Cause.OTHER
    heard = error.phase not in {Phase.CONNECT, Phase.BANNER}
    return CheckResult(False, cause, error.phase, error.text[:300] if heard else "")


def _sent_copies(smtp_host: str, folders: list[Folder]) -> SentCopies:
    """Known providers by their habit; elsewhere we put the copy there ourselves, if there is a folder for it."""
    known = provider_of_host(smtp_host)
    if known is not None:
        return known.sent_copies
    return SentCopies.APPEND if any(folder.role is Role.SENT for folder in folders) else SentCopies.NEVER


def verify_now(verifier: Verifier, smtp: EndPoint, imap: EndPoint) -> VerifyResult:
    """`verify` for callers without an event loop (a page, a job)."""
    return asyncio.run(verifier.verify(smtp, imap))


async def verify_many(verifier: Verifier, pairs: list[tuple[EndPoint, EndPoint]], at_once: int = 10) -> list[VerifyResult]:
    """Several mailboxes, `at_once` at a time; results in the order of `pairs`."""
    slots = asyncio.Semaphore(at_once)

    async def one(smtp: EndPoint, imap: EndPoint) -> VerifyResult:
        async with slots:
            return await verifier.verify(smtp, imap)

    return list(await asyncio.gather(*(one(smtp, imap) for smtp, imap in pairs)))
