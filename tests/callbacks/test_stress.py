"""Everything at once: threads and tasks fire while plugins come, go, hang and block, and callers are cancelled.

One round takes a second or two, and every round is another: what the scheduler does is what varies. ``tox -e stress``
runs twenty in a row under ``python -X dev``; at a desk, set ``THEA_STRESS_ROUNDS``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.callbacks.helpers import NOW
from thea_core import CallbackManager, hookimpl
from thea_core.callbacks.runtime import PluginLimits

THREADS, EACH = 8, 10
TASKS = 200
SHORT, LONG = 0.02, 300.0  # seconds: the limit of what hangs, and of what does not
PAUSE = 0.02  # seconds for which guests stay


class Calls:
    """Notes each call of each callback as it begins."""

    def __init__(self) -> None:
        self.by_callback: dict[str, list[str]] = {}
        self.by_event: dict[str, list[int]] = {}
        self.lock = threading.Lock()

    def note(self, callback: str, rank: int, message: str) -> int:
        """Note a call; return how many of that callback there were before it."""
        with self.lock:
            calls = self.by_callback.setdefault(callback, [])
            calls.append(message)
            self.by_event.setdefault(message, []).append(rank)
            return len(calls) - 1


class Plugin:
    """What all of them have in common; each has one callback."""

    rank = 0
    hanging = 16  # one call of so many hangs

    def __init__(self, calls: Calls, go: threading.Event) -> None:
        self.calls = calls
        self.go = go

    def note(self, message: str) -> bool:
        """Note the call; whether it is one that is to hang."""
        return self.calls.note(type(self).__name__, self.rank, message) % self.hanging == self.hanging - 1


class Sync(Plugin):
    rank = 1

    @hookimpl(priority=-1, timeout=LONG)
    def on_message(self, message: str) -> None:
        self.note(message)


class Async(Plugin):
    rank = 2

    @hookimpl(priority=-2, timeout=LONG)
    async def on_message(self, message: str) -> None:
        self.note(message)
        await asyncio.sleep(0)


class Bound(Plugin):
    rank = 3
    thread = "one"

    def __init__(self, calls: Calls, go: threading.Event) -> None:
        super().__init__(calls, go)
        self.threads: set[threading.Thread] = set()

    @hookimpl(priority=-3, timeout=LONG)
    def on_message(self, message: str) -> None:
        self.note(message)
        self.threads.add(threading.current_thread())


class SyncHanging(Plugin):
    rank = 4

    @hookimpl(priority=-4, timeout=SHORT)
    def on_message(self, message: str) -> None:
        if self.note(message):
            self.go.wait(SHORT * 4)


class AsyncHanging(Plugin):
    """Every other call that hangs swallows its cancellation."""

    rank = 5

    @hookimpl(priority=-5, timeout=SHORT)
    async def on_message(self, message: str) -> None:
        if self.note(message):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(LONG)
            await asyncio.sleep(SHORT)


class Blocking(Plugin):
    """Blocks its loop, which is replaced; what had not begun there goes on on another."""

    rank = 6
    hanging = 50

    @hookimpl(priority=-6, timeout=SHORT * 2)
    async def on_message(self, message: str) -> None:
        if self.note(message):
            self.go.wait(SHORT * 8)
        await asyncio.sleep(0)


class Queued(Plugin):
    """On a queue: it is called later, in the order of the events of each thread."""

    @hookimpl(priority=-7, timeout=LONG)
    def on_message(self, message: str) -> None:
        self.calls.note("Queued", 99, f"later {message}")


class Guest(Plugin):
    """Comes and goes."""

    rank = 8

    @hookimpl(priority=-8, timeout=LONG)
    def on_message(self, message: str) -> None:
        self.note(message)


class AsyncGuest(Plugin):
    """The same; its loop is closed while it is called."""

    rank = 9

    @hookimpl(priority=-9, timeout=LONG)
    async def on_message(self, message: str) -> None:
        self.note(message)
        await asyncio.sleep(0)


RESIDENTS = (Sync, Async, Bound, SyncHanging, AsyncHanging, Blocking, Queued)
GUESTS = (Guest, AsyncGuest)


class Round:
    """One round: a manager, its plugins, and all that is done to them."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.go = threading.Event()
        self.stop = threading.Event()
        self.visits = 0
        self.callbacks = CallbackManager(timeout=LONG, breaker_failures=1_000_000)
        self.callbacks.register("on_message", self.first, priority=100)
        self.callbacks.register("on_message", self.last, priority=-100)
        self.problems: list[BaseException] = []
        self.residents = [kind(self.calls, self.go) for kind in RESIDENTS]
        for position, plugin in enumerate(self.residents):
            self.enter(plugin, position)

    def first(self, message: str) -> None:
        self.calls.note("first", 0, message)

    def last(self, message: str) -> None:
        self.calls.note("last", 100, message)

    def enter(self, plugin: Plugin, position: int) -> Any:
        limits = PluginLimits(delivery="background" if isinstance(plugin, Queued) else None)
        binding = self.callbacks.bind_plugin(plugin, type(plugin).__name__, source=1, position=position, limits=limits)
        self.callbacks.publish_plugins([binding])
        return binding

    def fire(self, caller: str, count: int) -> None:
        for number in range(count):
            self.callbacks.trigger("on_message", user_id="ana", message=f"{caller} {number}", timestamp=NOW)

    async def fire_from_tasks(self) -> None:
        async def fire(task: int) -> None:
            await self.callbacks.atrigger("on_message", user_id="ana", message=f"task{task} 0", timestamp=NOW)

        tasks = [asyncio.create_task(fire(number)) for number in range(TASKS)]
        for task in tasks[::10]:
            await asyncio.sleep(0)
            task.cancel()  # what it has fired goes on without it
        await asyncio.wait(tasks)
        while self.callbacks.busy:  # noqa: ASYNC110 -- nobody awaits what cancelled tasks have fired, nor the threads
            await asyncio.sleep(0.001)

    def meddle(self) -> None:
        """Let guests come and go."""
        while not self.stop.wait(PAUSE):
            bindings = [self.enter(kind(self.calls, self.go), 100) for kind in GUESTS]
            local = self.callbacks.register("on_message", self.passing, timeout=LONG, priority=-50)
            self.stop.wait(PAUSE)
            local.remove()
            for binding in bindings:
                self.callbacks.withdraw_plugin(binding.name)
                self.callbacks.close_runtime(binding.runtime)
                assert self.callbacks.close_plugin(binding.name, LONG)
            self.visits += 1

    def passing(self, message: str) -> None:
        self.calls.note("passing", 50, message)

    def run(self) -> None:
        def guarded(work: Any, *arguments: Any) -> None:
            try:
                work(*arguments)
            except BaseException as error:
                self.problems.append(error)

        threads = [
            threading.Thread(target=guarded, args=(self.fire, f"thread{number}", EACH)) for number in range(THREADS)
        ]
        meddler = threading.Thread(target=guarded, args=(self.meddle,))
        for thread in (*threads, meddler):
            thread.start()
        asyncio.run(self.fire_from_tasks())
        for thread in threads:
            thread.join()
        self.stop.set()
        meddler.join()
        self.go.set()


@pytest.fixture
def finished() -> Iterator[Round]:
    """A round that has come to its end, with every queue empty."""
    before = set(threading.enumerate())
    done = Round()
    done.run()
    assert done.problems == []
    assert done.callbacks.flush(60.0) == 0
    yield done
    assert done.callbacks.running_calls == []
    assert done.callbacks.close(60.0) == 0
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(60)
    assert [thread.name for thread in left if thread.is_alive()] == [], "a thread is left"


@pytest.mark.parametrize("number", range(int(os.environ.get("THEA_STRESS_ROUNDS", "1"))))
def test_no_call_is_lost_or_doubled_order_is_kept_and_no_thread_is_left(finished: Round, number: int) -> None:
    calls, outcomes = finished.calls, Counter[tuple[str, str]]()
    for (_, plugin, callback), totals in finished.callbacks.history.totals().items():
        name = callback.rpartition(".")[2] if plugin == "local" else plugin
        outcomes.update({(name, outcome): count for outcome, count in totals.outcomes.items()})
    fired = calls.by_callback["first"]

    # Nothing is lost: every event that began came to its end, and every callback has an outcome for each.
    assert THREADS * EACH <= len(fired) <= THREADS * EACH + TASKS
    assert sorted(calls.by_callback["last"]) == sorted(fired)
    for kind in RESIDENTS:
        assert sum(outcomes[kind.__name__, each] for each in ("ok", "timeout", "skipped", "queued")) == len(fired) + (
            outcomes["Queued", "ok"] if kind is Queued else 0
        )

    # Nothing is doubled, and what the history says of each callback is what it has seen.
    assert all(len(set(messages)) == len(messages) for messages in calls.by_callback.values())
    for name, messages in calls.by_callback.items():
        ended = outcomes[name, "ok"] + outcomes[name, "timeout"]
        assert ended <= len(messages) <= ended + outcomes[name, "error"], name

    # What has time enough is in time, whatever happens beside it, and nothing fails but what was on a closed loop.
    for name in ("Sync", "Async", "Bound", "Queued", "Guest", "AsyncGuest", "passing"):
        assert outcomes[name, "timeout"] == 0, name
    assert {name for name, outcome in outcomes if outcome == "error"} <= {"AsyncGuest"}
    assert finished.visits > 0
    assert outcomes["Async", "ok"] == len(fired)
    assert outcomes["Queued", "ok"] == outcomes["Queued", "queued"] == len(fired)
    assert outcomes["SyncHanging", "timeout"] > 0
    assert outcomes["AsyncHanging", "timeout"] > 0
    assert outcomes["Blocking", "timeout"] > 0

    # Order is kept: within each event, from each thread on the queue, and on the one thread of who has one.
    assert all(ranks == sorted(ranks) for ranks in calls.by_event.values())
    for caller in {message.partition(" ")[0] for message in fired}:
        numbers = [int(each.split()[2]) for each in calls.by_callback["Queued"] if each.split()[1] == caller]
        assert numbers == sorted(numbers)
    (bound,) = (plugin for plugin in finished.residents if isinstance(plugin, Bound))
    assert len(bound.threads) == 1
