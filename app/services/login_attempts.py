"""A login between its two factors: the password was right, the code is still asked for. Ten wrong codes end it, or ten minutes."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from app.core.clock import machine_now
from app.core.errors import Unauthenticated
from app.core.extensions import db
from app.core.tokens import new_token, token_hash
from app.models import LoginAttempt, User
from app.services import audit, auth, second_factor
from app.strings import t

LIFE = timedelta(minutes=10)
TRIES = 10


class AttemptOver(Unauthenticated):
    """Begin again with the password."""

    code = "attempt_over"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or t("auth.took_too_long"))


def begin(user: User) -> str:
    """The token that names the attempt; only its hash is kept."""
    token = new_token()
    db.session.add(LoginAttempt(user_id=user.id, token_hash=token_hash(token), expires_at=machine_now() + LIFE))
    db.session.flush()
    return token


def alive(token: str) -> bool:
    return _find(token) is not None


def _find(token: str, *, lock: bool = False) -> LoginAttempt | None:
    statement = (
        select(LoginAttempt)
        .join(User, User.id == LoginAttempt.user_id)
        .where(
            LoginAttempt.token_hash == token_hash(token), LoginAttempt.ended_at.is_(None), LoginAttempt.expires_at > machine_now(),
            User.disabled_at.is_(None),
        )
    )  # fmt: skip
    return db.session.scalar(statement.with_for_update(of=LoginAttempt) if lock else statement)


def finish(token: str, typed: str, caller: auth.Caller) -> tuple[User, str]:
    """(user, how) when the code fits; the attempt is used up by it.

    Raises AttemptOver, Unauthenticated for a wrong code, TooMany. Parallel tries at one attempt go one after the other. The edge keeps
    the transaction of a refusal: the count is stored.
    """
    attempt = _find(token, lock=True)
    if attempt is None:
        raise AttemptOver
    user = db.session.get_one(User, attempt.user_id)
    try:
        how = second_factor.prove(user, typed, caller)
    except Unauthenticated as wrong:
        attempt.wrong += 1
        if attempt.wrong < TRIES:
            db.session.flush()
            raise
        attempt.ended_at = machine_now()
        db.session.flush()
        audit.record("user.second_factor_refused", "user", user.id, user_id=user.id, after={"wrong_codes": attempt.wrong})
        raise AttemptOver(t("auth.wrong_codes", n=TRIES)) from wrong
    attempt.ended_at = machine_now()
    db.session.flush()
    return user, how
