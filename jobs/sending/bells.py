"""Redis at the engine's edge: bells in, live topics out, each in a thread of its own. A dead Redis costs only bells."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable

import redis

from app.core import clock
from app.core.bell import CLOCK, DISPATCH, SETTINGS, Bell

log = logging.getLogger("emberpost.dispatch")

#: Topics that wait while Redis is away; more are dropped (open pages fetch everything anew when they reconnect).
WAITING_TOPICS = 10_000
#: Pages hear of what changed that often at most (machine time): a thousand messages a second are no thousand news of a counter.
TELL_SECONDS = 0.1


class Listener:
    """Calls ``on_bell`` for each bell; connects again for as long as it takes."""

    def __init__(self, bell: Bell, on_bell: Callable[[], None]) -> None:
        self._bell = bell
        self._on_bell = on_bell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bells", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except (redis.RedisError, OSError, ValueError) as error:
                log.warning("no bells, looking every second instead: %s", error)
                self._stop.wait(1.0)

    def _listen(self) -> None:
        channels = [self._bell.channel(name) for name in (DISPATCH, SETTINGS, CLOCK)]
        with contextlib.closing(self._bell.worker_connection().pubsub(ignore_subscribe_messages=True)) as heard:  # type: ignore[no-untyped-call]
            heard.subscribe(*channels)
            self._on_bell()  # what rang while nobody listened
            while not self._stop.is_set():
                message = heard.get_message(timeout=1.0)
                if message is None:
                    continue
                if message["channel"] == self._bell.channel(CLOCK).encode():
                    clock.forget_copy()
                self._on_bell()


class Teller:
    """Tells open pages which topics changed, without ever making the ledger thread wait for Redis."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._topics: queue.Queue[list[tuple[int, str]] | None] = queue.Queue(WAITING_TOPICS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, topics: list[tuple[int, str]]) -> None:
        with contextlib.suppress(queue.Full):
            self._topics.put_nowait(topics)

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(queue.Full):
            self._topics.put_nowait(None)
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while (topics := self._topics.get()) is not None:
            changed: set[tuple[int, str]] = set()
            while topics is not None:
                changed.update(topics)
                try:
                    topics = self._topics.get_nowait()
                except queue.Empty:
                    break
            self._bell.ring_all_live(sorted(changed))
            if topics is None:
                return
            self._stopping.wait(TELL_SECONDS)
