"""From what was heard (or not) to one of the five errors. The verdict itself is the domain's (`smtp_replies`)."""

from __future__ import annotations

from app.channels.base import (
    AuthenticationFailed,
    ChannelError,
    EndPoint,
    OutcomeUnknown,
    PermanentFailure,
    Phase,
    RateLimited,
    TemporaryFailure,
)
from app.domain.smtp_replies import decide
from app.domain.smtp_reply import Action, Reply, ReplyAction


def lost(phase: Phase, cause: str, text: str = "") -> TemporaryFailure:
    """Silence, an end or garbage before the dot: reversible, nobody's fault that we know of."""
    return TemporaryFailure(cause, phase=phase, text=text)


def reply_error(reply: Reply, endpoint: EndPoint) -> ChannelError:
    """The error for an explicit refusal; always reversible, because the peer itself said that it has no mail."""
    verdict = decide(reply)
    error = _error(reply, verdict)
    error.suppress = verdict.action is Action.FAIL_SUPPRESS
    error.pause_sender = verdict.action is Action.PAUSE_MAILBOX
    return error


def _error(reply: Reply, verdict: ReplyAction) -> ChannelError:
    phase, code, enhanced, text = reply.phase, reply.code, reply.enhanced, reply.text
    concerns = verdict.concerns
    match verdict.action:
        case Action.FAIL | Action.FAIL_SUPPRESS:
            return PermanentFailure(
                verdict.reason, phase=phase, code=code, enhanced=enhanced, text=text, concerns=concerns
            )
        case Action.PAUSE_MAILBOX if verdict.reason in AUTH_REASONS:
            return AuthenticationFailed(
                verdict.reason, phase=phase, code=code, enhanced=enhanced, text=text, concerns=concerns
            )
        case Action.PAUSE_MAILBOX | Action.SLOW:
            return RateLimited(
                verdict.reason,
                verdict.retry_after,
                phase=phase,
                code=code,
                enhanced=enhanced,
                text=text,
                concerns=concerns,
            )
        case Action.UNCERTAIN | Action.DONE:
            return OutcomeUnknown(
                verdict.reason, phase=phase, code=code, text=text, concerns=concerns, reversible=False
            )
        case _:
            return TemporaryFailure(
                verdict.reason,
                verdict.retry_after,
                phase=phase,
                code=code,
                enhanced=enhanced,
                text=text,
                concerns=concerns,
            )


#: Reasons for which only a person with the right password or setting can help.
AUTH_REASONS = frozenset(
    {"wrong_password", "app_password_needed", "tls_required", "basic_auth_disabled", "login_blocked", "auth_required",
     "account_suspended", "smtp_auth_disabled", "auth_mechanism"}
)  # fmt: skip
