"""Logins, sessions that can be ended, links that work once. All of it on machine time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, or_, select, update

from app.core.clock import machine_now
from app.core.errors import Invalid, NotFound, Unauthenticated
from app.core.extensions import db
from app.core.tokens import new_token, token_hash
from app.domain.address import email_key
from app.models import LoginAttempt, OneTimeLink, User, UserSession
from app.services import passwords, throttle
from app.strings import t

IDLE = timedelta(hours=8)
PAGE_LIFE = timedelta(days=7)
API_LIFE = timedelta(days=30)
SEEN_EVERY = timedelta(seconds=60)
WRONG = t("auth.wrong_login")


@dataclass(frozen=True)
class Caller:
    """Where a login comes from: shown in the list of sessions and counted by the throttle."""

    address: str
    agent: str


def log_in(email: str, password: str, caller: Caller) -> User:
    """The user whom e-mail and password name.

    Raises TooMany while the account or network must wait, else Unauthenticated; both say and take the same for an address that
    nobody has. The edge keeps the transaction of a failure: its count is stored.
    """
    key = email_key(email)[:320]
    user = db.session.scalar(select(User).where(User.email_key == key))
    account = throttle.key_of("account", key, user.id if user else None, caller.address)
    network = f"network:{throttle.network_of(caller.address)}"
    throttle.refuse_while_waiting(account, network)
    fitting = passwords.fits(user.password_hash if user else None, password)
    if user is None or not fitting or user.disabled_at is not None:
        throttle.count_failure({account: throttle.ACCOUNT, network: throttle.NETWORK})
        raise Unauthenticated(WRONG, code="wrong_login")
    if passwords.outdated(user.password_hash or ""):
        user.password_hash = passwords.hash_password(password)
    throttle.forget(account)
    return user


def need_password(user: User, password: str, caller: Caller, *, field: str = "password", wrong: str = "") -> None:
    """Ask somebody who is logged in for their password again. Raises Invalid on ``field``, TooMany; the edge keeps the count."""
    if user.password_hash is None:
        raise Invalid.field(field, t("auth.no_password_yet"))
    key = throttle.key_of("account", user.email_key, user.id, caller.address)
    throttle.refuse_while_waiting(key)
    if not passwords.fits(user.password_hash, password):
        throttle.count_failure({key: throttle.ACCOUNT})
        raise Invalid.field(field, wrong or t("auth.not_your_password"))
    throttle.forget(key)


def open_session(user: User, kind: str, caller: Caller) -> tuple[UserSession, str]:
    """A new session of ``kind`` page or api and its id, which only the token carries."""
    secret = new_token()
    row = UserSession(
        user_id=user.id,
        kind=kind,
        token_hash=token_hash(secret),
        expires_at=machine_now() + (PAGE_LIFE if kind == "page" else API_LIFE),
        last_seen_at=machine_now(),
        address=caller.address[:64],
        agent=caller.agent[:200],
    )
    db.session.add(row)
    db.session.flush()
    return row, secret


# Written once: every request of somebody logged in asks it.
_LIVING = (
    select(UserSession, User)
    .join(User, User.id == UserSession.user_id)
    .where(
        UserSession.token_hash == bindparam("token_hash"),
        UserSession.kind == bindparam("kind"),
        UserSession.revoked_at.is_(None),
        UserSession.expires_at > bindparam("now"),
        or_(UserSession.kind == "api", UserSession.last_seen_at > bindparam("idle_since")),
        User.disabled_at.is_(None),
    )
)


def session_user(secret: str, kind: str) -> tuple[UserSession, User] | None:
    """The living session behind ``secret`` and its user; being asked keeps it from going idle (written once a minute)."""
    now = machine_now()
    asked = {"token_hash": token_hash(secret), "kind": kind, "now": now, "idle_since": now - IDLE}
    found = db.session.execute(_LIVING, asked).first()
    if found is None:
        return None
    row, user = found
    if now - row.last_seen_at > SEEN_EVERY:
        seen = update(UserSession).where(UserSession.id == row.id, UserSession.last_seen_at < now)
        db.session.execute(seen.values(last_seen_at=now).execution_options(synchronize_session=False))
    return row, user


def session_lives(session_id: int) -> bool:
    """Is it neither ended nor over? (An open stream asks; it counts as being there, so idleness is not asked.)"""
    statement = select(UserSession.id).join(User, User.id == UserSession.user_id).where(
        UserSession.id == session_id, UserSession.revoked_at.is_(None), UserSession.expires_at > machine_now(), User.disabled_at.is_(None)
    )  # fmt: skip
    return db.session.scalar(statement) is not None


def rotate_refresh(secret: str, presented: str) -> tuple[UserSession, User, str]:
    """Exchange a refresh token's id for the next one.

    A token presented twice ends its whole family: raises Unauthenticated, and the edge keeps the revocation.
    """
    found = session_user(secret, "api")
    if found is None:
        raise Unauthenticated(t("auth.login_over"), code="session_over")
    row, user = found
    db.session.refresh(row, with_for_update=True)
    if row.refresh_hash != token_hash(presented) or row.revoked_at is not None:
        row.revoked_at = row.revoked_at or machine_now()
        raise Unauthenticated(t("auth.refresh_used_before"), code="session_over")
    row.expires_at, row.last_seen_at = machine_now() + API_LIFE, machine_now()
    return row, user, set_refresh(row)


def set_refresh(row: UserSession) -> str:
    """Give ``row`` a new refresh id; only its hash stays."""
    fresh = new_token()
    row.refresh_hash = token_hash(fresh)
    return fresh


def end_session(user_id: int, session_id: int) -> None:
    """End one session of this user. Raises NotFound for another's."""
    done = db.session.execute(
        update(UserSession)
        .where(UserSession.id == session_id, UserSession.user_id == user_id, UserSession.revoked_at.is_(None))
        .values(revoked_at=machine_now())
        .returning(UserSession.id)
    ).scalar()
    if done is None:
        raise NotFound


def end_other_sessions(user_id: int, but: int | None = None) -> int:
    """End every session of the user except ``but``; returns how many."""
    statement = update(UserSession).where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None))
    if but is not None:
        statement = statement.where(UserSession.id != but)
    return len(db.session.execute(statement.values(revoked_at=machine_now()).returning(UserSession.id)).all())


def set_password(user: User, password: str, *, keep_session: int | None = None, field: str = "password") -> None:
    """Check, hash and store; ends the user's other sessions. Raises Invalid on ``field``."""
    passwords.check_password(password, user.name, user.email, field=field)
    user.password_hash = passwords.hash_password(password)
    end_other_sessions(user.id, but=keep_session)
    end_attempts(user.id)


def end_attempts(user_id: int) -> None:
    """Logins that still wait for their second factor are over."""
    waiting = update(LoginAttempt).where(LoginAttempt.user_id == user_id, LoginAttempt.ended_at.is_(None))
    db.session.execute(waiting.values(ended_at=machine_now()).execution_options(synchronize_session=False))


LINK_LIFE = {
    "claim": timedelta(days=7),
    "login": timedelta(hours=24),
    "invite": timedelta(hours=72),
    "reset": timedelta(minutes=30),
}


def make_one_time_link(user: User | None, purpose: str, life: timedelta | None = None) -> str:
    """A path that works once: ``/login/link/<token>``, ``/claim/<token>``. ``purpose``: claim (no user), login, invite, reset."""
    token = new_token()
    expires_at = machine_now() + (life or LINK_LIFE[purpose])
    db.session.add(
        OneTimeLink(
            token_hash=token_hash(token), purpose=purpose, user_id=user.id if user else None, expires_at=expires_at
        )
    )
    db.session.flush()
    return f"/claim/{token}" if purpose == "claim" else f"/login/link/{token}"


def end_links(user_id: int, purpose: str) -> None:
    """Unused links of this purpose stop working."""
    unused = update(OneTimeLink).where(
        OneTimeLink.user_id == user_id, OneTimeLink.purpose == purpose, OneTimeLink.used_at.is_(None)
    )
    db.session.execute(unused.values(used_at=machine_now()).execution_options(synchronize_session=False))


def find_link(token: str, *, take: bool = False) -> OneTimeLink:
    """The unused link of this token; ``take`` locks it and marks it used. Raises NotFound when it no longer works."""
    now: datetime = machine_now()
    statement = select(OneTimeLink).where(
        OneTimeLink.token_hash == token_hash(token), OneTimeLink.used_at.is_(None), OneTimeLink.expires_at > now
    )
    link = db.session.scalar(statement.with_for_update() if take else statement)
    if link is None:
        raise NotFound(t("auth.link_used"))
    if take:
        link.used_at = now
    return link
