"""Upkeep of the outbox: sweeps and the search for evidence. (Counting stands in ``jobs/counting.py``.)"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from flask import current_app

from app.channels.base import ChannelError
from app.channels.imap import ImapReader, MailboxSession, Role
from app.channels.wiring import build_channels
from app.core import clock
from app.core.bell import DISPATCH, live_after_commit, ring_after_commit
from app.core.crypto import CannotOpen
from app.core.db import Scope, transaction
from app.core.queue import Job, looking
from app.services.outbox import postponed, sweeping, uncertain
from app.services.outbox.plain import plain_connection
from app.services.outbox.uncertain import Question
from app.strings import t
from jobs.base import tick
from jobs.sending.sent_copies import imap_endpoint

log = logging.getLogger("emberpost.upkeep")

#: Seconds for one mailbox's Sent folder, and how many are asked at a time.
SEARCH_SECONDS = 60
SEARCHES_AT_ONCE = 10


@tick(Job.DELIVERY_SWEEP)
def sweep_deliveries() -> dict[str, int]:
    """Free leases that ran out, show what is uncertain, look again at what was put off, finish what stopped campaigns left."""
    with transaction():
        freed = sweeping.return_dead_leases(plain_connection())
        if freed:
            ring_after_commit(DISPATCH)
    with transaction():
        lost = sweeping.show_lost_permits(plain_connection())
        for row in lost:
            live_after_commit(row.client_id, "counters")
    with transaction():
        if postponed.look_again(plain_connection(), clock.now()):
            ring_after_commit(DISPATCH)
    cancelled = 0
    for _ in range(20):
        with transaction():
            count = sweeping.cancel_stopped(plain_connection(), clock.now())
        cancelled += count
        if not count:
            break
    return {"freed": freed, "uncertain": len(lost), "cancelled": cancelled}


def look_again() -> int:
    """Somebody changed a cap or a calendar: what it had put off leaves now, not at the next sweep. How many may."""
    looking(Job.LOOK_AGAIN)
    with transaction():
        moved = postponed.look_again(plain_connection(), clock.now(), changed=True)
        if moved:
            ring_after_commit(DISPATCH)
    return moved


@tick(Job.RESOLVE_UNCERTAIN)
def resolve_uncertain() -> dict[str, int]:
    """Look for every uncertain message in its sender's Sent folder. Found: it was sent. Absence rarely proves anything."""
    with transaction():
        asked = uncertain.questions(plain_connection())
    if not asked:
        return {}
    by_mailbox: dict[int, list[Question]] = {}
    for question in asked:
        by_mailbox.setdefault(question.mailbox.id, []).append(question)
    reader = build_channels(current_app.extensions["settings"]).reader
    answers = asyncio.run(_search_all(reader, list(by_mailbox.values())))
    told = {"found": 0, "absent": 0, "unknown": 0}
    for question in asked:
        told[_conclude(question, answers.get(question.delivery_id))] += 1
    return told


def _conclude(question: Question, found: bool | None) -> str:
    """``found`` None: the folder could not be asked."""
    at = clock.machine_now().isoformat(timespec="seconds")
    with transaction(Scope(client_id=question.client_id)):
        if found:
            uncertain.arrived(question.delivery_id, "sent_folder")
            return "found"
        if found is False and question.may_prove_absence:
            uncertain.absent(plain_connection(), question.delivery_id, t("deliveries.not_in_sent_at", at=at))
            ring_after_commit(DISPATCH)
            return "absent"
        tried = t("deliveries.not_in_sent" if found is False else "deliveries.sent_not_asked")
        uncertain.note(plain_connection(), question.delivery_id, {"tried": tried, "tried_at": at})
    return "unknown"


async def _search_all(reader: ImapReader, groups: list[list[Question]]) -> dict[int, bool]:
    gate = asyncio.Semaphore(SEARCHES_AT_ONCE)
    answers: dict[int, bool] = {}

    async def search(group: list[Question]) -> None:
        async with gate:
            try:
                async with asyncio.timeout(SEARCH_SECONDS):
                    answers.update(await _search(reader, group))
            except (ChannelError, CannotOpen, TimeoutError, OSError) as error:
                log.info("a Sent folder could not be asked: %s", error)

    await asyncio.gather(*(search(group) for group in groups))
    return answers


async def _search(reader: ImapReader, group: list[Question]) -> dict[int, bool]:
    session: MailboxSession = await reader.open(imap_endpoint(group[0].mailbox))
    try:
        folders: list[Any] = [folder for folder in await session.folders() if folder.role is Role.SENT]
        if not folders:
            return {}
        await session.select(folders[0], readonly=True)
        return {
            question.delivery_id: bool(await session.find_message_id(folders[0], question.message_id)) for question in group
        }
    finally:
        await session.logout()
