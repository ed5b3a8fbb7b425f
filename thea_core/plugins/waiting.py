"""What starting and stopping plugins waits for, for callers with and without an event loop alike."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from thea_core.callbacks import flow
from thea_core.callbacks.loops import on_loop_thread
from thea_core.callbacks.threads import stack_of

if TYPE_CHECKING:
    from thea_core.callbacks.steps import Steps

__all__ = ["Contained", "OnThread", "Until", "contained", "inside_a_call"]

T = TypeVar("T")

_PAUSE = 0.002  # seconds between two looks at a condition

Contained = tuple["T | None", "BaseException | None"]
"""What came of a plugin's code: its value, or the exception that it raised."""


def contained(steps: Steps[T]) -> Steps[Contained[T]]:
    """Run the steps of one plugin; what its code raises comes back as a value, but for KeyboardInterrupt.

    What is raised at the waiting itself is not the plugin's (Ctrl-C, the host's cancellation): it passes.
    """
    result: Any = None
    while True:
        try:
            step = steps.send(result)
        except StopIteration as end:
            return end.value, None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise SystemExit, or asyncio's CancelledError
            return None, error
        result = yield step


def inside_a_call() -> bool:
    """Whether the caller runs within a hook, a transition or a turn: to wait for those would be to wait for itself."""
    return on_loop_thread() or bool(flow.running_keys())


class OnThread(Generic[T]):
    """Runs a function on a daemon thread of its own; the result is a :data:`Contained`, None where time was up.

    A function cannot be stopped: where the time is up, its thread is left behind.

    Args:
        function: what to run, in a copy of the caller's context.
        timeout: seconds.
        name: the thread's name.
    """

    def __init__(self, function: Callable[[], T], timeout: float, name: str) -> None:
        self._function = function
        self._timeout = timeout
        self._result: Contained[T] | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name=name, daemon=True)

    def wait(self) -> Contained[T] | None:
        """Wait in the calling thread; called again after an interruption, for the same thread."""
        self._start()
        self._done.wait(self._timeout)
        return self._result

    async def wait_async(self) -> Contained[T] | None:
        """Wait in the running task."""
        self._start()
        await Until(self._done.is_set, self._timeout).wait_async()
        return self._result

    def _start(self) -> None:
        if sys.is_finalizing():  # of what was forgotten until now: no thread begins to run any more
            self._run()
        elif self._thread.ident is None:
            self._thread.start()

    @property
    def where(self) -> str:
        """Where the function is just now; empty where it has ended."""
        return stack_of(self._thread.ident)

    def _run(self) -> None:
        try:
            self._result = self._function(), None
        except BaseException as error:  # handed to whoever waits
            self._result = None, error
        finally:
            self._done.set()


class Until:
    """Waits until a condition holds, for at most ``timeout`` seconds; whether it does.

    Looks every two milliseconds: what is waited for is rare and mostly there at once, and this way those who make it
    so have nothing to tell, on any thread or loop.
    """

    def __init__(self, condition: Callable[[], bool], timeout: float) -> None:
        self._condition = condition
        self._looks = max(0, round(timeout / _PAUSE))

    def wait(self) -> bool:
        """Wait in the calling thread."""
        pause = threading.Event()
        for _ in range(self._looks):
            if self._condition():
                return True
            pause.wait(_PAUSE)
        return self._condition()

    async def wait_async(self) -> bool:
        """Wait in the running task."""
        import asyncio

        for _ in range(self._looks):
            if self._condition():
                return True
            await asyncio.sleep(_PAUSE)
        return self._condition()
