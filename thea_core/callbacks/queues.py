"""The queue of one plugin whose events are delivered in the background.

Putting a call on it never waits: where it is full the call is dropped, and counted. A daemon thread, the runner, makes
the calls in their order. What a put does in the usual case takes no lock, which would cost more than all the rest, and
may be interrupted anywhere by a finalizer or by Ctrl-C.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

from thea_core.callbacks import flow
from thea_core.callbacks.binding import Callback
from thea_core.callbacks.failures import log, log_exception
from thea_core.callbacks.limits import Ways
from thea_core.callbacks.runners import Bookkeeping, Making, Mark, QueuedCall, Runner
from thea_core.errors import CallbackTimeoutError
from thea_core.types import Clock

__all__ = ["DEFAULT_SIZE", "EventQueue", "Flush", "flush_call"]

DEFAULT_SIZE: Final = 2048
"""How many calls wait at most, if the operator does not say otherwise; OpenTelemetry's ``maxQueueSize``."""

_REPORT_EVERY = 60_000_000_000  # nanoseconds
_IDLE_SECONDS = 30.0
_FLUSH_GRACE = 0.1  # seconds that an on_flush may take longer than it was told


class Flush:
    """Somebody waits until calls have been made, and ``on_flush`` after them.

    Attributes:
        target: up to which call; infinite for as long as there are any.
        deadline: until when, by ``time.monotonic``.
        waits: whether there is anything to wait for, and it is not the delivery itself that asks.
        delivered: whether those calls have been made.
        told: whether ``on_flush`` has been called since.
        lost: how many of those calls will never be made.
        done: set when there is nothing to wait for any more.
    """

    __slots__ = ("deadline", "delivered", "done", "lost", "target", "told", "waits")

    def __init__(self, target: float, deadline: float) -> None:
        self.target = target
        self.deadline = deadline
        self.waits = True
        self.delivered = False
        self.told = False
        self.lost = 0
        self.done = threading.Event()


class EventQueue:
    """The queue, and what its runner does. Thread-safe.

    Args:
        ways: where the plugin's callbacks run.
        size: how many calls may wait.
        flush_interval: seconds between two calls of ``on_flush``, at most.
        clock: dates the calls, and says when a minute is over.
        books: what is done around each delivery.

    Attributes:
        on_flush: the plugin's ``on_flush``; None where it has none.
    """

    def __init__(self, ways: Ways, *, size: int, flush_interval: float, clock: Clock, books: Bookkeeping) -> None:
        self._ways = ways
        self._size = size
        self._interval = flush_interval
        self._now = clock.monotonic_ns
        self._books = books
        self.on_flush: Callback | None = None
        self._items: deque[QueuedCall] = deque()
        self._making = Making(ways, clock, books, self._lose)
        self._fresh()

    def _fresh(self) -> None:
        self._lock = threading.RLock()  # a finalizer may run within, and put a call
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._items.clear()
        self._made = 0
        self._busy = ""  # what the runner is at: a call, or on_flush
        self._runner: Runner | None = None
        self._idle = True  # whether who puts a call must see to a runner
        self._late: list[tuple[Mark, CallbackTimeoutError]] = []
        self._flushes: list[Flush] = []
        self._flushed = time.monotonic()
        self._unflushed = False
        self._ending = False
        self._dropped = 0
        self._reported: int | None = None

    @property
    def waiting(self) -> int:
        """How many calls have been put and not made yet."""
        with self._lock:
            return self._end - self._made

    @property
    def _end(self) -> int:
        """The number of the call that would be put next; the lock is held."""
        return self._made + (self._busy == "call") + len(self._items)

    # Putting

    def putter(self, callback: Callback, busy: list[int]) -> Callable[[tuple[Any, ...], dict[str, Any] | None], bool]:
        """Return a function that puts a call of ``callback`` on the queue; it tells whether there was room.

        It takes the arguments by position and those by name.

        Args:
            callback: what is to be called.
            busy: the running calls of chains; the caller's own is one of them.
        """
        hook, items, size = callback.hook, self._items, self._size
        alone = (hook,)
        put_last, framed = items.append, flow.framed

        def put(positional: tuple[Any, ...], named: dict[str, Any] | None) -> bool:
            nested = len(busy) > 1
            keys = alone if not nested and framed() is None else flow.carried(hook, stack=nested)
            call = (callback, positional, named, keys, copy_context())
            if len(items) >= size:
                return self._drop()
            put_last(call)
            if len(items) > size and self._take_out(call):  # several threads have taken the last place
                return self._drop()
            if self._idle:
                self._wake()
            return True

        return put

    def _take_out(self, call: QueuedCall) -> bool:
        """Take a call out for which there is no room; whether that was so."""
        with self._lock:  # only under it calls leave
            for index in range(len(self._items) - 1, self._size - 1, -1):
                if self._items[index] is call:
                    del self._items[index]
                    return True
        return False

    def _drop(self) -> bool:
        now = self._now()
        with self._lock:
            self._dropped += 1
            if self._reported is not None and now - self._reported < _REPORT_EVERY:
                return False
        self._report(now)
        return False

    def _report(self, now: int, *, last: bool = False) -> None:
        """Log how many calls were dropped, at most once a minute; or, for the ``last`` time, what is still untold."""
        with self._lock:
            early = self._reported is not None and now - self._reported < _REPORT_EVERY
            if not self._dropped or (early and not last):
                return
            dropped, self._dropped, self._reported = self._dropped, 0, now
        text = "plugin %r: its queue of %d calls is full; %d dropped since the last report"
        log(logging.WARNING, text, self._ways.name, self._size, dropped)

    # Waiting for it

    def flush(self, timeout: float) -> int:
        """Wait until what is queued now has been delivered, and ``on_flush`` called; return how many calls were left.

        Called by the plugin itself while it is delivered to, or by what that caused, it waits for nothing.
        """
        return self.end_flush(self.begin_flush(timeout))

    def drain(self, timeout: float) -> int:
        """Wait until all is delivered, and ``on_flush`` called; then drop what is left. Return how much that is."""
        return self.end_drain(self.begin_flush(timeout, everything=True))

    def begin_flush(self, timeout: float, *, everything: bool = False) -> Flush:
        """Ask the runner to flush within ``timeout`` seconds; give what is returned to one of the methods below."""
        runner = self._runner
        own = runner is not None and (runner.thread is threading.current_thread() or flow.running(runner))
        with self._lock:
            flush = Flush(math.inf if everything else self._end, time.monotonic() + timeout)
            flush.waits = not own and (self._end > self._made or self._wants_flush)
            flush.told = self._ending and self._busy == "on_flush" and not self._items  # it is just being called
            if flush.waits:
                self._flushes.append(flush)
        if flush.waits:
            self._wake()
        return flush

    def end_flush(self, flush: Flush) -> int:
        """Wait for a flush until its deadline; return how many calls were left."""
        try:
            if flush.waits:
                flush.done.wait(min(max(0.0, flush.deadline - time.monotonic()), threading.TIMEOUT_MAX))
        finally:
            with self._lock:
                if flush in self._flushes:
                    self._flushes.remove(flush)
        with self._lock:
            if flush.delivered and (flush.done.is_set() or flush.target < math.inf):
                return flush.lost
            return flush.lost + max(0, int(min(flush.target, self._end)) - self._made)

    def end_drain(self, flush: Flush) -> int:
        """Wait for a flush of everything until its deadline, and drop what is left; return how many calls that were."""
        left = self.end_flush(flush)
        if not left or not flush.waits:
            return left
        with self._lock:
            dropped = self._discard()
            left = flush.lost + len(dropped) + self._end - self._made
        for callback in dropped:
            self._books.drop(callback)
        return left

    def close(self) -> list[threading.Thread]:
        """Let the runner end when it has nothing to do; a call that is put afterwards starts another one.

        Returns the runner's thread, if it has nothing to do now.
        """
        self._report(self._now(), last=True)
        with self._lock:
            self._ending = True
            runner = self._runner
            if runner is None or not self._idle:
                return []
            self._bell.put(None)
            return [runner.thread]

    def resume(self) -> None:
        """Go on: what had been left behind has come back."""
        with self._lock:
            if not (self._items or self._flushes or self._unflushed):
                return
        self._start()

    def after_fork_in_child(self) -> None:
        """Forget the parent's runner, and the calls that it will make."""
        self._making.after_fork_in_child()
        self._fresh()

    @property
    def _wants_flush(self) -> bool:
        """Whether ``on_flush`` is to be called although no call waits."""
        return self.on_flush is not None and (self._unflushed or self._busy == "on_flush" or not self._ending)

    def _discard(self) -> list[Callback]:
        with self._lock:
            first = self._end - len(self._items)
            dropped = [self._items.popleft()[0] for _ in range(len(self._items))]
            for flush in self._flushes:  # of others, who wait longer
                flush.lost += max(0, int(min(flush.target, first + len(dropped))) - first)
                if flush.target < math.inf:
                    flush.target = min(flush.target, first)  # their numbers are given anew
            if not self._busy:
                self._settle(time.monotonic())
            return dropped

    # The runner

    def _wake(self) -> None:
        """See to it that there is a runner, and that it is awake."""
        with self._lock:
            if self._runner is not None:
                self._bell.put(None)
                self._idle = False
                return
        self._start()

    def _start(self) -> None:
        """Start a runner. Where that is not possible the next call tries again."""
        runner = None
        try:
            with self._lock:
                if self._runner is not None or (self._ways.stragglers.too_many and not self._late):
                    return
                self._runner = runner = Runner(self._ways.name, self, self._bell)
                self._idle = False
                if not self._unflushed:
                    self._flushed = time.monotonic()  # the first interval begins
            runner.thread.start()
        except BaseException as error:
            self._give_up(runner)
            if not isinstance(error, RuntimeError):  # there are too many, or the interpreter is about to end
                raise

    def _give_up(self, runner: Runner | None) -> None:
        """Note that a runner could not be started."""
        with self._lock:
            if runner is None or runner.thread.ident is not None:  # Ctrl-C came before, or afterwards
                return
            self._rest()
            flushes, self._flushes = self._flushes, []
        for flush in flushes:
            flush.done.set()

    def work(self, runner: Runner, *, in_vain: bool) -> float:
        """Do what there is to do, on the runner's thread; return for how many seconds to sleep then, 0 to end."""
        while True:
            task = self._next(runner, in_vain=in_vain)
            if not callable(task):
                return task
            in_vain = False
            try:
                task()
                if self._dropped:
                    self._report(self._now())
            except BaseException:  # of an observer, say: the queue must go on; Ctrl-C never comes to this thread
                log_exception("something around the queue of %r failed; it goes on", self._ways.name)

    def _next(self, runner: Runner, *, in_vain: bool) -> Callable[[], object] | float:
        """Return what is to be done next; or, where there is nothing, for how many seconds to sleep; 0 to end."""
        with self._lock:
            if self._runner is not runner:  # it was left behind, or this is the child of a body that has forked
                return 0.0
            if self._late:
                return partial(self._note_late, *self._late.pop(0))
            now = time.monotonic()
            self._settle(now)
            if self._ways.stragglers.too_many:
                return self._rest()
            task = self._task(runner, now)
            if task is not None:
                return task
            if self._ending or (in_vain and self.on_flush is None):
                return self._rest()
            return _IDLE_SECONDS if self.on_flush is None else max(self._flushed + self._interval - now, 0.001)

    def _task(self, runner: Runner, now: float) -> Callable[[], object] | None:
        """Return how to make the next call, or the next one of ``on_flush``; the lock is held."""
        seconds = self._flush_due(now)
        if seconds is not None:
            self._busy, self._unflushed = "on_flush", False
            return partial(self._flush, runner, seconds)
        if not self._items:
            self._idle = True  # who puts a call from here on rings; who has put one before is seen now
            if not self._items:
                return None
        self._busy, self._idle = "call", False
        call = self._items.popleft()
        return partial(self._making.make, runner, call, call[0].timeout)

    def _rest(self) -> float:
        """Have no runner; the lock is held."""
        self._runner, self._idle = None, True
        return 0.0

    def _settle(self, now: float) -> None:
        """Note that what the runner was at is done, and let go who waited for that; the lock is held."""
        if self._busy == "call":
            self._made += 1
            self._unflushed = True
        elif self._busy:
            self._flushed = now
        self._busy = ""
        for flush in self._flushes[:]:
            if flush.target > self._made and self._items:
                flush.delivered = flush.told = False  # more has come
                continue
            flush.delivered = True
            if flush.told or self.on_flush is None or flush.deadline <= now:
                self._flushes.remove(flush)
                flush.done.set()

    def _flush_due(self, now: float) -> float | None:
        """Return the seconds for an ``on_flush`` that is due; the lock is held."""
        if self.on_flush is None:
            return None
        asked = [each for each in self._flushes if each.delivered]
        if asked:
            for each in asked:
                each.told = True
            return max(each.deadline for each in asked) - now
        if now - self._flushed >= self._interval or (self._unflushed and not self._items):
            return self._interval if self.on_flush.timeout is None else self.on_flush.timeout
        return None

    def _flush(self, runner: Runner, seconds: float) -> None:
        callback = self.on_flush
        if callback is None:
            return
        positional, named, limit = flush_call(callback, seconds)
        self._making.make(runner, (callback, positional, named, (callback.hook,), copy_context()), limit)

    def _lose(self, runner: Runner, mark: Mark, late: CallbackTimeoutError) -> None:
        """Go on with another runner: the one that makes this call hangs. What it did is noted by its successor."""
        with self._lock:
            if self._runner is not runner:
                return
            self._late.append((mark, late))
            self._rest()
        self._ways.stragglers.add()
        self._start()

    def _note_late(self, mark: Mark, late: CallbackTimeoutError) -> None:
        self._books.end(mark.callback, mark.ticket, mark.start, late)


def flush_call(callback: Callback, seconds: float) -> tuple[tuple[Any, ...], dict[str, Any], float | None]:
    """Return how an ``on_flush`` is called that has so many seconds: arguments by position, by name, and its limit."""
    positional = (seconds,) if callback.arguments.positional else ()
    named = {} if positional else dict.fromkeys(callback.arguments.names, seconds)
    return positional, named, None if callback.timeout is None else seconds + _FLUSH_GRACE
