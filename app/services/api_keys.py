"""Keys for programs: made by an admin, shown once, for one client, never stronger than their maker is at the moment of use.

A key reads as a viewer or works with its maker's role there; it manages neither people nor keys. It ends when it is revoked, when its
time is over, when its maker's login is switched off or their seat is taken away: each with the next request.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Text, bindparam, func, or_, select

from app.core.clock import machine_now
from app.core.db import Scope, enter_scope
from app.core.errors import Invalid
from app.core.extensions import db
from app.core.tokens import new_token, token_hash
from app.domain.statuses import Role
from app.models import ApiKey, User
from app.services import audit
from app.services.access import Viewer, viewer_of
from app.strings import t

BEGINS = "ember_"
SHAPE = re.compile(r"ember_[A-Za-z0-9_-]{43}")
SCOPES = ("read", "write")
LONGEST_DAYS = 3_650
LONGEST_NAME = 80


def create(client_id: int, user_id: int, name: str, scope: str, days: int | None) -> tuple[ApiKey, str]:
    """A new key and its secret, which is never shown again. ``days`` None: it works until revoked. Raises Invalid per field."""
    if not 1 <= len(name.strip()) <= LONGEST_NAME:
        raise Invalid.field("name", t("api_keys.name_shape", limit=LONGEST_NAME))
    if scope not in SCOPES:
        raise Invalid.field("scope", t("api_keys.scope_choice"))
    if days is not None and not 1 <= days <= LONGEST_DAYS:
        raise Invalid.field("days", t("api_keys.days_range", limit=LONGEST_DAYS))
    secret = BEGINS + new_token()
    key = ApiKey(
        client_id=client_id, user_id=user_id, name=name.strip(), prefix=secret[: len(BEGINS) + 6], secret_hash=token_hash(secret),
        scope=scope, expires_at=machine_now() + timedelta(days=days) if days is not None else None,
    )  # fmt: skip
    db.session.add(key)
    db.session.flush()
    audit.record("api_key.create", "api key", key.id, client_id=client_id, after={"name": key.name, "scope": scope, "days": days})
    return key, secret


def revoke(key: ApiKey) -> None:
    """Ends with the next request. Revoking again changes nothing."""
    if key.revoked_at is None:
        key.revoked_at = machine_now()
        db.session.flush()
        audit.record("api_key.revoke", "api key", key.id, client_id=key.client_id, before={"name": key.name})


_BY_KEY = select(func.emberpost_api_key(bindparam("hash", type_=Text)).table_valued("id", "client_id", "user_id", "scope", "prefix"))


def viewer_of_key(secret: str) -> Viewer | None:
    """Who acts by this key: its maker, narrowed to the key's client and scope; None for a key that does not work."""
    if not SHAPE.fullmatch(secret):
        return None
    found = db.session.execute(_BY_KEY, {"hash": token_hash(secret)}).first()
    if found is None:
        return None
    maker = viewer_of(db.session.get_one(User, found.user_id), 0)
    seat = maker.seat(client_id=found.client_id)
    if seat is None or seat.role is None:
        return None
    seat = replace(seat, role=Role.VIEWER) if found.scope == "read" else seat
    enter_scope(Scope(user_id=maker.id, client_ids=(seat.id,)))
    audit.caller_address.set(f"{audit.caller_address.get()} {found.prefix}…".strip())
    return replace(maker, is_operator=False, seats=(seat,), key_id=found.id)


def lives(key_id: int, client_id: int) -> bool:
    """Does the key still open its client? (An open stream asks.)"""
    enter_scope(Scope(client_id=client_id, client_ids=(client_id,)))
    statement = select(ApiKey.id).join(User, User.id == ApiKey.user_id).where(
        ApiKey.id == key_id, ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > machine_now()),
        User.disabled_at.is_(None),
    )  # fmt: skip
    return db.session.scalar(statement) is not None
