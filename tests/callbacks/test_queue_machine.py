"""The queue against a simple model: nothing lost, nothing doubled, the order kept, drops exact.

The clock stands still, the plugin's body and the watch do only what the machine tells them, and the machine goes on
only when the queue's thread has done what it can: nothing depends on time.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support import FakeClock
from thea_core.callbacks.binding import Arguments, Callback
from thea_core.callbacks.chain import local_place
from thea_core.callbacks.hooks import HookTable
from thea_core.callbacks.limits import Ways
from thea_core.callbacks.loops import LoopPool
from thea_core.callbacks.queues import EventQueue, Flush
from thea_core.errors import CallbackTimeoutError

SIZE = 3
MINUTE = 60_000_000_000
PATIENCE = 60.0

logger = logging.getLogger("thea_core.callbacks")


class Watch:
    """Looks when it is told to."""

    def __init__(self) -> None:
        self._looks: list[Callable[[], None]] = []

    def after(self, _seconds: float, look: Callable[[], None]) -> None:
        self._looks.append(look)

    def fire(self) -> None:
        looks, self._looks = self._looks, []
        for look in looks:
            look()


class Books:
    """Notes how deliveries end, and on which thread that was told."""

    def __init__(self) -> None:
        self.running: list[None] = []
        self.rows: list[str] = []
        self.threads: SimpleQueue[threading.Thread] = SimpleQueue()

    def begin(self, _callback: Callback) -> int:
        return 0

    def end(self, _callback: Callback, _ticket: int, _start: int, error: BaseException | None) -> None:
        self.rows.append("timeout" if isinstance(error, CallbackTimeoutError) else type(error).__name__)
        self.threads.put(threading.current_thread())

    def drop(self, _callback: Callback) -> None:
        self.rows.append("dropped")


class Reports(logging.Handler):
    """Notes how many dropped calls were told at a time."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.counts.append(record.args[2] if isinstance(record.args, tuple) else record.args)


@dataclass
class Waiting:
    """A flush, the calls that it waits for, and how many of them will never be made."""

    flush: Flush
    calls: set[int]
    lost: int = 0


class QueueMachine(RuleBasedStateMachine):
    """Puts, lets go, hangs and closes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.watch, self.books, self.reports = FakeClock(), Watch(), Books(), Reports()
        logger.addHandler(self.reports)
        ways: Any = Ways(
            "shop",
            one=False,
            loops=LoopPool(),
            watch=self.watch,  # type: ignore[arg-type]
            crowded=lambda: None,
            relieved=lambda: self.queue.resume(),  # noqa: PLW0108 -- there is none yet
        )
        self.queue = EventQueue(ways, size=SIZE, flush_interval=1.0, clock=self.clock, books=self.books)
        callback = Callback(
            hook=HookTable()["on_message"],
            function=self._body,
            arguments=Arguments(),
            plugin="shop",
            name="body",
            place=local_place(0, 0),
            timeout=1e-9,  # its time is up whenever somebody looks
            ways=ways,
            queue=self.queue,
        )
        self.put_call = self.queue.putter(callback, [])
        self.arrived: SimpleQueue[int] = SimpleQueue()
        self.orders: dict[int, SimpleQueue[BaseException | None]] = {}
        self.threads: dict[int, threading.Thread] = {}
        self.numbers = itertools.count()
        # The model
        self.waiting: list[int] = []
        self.current: int | None = None
        self.behind: list[int] = []
        self.expected: list[int] = []
        self.delivered: list[int] = []
        self.rows: list[str] = []
        self.told: list[int] = []
        self.dropped = 0
        self.last_told: int | None = None
        self.flushes: list[Waiting] = []

    def _body(self, number: int) -> None:
        self.threads[number] = threading.current_thread()
        self.arrived.put(number)
        error = self.orders[number].get(timeout=PATIENCE)
        if error is not None:
            raise error

    @property
    def stopped(self) -> bool:
        return len(self.behind) == 3

    @rule()
    def put(self) -> None:
        number = next(self.numbers)
        self.orders[number] = SimpleQueue()
        room = self.put_call((number,), None)
        assert room == (len(self.waiting) < SIZE)
        if room:
            self.waiting.append(number)
            self.expected.append(number)
            self._follow()
        else:
            self.dropped += 1
            self._tell_drops()

    @precondition(lambda self: self.current is not None)
    @rule(error=st.sampled_from([None, ValueError(), SystemExit(), KeyboardInterrupt()]))
    def let_go(self, error: BaseException | None) -> None:
        self._end_current(error)
        self._follow()

    @precondition(lambda self: self.current is not None)
    @rule()
    def hang(self) -> None:
        assert self.current is not None
        self.behind.append(self.current)
        self.current = None
        self.rows.append("timeout")
        self.watch.fire()
        noting = self.books.threads.get(timeout=PATIENCE)
        self._tell_drops()
        if self.stopped:
            noting.join(PATIENCE)
        self._follow()

    @precondition(lambda self: self.behind)
    @rule(which=st.integers(0, 2))
    def come_back(self, which: int) -> None:
        number = self.behind.pop(which % len(self.behind))
        self.orders[number].put(None)
        self.threads[number].join(PATIENCE)
        self._follow()

    @rule(seconds=st.sampled_from([1, 30, 59, 60]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def flush_without_patience(self) -> None:
        assert self.queue.flush(0.0) == len(self.waiting) + (self.current is not None)

    @rule()
    def begin_flush(self) -> None:
        current = [] if self.current is None else [self.current]
        self.flushes.append(Waiting(self.queue.begin_flush(PATIENCE), {*current, *self.waiting}))

    @precondition(lambda self: not self.stopped)
    @rule()
    def flush(self) -> None:
        flush = self.queue.begin_flush(PATIENCE)
        while self.current is not None:
            self._end_current(None)
            self._follow()
        assert self.queue.end_flush(flush) == 0

    @rule()
    def drain_without_patience_and_close(self) -> None:
        assert self.queue.drain(0.0) == len(self.waiting) + (self.current is not None)
        self.rows += ["dropped"] * len(self.waiting)
        self.expected = [each for each in self.expected if each not in self.waiting]
        for each in self.flushes:
            each.lost += len(each.calls.intersection(self.waiting))
        self.waiting = []
        for thread in self.queue.close():
            thread.join(PATIENCE)
        self._tell_drops(last=True)

    @invariant()
    def as_the_model_says(self) -> None:
        assert self.arrived.empty()
        assert self.queue.waiting == len(self.waiting) + (self.current is not None)
        assert self.delivered + self.waiting == self.expected
        assert self.books.rows == self.rows
        under_way = {self.current, *self.waiting}
        for each in self.flushes:
            ended = each.flush.done.is_set() or not each.flush.waits
            assert ended == each.calls.isdisjoint(under_way)
            assert not ended or self.queue.end_flush(each.flush) == each.lost
        assert self.reports.counts == self.told

    def teardown(self) -> None:
        for number in self.behind:
            self.orders[number].put(None)
            self.threads[number].join(PATIENCE)
        was_stopped, self.behind = self.stopped, []
        if was_stopped:
            self._follow()
        while self.current is not None:
            self._end_current(None)
            self._follow()
        assert self.queue.drain(PATIENCE) == 0
        for thread in self.queue.close():
            thread.join(PATIENCE)
        assert self.delivered == self.expected
        for thread in self.threads.values():
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert self.books.running == []
        logger.removeHandler(self.reports)

    def _end_current(self, error: BaseException | None) -> None:
        assert self.current is not None
        self.orders[self.current].put(error)
        self.current = None
        self.books.threads.get(timeout=PATIENCE)
        self.rows.append(type(error).__name__)
        self._tell_drops()

    def _follow(self) -> None:
        """Wait until the queue has gone on as far as it can."""
        if self.stopped or self.current is not None:
            return
        if not self.waiting:
            assert self.queue.flush(PATIENCE) == 0
            return
        self.current = self.arrived.get(timeout=PATIENCE)
        assert self.current == self.waiting.pop(0)
        self.delivered.append(self.current)

    def _tell_drops(self, *, last: bool = False) -> None:
        now = self.clock.monotonic_ns()
        early = self.last_told is not None and now - self.last_told < MINUTE
        if self.dropped and (last or not early):
            self.told.append(self.dropped)
            self.dropped, self.last_told = 0, now


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(stateful_step_count=30)
