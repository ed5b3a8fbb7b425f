"""Sync and async are equals: where coroutines run, in which order, and what becomes of them when things end."""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.callbacks.helpers import MESSAGE, asay, outcomes, plug, say
from thea_core import CallbackManager, ReentrancyError, hookimpl
from thea_core.callbacks.loops import Body, LoopJob, LoopPool, LoopThread, new_future, on_loop_thread
from thea_core.callbacks.threads import Stragglers
from thea_core.callbacks.watching import Watch


def here() -> str:
    return threading.current_thread().name


class Plugin:
    """Notes the thread and loop in which it runs."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.loops: set[asyncio.AbstractEventLoop] = set()

    @hookimpl
    async def on_message(self) -> None:
        await asyncio.sleep(0)
        self.threads.append(here())
        self.loops.add(asyncio.get_running_loop())


class TestWhereCoroutinesRun:
    def test_a_plugins_run_on_its_own_loop_whoever_calls(self, callbacks: CallbackManager) -> None:
        plugin = Plugin()
        plug(callbacks, plugin)
        say(callbacks)
        asyncio.run(asay(callbacks))
        thread = threading.Thread(target=say, args=(callbacks,))
        thread.start()
        thread.join()
        assert plugin.threads == ["thea-shop"] * 3
        assert len(plugin.loops) == 1

    def test_its_thread_is_a_daemon_and_starts_at_first_use(self, callbacks: CallbackManager) -> None:
        plug(callbacks, Plugin())
        assert callbacks.loops.names() == []
        before = set(threading.enumerate())
        say(callbacks)
        (thread,) = set(threading.enumerate()) - before
        assert thread.name == "thea-shop"
        assert thread.daemon
        assert callbacks.loops.names() == ["shop"]

    def test_two_plugins_have_two_loops(self, callbacks: CallbackManager) -> None:
        first, second = Plugin(), Plugin()
        plug(callbacks, first, "first")
        plug(callbacks, second, "second", position=1)
        say(callbacks)
        assert first.threads + second.threads == ["thea-first", "thea-second"]
        assert not first.loops & second.loops

    def test_a_local_one_runs_on_the_loop_of_the_atrigger_that_calls_it(self, callbacks: CallbackManager) -> None:
        plugin = Plugin()
        callbacks.register("on_message", plugin.on_message)

        async def scenario() -> None:
            await asay(callbacks)
            assert plugin.loops == {asyncio.get_running_loop()}

        asyncio.run(scenario())

    def test_a_local_one_runs_from_trigger_on_the_managers_loop(self, callbacks: CallbackManager) -> None:
        plugin = Plugin()
        callbacks.register("on_message", plugin.on_message)
        say(callbacks)
        assert plugin.threads == ["thea-local"]

    def test_each_runs_in_a_task_of_its_own(self, callbacks: CallbackManager) -> None:
        tasks = []

        async def note() -> None:
            tasks.append(asyncio.current_task())

        async def scenario() -> None:
            tasks.append(asyncio.current_task())
            await asay(callbacks)

        callbacks.register("on_message", note)
        callbacks.register("on_message", note)
        asyncio.run(scenario())
        assert len(set(tasks)) == 3

    def test_sync_callbacks_run_in_the_callers_thread(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        threads = []
        callbacks.register("on_message", lambda: threads.append(here()))
        fire("on_message", **MESSAGE)
        assert threads == [here()]

    def test_context_variables_travel(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
        seen = []

        class Reader:
            @hookimpl
            async def on_message(self) -> None:
                seen.append(variable.get())

        async def read() -> None:
            seen.append(variable.get())

        plug(callbacks, Reader())
        callbacks.register("on_message", read)
        callbacks.register("on_message", lambda: seen.append(variable.get()))
        variable.set("travels")
        fire("on_message", **MESSAGE)
        assert seen == ["travels"] * 3


class TestOrder:
    def test_both_kinds_run_from_both_calls_in_one_order(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        ran = []

        def register(name: str, priority: int, *, later: bool) -> None:
            async def callback() -> None:
                await asyncio.sleep(0)
                ran.append(name)

            callbacks.register("on_message", callback if later else lambda: ran.append(name), priority=priority)

        class Both:
            @hookimpl(priority=5)
            async def on_message(self) -> None:
                await asyncio.sleep(0)
                ran.append("plugin")

        plug(callbacks, Both())
        register("first", 9, later=True)
        register("second", 7, later=False)
        register("third", 3, later=True)
        register("fourth", 1, later=False)
        fire("on_message", **MESSAGE)
        assert ran == ["first", "second", "plugin", "third", "fourth"]

    def test_a_coroutine_that_a_sync_callback_returns_is_run_too(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        ran = []

        async def later() -> None:
            await asyncio.sleep(0)
            ran.append("later")

        callbacks.register("on_message", lambda: later())
        callbacks.register("on_message", lambda: ran.append("after"))
        fire("on_message", **MESSAGE)
        assert ran == ["later", "after"]

    def test_one_coroutine_returned_twice_fails_the_second_time(self, callbacks: CallbackManager) -> None:
        async def once() -> None: ...

        coroutine = once()
        callbacks.register("on_message", lambda: coroutine)
        say(callbacks)
        say(callbacks)
        assert [outcome for _, outcome in outcomes(callbacks)] == ["ok", "error"]


class TestOnThoseLoops:
    def test_a_sync_trigger_of_a_chain_with_coroutines_is_refused_there(self, callbacks: CallbackManager) -> None:
        problems = []

        class Nesting:
            @hookimpl
            async def on_message(self) -> None:
                try:
                    callbacks.trigger("on_error", user_id="ana", error=ValueError(), traceback="")
                except ReentrancyError as error:
                    problems.append(str(error))

            @hookimpl
            async def on_error(self) -> None: ...

        plug(callbacks, Nesting())
        say(callbacks)
        assert len(problems) == 1
        assert "await atrigger instead" in problems[0]

    def test_there_a_coroutine_of_a_sync_callback_is_that_callbacks_failure(self, callbacks: CallbackManager) -> None:
        ran = []

        async def later() -> None:
            ran.append("never")

        class Nesting:
            @hookimpl
            async def on_message(self) -> None:
                callbacks.trigger("on_error", user_id="ana", error=ValueError(), traceback="")

        plug(callbacks, Nesting())
        callbacks.register("on_error", lambda: later())
        callbacks.register("on_error", lambda: ran.append("after"))
        say(callbacks)
        assert ran == ["after"]
        assert callbacks.history[0].error.startswith("ReentrancyError: ")

    def test_a_sync_trigger_of_a_plain_chain_is_allowed_there(self, callbacks: CallbackManager) -> None:
        ran = []

        class Nesting:
            @hookimpl
            async def on_message(self) -> None:
                ran.append(on_loop_thread())
                callbacks.trigger("on_error", user_id="ana", error=ValueError(), traceback="")

        plug(callbacks, Nesting())
        callbacks.register("on_error", lambda: ran.append("inner"))
        say(callbacks)
        assert ran == [True, "inner"]

    @pytest.mark.parametrize("inner", ["coroutine", "chain"])
    def test_what_it_waits_for_there_on_a_thread_does_not_wait_for_it(
        self, callbacks: CallbackManager, inner: str
    ) -> None:
        """Without a limit nobody would ever go on; with one, the loop would stall until the time is up."""

        async def later() -> None:
            raise AssertionError

        class Nesting:
            thread = "one"

            @hookimpl(timeout=None)
            async def on_message(self) -> None:
                callbacks.trigger("on_error", user_id="ana", error=ValueError(), traceback="")

            @hookimpl(timeout=None)
            def on_error(self) -> object:
                if inner == "coroutine":
                    return later()
                callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b")
                return None

            @hookimpl(timeout=None)
            async def on_state_change(self) -> None:
                raise AssertionError

        plug(callbacks, Nesting())
        say(callbacks)
        refused = callbacks.history[0]
        assert refused.hook == ("on_error" if inner == "coroutine" else "on_state_change")
        assert "its event loop waits for a synchronous trigger around it" in str(refused.error)
        assert [each.outcome for each in callbacks.history][1:] == ["ok"] * (len(callbacks.history) - 1)

    def test_atrigger_works_there(self, callbacks: CallbackManager) -> None:
        class Nesting:
            @hookimpl
            async def on_message(self) -> None:
                await callbacks.atrigger("on_error", user_id="ana", error=ValueError(), traceback="")

            @hookimpl
            async def on_error(self) -> None:
                await asyncio.sleep(0)

        plug(callbacks, Nesting())
        say(callbacks)
        assert outcomes(callbacks) == [("on_error", "ok"), ("on_message", "ok")]


class Misbehaving:
    """Does to its loop whatever it is told to, once."""

    def __init__(self, deed: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        self.deed: Callable[[asyncio.AbstractEventLoop], None] | None = deed
        self.ran = 0

    @hookimpl
    async def on_message(self) -> None:
        deed, self.deed = self.deed, None
        if deed is not None:
            deed(asyncio.get_running_loop())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        self.ran += 1


def stop(loop: asyncio.AbstractEventLoop) -> None:
    loop.stop()


def exit_in_a_callback(loop: asyncio.AbstractEventLoop) -> None:
    def leave() -> None:
        raise SystemExit(1)

    loop.call_soon(leave)


def close(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever = loop.close  # type: ignore[method-assign] -- closes it as soon as it has stopped
    loop.stop()


class TestLoopsThatAreMistreated:
    @pytest.mark.parametrize("deed", [stop, exit_in_a_callback])
    def test_a_plugin_that_stops_its_loop_stops_nobody(
        self, callbacks: CallbackManager, fire: Callable[..., None], deed: Callable[..., None]
    ) -> None:
        plugin, ran = Misbehaving(deed), []
        plug(callbacks, plugin)
        callbacks.register("on_message", lambda: ran.append("after"), priority=-1)
        fire("on_message", **MESSAGE)
        fire("on_message", **MESSAGE)
        assert plugin.ran == 2
        assert ran == ["after", "after"]

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_plugin_that_closes_its_loop_fails_and_gets_a_new_one(
        self, callbacks: CallbackManager, fire: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)  # "Task was destroyed but it is pending!"
        plugin, ran = Misbehaving(close), []
        plug(callbacks, plugin)
        callbacks.register("on_message", lambda: ran.append("after"), priority=-1)
        fire("on_message", **MESSAGE)
        fire("on_message", **MESSAGE)
        assert plugin.ran == 1
        assert ran == ["after", "after"]
        assert [outcome for _, outcome in outcomes(callbacks)] == ["error", "ok", "ok", "ok"]

    def test_a_callback_that_cancels_its_own_task_fails(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        async def cancel_itself() -> None:
            asyncio.current_task().cancel()

        async def cancel_itself_and_wait() -> None:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

        callbacks.register("on_message", cancel_itself)
        callbacks.register("on_message", cancel_itself_and_wait)
        callbacks.register("on_message", lambda: None)
        fire("on_message", **MESSAGE)
        assert [outcome for _, outcome in outcomes(callbacks)] == ["error", "error", "ok"]

    def test_where_no_thread_can_be_started_the_callback_fails_and_the_others_run(
        self, callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        ran = []
        plug(callbacks, Plugin())
        callbacks.register("on_message", lambda: ran.append("after"), priority=-1)
        monkeypatch.setattr(LoopThread, "start", start)
        say(callbacks)
        asyncio.run(asay(callbacks))
        assert ran == ["after", "after"]
        assert callbacks.history[0].error == "RuntimeError: can't start new thread"


def test_a_coroutine_that_goes_on_when_it_is_cancelled_is_not_collected() -> None:
    """It would end, without a word of its plugin's, in the middle of what it does."""
    started, leave = threading.Event(), threading.Event()

    async def stay() -> None:
        started.set()
        while not leave.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    loops, body = LoopPool(), Body()
    future = loops.submit("stays", stay(), body=body)
    assert started.wait(10)
    future.cancel()
    del future  # whoever waited has gone
    assert loops.loop_of("stays").ping().wait(10)  # the cancellation has arrived
    assert loops.loop_of("stays").ping().wait(10)  # and the coroutine has not ended by it
    gc.collect()
    assert body.ended is None
    leave.set()
    assert loops.close(10) == 0


def test_a_coroutine_whose_task_waits_behind_one_that_blocks_the_loop_moves_to_another() -> None:
    held, blocked, release, calls = threading.Event(), threading.Event(), threading.Event(), []

    async def block() -> None:
        blocked.set()
        release.wait(60)

    async def follow() -> str:
        calls.append(here())
        return "followed"

    loops, watch, stragglers, body = LoopPool(), Watch(), Stragglers(lambda: None, lambda: None), Body()
    old = loops.loop_of("blocks")
    old.loop.call_soon_threadsafe(held.wait, 60)
    blocking = loops.submit("blocks", block())
    following = loops.submit("blocks", follow(), body=body)
    held.set()  # the loop makes both tasks now, and then runs the first of them
    assert blocked.wait(60)
    loops.look_after("blocks", body, watch, stragglers, late=False)
    assert following.result(60) == ("followed", None)
    assert stragglers.count == 1
    release.set()
    assert blocking.result(60) == (None, None)
    assert old.ended(60)
    assert calls == ["thea-blocks"]
    watch.close()
    assert loops.close(10) == 0


class TestClosing:
    def hang(self, callbacks: CallbackManager) -> tuple[threading.Thread, threading.Event]:
        """Let a thread wait for a coroutine that never ends."""
        started = threading.Event()

        async def hang() -> None:
            started.set()
            await asyncio.Event().wait()

        callbacks.register("on_message", hang)
        thread = threading.Thread(target=say, args=(callbacks,), daemon=True)
        thread.start()
        assert started.wait(10)
        return thread, started

    def test_it_stops_the_threads(self, callbacks: CallbackManager) -> None:
        before = set(threading.enumerate())  # other tests' managers may not be collected yet
        plug(callbacks, Plugin())
        callbacks.register("on_message", Plugin().on_message)
        say(callbacks)
        assert {each.name for each in set(threading.enumerate()) - before} == {"thea-shop", "thea-local"}
        assert callbacks.close() == 0
        assert callbacks.loops.names() == []
        assert not set(threading.enumerate()) - before

    def test_whoever_waits_for_a_coroutine_is_told_that_it_was_cancelled(self, callbacks: CallbackManager) -> None:
        thread, _ = self.hang(callbacks)
        assert callbacks.close(10.0) == 0
        thread.join(10)
        assert not thread.is_alive()
        assert callbacks.history[0].error == "CancelledError"

    def test_the_next_call_starts_a_new_loop(self, callbacks: CallbackManager) -> None:
        plugin = Plugin()
        plug(callbacks, plugin)
        say(callbacks)
        callbacks.close()
        say(callbacks)
        assert len(plugin.loops) == 2

    def test_a_loop_that_is_blocked_is_counted(self, callbacks: CallbackManager) -> None:
        inside, go = threading.Event(), threading.Event()

        class Blocking:
            @hookimpl
            async def on_message(self) -> None:
                inside.set()
                go.wait(10)

        plug(callbacks, Blocking())
        thread = threading.Thread(target=say, args=(callbacks,))
        thread.start()
        inside.wait(10)
        assert callbacks.close(0.0) == 1
        go.set()
        thread.join(10)

    def test_a_coroutine_whose_time_was_up_is_not_waited_for_for_long(self, caplog: pytest.LogCaptureFixture) -> None:
        async def stay() -> None:
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()

        loops, body = LoopPool(), Body()
        future = loops.submit("stays", stay(), body=body)
        thread = loops.loop_of("stays")
        assert thread.ping().wait(60)
        future.cancel()
        body.late = True
        assert loops.close(60) == 0
        assert thread.loop.is_closed()
        del thread
        gc.collect()
        assert caplog.messages == []  # that its task is destroyed

    def test_one_plugins_loop_may_be_closed_alone(self, callbacks: CallbackManager) -> None:
        plug(callbacks, Plugin(), "first")
        plug(callbacks, Plugin(), "second", position=1)
        say(callbacks)
        assert callbacks.close_plugin("first", 10.0)
        assert callbacks.close_plugin("nobody", 0.0)
        assert callbacks.loops.names() == ["second"]

    def test_a_callback_may_close_the_manager_without_waiting_for_itself(self, callbacks: CallbackManager) -> None:
        closed = []

        class Closing:
            @hookimpl
            async def on_message(self) -> None:
                closed.append(callbacks.close(3600.0))

        plug(callbacks, Closing())
        say(callbacks)
        assert closed == [1]

    def test_a_loop_that_has_ended_takes_no_more(self) -> None:
        async def never() -> Any:
            raise AssertionError

        thread = LoopThread("gone")
        thread.stop()
        assert thread.ended(10)
        job = LoopJob(never(), new_future(), Body())
        assert not thread.submit(job)
        job.give_up()
        _, error = job.future.result()
        assert isinstance(error, asyncio.CancelledError)
        thread.stop()  # and stopping it once more does nothing

    def test_tasks_that_a_plugin_left_on_its_loop_are_cancelled(self, callbacks: CallbackManager) -> None:
        ended = []

        async def background() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        class Spawning:
            @hookimpl
            async def on_message(self) -> None:
                self.task = asyncio.create_task(background())
                await asyncio.sleep(0)

        plug(callbacks, Spawning())
        say(callbacks)
        callbacks.close()
        assert ended == [True]

    def test_a_task_that_raises_when_it_is_cancelled_stops_nothing(self, callbacks: CallbackManager) -> None:
        async def background() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise SystemExit(1)

        class Spawning:
            @hookimpl
            async def on_message(self) -> None:
                self.task = asyncio.create_task(background())
                await asyncio.sleep(0)

        plugin = Spawning()
        plug(callbacks, plugin)
        say(callbacks)
        assert callbacks.close() == 0
        assert isinstance(plugin.task.exception(), SystemExit)

    def test_the_threads_end_with_their_manager(self) -> None:
        before = set(threading.enumerate())
        callbacks = CallbackManager()
        callbacks.register("on_message", Plugin().on_message)
        say(callbacks)
        (thread,) = set(threading.enumerate()) - before
        assert thread.name == "thea-local"
        del callbacks
        gc.collect()
        thread.join(10)
        assert not thread.is_alive()


def test_a_plugin_that_runs_its_own_loop_within_itself_does_not_lose_it(callbacks: CallbackManager) -> None:
    """Python 3.13.0 forgets that a loop runs when ``run_forever`` is called on it; the next call must be answered."""
    ran = []

    class Nested:
        @hookimpl
        async def on_message(self) -> None:
            loop = asyncio.get_running_loop()
            ran.append(loop.is_running())
            loop.run_forever()

    plug(callbacks, Nested())
    say(callbacks)
    say(callbacks)
    assert ran == [True, True]
    assert [each.outcome for each in callbacks.history] == ["error", "error"]
