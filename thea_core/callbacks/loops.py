"""Event loops of Thea's own, and the step that waits for one asynchronous callback.

A plugin's coroutines run on the plugin's own loop, in a daemon thread ``thea-NAME`` that is started at first use: its
clients belong to one loop, and it can neither block nor stop the host's. ``asyncio`` is imported here at first use.

Whoever waits for a coroutine gets an answer: also where the plugin stops or closes its loop, where the manager is
closed meanwhile, and where no thread can be started. A loop that stalls, because a callback blocks it, is replaced:
what has not begun there goes on on a new one, and the old one ends when it can.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from thea_core.callbacks.failures import log_exception
from thea_core.callbacks.threads import Outcome, Stragglers
from thea_core.errors import CallbackSkippedError

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from thea_core.callbacks.watching import Watch

__all__ = [
    "Body",
    "LoopJob",
    "LoopPool",
    "LoopThread",
    "Outcome",
    "cancelled",
    "contained",
    "discard",
    "new_future",
    "on_loop_thread",
    "too_many_hang",
]

_GRACE = 0.25  # seconds after which a loop that does not answer is taken for stalled: many switch intervals of Python
_SHORT_GRACE = 0.02  # the same where a body whose time is up is seen running


class Body:
    """The body of a coroutine, as whoever waits for it sees it.

    Attributes:
        begun: when it began, by ``time.monotonic``; None until then.
        ended: when it ended, in the same way.
        thread: the loop on which it runs, or waits to run; None where that is the caller's.
        late: whether its time is up: it has been cancelled.
    """

    __slots__ = ("_behind", "_lock", "begun", "ended", "late", "thread")

    def __init__(self) -> None:
        self.begun: float | None = None
        self.ended: float | None = None
        self.thread: LoopThread | None = None
        self.late = False
        self._lock = threading.Lock()
        self._behind: Stragglers | None = None

    def leave_behind(self, stragglers: Stragglers) -> None:
        """Count it as left behind until it ends."""
        with self._lock:
            if self.ended is not None or self._behind is not None:
                return
            self._behind = stragglers
        stragglers.add()

    def end(self) -> None:
        """Note that it has ended."""
        with self._lock:
            self.ended = time.monotonic()
            behind = self._behind
        if behind is not None:
            behind.remove()


class LoopJob:
    """A coroutine on its way through a loop; its future gets an outcome whatever becomes of the loop.

    Attributes:
        begun: whether the coroutine runs or has run; until then it may move to another loop.
    """

    __slots__ = ("_coroutine", "_forget", "_task", "begun", "body", "context", "future")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], future: Future[Outcome], body: Body) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Outcome] | None = None
        self._forget: Callable[[LoopJob], None] | None = None
        self.body = body
        self.context = copy_context()
        self.future = future
        self.begun = False

    def begin(self, claim: Callable[[], bool]) -> asyncio.Task[Outcome]:
        """Return a task that runs it, in a copy of the context of whoever submitted it; runs on the loop.

        ``claim`` is called by the task when its time has come, which is later: whether the coroutine is still to be
        run.
        """
        import asyncio

        task = asyncio.get_running_loop().create_task(contained(self._coroutine, self.body, claim))
        task.add_done_callback(self._end)
        return task

    def assign(self, task: asyncio.Task[Outcome] | None, forget: Callable[[LoopJob], None] | None) -> None:
        """Take the one task that counts; None where it moves to another loop.

        ``forget`` is called when it has ended; until then somebody must keep it. A loop does not keep its tasks from
        being collected, and of one that goes on although it is cancelled nobody else knows.
        """
        self._task, self._forget = task, forget

    @property
    def task(self) -> asyncio.Task[Outcome] | None:
        """The one task that counts, if there is one yet."""
        return self._task

    def cancel(self) -> None:
        """Stop the task; runs on the loop."""
        if self._task is not None:
            self._task.cancel()

    def give_up(self) -> None:
        """Answer although the loop has ended."""
        if not self.begun:
            self._coroutine.close()
        self._answer((None, cancelled()))

    def fail(self, error: BaseException) -> None:
        """Answer although no loop is to be had."""
        self._coroutine.close()
        self._answer((None, error))

    def _end(self, task: asyncio.Task[Outcome]) -> None:
        if task is not self._task:  # it has moved to another loop
            return
        self._answer((None, cancelled()) if task.cancelled() else task.result())
        if self._forget is not None:
            self._forget(self)

    def _answer(self, outcome: Outcome) -> None:
        from concurrent.futures import InvalidStateError

        with suppress(InvalidStateError):  # whoever waited has given up, perhaps just now
            self.future.set_result(outcome)


class LoopThread(threading.Thread):
    """A daemon thread that runs one event loop until it is closed, whatever is done to the loop."""

    def __init__(self, name: str) -> None:
        import asyncio

        super().__init__(name=f"thea-{name}", daemon=True)
        self._closing = False
        self._gate = threading.RLock()
        self._jobs: dict[LoopJob, None] = {}  # a set that keeps their order
        self._back: Callable[[], None] | None = None
        self._retiring: asyncio.Task[None] | None = None
        self.open = True
        self.loop = asyncio.new_event_loop()
        try:
            self.start()
        except BaseException:
            self.loop.close()
            raise

    def run(self) -> None:
        """Run the loop; called by the thread itself."""
        while not (self._closing or self.loop.is_closed()):
            try:
                self.loop.run_forever()  # returns also when a plugin stops it
            except BaseException:  # a SystemExit in a loop's callback; Ctrl-C never comes to this thread
                log_exception("a callback of the event loop of %s failed; the loop goes on", self.name)
        with self._gate:
            self.open = False
        try:
            if not self.loop.is_closed():
                self.loop.run_until_complete(_wind_up(self.loop, self._late()))
        except BaseException:  # the same
            log_exception("the event loop of %s did not end well", self.name)
        finally:
            self.loop.close()
            self._come_back()
            for job in self._jobs.copy():
                job.give_up()

    def submit(self, job: LoopJob) -> bool:
        """Run a job as a task of this loop, in the context of whoever submitted it; False where it takes no more."""
        with self._gate:
            if not self.open:
                return False
            job.body.thread = self
            self._jobs[job] = None
            try:
                self.loop.call_soon_threadsafe(self._begin, job, context=job.context)
            except RuntimeError:  # closed by the plugin just now
                self._forget(job)
                self.open = False
                return False
        job.future.add_done_callback(lambda future: self._cancel(job) if future.cancelled() else None)
        return True

    @property
    def stalls(self) -> bool:
        """Whether it has been replaced, and still does not answer."""
        return self._back is not None

    def ping(self) -> threading.Event:
        """Return an event that is set as soon as the loop answers."""
        answered = threading.Event()
        try:
            self.loop.call_soon_threadsafe(answered.set)
        except RuntimeError:  # closed: it does not stall
            answered.set()
        return answered

    def retire(self, back: Callable[[], None]) -> list[LoopJob]:
        """Let the loop end once it answers and what runs on it has ended; return what has not begun.

        ``back`` is called when it answers, or has ended.
        """
        with self._gate:
            self.open = False
            self._back = back
            left = [job for job in self._jobs.copy() if not job.begun]  # a copy: others end meanwhile
            for job in left:
                self._forget(job)
                job.assign(None, None)
        try:
            self.loop.call_soon_threadsafe(self._retire)
        except RuntimeError:  # closed
            self._come_back()
        return left

    def stop(self) -> None:
        """Tell the loop to end: what runs on it is cancelled."""
        with self._gate:
            if self._closing:  # to be stopped once more would disturb it as it winds up
                return
            self._closing = True
        with suppress(RuntimeError):  # closed already
            self.loop.call_soon_threadsafe(self.loop.stop)

    def ended(self, timeout: float) -> bool:
        """Wait for the thread for at most ``timeout`` seconds; whether it has ended. Not on the thread itself."""
        if threading.current_thread() is not self:
            self.join(timeout)
        return not self.is_alive()

    def _begin(self, job: LoopJob) -> None:
        """Start a job; runs on the loop."""
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a plugin called run_forever on it: Python 3.13.0 then forgets that the loop runs
            self.loop.stop()  # run() runs it anew
            self.loop.call_soon(self._begin, job)
        else:
            if job.future.cancelled():  # nobody waits any more
                self._forget(job)
            elif job in self._jobs:  # else it has moved to another loop
                task = job.begin(lambda: self._claim(job))
                with self._gate:
                    if job in self._jobs:
                        job.assign(task, self._forget)

    def _late(self) -> set[asyncio.Task[Outcome]]:
        """Return the tasks that were cancelled because their time was up, and have not ended."""
        tasks = (job.task for job in self._jobs.copy() if job.body.late)
        return {task for task in tasks if task is not None}

    def _claim(self, job: LoopJob) -> bool:
        """Whether a job whose time has come is still to be run, and here; then it moves no more."""
        with self._gate:
            if job in self._jobs and not job.future.cancelled():
                job.begun = True
                return True
            return False

    def _retire(self) -> None:
        """Let the loop end when nothing runs on it any more; runs on the loop."""
        import asyncio

        async def wait_for_others() -> None:
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)

        self._come_back()
        self._retiring = asyncio.get_running_loop().create_task(wait_for_others())
        self._retiring.add_done_callback(lambda _: self.stop())  # also where a plugin cancels every task there is

    def _come_back(self) -> None:
        with self._gate:
            back, self._back = self._back, None
        if back is not None:
            back()

    def _forget(self, job: LoopJob) -> None:
        self._jobs.pop(job, None)

    def _cancel(self, job: LoopJob) -> None:
        if job.body.thread is self:
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(job.cancel)


def too_many_hang(plugin: str) -> CallbackSkippedError:
    """Return why a coroutine is not run now: as much of its plugin is left behind as may be."""
    return CallbackSkippedError(
        f"too many calls of {plugin!r} hang whose time was up; it is called again when one has come back"
    )


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
        self._replaced: list[tuple[str, LoopThread]] = []
        self._kept: dict[asyncio.Task[None], AsyncGenerator[None]] = {}
        weakref.finalize(self, _stop_all, self._threads, self._replaced).atexit = False

    def running(self, plugin: str) -> LoopThread | None:
        """Return the plugin's loop, if there is one."""
        return self._threads.get(plugin)

    def loop_of(self, plugin: str) -> LoopThread:
        """Return the plugin's loop (``"local"``: the manager's), started if need be."""
        with self._lock:
            thread = self._threads.get(plugin)
            if thread is None or not thread.open:
                thread = self._threads[plugin] = LoopThread(plugin)
            return thread

    def submit(
        self,
        plugin: str,
        coroutine: Coroutine[Any, Any, Any],
        future: Future[Outcome] | None = None,
        body: Body | None = None,
    ) -> Future[Outcome]:
        """Run a coroutine on the plugin's loop, in a copy of the caller's context.

        Raises nothing but KeyboardInterrupt; who must not lose sight of the coroutine then gives the future.
        """
        future = future or new_future()
        future.add_done_callback(lambda _: discard(coroutine))
        body = body or Body()
        self._submit(plugin, LoopJob(coroutine, future, body))
        return future

    def look_after(
        self, plugin: str, body: Body, watch: Watch, stragglers: Stragglers, *, late: bool, blocking: bool = False
    ) -> None:
        """See, a moment later, to a body that is late, or has not begun: it may not end, and its loop may stall.

        A late one that does not end is counted as left behind; a loop that does not answer is replaced, the sooner
        where the body seems to be ``blocking`` it.
        """
        thread = body.thread
        body.late = late
        if thread is None:
            if late:
                watch.after(_GRACE, lambda: body.leave_behind(stragglers))
            return
        answered = thread.ping()

        def look() -> None:
            if not answered.is_set():
                self._replace(plugin, thread, stragglers)
            elif late and blocking:
                watch.after(_GRACE, lambda: body.leave_behind(stragglers))
            elif late:
                body.leave_behind(stragglers)

        watch.after(_SHORT_GRACE if blocking else _GRACE, look)

    def _submit(self, plugin: str, job: LoopJob) -> None:
        try:
            while not self.loop_of(plugin).submit(job):
                pass  # it was replaced or closed just now
        except Exception as error:  # there is no thread, or no file descriptor, to be had
            job.fail(error)

    def _replace(self, plugin: str, thread: LoopThread, stragglers: Stragglers) -> None:
        """Put a new loop in the place of one that stalls; of so many, nothing is moved to yet another one."""
        with self._lock:
            if not thread.open:
                return
            moved = thread.retire(stragglers.remove)
            if self._threads.get(plugin) is thread:
                del self._threads[plugin]
            self._replaced[:] = [each for each in self._replaced if each[1].is_alive()]
            self._replaced.append((plugin, thread))
        stragglers.add()
        for job in moved:
            if stragglers.too_many:
                job.fail(too_many_hang(plugin))
            else:
                job.context = job.context.copy()  # the old loop may be in it just now, to find that the job has moved
                self._submit(plugin, job)

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
        return self._stop(plugin, timeout) == 0

    def close(self, timeout: float) -> int:
        """Stop all loops, within ``timeout`` seconds; return how many have not stopped."""
        self._forget_dead()
        return self._stop(None, timeout)

    def _stop(self, plugin: str | None, timeout: float) -> int:
        with self._lock:
            chosen = [each for each in (*self._threads.items(), *self._replaced) if plugin in (None, each[0])]
            for name, _ in chosen:
                self._threads.pop(name, None)
            self._replaced[:] = [each for each in self._replaced if each not in chosen]
        for _, thread in chosen:
            thread.stop()
        end = time.monotonic() + timeout
        waited_for = [thread for _, thread in chosen if not thread.stalls]  # one that does was given up long ago
        return sum(not thread.ended(max(0.0, end - time.monotonic())) for thread in waited_for)

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
        self._replaced.clear()


async def contained(
    coroutine: Coroutine[Any, Any, Any], body: Body, claim: Callable[[], bool] | None = None
) -> Outcome:
    """Keep every exception of the callback away from the event loop, which a SystemExit would stop.

    Where ``claim`` says no, the coroutine is left alone.
    """
    if claim is not None and not claim():
        return None, cancelled()
    body.begun = time.monotonic()
    try:
        return await coroutine, None
    except BaseException as error:  # KeyboardInterrupt too: the caller re-raises it
        return None, error
    finally:
        body.end()


def discard(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Close a coroutine that never began, because its task was cancelled before; one that has ended stays as it is."""
    import inspect

    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        coroutine.close()


async def _wind_up(loop: asyncio.AbstractEventLoop, late: set[asyncio.Task[Outcome]]) -> None:
    """Cancel whatever runs on the loop and let it end, as ``asyncio.run`` does; but what is late gets a moment only."""
    import asyncio

    await asyncio.sleep(0)  # let begin what has been submitted
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks - late:
        await asyncio.wait(tasks - late)
    if late:
        await asyncio.wait(late, timeout=_GRACE)
    await loop.shutdown_asyncgens()
    loop.set_exception_handler(lambda *_: None)  # that one is destroyed need not be told: its time was up


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


def _stop_all(threads: dict[str, LoopThread], replaced: list[tuple[str, LoopThread]]) -> None:
    for thread in (*threads.values(), *(each for _, each in replaced)):
        thread.stop()


def new_future() -> Future[Outcome]:
    """Return a future for :meth:`LoopPool.submit`."""
    from concurrent.futures import Future

    return Future()


def cancelled() -> BaseException:
    """Return what stands for a coroutine that was cancelled."""
    import asyncio

    return asyncio.CancelledError()
