"""What is done around each delivery from a queue: the breaker is asked and told, and a row is written."""

from __future__ import annotations

from collections.abc import Callable

from thea_core.callbacks.binding import Callback
from thea_core.callbacks.breaker import REFUSED
from thea_core.callbacks.health import Health
from thea_core.callbacks.history import Call, Failure, Log, Recorder, Shape
from thea_core.callbacks.hooks import Kind
from thea_core.types import Clock

__all__ = ["Deliveries"]


class Deliveries:
    """The bookkeeping of all queues of one manager. Thread-safe.

    Args:
        recorder: takes the rows.
        clock: measures.
        health: tells the changes of breakers.
        fail: contains an exception, tells the breaker, and returns what to note in the row.

    Attributes:
        running: has one entry for each delivery that runs now, from whichever queue.
    """

    def __init__(
        self,
        recorder: Recorder,
        clock: Clock,
        health: Health,
        fail: Callable[[Callback, BaseException, int], Failure],
    ) -> None:
        self._recorder = recorder
        self._now = clock.monotonic_ns
        self._health = health
        self._fail = fail
        self._logs: dict[Call, Log] = {}
        self.running: list[None] = []

    def begin(self, callback: Callback) -> int:
        """Return a ticket of the callback's breaker, or REFUSED where it is not to be called now."""
        return 0 if callback.breaker is None else callback.breaker.admit()

    def end(self, callback: Callback, ticket: int, start: int, error: BaseException | None) -> Failure | None:
        """Note how the delivery ended that began at ``start``; return what was noted of one that did not end well."""
        failures = None
        if isinstance(error, KeyboardInterrupt):  # nobody pressed Ctrl-C on this thread: the callback raised it
            error = RuntimeError("it raised KeyboardInterrupt").with_traceback(error.__traceback__)
        if error is not None:
            failures = [self._fail(callback, error, 0 if ticket == REFUSED else ticket)]
        elif callback.breaker is not None:
            callback.breaker.succeed(ticket)
        self._record(callback, start, failures)
        self._health.tell()
        return failures[0] if failures else None

    def drop(self, callback: Callback) -> None:
        """Note that a call was queued, and will never be made."""
        self._record(callback, self._now(), [Failure(0, "dropped", "its queue was closed before its turn")])

    def _record(self, callback: Callback, start: int, failures: list[Failure] | None) -> None:
        if self._recorder.active:
            call = Call(callback.hook.name, callback.plugin, callback.name)
            log = self._logs.get(call)
            if log is None:
                queued = callback.hook.kind is Kind.EVENT  # on_flush is called by the queue itself
                shape = Shape((call,), ((0, 1, 0),), ((0, 0),), delivery=queued)
                log = self._logs[call] = self._recorder.log(shape)
            self._recorder.record(log, (start, self._now(), failures))
