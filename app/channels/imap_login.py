"""Why an IMAP server refused a login: its own words first, then those shared with SMTP."""

from __future__ import annotations

import re

from app.channels.base import AuthenticationFailed, ChannelError, Concern, Phase, RateLimited, TemporaryFailure
from app.domain.smtp_replies import decide
from app.domain.smtp_reply import Action, Reply, enhanced_code

#: (reason, kind, pattern); kinds: auth = a person must act, rate = wait, temporary = try again.
_CAUSES: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (reason, kind, re.compile(pattern, re.IGNORECASE))
    for reason, kind, pattern in (
        ("too_many_connections", "rate", r"too many (simultaneous |open )?(connections|sessions)|\[LIMIT\]|connection limit"),
        ("too_many_logins", "rate", r"too many (login|auth|failed)|rate ?limit|\[THROTTLED\]|bandwidth|exceeded.{0,30}limit"),
        ("server_trouble", "temporary", r"\[(UNAVAILABLE|INUSE|SERVERBUG|CONTACTADMIN)\]|temporar|internal error|try again"),
        ("imap_disabled", "auth", r"imap.{0,40}(disabled|not enabled|turned off|not (allowed|permitted))|enable imap"),
        ("imap_disabled", "auth", r"not (enabled|allowed|permitted|authorized) .{0,20}(for |to (use )?)imap"),
        ("login_blocked", "auth", r"\[WEBALERT|web ?browser|web ?login"),
        ("tls_required", "auth", r"\[PRIVACYREQUIRED\]|(tls|ssl|encrypt).{0,20}required|plaintext authentication disallowed"),
        ("password_expired", "auth", r"\[EXPIRED\]|password.{0,20}expired"),
    )
)


def login_error(text: str, provider: str = "") -> ChannelError:
    """The channel error for a refused LOGIN or AUTHENTICATE; `text` is the server's answer."""
    for reason, kind, pattern in _CAUSES:
        if pattern.search(text):
            if kind == "rate":
                return RateLimited(reason, 900, phase=Phase.AUTH, text=text, concerns=Concern.PROVIDER)
            if kind == "temporary":
                return TemporaryFailure(reason, phase=Phase.AUTH, text=text, concerns=Concern.PROVIDER)
            return AuthenticationFailed(reason, phase=Phase.AUTH, text=text, concerns=Concern.SENDER)
    verdict = decide(Reply(Phase.AUTH, 535, enhanced_code(text), text, provider))
    if verdict.action is Action.SLOW:
        return RateLimited(verdict.reason, verdict.retry_after, phase=Phase.AUTH, text=text, concerns=verdict.concerns)
    return AuthenticationFailed(verdict.reason, phase=Phase.AUTH, text=text, concerns=Concern.SENDER)
