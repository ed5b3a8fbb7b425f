"""What has been called: records, exact totals, the ring, observers."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.callbacks.helpers import MESSAGE, NOW, outcomes, plug, say
from tests.support import FakeClock
from thea_core import (
    CallbackManager,
    CallbackRecord,
    CallbackTotals,
    CallRecord,
    FSMEngine,
    HistoryRecord,
    RegistrationError,
    hookimpl,
)
from thea_core.callbacks.history import Log


def greet() -> None: ...


def fail() -> None:
    raise ValueError("the reason")


def log_of(callbacks: CallbackManager) -> Log:
    """Return the log of the one chain that has callbacks."""
    (log,) = [each for each in callbacks.recorder._logs.values() if each.shape.calls]  # noqa: SLF001 -- not public
    return log


class TestRecords:
    def test_a_record_tells_hook_callback_plugin_start_duration_and_outcome(self, clock: FakeClock) -> None:
        callbacks = CallbackManager(clock=clock)
        clock.advance(10)
        callbacks.register("on_message", lambda: clock.advance(0.25))
        callbacks.register("on_message", fail)
        say(callbacks)
        first, second = callbacks.history
        assert (first.hook, first.plugin, first.duration, first.outcome, first.error) == (
            "on_message",
            "local",
            0.25,
            "ok",
            None,
        )
        assert first.start == NOW + timedelta(seconds=10)
        assert second == HistoryRecord(
            hook="on_message",
            callback="fail",
            plugin="local",
            start=NOW + timedelta(seconds=10.25),
            duration=0.0,
            outcome="error",
            error="ValueError: the reason",
        )

    def test_the_duration_of_a_coroutine_includes_its_waiting(
        self, clock: FakeClock, callbacks: CallbackManager
    ) -> None:
        async def wait() -> None:
            clock.advance(2)
            await asyncio.sleep(0)
            clock.advance(1)

        timed = CallbackManager(clock=clock)
        timed.register("on_message", wait)
        say(timed)
        timed.close()
        assert timed.history[0].duration == 3.0

    def test_the_time_of_a_wrapper_is_its_own_without_that_of_what_it_surrounds(self, clock: FakeClock) -> None:
        class Plugin:
            @hookimpl(wrapper=True)
            def on_message(self) -> Any:
                clock.advance(1)
                yield
                clock.advance(2)

        callbacks = CallbackManager(clock=clock)
        plug(callbacks, Plugin())
        callbacks.register("on_message", lambda: clock.advance(10))
        say(callbacks)
        assert [each.duration for each in callbacks.history] == [3.0, 10.0]

    def test_the_history_is_a_sequence_oldest_first(self, callbacks: CallbackManager) -> None:
        callbacks.register("on_message", greet)
        callbacks.register("on_error", fail)
        say(callbacks)
        callbacks.trigger("on_error", user_id="ana", error=ValueError(), traceback="")
        history = callbacks.history
        assert len(history) == 2
        assert [each.hook for each in history] == ["on_message", "on_error"]
        assert history[-1].hook == "on_error"
        assert history[:1] == [history[0]]
        assert repr(history) == "<History: 2 calls>"

    def test_a_row_holds_strings_and_numbers_but_no_exception_and_no_message(
        self, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class OwnError(Exception):
            pass

        errors = []

        def fail_with_a_large_exception() -> None:
            error = OwnError("kept short " + "x" * 10_000)
            errors.append(weakref.ref(error))
            raise error

        monkeypatch.setattr(logging.getLogger("thea_core.callbacks"), "disabled", True)  # pytest keeps what is logged
        callbacks.register("on_message", fail_with_a_large_exception)
        callbacks.trigger("on_message", **{**MESSAGE, "message": "a secret"})
        gc.collect()
        assert errors[0]() is None
        (record,) = callbacks.history
        assert len(record.error) < 1000
        assert "secret" not in repr(record)

    def test_an_event_without_callbacks_leaves_no_record(self, callbacks: CallbackManager) -> None:
        say(callbacks)
        assert len(callbacks.history) == 0
        assert callbacks.history.totals() == {}


class TestRing:
    @given(size=st.integers(1, 20), calls=st.integers(0, 40))
    def test_it_holds_the_last_calls_of_chains(self, size: int, calls: int) -> None:
        callbacks, clock = CallbackManager(history_size=size), iter(range(calls))
        callbacks.register("on_message", lambda user_id: None)
        callbacks.register("on_message", lambda user_id: next(clock))
        for _ in range(calls):
            say(callbacks)
        assert len(callbacks.history) == 2 * min(size, calls)

    def test_the_newest_are_kept(self, clock: FakeClock) -> None:
        callbacks = CallbackManager(history_size=3, clock=clock)
        callbacks.register("on_message", lambda: clock.advance(1))
        for _ in range(2000):
            say(callbacks)
        assert [each.start - NOW for each in callbacks.history] == [
            timedelta(seconds=each) for each in (1997, 1998, 1999)
        ]

    def test_it_is_one_for_all_hooks(self, callbacks: CallbackManager) -> None:
        small = CallbackManager(history_size=2)
        small.register("on_message", greet)
        small.register("on_error", greet)
        for _ in range(3):
            say(small)
        small.trigger("on_error", user_id="ana", error=ValueError(), traceback="")
        assert [each.hook for each in small.history] == ["on_message", "on_error"]

    def test_what_leaves_it_leaves_memory(self) -> None:
        callbacks = CallbackManager(history_size=10)
        callbacks.register("on_message", greet)
        for _ in range(5000):
            say(callbacks)
        assert len(log_of(callbacks).values) < 5000

    def test_size_0_keeps_neither_rows_nor_counts(self) -> None:
        callbacks = CallbackManager(history_size=0)
        callbacks.register("on_message", fail)
        say(callbacks)
        assert list(callbacks.history) == []
        assert len(callbacks.history) == 0
        assert callbacks.history.totals() == {}


class TestTotals:
    def test_they_count_each_outcome_and_add_up_the_time(self, clock: FakeClock) -> None:
        callbacks = CallbackManager(clock=clock)

        def sometimes(user_id: str) -> None:
            clock.advance(0.5)
            if user_id == "bad":
                raise ValueError

        callbacks.register("on_message", sometimes)
        for user_id in ("ana", "bad", "ana"):
            callbacks.trigger("on_message", **{**MESSAGE, "user_id": user_id})
        name = sometimes.__qualname__
        assert callbacks.history.totals() == {("on_message", "local", name): CallbackTotals({"ok": 2, "error": 1}, 1.5)}

    @pytest.mark.parametrize("calls", [999, 1000, 1600, 5000])
    def test_they_are_exact_beyond_the_ring(self, calls: int) -> None:
        callbacks = CallbackManager(history_size=100)

        def sometimes(message: int) -> None:
            if message % 7 == 0:
                raise ValueError

        callbacks.register("on_message", sometimes)
        for number in range(1, calls + 1):
            callbacks.trigger("on_message", **{**MESSAGE, "message": number})
        (totals,) = callbacks.history.totals().values()
        assert totals.outcomes == {"ok": calls - calls // 7, "error": calls // 7}

    def test_they_are_exact_under_eight_threads_that_change_the_chain_too(self) -> None:
        callbacks, count = CallbackManager(history_size=10, breaker_failures=1_000_000), 1500
        callbacks.register("on_message", greet)
        callbacks.register("on_message", fail)

        def fire() -> None:
            for number in range(count):
                say(callbacks)
                if number % 500 == 0:
                    callbacks.register("on_message", lambda: None).remove()
                    callbacks.history.totals()

        threads = [threading.Thread(target=fire) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        totals = callbacks.history.totals()
        assert totals["on_message", "local", "greet"].outcomes == {"ok": 8 * count}
        assert totals["on_message", "local", "fail"].outcomes == {"error": 8 * count}

    def test_they_go_on_where_a_chain_has_changed_and_changed_back(self, callbacks: CallbackManager) -> None:
        callbacks.register("on_message", greet)
        say(callbacks)
        with callbacks.register("on_message", fail):
            say(callbacks)
        say(callbacks)
        assert callbacks.history.totals()["on_message", "local", "greet"].outcomes == {"ok": 3}

    def test_while_somebody_reads_them_a_call_does_not_wait(self) -> None:
        callbacks = CallbackManager(history_size=1)
        callbacks.register("on_message", greet)
        say(callbacks)
        with log_of(callbacks)._lock:  # noqa: SLF001 -- as if a reader were at it
            for _ in range(1000):
                say(callbacks)
        say(callbacks)
        assert callbacks.history.totals()["on_message", "local", "greet"].outcomes == {"ok": 1002}


class Ticking(FakeClock):
    """A clock on which each look takes a little longer than the one before."""

    def __init__(self) -> None:
        super().__init__()
        self._looks = 0

    def monotonic_ns(self) -> int:
        self._looks += 1
        self.advance(self._looks / 1_000_000)
        return super().monotonic_ns()


class TestObservers:
    def test_they_get_what_the_history_keeps_whether_something_failed_or_not(self) -> None:
        callbacks, fails = CallbackManager(clock=Ticking()), [False, True, False]
        calls: list[CallRecord] = []
        callbacks.add_observer(calls.append)

        def sometimes() -> None:
            if fails.pop():
                raise ValueError("no")

        for each in (greet, sometimes, greet):
            callbacks.register("on_message", each)
        fsm = FSMEngine(callbacks=callbacks)
        fsm.pre_transition()(lambda context: None)
        fsm.post_transition("processing")(lambda context: None)
        for _ in range(3):
            say(callbacks)
            fsm.handle("processing", {"user_id": "ana", "state": "initial"})
        told = [(call.hook, *each) for call in calls for each in call.callbacks]
        kept = [
            (each.hook, each.plugin, each.callback, each.duration, each.outcome, each.error)
            for each in callbacks.history
        ]
        assert len(told) > 15
        assert sorted(told, key=repr) == sorted(kept, key=repr)

    def test_an_observer_gets_each_finished_call(self, clock: FakeClock) -> None:
        callbacks, got = CallbackManager(clock=clock), []
        callbacks.add_observer(got.append)
        callbacks.register("on_message", lambda: clock.advance(1))
        callbacks.register("on_message", fail)
        say(callbacks)
        name = callbacks.history[0].callback
        assert got == [
            CallRecord(
                hook="on_message",
                start=NOW,
                duration=1.0,
                callbacks=(
                    CallbackRecord("local", name, 1.0, "ok", None),
                    CallbackRecord("local", "fail", 0.0, "error", "ValueError: the reason"),
                ),
            )
        ]

    def test_it_is_called_from_both_calls(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        got = []
        callbacks.add_observer(got.append)
        callbacks.register("on_message", greet)
        fire("on_message", **MESSAGE)
        assert [each.hook for each in got] == ["on_message"]

    def test_it_gets_them_where_the_history_is_off(self) -> None:
        callbacks, got = CallbackManager(history_size=0), []
        callbacks.register("on_message", greet)
        registration = callbacks.add_observer(got.append)
        say(callbacks)
        registration.remove()
        say(callbacks)
        assert len(got) == 1
        assert len(callbacks.history) == 0

    def test_one_that_raises_is_logged_once_and_stops_nobody(
        self, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        def observe(record: CallRecord) -> None:
            raise SystemExit

        got = []
        callbacks.add_observer(observe)
        callbacks.add_observer(got.append)
        callbacks.register("on_message", greet)
        say(callbacks)
        say(callbacks)
        assert len(got) == 2
        (record,) = caplog.records
        assert record.getMessage().startswith("observer ")
        assert record.getMessage().endswith("observe failed in on_message; the others go on (SystemExit)")

    def test_ctrl_c_in_one_passes(self, callbacks: CallbackManager) -> None:
        def observe(record: CallRecord) -> None:
            raise KeyboardInterrupt

        callbacks.add_observer(observe)
        callbacks.register("on_message", greet)
        with pytest.raises(KeyboardInterrupt):
            say(callbacks)

    def test_one_that_is_added_twice_and_removed_once_goes_on(self, callbacks: CallbackManager) -> None:
        got = []

        def observe(record: CallRecord) -> None:
            got.append(record)

        first, _ = callbacks.add_observer(observe), callbacks.add_observer(observe)
        callbacks.register("on_message", greet)
        first.remove()
        first.remove()
        say(callbacks)
        assert len(got) == 1

    def test_one_that_fires_the_same_event_is_refused_and_one_that_fires_another_is_not(
        self, callbacks: CallbackManager
    ) -> None:
        ran = []

        def observe(record: CallRecord) -> None:
            if record.hook == "on_message":
                callbacks.trigger("on_error", user_id="ana", error=ValueError(), traceback="")
                say(callbacks)

        callbacks.add_observer(observe)
        callbacks.register("on_message", greet)
        callbacks.register("on_error", lambda: ran.append("on_error"))
        say(callbacks)
        assert ran == ["on_error"]
        assert [hook for hook, _ in outcomes(callbacks)] == ["greet", "<lambda>"]

    @pytest.mark.parametrize("observer", [None, "name", asyncio.sleep], ids=["None", "str", "async"])
    def test_what_cannot_be_called_inline_is_refused(self, callbacks: CallbackManager, observer: Any) -> None:
        with pytest.raises(RegistrationError, match="add_observer: give a plain function of one CallRecord"):
            callbacks.add_observer(observer)

    def test_one_that_returns_a_coroutine_is_told_that_it_must_not(
        self, callbacks: CallbackManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def later() -> None: ...

        callbacks.add_observer(lambda record: later())
        callbacks.register("on_message", greet)
        say(callbacks)
        gc.collect()  # a coroutine that was never awaited would warn here
        assert "an observer is called inline and must not be asynchronous" in caplog.records[0].getMessage()

    def test_a_first_result_ends_the_call_and_those_that_did_not_run_have_no_record(
        self, callbacks: CallbackManager
    ) -> None:
        got = []
        callbacks.add_observer(got.append)
        callbacks.register("create_store", lambda url: None)
        callbacks.register("create_store", lambda url: "a store")
        callbacks.register("create_store", lambda url: "another")
        callbacks.call("create_store", url="x:")
        assert len(got[0].callbacks) == len(callbacks.history) == 2
        assert sum(sum(each.outcomes.values()) for each in callbacks.history.totals().values()) == 2
