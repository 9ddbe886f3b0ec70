"""What this installation is: real or a rehearsal, decided at its first start and kept."""

from __future__ import annotations

from sqlalchemy import text

from app.core.config import Settings
from app.core.errors import Conflict
from app.core.extensions import db
from app.models import Instance
from app.strings import t


def ensure_instance(settings: Settings) -> Instance:
    """The instance row, made at the first start. Raises Conflict when it was made for the other mode."""
    db.session.execute(
        text("INSERT INTO instance (id, mode, facts) VALUES (1, :mode, '{}') ON CONFLICT (id) DO NOTHING"), {"mode": settings.mode}
    )
    row = db.session.get_one(Instance, 1)
    if row.mode != settings.mode:
        raise Conflict(t("doctor.other_mode", mode=row.mode), code="other_mode")
    return row
