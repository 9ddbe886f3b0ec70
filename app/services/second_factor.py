"""The second factor of a login: codes of an authenticator app, and recovery codes for the day the phone is lost.

Traps this module is built around: a code that was seen over a shoulder must not work again (each step is used once, decided by one
conditional UPDATE, so also among parallel tries); the secret never leaves the set-up; nobody can turn the factor off with a session alone.
All of it on machine time.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, or_, select, update

from app.core.clock import machine_now
from app.core.crypto import vault
from app.core.errors import Conflict, Invalid, Unauthenticated
from app.core.extensions import db
from app.core.tokens import token_hash
from app.domain import one_time_codes as codes
from app.models import RecoveryCode, SecondFactor, User
from app.services import audit, auth, throttle
from app.strings import t

RECOVERY_CODES = 10
SET_UP_WITHIN = timedelta(minutes=30)
WRONG = t("second_factor.wrong_code")
USED = t("second_factor.used_code")


@dataclass(frozen=True)
class SetUp:
    """Shown once while setting up: the secret for typing, the address for the QR code."""

    secret: str
    address: str


def of(user_id: int) -> SecondFactor | None:
    """The confirmed second factor of a user."""
    return db.session.scalar(select(SecondFactor).where(SecondFactor.user_id == user_id, SecondFactor.confirmed_at.is_not(None)))


def codes_left(user_id: int) -> int:
    """How many recovery codes are unused."""
    mine = select(func.count()).where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
    return int(db.session.scalar(mine) or 0)


def place(row_id: int) -> str:
    return f"second_factors.totp_secret:{row_id}"


# Setting up


def begin(user: User, password: str, typed: str, caller: auth.Caller) -> SetUp:
    """A new secret, which counts only once ``confirm`` has seen a code of it.

    Needs the password, and a code where a second factor is on already: a session that somebody left open is not enough.
    Raises Invalid per field, TooMany. The edge keeps the transaction of a refusal.
    """
    auth.need_password(user, password, caller)
    if of(user.id) is not None:
        prove_here(user, typed, caller)
    db.session.execute(delete(SecondFactor).where(SecondFactor.user_id == user.id, SecondFactor.confirmed_at.is_(None)))
    secret = base64.b32encode(secrets.token_bytes(20)).decode()
    row = SecondFactor(user_id=user.id, totp_secret="")
    db.session.add(row)
    db.session.flush()
    row.totp_secret = vault().seal(secret, place(row.id))
    db.session.flush()
    audit.record("user.second_factor_begin", "user", user.id)
    return SetUp(secret, codes.address_of(secret, user.email))


def begun(user: User) -> SetUp | None:
    """What ``begin`` made, while it still can be confirmed: a page shows it again after a wrong code."""
    row = _begun(user.id)
    if row is None:
        return None
    secret = vault().open(row.totp_secret, place(row.id))
    return SetUp(secret, codes.address_of(secret, user.email))


def _begun(user_id: int) -> SecondFactor | None:
    statement = select(SecondFactor).where(
        SecondFactor.user_id == user_id, SecondFactor.confirmed_at.is_(None), SecondFactor.created_at > machine_now() - SET_UP_WITHIN
    )
    return db.session.scalar(statement.with_for_update())


def confirm(user: User, typed: str, session_id: int) -> list[str]:
    """Turn it on with a first code of the app; the recovery codes, shown only now. Every other session ends.

    Raises Conflict when nothing was begun, Invalid for a code that does not fit.
    """
    row = _begun(user.id)
    if row is None:
        raise Conflict(t("second_factor.not_begun"), code="not_begun")
    step = codes.step_matching(vault().open(row.totp_secret, place(row.id)), codes.tidy(typed), machine_now())
    if step is None:
        raise Invalid.field("otp", t("second_factor.wrong_first_code"))
    replaced = db.session.execute(
        delete(SecondFactor).where(SecondFactor.user_id == user.id, SecondFactor.confirmed_at.is_not(None)).returning(SecondFactor.id)
    ).first()
    row.confirmed_at, row.last_step = machine_now(), step
    db.session.flush()
    auth.end_other_sessions(user.id, but=session_id)
    auth.end_attempts(user.id)
    audit.record("user.second_factor", "user", user.id, before={"second_factor": replaced is not None}, after={"second_factor": True})
    return _fresh_codes(user.id)


def _fresh_codes(user_id: int) -> list[str]:
    db.session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    fresh = [base64.b32encode(secrets.token_bytes(15)).decode() for _ in range(RECOVERY_CODES)]
    db.session.add_all(RecoveryCode(user_id=user_id, code_hash=_hash(user_id, code)) for code in fresh)
    db.session.flush()
    return [codes.readable(code) for code in fresh]


def _hash(user_id: int, code: str) -> str:
    """120 random bits, so a fast hash is enough; bound to its user."""
    return token_hash(f"recovery {user_id} {code}")


# Proving


def prove(user: User, typed: str, caller: auth.Caller) -> str:
    """``app`` or ``recovery``: how this code proves the user. It never does so again.

    Raises TooMany while tries must wait, Unauthenticated (``wrong_second_factor``) otherwise; the edge keeps the transaction.
    """
    key = throttle.key_of("factor", str(user.id), user.id, caller.address)
    throttle.refuse_while_waiting(key)
    factor, code = of(user.id), codes.tidy(typed)
    words = WRONG
    if factor is not None and codes.is_app_code(code):
        step = codes.step_matching(vault().open(factor.totp_secret, place(factor.id)), code, machine_now())
        if step is not None and _use_step(factor.id, step):
            throttle.forget(key)
            return "app"
        words = USED if step is not None else WRONG
    elif factor is not None and _use_recovery(user.id, code):
        throttle.forget(key)
        audit.record("user.recovery_code", "user", user.id, user_id=user.id, after={"left": codes_left(user.id)})
        return "recovery"
    throttle.count_failure({key: throttle.SECOND_FACTOR})
    raise Unauthenticated(words, code="wrong_second_factor")


def _use_step(factor_id: int, step: int) -> bool:
    newer = or_(SecondFactor.last_step.is_(None), SecondFactor.last_step < step)
    used = update(SecondFactor).where(SecondFactor.id == factor_id, newer).values(last_step=step).returning(SecondFactor.id)
    return db.session.execute(used.execution_options(synchronize_session=False)).first() is not None


def _use_recovery(user_id: int, code: str) -> bool:
    used = (
        update(RecoveryCode)
        .where(RecoveryCode.user_id == user_id, RecoveryCode.code_hash == _hash(user_id, code), RecoveryCode.used_at.is_(None))
        .values(used_at=machine_now())
        .returning(RecoveryCode.id)
    )
    return db.session.execute(used.execution_options(synchronize_session=False)).first() is not None


def prove_here(user: User, typed: str, caller: auth.Caller) -> str:
    """The same inside a session: raises Invalid on ``otp`` instead, because nobody is logged out by it."""
    try:
        return prove(user, typed, caller)
    except Unauthenticated as wrong:
        raise Invalid.field("otp", wrong.message) from None


# Later


def new_codes(user: User, typed: str, caller: auth.Caller) -> list[str]:
    """Ten new recovery codes; the old ones no longer work. Raises Conflict, Invalid, TooMany."""
    _need_one(user.id)
    prove_here(user, typed, caller)
    audit.record("user.recovery_codes", "user", user.id)
    return _fresh_codes(user.id)


def turn_off(user: User, typed: str, caller: auth.Caller) -> None:
    """Raises Conflict when there is none, Invalid for a wrong code, TooMany. Clients that ask for one close until it is set up again."""
    _need_one(user.id)
    prove_here(user, typed, caller)
    _remove(user.id)


def reset(user: User) -> None:
    """By an operator, for somebody who lost phone and codes: the factor is gone and every session ends. Raises Conflict when there is none."""
    _need_one(user.id)
    _remove(user.id)
    auth.end_other_sessions(user.id)
    auth.end_attempts(user.id)


def _need_one(user_id: int) -> None:
    if of(user_id) is None:
        raise Conflict(t("second_factor.none_set_up"), code="no_second_factor")


def _remove(user_id: int) -> None:
    db.session.execute(delete(SecondFactor).where(SecondFactor.user_id == user_id))
    db.session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    audit.record("user.second_factor", "user", user_id, before={"second_factor": True}, after={"second_factor": False})
