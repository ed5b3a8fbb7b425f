"""The end of the process: what an application forgot to close gets one second to deliver what it has queued.

One registration with :mod:`atexit` for the whole library, over weak references.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakSet

from thea_core.callbacks.failures import log
from thea_core.callbacks.forking import watch

__all__ = ["SECONDS", "Exit", "flush_all", "watch_exit"]

SECONDS: Final = 1.0
"""How long the end of a process is held up at most, in all."""


class Flushable(Protocol):
    """Something that may have queued calls."""

    def begin_flush(self, timeout: float) -> Callable[[], int]:
        """Begin to deliver them within ``timeout`` seconds; return a function that waits for that."""
        ...


class Exit:
    """What is done at the end of the process, however many parts see to it: there is one second for all of it."""

    def __init__(self) -> None:
        self._objects: WeakSet[Flushable] = WeakSet()
        self._lock = threading.RLock()  # a finalizer may run within, and make another one
        self._end: float | None = None

    def add(self, obj: Flushable) -> None:
        """Flush ``obj`` too, if it still lives."""
        with self._lock:
            self._objects.add(obj)

    def flush(self) -> int:
        """Flush all, side by side, in what is left of the second; return how many calls were left."""
        with self._lock:  # a set that grows meanwhile cannot be read
            objects = list(self._objects)
        now = time.monotonic()
        self._end = now + SECONDS if self._end is None else self._end
        seconds = max(0.0, self._end - now)
        return sum(wait() for wait in [obj.begin_flush(seconds) for obj in objects])

    def end(self) -> None:
        """Flush all, for the last time, and log what is lost."""
        left = self.flush()
        if left:
            log(logging.WARNING, "the process ends, and %d calls that were queued are not delivered", left)

    def after_fork_in_child(self) -> None:
        """Take a fresh lock, and a second of one's own."""
        self._lock = threading.RLock()
        self._end = None


_exit = Exit()
watch(_exit)
atexit.register(_exit.end)


def watch_exit(obj: Flushable) -> None:
    """Call ``obj.begin_flush(seconds)`` when the process ends, if it lives as long, and wait for it. Thread-safe.

    It must not raise; where nothing is queued the waiting returns at once.
    """
    _exit.add(obj)


def flush_all() -> None:
    """Do now what is done when the process ends; for what itself ends then, and has to see that come to its end."""
    _exit.flush()
