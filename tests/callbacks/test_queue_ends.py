"""Flushing and closing queues: all is delivered and sent within one deadline, and what is left is told.

A body that hangs does so on an event that the test sets; nothing here is timed, and nothing waits by sleeping.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import math
import threading
from collections import Counter
from collections.abc import Iterator
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
    orders,
    plug,
    tell,
    totals,
)
from tests.callbacks.helpers import ctrl_c, say
from tests.support import FakeClock
from thea_core import (
    CallbackManager,
    CallRecord,
    hookimpl,
)
from thea_core.callbacks.runtime import PluginLimits


@pytest.fixture
def callbacks(clock: FakeClock) -> Iterator[CallbackManager]:
    with closed_afterwards(clock=clock) as manager:
        yield manager


class TestFlush:
    def test_it_waits_until_what_is_queued_has_been_delivered(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop)
        with hanging(callbacks, shop):
            tell(callbacks, *"ab")
            flush = queue.begin_flush(PATIENCE)
        assert queue.end_flush(flush) == 0
        assert shop.heard == ["first", "a", "b"]

    def test_it_does_not_wait_for_what_is_queued_afterwards(self, callbacks: CallbackManager) -> None:
        began, go = threading.Semaphore(0), threading.Semaphore(0)

        def hear() -> None:
            began.release()
            assert go.acquire(timeout=PATIENCE)

        queue = plug(callbacks, hooks(on_message=hear))
        say(callbacks)
        flush = queue.begin_flush(PATIENCE)
        say(callbacks)
        go.release()
        assert queue.end_flush(flush) == 0
        assert queue.waiting == 1
        go.release()

    def test_what_is_left_at_its_end_is_told(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        plug(callbacks, shop)
        with hanging(callbacks, shop):
            tell(callbacks, *"ab")
            assert callbacks.flush(0.0) == 3
        assert callbacks.flush(PATIENCE) == 0
        assert shop.heard == ["first", "a", "b"]

    def test_where_nothing_waits_it_returns_at_once_and_starts_nothing(self, callbacks: CallbackManager) -> None:
        plug(callbacks, Shop())
        before = set(threading.enumerate())
        assert callbacks.flush(PATIENCE) == 0
        assert set(threading.enumerate()) == before

    def test_queues_are_flushed_side_by_side(self, callbacks: CallbackManager) -> None:
        """The one that hangs uses up no time of the others, whichever comes first."""
        stuck, first, second = Shop(hangs=True), Batches(), Batches()
        plug(callbacks, first, "first", flush_interval=LONG)
        plug(callbacks, stuck, "stuck")
        plug(callbacks, second, "second", flush_interval=LONG)
        with hanging(callbacks, stuck):
            callbacks.flush(0.0)
            tell(callbacks, *"ab")
            wait = callbacks.begin_flush(PATIENCE)
            for each in (first, second):
                while "b" not in [message for batch in each.sent for message in batch]:
                    assert each.flushed.acquire(timeout=PATIENCE)
            assert stuck.heard == ["first"]
        assert wait() == 0

    def test_several_threads_at_once_wait_for_the_same(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop)
        lefts: list[int] = []
        begun = threading.Semaphore(0)

        def flush() -> None:
            request = queue.begin_flush(PATIENCE)
            begun.release()
            lefts.append(queue.end_flush(request))

        threads = [threading.Thread(target=flush) for _ in range(8)]
        with hanging(callbacks, shop):
            tell(callbacks, *"ab")
            for thread in threads:
                thread.start()
            for _ in threads:
                assert begun.acquire(timeout=PATIENCE)
        for thread in threads:
            thread.join(PATIENCE)
        assert lefts == [0] * 8
        assert shop.heard == ["first", "a", "b"]

    @pytest.mark.parametrize("kind", ["sync", "async", "one thread"])
    def test_a_delivery_that_flushes_does_not_wait_for_itself(self, callbacks: CallbackManager, kind: str) -> None:
        lefts = []

        def flush() -> None:
            lefts.append(callbacks.flush(PATIENCE))

        async def later() -> None:
            flush()

        plugin = hooks(on_message=later if kind == "async" else flush)
        if kind == "one thread":
            plugin.thread = "one"  # type: ignore[attr-defined]
        queue = plug(callbacks, plugin)
        say(callbacks)
        assert queue.flush(PATIENCE) == 0
        assert lefts == [1]  # itself

    def test_it_waits_for_others_all_the_same(self, callbacks: CallbackManager) -> None:
        other = Shop()
        heard = []

        def flush() -> None:
            callbacks.flush(PATIENCE)
            heard.extend(other.heard)

        plug(callbacks, other, "other")
        plug(callbacks, hooks(on_message=flush))
        say(callbacks)
        callbacks.flush(PATIENCE)
        assert heard == ["hola"]

    def test_two_deliveries_do_not_wait_for_each_other(self, callbacks: CallbackManager) -> None:
        """The one is delivered to because of the other, which waits for it."""
        lefts = []

        def outer() -> None:
            callbacks.trigger("on_state_change", user_id="ana", old_state="idle", new_state="processing")
            callbacks.flush(PATIENCE)

        def inner() -> None:
            lefts.append(callbacks.flush(PATIENCE))

        plug(callbacks, hooks(on_message=outer), "outer")
        plug(callbacks, hooks(on_state_change=inner), "inner")
        say(callbacks)
        callbacks.flush(PATIENCE)
        assert len(lefts) == 1

    def test_ctrl_c_while_it_waits_passes_and_leaves_nothing_behind(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop)
        with hanging(callbacks, shop):
            with pytest.raises(KeyboardInterrupt), ctrl_c(shop.inside):
                callbacks.flush(PATIENCE)
            assert queue.flush(0.0) == 1
        assert queue.flush(PATIENCE) == 0


class TestClose:
    def test_all_is_delivered_and_the_thread_ends(self, callbacks: CallbackManager) -> None:
        shop = Shop()
        plug(callbacks, shop)
        tell(callbacks, *"abc")
        assert callbacks.close(PATIENCE) == 0
        assert shop.heard == [*"abc"]
        shop.threads[0].join(PATIENCE)
        assert not shop.threads[0].is_alive()

    def test_what_is_left_at_its_end_is_told_and_dropped(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop)
        with hanging(callbacks, shop):
            tell(callbacks, *"ab")
            assert callbacks.close(0.0) == 3
            assert queue.waiting == 1  # the one that hangs
        assert queue.flush(PATIENCE) == 0
        assert shop.heard == ["first"]
        assert totals(callbacks) == {"queued": 3, "ok": 1, "dropped": 2}
        assert [each.error for each in callbacks.history if each.outcome == "dropped"] == [
            "its queue was closed before its turn"
        ] * 2

    def test_an_observer_is_told_what_became_of_each_call_also_of_those_that_were_dropped(
        self, callbacks: CallbackManager
    ) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop, queue_size=2)
        records: list[CallRecord] = []
        callbacks.add_observer(records.append)
        with hanging(callbacks, shop):
            tell(callbacks, *"abcd")
            callbacks.close(0.0)
        assert queue.flush(PATIENCE) == 0
        told = Counter((each.callbacks[0].outcome, each.delivery) for each in records)
        assert told == {("queued", False): 3, ("dropped", False): 2, ("dropped", True): 2, ("ok", True): 1}

    def test_a_plugin_that_hangs_uses_up_no_time_of_the_others(self, callbacks: CallbackManager) -> None:
        stuck, other = Shop(hangs=True), Batches()
        plug(callbacks, stuck, "stuck")
        plug(callbacks, other, "other", flush_interval=LONG)
        lefts: list[int] = []
        closing = threading.Thread(target=lambda: lefts.append(callbacks.close(PATIENCE)))
        with hanging(callbacks, stuck):
            tell(callbacks, "a")
            closing.start()
            while "a" not in [message for batch in other.sent for message in batch]:
                assert other.flushed.acquire(timeout=PATIENCE)
            assert lefts == []
        closing.join(PATIENCE)
        assert lefts == [0]

    def test_what_is_put_while_it_closes_is_delivered_too(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop)
        with hanging(callbacks, shop):
            flush = queue.begin_flush(PATIENCE, everything=True)
            tell(callbacks, *"ab")
        assert queue.end_drain(flush) == 0
        assert shop.heard == ["first", "a", "b"]

    def test_a_flood_does_not_hold_it_up(self, callbacks: CallbackManager) -> None:
        """Each delivery puts the next call: there is no end but the deadline."""
        callbacks.add_hookspecs(orders(1))
        on, off = threading.Event(), threading.Event()

        def again() -> None:
            on.set()
            if not off.is_set():
                contextvars.Context().run(callbacks.trigger, "on_order_0")

        queue = plug(callbacks, hooks(on_order_0=again))
        callbacks.trigger("on_order_0")
        assert on.wait(PATIENCE)
        callbacks.close(SHORT)  # it comes back
        off.set()
        assert queue.flush(PATIENCE) == 0

    def test_what_is_put_afterwards_is_delivered_by_a_thread_that_ends_at_once(
        self, callbacks: CallbackManager
    ) -> None:
        shop = Shop()
        plug(callbacks, shop)
        tell(callbacks, "a")
        callbacks.close(PATIENCE)
        tell(callbacks, "b")
        assert callbacks.flush(PATIENCE) == 0
        assert shop.heard == ["a", "b"]
        shop.threads[1].join(PATIENCE)
        assert not shop.threads[1].is_alive()

    def test_several_threads_may_close_at_once(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        plug(callbacks, shop)
        lefts: list[int] = []
        threads = [threading.Thread(target=lambda: lefts.append(callbacks.close(PATIENCE))) for _ in range(8)]
        with hanging(callbacks, shop):
            tell(callbacks, *"ab")
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert lefts == [0] * 8
        assert shop.heard == ["first", "a", "b"]

    def test_who_flushes_longer_is_told_what_was_dropped_meanwhile(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop)
        with hanging(callbacks, shop):
            tell(callbacks, "a")
            flush = queue.begin_flush(PATIENCE)
            tell(callbacks, "b")
            later = queue.begin_flush(PATIENCE)
            assert queue.drain(0.0) == 3
        assert queue.end_flush(flush) == 1
        assert queue.end_flush(later) == 2

    def test_a_delivery_that_closes_does_not_wait_for_itself_and_drops_nothing_of_its_own(
        self, callbacks: CallbackManager
    ) -> None:
        heard: list[Any] = []
        shop = Shop(hangs=True)

        def close(message: str) -> None:
            shop.on_message(message)
            heard.append((message, callbacks.close(PATIENCE)))

        queue = plug(callbacks, hooks(on_message=close))
        with hanging(callbacks, shop):
            tell(callbacks, "a")
        assert queue.flush(PATIENCE) == 0
        assert heard == [("first", 2), ("a", 1)]


class Batches:
    """A plugin that gathers what it hears, and sends it when it is told to flush."""

    delivery = "background"

    def __init__(self, *, hangs: bool = False) -> None:
        self.gathered: list[str] = []
        self.sent: list[list[str]] = []
        self.seconds: list[float] = []
        self.threads: list[threading.Thread] = []
        self.inside = threading.Event()
        self.go = threading.Event()
        self.flushed = threading.Semaphore(0)
        if not hangs:
            self.go.set()

    @hookimpl
    def on_message(self, message: str) -> None:
        self.gathered.append(message)
        self.threads.append(threading.current_thread())
        self.inside.set()
        assert self.go.wait(PATIENCE)

    @hookimpl(timeout=7.0)
    def on_flush(self, timeout: float) -> None:
        self.seconds.append(timeout)
        self.threads.append(threading.current_thread())
        self.sent.append(self.gathered)
        self.gathered = []
        self.flushed.release()


class TestOnFlush:
    def test_it_is_called_when_the_queue_runs_empty_on_its_thread(self, callbacks: CallbackManager) -> None:
        plugin = Batches(hangs=True)
        plug(callbacks, plugin, flush_interval=LONG)
        tell(callbacks, *"abc")
        assert plugin.sent == []
        plugin.go.set()
        assert plugin.flushed.acquire(timeout=PATIENCE)
        assert plugin.sent == [["a", "b", "c"]]
        assert plugin.seconds == [7.0]  # its own limit
        assert len(set(plugin.threads)) == 1

    def test_to_an_observer_it_is_no_delivery_of_a_call_that_was_queued(self, callbacks: CallbackManager) -> None:
        records: list[CallRecord] = []
        callbacks.add_observer(records.append)
        plug(callbacks, Batches(), flush_interval=LONG)
        tell(callbacks, "a")
        assert callbacks.flush(PATIENCE) == 0
        told = {(each.hook, each.callbacks[0].outcome, each.delivery) for each in records}
        assert told == {("on_message", "queued", False), ("on_message", "ok", True), ("on_flush", "ok", False)}

    def test_it_is_told_the_operators_limit_or_else_the_interval(self, callbacks: CallbackManager) -> None:
        limited, unlimited = Batches(), Batches()
        plug(callbacks, limited, "limited", flush_interval=LONG, timeout=3.0)
        plug(callbacks, unlimited, "unlimited", flush_interval=LONG, timeout=math.inf)
        say(callbacks)
        assert limited.flushed.acquire(timeout=PATIENCE)
        assert unlimited.flushed.acquire(timeout=PATIENCE)
        assert (limited.seconds, unlimited.seconds) == ([3.0], [LONG])

    def test_it_is_called_every_interval_once_the_thread_runs(self, callbacks: CallbackManager) -> None:
        plugin = Batches()
        plug(callbacks, plugin, flush_interval=0.005)
        say(callbacks)
        for _ in range(4):
            assert plugin.flushed.acquire(timeout=PATIENCE)
        assert sorted(plugin.sent[:4]) == [[], [], [], ["hola"]]

    def test_also_while_the_queue_never_runs_empty_and_deliveries_go_on_meanwhile(
        self, callbacks: CallbackManager
    ) -> None:
        """Even where on_flush itself takes longer than its interval."""
        order: list[str] = []
        over = threading.Event()

        def hear() -> None:
            order.append("message")
            if order.count("on_flush") >= 3:
                over.set()
            else:
                contextvars.Context().run(callbacks.trigger, "on_order_0")
                contextvars.Context().run(callbacks.trigger, "on_order_0")

        def on_flush() -> None:
            order.append("on_flush")
            threading.Event().wait(0.002)  # it takes a while: more than its interval

        callbacks.add_hookspecs(orders(1))
        plug(callbacks, hooks(on_order_0=hear, on_flush=on_flush), flush_interval=0.001, queue_size=10)
        callbacks.trigger("on_order_0")
        assert over.wait(PATIENCE)
        for before, after in itertools.pairwise(order[: order.index("on_flush")]):
            assert (before, after) != ("on_flush", "on_flush")

    def test_flush_calls_it_and_tells_it_the_seconds_that_are_left(self, callbacks: CallbackManager) -> None:
        plugin = Batches(hangs=True)
        queue = plug(callbacks, plugin, flush_interval=LONG)
        tell(callbacks, *"ab")
        flush = queue.begin_flush(PATIENCE)
        plugin.go.set()
        assert queue.end_flush(flush) == 0
        assert plugin.sent == [["a", "b"]]
        assert 0 < plugin.seconds[0] <= PATIENCE
        assert plugin.seconds[0] != 7.0

    def test_also_where_nothing_waits(self, callbacks: CallbackManager) -> None:
        plugin = Batches()
        plug(callbacks, plugin, flush_interval=LONG)
        plugin.gathered.append("from another hook")
        assert callbacks.flush(PATIENCE) == 0
        assert plugin.sent == [["from another hook"]]

    def test_several_that_flush_at_once_share_one_call(self, callbacks: CallbackManager) -> None:
        plugin = Batches(hangs=True)
        queue = plug(callbacks, plugin, flush_interval=LONG)
        say(callbacks)
        assert plugin.inside.wait(PATIENCE)
        flushes = [queue.begin_flush(PATIENCE) for _ in range(5)]
        plugin.go.set()
        assert [queue.end_flush(each) for each in flushes] == [0] * 5
        assert plugin.sent == [["hola"]]

    def test_close_calls_it_and_a_second_close_does_not(self, callbacks: CallbackManager) -> None:
        plugin = Batches()
        plug(callbacks, plugin, flush_interval=LONG)
        plugin.gathered.append("from another hook")
        callbacks.close(PATIENCE)
        callbacks.close(PATIENCE)
        assert plugin.sent == [["from another hook"]]

    def test_what_is_put_after_the_close_is_flushed_too(self, callbacks: CallbackManager) -> None:
        plugin = Batches()
        plug(callbacks, plugin, flush_interval=LONG)
        callbacks.close(PATIENCE)
        say(callbacks)
        assert callbacks.flush(PATIENCE) == 0
        assert plugin.sent == [[], ["hola"]]

    def test_what_comes_while_it_flushes_for_a_close_is_delivered_and_flushed_again(
        self, callbacks: CallbackManager
    ) -> None:
        inside, go = threading.Event(), threading.Event()
        plugin = Batches()
        send = plugin.on_flush

        def on_flush(timeout: float) -> None:
            send(timeout)
            inside.set()
            assert go.wait(PATIENCE)

        queue = plug(callbacks, hooks(on_message=plugin.on_message, on_flush=on_flush), flush_interval=LONG)
        say(callbacks)
        assert inside.wait(PATIENCE)
        flush = queue.begin_flush(PATIENCE, everything=True)
        say(callbacks)
        go.set()
        assert queue.end_drain(flush) == 0
        assert plugin.sent[:2] == [["hola"], ["hola"]]

    def test_it_may_be_asynchronous(self, callbacks: CallbackManager) -> None:
        sent = []

        async def hear(message: str) -> None:
            sent.append(message)

        async def on_flush(timeout: float) -> None:  # noqa: ASYNC109 -- the hook's own
            await asyncio.sleep(0)
            sent.append((threading.current_thread().name, timeout))

        plug(callbacks, hooks(on_message=hear, on_flush=on_flush), flush_interval=LONG, timeout=4.0)
        say(callbacks)
        callbacks.close(PATIENCE)
        assert sent[0] == "hola"
        assert sent[1][0] == "thea-shop"

    def test_it_may_name_no_argument_or_only_by_keyword(self, callbacks: CallbackManager) -> None:
        told: list[Any] = []
        plug(callbacks, hooks(on_flush=lambda: told.append("none")), "first", flush_interval=LONG)
        plug(callbacks, hooks(on_flush=lambda *, timeout: told.append(timeout > 0)), "second", flush_interval=LONG)
        plug(callbacks, hooks(on_flush=lambda **rest: told.append([*rest])), "third", flush_interval=LONG)
        callbacks.flush(PATIENCE)
        assert sorted(told, key=str) == [True, ["timeout"], "none"]

    def test_one_that_raises_is_an_error_and_is_called_again(self, callbacks: CallbackManager) -> None:
        called = threading.Semaphore(0)

        def on_flush() -> None:
            called.release()
            raise SystemExit

        plug(callbacks, hooks(on_flush=on_flush), flush_interval=LONG)
        for _ in range(2):
            assert callbacks.flush(PATIENCE) == 0
            assert called.acquire(timeout=PATIENCE)
        assert totals(callbacks, "on_flush") == {"error": 2}

    def test_one_whose_breaker_is_open_is_skipped(self, callbacks: CallbackManager) -> None:
        plug(callbacks, hooks(on_message=lambda: None, on_flush=lambda: 1 / 0), flush_interval=LONG)
        for _ in range(7):
            assert callbacks.flush(PATIENCE) == 0
        assert totals(callbacks, "<lambda>") == {"error": 5, "skipped": 2}

    def test_it_may_flush_itself_and_waits_for_nothing(self, callbacks: CallbackManager) -> None:
        lefts = []

        def on_flush() -> None:
            lefts.append(callbacks.flush(PATIENCE))

        plug(callbacks, hooks(on_flush=on_flush), flush_interval=LONG)
        assert callbacks.flush(PATIENCE) == 0
        assert lefts == [0]

    def test_a_flush_whose_time_is_up_before_its_turn_calls_nothing(self, callbacks: CallbackManager) -> None:
        plugin = Batches(hangs=True)
        queue = plug(callbacks, plugin, flush_interval=LONG)
        say(callbacks)
        assert plugin.inside.wait(PATIENCE)
        late = queue.begin_flush(0.0)
        plugin.go.set()
        assert plugin.flushed.acquire(timeout=PATIENCE)
        assert late.done.wait(PATIENCE)
        queue.end_flush(late)
        assert plugin.seconds == [7.0]  # because the queue ran empty, and in its own time

    def test_a_plugin_without_a_queue_is_not_asked(self, callbacks: CallbackManager) -> None:
        plugin = Batches()
        callbacks.publish_plugins(
            [callbacks.bind_plugin(plugin, "shop", source=3, position=0, limits=PluginLimits(delivery="inline"))]
        )
        say(callbacks)
        callbacks.flush(PATIENCE)
        callbacks.close(PATIENCE)
        assert plugin.sent == []
