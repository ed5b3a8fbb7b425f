"""What the manager does for the other parts of Thea: plugins that come and go, single callbacks, events as steps."""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.callbacks.helpers import MESSAGE, plug, say
from thea_core import CallbackManager, RegistrationError, hookimpl
from thea_core.callbacks.steps import adrive, drive

CHANGE = {"user_id": "ana", "old_state": "idle", "new_state": "processing"}


class TestPlugins:
    def plugin(self, ran: list[str], name: str) -> object:
        class Plugin:
            @hookimpl
            def on_message(self) -> None:
                ran.append(name)

            @hookimpl
            def pre_transition(self, context: object) -> None: ...

        return Plugin()

    def test_several_are_published_in_one_step(self, callbacks: CallbackManager) -> None:
        ran: list[str] = []
        bindings = [
            callbacks.bind_plugin(self.plugin(ran, name), name, source=1, position=position)
            for position, name in enumerate(["a", "b"])
        ]
        say(callbacks)
        assert ran == []
        callbacks.publish_plugins(bindings)
        say(callbacks)
        assert ran == ["a", "b"]

    def test_where_one_name_is_taken_none_is_published(self, callbacks: CallbackManager) -> None:
        ran: list[str] = []
        first = callbacks.bind_plugin(self.plugin(ran, "a"), "a", source=1, position=0)
        second = callbacks.bind_plugin(self.plugin(ran, "a"), "a", source=1, position=1)
        with pytest.raises(RegistrationError, match="plugin 'a': that name is taken already"):
            callbacks.publish_plugins([first, second])
        assert callbacks.chain("on_message") == []
        callbacks.publish_plugins([second])
        say(callbacks)
        assert ran == ["a"]

    def test_two_plugins_of_one_name_are_refused(self, callbacks: CallbackManager) -> None:
        plug(callbacks, self.plugin([], "a"))
        with pytest.raises(RegistrationError, match=r"plugin 'shop' \(distribution thea-shop\): that name is taken"):
            plug(callbacks, self.plugin([], "a"))

    def test_the_name_of_local_callbacks_is_taken(self, callbacks: CallbackManager) -> None:
        with pytest.raises(RegistrationError, match="that name is taken"):
            plug(callbacks, self.plugin([], "a"), "local")

    def test_a_plugin_that_is_withdrawn_runs_no_more_and_may_come_back(self, callbacks: CallbackManager) -> None:
        ran: list[str] = []
        plug(callbacks, self.plugin(ran, "a"), "a")
        plug(callbacks, self.plugin(ran, "b"), "b", position=1)
        binding = callbacks.withdraw_plugin("a")
        say(callbacks)
        assert ran == ["b"]
        assert [each.plugin for each in callbacks.plugin_callbacks("pre_transition")] == ["b"]
        assert binding is not None
        callbacks.publish_plugins([binding])
        say(callbacks)
        assert ran == ["b", "a", "b"]

    def test_withdrawing_one_that_is_not_there_does_nothing(self, callbacks: CallbackManager) -> None:
        assert callbacks.withdraw_plugin("nobody") is None

    def test_a_plugin_that_is_withdrawn_within_a_call_still_runs_in_it(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        ran: list[str] = []
        callbacks.register("on_message", lambda: callbacks.withdraw_plugin("shop"))
        plug(callbacks, self.plugin(ran, "a"))
        fire("on_message", **MESSAGE)
        fire("on_message", **MESSAGE)
        assert ran == ["a"]

    def test_a_dependent_is_told_when_chains_change(self, callbacks: CallbackManager) -> None:
        class Dependent:
            told = 0

            def chains_changed(self) -> None:
                self.told += 1

        dependent = Dependent()
        callbacks.tell_changes(dependent)
        before = callbacks.edition
        registration = callbacks.register("on_message", lambda: None)
        registration.remove()
        assert dependent.told == 2
        assert callbacks.edition > before


class TestWaitingForOldCalls:
    def test_it_returns_at_once_where_none_runs(self, callbacks: CallbackManager) -> None:
        assert callbacks.wait_for_old_calls(0.0)

    def test_it_waits_for_a_call_that_began_before_the_change(self, callbacks: CallbackManager) -> None:
        inside, go, results = threading.Event(), threading.Event(), []

        def hold() -> None:
            inside.set()
            go.wait(10)

        registration = callbacks.register("on_message", hold)
        calling = threading.Thread(target=say, args=(callbacks,))
        calling.start()
        inside.wait(10)
        registration.remove()
        assert not callbacks.wait_for_old_calls(0.0)
        waiting = threading.Thread(target=lambda: results.append(callbacks.wait_for_old_calls(10.0)))
        waiting.start()
        go.set()
        waiting.join(10)
        calling.join(10)
        assert results == [True]

    def test_it_does_not_wait_for_a_call_that_began_after_the_change(self, callbacks: CallbackManager) -> None:
        inside, go = threading.Event(), threading.Event()

        def hold() -> None:
            inside.set()
            go.wait(10)

        callbacks.register("on_message", hold)
        calling = threading.Thread(target=say, args=(callbacks,))
        calling.start()
        inside.wait(10)
        assert callbacks.wait_for_old_calls(0.0)
        go.set()
        calling.join(10)

    def test_within_such_a_call_it_does_not_wait_for_itself(self, callbacks: CallbackManager) -> None:
        results = []

        def change() -> None:
            registration.remove()
            results.append(callbacks.wait_for_old_calls(3600.0))

        registration = callbacks.register("on_message", change)
        say(callbacks)
        assert results == [False]

    def test_it_waits_for_a_chain_that_is_not_compiled(self, callbacks: CallbackManager) -> None:
        call = callbacks.begin_call()
        callbacks.register("on_message", lambda: None)
        assert not callbacks.wait_for_old_calls(0.0)
        callbacks.end_call(call)
        assert callbacks.wait_for_old_calls(0.0)


class TestInvoke:
    def invoke(self, callbacks: CallbackManager, plugin: object, **arguments: Any) -> Any:
        binding = callbacks.bind_plugin(plugin, "shop", source=1, position=0)
        (callback,) = binding.callbacks
        return drive(callbacks.invoke(callback, **arguments))

    def test_it_calls_one_callback_and_returns_its_value(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @hookimpl
            def on_shutdown(self, timeout: float) -> float:
                return timeout

        assert self.invoke(callbacks, Plugin(), timeout=2.0) == 2.0

    def test_it_waits_for_a_coroutine_whoever_returns_it(self, callbacks: CallbackManager) -> None:
        class Plugin:
            async def later(self, seconds: float) -> float:
                return seconds

            @hookimpl
            def on_shutdown(self, *, timeout: float) -> Any:
                return self.later(timeout)

        assert self.invoke(callbacks, Plugin(), timeout=2.0) == 2.0

    @pytest.mark.parametrize("error", [ValueError, SystemExit])
    def test_what_it_raises_is_raised(self, callbacks: CallbackManager, error: type[BaseException]) -> None:
        class Plugin:
            @hookimpl
            async def on_shutdown(self) -> None:
                raise error

        with pytest.raises(error):
            self.invoke(callbacks, Plugin(), timeout=2.0)


class TestFire:
    def test_parts_of_thea_fire_events_as_steps(self, callbacks: CallbackManager) -> None:
        got = []
        callbacks.register("on_message", lambda message: got.append(message))
        drive(callbacks.fire("on_message", **MESSAGE))
        asyncio.run(adrive(callbacks.fire("on_message", **MESSAGE)))
        assert got == ["hola", "hola"]

    def test_an_event_without_callbacks_needs_no_step(self, callbacks: CallbackManager) -> None:
        assert list(callbacks.fire("on_message", **MESSAGE)) == []
