"""The bell: Redis pub/sub messages without content. Names and ids travel; receivers look at the ledger.

Losing one costs seconds: every receiver also looks by itself. Keys and channels carry the instance id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import redis

from app.core.db import on_commit

log = logging.getLogger("emberpost.bell")

DISPATCH = "dispatch"  # something is due now: the sending engine looks
RECEIVE = "receive"  # something arrived: the receiver looks
READ = "read"  # a mailbox changed: the reading engine looks
CLOCK = "clock"  # the rehearsal's clock was set
SETTINGS = "settings"  # a setting or a switch changed


class Bell:
    """Rings and names the channels of one instance."""

    def __init__(self, url: str, instance_id: str) -> None:
        self.url = url
        self.prefix = f"emberpost:{instance_id}:"
        self._redis: redis.Redis | None = None

    # driver_info=None: the driver else reads its package's metadata for each connection, to tell the server its own version

    @property
    def connection(self) -> redis.Redis:
        if self._redis is None:
            self._redis = redis.Redis.from_url(self.url, socket_timeout=1.0, socket_connect_timeout=1.0, driver_info=None)
        return self._redis

    def worker_connection(self) -> redis.Redis:
        """A connection without a reading time-out, for workers that wait on a queue."""
        return redis.Redis.from_url(self.url, socket_connect_timeout=5.0, health_check_interval=30, driver_info=None)

    def channel(self, name: str) -> str:
        return f"{self.prefix}bell:{name}"

    def live_channel(self, client_id: int) -> str:
        """The channel on which open pages of one client hear topics (``conversation-42``)."""
        return f"{self.prefix}live:{client_id}"

    def ring(self, name: str, what: str = "") -> None:
        """Ring now. A bell that cannot be rung is only late work, so it never raises."""
        self._publish([(self.channel(name), what)])

    def ring_live(self, client_id: int, topics: Iterable[str]) -> None:
        self.ring_all_live((client_id, topic) for topic in topics)

    def ring_all_live(self, topics: Iterable[tuple[int, str]]) -> None:
        """Topics of several clients in one trip: (client, topic)."""
        self._publish([(self.live_channel(client_id), topic) for client_id, topic in topics])

    def _publish(self, pairs: list[tuple[str, str]]) -> None:
        try:
            pipe = self.connection.pipeline(transaction=False)
            for channel, what in pairs:
                pipe.publish(channel, what)
            pipe.execute()
        except redis.RedisError as error:
            log.warning("the bell is silent: %s", error)


_bell: Bell | None = None


def use_bell(bell: Bell) -> None:
    global _bell
    _bell = bell


def bell() -> Bell:
    if _bell is None:
        raise RuntimeError("no bell: create_app binds it")
    return _bell


def ring_after_commit(name: str, what: str = "") -> None:
    """Ring when the present transaction is committed."""
    on_commit(lambda: bell().ring(name, what))


def live_after_commit(client_id: int, *topics: str) -> None:
    """Tell the client's open pages which topics changed, after the commit.

    Topics: ``conversation-<id>``, ``inbox``, ``campaign-<id>``, ``campaigns``, ``mailbox-<id>``, ``mailboxes``, ``import-<id>``,
    ``leads``, ``switches``, ``counters``.
    """
    on_commit(lambda: bell().ring_live(client_id, topics))
