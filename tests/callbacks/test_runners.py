"""The threads that make the calls of queues: what hangs is left behind, and an idle one keeps nothing alive."""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.callbacks.background import (
    LONG,
    PATIENCE,
    SHORT,
    Shop,
    closed_afterwards,
    hanging,
    hooks,
    plug,
    tell,
    totals,
)
from tests.callbacks.helpers import say
from tests.support import FakeClock, run_in_child
from thea_core import CallbackManager, hookimpl
from thea_core.callbacks.queues import EventQueue
from thea_core.callbacks.runtime import PluginLimits


@pytest.fixture
def callbacks(clock: FakeClock) -> Iterator[CallbackManager]:
    with closed_afterwards(clock=clock) as manager:
        yield manager


class Sticky:
    """A plugin that hangs in each change of state that it was told, longer than it may, until that is let go."""

    delivery = "background"

    def __init__(self, *stuck: str) -> None:
        self.go = {each: threading.Event() for each in stuck}
        self.heard: list[str] = []
        self.threads: dict[str, threading.Thread] = {}

    @hookimpl(timeout=SHORT)
    def on_state_change(self, new_state: str) -> None:
        self.on_message(new_state)
        assert self.go[new_state].wait(PATIENCE)

    @hookimpl
    def on_message(self, message: str) -> None:
        self.heard.append(message)
        self.threads[message] = threading.current_thread()

    def let_go(self) -> None:
        for event in self.go.values():
            event.set()


def hang(callbacks: CallbackManager, *states: str) -> None:
    """Have a call hang for each."""
    for state in states:
        callbacks.trigger("on_state_change", user_id="ana", old_state="idle", new_state=state)


@contextmanager
def three_left_behind(callbacks: CallbackManager, plugin: Sticky, **limits: Any) -> Iterator[EventQueue]:
    """Let three calls hang for longer than they may."""
    queue = plug(callbacks, plugin, **limits)
    hang(callbacks, *"abc")
    assert callbacks.flush(PATIENCE) == 0
    try:
        yield queue
    finally:
        plugin.let_go()


class TestWhatHangs:
    def test_it_is_left_behind_and_the_next_goes_on_on_another_thread(self, callbacks: CallbackManager) -> None:
        plugin = Sticky("a")
        plug(callbacks, plugin)
        hang(callbacks, "a")
        tell(callbacks, *"bc")
        assert callbacks.flush(PATIENCE) == 0
        assert plugin.heard == [*"abc"]
        assert plugin.threads["a"].is_alive()
        assert plugin.threads["a"] is not plugin.threads["b"] is plugin.threads["c"]
        assert [each.outcome for each in callbacks.history if each.outcome != "queued"] == ["timeout", "ok", "ok"]
        plugin.let_go()
        plugin.threads["a"].join(PATIENCE)
        assert not plugin.threads["a"].is_alive()
        assert totals(callbacks, "on_state_change") == {"queued": 1, "timeout": 1}
        assert totals(callbacks) == {"queued": 2, "ok": 2}

    def test_it_is_logged_with_the_place_where_it_hangs(
        self, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        plugin = Sticky("a")
        plug(callbacks, plugin)
        hang(callbacks, "a")
        callbacks.flush(PATIENCE)
        plugin.let_go()
        (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
        assert "plugin 'shop', callback Sticky.on_state_change failed in on_state_change" in record.getMessage()
        assert f"it did not come back within {SHORT:g} s" in record.getMessage()
        where = record.getMessage().partition("It was hanging at:\n")[2].splitlines()[0]
        assert __file__ in where
        assert where.endswith("in on_state_change")

    def test_the_third_stops_the_queue_until_one_comes_back(self, callbacks: CallbackManager) -> None:
        plugin = Sticky("a", "b", "c")
        with three_left_behind(callbacks, plugin) as queue:
            tell(callbacks, *"defg")
            assert queue.flush(0.0) == 4
            assert plugin.heard == [*"abc"]
            plugin.go["b"].set()
            assert queue.flush(PATIENCE) == 0
            assert plugin.heard == [*"abcdefg"]
        assert totals(callbacks, "on_state_change") == {"queued": 3, "timeout": 3}
        assert totals(callbacks) == {"queued": 4, "ok": 4}

    def test_who_flushes_a_queue_that_has_stopped_is_let_go_when_it_goes_on(self, callbacks: CallbackManager) -> None:
        flushed: list[float] = []

        class Flushing(Sticky):
            @hookimpl
            def on_flush(self, timeout: float) -> None:
                flushed.append(timeout)

        plugin = Flushing("a", "b", "c")
        queue = plug(callbacks, plugin, flush_interval=LONG)
        hang(callbacks, *"abc")
        flush = queue.begin_flush(PATIENCE)
        while queue.waiting:
            queue.end_flush(queue.begin_flush(SHORT))
        assert not flush.done.is_set()
        plugin.let_go()
        assert queue.end_flush(flush) == 0
        assert flushed

    def test_the_queue_fills_meanwhile_and_drops(self, callbacks: CallbackManager) -> None:
        plugin = Sticky("a", "b", "c")
        with three_left_behind(callbacks, plugin) as queue:
            tell(callbacks, *(str(number) for number in range(2050)))
            assert queue.waiting == 2048
        callbacks.flush(PATIENCE)
        assert totals(callbacks) == {"queued": 2048, "ok": 2048, "dropped": 2}

    def test_breakers_are_open_meanwhile_and_the_next_call_is_the_probe(self, callbacks: CallbackManager) -> None:
        plugin = Sticky("a", "b", "c")
        with three_left_behind(callbacks, plugin):
            assert {each.hook: each.state for each in callbacks.breakers} == {
                "on_message": "open",
                "on_state_change": "open",
            }
            tell(callbacks, "d")
            plugin.go["a"].set()
            assert callbacks.flush(PATIENCE) == 0
            assert [each.state for each in callbacks.breakers if each.hook == "on_message"] == ["closed"]

    def test_a_short_limit_behind_a_long_one_is_noticed_in_its_own_time(self, callbacks: CallbackManager) -> None:
        plugin = Sticky("a")
        plug(callbacks, plugin)
        tell(callbacks, "before")
        hang(callbacks, "a")
        tell(callbacks, "after")
        assert callbacks.flush(PATIENCE) == 0
        assert plugin.heard == ["before", "a", "after"]
        plugin.let_go()

    def test_one_without_a_limit_is_waited_for(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop, timeout=float("inf"))
        with hanging(callbacks, shop):
            assert queue.flush(0.0) == 1
        assert queue.flush(PATIENCE) == 0
        assert totals(callbacks) == {"queued": 1, "ok": 1}

    def test_an_asynchronous_one_is_cancelled(self, callbacks: CallbackManager) -> None:
        heard = []
        cancelled = threading.Event()

        class Later:
            delivery = "background"

            @hookimpl(timeout=SHORT)
            async def on_state_change(self) -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()

            @hookimpl
            async def on_message(self, message: str) -> None:
                heard.append(message)

        plug(callbacks, Later())
        hang(callbacks, "a")
        tell(callbacks, "b")
        assert callbacks.flush(PATIENCE) == 0
        assert heard == ["b"]
        assert cancelled.wait(PATIENCE)
        assert totals(callbacks, "on_state_change") == {"queued": 1, "timeout": 1}

    def test_so_is_the_coroutine_that_a_synchronous_one_returns(self, callbacks: CallbackManager) -> None:
        cancelled = threading.Event()

        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        plug(callbacks, hooks(on_state_change=lambda: forever()), timeout=SHORT)
        hang(callbacks, "a")
        assert callbacks.flush(PATIENCE) == 0
        assert cancelled.wait(PATIENCE)
        assert totals(callbacks, "<lambda>") == {"queued": 1, "timeout": 1}

    @pytest.mark.filterwarnings("error")
    def test_the_coroutine_of_one_that_was_left_behind_never_runs(self, callbacks: CallbackManager) -> None:
        go, ran, threads = threading.Event(), [], []

        async def run() -> None:
            ran.append(True)

        def late() -> Any:
            threads.append(threading.current_thread())
            assert go.wait(PATIENCE)
            return run()

        plug(callbacks, hooks(on_message=late), timeout=SHORT)
        say(callbacks)
        assert callbacks.flush(PATIENCE) == 0
        go.set()
        threads[0].join(PATIENCE)
        gc.collect()
        assert ran == []

    def test_on_the_one_thread_of_a_plugin_the_others_wait_for_it_and_time_out_too(
        self, callbacks: CallbackManager
    ) -> None:
        class Bound(Sticky):
            thread = "one"

        plugin = Bound("a", "b")
        plug(callbacks, plugin)
        hang(callbacks, *"ab")
        assert callbacks.flush(PATIENCE) == 0
        assert plugin.heard == ["a"]
        plugin.let_go()
        assert totals(callbacks, "on_state_change") == {"queued": 2, "timeout": 2}

    def test_all_deliveries_of_such_a_plugin_run_on_that_thread(self, callbacks: CallbackManager) -> None:
        threads = set()

        class Bound:
            delivery = "background"
            thread = "one"

            @hookimpl
            def on_message(self) -> None:
                threads.add(threading.current_thread())

            @hookimpl
            def on_flush(self) -> None:
                threads.add(threading.current_thread())

            @hookimpl
            def detect_intents(self) -> None:
                threads.add(threading.current_thread())

        plug(callbacks, Bound())
        say(callbacks)
        callbacks.flush(PATIENCE)
        callbacks.call("detect_intents", message="hola", context={})
        assert len(threads) == 1

    def test_an_on_flush_that_hangs_is_left_behind_too(self, callbacks: CallbackManager) -> None:
        inside, go, heard = threading.Event(), threading.Event(), threading.Semaphore(0)

        def on_flush() -> None:
            inside.set()
            assert go.wait(PATIENCE)

        plugin = hooks(on_message=lambda: heard.release())
        plugin.on_flush = hookimpl(timeout=SHORT)(on_flush)  # type: ignore[attr-defined]
        plug(callbacks, plugin, flush_interval=LONG)
        for _ in range(2):
            say(callbacks)
            assert heard.acquire(timeout=PATIENCE)
            assert inside.wait(PATIENCE)
        go.set()
        callbacks.flush(PATIENCE)
        assert totals(callbacks, "on_flush")["timeout"] >= 1

    def test_deliveries_and_on_flush_never_run_at_the_same_time(self, callbacks: CallbackManager) -> None:
        """But for what was left behind."""
        running: list[str] = []
        together: list[list[str]] = []
        one_by_one = threading.Lock()

        def enter(what: str) -> None:
            if not one_by_one.acquire(blocking=False):
                together.append([*running, what])
                return
            running.append(what)
            running.remove(what)
            one_by_one.release()

        plugin = hooks(on_message=lambda: enter("message"), on_flush=lambda: enter("on_flush"))
        plug(callbacks, plugin, flush_interval=0.001)
        threads = [threading.Thread(target=lambda: [callbacks.flush(PATIENCE) for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(500):
            say(callbacks)
        for thread in threads:
            thread.join(PATIENCE)
        callbacks.flush(PATIENCE)
        assert together == []

    def test_one_that_comes_back_at_the_last_moment_counts_once(self, callbacks: CallbackManager) -> None:
        """As long as their limit takes each: some come back in time, some do not, and each has one row."""
        plug(callbacks, hooks(on_message=lambda: threading.Event().wait(0.002)), timeout=0.002)
        for _ in range(60):
            say(callbacks)
        while callbacks.flush(PATIENCE):
            pass
        found = totals(callbacks, "<lambda>")
        assert found.pop("queued") == 60
        assert sum(found.values()) == 60

    def test_what_is_left_behind_writes_no_second_row(self, callbacks: CallbackManager) -> None:
        records: list[Any] = []
        plugin = Sticky("a")
        plug(callbacks, plugin)
        with callbacks.add_observer(records.append):
            hang(callbacks, "a")
            callbacks.flush(PATIENCE)
            plugin.let_go()
            plugin.threads["a"].join(PATIENCE)
        assert [each.callbacks[0].outcome for each in records] == ["queued", "timeout"]

    def test_the_watch_is_not_held_up_by_what_is_told_of_it(self, callbacks: CallbackManager) -> None:
        """An observer of the row is called on the plugin's next thread, not on that which watches all plugins."""
        threads: dict[str, str] = {}
        plugin = Sticky("a")
        plug(callbacks, plugin)

        def observe(record: Any) -> None:
            threads[record.callbacks[0].outcome] = threading.current_thread().name

        with callbacks.add_observer(observe):
            hang(callbacks, "a")
            callbacks.flush(PATIENCE)
        plugin.let_go()
        assert threads["timeout"] == "thea-shop"


class TestThreadsThatCannotBeStarted:
    @pytest.fixture
    def refused(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
        """Refuse every new thread of the plugin, until it is called."""
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            if thread.name == "thea-shop":
                raise RuntimeError("can't start new thread")
            start(thread)

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            yield patch.undo

    def test_the_next_call_tries_again(self, callbacks: CallbackManager, refused: Callable[[], None]) -> None:
        shop = Shop()
        queue = plug(callbacks, shop)
        tell(callbacks, *"ab")
        assert queue.waiting == 2
        refused()
        tell(callbacks, "c")
        assert queue.flush(PATIENCE) == 0
        assert shop.heard == [*"abc"]

    def test_so_does_a_flush_and_waits_for_nothing_that_cannot_be(
        self, callbacks: CallbackManager, refused: Callable[[], None]
    ) -> None:
        shop = Shop()
        queue = plug(callbacks, shop)
        tell(callbacks, *"ab")
        assert queue.flush(1e9) == 2
        refused()
        assert queue.flush(PATIENCE) == 0
        assert shop.heard == [*"ab"]

    def test_a_call_left_behind_whose_successor_cannot_be_started_is_noted_by_the_next(
        self, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plugin = Sticky("a")
        queue = plug(callbacks, plugin)
        start, refused = threading.Thread.start, threading.Event()

        def refuse(thread: threading.Thread) -> None:
            if thread.name == "thea-shop" and "a" in plugin.heard and not refused.is_set():
                refused.set()
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", refuse)
        hang(callbacks, "a")
        assert refused.wait(PATIENCE)
        tell(callbacks, "b")
        assert queue.flush(PATIENCE) == 0
        plugin.let_go()
        assert plugin.heard == ["a", "b"]
        assert totals(callbacks, "on_state_change") == {"queued": 1, "timeout": 1}

    @pytest.mark.parametrize("started", [False, True])
    def test_ctrl_c_in_the_midst_of_it_passes_and_the_queue_goes_on(
        self, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch, started: bool
    ) -> None:
        shop = Shop()
        queue = plug(callbacks, shop)
        start = threading.Thread.start

        def interrupt(thread: threading.Thread) -> None:
            if started or thread.name != "thea-shop":
                start(thread)
            if thread.name == "thea-shop":
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupt)
            with pytest.raises(KeyboardInterrupt):
                tell(callbacks, "a")
        tell(callbacks, "b")
        assert queue.flush(PATIENCE) == 0
        assert shop.heard == ["a", "b"]
        assert len(set(shop.threads)) == 1


class TestLifetime:
    @pytest.mark.parametrize("flushes", [False, True], ids=["without on_flush", "with on_flush"])
    def test_a_manager_that_is_dropped_leaves_no_thread(self, flushes: bool) -> None:
        threads: list[threading.Thread] = []
        done = threading.Event()

        def note() -> None:
            threads.append(threading.current_thread())
            done.set()

        manager = CallbackManager()
        plugin = hooks(on_message=note, on_flush=lambda: None) if flushes else hooks(on_message=note)
        queue = plug(manager, plugin, flush_interval=LONG)
        say(manager)
        assert done.wait(PATIENCE)
        manager.flush(PATIENCE)
        reference = weakref.ref(manager)
        del manager, plugin, queue
        # The thread may just be on its way to sleep; the look at its call, in two seconds, holds nothing.
        for _ in range(1000):
            gc.collect()
            threads[0].join(0.05)
            if not threads[0].is_alive():
                break
        assert not threads[0].is_alive()
        gc.collect()
        assert reference() is None

    def test_a_manager_that_is_dropped_delivers_what_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("thea_core.callbacks.queues._IDLE_SECONDS", 0.001)
        shop = Shop(hangs=True)
        manager = CallbackManager()
        plug(manager, shop)
        tell(manager, *"abc")
        assert shop.inside.wait(PATIENCE)
        del manager
        gc.collect()
        shop.go.set()
        shop.threads[0].join(PATIENCE)
        assert shop.heard == [*"abc"]

    def test_an_idle_thread_ends_after_a_while_and_another_is_started(
        self, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("thea_core.callbacks.queues._IDLE_SECONDS", 0.001)
        shop = Shop()
        plug(callbacks, shop)
        tell(callbacks, "a")
        callbacks.flush(PATIENCE)
        shop.threads[0].join(PATIENCE)
        assert not shop.threads[0].is_alive()
        tell(callbacks, "b")
        callbacks.flush(PATIENCE)
        assert shop.heard == ["a", "b"]
        assert shop.threads[0] is not shop.threads[1]

    def test_no_call_is_lost_where_threads_end_all_the_time(
        self, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("thea_core.callbacks.queues._IDLE_SECONDS", 1e-6)
        heard = threading.Semaphore(0)
        plug(callbacks, hooks(on_message=lambda: heard.release()))
        for _ in range(300):
            say(callbacks)
            assert heard.acquire(timeout=PATIENCE)

    def test_a_thread_that_sleeps_keeps_what_it_delivered_alive_no_more(self, callbacks: CallbackManager) -> None:
        class Thing:
            pass

        variable: contextvars.ContextVar[Thing] = contextvars.ContextVar("variable")
        thing = Thing()
        reference = weakref.ref(thing)
        queue = plug(callbacks, hooks(on_message=lambda: None))

        def fire(thing: Thing) -> None:
            variable.set(thing)
            say(callbacks)

        contextvars.Context().run(fire, thing)
        del thing
        queue.flush(PATIENCE)
        gone = threading.Event()
        weakref.finalize(reference(), gone.set) if reference() is not None else gone.set()
        for _ in range(1000):
            if gone.wait(0.01):
                break
        assert reference() is None


forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")


@forking
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
class TestFork:
    def test_the_childs_queue_is_fresh_and_the_parents_goes_on(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop)

        def check() -> bool:
            shop.go.set()
            assert queue.waiting == 0
            tell(callbacks, "child")
            assert callbacks.flush(PATIENCE) == 0
            return shop.heard == ["first", "child"] and callbacks.close(PATIENCE) == 0

        with hanging(callbacks, shop):
            tell(callbacks, "a")
            assert run_in_child(check)
            assert queue.waiting == 2
        assert callbacks.flush(PATIENCE) == 0
        assert shop.heard == ["first", "a"]

    def test_a_full_queue_is_empty_in_the_child_and_its_drops_are_the_parents(
        self, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop, queue_size=1)

        def check() -> bool:
            caplog.clear()
            shop.go.set()
            tell(callbacks, "child")
            callbacks.close(PATIENCE)
            return shop.heard == ["first", "child"] and not caplog.records

        with hanging(callbacks, shop):
            tell(callbacks, *"abc")
            assert run_in_child(check)
            assert queue.waiting == 2

    def test_no_lock_of_the_parents_is_waited_for(self, callbacks: CallbackManager) -> None:
        holding, go = threading.Event(), threading.Event()
        shop = Shop()
        queue = plug(callbacks, shop)
        say(callbacks)
        callbacks.flush(PATIENCE)
        locks = [queue._lock, queue._making._lock]  # noqa: SLF001 -- every lock of it

        def hold() -> None:
            for lock in locks:
                lock.acquire()
            holding.set()
            go.wait(PATIENCE)
            for lock in locks:
                lock.release()

        def check() -> bool:
            tell(callbacks, "child")
            return callbacks.flush(PATIENCE) == 0 and shop.heard == ["hola", "child"]

        thread = threading.Thread(target=hold)
        thread.start()
        assert holding.wait(PATIENCE)
        assert run_in_child(check)
        go.set()
        thread.join(PATIENCE)

    def test_where_three_hang_in_the_parent_the_child_delivers_and_doubles_nothing(
        self, callbacks: CallbackManager
    ) -> None:
        plugin = Sticky("a", "b", "c")

        def check() -> bool:
            plugin.heard.clear()
            tell(callbacks, "child")
            assert callbacks.flush(PATIENCE) == 0
            return plugin.heard == ["child"]

        with three_left_behind(callbacks, plugin):
            tell(callbacks, "d")
            assert run_in_child(check)
            assert plugin.heard == [*"abc"]
        assert callbacks.flush(PATIENCE) == 0
        assert plugin.heard == [*"abcd"]

    def test_a_delivery_that_forks_is_made_once_and_both_processes_go_on(self, callbacks: CallbackManager) -> None:
        children: list[int] = []

        def fork(message: str) -> None:
            if message != "fork":
                return
            child = os.fork()
            if child:
                children.append(child)
                return
            passed = False
            try:
                tell_in_child = contextvars.Context()
                tell_in_child.run(tell, callbacks, "child")
                left = callbacks.flush(PATIENCE)
                passed = left == 0 and queue.waiting == 0 and totals(callbacks, "fork").get("ok", 0) == 1
            finally:
                os._exit(0 if passed else 1)

        queue = plug(callbacks, hooks(on_message=fork))
        tell(callbacks, "fork", "after")
        assert callbacks.flush(PATIENCE) == 0
        assert os.waitpid(children[0], 0)[1] == 0
        assert totals(callbacks, "fork") == {"queued": 2, "ok": 2}

    def test_the_childs_copy_of_the_thread_that_forked_ends_with_its_call(self, callbacks: CallbackManager) -> None:
        """It makes no more calls, and writes no row: both are the parent's. Its process ends with it."""
        reading, writing = os.pipe()
        children: list[int] = []

        def fork(message: str) -> None:
            os.write(writing, f"{message} ".encode())
            if message == "fork":
                children.append(os.fork())

        plug(callbacks, hooks(on_message=fork))
        tell(callbacks, "fork", "after")
        assert callbacks.flush(PATIENCE) == 0
        os.waitpid(next(each for each in children if each), 0)
        os.close(writing)
        with os.fdopen(reading) as told:
            assert told.read() == "fork after "


class TestAPluginWithLimits:
    def test_the_defaults_are_those_of_the_reference(self) -> None:
        assert PluginLimits() == PluginLimits(timeout=None, delivery=None, queue_size=2048, flush_interval=5.0)
