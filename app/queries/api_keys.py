"""The keys of a client: those that work first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.core.clock import machine_now
from app.core.extensions import db
from app.models import ApiKey, User


@dataclass(frozen=True)
class Key:
    """One key without its secret. Times are machine time. ``state``: active, revoked, over, or stopped (its maker's login is off)."""

    id: int
    client_id: int
    name: str
    prefix: str
    scope: str
    user_id: int
    made_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    state: str


def keys(client_id: int, key_id: int | None = None) -> list[Key]:
    statement = (
        select(ApiKey, User.name, User.disabled_at)
        .join(User, User.id == ApiKey.user_id)
        .where(ApiKey.client_id == client_id)
        .order_by(ApiKey.revoked_at.is_not(None), ApiKey.id.desc())
        .limit(500)
    )
    if key_id is not None:
        statement = statement.where(ApiKey.id == key_id)
    return [_key(row.ApiKey, row.name, row.disabled_at) for row in db.session.execute(statement)]


def _key(key: ApiKey, made_by: str, disabled_at: datetime | None) -> Key:
    over = key.expires_at is not None and key.expires_at <= machine_now()
    state = "revoked" if key.revoked_at else "over" if over else "stopped" if disabled_at else "active"
    return Key(
        id=key.id, client_id=key.client_id, name=key.name, prefix=key.prefix, scope=key.scope, user_id=key.user_id, made_by=made_by,
        created_at=key.created_at, expires_at=key.expires_at, last_used_at=key.last_used_at, revoked_at=key.revoked_at, state=state,
    )  # fmt: skip
