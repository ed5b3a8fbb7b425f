"""Ctrl-C and SIGTERM: the message under way is finished and stored, then the run ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from thea_core.cli import exits

__all__ = ["Stopping"]

T = TypeVar("T")

_STATUS = {signal.SIGINT: exits.INTERRUPTED, signal.SIGTERM: exits.TERMINATED}


class Stopping:
    """Turns the first signal into a wish to stop, while it is entered; a second one raises KeyboardInterrupt at once.

    Outside the main thread, where no signal arrives, it does nothing.

    Attributes:
        status: the exit status, once a signal has come; else None.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self._waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._heard) for each in _STATUS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def until_stopped(self, items: Iterable[T]) -> Iterator[T]:
        """Give the items until a signal comes. A wait for the next item (of a pipe) ends at once."""
        following = iter(items)
        while (found := self._next(following)) is not None:
            yield found[0]

    def _next(self, following: Iterator[T]) -> tuple[T] | None:
        """Return the next item; None at the end, or when a signal has come."""
        try:
            self._waiting = True
            if self.status is None:  # else it came just before the wait
                for item in following:
                    self._waiting = False
                    return (item,)
        except _Stopped:
            pass
        self._waiting = False
        return None

    def _heard(self, number: int, _: FrameType | None) -> None:
        if self.status is not None:
            raise KeyboardInterrupt
        self.status = _STATUS[signal.Signals(number)]
        if self._waiting:
            raise _Stopped


class _Stopped(BaseException):
    """Ends a wait for input. Never leaves this module."""
