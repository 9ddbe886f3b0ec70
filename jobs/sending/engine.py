"""The resident sending engine: looks at the ledger every second and at every bell, and visits mail servers.

It never touches PostgreSQL itself (the ledger thread does) and sends nothing inside an RQ job. A row it holds is renewed until
its outcome is written, so a lease runs out only when this process is dead, frozen or cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from app.channels.base import EmailTransport
from app.core import clock
from app.core.config import Settings
from app.services.outbox import claiming
from app.services.outbox.claiming import THE_BEGINNING, Claim, Place
from app.services.outbox.outcomes import Outcome, What
from jobs.sending import shards
from jobs.sending.ledger import Claimed, Ledger
from jobs.sending.parking import Parking
from jobs.sending.visit import Visit

log = logging.getLogger("emberpost.dispatch")

LOOK_SECONDS = 1.0
#: How often the look goes back to the very oldest row: freed rows keep their old time.
FULL_LOOK_SECONDS = 5.0
#: A look costs the ledger milliseconds, so one that is asked for sooner after the last one waits a little.
LOOK_PAUSE = 0.05
#: Rows held per session: those of senders without a gap go one after the other through one session.
ROWS_PER_SLOT = 4
#: How often idle sessions are looked at.
TIDY_SECONDS = 0.5

AfterSent = Callable[[Any, bytes], Awaitable[None]]


class Engine:
    """One per process. ``run`` on its own loop in its own thread; ``ring`` and ``begin_to_drain`` from any thread."""

    def __init__(self, settings: Settings, ledger: Ledger, transport: EmailTransport, after_sent: AfterSent | None = None) -> None:
        self.ledger = ledger
        self.transport = transport
        self.draining = False
        self._settings = settings
        self._after_sent = after_sent
        self._held: dict[tuple[int, int], int] = {}  # (delivery, epoch), and the sender of each
        self._visits: set[asyncio.Task[None]] = set()
        self.parking = Parking()
        self._afterwards: set[asyncio.Task[None]] = set()
        self._streaks: defaultdict[int, int] = defaultdict(int)
        self._shards: tuple[int, ...] = ()
        self._bell: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._further: dict[int, Place] = {}
        self._freed: set[int] = set()  # shards with a sender that became free while a claim was under way
        self._full_look_at = 0.0
        self._looked_at = 0.0
        self.sent = 0

    # -- from other threads --------------------------------------------------------------------------------------------

    def ring(self) -> None:
        """Something may be due: look now."""
        if self._loop is not None and self._bell is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._wake)

    def begin_to_drain(self) -> None:
        """Claim nothing more, return leases, finish what is past its permit."""
        self.draining = True
        self.ring()

    def state(self) -> dict[str, Any]:
        return {"held": len(self._held), "sent": self.sent, "shards": len(self._shards), "draining": self.draining}

    # -- what a visit asks for -------------------------------------------------------------------------------------------

    def streak(self, sender_id: int) -> int:
        return self._streaks[sender_id]

    def settled(self, row: Any, outcome: Outcome | None) -> None:
        self._held.pop((row.id, row.epoch), None)
        if outcome is None:
            return
        if outcome.what is What.TROUBLE:
            self._streaks[row.sender_id] += 1
        elif outcome.what is What.ACCEPTED:
            self.sent += 1
            self._streaks.pop(row.sender_id, None)

    def left(self, row: Any, mime: bytes) -> None:
        """A message was taken: keep a copy in the Sent folder where the mailbox wants one (best effort)."""
        if self._after_sent is not None and row.save_to_sent == "append":
            task = asyncio.create_task(self._append(row, mime))
            self._afterwards.add(task)
            task.add_done_callback(self._afterwards.discard)

    async def _append(self, row: Any, mime: bytes) -> None:
        assert self._after_sent is not None
        try:
            await self._after_sent(row, mime)
        except Exception as error:
            log.warning("no copy in the Sent folder: %s", error, extra={"facts": {"delivery": row.id}})

    # -- the loop ----------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        assert self._bell is not None
        self._full_look_at = 0.0
        self._bell.set()

    async def run(self) -> None:
        """Until draining is over."""
        self._loop, self._bell = asyncio.get_running_loop(), asyncio.Event()
        keepers = [asyncio.create_task(self._keep_shards()), asyncio.create_task(self._keep_leases()),
                   asyncio.create_task(self.ledger.keep_mark()), asyncio.create_task(self._keep_tidy())]  # fmt: skip
        try:
            while not self.draining:
                again = await self._look()
                if not again:
                    await self._wait()
            await self._drain()
        finally:
            for keeper in keepers:
                keeper.cancel()
            await self.parking.close()
            await self.ledger.call(lambda c: shards.release(c, self.ledger.owner))

    async def _wait(self) -> None:
        assert self._bell is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._bell.wait()
                await asyncio.sleep(self._looked_at + LOOK_PAUSE - asyncio.get_running_loop().time())
        self._bell.clear()

    async def _look(self) -> bool:
        """Claim what there is room for and start the visits. True when there may be more."""
        slots = self._settings.dispatch_slots
        sessions, rows = slots - len(self._visits), slots * ROWS_PER_SLOT - len(self._held)
        room = min(rows, self._settings.dispatch_batch)
        if sessions <= 0 or room <= 0 or not self._shards:
            return False
        now = self._looked_at = asyncio.get_running_loop().time()
        if now >= self._full_look_at:
            self._further.clear()
            self._full_look_at = now + FULL_LOOK_SECONDS
        places = {shard: self._further.get(shard, THE_BEGINNING) for shard in self._shards}
        busy = set(self._held.values())
        self._freed.clear()
        wanted = Claim(self.ledger.owner, places, clock.now(), room, self._settings.lease_seconds, senders=sessions, busy=busy)
        haul = await self.ledger.claim(wanted, self.parking.senders())
        self._further.update({shard: place for shard, place in haul.further.items() if shard not in self._freed})
        claimed = haul.claimed
        for item in claimed:
            self._held[item.row.id, item.row.epoch] = item.row.sender_id
        by_sender: defaultdict[int, list[Claimed]] = defaultdict(list)
        for item in claimed:
            by_sender[item.row.sender_id].append(item)
        for items in by_sender.values():
            task = asyncio.create_task(self._visit(items))
            self._visits.add(task)
            task.add_done_callback(self._visits.discard)
        return len(claimed) >= room or len(by_sender) >= sessions or bool(haul.further)

    async def _visit(self, items: list[Claimed]) -> None:
        try:
            await Visit(self, items).run()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a visit broke off; its leases run out by themselves")
        finally:
            for item in items:
                self._held.pop((item.row.id, item.row.epoch), None)
            if not items[0].row.min_gap_s:  # its next rows may go now, and lie before the place where the look goes on
                shard = items[0].row.sender_id % shards.SHARDS
                self._further.pop(shard, None)
                self._freed.add(shard)
            if self._bell is not None:
                self._bell.set()

    async def _keep_shards(self) -> None:
        while True:
            held = await self.ledger.call(lambda c: shards.hold(c, self.ledger.owner))
            if held is not None:
                grown = set(held) - set(self._shards)
                self._shards = held
                if grown:
                    self._wake()
            await asyncio.sleep(shards.RENEW_SECONDS if self._shards else 1.0)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_seconds / 3)
            if self._held:
                await self.ledger.renew(sorted(self._held))

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            self.parking.tidy(self._shards, shards.SHARDS)

    async def _unfinished(self) -> set[asyncio.Task[None]]:
        """Visits that did not end within the drain's time. (The last may end while its leases are given back.)"""
        if not self._visits:
            return set()
        return (await asyncio.wait(self._visits, timeout=self._settings.drain_seconds))[1]

    async def _drain(self) -> None:
        """Everything without a permit goes back at once; what is past its permit goes to its end."""
        if not self._visits:
            return
        held = sorted(self._held)
        log.info("draining", extra={"facts": {"held": len(held)}})
        await self.ledger.call(lambda c: claiming.give_back(c, held))
        unfinished = await self._unfinished()
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished, timeout=1.0)
            log.warning("left without their answers; the sweep will show them", extra={"facts": {"count": len(unfinished)}})
        if self._afterwards:
            await asyncio.wait(self._afterwards, timeout=5.0)

