"""Nesting: a hook is never nested in itself, different hooks nest at most four deep, other flows do not matter."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.callbacks.helpers import MESSAGE, asay, outcomes, plug, say
from thea_core import CallbackManager, ReentrancyError, hookimpl, hookspec
from thea_core.callbacks import flow

REFUSED = "ReentrancyError: on_message is called while it runs in the same flow; a hook is never nested in itself"


def errors(callbacks: CallbackManager) -> list[str]:
    return [each.error for each in callbacks.history if each.error is not None]


class TestAHookInItself:
    def test_a_sync_callback_that_triggers_its_own_event_fails(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        ran = []
        callbacks.register("on_message", lambda: say(callbacks))
        callbacks.register("on_message", lambda: ran.append("after"))
        fire("on_message", **MESSAGE)
        assert ran == ["after"]
        assert errors(callbacks)[0].startswith(REFUSED)

    def test_an_async_callback_that_awaits_its_own_event_fails(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        async def again() -> None:
            await asyncio.sleep(0)
            await asay(callbacks)

        ran = []
        callbacks.register("on_message", again)
        callbacks.register("on_message", lambda: ran.append("after"))
        fire("on_message", **MESSAGE)
        assert ran == ["after"]
        assert errors(callbacks)[0].startswith(REFUSED)

    def test_it_is_refused_across_the_loops_of_plugins(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        class Outer:
            @hookimpl
            async def on_message(self) -> None:
                await callbacks.atrigger("on_state_change", user_id="ana", old_state="a", new_state="b")

        class Inner:
            @hookimpl
            async def on_state_change(self) -> None:
                await asay(callbacks)

        plug(callbacks, Outer(), "outer")
        plug(callbacks, Inner(), "inner", position=1)
        fire("on_message", **MESSAGE)
        assert outcomes(callbacks) == [("on_state_change", "error"), ("on_message", "ok")]
        assert errors(callbacks)[0].startswith(REFUSED)

    def test_it_is_refused_by_way_of_another_loop_in_the_same_thread(self, callbacks: CallbackManager) -> None:
        callbacks.register("on_message", lambda: asyncio.run(asay(callbacks)))
        say(callbacks)
        assert errors(callbacks)[0].startswith(REFUSED)

    def test_it_is_refused_in_a_task_that_the_callback_awaits(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        async def again() -> None:
            await asyncio.create_task(asay(callbacks))

        callbacks.register("on_message", again)
        fire("on_message", **MESSAGE)
        assert errors(callbacks)[0].startswith(REFUSED)

    def test_it_is_refused_in_a_thread_that_an_async_callback_awaits(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        async def again() -> None:
            await asyncio.to_thread(say, callbacks)

        callbacks.register("on_message", again)
        fire("on_message", **MESSAGE)
        assert errors(callbacks)[0].startswith(REFUSED)

    def test_it_is_refused_within_a_result_hook_too(self, callbacks: CallbackManager, call: Callable[..., Any]) -> None:
        callbacks.register("provide_agents", lambda: callbacks.call("provide_agents"))
        assert call("provide_agents") == []
        assert errors(callbacks)[0].startswith("ReentrancyError: provide_agents is called while it runs")

    def test_the_callers_own_argument_faults_are_told_first(self, callbacks: CallbackManager) -> None:
        callbacks.register("on_message", lambda: callbacks.trigger("on_message"))
        say(callbacks)
        assert errors(callbacks)[0].startswith("HookCallError: ")

    @pytest.mark.parametrize("count", [1, 3, 10])
    def test_callbacks_that_all_trigger_their_event_again_cost_one_call_each(
        self, callbacks: CallbackManager, fire: Callable[..., None], count: int
    ) -> None:
        calls = []

        def again() -> None:
            calls.append(1)
            for _ in range(10):
                try:
                    say(callbacks)
                except ReentrancyError:
                    calls.append(0)

        for _ in range(count):
            callbacks.register("on_message", again)
        fire("on_message", **MESSAGE)
        assert sum(calls) == count
        assert len(calls) == 11 * count

    def test_afterwards_the_event_may_be_fired_again(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        callbacks.register("on_message", lambda: say(callbacks))
        fire("on_message", **MESSAGE)
        fire("on_message", **MESSAGE)
        assert [outcome for _, outcome in outcomes(callbacks)] == ["error", "error"]


class TestHooksInEachOther:
    @pytest.fixture
    def five(self, callbacks: CallbackManager) -> list[str]:
        names = ["one", "two", "three", "four", "five"]
        namespace = type("Specs", (), {})
        for name in names:

            def spec(self: object) -> None: ...

            spec.__name__ = name
            setattr(namespace, name, hookspec(spec))
        callbacks.add_hookspecs(namespace)
        return names

    def test_four_hooks_may_nest_and_the_fifth_is_refused(self, callbacks: CallbackManager, five: list[str]) -> None:
        ran = []
        for name, inner in itertools.pairwise(five):
            callbacks.register(name, lambda name=name, inner=inner: ran.append(name) or callbacks.trigger(inner))
        callbacks.register("five", lambda: ran.append("five"))
        callbacks.trigger("one")
        assert ran == ["one", "two", "three", "four"]
        assert errors(callbacks) == [
            "ReentrancyError: five is called within 4 other hooks; hooks nest at most 4 deep",
        ]

    def test_async_callbacks_are_held_to_the_same_depth(self, callbacks: CallbackManager, five: list[str]) -> None:
        ran = []

        def nest(name: str, inner: str) -> None:
            async def callback() -> None:
                ran.append(name)
                await callbacks.atrigger(inner)

            callbacks.register(name, callback)

        for name, inner in itertools.pairwise(five):
            nest(name, inner)
        callbacks.register("five", lambda: ran.append("five"))
        callbacks.trigger("one")
        assert ran == ["one", "two", "three", "four"]

    def test_one_after_another_is_no_nesting(self, callbacks: CallbackManager, five: list[str]) -> None:
        ran = []

        def all_of_them() -> None:
            for name in five[1:]:
                callbacks.trigger(name)

        for name in five[1:]:
            callbacks.register(name, lambda name=name: ran.append(name))
        callbacks.register("one", all_of_them)
        callbacks.trigger("one")
        assert ran == five[1:]


class TestOtherFlows:
    def test_another_thread_is_another_flow(self, callbacks: CallbackManager) -> None:
        ran = []

        def callback(user_id: str) -> None:
            ran.append(user_id)
            if user_id == "ana":
                thread = threading.Thread(
                    target=callbacks.trigger, args=("on_message",), kwargs={**MESSAGE, "user_id": "other"}
                )
                thread.start()
                thread.join()

        callbacks.register("on_message", callback)
        say(callbacks)
        assert ran == ["ana", "other"]

    def test_two_tasks_may_fire_one_event_at_a_time(self, callbacks: CallbackManager) -> None:
        both = asyncio.Barrier(2)

        async def meet() -> None:
            await both.wait()

        async def scenario() -> None:
            await asyncio.gather(asay(callbacks), asay(callbacks))

        callbacks.register("on_message", meet)
        asyncio.run(scenario())
        assert [outcome for _, outcome in outcomes(callbacks)] == ["ok", "ok"]

    def test_a_task_that_outlives_the_call_may_fire_the_event(self, callbacks: CallbackManager) -> None:
        spawned: list[asyncio.Task[None]] = []
        ended = asyncio.Event()

        async def later() -> None:
            await ended.wait()
            await asay(callbacks)

        async def spawn() -> None:
            if not spawned:
                spawned.append(asyncio.create_task(later()))

        async def scenario() -> None:
            await asay(callbacks)
            ended.set()
            await spawned[0]

        callbacks.register("on_message", spawn)
        asyncio.run(scenario())
        assert [outcome for _, outcome in outcomes(callbacks)] == ["ok", "ok"]

    def test_a_task_spawned_by_a_sync_callback_may_fire_the_event(self, callbacks: CallbackManager) -> None:
        spawned: list[asyncio.Task[None]] = []

        def spawn() -> None:
            if not spawned:
                spawned.append(asyncio.get_running_loop().create_task(asay(callbacks)))

        async def scenario() -> None:
            await asay(callbacks)
            await spawned[0]

        callbacks.register("on_message", spawn)
        asyncio.run(scenario())
        assert [outcome for _, outcome in outcomes(callbacks)] == ["ok", "ok"]

    def test_another_managers_hook_is_another_hook(self, callbacks: CallbackManager) -> None:
        other, ran = CallbackManager(), []
        callbacks.register("on_message", lambda: say(other))
        other.register("on_message", lambda: ran.append("other"))
        say(callbacks)
        assert ran == ["other"]

    def test_two_managers_that_fire_each_other_end(self, callbacks: CallbackManager) -> None:
        other, ran = CallbackManager(), []
        callbacks.register("on_message", lambda: ran.append("this") or say(other))
        other.register("on_message", lambda: ran.append("other") or say(callbacks))
        say(callbacks)
        assert ran == ["this", "other"]


class TestFrames:
    def test_what_is_entered_runs_until_it_is_left(self) -> None:
        key = object()
        assert not flow.running(key)
        frame = flow.enter(key)
        assert flow.running(key)
        flow.leave(frame)
        assert not flow.running(key)

    def test_a_copied_context_sees_a_frame_until_it_has_ended(self) -> None:
        key = object()
        frame = flow.enter(key)
        copied = contextvars.copy_context()
        flow.leave(frame)
        assert not copied.run(flow.running, key)

    def test_a_frame_in_one_that_has_ended_is_still_seen(self) -> None:
        outer_key, inner_key = object(), object()
        outer = flow.enter(outer_key)
        inner = flow.enter(inner_key)
        outer.alive = False
        assert flow.running_keys() == {inner_key}
        flow.leave(inner)
        flow.leave(outer)
        assert flow.running_keys() == set()

    def test_what_is_left_in_somebody_elses_context_changes_nothing_there(self) -> None:
        key, other = object(), object()
        frame = contextvars.copy_context().run(flow.enter, key)
        mine = flow.enter(other)
        flow.leave(frame)
        assert flow.running(other)
        flow.leave(mine)

    def test_a_frame_that_is_suspended_goes_on_where_it_was_copied_to(self) -> None:
        key = object()
        frame = flow.enter(key)
        copied = contextvars.copy_context()
        flow.suspend(frame)
        assert not flow.running(key)
        assert copied.run(flow.running, key)
