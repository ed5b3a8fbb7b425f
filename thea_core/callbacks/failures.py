"""How failures of callbacks and of turns are logged: once for each distinct failure, then counted."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from thea_core.errors import error_text, format_traceback

__all__ = ["FailureLog", "log_exception", "short_text"]

logger = logging.getLogger("thea_core.callbacks")

_MAX_TEXT = 200
_MAX_READ = 2000
_OTHERS = "the others go on"
_MAX_DISTINCT = 1000
_MAX_FRAMES = 2000


def short_text(error: BaseException, redact: Callable[[str], str] | None = None) -> str:
    """Return the exception's type and the start of its text, without secrets, on one line. Never raises."""
    text = error_text(error)[:_MAX_READ]  # it may be as long as it likes
    text = " ".join((text if redact is None else redact(text)).split())
    name = type(error).__qualname__
    return f"{name}: {text[:_MAX_TEXT]}" if text else name


class FailureLog:
    """Logs a distinct failure (of what, in which hook, exception type, place) once, with its traceback. Thread-safe.

    Remembers the last 1,000 distinct failures; their repetitions are counted, and logged at DEBUG.

    Attributes:
        redact: takes the secrets out of a text; None where none is known. It must not raise.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may run within, and fail in its turn
        self._counts: OrderedDict[tuple[str, str, str, str], int] = OrderedDict()
        self.redact: Callable[[str], str] | None = None

    def report(self, plugin: str, hook: str, callback: str, error: BaseException, *, guard: bool = False) -> None:
        """Log the failure of a callback. Never raises, whatever the application's log handlers do.

        ``guard`` says that the failure refuses a transition.
        """
        whose = "local callback" if plugin == "local" else f"{'guard' if guard else 'plugin'} {plugin!r}, callback"
        self._report(f"{whose} {callback}", hook, error, "the transition is refused" if guard else _OTHERS)

    def report_observer(self, observer: str, hook: str, error: BaseException) -> None:
        """Log the failure of an observer, in the same way."""
        self._report(f"observer {observer}", hook, error)

    def report_turn(self, state: str, error: BaseException) -> None:
        """Log that a turn failed in a state, in the same way: nobody else may be listening to ``on_error``."""
        self._report("a turn", f"the state {state!r}", error, "the user gets an apology")

    def _report(self, what: str, where: str, error: BaseException, then: str = _OTHERS) -> None:
        kind = type(error)
        place, frames = _place(error)
        count = self._count((what, where, f"{kind.__module__}.{kind.__qualname__}", place))
        if count == 1:
            self._log_with_traceback(f"{what} failed in {where}; {then}", error)
        else:
            _log(logging.DEBUG, "%s failed in %s again; %d times so far", what, where, count)
        if frames > _MAX_FRAMES:  # one object that is raised again and again would keep every frame that it ever left
            BaseException.with_traceback(error, None)

    def _log_with_traceback(self, message: str, error: BaseException) -> None:
        trace = "" if self.redact is None else format_traceback(error)
        shown = "" if self.redact is None else self.redact(trace)
        if shown == trace:
            exc_info = type(error), error, error.__traceback__
            _log(logging.ERROR, "%s (%s)", message, self.text(error), exc_info=exc_info)
        else:  # the exception itself holds a secret
            _log(logging.ERROR, "%s (%s)\n%s", message, self.text(error), shown.rstrip())

    def text(self, error: BaseException) -> str:
        """Return the exception's type and the start of its text, without secrets, on one line. Never raises."""
        return short_text(error, self.redact)

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


def _place(error: BaseException) -> tuple[str, int]:
    """Return file and line of the innermost frame, and how many frames there are."""
    trace, frames = error.__traceback__, 1
    while trace is not None and trace.tb_next is not None:
        trace, frames = trace.tb_next, frames + 1
    return ("", 0) if trace is None else (f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}", frames)
