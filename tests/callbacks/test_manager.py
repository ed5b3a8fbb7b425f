"""Calling hooks: what a caller is told at once, what a chain contains, the extras, registering within calls."""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.callbacks.helpers import MESSAGE, NOW, asay, outcomes, plug, say
from tests.support import FakeClock
from thea_core import CallbackManager, HookCallError, RegistrationError, UnknownHookError, hookimpl

CHANGE = {"user_id": "ana", "old_state": "idle", "new_state": "processing"}


class BadStringError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class OwnBaseError(BaseException):
    pass


def raising(error: BaseException | type[BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def raising_later(error: BaseException | type[BaseException]) -> Callable[[], Any]:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    return fail


def recursing() -> None:
    recursing()


ERRORS = [
    ValueError("bad"),
    SystemExit(3),
    GeneratorExit(),
    asyncio.CancelledError("own"),
    BadStringError(),
    MemoryError(),
    OwnBaseError("own"),
    StopIteration(1),
    StopAsyncIteration(),
    BaseExceptionGroup("several", [KeyError("a"), SystemExit(1)]),
]


class TestMisuse:
    def test_a_missing_argument_raises_at_once_and_calls_nobody(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        called = []
        callbacks.register("on_message", lambda: called.append(1))
        with pytest.raises(HookCallError, match="the argument 'timestamp' is missing"):
            fire("on_message", user_id="ana", message="hola")
        assert called == []

    def test_an_unknown_argument_raises_with_a_suggestion(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        with pytest.raises(HookCallError, match=r"'userid' is unknown \(did you mean user_id\?\)"):
            fire("on_message", **MESSAGE, userid="ana")

    def test_every_fault_is_told_at_once(self, callbacks: CallbackManager) -> None:
        with pytest.raises(HookCallError) as caught:
            callbacks.trigger("on_state_change", user="ana", new_state="idle")
        text = str(caught.value)
        assert text.startswith("on_state_change(user_id, old_state, new_state) was called wrongly: ")
        assert "'user_id' is missing; the argument 'old_state' is missing; the argument 'user' is unknown" in text

    def test_it_is_a_type_error_without_the_internal_one(self, callbacks: CallbackManager) -> None:
        with pytest.raises(TypeError) as caught:
            callbacks.trigger("on_message", user_id="ana")
        assert caught.value.__suppress_context__

    def test_an_unknown_hook_raises_with_a_suggestion(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        with pytest.raises(UnknownHookError, match=r"no hook 'on_mesage' \(did you mean on_message\?\)"):
            fire("on_mesage", **MESSAGE)

    @pytest.mark.parametrize("name", [None, 3, [], ("on_message",)])
    def test_a_hook_that_is_no_name_is_unknown(self, callbacks: CallbackManager, name: Any) -> None:
        with pytest.raises(UnknownHookError):
            callbacks.trigger(name)
        with pytest.raises(UnknownHookError):
            callbacks.call(name)

    def test_trigger_refuses_a_result_hook(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        with pytest.raises(HookCallError, match=r"provide_agents\(\), which is a result hook.*; use call or acall"):
            fire("provide_agents")

    def test_call_refuses_an_event(self, callbacks: CallbackManager, call: Callable[..., Any]) -> None:
        with pytest.raises(HookCallError, match=r"on_message\(.*\), which is an event; use trigger or atrigger"):
            call("on_message", **MESSAGE)

    @pytest.mark.parametrize(
        ("hook", "fix"), [("pre_transition", "use fsm.handle"), ("on_startup", "the application calls it")]
    )
    def test_neither_takes_a_transition_or_life_cycle_hook(
        self, callbacks: CallbackManager, hook: str, fix: str
    ) -> None:
        for method in (callbacks.trigger, callbacks.call):
            with pytest.raises(HookCallError, match=fix):
                method(hook)

    @pytest.mark.parametrize("size", [-1, 1.5, "10", True, None])
    def test_the_size_of_the_history_is_a_whole_number(self, size: Any) -> None:
        with pytest.raises(ValueError, match="history_size must be a whole number, 0 or more"):
            CallbackManager(history_size=size)


class TestIsolation:
    @pytest.mark.parametrize("make", [raising, raising_later], ids=["sync", "async"])
    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
    def test_whatever_a_callback_raises_stays_within_and_the_others_run(
        self, callbacks: CallbackManager, fire: Callable[..., None], make: Callable[..., Any], error: BaseException
    ) -> None:
        ran = []
        callbacks.register("on_message", lambda: ran.append("before"))
        callbacks.register("on_message", make(error))
        callbacks.register("on_message", lambda: ran.append("after"))
        fire("on_message", **MESSAGE)
        assert ran == ["before", "after"]
        assert [outcome for _, outcome in outcomes(callbacks)] == ["ok", "error", "ok"]

    @pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
    def test_what_a_plugins_coroutine_raises_stays_within(
        self, callbacks: CallbackManager, fire: Callable[..., None], error: type[BaseException]
    ) -> None:
        class Plugin:
            @hookimpl
            async def on_message(self) -> None:
                raise error

        ran = []
        plug(callbacks, Plugin())
        callbacks.register("on_message", lambda: ran.append("after"), priority=-1)
        for _ in range(2):
            fire("on_message", **MESSAGE)
        assert ran == ["after", "after"]

    def test_endless_recursion_of_a_callback_stays_within(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        ran = []
        callbacks.register("on_message", recursing)
        callbacks.register("on_message", lambda: ran.append("after"))
        fire("on_message", **MESSAGE)
        assert ran == ["after"]
        assert callbacks.history[0].error.startswith("RecursionError: ")

    @pytest.mark.parametrize("make", [raising, raising_later], ids=["sync", "async"])
    def test_ctrl_c_passes_and_leaves_nothing_behind(
        self, callbacks: CallbackManager, fire: Callable[..., None], make: Callable[..., Any]
    ) -> None:
        ran = []
        registration = callbacks.register("on_message", make(KeyboardInterrupt))
        callbacks.register("on_message", lambda: ran.append("after"))
        with pytest.raises(KeyboardInterrupt):
            fire("on_message", **MESSAGE)
        assert ran == []
        assert not callbacks.busy
        registration.remove()
        fire("on_message", **MESSAGE)
        assert ran == ["after"]

    def test_ctrl_c_in_a_plugins_coroutine_passes(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        class Plugin:
            @hookimpl
            async def on_message(self) -> None:
                raise KeyboardInterrupt

        plug(callbacks, Plugin())
        with pytest.raises(KeyboardInterrupt):
            fire("on_message", **MESSAGE)

    def test_a_chain_that_is_thrown_away_half_way_ends_its_call(self, callbacks: CallbackManager) -> None:
        async def wait() -> None:
            await asyncio.Event().wait()

        callbacks.register("on_message", wait)

        async def scenario() -> None:
            call = asay(callbacks)
            call.send(None)
            assert callbacks.busy
            call.close()
            assert not callbacks.busy
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run(scenario())

    def test_what_a_callback_returns_is_ignored(self, callbacks: CallbackManager) -> None:
        callbacks.register("on_message", lambda: "something")
        assert callbacks.trigger("on_message", **MESSAGE) is None


class TestExtras:
    def fired(self, callbacks: CallbackManager, *names: str, **given: Any) -> list[Any]:
        got: list[Any] = []
        for name in names:
            callbacks.register("on_state_change", eval(f"lambda {name}: got.append({name})", {"got": got}))
        callbacks.trigger("on_state_change", **CHANGE, **given)
        return got

    def test_every_callback_of_one_occurrence_gets_one_id_of_36_characters(self, callbacks: CallbackManager) -> None:
        first, second = self.fired(callbacks, "event_id", "event_id")
        assert first == second
        assert len(first) == 36
        assert uuid.UUID(first).version == 4

    def test_two_occurrences_have_two_ids(self, callbacks: CallbackManager) -> None:
        got = []
        callbacks.register("on_state_change", lambda event_id: got.append(event_id))
        for _ in range(2):
            callbacks.trigger("on_state_change", **CHANGE)
        assert got[0] != got[1]

    def test_sync_and_async_callbacks_get_the_same_id(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        got = []

        async def later(event_id: str) -> None:
            got.append(event_id)

        callbacks.register("on_state_change", lambda event_id: got.append(event_id))
        callbacks.register("on_state_change", later)
        fire("on_state_change", **CHANGE)
        assert len(got) == 2
        assert len(set(got)) == 1

    def test_the_id_comes_from_the_given_randomness(self) -> None:
        callbacks = CallbackManager(entropy=lambda size: b"\0" * size)
        assert self.fired(callbacks, "event_id") == ["00000000-0000-4000-8000-000000000000"]

    def test_no_id_is_made_where_nobody_takes_it(self) -> None:
        asked = []

        def entropy(size: int) -> bytes:
            asked.append(size)
            return bytes(size)

        callbacks = CallbackManager(entropy=entropy)
        callbacks.register("on_state_change", lambda user_id, **rest: None)
        callbacks.trigger("on_state_change", **CHANGE)
        assert asked == []

    def test_the_time_is_the_clocks_aware_in_utc(self, clock: FakeClock) -> None:
        clock.advance(5)
        callbacks = CallbackManager(clock=clock)
        (timestamp,) = self.fired(callbacks, "timestamp")
        assert timestamp == NOW + timedelta(seconds=5)
        assert timestamp.utcoffset() == timedelta(0)

    def test_the_machines_clock_is_aware_in_utc_too(self, callbacks: CallbackManager) -> None:
        (timestamp,) = self.fired(callbacks, "timestamp")
        assert timestamp.tzinfo is UTC

    def test_there_is_no_session_outside_a_turn(self, callbacks: CallbackManager) -> None:
        assert self.fired(callbacks, "session_id") == [None]

    def test_the_caller_may_give_them(self, callbacks: CallbackManager) -> None:
        given = {"event_id": "e", "session_id": "s", "timestamp": datetime(2020, 1, 1, tzinfo=UTC)}
        assert self.fired(callbacks, *given, **given) == list(given.values())

    def test_the_caller_may_give_what_nobody_takes(self, callbacks: CallbackManager) -> None:
        assert self.fired(callbacks, "user_id", event_id="e") == ["ana"]

    def test_a_hook_that_has_one_of_them_itself_offers_its_own(self, callbacks: CallbackManager) -> None:
        got = []
        callbacks.register("on_session_timeout", lambda session_id: got.append(session_id))
        callbacks.trigger("on_session_timeout", user_id="ana", session_id="s1")
        assert got == ["s1"]
        with pytest.raises(HookCallError, match="'session_id' is missing"):
            callbacks.trigger("on_session_timeout", user_id="ana")

    def test_result_hooks_have_none(self, callbacks: CallbackManager) -> None:
        with pytest.raises(RegistrationError, match="asks for 'event_id'"):
            callbacks.register("provide_agents", lambda event_id: None)
        with pytest.raises(HookCallError, match="'event_id' is unknown"):
            callbacks.call("provide_agents", event_id="e")


class TestChangesWhileCallsRun:
    def test_a_callback_that_is_registered_within_a_call_runs_from_the_next_call_on(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        ran = []
        adding = callbacks.register(
            "on_message", lambda: callbacks.register("on_message", lambda: ran.append("new")) and ran.append("adding")
        )
        fire("on_message", **MESSAGE)
        assert ran == ["adding"]
        adding.remove()
        fire("on_message", **MESSAGE)
        assert ran == ["adding", "new"]

    def test_a_callback_that_is_removed_within_a_call_still_runs_in_it(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        ran = []
        callbacks.register("on_message", lambda: last.remove())
        last = callbacks.register("on_message", lambda: ran.append("last"))
        fire("on_message", **MESSAGE)
        fire("on_message", **MESSAGE)
        assert ran == ["last"]

    def test_a_callback_may_remove_itself(self, callbacks: CallbackManager) -> None:
        ran = []
        own = callbacks.register("on_message", lambda: own.remove() or ran.append("once"))
        say(callbacks)
        say(callbacks)
        assert ran == ["once"]

    def test_a_callback_that_is_removed_by_another_thread_still_runs_in_the_call_that_has_begun(
        self, callbacks: CallbackManager
    ) -> None:
        ran = []

        def remove() -> None:
            thread = threading.Thread(target=last.remove)
            thread.start()
            thread.join()

        callbacks.register("on_message", remove)
        last = callbacks.register("on_message", lambda: ran.append("last"))
        say(callbacks)
        assert ran == ["last"]
        assert len(callbacks.chain("on_message")) == 1

    def test_threads_that_register_and_remove_while_others_trigger_disturb_nobody(
        self, callbacks: CallbackManager
    ) -> None:
        count, seen = 200, []
        callbacks.register("on_message", lambda: seen.append(1))

        def change() -> None:
            for _ in range(count // 4):
                with callbacks.register("on_message", lambda: None, priority=1):
                    pass

        def fire() -> None:
            for _ in range(count):
                say(callbacks)

        threads = [threading.Thread(target=target) for target in (change, fire, change, fire)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 2 * count
        assert len(callbacks.chain("on_message")) == 1


def test_two_managers_do_not_know_of_each_other(callbacks: CallbackManager) -> None:
    other, ran = CallbackManager(), []
    callbacks.register("on_message", lambda: ran.append("this"))
    other.register("on_message", lambda: ran.append("other"))
    say(other)
    assert ran == ["other"]
    assert len(callbacks.history) == 0


def test_it_lists_its_hooks(callbacks: CallbackManager) -> None:
    names = [hook.name for hook in callbacks.hooks]
    assert names[:2] == ["on_agent_delegated", "on_error"]
    assert {"on_message", "pre_transition", "detect_intents", "on_startup"} <= set(names)
    assert callbacks.hook("on_message").signature == "on_message(user_id, message, timestamp)"
