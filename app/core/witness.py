"""What senders remember outside PostgreSQL: how far the ledger had come. A ledger that is behind it was set back.

Kept in Redis and in a file of the data folder, because each may be lost; when both are, the Sent folders are the witness left.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import redis

from app.core.bell import bell


class Witness:
    """``folder``: the data folder of this machine; a folder that does not exist is left alone."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def highest(self, ledger_id: str) -> int:
        """The highest mark remembered of this ledger; 0 when nothing is."""
        return max(self._in_redis(ledger_id), self._in_file(ledger_id))

    def remember(self, ledger_id: str, mark: int) -> None:
        """Never raises: a witness that cannot write is only a witness fewer."""
        with contextlib.suppress(redis.RedisError):
            bell().connection.hset(self._key(), ledger_id, str(mark))
        with contextlib.suppress(OSError):
            if self._folder.is_dir():
                fresh = self._path(ledger_id).with_suffix(".new")
                fresh.write_text(str(mark))
                fresh.rename(self._path(ledger_id))

    def _in_redis(self, ledger_id: str) -> int:
        try:
            return int(bell().connection.hget(self._key(), ledger_id) or 0)
        except (redis.RedisError, ValueError):
            return 0

    def _in_file(self, ledger_id: str) -> int:
        try:
            return int(self._path(ledger_id).read_text())
        except (OSError, ValueError):
            return 0

    def _key(self) -> str:
        return f"{bell().prefix}ledger-marks"

    def _path(self, ledger_id: str) -> Path:
        return self._folder / f"ledger-{ledger_id}.mark"
