"""What it costs a caller that a plugin has a time limit, a queue, or a breaker: beside what each needs at the least."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from queue import SimpleQueue
from time import sleep
from typing import Any

from benchmarks.measure import Contender, Effort, interleave, statement
from benchmarks.rows import Row, cost
from benchmarks.utterances import utterances
from thea_core import CallbackManager, hookimpl

__all__ = ["measure"]

HAND_OFF = "a hand-off to a waiting thread and back"
LIMITED = "a synchronous callback with a time limit"
PUT = "SimpleQueue.put, a thread waits for it"
QUEUED = "a callback in the background"
CLOSED = "three callbacks, all breakers closed"
OPEN = "three callbacks, one breaker open"
ONCE_FAILED = "three callbacks, one has failed once"

BURST = 200
"""How many calls are put on a queue in a row, before it is waited, untimed, until all are made. The first one wakes the
thread; the others cost ``SimpleQueue.put`` next to nothing, less than any call of a Python function."""

_SETTLED = 0.0002  # seconds in which a thread that has nothing to do falls asleep

ARGUMENTS = {"user_id": "ana", "message": utterances()[0], "timestamp": datetime(2026, 1, 1, tzinfo=UTC)}
_TRIGGER = "trigger('on_message', user_id=user_id, message=message, timestamp=timestamp)"


def measure(effort: Effort) -> Iterator[Row]:
    """Give the rows of limits, queues and breakers."""
    timings = interleave([_hand_off(), _limited()], effort)
    yield cost(LIMITED, HAND_OFF, timings, at_most=1.5)
    timings = interleave([_put(), _queued()], effort)
    yield cost(QUEUED, PUT, timings, at_most=3)
    timings = interleave([_put(BURST), _queued(BURST)], effort)
    yield cost(f"{QUEUED}, {BURST} at once", f"{PUT}, {BURST} at once", timings)
    timings = interleave([_three(CLOSED), _three(ONCE_FAILED, failures=1), _three(OPEN, failures=5)], effort)
    yield cost(ONCE_FAILED, CLOSED, timings)
    yield cost(OPEN, CLOSED, timings)


def _callback(user_id: str, message: str, timestamp: datetime) -> None:
    pass


def _hand_off() -> Contender:
    """One thread gives another a call by a queue, which gives back what came of it by another queue."""
    calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
    results: SimpleQueue[None] = SimpleQueue()

    def work() -> None:
        while True:
            results.put(calls.get()())

    threading.Thread(target=work, daemon=True).start()
    names = {"put": calls.put, "get": results.get, "call": lambda: _callback(**ARGUMENTS)}  # type: ignore[arg-type]
    return statement(HAND_OFF, "put(call); get()", names)


def _limited() -> Contender:
    manager = CallbackManager()
    manager.register("on_message", _callback, timeout=2.0)
    return statement(LIMITED, _TRIGGER, {"trigger": manager.trigger, **ARGUMENTS})


class _Background:
    """A plugin with a queue."""

    delivery = "background"

    def __init__(self, made: Callable[[], None]) -> None:
        self._made = made

    @hookimpl
    def on_message(self, user_id: str, message: str, timestamp: datetime) -> None:  # noqa: ARG002 -- as in the others
        self._made()


def _put(burst: int = 1) -> Contender:
    calls: SimpleQueue[tuple[object, ...]] = SimpleQueue()
    made = threading.Semaphore(0)

    def work() -> None:
        while True:
            calls.get()
            made.release()

    threading.Thread(target=work, daemon=True).start()
    names = {"put": calls.put, "given": tuple(ARGUMENTS.values())}
    return _in_bursts(PUT, "put(given)", names, burst, made)


def _queued(burst: int = 1) -> Contender:
    manager = CallbackManager()
    made = threading.Semaphore(0)
    manager.publish_plugins([manager.bind_plugin(_Background(made.release), "background", source=3, position=0)])
    return _in_bursts(QUEUED, _TRIGGER, {"trigger": manager.trigger, **ARGUMENTS}, burst, made)


def _in_bursts(name: str, text: str, names: dict[str, Any], burst: int, made: threading.Semaphore) -> Contender:
    """Return a contender that works in bursts, and does not count the time in which each is worked off."""
    inner = statement(name, text, names)

    def batch(count: int) -> int:
        bursts = max(1, count // burst)
        took = 0
        for _ in range(bursts):
            took += inner.batch(burst)
            for _ in range(burst):
                made.acquire()
            sleep(_SETTLED)
        return took * count // (bursts * burst)

    return Contender(name if burst == 1 else f"{name}, {burst} at once", batch)


def _three(name: str, failures: int = 0) -> Contender:
    """Return a trigger of three callbacks; one of them fails at first as often as it is told to."""
    manager = CallbackManager(breaker_seconds=3600.0)
    left = [failures]

    def failing(**_: object) -> None:
        if left[0]:
            left[0] -= 1
            raise ValueError

    manager.register("on_message", _callback)
    manager.register("on_message", failing)
    manager.register("on_message", _callback)
    if failures == 1:  # the breaker of another event stays in trouble: every chain looks at its breakers then
        manager.register("on_state_change", failing)
        manager.trigger("on_state_change", user_id="ana", old_state="idle", new_state="processing")
    else:
        for _ in range(failures):
            manager.trigger("on_message", **ARGUMENTS)
    return statement(name, _TRIGGER, {"trigger": manager.trigger, **ARGUMENTS})
