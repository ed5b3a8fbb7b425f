"""The threads that make the calls of a queue, one at a time and in order, and what becomes of a call that hangs.

A body cannot be stopped. Where its time is up it is left behind with its thread, the runner, and another one goes on.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial
from queue import Empty, SimpleQueue
from types import CoroutineType
from typing import Any, Protocol
from weakref import ref

from thea_core.callbacks import flow
from thea_core.callbacks.binding import Callback
from thea_core.callbacks.breaker import REFUSED
from thea_core.callbacks.limits import CoroutineStep, ThreadStep, Ways
from thea_core.callbacks.threads import stack_of
from thea_core.errors import CallbackSkippedError, CallbackTimeoutError
from thea_core.types import Clock

__all__ = ["Bookkeeping", "Making", "Mark", "QueuedCall", "Runner", "Work"]

QueuedCall = tuple[Callback, tuple[Any, ...], "dict[str, Any] | None", tuple[object, ...], Context]
"""One call that waits: what is called; its arguments by position and by name; what ran around the trigger that queued
it, and counts as still running; and the context variables of that trigger. A plain tuple is the cheapest to make."""


class Bookkeeping(Protocol):
    """What is done around each delivery. Thread-safe.

    Attributes:
        running: has one entry for each delivery that runs now, from whichever queue.
    """

    running: list[None]

    def begin(self, callback: Callback) -> int:
        """Return a ticket, or REFUSED where the callback is not to be called now."""
        ...

    def end(self, callback: Callback, ticket: int, start: int, error: BaseException | None) -> object:
        """Note how the delivery ended that began at ``start``, in nanoseconds of the clock."""
        ...

    def drop(self, callback: Callback) -> None:
        """Note that a call was queued, and will never be made."""
        ...


class Work(Protocol):
    """What a runner works for."""

    def work(self, runner: Runner, *, in_vain: bool) -> float:
        """Do what there is to do, and return for how many seconds to sleep then; 0 to end.

        ``in_vain`` says that the runner has just slept, and nobody has rung for it.
        """
        ...


class Mark:
    """A call that is being made: what is to be noted of it, and until when it has time, by ``time.monotonic``.

    Attributes:
        callback, ticket, start: what is to be noted.
        limit: how many seconds it has.
        due: when its time is up; infinite where it is not looked after here.
    """

    __slots__ = ("_claims", "callback", "due", "limit", "start", "ticket")

    def __init__(self, callback: Callback, ticket: int, start: int, limit: float | None, due: float) -> None:
        self.callback = callback
        self.ticket = ticket
        self.start = start
        self.limit = limit or 0.0
        self.due = due
        self._claims = [None]

    @property
    def decided(self) -> bool:
        """Whether it is decided what becomes of it."""
        return not self._claims

    def claim(self) -> bool:
        """Decide what becomes of it: by its end, or by the end of its time. The first who claims it decides."""
        try:
            self._claims.pop()  # atomic, and cheaper than a lock
        except IndexError:
            return False
        return True


class Runner:
    """One daemon thread ``thea-NAME`` that makes calls. While it sleeps it keeps nothing alive, but for its bell.

    Args:
        name: the plugin's name.
        work: what it works for, and ends with.
        bell: wakes it, when something is put into it.
    """

    __slots__ = ("at", "thread")

    def __init__(self, name: str, work: Work, bell: SimpleQueue[None]) -> None:
        self.at: Mark | None = None
        """What it is at, or was at last."""
        reference = ref(work, lambda _: bell.put(None))  # a SimpleQueue may be put into by a finalizer, too
        self.thread = threading.Thread(target=_run, args=(self, reference, bell), name=f"thea-{name}", daemon=True)


def _run(runner: Runner, reference: ref[Work], bell: SimpleQueue[None]) -> None:
    in_vain = False
    while (work := reference()) is not None:
        seconds = work.work(runner, in_vain=in_vain)
        del work
        if not seconds:
            return
        try:
            bell.get(timeout=min(seconds, threading.TIMEOUT_MAX))
        except Empty:
            in_vain = True
        else:
            in_vain = False


class Making:
    """Makes the calls of one queue, each within its limit.

    Args:
        ways: where the plugin's callbacks run.
        clock: dates the calls.
        books: what is done around each delivery.
        lose: called when a call has been left behind with its runner, with what is to be noted of that, and why.
    """

    def __init__(
        self,
        ways: Ways,
        clock: Clock,
        books: Bookkeeping,
        lose: Callable[[Runner, Mark, CallbackTimeoutError], None],
    ) -> None:
        self._ways = ways
        self._now = clock.monotonic_ns
        self._books = books
        self._lose = lose
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Forget what was being looked after: nothing of it runs here."""
        self._lock = threading.Lock()
        self._looks: list[float] = []  # when it will be looked whether a call hangs; the earliest last
        self._runner: Runner | None = None

    def make(self, runner: Runner, call: QueuedCall, limit: float | None) -> bool:
        """Make one call in the thread of ``runner``, and note how it ended; False where that is not this thread's.

        It is not where it was left behind, or where the body has forked and this is the child.
        """
        self._runner = runner
        callback = call[0]
        start = self._now()
        ticket = self._books.begin(callback)
        error: BaseException | None = None
        if ticket == REFUSED:
            error = CallbackSkippedError("its circuit breaker is open")
        else:
            inline = not (callback.is_async or self._ways.threads.one)
            due = time.monotonic() + limit if inline and limit is not None else math.inf
            mark = runner.at = Mark(callback, ticket, start, limit, due)
            if due < math.inf:
                self._look_after(due)
            error = call[4].run(self._call, runner, call, mark, limit, inline=inline)
            runner.at = None
            if not mark.claim():
                self._ways.stragglers.remove()
                return False
        if self._runner is not runner:  # the body has forked, and this is the child
            return False
        self._books.end(callback, ticket, start, error)
        return True

    def _call(
        self, runner: Runner, call: QueuedCall, mark: Mark, limit: float | None, *, inline: bool
    ) -> BaseException | None:
        """Call the callback, here or where it belongs; return what it raised, or why it did not end."""
        callback, positional, named, keys, _ = call
        running = self._books.running
        running.append(None)
        frame = flow.enter(runner, *keys)
        try:
            if not (inline or callback.is_async):
                body = partial(callback.function, *positional, **(named or {}))
                return ThreadStep(body, self._ways, limit, keys).wait()[1]
            value = callback.function(*positional, **named) if named else callback.function(*positional)
            if type(value) is CoroutineType:
                mark.due = math.inf  # it is waited for with a limit
                if mark.decided:
                    value.close()
                else:
                    return CoroutineStep(value, self._ways, limit, keys).wait()[1]
        except BaseException as error:  # Ctrl-C never comes to this thread: it is the callback's own
            return error
        finally:
            flow.leave(frame)
            running.pop()
        return None

    # What hangs

    def _look_after(self, due: float) -> None:
        """Have it looked, when its time is up, whether a call hangs."""
        if any(each <= due for each in self._looks[-1:]):
            return  # there the next look is arranged
        with self._lock:
            self._looks.append(due)
            self._looks.sort(reverse=True)
        self._ways.watch.after(max(0.0, due - time.monotonic()), partial(_look, ref(self), due))

    def look(self, due: float) -> None:
        """Leave the call behind that is being made, if its time is up. Called at ``due``."""
        with self._lock:
            self._looks.remove(due)
        runner = self._runner
        mark = None if runner is None else runner.at
        if runner is None or mark is None or mark.due == math.inf:
            return
        if mark.due > time.monotonic():
            self._look_after(mark.due)
            return
        late = CallbackTimeoutError(f"it did not come back within {mark.limit:g} s", mark.limit)
        late.add_note(f"It was hanging at:\n{stack_of(runner.thread.ident)}")  # reads files: no lock is held
        if mark.claim():
            self._lose(runner, mark, late)


def _look(reference: ref[Making], due: float) -> None:
    making = reference()
    if making is not None:
        making.look(due)
