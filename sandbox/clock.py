"""The world's own copy of product time, and how fast it passes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class WorldClock:
    """Product time is `base_product + (machine - base_machine) * factor`, the same formula as the product's own."""

    def __init__(self, base_product: datetime | None = None, factor: float = 1.0) -> None:
        self._base_machine = datetime.now(UTC)
        self._base_product = base_product or self._base_machine
        self._factor = factor

    @property
    def factor(self) -> float:
        """Product seconds per machine second."""
        return self._factor

    def now(self) -> datetime:
        """Product time, UTC, aware."""
        return self._base_product + (datetime.now(UTC) - self._base_machine) * self._factor

    def set(self, base_machine: datetime, base_product: datetime, factor: float) -> None:
        """Take over the product's clock row."""
        self._base_machine, self._base_product, self._factor = base_machine, base_product, factor


class ManualClock:
    """A clock that stands still until it is moved: for tests."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, step: timedelta) -> datetime:
        self._now += step
        return self._now
