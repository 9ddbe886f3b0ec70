"""A rehearsal that somebody asked for, in a process of its own: its throw-away database is bound here and nowhere else."""

from __future__ import annotations

import logging

from flask import current_app

from app.core import clock
from app.core.db import transaction
from app.core.errors import ProductError
from app.core.extensions import db
from app.services import rehearsals
from app.services.rehearsing.road import Wish
from app.services.rehearsing.whole import rehearse
from app.strings import t

log = logging.getLogger("emberpost.rehearsals")
UNEXPECTED = t("rehearsals.unexpected")


def run(rehearsal_id: int) -> None:
    """Rehearse and store the report; does nothing when somebody else has begun it."""
    with transaction():
        row = rehearsals.begin(rehearsal_id)
    if row is None:
        return
    wish = Wish(clock.now(), days=row.days, replies_percent=row.replies_percent, seed=row.seed)
    result, error = None, ""
    try:
        result = rehearse(current_app.extensions["settings"], row.campaign_id, wish).as_json()
    except ProductError as refusal:
        error = " ".join([refusal.message, *(one for found in refusal.details.values() if isinstance(found, list) for one in found)])
    except Exception:
        log.exception("rehearsal %s stopped", rehearsal_id)
        error = UNEXPECTED
    with transaction():
        rehearsals.end(rehearsal_id, result, error)
    db.session.remove()
