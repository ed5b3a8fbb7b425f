"""Calling a store from steps: inline in synchronous code, on a thread of its own where an event loop must not wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from thea_core.conversation.workers import Outcome, Workers

__all__ = ["PauseStep", "StoreStep"]


class StoreStep:
    """One call of a store's method.

    Args:
        call: the method with its arguments.
        workers: where it runs in async code; None for a store that never blocks.
    """

    __slots__ = ("_call", "_future", "_workers")

    resumable = True
    """Whether ``wait_async`` may be called again after a cancellation, and then waits for the same call."""

    def __init__(self, call: Callable[[], Any], workers: Workers | None) -> None:
        self._call = call
        self._workers = workers
        self._future: asyncio.Future[Outcome] | None = None

    def wait(self) -> Any:
        """Wait in the calling thread."""
        return self._call()

    async def wait_async(self) -> Any:
        """Wait in the running task."""
        if self._workers is None:
            return self._call()
        import asyncio

        if self._future is None:
            self._future = asyncio.wrap_future(self._workers.submit(self._call))
        await asyncio.wait({self._future})
        value, error = self._future.result()
        if error is not None:
            raise error
        return value


class PauseStep:
    """Waits a little before something is tried again."""

    __slots__ = ("_seconds",)

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def wait(self) -> None:
        """Wait in the calling thread."""
        import time

        time.sleep(self._seconds)

    async def wait_async(self) -> None:
        """Wait in the running task."""
        import asyncio

        await asyncio.sleep(self._seconds)
