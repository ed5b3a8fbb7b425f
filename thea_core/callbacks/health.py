"""The breakers of one manager: making them, and telling when they change."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from thea_core.callbacks import flow
from thea_core.callbacks.breaker import HALF_OPEN, Breaker, BreakerLimits
from thea_core.callbacks.failures import log, log_exception
from thea_core.callbacks.steps import Steps, adrive, drive
from thea_core.errors import ReentrancyError
from thea_core.types import BreakerState, Clock

if TYPE_CHECKING:
    import asyncio

    from thea_core.callbacks.watching import Watch

__all__ = ["Health", "TellStep"]

_PATIENCE = 10.0  # seconds after which whoever tells a change is taken to hang, and another goes on
_SECOND_TRY = 1.0  # seconds after which a thread tells what could not be told in its flow, if nobody has


class Health:
    """Makes breakers, logs each change once, and has it told by ``on_plugin_health``. Thread-safe.

    A change is noted where it happens, under the breaker's lock, and told where a chain has ended: what is called then
    may do what it likes. One at a time tells, so that all come in order: whoever finds somebody at it goes on. What
    happens on the thread of the watch, which must not wait, is told on a thread ``thea-health``.

    Args:
        limits: when breakers open, and for how long.
        clock: where time comes from.
        watch: looks after what is left behind.
        fire: returns the steps that fire ``on_plugin_health``.
    """

    def __init__(
        self, limits: BreakerLimits, clock: Clock, watch: Watch, fire: Callable[[BreakerState], Steps[None]]
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._watch = watch
        self._fire = fire
        self._tickets = itertools.count(1)
        self._breakers: WeakSet[Breaker] = WeakSet()
        self._unlogged: deque[BreakerState] = deque()
        self._begun = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self.changes: deque[BreakerState] = deque()
        self.troubled: set[Breaker] = set()
        self._fresh()

    def _fresh(self) -> None:
        self._log_turn = threading.Lock()
        self._turn = threading.Lock()

    def new_breaker(self, plugin: str, hook: str) -> Breaker:
        """Return a breaker that is closed."""
        breaker = Breaker(
            plugin, hook, self._limits, self._clock, tell=self._note, troubled=self.troubled, tickets=self._tickets
        )
        self._breakers.add(breaker)
        return breaker

    def dismiss(self, breaker: Breaker) -> None:
        """Let a breaker trouble nobody any more: its callback has left the chains."""
        breaker.belong_to(set())

    def retire(self, breakers: Iterable[Breaker], reason: str) -> None:
        """Close breakers for good: their callbacks have left the chains, and will not be called again."""
        for breaker in breakers:
            breaker.retire(reason)

    def restore(self, breaker: Breaker) -> None:
        """Take a breaker back: its callback is in the chains again."""
        breaker.belong_to(self.troubled)

    def step(self) -> TellStep:
        """Return the step that tells what has changed."""
        return TellStep(self._tell, self._tasks)

    def tell(self) -> None:
        """Tell what has changed, in the calling thread; from the watch's on another."""
        if not self.changes:
            return
        if self._watch.on_own_thread:
            self._tell_on_thread()
        else:
            drive(self._tell())

    def tell_soon(self) -> None:
        """Have told what has changed: by the chain that runs in this flow, or on a thread.

        On the thread of the watch no chain runs; elsewhere a thread sees, after a while, whether one has told it.
        """
        if not self.changes:
            return
        if self._watch.on_own_thread:
            self._tell_on_thread()
        else:
            self._watch.after(_SECOND_TRY, self._tell_on_thread)

    def after_fork_in_child(self) -> None:
        """Take fresh locks, and leave to the parent what it has not told yet."""
        self._unlogged.clear()
        self.changes.clear()
        self._tasks.clear()
        self._fresh()
        for breaker in list(self._breakers):
            breaker.after_fork_in_child()

    def _note(self, change: BreakerState) -> None:
        self._unlogged.append(change)
        self.changes.append(change)

    def _log(self) -> None:
        turn = self._log_turn
        while self._unlogged and turn.acquire(blocking=False):
            try:
                while self._unlogged:
                    _log(self._unlogged.popleft())
            finally:
                turn.release()

    def _tell(self) -> Steps[None]:
        self._log()
        while self.changes and (turn := self._begin_turn()) is not None:
            try:
                while self.changes and self._turn is turn:
                    yield from self._tell_one(self.changes.popleft())
            except ReentrancyError:  # too deep, or on a loop that would wait for itself: the outer call tells it
                self._watch.after(_SECOND_TRY, self._tell_on_thread)
                return
            finally:
                turn.release()

    def _tell_one(self, change: BreakerState) -> Steps[None]:
        self._begun = time.monotonic()
        self._log()
        try:
            yield from self._fire(change)
        except ReentrancyError:  # it was refused before any callback was called
            self.changes.appendleft(change)
            raise

    def _begin_turn(self) -> threading.Lock | None:
        """Return the lock of whoever tells, taken; None where somebody else tells, and does not hang."""
        turn = self._turn
        if turn.acquire(blocking=False):
            return turn
        if time.monotonic() - self._begun < _PATIENCE:
            return None
        self._turn = turn = threading.Lock()
        turn.acquire()
        return turn

    def _tell_on_thread(self) -> None:
        if not self.changes:
            return
        thread = threading.Thread(target=self._run, name="thea-health", daemon=True)
        with suppress(RuntimeError):  # there are too many, or the interpreter is about to end: the next chain tells it
            thread.start()

    def _run(self) -> None:
        try:
            drive(self._tell())
        except BaseException:  # Ctrl-C never comes to this thread: a callback raised it
            log_exception("telling the state of circuit breakers failed")


class TellStep:
    """Tells the changes of breakers; its result is an empty outcome, and nothing is raised but Ctrl-C.

    Made where a chain ends: what runs there counts as running around ``on_plugin_health``.
    """

    __slots__ = ("_keys", "_steps", "_task", "_tasks")

    on_callers_loop = False

    def __init__(self, steps: Callable[[], Steps[None]], tasks: set[asyncio.Task[None]]) -> None:
        self._steps = steps
        self._tasks = tasks
        self._keys = tuple(flow.running_keys())
        self._task: asyncio.Task[None] | None = None

    def wait(self) -> tuple[Any, None]:
        """Tell them in the calling thread."""
        frame = flow.enter(*self._keys)
        try:
            drive(self._steps())
        finally:
            flow.leave(frame)
        return None, None

    async def wait_async(self) -> tuple[Any, None]:
        """Tell them in a task; when cancelled, it goes on, and may be waited for again."""
        import asyncio

        if self._task is None:
            frame, context = flow.carry(self._keys)
            task = asyncio.get_running_loop().create_task(adrive(self._steps()), context=context)
            self._task = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: flow.leave(frame))
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()
        return None, None

    def cancel(self) -> None:
        """Do nothing: what is being told is told."""


def _log(change: BreakerState) -> None:
    level = logging.INFO if change.state == HALF_OPEN else logging.WARNING
    whose = "a local callback" if change.plugin == "local" else f"plugin {change.plugin!r}"
    log(level, "the circuit breaker of %s for %s is %s: %s", whose, change.hook, change.state, change.reason)
