"""Logging in to mailboxes to verify them, ten at a time, outside any transaction; each result is recorded as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from flask import current_app

from app.channels.verify import Verifier
from app.channels.wiring import build_channels
from app.core.db import transaction
from app.core.queue import Job
from app.services import mailbox_verification
from jobs.base import tick

AT_ONCE = 10


def verify(client_id: int, mailbox_ids: list[int]) -> int:
    """Verify these mailboxes of one client; how many work. Idempotent."""
    return run_cases([(client_id, mailbox_id) for mailbox_id in mailbox_ids])


@tick(Job.VERIFY_SWEEP)
def sweep() -> int:
    """Try again what is still connecting: a lost job, or a failure that may have passed."""
    with transaction():
        due = mailbox_verification.due_again()
    return run_cases(due)


def run_cases(pairs: Iterable[tuple[int, int]]) -> int:
    """Verify (client, mailbox) pairs, AT_ONCE at a time."""
    channels = build_channels(current_app.extensions["settings"])
    return asyncio.run(_all(list(pairs), channels.verifier))


async def _all(pairs: list[tuple[int, int]], verifier: Verifier) -> int:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(client_id: int, mailbox_id: int) -> bool:
        async with slots:
            with transaction():
                case = mailbox_verification.begin(client_id, mailbox_id)
            if case is None:
                return False
            result = await verifier.verify(case.smtp, case.imap)
            with transaction():
                mailbox_verification.record(case, result)
            return result.ok

    return sum(await asyncio.gather(*(one(*pair) for pair in pairs)))
