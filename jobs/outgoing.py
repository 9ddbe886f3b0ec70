"""Outgoing webhooks: events get their calls, and what is due is posted. Every call is a row; nothing is repeated in here."""

from __future__ import annotations

import asyncio
import time

from flask import current_app

from app.channels.wiring import build_channels
from app.core.db import transaction
from app.core.queue import Job
from app.services.outgoing import calls, events, posting
from jobs.base import tick

#: After so many seconds no further batch is begun: other work of this queue waits, and the next tick is near.
SECONDS = 20.0


@tick(Job.TELL_OUTGOING)
def tell() -> dict[str, int]:
    """Work through what is due, batch by batch: lease, post outside any transaction, record."""
    until = time.monotonic() + SECONDS
    told = {"events": 0, "accepted": 0, "refused": 0}
    with transaction():
        calls.free_dead_leases()
    poster = None
    while time.monotonic() < until:
        with transaction():
            fresh = events.make_calls()
        with transaction():
            batch = calls.claim()
            keys = posting.keys_for(batch) if batch else {}
        told["events"] += fresh
        if batch:
            poster = poster or build_channels(current_app.extensions["settings"]).hooks
            tried = asyncio.run(posting.post_all(poster, batch, keys))
            with transaction():
                calls.settle(tried)
            good = sum(one.good for one in tried)
            told["accepted"] += good
            told["refused"] += len(tried) - good
        elif not fresh:
            break
    return told
