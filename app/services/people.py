"""Users and their seats: making them, claiming a new instance, changing what they may change of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update

from app.core.clock import machine_now
from app.core.db import Scope as ScopeOf
from app.core.db import current_scope, enter_scope
from app.core.errors import Conflict, Invalid, NotFound
from app.core.extensions import db
from app.domain.address import AddressError, email_key, parse_address
from app.domain.languages import LANGUAGES
from app.domain.names import tidy_name
from app.domain.statuses import Role
from app.domain.zones import known_zones
from app.models import Client, Instance, Membership, User
from app.services import audit, auth, passwords
from app.strings import t


def create_user(
    email: str, name: str, password: str | None = None, *, operator: bool = False, timezone: str | None = None, language: str | None = None
) -> User:
    """A new user. Raises Invalid per field. Reserved test domains are accepted: nothing is sent to them here."""
    try:
        address = parse_address(email, allow_reserved=True)
    except AddressError as error:
        raise Invalid.field("email", str(error)) from None
    try:
        shown = tidy_name(name, LONGEST_NAME)
    except ValueError as fault:
        raise Invalid.field("name", str(fault)) from None
    if db.session.scalar(select(User.id).where(User.email_key == address.key)):
        raise Invalid.field("email", t("members.address_taken"))
    user = User(email=address.email, email_key=address.key, name=shown, is_operator=operator)
    change_profile(user, {key: value for key, value in (("timezone", timezone), ("language", language)) if value})
    if password is not None:
        passwords.check_password(password, user.name, user.email)
        user.password_hash = passwords.hash_password(password)
    db.session.add(user)
    db.session.flush()
    return user


def find_user(email: str) -> User:
    user = db.session.scalar(select(User).where(User.email_key == email_key(email)))
    if user is None:
        raise NotFound(t("members.nobody_has", email=email))
    return user


def grant(user: User, client: Client, role: Role) -> Membership:
    """Make or change the membership; in the client's scope, so that the second wall lets it in."""
    before = current_scope()
    enter_scope(ScopeOf(user_id=before.user_id, client_id=client.id, client_ids=(*before.client_ids, client.id)))
    seat = db.session.scalar(select(Membership).where(Membership.client_id == client.id, Membership.user_id == user.id))
    was = seat.role if seat else None
    if seat is None:
        seat = Membership(client_id=client.id, user_id=user.id, role=role)
        db.session.add(seat)
    seat.role = role
    db.session.flush()
    audit.record("member.grant", "user", user.id, client_id=client.id, before={"role": was}, after={"role": str(role)})
    return seat


def claim_instance(email: str, name: str, password: str, timezone: str | None = None) -> User:
    """The first operator. Raises Conflict when the instance is somebody's already."""
    taken = db.session.scalar(
        update(Instance)
        .where(Instance.id == 1, Instance.claimed_at.is_(None))
        .values(claimed_at=machine_now())
        .returning(Instance.id)
        .execution_options(synchronize_session=False)
    )
    if taken is None:
        raise Conflict(t("auth.claimed_already"), code="claimed")
    user = create_user(email, name, password, operator=True, timezone=timezone)
    audit.record("instance.claim", "user", user.id, user_id=user.id)
    return user


LONGEST_NAME = 120
THEMES = ("system", "light", "dark")


def change_profile(user: User, values: Mapping[str, Any]) -> None:
    """Name, time zone, language, theme, shortcuts. Raises Invalid per field."""
    wrong: dict[str, list[str]] = {}
    wanted = dict(values)
    if "name" in values:
        try:
            wanted["name"] = tidy_name(values["name"], LONGEST_NAME)
        except ValueError as fault:
            wrong["name"] = [str(fault)]
    if "timezone" in values and values["timezone"] not in known_zones():
        wrong["timezone"] = [t("fields.timezone_choice")]
    if "language" in values and values["language"] not in LANGUAGES:
        wrong["language"] = [t("fields.language_choice")]
    if "theme" in values and values["theme"] not in THEMES:
        wrong["theme"] = [t("fields.choose_one_of", names=", ".join(THEMES))]
    if wrong:
        raise Invalid(t("fields.marked"), details=wrong)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for key in ("name", "timezone", "language", "theme", "shortcuts_on"):
        if key in wanted and wanted[key] != getattr(user, key):
            before[key], after[key] = getattr(user, key), wanted[key]
            setattr(user, key, wanted[key])
    db.session.flush()
    if after and user.id is not None:
        audit.record("user.update", "user", user.id, before=before, after=after)


def change_password(user: User, current: str, new: str, session_id: int, caller: auth.Caller) -> None:
    """Raises Invalid when the current one does not fit or the new one is too weak, TooMany after many guesses. Ends the other sessions.

    The edge keeps the transaction of a refusal: a session that somebody left open is no place to guess the password at leisure.
    """
    auth.need_password(user, current, caller, field="current_password", wrong=t("auth.not_current_password"))
    if new == current:
        raise Invalid.field("new_password", t("auth.present_password"))
    auth.set_password(user, new, keep_session=session_id, field="new_password")
    audit.record("user.password", "user", user.id, user_id=user.id)


def end_session(user_id: int, session_id: int) -> None:
    """Log oneself out in one place. Raises NotFound for another's session."""
    auth.end_session(user_id, session_id)
    audit.record("user.end_session", "session", session_id)


def end_other_sessions(user_id: int, but: int) -> int:
    """Log oneself out everywhere else; returns how many places that were."""
    ended = auth.end_other_sessions(user_id, but=but)
    audit.record("user.end_sessions", "user", user_id, after={"ended": ended})
    return ended
