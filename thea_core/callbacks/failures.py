"""How failures of callbacks and of turns are logged: once for each distinct failure, then counted.

The count is told each time it has grown tenfold, so that a failure that goes on is neither forgotten nor a flood.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import Counter, OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

from thea_core.errors import error_text

__all__ = ["FailureLog", "log", "log_exception", "short_text"]

logger = logging.getLogger("thea_core.callbacks")
turns = logging.getLogger("thea_core.turns")  # of its own: these failures are told by on_error, too

_MAX_TEXT = 200
_MAX_READ = 2000
_MAX_PATH = 1000
_OTHERS = "the others go on"
_MAX_DISTINCT = 1000
_MAX_FRAMES = 2000

# The one of Python itself, whatever a class of exceptions has in its place.
_traceback_of: Callable[[BaseException], TracebackType | None] = BaseException.__dict__["__traceback__"].__get__
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType]


class _Failure(NamedTuple):
    """What makes a failure distinct: of what, in which hook or state, exception type (with its module) and place."""

    what: str
    where: str
    kind: str
    place: str


def short_text(error: BaseException, redact: Callable[[str], str] | None = None) -> str:
    """Return the exception's type and the start of its text, without secrets, on one line. Never raises."""
    text = error_text(error)[:_MAX_READ]  # it may be as long as it likes
    text = " ".join((text if redact is None else redact(text)).split())
    name = _type_name(error)
    return f"{name}: {text[:_MAX_TEXT]}" if text else name


class FailureLog:
    """Logs a distinct failure (of what, in which hook, exception type, place) once, with its traceback. Thread-safe.

    Remembers the last 1,000 distinct failures; their repetitions are counted, and logged at DEBUG. Each time a
    count has grown tenfold (to 10, 100, 1,000, ...), a WARNING tells it.

    Attributes:
        redact: takes the secrets out of a text; None where none is known. It must not raise.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may run within, and fail in its turn
        self._counts: OrderedDict[_Failure, int] = OrderedDict()
        self._by_plugin: Counter[str] = Counter()
        self.redact: Callable[[str], str] | None = None

    def report(
        self, plugin: str, hook: str, callback: str, error: BaseException, *, guard: bool = False, detail: str = ""
    ) -> None:
        """Log the failure of a callback. Never raises, whatever the application's log handlers do.

        Args:
            plugin: the plugin's name, or ``"local"``.
            hook: the hook's name.
            callback: the callback's name.
            error: what it raised, or what says why it did not end; this one has no traceback, and so no place.
            guard: whether the failure refuses a transition.
            detail: more lines for the first time it is logged, such as the stack of a thread that hangs.
        """
        with self._lock:
            self._by_plugin[plugin] += 1
        whose = "local callback" if plugin == "local" else f"{'guard' if guard else 'plugin'} {plugin!r}, callback"
        self._report(f"{whose} {callback}", hook, error, "the transition is refused" if guard else _OTHERS, detail)

    def report_lost(self, plugin: str, hook: str, error: BaseException) -> None:
        """Log, in the same way, that an event for a plugin with durable delivery could not be stored."""
        with self._lock:
            self._by_plugin[plugin] += 1
        self._report(f"storing an event for the plugin {plugin!r}", hook, error, "it will never get it")

    def report_outbox(self, plugin: str, error: BaseException) -> None:
        """Log, in the same way, that the outbox could not be read or changed for a plugin with durable delivery."""
        self._report(f"the store's outbox, asked for the plugin {plugin!r},", "delivery", error, "it is tried again")

    def of_plugin(self, plugin: str) -> int:
        """Return how many failures of a plugin's callbacks were reported: what they raised, hung at, or returned."""
        with self._lock:
            return self._by_plugin[plugin]

    def report_observer(self, observer: str, hook: str, error: BaseException) -> None:
        """Log the failure of an observer, in the same way."""
        self._report(f"observer {observer}", hook, error)

    def report_turn(self, state: str, error: BaseException, agent: str | None = None) -> None:
        """Log that a turn failed in a state, in the same way: nobody else may be listening to ``on_error``.

        It goes to the logger ``thea_core.turns``, so that whoever does listen can leave it out.

        ``agent`` is whose failure it is, where it is an agent's.
        """
        what = "a turn" if agent is None else f"a turn of the agent {agent!r}"
        self._report(what, f"the state {state!r}", error, "the user gets an apology", to=turns)

    def _report(
        self,
        what: str,
        where: str,
        error: BaseException,
        then: str = _OTHERS,
        detail: str = "",
        *,
        to: logging.Logger = logger,
    ) -> None:
        place, frames = _place(error)
        count = self._count(_Failure(what, where, _type_name(error, module=True), place))
        if count == 1:
            self._log_first(to, f"{what} failed in {where}; {then}", error, detail)
        elif str(count).rstrip("0") == "1":
            kind = f"{_type_name(error)} at {place}" if place else _type_name(error)
            log(logging.WARNING, "%s failed in %s %d times so far (%s)", what, where, count, kind, to=to)
        else:
            log(logging.DEBUG, "%s failed in %s again; %d times so far", what, where, count, to=to)
        if frames > _MAX_FRAMES:  # one object that is raised again and again would keep every frame that it ever left
            BaseException.with_traceback(error, None)

    def _log_first(self, to: logging.Logger, message: str, error: BaseException, detail: str) -> None:
        exc_info, trace = self._trace(error)
        more = "".join(f"\n{each.rstrip()}" for each in (self._redacted(detail), trace) if each)
        log(logging.ERROR, "%s (%s)%s", message, self.text(error), more, exc_info=exc_info, to=to)

    def _trace(self, error: BaseException) -> tuple[_ExcInfo | None, str]:
        """Return what a log handler is to format; or the traceback as text, where it cannot or must not."""
        trace = _traceback_of(error)
        if trace is None:
            return None, ""
        exc_info = type(error), error, trace
        try:
            text = "".join(traceback.format_exception(*exc_info))
        except KeyboardInterrupt:
            raise
        except BaseException:  # a plugin's exception may do anything when it is looked at
            return None, self._redacted("".join(traceback.format_tb(trace)))
        shown = self._redacted(text)
        return (exc_info, "") if shown == text else (None, shown)  # else the exception itself holds a secret

    def _redacted(self, text: str) -> str:
        return text if self.redact is None else self.redact(text)

    def text(self, error: BaseException) -> str:
        """Return the exception's type and the start of its text, without secrets, on one line. Never raises."""
        return short_text(error, self.redact)

    def after_fork_in_child(self) -> None:
        """Take a fresh lock: the parent's may be held."""
        self._lock = threading.RLock()

    def _count(self, failure: _Failure) -> int:
        with self._lock:
            count = self._counts.pop(failure, 0) + 1
            self._counts[failure] = count
            if len(self._counts) > _MAX_DISTINCT:
                self._counts.popitem(last=False)
            return count


def log_exception(message: str, *arguments: object) -> None:
    """Log the exception that is being handled. Never raises but for KeyboardInterrupt."""
    log(logging.ERROR, message, *arguments, exc_info=True)


def log(level: int, message: str, *arguments: object, exc_info: Any = None, to: logging.Logger = logger) -> None:
    """Log to ``thea_core.callbacks``, or ``to``. Never raises but for KeyboardInterrupt, whatever log handlers do."""
    try:
        to.log(level, message, *arguments, exc_info=exc_info)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: S110 -- a log handler of the host that raises must not stop a chain
        pass


def _type_name(error: BaseException, *, module: bool = False) -> str:
    """Return the name of the exception's class, on request with its module. Never raises but for KeyboardInterrupt."""
    kind = type(error)
    try:
        name = f"{kind.__module__}.{kind.__qualname__}" if module else f"{kind.__qualname__}"
    except KeyboardInterrupt:
        raise
    except BaseException:  # both may be anything that a plugin's metaclass gives
        return "an exception without a name"
    return name[-_MAX_TEXT:]


def _place(error: BaseException) -> tuple[str, int]:
    """Return file and line of the innermost frame (an empty string where there is none), and how many frames."""
    trace, frames = _traceback_of(error), 1
    while trace is not None and trace.tb_next is not None:
        trace, frames = trace.tb_next, frames + 1
    if trace is None:
        return "", 0
    return f"{trace.tb_frame.f_code.co_filename[-_MAX_PATH:]}:{trace.tb_lineno}", frames
