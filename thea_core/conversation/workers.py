"""Daemon threads for what must not block an event loop: store calls.

The default executor of asyncio is not used: its threads are joined at exit, so that one call that hangs would keep the
process alive.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from thea_core.callbacks.forking import watch

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Outcome", "Workers", "begin"]

logger = logging.getLogger("thea_core.conversation")

Outcome = tuple[Any, "BaseException | None"]
"""What came of a call: its value, or the exception that it raised."""

_IDLE_SECONDS: Final = 10.0


class Workers:
    """Runs calls on up to ``limit`` daemon threads ``thea-NAME``; idle ones are reused, and end after a while.

    Thread-safe, fork-safe.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = f"thea-{name}"
        self._limit = limit
        self._fresh()
        watch(self)

    def submit(self, function: Callable[[], Any]) -> Future[Outcome]:
        """Call ``function`` in a copy of the caller's context variables; the result is an :data:`Outcome`."""
        from concurrent.futures import Future

        future: Future[Outcome] = Future()
        context = copy_context()
        with self._changed:
            self._calls.append((future, context.run, function))
            if self._idle >= len(self._calls):
                self._changed.notify()
            elif self._threads < self._limit:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
                self._threads += 1
        return future

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads: none of them runs here."""
        self._fresh()

    def _fresh(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._calls: deque[tuple[Future[Outcome], Callable[..., Any], Callable[[], Any]]] = deque()
        self._threads = 0
        self._idle = 0

    def _work(self) -> None:
        while (call := self._next()) is not None:
            future, run, function = call
            future.set_running_or_notify_cancel()
            future.set_result(_outcome(run, function))
            del call, future, run, function  # an idle thread keeps nothing alive

    def _next(self) -> tuple[Future[Outcome], Callable[..., Any], Callable[[], Any]] | None:
        """Wait for a call; None when none has come for a while, and the thread shall end."""
        with self._changed:
            if not self._calls:
                self._idle += 1
                self._changed.wait_for(lambda: self._calls, _IDLE_SECONDS)
                self._idle -= 1
            if self._calls:
                return self._calls.popleft()
            self._threads -= 1
            return None


def begin(thread: threading.Thread) -> bool:
    """Start a thread that the process can do without for a while; whether that was possible."""
    try:
        thread.start()
    except RuntimeError as error:  # there are too many, or the interpreter is about to end
        logger.warning("the thread %s cannot be started; it is tried again: %s", thread.name, error)
        return False
    return True


def _outcome(run: Callable[..., Any], function: Callable[[], Any]) -> Outcome:
    try:
        return run(function), None
    except BaseException as error:  # whatever it is, the caller decides; the thread lives on
        return None, error
