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

    __slots__ = ("_agent", "_arguments", "_awaited", "_called", "_loops", "_plugin", "_thread", "_workers")

    resumable = True

    def __init__(
        self, agent: Agent, plugin: str, arguments: tuple[str, Context, Turn], loops: LoopPool, workers: Workers
    ) -> None:
        self._agent = agent
        self._plugin = plugin
        self._arguments = arguments
        self._loops = loops
        self._workers = workers
        self._thread: asyncio.Future[Outcome] | None = None
        self._called: Outcome | None = None
        self._awaited: asyncio.Future[Outcome] | None = None

    def wait(self) -> Outcome:
        """Wait in the calling thread."""
        value, error = _outcome(self._call)
        if error is not None or not inspect.isawaitable(value):
            return value, error
        future = self._loops.submit(self._plugin, _awaited(value))
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in the waiting thread
            raise

    async def wait_async(self) -> Outcome:
        """Wait in the running task; after a cancellation, wait for the same call."""
        if self._called is None:
            self._called = await self._result_of_call()
        value, error = self._called
        if error is not None or not inspect.isawaitable(value):
            return self._called
        if self._awaited is None:
            self._awaited = self._begin(value)
        return await _result(self._awaited)

    def _call(self) -> Any:
        return self._agent.handle(*self._arguments)

    async def _result_of_call(self) -> Outcome:
        if self._thread is None:
            if is_async(self._agent.handle):
                return _outcome(self._call)
            import asyncio

            self._thread = asyncio.wrap_future(self._workers.submit(self._call))
        return await _result(self._thread)

    def _begin(self, awaitable: Awaitable[Any]) -> asyncio.Future[Outcome]:
        """Run a coroutine where it belongs. Only a local one ends with the caller's loop."""
        import asyncio

        if self._plugin == LOCAL:
            return asyncio.ensure_future(_contained(awaitable))
        return asyncio.wrap_future(self._loops.submit(self._plugin, _awaited(awaitable)))


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


async def _result(future: asyncio.Future[Outcome]) -> Outcome:
    """Wait for ``future`` without cancelling it when the waiting task is cancelled."""
    import asyncio

    await asyncio.wait({future})
    return (None, asyncio.CancelledError()) if future.cancelled() else future.result()


def _outcome(function: Callable[[], Any]) -> Outcome:
    try:
        return function(), None
    except BaseException as error:  # the turn decides; KeyboardInterrupt is raised again there
        return None, error


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _contained(awaitable: Awaitable[Any]) -> Outcome:
    try:
        return await awaitable, None
    except BaseException as error:  # the same; a SystemExit would stop the loop
        return None, error
