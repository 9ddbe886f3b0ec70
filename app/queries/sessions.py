"""Where somebody is logged in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, or_, select

from app.core.clock import machine_now
from app.models import UserSession


def living(user_id: int, idle_since: datetime) -> Select[UserSession]:
    """Sessions that still open something; pages idle since ``idle_since`` (machine time) no longer do."""
    return select(UserSession).where(
        UserSession.user_id == user_id, UserSession.revoked_at.is_(None), UserSession.expires_at > machine_now(),
        or_(UserSession.kind == "api", UserSession.last_seen_at > idle_since),
    )  # fmt: skip
