"""Long lists of addresses never to be contacted: added in batches, each its own short transaction."""

from __future__ import annotations

from app.core.db import transaction
from app.services import suppressions


def add_many(client_id: int, emails: list[str], reason: str, source: str, by: int | None, note: str = "") -> int:
    """Add addresses of one client; how many were new. Idempotent: known ones stay as they are."""
    added = 0
    for batch in suppressions.suppress_many(emails):
        with transaction():
            added += suppressions.suppress_batch(client_id, batch, reason, source, note=note, by=by)
    return added
