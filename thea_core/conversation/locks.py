"""One lock a key within the process, first come first served, for threads and tasks alike."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final

from thea_core.callbacks.forking import watch

if TYPE_CHECKING:
    import asyncio

    from thea_core.callbacks.steps import Steps

__all__ = ["Locks"]

_IN_LOOP_SECONDS: Final = 10.0
_SLICE: Final = 1.0  # seconds: a signal that comes just before a wait is acted upon only when that wait ends


class Locks:
    """Locks by key. A key costs memory only while its lock is held. Thread-safe, fork-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held: dict[Hashable, deque[_Ticket] | None] = {}  # the queue is made when somebody waits
        watch(self)

    def take(
        self, key: Hashable, patience: float | None = None, arrived: Callable[[], Steps[None]] | None = None
    ) -> Steps[bool]:
        """Return steps that wait for the lock, for at most ``patience`` seconds; they tell whether they got it.

        ``arrived`` gives steps to be run by who has to wait, once it has its place.
        """
        with self._guard:
            if key not in self._held:
                self._held[key] = None
                return True
            ticket = _Ticket(patience)
            queue = self._held[key]
            if queue is None:
                queue = self._held[key] = deque()
            queue.append(ticket)
        try:
            if arrived is not None:
                yield from arrived()
            yield ticket
        except BaseException:  # the waiting was given up
            if not self._withdraw(ticket, queue):
                self.give_back(key)
            raise
        return not self._withdraw(ticket, queue)

    def give_back(self, key: Hashable) -> None:
        """Let the next in the queue have the lock. Does nothing where it is not held (in a forked child)."""
        with self._guard:
            queue = self._held.get(key)
            while queue:
                if queue.popleft().grant():
                    return
            self._held.pop(key, None)

    def __len__(self) -> int:
        return len(self._held)

    def waiting(self, key: Hashable) -> int:
        """Return how many wait for a lock."""
        with self._guard:
            return len(self._held.get(key) or ())

    def _withdraw(self, ticket: _Ticket, queue: deque[_Ticket]) -> bool:
        """Leave the queue; False where the lock has been handed over in the meantime."""
        with self._guard:
            if not ticket.granted and ticket in queue:
                queue.remove(ticket)
            return not ticket.granted

    def after_fork_in_child(self) -> None:
        """Forget the parent's locks: whoever holds or waits for them is not here."""
        self._guard = threading.Lock()
        self._held = {}


class _Ticket:
    """A place in a queue; as a step it waits until it is the first, or until its patience is at an end."""

    __slots__ = ("_event", "_future", "_loop", "_until", "granted")

    def __init__(self, patience: float | None) -> None:
        self._event = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._future: asyncio.Future[None] | None = None
        self._until = None if patience is None else time.monotonic() + patience
        self.granted = False

    def grant(self) -> bool:
        """Hand the lock over; False where the waiting task's loop is closed. The guard is held."""
        self.granted = True
        self._event.set()
        loop, future = self._loop, self._future
        if loop is not None and future is not None:
            try:
                loop.call_soon_threadsafe(_resolve, future)
            except RuntimeError:  # the loop is closed, and the task gone with it
                self.granted = False
        return self.granted

    def wait(self) -> None:
        """Block; in the thread of an event loop for a while only, since the holder may be a task of that loop."""
        if self._until is None and _in_event_loop():
            self._until = time.monotonic() + _IN_LOOP_SECONDS
        while not self._event.wait(_SLICE if self._until is None else min(_SLICE, self._left() or 0.0)):
            if self._left() == 0.0:
                return

    async def wait_async(self) -> None:
        """Wait in the running task."""
        import asyncio

        loop = asyncio.get_running_loop()
        self._future = loop.create_future()
        self._loop = loop  # from here on grant() calls the loop; before, it leaves the mark below
        if self.granted:
            return
        await asyncio.wait({self._future}, timeout=self._left())

    def _left(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - time.monotonic())


def _in_event_loop() -> bool:
    """Whether an event loop runs in this thread."""
    if "asyncio" not in sys.modules:
        return False
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _resolve(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
