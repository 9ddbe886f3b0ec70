"""What every channel speaks: phases, receipts, five errors, and the few methods the engines call.

Everything before the final dot is reversible (the peer must forget the mail when the connection ends), so an error
says how far it came and whether the row may go back to the queue (`reversible`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from app.domain.smtp_reply import Concern as Concern
from app.domain.smtp_reply import Phase as Phase

OnPhase = Callable[[Phase], None]


class Security(StrEnum):
    """How a connection becomes private: not at all, upgraded after the greeting, or from the first byte."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class PasswordCredential:
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class XOAuth2Credential:
    """`token` returns a fresh access token; it is asked at each login, so refreshing is the caller's business."""

    token: Callable[[], Awaitable[str]] = field(repr=False)


Credential = PasswordCredential | XOAuth2Credential


@dataclass(frozen=True, slots=True)
class EndPoint:
    """One server and how to log in to it. `provider` is a key of `app.domain.providers`, or empty."""

    host: str
    port: int
    security: Security
    user: str = ""
    credential: Credential | None = None
    provider: str = ""


@dataclass(slots=True)
class Envelope:
    """One mail to one recipient. `data` are the final bytes, lines end in CRLF; they are never changed here."""

    mail_from: str
    rcpt_to: str
    data: bytes = field(repr=False)


@dataclass(slots=True)
class Permit:
    """The ledger's answer directly before the irrevocable act. `granted_at`: seconds on the monotonic clock, read before the ledger's
    transaction began, so it is never too young."""

    granted: bool
    granted_at: float
    reason: str = ""


PermitFn = Callable[[], Awaitable[Permit]]


@dataclass(slots=True)
class Receipt:
    """What the provider answered to a mail it took. `provider_message_id` is a Message-ID it assigned, else empty."""

    code: int
    enhanced: str
    text: str
    provider_message_id: str = ""


class ChannelError(Exception):
    """Base of the five. `code` 0 and empty texts mean that the peer said nothing readable."""

    def __init__(
        self,
        reason: str,
        *,
        phase: Phase = Phase.CONNECT,
        code: int = 0,
        enhanced: str = "",
        text: str = "",
        concerns: Concern = Concern.NETWORK,
        reversible: bool = True,
    ) -> None:
        super().__init__(f"{reason} at {phase.value}: {code or ''} {text}".strip())
        self.reason = reason
        self.phase = phase
        self.code = code
        self.enhanced = enhanced
        self.text = text
        self.concerns = concerns
        self.reversible = reversible
        #: The domain's verdict on the reply, where there was one: also says whether the address is to be suppressed.
        self.suppress = False
        self.pause_sender = False


class PermanentFailure(ChannelError):
    """Explicitly refused for good; repeating the same thing would be refused again."""


class TemporaryFailure(ChannelError):
    """Refused or lost before anything irrevocable; may be tried again, not before `retry_after` seconds if given."""

    def __init__(
        self,
        reason: str,
        retry_after: int | None = None,
        *,
        phase: Phase = Phase.CONNECT,
        code: int = 0,
        enhanced: str = "",
        text: str = "",
        concerns: Concern = Concern.NETWORK,
        reversible: bool = True,
    ) -> None:
        super().__init__(
            reason, phase=phase, code=code, enhanced=enhanced, text=text, concerns=concerns, reversible=reversible
        )
        self.retry_after = retry_after


class RateLimited(TemporaryFailure):
    """The provider wants less from this sender: slow down or wait; the lead is untouched."""


class AuthenticationFailed(ChannelError):
    """The provider does not accept this login; the mailbox pauses until a person acts."""


class OutcomeUnknown(ChannelError):
    """The dot was written and no readable answer came. `text` is the last line heard. Never retried by a timer."""


class NotPermitted(Exception):
    """The ledger said no directly before the dot: nothing was sent, the connection is gone."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EmailSession(Protocol):
    """One logged-in connection of one sender; several mails go through it, one after the other."""

    @property
    def endpoint(self) -> EndPoint: ...
    @property
    def usable(self) -> bool: ...
    async def send(self, envelope: Envelope, permit: PermitFn) -> Receipt: ...
    async def quit(self) -> None: ...
    def abort(self) -> None: ...


class EmailTransport(Protocol):
    """Whatever takes mail: SMTP here, an HTTP provider later. There is no second way to mail."""

    async def open(self, endpoint: EndPoint, *, ehlo_name: str = "", on_phase: OnPhase | None = None) -> EmailSession: ...


@dataclass(frozen=True, slots=True)
class MxHost:
    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class SrvHost:
    priority: int
    weight: int
    port: int
    host: str


class Resolver(Protocol):
    """Names to facts. Nothing found, or no network, is an empty answer; only `addresses` tells the two apart."""

    async def addresses(self, host: str) -> Sequence[str]: ...
    async def mx(self, domain: str) -> Sequence[MxHost]: ...
    async def srv(self, name: str) -> Sequence[SrvHost]: ...
    async def txt(self, name: str) -> Sequence[str]: ...
