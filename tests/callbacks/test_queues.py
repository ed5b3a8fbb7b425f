"""Putting events on a queue: the caller never waits, exactly as many wait as may, and each call has its rows.

A body that hangs does so on an event that the test sets; nothing here is timed, and nothing waits by sleeping.
"""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.callbacks.background import (
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
from tests.callbacks.helpers import asay, outcomes, say
from tests.support import FakeClock
from thea_core import (
    CallbackManager,
    RegistrationError,
    hookimpl,
)
from thea_core.callbacks.runtime import PluginLimits


@pytest.fixture
def callbacks(clock: FakeClock) -> Iterator[CallbackManager]:
    with closed_afterwards(clock=clock) as manager:
        yield manager


class TestPutting:
    def test_the_call_is_made_on_a_daemon_thread_of_the_plugin(self, callbacks: CallbackManager) -> None:
        shop = Shop()
        plug(callbacks, shop)
        tell(callbacks, "hola")
        assert callbacks.flush(PATIENCE) == 0
        assert shop.heard == ["hola"]
        assert (shop.threads[0].name, shop.threads[0].daemon) == ("thea-shop", True)

    def test_the_caller_does_not_wait_and_the_order_is_kept(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        plug(callbacks, shop)
        numbers = [str(number) for number in range(1000)]
        with hanging(callbacks, shop):
            tell(callbacks, *numbers)
            asyncio.run(asay(callbacks))
            assert shop.heard == ["first"]
        assert callbacks.flush(PATIENCE) == 0
        assert shop.heard == ["first", *numbers, "hola"]

    def test_one_thread_makes_all_calls_of_a_plugin_and_another_one_those_of_the_next(
        self, callbacks: CallbackManager
    ) -> None:
        first, second = Shop(), Shop()
        plug(callbacks, first, "first")
        plug(callbacks, second, "second")
        tell(callbacks, *"abc")
        callbacks.flush(PATIENCE)
        assert len(set(first.threads)) == len(set(second.threads)) == 1
        assert set(first.threads) != set(second.threads)

    def test_all_events_of_a_plugin_stand_in_one_queue(self, callbacks: CallbackManager) -> None:
        heard = []
        queue = plug(
            callbacks,
            hooks(
                on_message=lambda message: heard.append(message),
                on_state_change=lambda new_state: heard.append(new_state),
            ),
        )
        for number in range(20):
            tell(callbacks, f"message {number}")
            callbacks.trigger("on_state_change", user_id="ana", old_state="idle", new_state=f"state {number}")
        assert queue.flush(PATIENCE) == 0
        assert heard == [f"{what} {number}" for number in range(20) for what in ("message", "state")]

    def test_a_plugin_that_asks_for_nothing_is_called_in_the_call(self, callbacks: CallbackManager) -> None:
        threads = []

        class Plain:
            @hookimpl(timeout=None)
            def on_message(self) -> None:
                threads.append(threading.current_thread())

        callbacks.publish_plugins([callbacks.bind_plugin(Plain(), "plain", source=3, position=0)])
        say(callbacks)
        assert threads == [threading.current_thread()]

    def test_the_operators_word_replaces_the_plugins(self, callbacks: CallbackManager) -> None:
        shop = Shop()
        binding = callbacks.bind_plugin(shop, "shop", source=3, position=0, limits=PluginLimits(delivery="inline"))
        callbacks.publish_plugins([binding])
        assert binding.runtime.queue is None
        say(callbacks)
        assert outcomes(callbacks) == [("on_message", "ok")]

    def test_delivery_must_be_one_of_the_three(self, callbacks: CallbackManager) -> None:
        shop = Shop()
        shop.delivery = "later"
        with pytest.raises(
            RegistrationError, match="delivery is 'later'; it must be 'inline', 'background' or 'durable'"
        ):
            plug(callbacks, shop)

    def test_a_call_that_is_put_while_the_runner_falls_asleep_wakes_it(self, callbacks: CallbackManager) -> None:
        """Again and again the queue runs empty at about the time of the next put."""
        semaphore = threading.Semaphore(0)
        plug(callbacks, hooks(on_message=lambda: semaphore.release()))
        for _ in range(500):
            say(callbacks)
            assert semaphore.acquire(timeout=PATIENCE)

    def test_a_finalizer_that_fires_an_event_within_does_not_wait_for_itself(self, callbacks: CallbackManager) -> None:
        """Nor a signal handler: both may run between any two steps, in the thread that holds the lock."""
        shop = Shop()
        queue = plug(callbacks, shop, queue_size=1)
        with queue._lock:  # noqa: SLF001 -- where they run cannot be arranged from outside
            tell(callbacks, *"abc")
        callbacks.flush(PATIENCE)
        assert shop.heard[0] == "a"


class TestAFullQueue:
    def test_exactly_as_many_wait_as_may(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop, queue_size=3)
        with hanging(callbacks, shop):
            tell(callbacks, *"abcde")
            assert queue.waiting == 4
        callbacks.flush(PATIENCE)
        assert shop.heard == ["first", *"abc"]
        assert totals(callbacks) == {"queued": 4, "ok": 4, "dropped": 2}

    def test_there_is_room_again_as_soon_as_a_call_begins(self, callbacks: CallbackManager) -> None:
        began, go = threading.Semaphore(0), threading.Semaphore(0)
        heard = []

        def hear(message: str) -> None:
            heard.append(message)
            began.release()
            assert go.acquire(timeout=PATIENCE)

        plug(callbacks, hooks(on_message=hear), queue_size=1)
        for message in "abcd":
            tell(callbacks, message)
            if message != "a":
                go.release()
            assert began.acquire(timeout=PATIENCE)
        go.release()
        callbacks.flush(PATIENCE)
        assert heard == [*"abcd"]

    def test_eight_threads_at_once_put_exactly_as_many(self, callbacks: CallbackManager) -> None:
        interval = sys.getswitchinterval()
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop, queue_size=50)
        start = threading.Barrier(8)

        def flood(number: int) -> None:
            start.wait(PATIENCE)
            tell(callbacks, *(f"{number}/{count}" for count in range(100)))

        threads = [threading.Thread(target=flood, args=(number,)) for number in range(8)]
        sys.setswitchinterval(1e-6)
        try:
            with hanging(callbacks, shop):
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(PATIENCE)
                assert queue.waiting == 51
        finally:
            sys.setswitchinterval(interval)
        assert callbacks.flush(PATIENCE) == 0
        assert totals(callbacks) == {"queued": 51, "ok": 51, "dropped": 750}
        for number in range(8):  # what one thread put stands in its order
            counts = [int(each.partition("/")[2]) for each in shop.heard if each.startswith(f"{number}/")]
            assert counts == sorted(counts)
        assert len(set(shop.heard)) == 51

    def test_of_several_that_took_the_last_place_the_later_ones_leave(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        queue = plug(callbacks, shop, queue_size=1)
        with hanging(callbacks, shop):
            tell(callbacks, "a")
            calls = queue._items  # noqa: SLF001 -- what two threads do at once cannot be arranged from outside
            late: Any = (calls[0][0], ("late",), None, (), contextvars.copy_context())
            calls.append(late)
            assert not queue._take_out(calls[0])  # noqa: SLF001 -- the same
            assert queue._take_out(late)  # noqa: SLF001 -- the same
            assert not queue._take_out(late)  # noqa: SLF001 -- the same
        callbacks.flush(PATIENCE)
        assert shop.heard == ["first", "a"]

    def test_each_dropped_call_has_a_row(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        plug(callbacks, shop, queue_size=1)
        with hanging(callbacks, shop):
            tell(callbacks, "a", "b")
            assert [(each.outcome, each.error) for each in callbacks.history][-1] == ("dropped", "its queue is full")

    def test_other_callbacks_of_the_chain_run_all_the_same(self, callbacks: CallbackManager) -> None:
        heard = []
        shop = Shop(hangs=True)
        plug(callbacks, shop, queue_size=1)
        callbacks.register("on_message", lambda message: heard.append(message), priority=-1)
        with hanging(callbacks, shop):
            tell(callbacks, *"abc")
        assert heard == ["first", *"abc"]


class TestReportsOfDroppedCalls:
    @pytest.fixture
    def reports(self, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
        caplog.set_level(logging.WARNING, "thea_core.callbacks")
        return lambda: [each.getMessage() for each in caplog.records if "dropped" in each.getMessage()]

    def test_they_name_the_plugin_and_come_at_most_once_a_minute(
        self, callbacks: CallbackManager, clock: FakeClock, reports: Callable[[], list[str]]
    ) -> None:
        shop = Shop(hangs=True)
        plug(callbacks, shop, queue_size=1)
        with hanging(callbacks, shop):
            tell(callbacks, "waits")
            for _ in range(59):
                tell(callbacks, *"abcdefghij")
                clock.advance(1)
            assert len(reports()) == 1
            clock.advance(1)
            tell(callbacks, "k")
        text = "plugin 'shop': its queue of 1 calls is full; %d dropped since the last report"
        assert reports() == [text % 1, text % 590]

    def test_what_was_dropped_last_is_told_when_the_plugin_goes_on_and_a_minute_is_over(
        self, callbacks: CallbackManager, clock: FakeClock, reports: Callable[[], list[str]]
    ) -> None:
        shop = Shop(hangs=True)
        plug(callbacks, shop, queue_size=1)
        with hanging(callbacks, shop):
            tell(callbacks, "waits", *"abc")
            clock.advance(60)
            assert len(reports()) == 1
        callbacks.flush(PATIENCE)
        assert [each.rpartition("; ")[2] for each in reports()] == [
            "1 dropped since the last report",
            "2 dropped since the last report",
        ]

    def test_or_when_the_queue_is_closed(self, callbacks: CallbackManager, reports: Callable[[], list[str]]) -> None:
        shop = Shop(hangs=True)
        plug(callbacks, shop, queue_size=1)
        with hanging(callbacks, shop):
            tell(callbacks, "waits", *"abc")
        callbacks.close(PATIENCE)
        callbacks.close(PATIENCE)
        assert len(reports()) == 2
        assert "2 dropped" in reports()[1]

    def test_a_queue_that_drops_nothing_says_nothing(
        self, callbacks: CallbackManager, clock: FakeClock, reports: Callable[[], list[str]]
    ) -> None:
        plug(callbacks, Shop())
        for _ in range(3):
            say(callbacks)
            clock.advance(61)
            callbacks.flush(PATIENCE)
        callbacks.close(PATIENCE)
        assert reports() == []


class TestRows:
    def test_the_trigger_has_a_row_and_the_delivery_another(self, callbacks: CallbackManager, clock: FakeClock) -> None:
        records = []
        callbacks.add_observer(records.append)
        shop = Shop(hangs=True)
        plug(callbacks, shop)
        with hanging(callbacks, shop):
            clock.advance(5)
        callbacks.flush(PATIENCE)
        assert [
            (each.hook, each.callbacks[0].plugin, each.callbacks[0].outcome, each.delivery) for each in records
        ] == [
            ("on_message", "shop", "queued", False),
            ("on_message", "shop", "ok", True),
        ]
        assert records[1].duration == 5.0
        assert [each.outcome for each in callbacks.history] == ["queued", "ok"]

    @pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError])
    def test_a_delivery_that_raises_is_an_error_and_the_next_goes_on(
        self, callbacks: CallbackManager, kind: type[BaseException], caplog: pytest.LogCaptureFixture
    ) -> None:
        heard = []

        def fail(message: str) -> None:
            heard.append(message)
            raise kind("no")

        plug(callbacks, hooks(on_message=fail))
        tell(callbacks, *"abc")
        assert callbacks.flush(PATIENCE) == 0
        assert heard == [*"abc"]
        assert totals(callbacks, "fail") == {"queued": 3, "error": 3}
        (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
        assert record.exc_info is not None
        assert kind.__name__ in record.getMessage()

    def test_a_delivery_that_hangs_is_a_timeout(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        plug(callbacks, shop, timeout=SHORT)
        with hanging(callbacks, shop):
            callbacks.flush(PATIENCE)
            assert totals(callbacks) == {"queued": 1, "timeout": 1}

    def test_a_delivery_whose_breaker_is_open_is_skipped_and_the_queue_drains(
        self, callbacks: CallbackManager, clock: FakeClock
    ) -> None:
        heard = []

        def fail(message: str) -> None:
            heard.append(message)
            if len(heard) <= 5:
                raise ValueError

        queue = plug(callbacks, hooks(on_message=fail))
        tell(callbacks, *"abcdefgh")
        assert queue.flush(PATIENCE) == 0
        assert heard == [*"abcde"]
        assert totals(callbacks, "fail") == {"queued": 8, "error": 5, "skipped": 3}
        assert [each.error for each in callbacks.history][-1] == "CallbackSkippedError: its circuit breaker is open"
        clock.advance(30)
        tell(callbacks, *"ijk")
        queue.flush(PATIENCE)
        assert heard == [*"abcdeijk"]  # the first of them was the probe
        assert totals(callbacks, "fail") == {"queued": 11, "error": 5, "skipped": 3, "ok": 3}

    def test_without_a_history_all_goes_on_without_rows(self, clock: FakeClock) -> None:
        callbacks = CallbackManager(clock=clock, history_size=0)
        shop = Shop()
        plug(callbacks, shop, queue_size=2)
        tell(callbacks, "a")
        assert callbacks.close(PATIENCE) == 0
        assert shop.heard == ["a"]
        assert len(callbacks.history) == 0

    def test_an_observer_that_raises_holds_nothing_up(self, callbacks: CallbackManager) -> None:
        def observe(record: Any) -> None:
            if record.callbacks[0].outcome != "queued":
                raise KeyboardInterrupt  # which passes out of all that is done around a delivery

        shop = Shop()
        queue = plug(callbacks, shop)
        with callbacks.add_observer(observe):
            tell(callbacks, *"abc")
            assert queue.flush(PATIENCE) == 0
        assert shop.heard == [*"abc"]
        assert queue.waiting == 0
