"""Seals the trail of what people changed."""

from __future__ import annotations

from app.core.db import transaction
from app.core.queue import Job
from app.services import trail
from jobs.base import tick


@tick(Job.SEAL_TRAIL)
def seal() -> dict[str, int]:
    """A few thousand entries a transaction, until nothing is left unsealed."""
    sealed = 0
    for _ in range(50):
        with transaction():
            done = trail.seal()
        sealed += done
        if done < trail.AT_ONCE:
            break
    return {"sealed": sealed}
