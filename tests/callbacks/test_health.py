"""Circuit breakers in chains: who is skipped, what they log, and what ``on_plugin_health`` tells."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from typing import Any

import pytest

from tests.callbacks.helpers import MESSAGE, asay, outcomes, say
from tests.support import FakeClock, run_in_child
from thea_core import BreakerState, CallbackManager, IntentMatch, Thea, hookimpl, hookspec
from thea_core.callbacks import flow
from thea_core.callbacks.breaker import BreakerLimits
from thea_core.callbacks.health import Health
from thea_core.callbacks.runtime import PluginLimits, Runtime
from thea_core.callbacks.steps import drive
from thea_core.callbacks.watching import Watch

FAILURES = 2
OPENED = ("shop", "on_message", "open")


class BrokenError(Exception):
    """What the callbacks of these tests fail with."""


@pytest.fixture
def callbacks(clock: FakeClock) -> Iterator[CallbackManager]:
    """A manager whose breakers open after two failures, on a clock that stands still."""
    manager = CallbackManager(breaker_failures=FAILURES, clock=clock)
    yield manager
    assert manager.running_calls == [], "a call was begun and never ended"
    assert manager.close(10.0) == 0, "an event loop did not stop"


def plug(callbacks: CallbackManager, plugin: object, name: str = "shop", **options: Any) -> Runtime:
    """Put a plugin's callbacks into the chains, and return what it has of breakers."""
    binding = callbacks.bind_plugin(plugin, name, source=3, position=0, **options)
    callbacks.publish_plugins([binding])
    return binding.runtime


def hooks(**functions: Callable[..., Any]) -> object:
    """Return a plugin with these functions as its callbacks, called inline where they are not asynchronous."""
    return type("Plugin", (), {name: staticmethod(hookimpl(timeout=None)(each)) for name, each in functions.items()})()


def later(function: Callable[[], object]) -> Callable[[], Any]:
    """Return a coroutine function that calls ``function``."""

    async def callback() -> None:
        await asyncio.sleep(0)
        function()

    return callback


def state_of(callbacks: CallbackManager, plugin: str = "shop", hook: str = "on_message") -> str:
    return next(each.state for each in callbacks.breakers if (each.plugin, each.hook) == (plugin, hook))


class Switch:
    """A callback that fails while it is broken."""

    def __init__(self) -> None:
        self.broken = True
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.broken:
            raise BrokenError

    def sync(self) -> Callable[[], None]:
        return lambda: self()  # noqa: PLW0108 -- a plugin's callbacks are functions

    def later(self) -> Callable[[], Any]:
        return later(self)


class Alarm:
    """Listens to ``on_plugin_health``, in one of four ways."""

    KINDS = ("plugin", "async plugin", "local", "async local")

    def __init__(self, callbacks: CallbackManager, kind: str = "local") -> None:
        self.told: list[tuple[str, str, str]] = []
        self.reasons: list[str] = []
        listen = self._later if "async" in kind else self._listen
        if "plugin" in kind:
            plug(callbacks, hooks(on_plugin_health=listen), "alarm")
        else:
            callbacks.register("on_plugin_health", listen)

    def _listen(self, plugin: str, hook: str, state: str, reason: str) -> None:
        self.told.append((plugin, hook, state))
        self.reasons.append(reason)

    async def _later(self, plugin: str, hook: str, state: str, reason: str) -> None:
        await asyncio.sleep(0)
        self._listen(plugin, hook, state, reason)


@pytest.fixture
def switch() -> Switch:
    return Switch()


class TestSkipping:
    """Calls of a callback that fails again and again are skipped, and one is tried after a while."""

    @pytest.mark.parametrize("kind", ["sync", "later"])
    @pytest.mark.parametrize("timeout", [None, 600.0])
    def test_of_a_plugin(
        self, callbacks: CallbackManager, fire: Any, clock: FakeClock, *, switch: Switch, kind: str, timeout: float
    ) -> None:
        function = hookimpl(timeout=timeout)(getattr(switch, kind)())
        plug(callbacks, type("Plugin", (), {"on_message": staticmethod(function)})())
        for _ in range(5):
            fire("on_message", **MESSAGE)
        assert switch.calls == FAILURES
        assert [outcome for _, outcome in outcomes(callbacks)] == ["error"] * 2 + ["skipped"] * 3
        assert callbacks.history[-1].error == "its circuit breaker is open"
        switch.broken = False
        clock.advance(30)
        fire("on_message", **MESSAGE)
        fire("on_message", **MESSAGE)
        assert (switch.calls, state_of(callbacks)) == (4, "closed")

    def test_a_local_event_callback_has_one_of_its_own(
        self, callbacks: CallbackManager, fire: Any, switch: Switch
    ) -> None:
        other = Switch()
        callbacks.register("on_message", switch.sync())
        callbacks.register("on_message", other.later())
        other.broken = False
        for _ in range(5):
            fire("on_message", **MESSAGE)
        assert (switch.calls, other.calls) == (FAILURES, 5)
        assert [each[:3] for each in callbacks.breakers] == [
            ("local", "on_message", "open"),
            ("local", "on_message", "closed"),
        ]

    def test_each_hook_of_a_plugin_has_one_of_its_own(
        self, callbacks: CallbackManager, fire: Any, switch: Switch
    ) -> None:
        plug(callbacks, hooks(on_message=switch.sync(), on_session_timeout=switch.sync()))
        for _ in range(3):
            fire("on_message", **MESSAGE)
        fire("on_session_timeout", user_id="ana", session_id="s")
        assert switch.calls == FAILURES + 1
        assert (state_of(callbacks), state_of(callbacks, hook="on_session_timeout")) == ("open", "closed")

    def test_time_limits_count_like_failures(self, callbacks: CallbackManager, fire: Any) -> None:
        go_on = threading.Event()
        callbacks.register("on_message", go_on.wait, timeout=0.01)
        callbacks.register("on_message", lambda: None)
        for _ in range(3):
            fire("on_message", **MESSAGE)
        go_on.set()
        assert [outcome for _, outcome in outcomes(callbacks)] == ["timeout", "ok", "timeout", "ok", "skipped", "ok"]

    def test_a_success_begins_the_count_anew(self, callbacks: CallbackManager, fire: Any, switch: Switch) -> None:
        callbacks.register("on_message", switch.sync())
        for _ in range(4):
            switch.broken = not switch.broken
            fire("on_message", **MESSAGE)
        assert (switch.calls, state_of(callbacks, "local")) == (4, "closed")

    def test_what_the_results_of_others_are_does_not_change(
        self, callbacks: CallbackManager, call: Any, switch: Switch, clock: FakeClock
    ) -> None:
        match = IntentMatch("buy", 1.0)

        def detect() -> list[IntentMatch]:
            switch()
            return [match]

        plug(callbacks, hooks(detect_intents=detect), "bad")
        plug(callbacks, hooks(detect_intents=lambda: [match]), "good")
        for _ in range(3):
            results = call("detect_intents", message="x", context={})
            assert [each.plugin for each in results] == ["good"]
        assert switch.calls == FAILURES
        switch.broken = False
        clock.advance(30)
        assert [each.plugin for each in call("detect_intents", message="x", context={})] == ["bad", "good"]

    def test_of_a_hook_that_takes_the_first_result_the_next_one_counts(
        self, callbacks: CallbackManager, call: Any, switch: Switch
    ) -> None:
        class Specs:
            @hookspec(firstresult=True)
            def greet(self) -> str | None: ...

        callbacks.add_hookspecs(Specs)
        plug(callbacks, hooks(greet=lambda: switch() or "never"), "bad", priority=1)
        plug(callbacks, hooks(greet=lambda: "hola"), "good")
        for _ in range(4):
            assert call("greet").value == "hola"
        assert switch.calls == FAILURES

    def test_life_cycle_hooks_have_none_but_for_what_a_queue_calls(self, callbacks: CallbackManager) -> None:
        """Nobody would ask theirs: one that has opened with the others would be open for ever."""
        functions = {name: lambda: None for name in ("on_startup", "on_shutdown", "on_flush", "on_message")}
        plug(callbacks, hooks(**functions), "inline")
        plug(callbacks, hooks(**functions), "queued", limits=PluginLimits(delivery="background"))
        assert [(each.plugin, each.hook) for each in callbacks.breakers] == [
            ("inline", "on_message"),
            ("queued", "on_flush"),
            ("queued", "on_message"),
        ]

    def test_a_local_callback_of_a_result_hook_has_none(self, callbacks: CallbackManager, call: Any) -> None:
        switch = Switch()
        callbacks.register("detect_intents", switch)
        for _ in range(5):
            assert call("detect_intents", message="x", context={}) == []
        assert (switch.calls, callbacks.breakers) == (5, [])


class TestWrappers:
    """A wrapper has a breaker too: while it is open, the chain runs as if it were not there."""

    @pytest.mark.parametrize("where", ["before", "after"])
    def test_one_that_fails_again_and_again(
        self, callbacks: CallbackManager, call: Any, clock: FakeClock, *, switch: Switch, where: str
    ) -> None:
        class Plugin:
            @hookimpl(wrapper=True)
            def detect_intents(self) -> Iterator[None]:
                if where == "before":
                    switch()
                yield
                if where == "after":
                    switch()

        plug(callbacks, Plugin())
        plug(callbacks, hooks(detect_intents=lambda: [IntentMatch("buy", 1.0)]), "good")
        for _ in range(4):
            results = call("detect_intents", message="x", context={})
            assert [each.plugin for each in results] == ["good"]
        assert (switch.calls, state_of(callbacks, hook="detect_intents")) == (FAILURES, "open")
        switch.broken = False
        clock.advance(30)
        call("detect_intents", message="x", context={})
        assert (switch.calls, state_of(callbacks, hook="detect_intents")) == (3, "closed")

    def test_a_probe_that_fails_after_the_chain_opens_it_again(
        self, callbacks: CallbackManager, fire: Any, clock: FakeClock, switch: Switch
    ) -> None:
        class Plugin:
            @hookimpl(wrapper=True)
            def on_message(self) -> Iterator[None]:
                yield
                switch()

        plug(callbacks, Plugin())
        callbacks.register("on_message", lambda: None)
        for _ in range(2):
            fire("on_message", **MESSAGE)
        clock.advance(30)
        fire("on_message", **MESSAGE)
        assert (switch.calls, state_of(callbacks)) == (3, "open")
        clock.advance(59)
        fire("on_message", **MESSAGE)
        assert switch.calls == 3

    def test_ctrl_c_within_the_chain_does_not_keep_its_turn(
        self, callbacks: CallbackManager, clock: FakeClock, switch: Switch
    ) -> None:
        class Plugin:
            @hookimpl(wrapper=True)
            def on_message(self) -> Iterator[None]:
                yield
                switch()

        def interrupt() -> None:
            raise KeyboardInterrupt

        plug(callbacks, Plugin())
        for _ in range(2):
            say(callbacks)
        clock.advance(30)
        switch.broken = False
        with callbacks.register("on_message", interrupt), pytest.raises(KeyboardInterrupt):
            say(callbacks)
        assert state_of(callbacks) == "half-open"
        say(callbacks)
        assert state_of(callbacks) == "closed"


class TestTelling:
    """Each change is logged once and told once, in order."""

    STORY = tuple((*OPENED[:2], state) for state in ("open", "half-open", "open", "half-open", "closed"))

    def play(self, callbacks: CallbackManager, fire: Any, clock: FakeClock, switch: Switch) -> None:
        for _ in range(3):
            fire("on_message", **MESSAGE)
        clock.advance(30)
        fire("on_message", **MESSAGE)
        switch.broken = False
        clock.advance(60)
        for _ in range(3):
            fire("on_message", **MESSAGE)

    @pytest.mark.parametrize("kind", Alarm.KINDS)
    @pytest.mark.parametrize("failing", ["sync", "later"])
    def test_to_whoever_listens(
        self, callbacks: CallbackManager, fire: Any, clock: FakeClock, *, switch: Switch, kind: str, failing: str
    ) -> None:
        alarm = Alarm(callbacks, kind)
        plug(callbacks, hooks(on_message=getattr(switch, failing)()))
        self.play(callbacks, fire, clock, switch)
        assert tuple(alarm.told) == self.STORY
        assert alarm.reasons == [
            "2 failures in a row, the last: BrokenError; calls are skipped for 30 s",
            "one call is let through to see whether it works again",
            "the probe failed (BrokenError); calls are skipped for 60 s",
            "one call is let through to see whether it works again",
            "the probe ended well",
        ]

    def test_to_the_log(
        self,
        callbacks: CallbackManager,
        fire: Any,
        clock: FakeClock,
        *,
        switch: Switch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, "thea_core.callbacks")
        plug(callbacks, hooks(on_message=switch.sync()))
        self.play(callbacks, fire, clock, switch)
        lines = [(each.levelname, each.getMessage()) for each in caplog.records if "circuit" in each.getMessage()]
        whose = "the circuit breaker of plugin 'shop' for on_message is"
        assert lines == [
            ("WARNING", f"{whose} open: 2 failures in a row, the last: BrokenError; calls are skipped for 30 s"),
            ("INFO", f"{whose} half-open: one call is let through to see whether it works again"),
            ("WARNING", f"{whose} open: the probe failed (BrokenError); calls are skipped for 60 s"),
            ("INFO", f"{whose} half-open: one call is let through to see whether it works again"),
            ("WARNING", f"{whose} closed: the probe ended well"),
        ]

    def test_of_a_local_callback_the_log_says_so(
        self, callbacks: CallbackManager, switch: Switch, caplog: pytest.LogCaptureFixture
    ) -> None:
        callbacks.register("on_message", switch.sync())
        for _ in range(2):
            say(callbacks)
        assert "the circuit breaker of a local callback for on_message is open" in caplog.text

    def test_what_is_shown_is_what_was_told(
        self, callbacks: CallbackManager, fire: Any, clock: FakeClock, switch: Switch
    ) -> None:
        told: list[BreakerState] = []
        callbacks.register("on_plugin_health", lambda **change: told.append(BreakerState(**change)))
        plug(callbacks, hooks(on_message=switch.sync()))
        assert callbacks.breakers[-1] == BreakerState("shop", "on_message", "closed", "")
        self.play(callbacks, fire, clock, switch)
        assert callbacks.breakers[-1] == told[-1]

    def test_from_result_hooks_too(self, callbacks: CallbackManager, call: Any, switch: Switch) -> None:
        alarm = Alarm(callbacks)
        plug(callbacks, hooks(detect_intents=switch.sync()))
        for _ in range(3):
            call("detect_intents", message="x", context={})
        assert alarm.told == [("shop", "detect_intents", "open")]

    def test_what_listens_may_call_the_hook_that_failed(self, callbacks: CallbackManager, fire: Any) -> None:
        """The alarm of one plugin may go to others by whatever event; the chain that failed is not nested in itself."""
        seen: list[str] = []

        def listen() -> None:
            callbacks.trigger("on_session_timeout", user_id="ana", session_id="s")

        plug(callbacks, hooks(on_message=Switch().sync()))
        callbacks.register("on_plugin_health", listen)
        callbacks.register("on_session_timeout", lambda: seen.append("told"))
        for _ in range(3):
            fire("on_message", **MESSAGE)
        assert seen == ["told"]


class TestWhoListensMayFail:
    def test_its_own_breaker_opens_and_nothing_recurs(
        self, callbacks: CallbackManager, fire: Any, clock: FakeClock, switch: Switch
    ) -> None:
        deaf = Switch()
        alarm = Alarm(callbacks)
        plug(callbacks, hooks(on_plugin_health=deaf.sync()), "deaf")
        plug(callbacks, hooks(on_message=switch.sync()))
        for _ in range(6):
            fire("on_message", **MESSAGE)
            clock.advance(29)
        assert deaf.calls == FAILURES
        assert alarm.told == [OPENED, (*OPENED[:2], "half-open"), OPENED, ("deaf", "on_plugin_health", "open")]

    def test_one_that_hangs_costs_its_limit_and_no_more(self, callbacks: CallbackManager, fire: Any) -> None:
        go_on = threading.Event()
        callbacks.register("on_plugin_health", go_on.wait, timeout=0.01, priority=1)
        alarm = Alarm(callbacks)
        plug(callbacks, hooks(on_message=Switch().sync()))
        for _ in range(2):
            fire("on_message", **MESSAGE)
        go_on.set()
        assert alarm.told == [OPENED]

    def test_one_whose_alarm_fails_for_its_own_breaker_too(
        self, callbacks: CallbackManager, clock: FakeClock, switch: Switch
    ) -> None:
        """Every listener fails always: each change is told to those that are still called, and then it is quiet."""
        listeners = [Switch() for _ in range(3)]
        for each in listeners:
            callbacks.register("on_plugin_health", each.sync())
        plug(callbacks, hooks(on_message=switch.sync()))
        for _ in range(20):
            say(callbacks)
            clock.advance(600)
        assert not callbacks.health.changes
        assert all(each.calls < 100 for each in listeners)

    def test_ctrl_c_there_passes_and_the_rest_is_told_next_time(
        self, callbacks: CallbackManager, switch: Switch
    ) -> None:
        other = Switch()
        plug(callbacks, hooks(on_message=switch.sync()), "one")
        plug(callbacks, hooks(on_message=other.sync()), "two")

        def interrupt() -> None:
            raise KeyboardInterrupt

        listening = callbacks.register("on_plugin_health", interrupt)
        say(callbacks)
        with pytest.raises(KeyboardInterrupt):
            say(callbacks)
        listening.remove()
        alarm = Alarm(callbacks)
        say(callbacks)
        assert alarm.told == [("two", "on_message", "open")]


class Specs:
    """Hooks that are nested in each other."""

    @hookspec
    def first(self) -> None: ...

    @hookspec
    def second(self) -> None: ...

    @hookspec
    def third(self) -> None: ...

    @hookspec
    def fourth(self) -> None: ...


class TestWithinOtherHooks:
    @pytest.fixture
    def depths(self, callbacks: CallbackManager) -> list[int]:
        """How deep on_plugin_health was nested when it was told."""
        depths: list[int] = []

        def listen() -> None:
            depths.append(len({str(each) for each in flow.running_keys()}) - 1)

        callbacks.register("on_plugin_health", listen)
        callbacks.add_hookspecs(Specs)
        return depths

    def test_what_happens_too_deep_is_told_further_out(
        self, callbacks: CallbackManager, fire: Any, depths: list[int]
    ) -> None:
        alarm = Alarm(callbacks)
        callbacks.register("first", lambda: callbacks.trigger("second"))
        callbacks.register("second", lambda: callbacks.trigger("third"))
        callbacks.register("third", lambda: callbacks.trigger("fourth"))
        callbacks.register("fourth", Switch().sync())
        for _ in range(2):
            fire("first")
        assert alarm.told == [("local", "fourth", "open")]
        assert depths == [3]

    def test_with_async_callbacks_all_the_way(self, callbacks: CallbackManager, fire: Any, depths: list[int]) -> None:
        alarm = Alarm(callbacks, "async local")

        def nest(hook: str) -> Callable[[], Any]:
            async def callback() -> None:
                await callbacks.atrigger(hook)

            return callback

        callbacks.register("first", nest("second"))
        callbacks.register("second", nest("third"))
        callbacks.register("third", nest("fourth"))
        callbacks.register("fourth", Switch().later())
        for _ in range(2):
            fire("first")
        assert alarm.told == [("local", "fourth", "open")]
        assert depths == [3]

    def test_where_on_plugin_health_runs_already(
        self, callbacks: CallbackManager, fire: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is an event like any other: an application may fire it itself, and a breaker may change meanwhile."""
        monkeypatch.setattr("thea_core.callbacks.health._SECOND_TRY", 0.0)
        alarm, done = Alarm(callbacks), threading.Event()
        callbacks.register("on_plugin_health", lambda hook: 1 / 0 if hook == "x" else None)
        callbacks.register("on_plugin_health", lambda hook: None if hook == "x" else done.set())
        for _ in range(2):
            fire("on_plugin_health", plugin="mine", hook="x", state="open", reason="")
        assert done.wait(10)  # on a thread, since there is no outer call
        assert alarm.told == [("mine", "x", "open")] * 2 + [("local", "on_plugin_health", "open")]

    def test_on_a_loop_of_theas_a_listener_that_is_async_is_told_further_out(self, callbacks: CallbackManager) -> None:
        """There, nobody can wait for it; whoever called the coroutine can."""
        alarm = Alarm(callbacks, "async local")
        raised: list[BaseException] = []
        callbacks.register("on_session_timeout", Switch().sync())

        async def nest() -> None:
            try:
                callbacks.trigger("on_session_timeout", user_id="ana", session_id="s")
            except BaseException as error:
                raised.append(error)

        callbacks.register("on_message", nest)
        for _ in range(2):
            say(callbacks)
        assert raised == []
        assert alarm.told == [("local", "on_session_timeout", "open")]

    def test_in_a_delivery_from_a_queue(self, callbacks: CallbackManager, fire: Any) -> None:
        alarm = Alarm(callbacks)
        threads: list[str] = []
        callbacks.register("on_plugin_health", lambda: threads.append(threading.current_thread().name))
        plug(callbacks, hooks(on_message=Switch().sync()), limits=PluginLimits(delivery="background"))
        for _ in range(4):
            fire("on_message", **MESSAGE)
        assert callbacks.flush(10.0) == 0
        assert alarm.told == [OPENED]
        assert threads == ["thea-shop"]
        assert [outcome for _, outcome in outcomes(callbacks)].count("skipped") == 2


class Swallowing:
    """An async callback that goes on when it is cancelled, until it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    async def __call__(self) -> None:
        while not self.go_on.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)


class TestOnTheWatchsThread:
    """There nobody may wait: changes are told on a thread of their own."""

    def test_what_is_left_behind_there(self, callbacks: CallbackManager) -> None:
        told: list[tuple[str, str, str]] = []
        all_told = threading.Event()
        swallowing = Swallowing()

        def listen(hook: str, state: str, reason: str) -> None:
            told.append((threading.current_thread().name, hook, state))
            assert reason == "too many of its calls hang whose time was up"
            if len(told) == 3:
                all_told.set()

        class Plugin:
            @hookimpl(timeout=0.01)
            async def on_message(self) -> None:
                await swallowing()

            @hookimpl(timeout=0.01)
            async def on_session_timeout(self) -> None:
                await swallowing()

            @hookimpl(timeout=0.01)
            async def on_state_change(self) -> None:
                await swallowing()

        callbacks.register("on_plugin_health", listen)
        plug(callbacks, Plugin())
        say(callbacks)
        callbacks.trigger("on_session_timeout", user_id="ana", session_id="s")
        callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b")
        assert all_told.wait(10)
        swallowing.go_on.set()
        hooks = ("on_message", "on_session_timeout", "on_state_change")
        assert told == [("thea-health", hook, "open") for hook in hooks]

    def test_a_listener_that_hangs_holds_nothing_up_there(self) -> None:
        watch = Watch()
        begun, go_on, looked = threading.Event(), threading.Event(), threading.Event()

        def fire(_: BreakerState) -> Any:
            begun.set()
            go_on.wait()
            return iter(())

        health = Health(BreakerLimits(failures=1), FakeClock(), watch, fire)
        breaker = health.new_breaker("shop", "on_message")

        def look() -> None:
            breaker.fail(0, "x")
            health.tell()

        watch.after(0.0, look)
        assert begun.wait(10)
        watch.after(0.0, looked.set)
        assert looked.wait(10)
        go_on.set()

    def test_what_is_left_behind_on_a_thread_that_runs_no_chain(
        self, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A life-cycle callback that hangs, say: nobody else may call anything for an hour."""
        monkeypatch.setattr("thea_core.callbacks.health._SECOND_TRY", 0.0)
        told = threading.Event()
        callbacks.register("on_plugin_health", told.set)
        plug(callbacks, hooks(on_message=lambda: None)).trip()
        assert told.wait(10)

    def test_where_no_thread_can_be_started_the_next_chain_tells_it(
        self, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        alarm = Alarm(callbacks)
        runtime = plug(callbacks, hooks(on_message=lambda: None))
        done = threading.Event()

        def look() -> None:
            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", no_thread)
                runtime.trip()
            done.set()

        callbacks.local_ways.watch.after(0.0, look)
        assert done.wait(10)
        assert alarm.told == []
        say(callbacks)
        assert alarm.told == [OPENED]


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


class TestOneAtATime:
    """Who finds somebody telling leaves what it has to tell to that one, so that all comes in order."""

    @pytest.fixture
    def told(self, callbacks: CallbackManager) -> Iterator[list[str]]:
        """What was told: the first of it only once the last one may go on."""
        told: list[str] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

        def listen(plugin: str, state: str) -> None:
            told.append(f"{plugin} begins to be {state}")
            self.begun.set()
            self.go_on.wait(10)
            told.append(f"{plugin} is {state}")

        callbacks.register("on_plugin_health", listen)
        yield told
        self.go_on.set()

    def test_two_changes_of_two_threads(self, callbacks: CallbackManager, told: list[str]) -> None:
        plug(callbacks, hooks(on_message=Switch().sync()), "one")
        plug(callbacks, hooks(on_session_timeout=Switch().sync()), "two")
        thread = threading.Thread(target=lambda: [say(callbacks) for _ in range(2)])
        thread.start()
        assert self.begun.wait(10)
        for _ in range(2):
            callbacks.trigger("on_session_timeout", user_id="ana", session_id="s")
        assert told == ["one begins to be open"]
        self.go_on.set()
        thread.join()
        assert told == ["one begins to be open", "one is open", "two begins to be open", "two is open"]

    def test_where_whoever_tells_hangs_another_goes_on_after_a_while(
        self, callbacks: CallbackManager, told: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plug(callbacks, hooks(on_message=Switch().sync()), "one")
        plug(callbacks, hooks(on_session_timeout=Switch().sync()), "two")
        thread = threading.Thread(target=lambda: [say(callbacks) for _ in range(2)])
        thread.start()
        assert self.begun.wait(10)
        monkeypatch.setattr("thea_core.callbacks.health._PATIENCE", 0.0)
        self.go_on.wait = lambda timeout: True  # type: ignore[method-assign] -- it hangs no more
        for _ in range(2):
            callbacks.trigger("on_session_timeout", user_id="ana", session_id="s")
        assert told == ["one begins to be open", "two begins to be open", "two is open"]
        self.go_on.set()
        thread.join()
        assert told[3:] == ["one is open"]

    def test_many_threads_at_once(self, callbacks: CallbackManager, clock: FakeClock) -> None:
        """Whatever the threads do, the changes of one breaker alternate as they did, and none is lost or doubled."""
        told: list[str] = []
        switch = Switch()
        callbacks.register("on_plugin_health", lambda *, state: told.append(state))
        plug(callbacks, hooks(on_message=switch.sync()))
        barrier = threading.Barrier(8)

        def call() -> None:
            for number in range(30):
                barrier.wait()
                if number % 3 == 2:
                    switch.broken = not switch.broken
                    clock.advance(600)
                say(callbacks)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        say(callbacks)
        assert not callbacks.health.changes
        legal = {"open": {"half-open"}, "half-open": {"open", "closed"}, "closed": {"open"}}
        assert told[0] == "open"
        assert all(after in legal[before] for before, after in pairwise(told))
        assert told[-1] == state_of(callbacks)


class TestLostProbes:
    """A probe that comes to no end closes nothing, and its turn is not lost."""

    @pytest.fixture
    def half_open(self, callbacks: CallbackManager, clock: FakeClock) -> Callable[..., None]:
        """Bring a plugin, open the breaker of its on_message, and wait until a probe may try."""

        def bring(plugin: object) -> None:
            breaker = plug(callbacks, plugin).breaker("on_message")
            for _ in range(FAILURES):
                breaker.fail(0, "x")
            clock.advance(30)

        return bring

    def test_ctrl_c_in_the_callback(self, callbacks: CallbackManager, fire: Any, half_open: Any) -> None:
        ends: list[BaseException | None] = [KeyboardInterrupt(), None]

        def callback() -> None:
            if (error := ends.pop(0)) is not None:
                raise error

        half_open(hooks(on_message=callback))
        with pytest.raises(KeyboardInterrupt):
            fire("on_message", **MESSAGE)
        assert state_of(callbacks) == "half-open"
        fire("on_message", **MESSAGE)
        assert (state_of(callbacks), ends) == ("closed", [])

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_ctrl_c_while_it_is_waited_for(self, callbacks: CallbackManager, half_open: Any, kind: str) -> None:
        go_on = threading.Event()
        main = threading.get_ident()
        calls: list[str] = []

        def interrupt() -> None:
            calls.append("")
            if len(calls) == 1:
                signal.pthread_kill(main, signal.SIGINT)
                go_on.wait(10)

        async def interrupt_async() -> None:
            interrupt()

        function = hookimpl(timeout=600.0)(interrupt if kind == "sync" else interrupt_async)
        half_open(type("Plugin", (), {"on_message": staticmethod(function)})())
        with pytest.raises(KeyboardInterrupt):
            say(callbacks)
        assert state_of(callbacks) == "half-open"
        go_on.set()
        say(callbacks)
        assert state_of(callbacks) == "closed"

    def test_a_generator_that_is_thrown_away(self, callbacks: CallbackManager, half_open: Any) -> None:
        begun = threading.Event()
        go_on = [asyncio.Event(), asyncio.Event()]
        go_on[1].set()

        async def callback() -> None:
            event = go_on.pop(0)
            begun.set()
            await event.wait()

        half_open(hooks(on_message=callback))

        async def main() -> None:
            call = callbacks.atrigger("on_message", **MESSAGE)
            call.send(None)
            await asyncio.to_thread(begun.wait, 10)
            call.close()
            assert state_of(callbacks) == "half-open"
            await asay(callbacks)

        asyncio.run(main())
        assert state_of(callbacks) == "closed"

    @pytest.mark.parametrize("broken", [True, False])
    def test_one_whose_caller_is_cancelled_goes_on_and_decides(
        self, callbacks: CallbackManager, half_open: Any, *, broken: bool
    ) -> None:
        alarm = Alarm(callbacks, "async local")

        async def main() -> None:
            begun, go_on, decided = threading.Event(), threading.Event(), asyncio.Event()

            async def callback() -> None:
                begun.set()
                await asyncio.to_thread(go_on.wait, 10)
                if broken:
                    raise BrokenError

            half_open(hooks(on_message=callback))
            task = asyncio.create_task(asay(callbacks))
            await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asay(callbacks)
            assert outcomes(callbacks)[-1][1] == "skipped"
            callbacks.register("on_plugin_health", later(decided.set))
            go_on.set()
            await decided.wait()

        asyncio.run(main())
        assert alarm.told[1:] == [(*OPENED[:2], "half-open"), (*OPENED[:2], "open" if broken else "closed")]

    def test_one_whose_time_is_up_opens_it_again(
        self, callbacks: CallbackManager, fire: Any, half_open: Any, clock: FakeClock
    ) -> None:
        go_on = threading.Event()
        function = hookimpl(timeout=0.01)(lambda: go_on.wait(10))
        half_open(type("Plugin", (), {"on_message": staticmethod(function)})())
        fire("on_message", **MESSAGE)
        assert state_of(callbacks) == "open"
        clock.advance(59)
        fire("on_message", **MESSAGE)
        go_on.set()
        clock.advance(1)
        fire("on_message", **MESSAGE)
        assert [outcome for _, outcome in outcomes(callbacks)] == ["timeout", "skipped", "ok"]
        assert state_of(callbacks) == "closed"

    def test_one_for_which_there_is_no_thread(
        self, callbacks: CallbackManager, fire: Any, half_open: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("thea_core.callbacks.threads.MAX_AT_WORK", 1)
        begun, go_on = threading.Event(), threading.Event()
        alarm = Alarm(callbacks)

        class Plugin:
            @hookimpl(timeout=600.0)
            def on_message(self) -> None: ...

            @hookimpl(timeout=600.0)
            def on_session_timeout(self) -> None:
                begun.set()
                go_on.wait(10)

        half_open(Plugin())
        other = threading.Thread(
            target=lambda: callbacks.trigger("on_session_timeout", user_id="ana", session_id="s"), daemon=True
        )
        other.start()
        assert begun.wait(10)
        for _ in range(5):
            fire("on_message", **MESSAGE)
        ended = [each.outcome for each in callbacks.history if each.hook == "on_message"]
        assert (ended, state_of(callbacks)) == (["skipped"] * 5, "half-open")
        go_on.set()
        other.join()
        fire("on_message", **MESSAGE)
        assert alarm.told == [OPENED, (*OPENED[:2], "half-open"), (*OPENED[:2], "closed")]

    def test_one_of_32_threads_makes_it(self, callbacks: CallbackManager, half_open: Any) -> None:
        barrier = threading.Barrier(32)
        calls: list[int] = []
        begun, go_on = threading.Event(), threading.Event()

        def callback() -> None:
            calls.append(threading.get_ident())
            begun.set()
            go_on.wait(10)

        half_open(hooks(on_message=callback))

        def call() -> None:
            barrier.wait()
            say(callbacks)

        threads = [threading.Thread(target=call) for _ in range(32)]
        for thread in threads:
            thread.start()
        others = [thread for thread in threads if begun.wait(10) and thread.ident != calls[0]]
        for thread in others:
            thread.join()  # they do not wait for the probe
        assert len(calls) == 1
        go_on.set()
        for thread in threads:
            thread.join()
        assert state_of(callbacks) == "closed"


class TestStaleCalls:
    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_what_began_before_the_opening_decides_nothing(
        self, callbacks: CallbackManager, clock: FakeClock, kind: str
    ) -> None:
        """Thirty calls were under way when a service went down: five open the breaker, the others are old news."""
        begun = threading.Semaphore(0)
        go_on = threading.Event()
        waiting = True

        def callback() -> None:
            if waiting:
                begun.release()
                go_on.wait(10)
                raise BrokenError

        async def callback_async() -> None:
            if waiting:
                begun.release()
                await asyncio.to_thread(go_on.wait, 10)
                raise BrokenError

        runtime = plug(callbacks, hooks(on_message=callback if kind == "sync" else callback_async))
        threads = [threading.Thread(target=say, args=(callbacks,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in threads:
            begun.acquire(timeout=10)
        waiting = False
        breaker = runtime.breaker("on_message")
        for _ in range(FAILURES):
            breaker.fail(0, "x")
        clock.advance(30)
        say(callbacks)
        assert state_of(callbacks) == "closed"
        go_on.set()
        for thread in threads:
            thread.join()
        assert state_of(callbacks) == "closed"


class TestReset:
    def test_enabling_a_plugin_that_runs_closes_its_breakers(self) -> None:
        told: list[tuple[str, str, str]] = []

        class Plugin:
            name = "shop"

            @hookimpl
            def on_message(self) -> None:
                raise BrokenError

        with Thea(plugins=[Plugin()]) as thea:
            thea.callbacks.register(
                "on_plugin_health", lambda plugin, state, reason: told.append((plugin, state, reason))
            )
            for _ in range(5):
                say(thea.callbacks)
            assert state_of(thea.callbacks) == "open"
            thea.plugins.enable("shop")
            assert state_of(thea.callbacks) == "closed"
            assert [each[:2] for each in told] == [("shop", "open"), ("shop", "closed")]
            assert told[-1][2] == "the plugin was enabled anew"
            say(thea.callbacks)
            assert thea.callbacks.history[-1].outcome == "error"

    def test_from_async_code_the_loop_goes_on(self) -> None:
        loops: list[object] = []

        class Plugin:
            name = "shop"

            @hookimpl
            def on_message(self) -> None:
                raise BrokenError

        async def listen() -> None:
            loops.append(asyncio.get_running_loop())

        async def main() -> None:
            async with Thea(plugins=[Plugin()]) as thea:
                thea.callbacks.register("on_plugin_health", listen)
                for _ in range(5):
                    await asay(thea.callbacks)
                await thea.plugins.aenable("shop")
                assert loops == [asyncio.get_running_loop()] * 2

        asyncio.run(main())

    def test_it_may_be_done_by_whoever_hears_of_it(self, callbacks: CallbackManager, switch: Switch) -> None:
        alarm = Alarm(callbacks)

        def heal(plugin: str, state: str) -> None:
            if state == "open":
                drive(callbacks.reset_breakers(plugin))

        callbacks.register("on_plugin_health", heal)
        plug(callbacks, hooks(on_message=switch.sync()))
        for _ in range(3):
            say(callbacks)
        assert alarm.told == [OPENED, (*OPENED[:2], "closed")]
        assert switch.calls == 3

    def test_of_a_plugin_that_is_not_there_nothing_happens(self, callbacks: CallbackManager) -> None:
        drive(callbacks.reset_breakers("nobody"))
        assert callbacks.breakers == []


class TestWhoIsGone:
    """The breaker of a callback that has left the chains slows no other call down."""

    def test_a_local_callback(self, callbacks: CallbackManager) -> None:
        for _ in range(3):
            with callbacks.register("on_message", Switch().sync()):
                say(callbacks)
        assert callbacks.health.troubled == set()

    def test_one_that_is_called_just_then(self, callbacks: CallbackManager) -> None:
        def leave() -> None:
            registration.remove()
            raise BrokenError

        registration = callbacks.register("on_message", leave)
        say(callbacks)
        assert callbacks.health.troubled == set()

    def test_a_plugin(self, callbacks: CallbackManager) -> None:
        plug(callbacks, hooks(on_message=Switch().sync()))
        say(callbacks)
        assert callbacks.health.troubled
        binding = callbacks.withdraw_plugin("shop")
        assert callbacks.health.troubled == set()
        assert binding is not None
        callbacks.publish_plugins([binding])
        say(callbacks)
        say(callbacks)
        assert outcomes(callbacks)[-1] == ("<lambda>", "skipped")

    def test_that_the_breaker_of_a_local_callback_is_no_more_is_told(
        self, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        alarm = Alarm(callbacks)
        registration = callbacks.register("on_message", Switch().sync())
        for _ in range(2):
            say(callbacks)
        closed = threading.Event()
        monkeypatch.setattr("thea_core.callbacks.health._SECOND_TRY", 0.0)
        callbacks.register("on_plugin_health", closed.set)
        registration.remove()
        assert closed.wait(10)
        assert alarm.told == [("local", "on_message", "open"), ("local", "on_message", "closed")]
        assert alarm.reasons[-1] == "the callback was removed"

    def test_that_those_of_a_plugin_are_no_more_is_told(self) -> None:
        told: list[tuple[str, str]] = []

        class Plugin:
            name = "shop"

            @hookimpl
            def on_message(self) -> None:
                raise BrokenError

        with Thea(plugins=[Plugin()]) as thea:
            thea.callbacks.register("on_plugin_health", lambda state, reason: told.append((state, reason)))
            for _ in range(5):
                say(thea.callbacks)
            thea.plugins.disable("shop")
            assert [state for state, _ in told] == ["open", "closed"]
            assert told[-1][1] == "the plugin was switched off"
            thea.plugins.enable("shop")
            assert state_of(thea.callbacks) == "closed"
            assert len(told) == 2

    def test_what_still_runs_of_it_is_told_no_more(self, callbacks: CallbackManager) -> None:
        alarm = Alarm(callbacks)
        runtime = plug(callbacks, hooks(on_message=lambda: None))
        callbacks.withdraw_plugin("shop")
        drive(callbacks.retire_breakers(runtime))
        runtime.trip()
        say(callbacks)
        assert alarm.told == []

    def test_nothing_keeps_its_breaker_alive(self, callbacks: CallbackManager) -> None:
        breaker = weakref.ref(callbacks.health.new_breaker("shop", "on_message"))
        gc.collect()
        assert breaker() is None


class TestFork:
    def test_a_child_process_has_fresh_locks_also_for_local_callbacks(
        self, callbacks: CallbackManager, switch: Switch
    ) -> None:
        callbacks.register("on_message", switch.sync())
        plug(callbacks, hooks(on_message=switch.sync()))
        say(callbacks)
        held, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with ExitStack() as stack:
                for breaker in callbacks.health.troubled.copy():
                    stack.enter_context(breaker._lock)  # noqa: SLF001
                stack.enter_context(callbacks.health._turn)  # noqa: SLF001
                stack.enter_context(callbacks.health._log_turn)  # noqa: SLF001
                held.set()
                go_on.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(10)

        def check() -> bool:
            alarm = Alarm(callbacks)
            say(callbacks)
            return [each[2] for each in alarm.told] == ["open", "open"]

        try:
            assert run_in_child(check)
        finally:
            go_on.set()
            thread.join()


class TestArguments:
    @pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan"), "30", None, True])
    def test_seconds(self, seconds: Any) -> None:
        with pytest.raises(ValueError, match="breaker_seconds must be a number of seconds greater than 0, not"):
            CallbackManager(breaker_seconds=seconds)

    @pytest.mark.parametrize("failures", [0, -1, 1.5, "5", None, True])
    def test_failures(self, failures: Any) -> None:
        with pytest.raises(ValueError, match="breaker_failures must be a whole number, 1 or more, not"):
            CallbackManager(breaker_failures=failures)
