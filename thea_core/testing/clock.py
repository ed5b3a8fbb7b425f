"""A clock that only tests move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["FakeClock"]


class FakeClock:
    """A :class:`~thea_core.types.Clock` that stands still until :meth:`advance` moves it.

    Reading it is thread-safe; only one thread may move it.

    Args:
        start: what it shows first, aware, in UTC.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic_ns = 0

    def now(self) -> datetime:
        """Return the time that it shows, aware, in UTC."""
        return self._now

    def monotonic_ns(self) -> int:
        """Return the nanoseconds by which it was moved."""
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Move both of its times forward."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_ns += round(seconds * 1_000_000_000)
