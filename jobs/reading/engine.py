"""Which mailboxes this process reads: its shards of them, one task each, adjusted every few seconds or when the bell rings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket

import redis.asyncio
from flask import Flask
from redis.exceptions import RedisError

from app.channels.wiring import build_channels
from app.core import bell, clock
from app.core.config import Settings
from app.services.receiving import reading_state
from app.services.receiving.reading_state import Box
from jobs.reading.accounts import Accounts
from jobs.reading.ledger import Ledger, LedgerAway
from jobs.reading.mailbox import Hosts, MailboxTask

log = logging.getLogger("emberpost.reading")

LOOK_S = 5.0
LEAVE_S = 5.0


class Engine:
    """``run`` until ``stop``: then sessions end, shards are given back, and nothing is left half recorded."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._settings = settings
        self._ledger = Ledger(app)
        self._reader = build_channels(settings).reader
        self._owner = f"read@{socket.gethostname()}:{os.getpid()}"
        self._hosts = Hosts()
        self._accounts = Accounts()
        self._slots = asyncio.Semaphore(settings.read_connections)
        self._running: dict[int, tuple[Box, MailboxTask, asyncio.Task[None]]] = {}
        self._stopping = asyncio.Event()
        self._look = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()
        self._look.set()

    async def run(self) -> None:
        hearing = asyncio.create_task(self._hear())
        try:
            while not self._stopping.is_set():
                self._look.clear()
                await self._adjust()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._look.wait()
        finally:
            hearing.cancel()
            await self._leave()

    async def _adjust(self) -> None:
        """Renew the shards, start readers of new mailboxes, end those of mailboxes that went away or changed."""
        try:
            for name in await self._ledger.do(reading_state.readers):
                if died_here(name):
                    await self._ledger.do(reading_state.bury, name)
            shards = await self._ledger.do(reading_state.renew_shards, self._owner)
            self._accounts.share = len(shards) / reading_state.SHARDS
            boxes = {box.id: box for box in await self._ledger.do(reading_state.readable, shards)}
        except LedgerAway as error:
            log.warning("the ledger is away: %s", error)
            return
        gone = [number for number, (box, _, task) in self._running.items() if boxes.get(number) != box or task.done()]
        await self._end(gone)
        for number, box in boxes.items():
            if number not in self._running:
                reader = MailboxTask(box, self._reader, self._ledger, self._hosts, self._accounts, self._slots, lambda: self._crowded)
                self._running[number] = (box, reader, asyncio.create_task(reader.run(), name=f"mailbox-{number}"))

    @property
    def _crowded(self) -> bool:
        """More mailboxes than connections: each lets its connection go between looks."""
        return len(self._running) > self._settings.read_connections

    async def _end(self, numbers: list[int]) -> None:
        ended = [self._running.pop(number)[2] for number in numbers]
        for task in ended:
            task.cancel()
        for outcome in await asyncio.gather(*ended, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("a reader ended with an error and starts anew: %r", outcome, exc_info=outcome)

    async def _leave(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._end(list(self._running))
        with contextlib.suppress(LedgerAway):
            await self._ledger.do(reading_state.release_shards, self._owner)
        self._ledger.close()

    async def _hear(self) -> None:
        """The bell: look at once, at one mailbox or at all. Without it the look every few seconds remains."""
        names = {bell.bell().channel(name): name for name in (bell.READ, bell.CLOCK)}
        while True:
            try:
                connection = redis.asyncio.Redis.from_url(self._settings.redis_url)
                async with connection, connection.pubsub() as heard:
                    await heard.subscribe(*names)
                    async for message in heard.listen():
                        if message["type"] == "message":
                            self._rang(names.get(message["channel"].decode(), ""), message["data"].decode("utf-8", "replace"))
            except (RedisError, OSError) as error:
                log.warning("the bell is silent: %s", error)
                await asyncio.sleep(2)

    def _rang(self, name: str, what: str) -> None:
        if name == bell.CLOCK:
            clock.forget_copy()
            return
        if what.isdigit() and int(what) in self._running:
            self._running[int(what)][1].poke.set()
        self._look.set()


def died_here(reader: str) -> bool:
    """Was this a process of this machine that is gone? Then nobody needs to wait for its lease to run out."""
    name, _, number = reader.rpartition(":")
    if name != f"read@{socket.gethostname()}" or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
