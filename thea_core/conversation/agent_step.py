"""The step that lets an agent answer, and the one that calls a result hook."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from thea_core.callbacks.binding import LOCAL, is_async
from thea_core.conversation.workers import Outcome, Workers

if TYPE_CHECKING:
    import asyncio

    from thea_core.callbacks.loops import LoopPool
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.types import Agent, Context, Turn

__all__ = ["AgentStep", "CallStep"]


class AgentStep:
    """Lets an agent answer one message; the result is an :data:`Outcome`, and nothing is raised.

    A synchronous agent runs in the thread of ``handle_request``, or on a worker thread where ``ahandle_request`` must
    not be held up. The coroutine of an asynchronous one runs where callbacks of its plugin run: on the plugin's own
    loop; a local agent's on the loop of ``ahandle_request``, and otherwise on the manager's.
    """

    __slots__ = ("_agent", "_arguments", "_loops", "_plugin", "_task", "_workers")

    resumable = True

    def __init__(
        self, agent: Agent, plugin: str, arguments: tuple[str, Context, Turn], loops: LoopPool, workers: Workers
    ) -> None:
        self._agent = agent
        self._plugin = plugin
        self._arguments = arguments
        self._loops = loops
        self._workers = workers
        self._task: asyncio.Future[Outcome] | None = None

    def wait(self) -> Outcome:
        """Wait in the calling thread."""
        value, error = _outcome(self._call)
        if error is not None or not inspect.isawaitable(value):
            return value, error
        future = self._loops.loop_of(self._plugin).submit(_contained(value))
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in the waiting thread
            raise

    async def wait_async(self) -> Outcome:
        """Wait in the running task."""
        import asyncio

        if self._task is None:
            self._task = asyncio.ensure_future(self._answer())
        await asyncio.wait({self._task})
        if self._task.cancelled():
            return None, asyncio.CancelledError()
        return self._task.result()

    def _call(self) -> Any:
        return self._agent.handle(*self._arguments)

    async def _answer(self) -> Outcome:
        """Runs in a task of its own, which a cancellation of the turn leaves alone."""
        import asyncio

        if is_async(self._agent.handle):
            value, error = _outcome(self._call)
        else:
            value, error = await asyncio.wrap_future(self._workers.submit(self._call))
        if error is not None or not inspect.isawaitable(value):
            return value, error
        if self._plugin == LOCAL:
            return await _contained(value)
        return await asyncio.wrap_future(self._loops.loop_of(self._plugin).submit(_contained(value)))


class CallStep:
    """Calls a result hook."""

    __slots__ = ("_arguments", "_callbacks", "_hook")

    def __init__(self, callbacks: CallbackManager, hook: str, **arguments: Any) -> None:
        self._callbacks = callbacks
        self._hook = hook
        self._arguments = arguments

    def wait(self) -> Any:
        """Wait in the calling thread."""
        return self._callbacks.call(self._hook, **self._arguments)

    async def wait_async(self) -> Any:
        """Wait in the running task."""
        return await self._callbacks.acall(self._hook, **self._arguments)


def _outcome(function: Callable[[], Any]) -> Outcome:
    try:
        return function(), None
    except BaseException as error:  # the turn decides; KeyboardInterrupt is raised again there
        return None, error


async def _contained(awaitable: Awaitable[Any]) -> Outcome:
    try:
        return await awaitable, None
    except BaseException as error:  # the same; a SystemExit would stop the loop
        return None, error
