"""One subscriber per process hears the bells of all open pages and hands topics to their streams.

A stream that cannot keep up loses topics and hears ``resync`` instead; after Redis was away every stream hears it.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import redis

from app.core.bell import Bell

log = logging.getLogger("emberpost.live")

RESYNC = "resync"
WAITING_TOPICS = 200


class Listener:
    """What one open stream waits on: (topic, client_id) pairs."""

    def __init__(self, user_id: int, client_ids: Iterable[int]) -> None:
        self.user_id = user_id
        self.client_ids = tuple(client_ids)
        self.closed = False
        self.opened_at = time.monotonic()
        self._queue: queue.Queue[tuple[str, int]] = queue.Queue(WAITING_TOPICS)

    def put(self, topic: str, client_id: int) -> None:
        try:
            self._queue.put_nowait((topic, client_id))
        except queue.Full:
            self._clear()
            self._queue.put_nowait((RESYNC, 0))

    def take(self, timeout_s: float) -> list[tuple[str, int]]:
        """All that waits, each pair once, in order; empty after ``timeout_s`` without any."""
        try:
            first = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return []
        found = {first: None}
        while not self._queue.empty():
            found[self._queue.get_nowait()] = None
        return list(found)

    def _clear(self) -> None:
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                return


class Hub:
    """All streams of this process and the one thread that listens to Redis for them (begun with the first stream)."""

    def __init__(self, bell: Bell, limit: int, per_user: int = 5) -> None:
        self.limit, self.per_user = limit, per_user
        self.stopping = threading.Event()
        self._bell = bell
        self._listeners: dict[int, set[Listener]] = defaultdict(set)
        self._all: list[Listener] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._hearing = threading.Event()

    def open(self, user_id: int, client_ids: Iterable[int]) -> Listener | None:
        """A new listener, or None when the process is full or Redis is away. A user's oldest one makes room for a sixth."""
        self._ensure_thread()
        if not self._hearing.wait(2.0):
            return None
        with self._lock:
            own = sorted(
                (found for found in self._all if found.user_id == user_id and not found.closed),
                key=lambda found: found.opened_at,
            )
            if len(own) >= self.per_user:
                self._forget(own[0])
            if len(self._all) >= self.limit:
                return None
            listener = Listener(user_id, client_ids)
            self._all.append(listener)
            for client_id in listener.client_ids:
                self._listeners[client_id].add(listener)
        return listener

    def close(self, listener: Listener) -> None:
        with self._lock:
            self._forget(listener)

    def _forget(self, listener: Listener) -> None:
        listener.closed = True
        if listener in self._all:
            self._all.remove(listener)
        for client_id in listener.client_ids:
            self._listeners[client_id].discard(listener)

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive() and self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._hearing.clear()
            self._thread = threading.Thread(target=self._listen, name="live", daemon=True)
            self._thread.start()

    def _listen(self) -> None:
        prefix = self._bell.live_channel(0)[:-1]
        while not self.stopping.is_set():
            try:
                self._hear(prefix)
            except (redis.RedisError, OSError) as error:
                self._hearing.clear()
                log.warning("the live stream hears nothing, trying again: %s", error)
                self.stopping.wait(1.0)

    def _hear(self, prefix: str) -> None:
        connection = redis.Redis.from_url(
            self._bell.url, socket_connect_timeout=2.0, socket_timeout=None, health_check_interval=15
        )
        pubsub: Any = connection.pubsub()  # type: ignore[no-untyped-call]
        try:
            pubsub.psubscribe(prefix + "*")
            while not self.stopping.is_set():
                message = pubsub.get_message(timeout=1.0)
                if message is None:
                    continue
                if message["type"] == "psubscribe":
                    self._hearing.set()
                    self._everybody(RESYNC)
                elif message["type"] == "pmessage":
                    self._pass_on(
                        message["channel"].decode()[len(prefix) :], message["data"].decode("utf-8", "replace")
                    )
        finally:
            pubsub.close()
            connection.close()

    def _pass_on(self, client: str, topic: str) -> None:
        if not client.isdigit() or not topic.replace("-", "").isalnum():
            return
        with self._lock:
            for listener in tuple(self._listeners.get(int(client), ())):
                listener.put(topic, int(client))

    def _everybody(self, topic: str) -> None:
        with self._lock:
            for listener in self._all:
                listener.put(topic, 0)
