"""The thread that looks, after a while, whether something that has a time limit has ended."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

from thea_core.callbacks.failures import log_exception

__all__ = ["Watch"]

_IDLE_SECONDS = 5.0
_SOON = 1.0  # seconds
_FAILED = "a look at something that has a time limit failed"
_LONGEST = 3600.0  # seconds: longer than that nobody can be told to wait, on some systems


class Watch:
    """Calls functions after a time, on one daemon thread ``thea-watch`` that ends when there is nothing to watch.

    Thread-safe. Real time counts: what hangs does so on the machine's clock.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._fresh()

    @property
    def on_own_thread(self) -> bool:
        """Whether the caller runs on the thread of the watch."""
        return self._thread is threading.current_thread()

    def after(self, seconds: float, look: Callable[[], object]) -> None:
        """Call ``look`` in ``seconds`` seconds. It must not wait; what it raises is logged.

        Where no thread can be started, whoever calls this next brings it up. What is due in more than a second is
        called early where the watch is closed meanwhile; it calls this again if there is still something to watch.
        """
        with self._changed:
            self._ending = False
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), look))
            if self._thread is None:
                self._start()
            else:
                self._changed.notify()

    def close(self) -> None:
        """Let the thread end as soon as there is nothing to watch; one that is needed afterwards is started anew."""
        soon = time.monotonic() + _SOON
        with self._changed:
            early = [each[2] for each in self._due if each[0] > soon]
            self._due[:] = sorted(each for each in self._due if each[0] <= soon)  # sorted, it is a heap
        for look in early:
            try:
                look()
            except Exception:
                log_exception(_FAILED)
        with self._changed:
            self._ending = True
            self._changed.notify()
            thread = None if self._due else self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_IDLE_SECONDS)  # it does no more than end

    def after_fork_in_child(self) -> None:
        """Forget the parent's thread and what it watched."""
        self._fresh()

    def _fresh(self) -> None:
        self._changed = threading.Condition(threading.RLock())  # a finalizer may run within
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._thread: threading.Thread | None = None
        self._ending = False

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="thea-watch", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are too many, or the interpreter is about to end
            return
        self._thread = thread

    def _run(self) -> None:
        while (look := self._next()) is not None:
            try:
                look()
            except BaseException:  # nobody else could be told; Ctrl-C never comes to this thread
                log_exception(_FAILED)
            del look  # an idle thread keeps nothing alive

    def _next(self) -> Callable[[], object] | None:
        """Wait for what is due; None when there has been nothing for a while, and the thread shall end."""
        with self._changed:
            while True:
                left = self._due[0][0] - time.monotonic() if self._due else _IDLE_SECONDS
                if self._due and left <= 0:
                    return heapq.heappop(self._due)[2]
                if not self._due and (self._ending or not self._changed.wait(left)) and not self._due:
                    self._thread = None
                    return None
                if self._due:
                    self._changed.wait(min(max(0.0, self._due[0][0] - time.monotonic()), _LONGEST))
