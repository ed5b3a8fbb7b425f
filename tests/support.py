"""What several test modules need."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class FakeClock:
    """A clock that stands still until :meth:`advance` moves it."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic_ns = 0

    def now(self) -> datetime:
        return self._now

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic_ns += round(seconds * 1_000_000_000)


def run_in_child(check: Callable[[], bool]) -> bool:
    """Call ``check`` in a forked child; whether it returned true there. The child does nothing else.

    Nothing is traced meanwhile: what measures the coverage has a lock, which another thread may hold just then, and
    which nobody would release in the child.
    """
    tracing, hook = sys.gettrace(), sys.unraisablehook
    sys.settrace(None)
    sys.unraisablehook = sys.__unraisablehook__  # what fails while the fork is made is printed
    child = os.fork()
    if child:
        sys.unraisablehook = hook
        sys.settrace(tracing)
    else:
        passed = False
        try:
            passed = check()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0 if passed else 1)
    return os.waitpid(child, 0)[1] == 0
