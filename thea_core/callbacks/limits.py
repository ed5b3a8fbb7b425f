"""The steps that wait for one callback, on a thread or on an event loop, for no longer than its limit.

A step's result is an :data:`Outcome`: it raises nothing but Ctrl-C and the host's cancellation of who waits. The time
starts with the body, except on the one thread of a plugin that is bound to one, where waiting for it counts.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from thea_core.callbacks import flow
from thea_core.callbacks.binding import LOCAL
from thea_core.callbacks.loops import (
    Body,
    LoopPool,
    Outcome,
    cancelled,
    contained,
    discard,
    new_future,
    on_loop_thread,
    too_many_hang,
)
from thea_core.callbacks.threads import Job, Stragglers, ThreadPool, place_in, stack_of
from thea_core.errors import CallbackSkippedError, CallbackTimeoutError, ReentrancyError

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from thea_core.callbacks.watching import Watch

__all__ = ["Abandoned", "CallbackStep", "CoroutineStep", "ThreadStep", "Ways"]

_MAX_LINES = 20
_SLICE = 1.0  # seconds: a signal that comes just before a lock is waited for is acted upon only when that wait ends
_LONGEST = 3_153_600_000.0  # seconds, a hundred years: what is longer is none, and no lock could wait for so long


class Abandoned(BaseException):
    """Stands for the outcome of a callback that is given up because the host's loop is being closed: no failure."""


def _slice(left: float | None) -> float:
    return _SLICE if left is None or left > _SLICE else left


class Ways:
    """Where the callbacks of one plugin run.

    Args:
        name: the plugin's name.
        one: whether its synchronous callbacks all run on one thread.
        loops: the event loops, of all plugins.
        watch: looks after what is left behind.
        crowded: called when as much is left behind as may be.
        relieved: called when one of so many has come back.
    """

    def __init__(
        self,
        name: str,
        *,
        one: bool,
        loops: LoopPool,
        watch: Watch,
        crowded: Callable[[], None],
        relieved: Callable[[], None],
    ) -> None:
        self.name = name
        self.loops = loops
        self.watch = watch
        self.stragglers = Stragglers(crowded, relieved)
        self.threads = ThreadPool(name, one=one, stragglers=self.stragglers, run_coroutine=self._run_coroutine)

    def _run_coroutine(
        self, coroutine: CoroutineType[Any, Any, Any]
    ) -> tuple[Callable[[], Outcome], Callable[[], None]]:
        """Begin to run the coroutine that a synchronous callback has returned.

        Returns:
            What waits for it, and what gives it up.
        """
        if (refused := self.refuse_blocked(flow.running_keys())) is not None:
            coroutine.close()
            return lambda: (None, refused), lambda: None
        body = Body()
        future = self.loops.submit(self.name, coroutine, body=body)

        def give_up() -> None:
            late, blocking = body.begun is not None, coroutine.cr_running
            self.loops.look_after(self.name, body, self.watch, self.stragglers, late=late, blocking=blocking)
            future.cancel()

        return future.result, give_up

    def refuse_blocked(self, keys: Iterable[object]) -> ReentrancyError | None:
        """Return why no coroutine is to be waited for in a flow: its loop waits for that very flow to end."""
        thread = self.loops.running(self.name)
        if thread is None or thread not in keys:
            return None
        return ReentrancyError(
            f"an asynchronous callback of {self.name!r} was to be waited for while its event loop waits for a "
            "synchronous trigger around it; await atrigger there instead"
        )

    def after_fork_in_child(self) -> None:
        """Start anew: nothing of the parent's runs here."""
        self.stragglers.after_fork_in_child()
        self.threads.after_fork_in_child()


class CallbackStep(ABC):
    """Waits for one callback, for no longer than its limit.

    What runs around the callback is told when the step is made: a generator that waits is not on the stack.
    """

    __slots__ = ("_frame", "_keys", "_limit")

    on_callers_loop = False
    """Whether :meth:`wait_async` runs it on the loop of its caller."""

    def __init__(self, limit: float | None, keys: tuple[object, ...]) -> None:
        self._keys = keys
        self._limit = None if limit is None or limit > _LONGEST else limit
        self._frame: flow.Frame | None = None

    @abstractmethod
    def wait(self) -> Outcome:
        """Wait in the calling thread."""

    @abstractmethod
    async def wait_async(self) -> Outcome:
        """Wait in the running task; when cancelled, it goes on, and may be waited for again."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop the callback, because what it belongs to is cancelled."""

    def _enter(self) -> flow.Frame:
        """Note in a new frame what runs around the callback; it is left with :func:`flow.suspend`."""
        self._frame = flow.enter(*self._keys)
        return self._frame

    def _end(self) -> None:
        if self._frame is not None:
            self._frame.alive = False

    def _left(self, begun: float | None) -> float | None:
        """Return the seconds until a body's time is up; None where it has no limit."""
        if self._limit is None or begun is None:
            return self._limit
        return max(0.0, begun + self._limit - time.monotonic())

    def _in_time(self, outcome: Outcome, begun: float | None, ended: float | None) -> Outcome:
        """Return the outcome of a body that has ended; a value that took too long does not count.

        Where code in C holds the interpreter all that time, whoever waits for the body cannot see it before its end.
        """
        if self._limit is None or begun is None or ended is None or outcome[1] is not None:
            return outcome
        return outcome if ended - begun <= self._limit else (None, self._timed_out())

    def _timed_out(self, where: str = "") -> CallbackTimeoutError:
        limit = self._limit or 0.0
        error = CallbackTimeoutError(f"it did not come back within {limit:g} s", limit)
        if where:
            error.add_note(f"It was hanging at:\n{where}")
        return error


class CoroutineStep(CallbackStep):
    """Waits for the coroutine of a callback, which runs in a task of its own.

    Args:
        coroutine: what to run.
        ways: where.
        limit: seconds; None for as long as it takes.
        keys: what runs around it, with its hook.
    """

    __slots__ = ("_body", "_coroutine", "_local", "_task", "_ways")

    def __init__(
        self, coroutine: CoroutineType[Any, Any, Any], ways: Ways, limit: float | None, keys: tuple[object, ...]
    ) -> None:
        super().__init__(limit, keys)
        self._local = ways.name == LOCAL
        self._coroutine = coroutine
        self._ways = ways
        self._body = Body()
        self._task: asyncio.Future[Outcome] | None = None

    @property
    def on_callers_loop(self) -> bool:  # type: ignore[override]
        """Whether :meth:`wait_async` runs it on the loop of its caller."""
        return self._local

    def wait(self) -> Outcome:
        """Run it on a loop of Thea's and block until it is done, or its time is up."""
        if on_loop_thread():
            self._coroutine.close()
            return None, ReentrancyError(
                "an asynchronous callback was to be waited for on one of Thea's event loops; await atrigger instead"
            )
        if (refused := self._refused(blocking=True)) is not None:
            return None, refused
        future = new_future()
        frame = self._enter()
        try:
            self._ways.loops.submit(self._ways.name, self._coroutine, future, self._body)
            return self._result(future)
        except BaseException:
            future.cancel()  # Ctrl-C in the waiting thread
            raise
        finally:
            flow.leave(frame)

    async def wait_async(self) -> Outcome:
        """Run it where it belongs and wait for it, or until its time is up."""
        import asyncio

        if self._task is None:
            if (refused := self._refused(blocking=not self._local)) is not None:
                return None, refused
            self._task = self._start()
        while not (await asyncio.wait({self._task}, timeout=self._left(self._body.begun)))[0]:
            if self._time_is_up():
                where = self._where()
                self._end()  # before it is cancelled: it is a flow of its own as soon as it goes on
                self._task.cancel()
                return None, self._timed_out(where)
        self._end()
        if self._task.cancelled():
            return None, cancelled()
        return self._in_time(self._task.result(), self._body.begun, self._body.ended)

    def cancel(self) -> None:
        """Stop the coroutine; one that goes on all the same is left behind when its time is up."""
        if self._task is None:
            return
        self._end()
        self._task.cancel()
        if (left := self._left(self._body.begun)) is not None:
            self._ways.watch.after(left, self._look_again)

    def _look_again(self) -> None:
        if self._body.ended is None and not self._time_is_up() and self._body.begun is not None:
            self._ways.watch.after(self._left(self._body.begun) or 0.0, self._look_again)  # it was looked too early

    def _refused(self, *, blocking: bool) -> CallbackSkippedError | ReentrancyError | None:
        """Return why it may not run now: as much is left behind as may be, or its loop waits for this very flow."""
        error: CallbackSkippedError | ReentrancyError | None = None
        if self._limit is not None and self._ways.stragglers.too_many:
            error = too_many_hang(self._ways.name)
        elif blocking:
            error = self._ways.refuse_blocked(self._keys)
        if error is not None:
            self._coroutine.close()
        return error

    def _result(self, future: Future[Outcome]) -> Outcome:
        while True:
            left = self._left(self._body.begun)
            try:
                outcome = future.result(_slice(left))
                return self._in_time(outcome, self._body.begun, self._body.ended)
            except TimeoutError:
                if left == _slice(left) and self._time_is_up():
                    where = self._where()
                    self._end()  # the same
                    if not future.cancel():
                        return self._in_time(future.result(), self._body.begun, self._body.ended)
                    return None, self._timed_out(where)

    def _time_is_up(self) -> bool:
        """Whether the time of the body is up; called where it seems so, it has the body looked after.

        Where the body has not begun by now its loop may stall, and needs looking after all the more. Where it has begun
        late it still has time.
        """
        ways, begun = self._ways, self._body.begun
        late = begun is not None and self._left(begun) == 0.0
        if late or begun is None:
            blocking = self._coroutine.cr_running
            ways.loops.look_after(ways.name, self._body, ways.watch, ways.stragglers, late=late, blocking=blocking)
        return late

    def _where(self) -> str:
        """Return where the coroutine waits, or where it holds up its loop; empty where it has ended just now."""
        thread, waiting = self._body.thread, _lines(self._coroutine)
        if thread is not None and (not waiting or self._coroutine.cr_running):
            return stack_of(thread.ident)
        return waiting

    def _start(self) -> asyncio.Future[Outcome]:
        """Start the task, with a frame in its context that is not in the caller's."""
        import asyncio

        frame = self._enter()
        try:
            if not self._local:
                ways = self._ways
                return _waiter(ways.loops.submit(ways.name, self._coroutine, body=self._body))
            task = asyncio.get_running_loop().create_task(contained(self._coroutine, self._body))
            task.add_done_callback(lambda _: discard(self._coroutine))
            return task
        finally:
            flow.suspend(frame)


class ThreadStep(CallbackStep):
    """Waits for a call that runs on a thread of its plugin.

    Args:
        call: the callback with its arguments.
        ways: where.
        limit: seconds; None for as long as it takes.
        keys: what runs around it, with its hook.
        capped: whether it is refused where as many calls are at work as may be.
    """

    __slots__ = ("_call", "_capped", "_due", "_job", "_waiter", "_ways")

    def __init__(
        self,
        call: Callable[[], Any],
        ways: Ways,
        limit: float | None,
        keys: tuple[object, ...],
        *,
        capped: bool = True,
    ) -> None:
        super().__init__(limit, keys)
        self._call = call
        self._capped = capped
        self._ways = ways
        self._job: Job | None = None
        self._due: float | None = None
        self._waiter: asyncio.Future[None] | None = None

    def wait(self) -> Outcome:
        """Run it on a thread and block until it is done, or its time is up."""
        threads = self._ways.threads
        if threads.one and threads.on_own_thread:
            return self._inline()
        if on_loop_thread():
            self._keys = (*self._keys, threading.current_thread())  # what it waits for must not wait for it
        done = threading.Lock()
        done.acquire()
        job = self._assigned(done.release)
        if not isinstance(job, Job):
            return None, job
        left = self._limit
        try:
            # Both threads want the interpreter now: as little as can be before this one waits.
            job.begin()
            while not done.acquire(timeout=_slice(left)):
                left = self._remaining(job)
                if left == 0.0:
                    where = job.where  # before it is given up, since its thread then does something else at any time
                    self._end()
                    if threads.abandon(job):
                        return None, self._timed_out(where)
                    break  # it has ended at the last moment
        except BaseException:
            self._let_go(job)  # Ctrl-C in the waiting thread
            raise
        finally:
            self._end()
        return self._outcome(job)

    async def wait_async(self) -> Outcome:
        """Run it on a thread and wait for it, or until its time is up; the running loop goes on meanwhile."""
        import asyncio

        threads = self._ways.threads
        if threads.one and threads.on_own_thread:
            return self._inline()
        if self._job is None or self._waiter is None:
            loop = asyncio.get_running_loop()
            self._waiter = waiter = loop.create_future()

            def settle() -> None:
                if not waiter.done():
                    waiter.set_result(None)

            job = self._assigned(partial(_tell_loop, loop, settle))
            if not isinstance(job, Job):
                return None, job
            self._job = job
            job.begin()
        job = self._job
        while not (await asyncio.wait({self._waiter}, timeout=self._remaining(job)))[0]:
            if self._remaining(job) == 0.0:
                where = job.where  # the same
                self._end()
                if threads.abandon(job):
                    return None, self._timed_out(where)
                break  # it has ended at the last moment
        self._end()
        return self._outcome(job)

    def cancel(self) -> None:
        """Let the call go: a thread cannot be stopped, and is left behind when its time is up."""
        if self._job is not None:
            self._end()
            self._let_go(self._job)

    def _let_go(self, job: Job) -> None:
        """Wait for a call no longer. Until its time is up it is at work like any other, and does not hang."""
        if not self._ways.threads.withdraw(job):
            self._look_again(job)

    def _look_again(self, job: Job) -> None:
        left = self._remaining(job)
        if left == 0.0:
            self._ways.threads.abandon(job)
        elif left is not None and not job.claimed:
            self._ways.watch.after(left, partial(self._look_again, job))

    def _assigned(self, tell: Callable[[], object]) -> Job | CallbackSkippedError | ReentrancyError:
        """Return the job, which has a thread; or why there is none for it."""
        threads = self._ways.threads
        if threads.one:
            if threads in self._keys:
                return ReentrancyError(
                    f"a callback of {self._ways.name!r}, which has one thread, was called by what that thread waits for"
                )
            self._keys = (*self._keys, threads)
            if self._limit is not None:
                self._due = time.monotonic() + self._limit
        self._frame, context = flow.carry(self._keys)
        job = Job(self._call, context, tell)
        job.capped = self._capped
        try:
            threads.assign(job)
        except CallbackSkippedError as error:
            self._end()
            return error.with_traceback(None)  # it is the callback's outcome: nobody raised it
        return job

    def _outcome(self, job: Job) -> Outcome:
        return self._in_time(job.outcome or (None, cancelled()), job.begun, job.ended)

    def _remaining(self, job: Job) -> float | None:
        """Return the seconds until the call's time is up; None where it has no limit."""
        return self._left(job.begun) if self._due is None else max(0.0, self._due - time.monotonic())

    def _inline(self) -> Outcome:
        """Call it here, on the one thread on which it may run: to wait for that would be to wait for itself."""
        frame = self._enter()
        try:
            return self._call(), None
        except BaseException as error:  # handed to whoever drives the step
            return None, error
        finally:
            flow.leave(frame)


def _tell_loop(loop: asyncio.AbstractEventLoop, settle: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(settle)


def _lines(coroutine: Any) -> str:
    """Return where a coroutine waits, and where what it awaits does; the innermost last."""
    lines: list[str] = []
    while isinstance(coroutine, CoroutineType) and coroutine.cr_frame is not None and len(lines) < _MAX_LINES:
        lines.append(place_in(coroutine.cr_frame.f_code, coroutine.cr_frame.f_lineno))
        coroutine = coroutine.cr_await
    return "".join(lines)


def _waiter(future: Future[Outcome]) -> asyncio.Future[Outcome]:
    """Make a future of another loop one of the running loop, which may be closed before it is done."""
    import asyncio

    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[Outcome] = loop.create_future()

    def settle() -> None:
        if not waiter.done():
            waiter.set_result((None, cancelled()) if future.cancelled() else future.result())

    future.add_done_callback(lambda _: _tell_loop(loop, settle))
    waiter.add_done_callback(lambda done: future.cancel() if done.cancelled() else None)
    return waiter
