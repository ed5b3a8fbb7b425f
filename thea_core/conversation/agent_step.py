"""The steps that let an agent answer, for no longer than it may take, and the one that calls a result hook."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from thea_core.callbacks.limits import CallbackStep, CoroutineStep, ThreadStep
from thea_core.callbacks.loops import discard
from thea_core.callbacks.threads import Outcome
from thea_core.errors import CallbackSkippedError, CallbackTimeoutError
from thea_core.types import AgentReply, Context, Turn

if TYPE_CHECKING:
    from types import CoroutineType

    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.steps import Steps
    from thea_core.conversation.agents import AgentEntry

__all__ = ["CallStep", "ask"]

_LEAST = 0.05  # seconds that the coroutine of a function gets which has used up its time


def ask(
    entry: AgentEntry, arguments: tuple[str, Context, Turn], limit: float | None, keys: tuple[object, ...]
) -> Steps[Outcome]:
    """Return steps that let an agent answer; what comes of it is a value or an exception, and nothing is raised.

    An agent of the core answers here. Any other synchronous one runs on a thread of its own, and the coroutine of an
    asynchronous one where callbacks of its plugin run: on the plugin's own loop; a local agent's on the loop of
    ``ahandle_request``, and otherwise on the manager's. Where the time is up, it is left behind.

    Args:
        entry: the agent.
        arguments: what its ``handle`` gets.
        limit: seconds; None for as long as it takes, and then ``handle_request`` calls a synchronous one in its own
            thread.
        keys: what runs around it.
    """
    ways = entry.ways
    if ways is None:
        return entry.agent.handle(*arguments), None
    due = None if limit is None else time.monotonic() + limit

    def call() -> AgentReply | _Later:
        value = entry.agent.handle(*arguments)
        return _Later(value) if inspect.isawaitable(value) else _read(entry.name, value)

    if entry.is_async:
        outcome = _outcome(call)
    else:
        inline = call if limit is None and not ways.threads.one else None
        outcome = yield AgentStep(ThreadStep(call, ways, limit, keys, capped=False), inline)
    if type(outcome[0]) is _Later:
        left = None if due is None else max(due - time.monotonic(), _LEAST)
        answer = cast("CoroutineType[Any, Any, AgentReply]", _answer(entry.name, outcome[0]))
        outcome = yield AgentStep(CoroutineStep(answer, ways, left, keys))
    return outcome[0], _told(entry.name, outcome[1], limit)


class AgentStep:
    """Waits for an agent.

    Args:
        step: where it runs, and how long.
        inline: what to call in place of that where the calling thread may wait for as long as it takes.
    """

    __slots__ = ("_inline", "_step")

    resumable = True
    """Whether ``wait_async`` may be called again after a cancellation, and then waits for the same call."""

    def __init__(self, step: CallbackStep, inline: Callable[[], Any] | None = None) -> None:
        self._step = step
        self._inline = inline

    def wait(self) -> Outcome:
        """Wait in the calling thread."""
        return self._step.wait() if self._inline is None else _outcome(self._inline)

    async def wait_async(self) -> Outcome:
        """Wait in the running task."""
        try:
            return await self._step.wait_async()
        except GeneratorExit:  # the loop was closed, and the turn is given up
            with suppress(RuntimeError):  # that loop again
                self._step.cancel()
            raise


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


class _Later:
    """An answer that is still to be awaited; a coroutine that comes too late for that is closed."""

    __slots__ = ("awaitable",)

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.awaitable = awaitable

    def __del__(self) -> None:
        if inspect.iscoroutine(self.awaitable):
            discard(self.awaitable)


async def _answer(name: str, later: _Later) -> AgentReply:
    return _read(name, await later.awaitable)


def _read(name: str, value: Any) -> AgentReply:
    """Return an agent's answer with plain values. Runs within its call: its objects may do anything when looked at."""
    answer = AgentReply(value) if isinstance(value, str) else value
    if not isinstance(answer, AgentReply):
        raise TypeError(f"the agent {name!r} must return an AgentReply or a str, not {type(value).__name__}")
    text: Any = answer.text
    if not isinstance(text, str):
        raise TypeError(
            f"the agent {name!r} must return an AgentReply or a str, not an AgentReply whose text is "
            f"{type(text).__name__}"
        )
    return AgentReply(str.__str__(text), answer.context, ask=bool(answer.ask))


def _outcome(function: Callable[[], Any]) -> Outcome:
    try:
        return function(), None
    except BaseException as error:  # the turn decides; KeyboardInterrupt is raised again there
        return None, error


def _told(name: str, error: BaseException | None, limit: float | None) -> BaseException | None:
    """Name the agent in the error of a step that waited; one that was raised is the agent's own."""
    if type(error) is CallbackSkippedError and error.__traceback__ is None:
        return CallbackSkippedError(f"the agent {name!r} was not asked: {error}")
    if type(error) is CallbackTimeoutError and error.__traceback__ is None:
        limit = limit or 0.0
        late = CallbackTimeoutError(
            f"the agent {name!r} did not come back within {limit:g} s ([conversation] agent_timeout)", limit
        )
        for note in getattr(error, "__notes__", ()):
            late.add_note(note)
        return late
    return error
