"""What one plugin needs while it runs: what it may say of itself, and how threads, queue and breakers work together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.callbacks.background import PATIENCE, Shop, closed_afterwards, tell
from tests.support import FakeClock
from thea_core import CallbackManager, RegistrationError, hookimpl
from thea_core.callbacks.binding import Origin
from thea_core.callbacks.runtime import BACKGROUND, DURABLE, INLINE, PluginLimits, Runtime, declared


@pytest.fixture
def callbacks(clock: FakeClock) -> Iterator[CallbackManager]:
    with closed_afterwards(clock=clock) as manager:
        yield manager


class Plain:
    @hookimpl(timeout=None)
    def on_message(self) -> None:
        """Do nothing."""

    @hookimpl(timeout=None)
    def on_state_change(self) -> None:
        """Do nothing."""

    @hookimpl(timeout=None)
    def on_flush(self) -> None:
        """Do nothing."""


def runtime_of(callbacks: CallbackManager, plugin: object, **limits: Any) -> Runtime:
    binding = callbacks.bind_plugin(plugin, "shop", source=3, position=0, limits=PluginLimits(**limits))
    callbacks.publish_plugins([binding])
    return binding.runtime


class TestDeclared:
    def test_a_plugin_that_says_nothing_is_called_in_the_call_on_any_thread(self) -> None:
        assert declared(Plain(), Origin("shop")) == (False, INLINE)

    @pytest.mark.parametrize("delivery", [INLINE, BACKGROUND, DURABLE, None])
    def test_it_may_say_how_it_wants_its_events(self, delivery: str | None) -> None:
        plugin: Any = Plain()
        plugin.delivery = delivery
        assert declared(plugin, Origin("shop")) == (False, delivery or INLINE)

    def test_it_may_be_bound_to_one_thread(self) -> None:
        plugin: Any = Plain()
        plugin.thread = "one"
        assert declared(plugin, Origin("shop")) == (True, INLINE)

    @pytest.mark.parametrize(
        ("name", "value", "choices"),
        [("thread", "two", "'one'"), ("delivery", 1, "'inline', 'background' or 'durable'")],
    )
    def test_anything_else_is_refused(self, name: str, value: object, choices: str) -> None:
        plugin = Plain()
        setattr(plugin, name, value)
        with pytest.raises(RegistrationError) as info:
            declared(plugin, Origin("shop", "thea-shop"))
        assert str(info.value) == (
            f"plugin 'shop' (distribution thea-shop): its attribute {name} is {value!r}; "
            f"it must be {choices}, if it is there at all"
        )
        assert info.value.plugin == "shop"


class TestRuntime:
    def test_there_is_a_queue_only_in_the_background(self, callbacks: CallbackManager) -> None:
        assert runtime_of(callbacks, Plain()).queue is None

    def test_the_operator_may_put_any_plugin_there(self, callbacks: CallbackManager) -> None:
        runtime = runtime_of(callbacks, Plain(), delivery=BACKGROUND, queue_size=1)
        assert runtime.queue is not None
        assert runtime.queue.on_flush is not None
        assert [(each.hook, each.state) for each in callbacks.breakers] == [
            ("on_flush", "closed"),
            ("on_message", "closed"),
            ("on_state_change", "closed"),
        ]

    def test_there_is_one_breaker_for_each_hook_of_which_it_is_asked(self, callbacks: CallbackManager) -> None:
        runtime = runtime_of(callbacks, Plain())
        assert runtime.breaker("on_message") is runtime.breaker("on_message")
        assert len(runtime.breakers) == 2

    def test_crowded_it_opens_all_breakers_and_relieved_it_lets_each_probe(self, callbacks: CallbackManager) -> None:
        runtime = runtime_of(callbacks, Plain())
        runtime.trip()
        assert [(each.state, each.reason) for each in callbacks.breakers] == [
            ("open", "too many of its calls hang whose time was up")
        ] * 2
        runtime.relieve()
        callbacks.trigger("on_message", user_id="ana", message="hola", timestamp=None)
        assert runtime.breaker("on_message").state == "closed"

    def test_closed_its_threads_end_and_what_is_put_afterwards_is_delivered(self, callbacks: CallbackManager) -> None:
        shop = Shop()
        runtime = runtime_of(callbacks, shop)
        tell(callbacks, "a")
        callbacks.flush(PATIENCE)
        runtime.close()
        shop.threads[0].join(PATIENCE)
        assert not shop.threads[0].is_alive()
        tell(callbacks, "b")
        callbacks.flush(PATIENCE)
        assert shop.heard == ["a", "b"]

    def test_it_may_be_closed_by_its_own_delivery(self, callbacks: CallbackManager) -> None:
        threads: list[threading.Thread] = []

        class Closing:
            delivery = BACKGROUND

            @hookimpl
            def on_message(self) -> None:
                threads.append(threading.current_thread())
                runtime.close()

        runtime = runtime_of(callbacks, Closing())
        tell(callbacks, "a")
        assert callbacks.flush(PATIENCE) == 0
        threads[0].join(PATIENCE)
        assert not threads[0].is_alive()

    def test_one_that_is_switched_off_is_flushed_no_more(self, callbacks: CallbackManager) -> None:
        shop = Shop(hangs=True)
        runtime = runtime_of(callbacks, shop)
        tell(callbacks, "a")
        assert shop.inside.wait(PATIENCE)
        callbacks.close_runtime(runtime)
        assert callbacks.flush(PATIENCE) == 0
        shop.go.set()
        assert runtime.queue is not None
        assert runtime.queue.flush(PATIENCE) == 0
