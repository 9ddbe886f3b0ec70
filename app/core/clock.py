"""Product time: the one clock every plan, window, cap and page uses. Machine time is PostgreSQL's and time.monotonic().

In a real instance both are the same and nothing can change it. A rehearsal keeps (base_machine, base_product, factor) in the
one row of ``product_clock``; each process holds a copy at most COPY_SECONDS old. Only the rehearsal's clock-keeper writes it,
forwards only, under the exclusive hot lock.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

COPY_SECONDS = 1.0


@dataclass(frozen=True)
class ClockRow:
    """Product time is ``base_product + (machine - base_machine) * factor``."""

    base_machine: datetime
    base_product: datetime
    factor: float

    def at(self, machine: datetime) -> datetime:
        return self.base_product + (machine - self.base_machine) * self.factor


_SELECT = "SELECT base_machine, base_product, factor FROM product_clock"


class ProductClock:
    """This process's copy of the clock row; safe from several threads and after a fork."""

    def __init__(self, dsn: str | None) -> None:
        """``dsn`` None: real time, nothing is ever asked."""
        self._dsn = dsn
        self._lock = threading.Lock()
        self._row: ClockRow | None = None
        self._read_at = float("-inf")
        self._pid = os.getpid()
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def factor(self) -> float:
        row = self._current()
        return row.factor if row else 1.0

    def now(self) -> datetime:
        row = self._current()
        machine = datetime.now(UTC)
        return row.at(machine) if row else machine

    def at(self, machine: datetime) -> datetime:
        """The moment of product time that was at ``machine`` (as if the factor had not changed since)."""
        row = self._current()
        return row.at(machine) if row else machine

    def forget_copy(self) -> None:
        """The bell rang: look at the row again at the next question."""
        self._read_at = float("-inf")

    def _current(self) -> ClockRow | None:
        if self._dsn is None:
            return None
        if time.monotonic() - self._read_at < COPY_SECONDS and self._pid == os.getpid():
            return self._row
        with self._lock:
            if self._pid != os.getpid():
                self._connection, self._pid = None, os.getpid()
            try:
                self._row = self._fetch()
                self._read_at = time.monotonic()
            except psycopg.Error:
                self._connection = None  # the ledger is away: keep the last copy, it still advances by itself
                self._read_at = time.monotonic() - COPY_SECONDS / 2
        return self._row

    def _fetch(self) -> ClockRow | None:
        if self._connection is None or self._connection.closed:
            assert self._dsn is not None
            self._connection = psycopg.connect(self._dsn, autocommit=True, connect_timeout=5)
        row = self._connection.execute(_SELECT).fetchone()
        return ClockRow(row[0].astimezone(UTC), row[1].astimezone(UTC), float(row[2])) if row else None


_clock = ProductClock(None)


def use_clock(dsn: str | None) -> None:
    """Bind this process to the rehearsal's clock row at ``dsn``, or to real time with None."""
    global _clock
    _clock = ProductClock(dsn)


def now() -> datetime:
    """Product time, UTC, aware."""
    return _clock.now()


def at(machine: datetime) -> datetime:
    """Product time of a moment that was noted in machine time."""
    return _clock.at(machine)


def factor() -> float:
    """How many product seconds pass per machine second (1 in a real instance)."""
    return _clock.factor


def forget_copy() -> None:
    _clock.forget_copy()


def machine_now() -> datetime:
    """Machine time, for sessions, tokens and throttling. Leases use PostgreSQL's own clock instead."""
    return datetime.now(UTC)


def set_clock(connection: psycopg.Connection[Any], product: datetime, factor: float) -> None:
    """Set product time (the clock-keeper only). Raises ValueError when it would go backwards or faster than 60."""
    if not 0 < factor <= 60:
        raise ValueError("the rehearsal's factor must be above 0 and at most 60")
    row = connection.execute("SELECT base_machine, base_product, factor, clock_timestamp() FROM product_clock FOR UPDATE").fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO product_clock (id, base_machine, base_product, factor) VALUES (1, clock_timestamp(), %s, %s)",
            (product, factor),
        )
        return
    current = ClockRow(row[0], row[1], float(row[2])).at(row[3])
    if product < current - timedelta(milliseconds=50):
        raise ValueError("product time only moves forwards")
    connection.execute(
        "UPDATE product_clock SET base_machine = %s, base_product = %s, factor = %s WHERE id = 1",
        (row[3], max(product, current), factor),
    )
