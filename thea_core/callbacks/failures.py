"""How failures of callbacks and of turns are logged: once for each distinct failure, then counted."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import Any

from thea_core.errors import error_text

__all__ = ["FailureLog", "log_exception", "short_text"]

logger = logging.getLogger("thea_core.callbacks")

_MAX_TEXT = 200
_MAX_READ = 2000
_MAX_DISTINCT = 1000


def short_text(error: BaseException) -> str:
    """Return the exception's type and the start of its text, on one line. Never raises."""
    text = " ".join(error_text(error)[:_MAX_READ].split())  # it may be as long as it likes
    name = type(error).__qualname__
    return f"{name}: {text[:_MAX_TEXT]}" if text else name


class FailureLog:
    """Logs a distinct failure (of what, in which hook, exception type, place) once, with its traceback. Thread-safe.

    Remembers the last 1,000 distinct failures; their repetitions are counted, and logged at DEBUG.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may run within, and fail in its turn
        self._counts: OrderedDict[tuple[str, str, str, str], int] = OrderedDict()

    def report(self, plugin: str, hook: str, callback: str, error: BaseException) -> None:
        """Log the failure of a callback. Never raises, whatever the application's log handlers do."""
        whose = "local callback" if plugin == "local" else f"plugin {plugin!r}, callback"
        self._report(f"{whose} {callback}", hook, error)

    def report_observer(self, observer: str, hook: str, error: BaseException) -> None:
        """Log the failure of an observer, in the same way."""
        self._report(f"observer {observer}", hook, error)

    def report_turn(self, state: str, error: BaseException) -> None:
        """Log that a turn failed in a state, in the same way: nobody else may be listening to ``on_error``."""
        self._report("a turn", f"the state {state!r}", error, "the user gets an apology")

    def _report(self, what: str, where: str, error: BaseException, then: str = "the others go on") -> None:
        kind = type(error)
        count = self._count((what, where, f"{kind.__module__}.{kind.__qualname__}", _place(error)))
        if count == 1:
            text, trace = short_text(error), (kind, error, error.__traceback__)
            _log(logging.ERROR, "%s failed in %s; %s (%s)", what, where, then, text, exc_info=trace)
        else:
            _log(logging.DEBUG, "%s failed in %s again; %d times so far", what, where, count)

    def after_fork_in_child(self) -> None:
        """Take a fresh lock: the parent's may be held."""
        self._lock = threading.RLock()

    def _count(self, key: tuple[str, str, str, str]) -> int:
        with self._lock:
            count = self._counts.pop(key, 0) + 1
            self._counts[key] = count
            if len(self._counts) > _MAX_DISTINCT:
                self._counts.popitem(last=False)
            return count


def log_exception(message: str, *arguments: object) -> None:
    """Log the exception that is being handled. Never raises but for KeyboardInterrupt."""
    _log(logging.ERROR, message, *arguments, exc_info=True)


def _log(level: int, message: str, *arguments: object, exc_info: Any = None) -> None:
    try:
        logger.log(level, message, *arguments, exc_info=exc_info)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: S110 -- a log handler of the host that raises must not stop a chain
        pass


def _place(error: BaseException) -> str:
    """Return file and line of the innermost frame."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
