"""Event loops of Thea's own, and the step that waits for one asynchronous callback.

A plugin's coroutines run on the plugin's own loop, in a daemon thread ``thea-NAME`` that is started at first use: its
clients belong to one loop, and it can neither block nor stop the host's. ``asyncio`` is imported here at first use.

Whoever waits for a coroutine gets an answer: also where the plugin stops or closes its loop, where the manager is
closed meanwhile, and where no thread can be started.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from thea_core.callbacks import flow
from thea_core.callbacks.binding import LOCAL, Callback
from thea_core.callbacks.failures import log_exception
from thea_core.errors import ReentrancyError

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

__all__ = ["Abandoned", "CallbackStep", "LoopPool", "Outcome", "on_loop_thread"]

Outcome = tuple[Any, "BaseException | None"]
"""What came of a coroutine: its value, or the exception that it raised."""


class Abandoned(BaseException):
    """Stands for the outcome of a callback that is given up because the host's loop is being closed: no failure."""


class _Job:
    """A coroutine on its way through a loop; its future gets an outcome whatever becomes of the loop."""

    __slots__ = ("_coroutine", "_task", "future")

    def __init__(self, coroutine: Coroutine[Any, Any, Outcome], future: Future[Outcome]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Outcome] | None = None
        self.future = future

    def begin(self) -> None:
        """Start the task; runs on the loop, in a copy of the context of whoever submitted it."""
        import asyncio

        if self.future.cancelled():
            self._coroutine.close()
            return
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """Stop the task; runs on the loop."""
        if self._task is not None:
            self._task.cancel()

    def give_up(self) -> None:
        """Answer although the loop has ended."""
        if self._task is None:
            self._coroutine.close()
        self._answer((None, _cancelled()))

    def _end(self, task: asyncio.Task[Outcome]) -> None:
        self._answer((None, _cancelled()) if task.cancelled() else task.result())

    def _answer(self, outcome: Outcome) -> None:
        if not self.future.done():
            self.future.set_result(outcome)


class LoopThread(threading.Thread):
    """A daemon thread that runs one event loop until it is closed, whatever is done to the loop."""

    def __init__(self, name: str) -> None:
        import asyncio

        super().__init__(name=f"thea-{name}", daemon=True)
        self._closing = False
        self._gate = threading.RLock()
        self._jobs: set[_Job] = set()
        self.open = True
        self.loop = asyncio.new_event_loop()
        try:
            self.start()
        except BaseException:
            self.loop.close()
            raise

    def run(self) -> None:
        while not (self._closing or self.loop.is_closed()):
            try:
                self.loop.run_forever()  # returns also when a plugin stops it
            except BaseException:  # a SystemExit in a loop's callback; Ctrl-C never comes to this thread
                log_exception("a callback of the event loop of %s failed; the loop goes on", self.name)
        with self._gate:
            self.open = False
        try:
            if not self.loop.is_closed():
                self.loop.run_until_complete(_wind_up(self.loop))
        except BaseException:  # the same
            log_exception("the event loop of %s did not end well", self.name)
        finally:
            self.loop.close()
            for job in self._jobs.copy():
                job.give_up()

    def submit(self, coroutine: Coroutine[Any, Any, Outcome], future: Future[Outcome] | None = None) -> Future[Outcome]:
        """Run a coroutine as a task of this loop, in a copy of the caller's context. Never raises."""
        job = _Job(coroutine, future or new_future())
        job.future.add_done_callback(lambda future: self._forget(job, cancelled=future.cancelled()))
        try:
            with self._gate:
                if self.open:
                    self._jobs.add(job)
                    self.loop.call_soon_threadsafe(self._begin, job)
                    return job.future
        except RuntimeError:  # closed by the plugin just now
            pass
        job.give_up()
        return job.future

    def stop(self) -> None:
        """Tell the loop to end: what runs on it is cancelled."""
        self._closing = True
        with suppress(RuntimeError):  # closed already
            self.loop.call_soon_threadsafe(self.loop.stop)

    def ended(self, timeout: float) -> bool:
        """Wait for the thread for at most ``timeout`` seconds; whether it has ended. Not on the thread itself."""
        if threading.current_thread() is not self:
            self.join(timeout)
        return not self.is_alive()

    def _begin(self, job: _Job) -> None:
        """Start a job; runs on the loop."""
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a plugin called run_forever on it: Python 3.13.0 then forgets that the loop runs
            self.loop.stop()  # run() runs it anew
            self.loop.call_soon(self._begin, job)
        else:
            job.begin()

    def _forget(self, job: _Job, *, cancelled: bool) -> None:
        self._jobs.discard(job)
        if cancelled:
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(job.cancel)


def on_loop_thread() -> bool:
    """Whether the calling thread runs one of Thea's own loops."""
    return isinstance(threading.current_thread(), LoopThread)


class LoopPool:
    """The loops of one manager, one for each plugin that has asynchronous callbacks. Thread-safe.

    The threads end with the pool, at the latest.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._threads: dict[str, LoopThread] = {}
        self._kept: dict[asyncio.Task[None], AsyncGenerator[None]] = {}
        weakref.finalize(self, _stop_all, self._threads).atexit = False

    def loop_of(self, plugin: str) -> LoopThread:
        """Return the plugin's loop (``"local"``: the manager's), started if need be."""
        with self._lock:
            thread = self._threads.get(plugin)
            if thread is None or not thread.open:
                thread = self._threads[plugin] = LoopThread(plugin)
            return thread

    def submit(
        self, plugin: str, coroutine: Coroutine[Any, Any, Any], future: Future[Outcome] | None = None
    ) -> Future[Outcome]:
        """Run a coroutine on the plugin's loop, in a copy of the caller's context.

        Raises nothing but KeyboardInterrupt; who must not lose sight of the coroutine then gives the future.
        """
        future = future or new_future()
        future.add_done_callback(lambda _: _discard(coroutine))
        try:
            thread = self.loop_of(plugin)
        except Exception as error:  # there is no thread, or no file descriptor, to be had
            future.set_result((None, error))
            return future
        return thread.submit(_contained(coroutine), future)

    def own(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run what a cancelled caller left behind, in a task of the running loop.

        The task is kept until it is done; ``asyncio.run`` waits for it, also where it began too late to be cancelled
        with the others.

        Args:
            work: makes the coroutine, which swallows a cancellation; where one comes before it begins, it is made anew.
        """
        import asyncio

        def end(task: asyncio.Task[None]) -> None:
            _advance(self._kept.pop(task))
            if task.cancelled():
                self.own(work)

        self._forget_dead()
        task = asyncio.get_running_loop().create_task(work())
        keeper = self._kept[task] = _keep(task)
        _advance(keeper)
        task.add_done_callback(end)

    def close_one(self, plugin: str, timeout: float) -> bool:
        """Stop the loop of one plugin, if it has one; whether it has stopped in time."""
        with self._lock:
            thread = self._threads.pop(plugin, None)
        if thread is None:
            return True
        thread.stop()
        return thread.ended(timeout)

    def close(self, timeout: float) -> int:
        """Stop all loops, within ``timeout`` seconds; return how many have not stopped."""
        import time

        self._forget_dead()
        with self._lock:
            threads = list(self._threads.values())
            self._threads.clear()
        for thread in threads:
            thread.stop()
        end = time.monotonic() + timeout
        return sum(not thread.ended(max(0.0, end - time.monotonic())) for thread in threads)

    def names(self) -> list[str]:
        """Return whose loops run."""
        with self._lock:
            return list(self._threads)

    def _forget_dead(self) -> None:
        """Let go what will never end, because somebody closed its loop without letting anything end."""
        for task in list(self._kept):
            if task.get_loop().is_closed():
                self._kept.pop(task, None)

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads: none of them runs here."""
        self._lock = threading.RLock()
        self._threads.clear()


class CallbackStep:
    """Waits for the coroutine of one callback; the result is an :data:`Outcome`, and nothing is raised.

    Args:
        callback: whose coroutine it is.
        coroutine: what to run, in a task of its own.
        loops: where.
    """

    __slots__ = ("_callback", "_coroutine", "_frame", "_keys", "_loops", "_task")

    def __init__(self, callback: Callback, coroutine: Coroutine[Any, Any, Any], loops: LoopPool) -> None:
        self._callback = callback
        self._coroutine = coroutine
        self._loops = loops
        self._keys = {callback.hook, *flow.running_keys()}  # now: a generator that waits is not on the stack
        self._frame: flow.Frame | None = None
        self._task: asyncio.Future[Outcome] | None = None

    @property
    def on_callers_loop(self) -> bool:
        """Whether :meth:`wait_async` runs it on the loop of its caller."""
        return self._callback.plugin == LOCAL

    def wait(self) -> Outcome:
        """Run it on a loop of Thea's and block until it is done."""
        if on_loop_thread():
            self._coroutine.close()
            return None, ReentrancyError(
                "an asynchronous callback was to be waited for on one of Thea's event loops; await atrigger instead"
            )
        future = new_future()
        frame = flow.enter(*self._keys)
        try:
            return self._loops.submit(self._callback.plugin, self._coroutine, future).result()
        except BaseException:
            future.cancel()  # Ctrl-C in the waiting thread
            raise
        finally:
            flow.leave(frame)

    async def wait_async(self) -> Outcome:
        """Run it where it belongs and wait for it; when cancelled, it goes on, and may be waited for again."""
        import asyncio

        if self._task is None or self._frame is None:
            self._frame, self._task = self._start()
        await asyncio.wait({self._task})
        self._frame.alive = False
        if self._task.cancelled():
            return None, _cancelled()
        return self._task.result()

    def _start(self) -> tuple[flow.Frame, asyncio.Future[Outcome]]:
        """Start the task, with a frame in its context that is not in the caller's."""
        import asyncio

        frame = flow.enter(*self._keys)
        try:
            if not self.on_callers_loop:
                return frame, _waiter(self._loops.submit(self._callback.plugin, self._coroutine))
            task = asyncio.get_running_loop().create_task(_contained(self._coroutine))
            task.add_done_callback(lambda _: _discard(self._coroutine))
            return frame, task
        finally:
            flow.suspend(frame)

    def cancel(self) -> None:
        """Stop the callback, because what it belongs to is cancelled."""
        if self._task is not None and self._frame is not None:
            self._frame.alive = False
            self._task.cancel()


async def _contained(coroutine: Coroutine[Any, Any, Any]) -> Outcome:
    """Keep every exception of the callback away from the event loop, which a SystemExit would stop."""
    try:
        return await coroutine, None
    except BaseException as error:  # KeyboardInterrupt too: the caller re-raises it
        return None, error


def _discard(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine that never began, because its task was cancelled before; one that has ended stays as it is."""
    import inspect

    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        coroutine.close()


def _waiter(future: Future[Outcome]) -> asyncio.Future[Outcome]:
    """Make a future of another loop one of the running loop, which may be closed before it is done."""
    import asyncio

    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[Outcome] = loop.create_future()

    def settle() -> None:
        if not waiter.done():
            waiter.set_result((None, _cancelled()) if future.cancelled() else future.result())

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle)

    future.add_done_callback(tell)
    waiter.add_done_callback(lambda done: future.cancel() if done.cancelled() else None)
    return waiter


async def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel whatever runs on the loop and let it end, as ``asyncio.run`` does."""
    import asyncio

    await asyncio.sleep(0)  # let begin what has been submitted
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    await loop.shutdown_asyncgens()


async def _keep(task: asyncio.Task[None]) -> AsyncGenerator[None]:
    """Make the running loop wait for ``task`` before it is closed: a loop waits for its asynchronous generators."""
    import asyncio

    try:
        yield
    except GeneratorExit:
        await asyncio.wait({task})
        raise


def _advance(keeper: AsyncGenerator[None]) -> None:
    """Take a keeper to its ``yield``, or from there to its end."""
    with suppress(StopIteration, StopAsyncIteration, RuntimeError):  # the last: it is being closed, and waits itself
        keeper.__anext__().__await__().send(None)


def _stop_all(threads: dict[str, LoopThread]) -> None:
    for thread in threads.values():
        thread.stop()


def new_future() -> Future[Outcome]:
    """Return a future for :meth:`LoopPool.submit`."""
    from concurrent.futures import Future

    return Future()


def _cancelled() -> BaseException:
    import asyncio

    return asyncio.CancelledError()
