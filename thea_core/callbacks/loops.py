"""Event loops of Thea's own, and the step that waits for one asynchronous callback.

A plugin's coroutines run on the plugin's own loop, in a daemon thread ``thea-NAME`` that is started at first use: its
clients belong to one loop, and it can neither block nor stop the host's. ``asyncio`` is imported here at first use.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from thea_core.callbacks import flow
from thea_core.callbacks.binding import LOCAL, Callback
from thea_core.errors import ReentrancyError

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

__all__ = ["CallbackStep", "LoopPool", "Outcome", "on_loop_thread"]

logger = logging.getLogger("thea_core.callbacks")

Outcome = tuple[Any, "BaseException | None"]
"""What came of a coroutine: its value, or the exception that it raised."""


class LoopThread(threading.Thread):
    """A daemon thread that runs one event loop until it is closed, whatever is done to the loop."""

    def __init__(self, name: str) -> None:
        import asyncio

        super().__init__(name=f"thea-{name}", daemon=True)
        self._closing = False
        self.loop = asyncio.new_event_loop()
        self.start()

    def run(self) -> None:
        while not self._closing:
            try:
                self.loop.run_forever()  # returns also when a plugin stops it
            except BaseException:  # a SystemExit in a loop's callback; Ctrl-C never comes to this thread
                logger.exception("a callback of the event loop of %s failed; the loop goes on", self.name)
        self.loop.close()

    def submit(self, coroutine: Coroutine[Any, Any, Outcome]) -> Future[Outcome]:
        """Run a coroutine as a task of this loop, in a copy of the caller's context."""
        import asyncio

        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def close(self, timeout: float) -> bool:
        """Stop the loop and wait for the thread, for at most ``timeout`` seconds; whether it has ended."""
        self._closing = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join(timeout)
        return not self.is_alive()


def on_loop_thread() -> bool:
    """Whether the calling thread runs one of Thea's own loops."""
    return isinstance(threading.current_thread(), LoopThread)


class LoopPool:
    """The loops of one manager, one for each plugin that has asynchronous callbacks. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: dict[str, LoopThread] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def loop_of(self, plugin: str) -> LoopThread:
        """Return the plugin's loop (``"local"``: the manager's), started if need be."""
        with self._lock:
            thread = self._threads.get(plugin)
            if thread is None or not thread.is_alive():
                thread = self._threads[plugin] = LoopThread(plugin)
            return thread

    def own(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run what a cancelled caller left behind, in a task of the running loop that is kept until it is done."""
        import asyncio

        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close_one(self, plugin: str, timeout: float) -> bool:
        """Stop the loop of one plugin, if it has one; whether it has stopped in time."""
        with self._lock:
            thread = self._threads.pop(plugin, None)
        return thread is None or thread.close(timeout)

    def names(self) -> list[str]:
        """Return whose loops run."""
        with self._lock:
            return list(self._threads)

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads: none of them runs here."""
        self._lock = threading.Lock()
        self._threads = {}
        self._tasks = set()


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

    def wait(self) -> Outcome:
        """Run it on a loop of Thea's and block until it is done."""
        if on_loop_thread():
            self._coroutine.close()
            return None, ReentrancyError(
                "an asynchronous callback was to be waited for on one of Thea's event loops; await atrigger instead"
            )
        frame = flow.enter(*self._keys)
        future = self._loops.loop_of(self._callback.plugin).submit(_contained(self._coroutine))
        try:
            return future.result()
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
            return None, asyncio.CancelledError()
        return self._task.result()

    def _start(self) -> tuple[flow.Frame, asyncio.Future[Outcome]]:
        """Start the task, with a frame in its context that is not in the caller's."""
        import asyncio

        frame = flow.enter(*self._keys)
        try:
            if self._callback.plugin == LOCAL:
                return frame, asyncio.get_running_loop().create_task(_contained(self._coroutine))
            loop = self._loops.loop_of(self._callback.plugin)
            return frame, asyncio.wrap_future(loop.submit(_contained(self._coroutine)))
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
