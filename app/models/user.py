"""People of the house: users, their page and API sessions, one-time links, throttling of logins."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.domain.statuses import Role
from app.models.base import Base, BigId, Created, Moment, Ref, one_of, tenant


class User(Base):
    __tablename__ = "users"
    id: Mapped[BigId]
    email: Mapped[str]
    email_key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    password_hash: Mapped[str | None]
    is_operator: Mapped[bool] = mapped_column(server_default="false", default=False)
    timezone: Mapped[str] = mapped_column(server_default="Asia/Kolkata", default="Asia/Kolkata")
    language: Mapped[str] = mapped_column(server_default="en", default="en")
    shortcuts_on: Mapped[bool] = mapped_column(server_default="true", default=True)
    theme: Mapped[str] = mapped_column(server_default="system", default="system")
    disabled_at: Mapped[Moment | None]
    created_at: Mapped[Created]
    __table_args__ = (one_of("theme", ("system", "light", "dark")),)


class Membership(Base):
    __tablename__ = "memberships"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id"), index=True)
    role: Mapped[str]
    invited: Mapped[bool] = mapped_column(server_default="false", default=False)  # this client brought the person in
    created_at: Mapped[Created]
    user: Mapped[User] = relationship(lazy="raise")
    __table_args__ = (UniqueConstraint("client_id", "user_id"), one_of("role", Role))


class UserSession(Base):
    """A revocable login. Pages and API are separate kinds; tokens carry ``token_hash``'s original as their session id."""

    __tablename__ = "user_sessions"
    id: Mapped[BigId]
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id"), index=True)
    kind: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)
    refresh_hash: Mapped[str | None]
    created_at: Mapped[Created]
    last_seen_at: Mapped[Created]
    expires_at: Mapped[Moment]
    revoked_at: Mapped[Moment | None]
    address: Mapped[str] = mapped_column(server_default="")
    agent: Mapped[str] = mapped_column(server_default="")
    __table_args__ = (one_of("kind", ("page", "api")),)


class OneTimeLink(Base):
    """Claim, sign-in, invitation, reset: single use, short-lived, stored as a hash."""

    __tablename__ = "one_time_links"
    id: Mapped[BigId]
    token_hash: Mapped[str] = mapped_column(unique=True)
    purpose: Mapped[str]
    user_id: Mapped[Ref | None] = mapped_column(ForeignKey("users.id"))
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]
    created_at: Mapped[Created]
    __table_args__ = (one_of("purpose", ("claim", "login", "invite", "reset")),)


class SecondFactor(Base):
    """An authenticator app: one confirmed per user, and one being set up. ``totp_secret`` is sealed for its row.

    ``last_step``: the newest step whose code was used; no code of it or of an earlier one is taken again. Machine time.
    """

    __tablename__ = "second_factors"
    id: Mapped[BigId]
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id"))
    totp_secret: Mapped[str]
    last_step: Mapped[Ref | None]
    confirmed_at: Mapped[Moment | None]
    created_at: Mapped[Created]
    __table_args__ = (
        Index("uq_second_factors_confirmed", "user_id", unique=True, postgresql_where=text("confirmed_at IS NOT NULL")),
        Index("uq_second_factors_begun", "user_id", unique=True, postgresql_where=text("confirmed_at IS NULL")),
    )


class RecoveryCode(Base):
    """For the day the phone is lost: works once, kept as a hash."""

    __tablename__ = "recovery_codes"
    id: Mapped[BigId]
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id"))
    code_hash: Mapped[str]
    used_at: Mapped[Moment | None]
    created_at: Mapped[Created]
    __table_args__ = (UniqueConstraint("user_id", "code_hash"),)


class LoginAttempt(Base):
    """A login whose password (or link) was right and that waits for its second factor. ``wrong`` counts codes. Machine time."""

    __tablename__ = "login_attempts"
    id: Mapped[BigId]
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id"), index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    wrong: Mapped[int] = mapped_column(server_default="0", default=0)
    expires_at: Mapped[Moment]
    ended_at: Mapped[Moment | None]
    created_at: Mapped[Created]


class LoginThrottle(Base):
    """Failures per account key and per network; the delay grows, nothing locks for good. Machine time."""

    __tablename__ = "login_throttle"
    key: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int] = mapped_column(server_default="0")
    last_failure_at: Mapped[Moment]
    blocked_until: Mapped[Moment | None]
    __table_args__ = (Index(None, "last_failure_at"),)


class ApiKey(Base):
    """A program's key to one client, with at most its maker's role. Machine time. Only the hash of the secret is kept."""

    __tablename__ = "api_keys"
    id: Mapped[BigId]
    client_id: Mapped[int] = tenant()
    user_id: Mapped[Ref] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]
    secret_hash: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str]
    created_at: Mapped[Created]
    expires_at: Mapped[Moment | None]
    last_used_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]
    __table_args__ = (one_of("scope", ("read", "write")), Index(None, "client_id"))
