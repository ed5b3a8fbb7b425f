"""Time limits: the caller goes on when the time is up, whatever the callback does, and nobody else notices.

A body that hangs does so on an event which the test sets only after the caller has gone on: nothing here is timed.
"""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import math
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.callbacks.helpers import MESSAGE, asay, ctrl_c, outcomes, plug, say
from tests.support import FakeClock, run_in_child
from thea_core import CallbackManager, RegistrationError, hookimpl
from thea_core.callbacks.runtime import PluginLimits

SHORT = 0.05  # seconds: the limit of what hangs
LONG = 300.0  # seconds: of what does not, however slow the machine

ERROR: dict[str, Any] = {"user_id": "ana", "error": ValueError(), "traceback": ""}


@pytest.fixture
def callbacks(request: pytest.FixtureRequest) -> Iterator[CallbackManager]:
    before = set(threading.enumerate())
    manager = CallbackManager(timeout=LONG, **getattr(request, "param", {}))
    yield manager
    assert manager.running_calls == [], "a call was begun and never ended"
    assert manager.close(10.0) == 0, "an event loop did not stop"
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(10)
    assert [thread.name for thread in left if thread.is_alive()] == [], "a thread is left"


class Hanging:
    """A callback of each kind, which hangs until it is let go."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.go = threading.Event()
        self.ended = threading.Event()
        self.threads: list[threading.Thread] = []

    def hang(self) -> str:
        self.threads.append(threading.current_thread())
        self.inside.set()
        self.go.wait(60)
        self.ended.set()
        return "late"

    async def ahang(self) -> str:
        self.threads.append(threading.current_thread())
        self.inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return "late"

    async def swallow(self) -> str:
        """Hang whoever cancels it."""
        self.inside.set()
        while not self.go.is_set():
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                self.cancelled = True
        self.ended.set()
        return "late"


class SyncPlugin(Hanging):
    @hookimpl(timeout=SHORT, priority=5)
    def on_message(self) -> str:
        return self.hang()

    @hookimpl(timeout=SHORT, priority=5)
    def detect_intents(self) -> str:
        return self.hang()


class AsyncPlugin(Hanging):
    @hookimpl(timeout=SHORT, priority=5)
    async def on_message(self) -> str:
        return await self.ahang()

    @hookimpl(timeout=SHORT, priority=5)
    async def detect_intents(self) -> str:
        return await self.ahang()


class Local(Hanging):
    """The same without a plugin."""

    def __init__(self, callbacks: CallbackManager, kind: str) -> None:
        super().__init__()
        function = self.hang if kind == "sync" else self.ahang
        for hook in ("on_message", "detect_intents"):
            callbacks.register(hook, function, timeout=SHORT, priority=5)


@pytest.fixture(params=["sync plugin", "async plugin", "sync local", "async local"])
def hanging(request: pytest.FixtureRequest, callbacks: CallbackManager) -> Iterator[Hanging]:
    """Something that hangs first in the chains of ``on_message`` and ``detect_intents``."""
    kind, _, where = request.param.partition(" ")
    hanging: Hanging
    if where == "local":
        hanging = Local(callbacks, kind)
    else:
        hanging = SyncPlugin() if kind == "sync" else AsyncPlugin()
        plug(callbacks, hanging)
    yield hanging
    hanging.go.set()
    assert hanging.ended.wait(10)


class TestAllFourCases:
    """A sync and an async callback, of a plugin and local, from ``trigger`` and from ``atrigger``."""

    def test_the_caller_goes_on_and_the_rest_of_the_chain_runs(
        self, callbacks: CallbackManager, fire: Callable[..., None], hanging: Hanging
    ) -> None:
        ran = []
        callbacks.register("on_message", lambda: ran.append("after"))
        fire("on_message", **MESSAGE)
        assert hanging.inside.is_set()
        assert not hanging.go.is_set()
        assert ran == ["after"]

    def test_the_history_says_timeout_and_the_totals_count_it(
        self, callbacks: CallbackManager, fire: Callable[..., None], hanging: Hanging
    ) -> None:
        fire("on_message", **MESSAGE)
        (record,) = callbacks.history
        assert record.outcome == "timeout"
        assert record.error == "CallbackTimeoutError: it did not come back within 0.05 s"
        (totals,) = callbacks.history.totals().values()
        assert totals.outcomes == {"timeout": 1}

    def test_it_is_logged_once_with_the_limit(
        self,
        callbacks: CallbackManager,
        fire: Callable[..., None],
        hanging: Hanging,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        fire("on_message", **MESSAGE)
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert "failed in on_message; the others go on" in record.getMessage()
        assert "it did not come back within 0.05 s" in record.getMessage()

    def test_its_result_is_left_out_and_the_others_count(
        self, callbacks: CallbackManager, call: Callable[..., Any], hanging: Hanging
    ) -> None:
        callbacks.register("detect_intents", lambda: "in time", timeout=LONG)
        results = call("detect_intents", message="hola", context={})
        assert [result.value for result in results] == ["in time"]

    def test_the_caller_is_free_to_call_again_at_once(
        self, callbacks: CallbackManager, fire: Callable[..., None], hanging: Hanging
    ) -> None:
        fire("on_message", **MESSAGE)
        hanging.inside.clear()
        fire("on_message", **MESSAGE)
        assert hanging.inside.is_set()
        assert [outcome for _, outcome in outcomes(callbacks)] == ["timeout", "timeout"]


def test_where_a_thread_hangs_is_logged(callbacks: CallbackManager, caplog: pytest.LogCaptureFixture) -> None:
    plugin = SyncPlugin()
    plug(callbacks, plugin)
    say(callbacks)
    plugin.go.set()
    assert "It was hanging at:" in caplog.text
    assert f'File "{__file__}", line {SyncPlugin.hang.__code__.co_firstlineno + 3}, in hang\n' in caplog.text
    assert "callbacks/threads.py" not in caplog.text


def test_where_a_coroutine_waits_is_logged(
    callbacks: CallbackManager, fire: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    plug(callbacks, AsyncPlugin())
    fire("on_message", **MESSAGE)
    assert "It was hanging at:" in caplog.text
    assert f'File "{__file__}"' in caplog.text
    assert "in on_message" in caplog.text


class TestInTime:
    def test_sync_callbacks_with_a_limit_run_on_daemon_threads_that_are_reused(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        threads = []

        class Plugin:
            @hookimpl
            def on_message(self) -> None:
                threads.append(threading.current_thread())

        plug(callbacks, Plugin())
        callbacks.register("on_message", lambda: threads.append(threading.current_thread()), timeout=LONG)
        fire("on_message", **MESSAGE)
        fire("on_message", **MESSAGE)
        assert [thread.name for thread in threads] == ["thea-local", "thea-shop"] * 2
        assert threads[:2] == threads[2:]
        assert all(thread.daemon for thread in threads)

    def test_results_come_back_from_threads_and_loops(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        class Plugin:
            @hookimpl
            def detect_intents(self, message: str) -> str:
                return message.upper()

        class Later:
            @hookimpl
            async def detect_intents(self, message: str) -> str:
                await asyncio.sleep(0)
                return message.title()

        plug(callbacks, Plugin())
        plug(callbacks, Later(), "later", position=1)
        callbacks.register("detect_intents", lambda message: message[::-1], timeout=LONG)
        callbacks.register("detect_intents", lambda: None, timeout=LONG)
        results = call("detect_intents", message="hola", context={})
        assert [(each.plugin, each.value) for each in results] == [
            ("local", "aloh"),
            ("shop", "HOLA"),
            ("later", "Hola"),
        ]

    def test_context_variables_reach_the_body_and_what_it_sets_stays_there(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
        seen = []

        def read() -> None:
            seen.append(variable.get())
            variable.set("changed")

        async def aread() -> None:
            read()

        class Plugin:
            on_message = hookimpl(staticmethod(read))

        class Later:
            on_message = hookimpl(staticmethod(aread))

        plug(callbacks, Plugin())
        plug(callbacks, Later(), "later", position=1)
        callbacks.register("on_message", read, timeout=LONG)
        callbacks.register("on_message", aread, timeout=LONG)
        variable.set("travels")
        fire("on_message", **MESSAGE)
        assert seen == ["travels"] * 4
        assert variable.get() == "travels"

    def test_a_coroutine_that_a_sync_callback_returns_is_run_too(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        async def later() -> str:
            await asyncio.sleep(0)
            return threading.current_thread().name

        callbacks.register("detect_intents", lambda: later(), timeout=LONG)
        (result,) = call("detect_intents", message="hola", context={})
        assert result.value == "thea-local"

    def test_order_is_kept_whatever_runs_where(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        ran = []

        async def later(number: int) -> None:
            await asyncio.sleep(0)
            ran.append(number)

        callbacks.register("on_message", lambda: ran.append(1), timeout=LONG, priority=4)
        callbacks.register("on_message", functools.partial(later, number=2), timeout=LONG, priority=3)
        callbacks.register("on_message", lambda: ran.append(3), priority=2)
        callbacks.register("on_message", lambda: ran.append(4), timeout=LONG, priority=1)
        callbacks.register("on_message", functools.partial(later, number=5))
        fire("on_message", **MESSAGE)
        assert ran == [1, 2, 3, 4, 5]

    def test_the_running_loop_goes_on_meanwhile(self, callbacks: CallbackManager) -> None:
        inside, go = threading.Event(), threading.Event()

        class Plugin:
            @hookimpl
            def on_message(self) -> None:
                inside.set()
                go.wait(60)

        async def scenario() -> None:
            task = asyncio.create_task(asay(callbacks))
            while not inside.is_set():  # noqa: ASYNC110 -- a thread sets it
                await asyncio.sleep(0)
            go.set()
            await task

        plug(callbacks, Plugin())
        asyncio.run(scenario())
        assert outcomes(callbacks) == [("on_message", "ok")]


class TestWhatBodiesRaise:
    @pytest.mark.parametrize("where", ["thread", "loop"])
    @pytest.mark.parametrize("kind", [ValueError, SystemExit, GeneratorExit, asyncio.CancelledError, StopIteration])
    def test_it_is_contained(
        self, callbacks: CallbackManager, fire: Callable[..., None], kind: type[BaseException], where: str
    ) -> None:
        ran = []

        def fail() -> None:
            raise kind

        async def afail() -> None:
            raise kind

        callbacks.register("on_message", fail if where == "thread" else afail, timeout=LONG)
        callbacks.register("on_message", lambda: ran.append("after"))
        fire("on_message", **MESSAGE)
        fire("on_message", **MESSAGE)  # the thread and the loop are still there
        assert ran == ["after"] * 2
        assert [outcome for _, outcome in outcomes(callbacks)] == ["error", "ok"] * 2

    @pytest.mark.parametrize("where", ["thread", "loop"])
    def test_ctrl_c_that_a_body_raises_passes_to_the_caller(
        self, callbacks: CallbackManager, fire: Callable[..., None], where: str
    ) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        async def ainterrupt() -> None:
            raise KeyboardInterrupt

        callbacks.register("on_message", interrupt if where == "thread" else ainterrupt, timeout=LONG)
        with pytest.raises(KeyboardInterrupt):
            fire("on_message", **MESSAGE)

    def test_a_timeout_that_the_body_itself_raises_is_an_error(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        def time_out() -> None:
            raise TimeoutError

        callbacks.register("on_message", time_out, timeout=LONG)
        fire("on_message", **MESSAGE)
        assert outcomes(callbacks) == [("time_out", "error")]

    def test_its_traceback_begins_with_the_body(
        self, callbacks: CallbackManager, fire: Callable[..., None], caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise ValueError("the body")

        callbacks.register("on_message", fail, timeout=LONG)
        fire("on_message", **MESSAGE)
        assert 'raise ValueError("the body")' in caplog.text


class TestHoldingTheInterpreter:
    """Whoever waits for a body that never lets go of the interpreter sees its end; it was late all the same."""

    @pytest.fixture(autouse=True)
    def _never_switch(self) -> Iterator[None]:
        """Let a thread go on until it waits for something."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        yield
        sys.setswitchinterval(interval)

    @staticmethod
    def spin() -> str:
        end = time.monotonic() + SHORT * 2
        while time.monotonic() < end:
            pass
        return "late"

    @pytest.mark.parametrize("where", ["thread", "loop"])
    def test_its_value_does_not_count(self, callbacks: CallbackManager, call: Callable[..., Any], where: str) -> None:
        async def aspin() -> str:
            return self.spin()

        callbacks.register("detect_intents", self.spin if where == "thread" else aspin, timeout=SHORT)
        callbacks.register("detect_intents", lambda: "in time")
        assert [each.value for each in call("detect_intents", message="", context={})] == ["in time"]
        assert [each.outcome for each in callbacks.history] == ["timeout", "ok"]

    def test_what_it_raises_does(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        def fail() -> None:
            raise ValueError(self.spin())

        callbacks.register("on_message", fail, timeout=SHORT)
        fire("on_message", **MESSAGE)
        assert outcomes(callbacks)[0][1] in {"error", "timeout"}


class TestWhoDecides:
    def limit(self, callbacks: CallbackManager, plugin: object, **options: Any) -> float | None:
        binding = callbacks.bind_plugin(plugin, "shop", source=1, position=0, **options)
        return next(each.timeout for each in binding.callbacks if each.hook.name == "on_message")

    @pytest.mark.parametrize(
        ("author", "operator", "limit"),
        [
            (..., None, LONG),
            (0.5, None, 0.5),
            (None, None, None),
            (..., 1.0, 1.0),
            (0.5, 1.0, 1.0),
            (None, 1.0, 1.0),
            (..., math.inf, None),
            (0.5, math.inf, None),
        ],
    )
    def test_the_operators_word_then_the_authors_then_the_default(
        self, callbacks: CallbackManager, author: Any, operator: float | None, limit: float | None
    ) -> None:
        class Plugin:
            @hookimpl(timeout=author)
            def on_message(self) -> None: ...

        assert self.limit(callbacks, Plugin(), limits=PluginLimits(timeout=operator)) == limit

    def test_plugins_have_two_seconds_if_nobody_says_anything(self) -> None:
        assert self.limit(CallbackManager(), SyncPlugin()) == SHORT

        class Plugin:
            @hookimpl
            def on_message(self) -> None: ...

        assert self.limit(CallbackManager(), Plugin()) == 2.0

    def test_the_default_may_differ_by_hook(self) -> None:
        class Plugin:
            @hookimpl
            def on_message(self) -> None: ...

            @hookimpl
            def on_error(self) -> None: ...

        callbacks = CallbackManager(timeout=7.0, timeouts={"on_error": 30.0})
        binding = callbacks.bind_plugin(Plugin(), "shop", source=1, position=0)
        assert {each.hook.name: each.timeout for each in binding.callbacks} == {"on_message": 7.0, "on_error": 30.0}
        assert self.limit(CallbackManager(timeout=None), Plugin()) is None
        assert self.limit(CallbackManager(timeouts={"on_message": None}), Plugin()) is None

    @pytest.mark.parametrize("timeout", [0, -1, math.inf, math.nan, True, "2 s"])
    def test_what_is_no_limit_is_refused(self, callbacks: CallbackManager, timeout: Any) -> None:
        for attempt in (
            lambda: callbacks.register("on_message", lambda: None, timeout=timeout),
            lambda: hookimpl(timeout=timeout),
            lambda: CallbackManager(timeout=timeout),
            lambda: CallbackManager(timeouts={"on_message": timeout}),
        ):
            with pytest.raises(RegistrationError, match="timeout must be a number of seconds greater than 0"):
                attempt()

    def test_a_limit_of_ages_is_as_good_as_any(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        async def later() -> None: ...

        callbacks.register("on_message", lambda: None, timeout=1e300)
        callbacks.register("on_message", later, timeout=1e300)
        fire("on_message", **MESSAGE)
        assert [outcome for _, outcome in outcomes(callbacks)] == ["ok", "ok"]

    @pytest.mark.parametrize("operator", [None, math.inf])
    def test_without_a_limit_the_call_is_inline(
        self, callbacks: CallbackManager, fire: Callable[..., None], operator: float | None
    ) -> None:
        threads = []

        class Plugin:
            @hookimpl(timeout=None if operator is None else SHORT)
            def on_message(self) -> None:
                threads.append(threading.current_thread())

        binding = callbacks.bind_plugin(Plugin(), "shop", source=1, position=0, limits=PluginLimits(timeout=operator))
        callbacks.publish_plugins([binding])
        callbacks.register("on_message", lambda: threads.append(threading.current_thread()))
        fire("on_message", **MESSAGE)
        assert threads == [threading.current_thread()] * 2

    def test_wrappers_are_inline_whatever_anybody_says(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        threads = []

        class Plugin:
            @hookimpl(wrapper=True)
            def on_message(self) -> Iterator[None]:
                threads.append(threading.current_thread())
                yield

        binding = callbacks.bind_plugin(Plugin(), "shop", source=1, position=0, limits=PluginLimits(timeout=SHORT))
        callbacks.publish_plugins([binding])
        fire("on_message", **MESSAGE)
        assert threads == [threading.current_thread()]


class TestFlow:
    def test_a_body_on_a_thread_that_triggers_its_own_hook_is_refused(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        ran = []
        callbacks.register("on_message", lambda: say(callbacks), timeout=LONG)
        callbacks.register("on_message", lambda: asyncio.run(asay(callbacks)), timeout=LONG)
        callbacks.register("on_message", lambda: ran.append("after"))
        fire("on_message", **MESSAGE)
        assert ran == ["after"]
        assert [each.outcome for each in callbacks.history] == ["error", "error", "ok"]
        assert "ReentrancyError: on_message is called while it runs in the same flow" in str(callbacks.history[0].error)

    def test_also_through_another_hook_and_another_thread(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        class Plugin:
            @hookimpl
            def on_message(self) -> None:
                callbacks.trigger("on_error", **ERROR)

        plug(callbacks, Plugin())
        callbacks.register("on_error", lambda: say(callbacks), timeout=LONG)
        fire("on_message", **MESSAGE)
        assert [(each.hook, each.outcome) for each in callbacks.history] == [
            ("on_error", "error"),
            ("on_message", "ok"),
        ]

    def test_a_body_left_behind_is_a_flow_of_its_own(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        go, done, ran = threading.Event(), threading.Event(), []

        def trigger_later() -> None:
            go.wait(60)
            first.remove()
            callbacks.register("on_message", lambda: ran.append("again"))
            say(callbacks)
            done.set()

        first = callbacks.register("on_message", trigger_later, timeout=SHORT)
        fire("on_message", **MESSAGE)
        go.set()
        assert done.wait(10)
        assert ran == ["again"]

    def test_so_is_a_coroutine_left_behind(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        cancelled, done, ran = threading.Event(), threading.Event(), []

        class Plugin:
            @hookimpl(timeout=SHORT)
            async def on_message(self) -> None:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.set()
                callbacks.withdraw_plugin("shop")
                callbacks.register("on_message", lambda: ran.append("again"))
                await asay(callbacks)
                done.set()

        plug(callbacks, Plugin())
        fire("on_message", **MESSAGE)
        assert done.wait(10)
        assert cancelled.is_set()
        assert ran == ["again"]


def states(callbacks: CallbackManager) -> dict[str, str]:
    """Return the states of the breakers of the one plugin, by hook."""
    return {each.hook: each.state for each in callbacks.breakers}


def let_run(callbacks: CallbackManager, ran: list[str]) -> None:
    """Fire ``on_message`` until its callback runs again, because one that was left behind has come back."""
    count = len(ran)
    while len(ran) == count:
        say(callbacks)


class TestLeftBehind:
    def test_the_third_opens_all_breakers_of_the_plugin_until_one_has_come_back(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        gates = [threading.Event() for _ in range(3)]
        waiting, ran = iter(gates), []

        class Plugin:
            @hookimpl(timeout=SHORT)
            def on_message(self) -> None:
                ran.append("message")
                if (gate := next(waiting, None)) is not None:
                    gate.wait(60)

            @hookimpl
            def on_error(self) -> None:
                ran.append("error")

        plug(callbacks, Plugin())
        for _ in range(2):
            fire("on_message", **MESSAGE)
        assert states(callbacks) == {"on_message": "closed", "on_error": "closed"}
        fire("on_message", **MESSAGE)
        assert states(callbacks) == {"on_message": "open", "on_error": "open"}
        assert {each.reason for each in callbacks.breakers} == {"too many of its calls hang whose time was up"}
        fire("on_message", **MESSAGE)
        fire("on_error", **ERROR)
        assert ran == ["message"] * 3
        assert [each.outcome for each in callbacks.history] == ["timeout"] * 3 + ["skipped"] * 2
        gates[0].set()
        let_run(callbacks, ran)  # the probe is due at once, whatever the time for which breakers open
        assert states(callbacks) == {"on_message": "closed", "on_error": "open"}
        fire("on_error", **ERROR)
        assert states(callbacks) == {"on_message": "closed", "on_error": "closed"}
        assert ran == [*["message"] * 4, "error"]
        for gate in gates:
            gate.set()

    def test_a_probe_that_hangs_too_opens_them_for_longer(self, clock: FakeClock) -> None:
        gates = [threading.Event() for _ in range(4)]
        waiting, ran = iter(gates), []

        class Plugin:
            @hookimpl(timeout=SHORT)
            def on_message(self) -> None:
                ran.append("message")
                if (gate := next(waiting, None)) is not None:
                    gate.wait(60)

        callbacks = CallbackManager(timeout=LONG, clock=clock)
        plug(callbacks, Plugin())
        for _ in range(3):
            say(callbacks)
        gates[0].set()
        let_run(callbacks, ran)
        assert states(callbacks) == {"on_message": "open"}
        for gate in gates:
            gate.set()
        clock.advance(59)
        say(callbacks)
        assert len(ran) == 4
        clock.advance(1)
        let_run(callbacks, ran)
        assert states(callbacks) == {"on_message": "closed"}
        assert callbacks.close(10.0) == 0

    def test_results_hooks_and_local_callbacks_are_skipped_too(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        go, ran = threading.Event(), []

        def hang() -> None:
            ran.append("call")
            go.wait(60)

        callbacks.register("detect_intents", hang, timeout=SHORT)
        callbacks.register("detect_intents", lambda: "inline")
        for _ in range(4):
            results = call("detect_intents", message="hola", context={})
            assert [each.value for each in results] == ["inline"]
        assert ran == ["call"] * 3
        skipped = callbacks.history[6]
        assert skipped.outcome == "skipped"
        assert "3 calls of 'local' hang whose time was up" in str(skipped.error)
        go.set()

    @pytest.mark.parametrize("callbacks", [{"breaker_failures": 1000}], indirect=True)
    def test_a_coroutine_that_swallows_its_cancellation_is_left_behind(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        go, ran, cancelled = threading.Event(), [], threading.Event()

        class Plugin:
            @hookimpl(timeout=SHORT)
            async def on_message(self) -> None:
                ran.append("message")
                while not go.is_set():
                    try:
                        await asyncio.sleep(0.001)
                    except asyncio.CancelledError:
                        cancelled.set()

        plug(callbacks, Plugin())
        while states(callbacks) == {"on_message": "closed"}:
            fire("on_message", **MESSAGE)
        assert callbacks.breakers[0].reason == "too many of its calls hang whose time was up"
        assert len(ran) >= 3
        assert cancelled.is_set()
        go.set()
        let_run(callbacks, ran)
        assert states(callbacks) == {"on_message": "closed"}

    def test_so_is_a_local_one(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        hanging = Hanging()
        callbacks.register("on_message", hanging.swallow, timeout=SHORT)

        async def scenario() -> None:
            await asay(callbacks)
            assert not hanging.ended.is_set()
            hanging.go.set()

        asyncio.run(scenario())
        assert outcomes(callbacks) == [("swallow", "timeout")]
        assert hanging.ended.wait(10)
        assert hanging.cancelled

    def test_a_coroutine_that_ends_when_it_is_cancelled_is_not(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        plugin = AsyncPlugin()
        plug(callbacks, plugin)
        for _ in range(4):
            fire("on_message", **MESSAGE)
            assert plugin.ended.wait(10)
        assert [outcome for _, outcome in outcomes(callbacks)] == ["timeout"] * 4

    def test_a_coroutine_that_a_sync_callback_returned_is_cancelled_and_the_thread_comes_back(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        hanging = Hanging()
        callbacks.register("on_message", lambda: hanging.ahang(), timeout=SHORT)
        fire("on_message", **MESSAGE)
        assert hanging.ended.wait(10)
        assert [outcome for _, outcome in outcomes(callbacks)] == ["timeout"]


class TestAtWork:
    """At most sixteen threads of a plugin are at work at once."""

    def start(self, callbacks: CallbackManager, count: int, inside: threading.Semaphore) -> list[threading.Thread]:
        threads = [threading.Thread(target=say, args=(callbacks,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert inside.acquire(timeout=60)
        return threads

    def test_the_seventeenth_call_is_skipped_which_is_no_failure(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        inside, go, ran = threading.Semaphore(0), threading.Event(), []

        class Plugin:
            @hookimpl
            def on_message(self) -> None:
                inside.release()
                go.wait(60)
                ran.append(threading.current_thread())

        plug(callbacks, Plugin())
        threads = self.start(callbacks, 16, inside)
        for _ in range(6):
            fire("on_message", **MESSAGE)
        assert [each.outcome for each in callbacks.history] == ["skipped"] * 6
        assert "16 calls of 'shop' are at work already" in str(callbacks.history[0].error)
        assert callbacks.breakers[0].state == "closed"
        go.set()
        for thread in threads:
            thread.join(60)
        fire("on_message", **MESSAGE)
        assert [each.outcome for each in callbacks.history] == ["skipped"] * 6 + ["ok"] * 17
        assert len(set(ran[:16])) == 16
        assert ran[16] in ran[:16]

    def test_calls_that_overlap_have_a_time_each(self, callbacks: CallbackManager) -> None:
        """One thread for a plugin, and one clock for its calls, would take seven of these eight for hanging."""
        inside, go = threading.Semaphore(0), threading.Event()

        class Plugin:
            @hookimpl(timeout=60)
            def on_message(self) -> None:
                inside.release()
                go.wait(60)

            @hookimpl(timeout=SHORT)
            def on_error(self) -> None:
                go.wait(60)

        plug(callbacks, Plugin())
        threads = self.start(callbacks, 8, inside)
        callbacks.trigger("on_error", **ERROR)  # one that hangs beside them
        go.set()
        for thread in threads:
            thread.join(60)
        assert sorted(each.outcome for each in callbacks.history) == ["ok"] * 8 + ["timeout"]


class TestOneThread:
    """A plugin may say that it is bound to one thread."""

    class Plugin:
        thread = "one"

        def __init__(self, callbacks: CallbackManager) -> None:
            self.callbacks = callbacks
            self.threads: list[threading.Thread] = []
            self.nested: Callable[[], None] | None = None

        @hookimpl
        def on_message(self) -> None:
            self.threads.append(threading.current_thread())
            if self.nested is not None:
                self.nested()

        @hookimpl(timeout=None)
        def on_error(self) -> None:
            self.threads.append(threading.current_thread())

        @hookimpl
        def detect_intents(self) -> str:
            self.threads.append(threading.current_thread())
            return "found"

    def test_all_its_sync_callbacks_run_there_also_those_without_a_limit(
        self, callbacks: CallbackManager, fire: Callable[..., None], call: Callable[..., Any]
    ) -> None:
        plugin = self.Plugin(callbacks)
        plug(callbacks, plugin)
        fire("on_message", **MESSAGE)
        fire("on_error", **ERROR)
        assert [each.value for each in call("detect_intents", message="", context={})] == ["found"]
        others = [threading.Thread(target=say, args=(callbacks,)) for _ in range(8)]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join(60)
        assert len(plugin.threads) == 11
        assert len(set(plugin.threads)) == 1
        assert plugin.threads[0].name == "thea-shop"

    @pytest.mark.parametrize("nest", ["trigger", "atrigger"])
    def test_a_nested_call_runs_in_place(
        self, callbacks: CallbackManager, fire: Callable[..., None], nest: str
    ) -> None:
        plugin = self.Plugin(callbacks)
        plug(callbacks, plugin)

        def nested() -> None:
            if nest == "trigger":
                callbacks.trigger("on_error", **ERROR)
            else:
                asyncio.run(callbacks.atrigger("on_error", **ERROR))

        plugin.nested = nested
        fire("on_message", **MESSAGE)
        assert len(plugin.threads) == 2
        assert len(set(plugin.threads)) == 1
        assert [each.outcome for each in callbacks.history] == ["ok", "ok"]

    def test_what_a_nested_call_raises_is_contained_there(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        class Failing(self.Plugin):  # type: ignore[name-defined]
            @hookimpl
            def on_error(self) -> None:
                raise SystemExit

        plugin = Failing(callbacks)
        plugin.nested = lambda: callbacks.trigger("on_error", **ERROR)
        plug(callbacks, plugin)
        fire("on_message", **MESSAGE)
        assert [each.outcome for each in callbacks.history] == ["error", "ok"]

    @pytest.mark.parametrize("limit", [SHORT, None])
    def test_a_call_that_would_wait_for_itself_from_another_thread_is_refused(
        self, callbacks: CallbackManager, fire: Callable[..., None], limit: float | None
    ) -> None:
        class Bound:
            thread = "one"

            @hookimpl
            def on_message(self) -> None:
                callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b")

            @hookimpl(timeout=limit)
            def on_error(self) -> None:
                raise AssertionError

        class Between:
            @hookimpl
            def on_state_change(self) -> None:
                callbacks.trigger("on_error", **ERROR)

        plug(callbacks, Bound())
        plug(callbacks, Between(), "between", position=1)
        fire("on_message", **MESSAGE)
        refused = callbacks.history[0]
        assert (refused.hook, refused.outcome) == ("on_error", "error")
        assert "ReentrancyError" in str(refused.error)

    def test_the_wait_for_the_thread_counts_as_the_calls_time(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        inside, go = threading.Event(), threading.Event()

        class Bound:
            thread = "one"

            @hookimpl
            def on_message(self) -> None:
                inside.set()
                go.wait(60)

            @hookimpl(timeout=SHORT)
            def on_error(self) -> None:
                raise AssertionError

        plug(callbacks, Bound())
        first = threading.Thread(target=say, args=(callbacks,))
        first.start()
        inside.wait(10)
        fire("on_error", **ERROR)
        assert [each.outcome for each in callbacks.history] == ["timeout"]
        go.set()
        first.join(10)
        assert [each.outcome for each in callbacks.history] == ["timeout", "ok"]  # the other was never made

    def test_one_that_hangs_is_waited_for_by_the_next(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        go = threading.Event()
        threads = []

        class Bound:
            thread = "one"

            @hookimpl(timeout=SHORT)
            def on_message(self) -> None:
                threads.append(threading.current_thread())
                go.wait(60)

            @hookimpl
            def on_error(self) -> None:
                threads.append(threading.current_thread())

        plug(callbacks, Bound())
        fire("on_message", **MESSAGE)
        threading.Thread(target=go.wait, args=(60,)).start()
        go.set()
        fire("on_error", **ERROR)
        assert [each.outcome for each in callbacks.history] == ["timeout", "ok"]
        assert len(threads) == 2
        assert len(set(threads)) == 1

    def test_its_coroutines_run_on_its_loop_all_the_same(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        loops = []

        class Bound:
            thread = "one"

            @hookimpl
            async def on_message(self) -> None:
                loops.append(asyncio.get_running_loop())

        plug(callbacks, Bound())
        fire("on_message", **MESSAGE)
        assert outcomes(callbacks) == [("on_message", "ok")]


class TestCtrlC:
    @pytest.mark.parametrize("bound", [False, True], ids=["any thread", "one thread"])
    def test_in_the_waiting_thread_it_leaves_the_body_behind_and_passes(
        self, callbacks: CallbackManager, bound: bool
    ) -> None:
        inside, go, ended = threading.Event(), threading.Event(), threading.Event()

        class Plugin:
            thread = "one" if bound else None

            @hookimpl
            def on_message(self) -> None:
                inside.set()
                go.wait(60)
                ended.set()

            @hookimpl
            def on_error(self) -> None: ...

        plug(callbacks, Plugin())
        with pytest.raises(KeyboardInterrupt), ctrl_c(inside):
            say(callbacks)
        assert not ended.is_set()
        assert not callbacks.busy
        go.set()
        assert ended.wait(10)
        callbacks.trigger("on_error", **ERROR)
        assert callbacks.history[-1].outcome == "ok"


class TestCancelledCaller:
    @pytest.mark.parametrize("where", ["thread", "loop"])
    def test_the_rest_of_the_chain_is_done_in_a_task_that_is_owned(
        self, callbacks: CallbackManager, where: str
    ) -> None:
        hanging, ran = Hanging(), []

        class Plugin:
            @hookimpl(priority=1)
            def on_message(self) -> None:
                hanging.hang()
                ran.append("first")

        class Later:
            @hookimpl(priority=1)
            async def on_message(self) -> None:
                hanging.inside.set()
                while not hanging.go.is_set():  # noqa: ASYNC110 -- a thread sets it
                    await asyncio.sleep(0)
                ran.append("first")

        async def scenario() -> None:
            task = asyncio.create_task(asay(callbacks))
            while not hanging.inside.is_set():  # noqa: ASYNC110 -- a thread sets it
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert callbacks.busy
            hanging.go.set()
            while callbacks.busy:  # noqa: ASYNC110 -- nobody awaits the rest
                await asyncio.sleep(0)

        plug(callbacks, Plugin() if where == "thread" else Later())
        callbacks.register("on_message", lambda: ran.append("second"), timeout=LONG)
        callbacks.register("on_message", lambda: ran.append("third"), priority=-1)
        asyncio.run(scenario())
        assert ran == ["first", "second", "third"]
        assert [outcome for _, outcome in outcomes(callbacks)] == ["ok"] * 3

    def test_there_the_limit_counts_on(self, callbacks: CallbackManager) -> None:
        hanging = SyncPlugin()
        ran = []

        async def scenario() -> None:
            task = asyncio.create_task(asay(callbacks))
            while not hanging.inside.is_set():  # noqa: ASYNC110 -- a thread sets it
                await asyncio.sleep(0)
            task.cancel()
            while callbacks.busy:  # noqa: ASYNC110 -- nobody awaits the rest
                await asyncio.sleep(0)

        plug(callbacks, hanging)
        callbacks.register("on_message", lambda: ran.append("after"))
        asyncio.run(scenario())
        assert ran == ["after"]
        assert [outcome for _, outcome in outcomes(callbacks)] == ["timeout", "ok"]
        hanging.go.set()

    def test_a_loop_that_is_closed_under_a_call_takes_nothing_with_it(self, callbacks: CallbackManager) -> None:
        hanging = SyncPlugin()

        async def scenario() -> None:
            asyncio.create_task(asay(callbacks))  # noqa: RUF006 -- its end is what is tested
            while not hanging.inside.is_set():  # noqa: ASYNC110 -- a thread sets it
                await asyncio.sleep(0)

        plug(callbacks, hanging)
        asyncio.run(scenario())
        hanging.go.set()
        assert hanging.ended.wait(10)
        assert not callbacks.busy
        callbacks.trigger("on_error", **ERROR)


class TestNoThreads:
    def test_where_none_can_be_started_the_callback_is_skipped_and_the_others_run(
        self, callbacks: CallbackManager, fire: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        ran = []
        callbacks.register("on_message", lambda: ran.append("on a thread"), timeout=LONG)
        callbacks.register("on_message", lambda: ran.append("after"), priority=-1)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            for _ in range(20):  # as often as there may be threads, and more: none of them counts as at work
                fire("on_message", **MESSAGE)
        assert ran == ["after"] * 20
        skipped = callbacks.history[0]
        assert skipped.outcome == "skipped"
        assert "no thread can be started for 'local' (can't start new thread)" in str(skipped.error)
        assert {each.state for each in callbacks.breakers} == {"closed"}
        fire("on_message", **MESSAGE)
        assert ran[20:] == ["on a thread", "after"]


class TestClosing:
    def test_threads_end_and_are_started_anew_when_they_are_needed(self, callbacks: CallbackManager) -> None:
        threads = []
        callbacks.register("on_message", lambda: threads.append(threading.current_thread()), timeout=LONG)
        say(callbacks)
        assert callbacks.close(10.0) == 0
        assert not threads[0].is_alive()
        say(callbacks)
        assert threads[1] is not threads[0]

    def test_one_that_hangs_is_not_waited_for(self, callbacks: CallbackManager) -> None:
        plugin = SyncPlugin()
        plug(callbacks, plugin)
        say(callbacks)
        assert callbacks.close(3600.0) == 0
        assert not plugin.ended.is_set()
        plugin.go.set()
        plugin.threads[0].join(10)
        assert not plugin.threads[0].is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
class TestFork:
    def test_the_child_has_threads_of_its_own_and_no_body_left_behind(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        plugin = SyncPlugin()
        pids = []
        plug(callbacks, plugin)
        callbacks.register("on_error", lambda: pids.append(os.getpid()), timeout=LONG)
        fire("on_error", **ERROR)
        for _ in range(3):
            fire("on_message", **MESSAGE)

        def check() -> bool:
            fire("on_error", **ERROR)
            plugin.go.set()
            fire("on_message", **MESSAGE)
            return pids[-1] == os.getpid() and callbacks.history[-1].outcome == "ok" and callbacks.close(10.0) == 0

        assert run_in_child(check)
        assert states(callbacks)["on_message"] == "open"
        plugin.go.set()

    def test_a_body_that_forks_goes_on_in_both_and_is_left_alone_in_the_child(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        seen = []

        def check() -> bool:
            ran = []
            with callbacks.register("on_error", lambda: ran.append(threading.current_thread().name), timeout=LONG):
                callbacks.trigger("on_error", **ERROR)
            return ran == ["thea-local"]

        callbacks.register("on_message", lambda: seen.append(run_in_child(check)), timeout=LONG)
        fire("on_message", **MESSAGE)
        assert seen == [True]
        assert outcomes(callbacks) == [("<lambda>", "ok")]

    def test_a_child_that_comes_back_from_a_body_ends(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        """Nobody waits for it there: the caller's thread is not in the child."""
        children = []
        callbacks.register("on_message", lambda: children.append(os.fork()), timeout=LONG)
        fire("on_message", **MESSAGE)
        fire("on_message", **MESSAGE)
        for child in children:
            assert child != 0
            os.waitpid(child, 0)


class TestTheEndOfTheProcess:
    PROGRAM = """
        import asyncio, sys, threading, time
        from datetime import UTC, datetime
        from thea_core import CallbackManager, hookimpl

        class Hanging:
            @hookimpl(timeout=0.05, priority=1)
            {define} on_message(self):
                inside.set()
                time.sleep(3600)

            @hookimpl(timeout=None)
            {define} on_error(self):
                inside.set()
                time.sleep(3600)

        inside = threading.Event()
        callbacks = CallbackManager()
        callbacks.publish_plugins([callbacks.bind_plugin(Hanging(), "hanging", source=1, position=0)])
        callbacks.register("on_message", lambda: print("after"))
        message = dict(user_id="ana", message="hola", timestamp=datetime.now(UTC))
        {fire}
        assert inside.is_set()
        {end}
    """

    @pytest.mark.parametrize("end", ["", "callbacks.close(0.1)", "sys.exit(0)"], ids=["", "closed", "exit"])
    @pytest.mark.parametrize("caller", ["trigger", "atrigger"])
    @pytest.mark.parametrize("define", ["def", "async def"])
    def test_it_is_not_held_up_by_a_callback_that_hangs(self, define: str, caller: str, end: str) -> None:
        """An hour is what the callback sleeps; the process is given a minute."""
        fire = f'callbacks.{caller}("on_message", **message)'
        fire = fire if caller == "trigger" else f"asyncio.run({fire})"
        program = textwrap.dedent(self.PROGRAM).format(define=define, fire=fire, end=end)
        ended = subprocess.run(
            [sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
        assert (ended.returncode, ended.stdout) == (0, "after\n"), ended.stderr
