"""What ``register`` returns, and how a plugin's callbacks are found."""

from __future__ import annotations

from typing import Any

import pluggy
import pytest

from tests.callbacks.helpers import plug, say
from thea_core import CallbackManager, Registration, RegistrationError, hookimpl
from thea_core.callbacks.chain import ChainEntry


class TestRegistration:
    def test_remove_takes_the_callback_out(self, callbacks: CallbackManager) -> None:
        ran = []
        registration = callbacks.register("on_message", lambda: ran.append(1))
        assert isinstance(registration, Registration)
        registration.remove()
        say(callbacks)
        assert ran == []

    def test_removing_it_twice_is_removing_it_once(self, callbacks: CallbackManager) -> None:
        def greet() -> None: ...

        first = callbacks.register("on_message", greet)
        callbacks.register("on_message", greet)
        first.remove()
        first.remove()
        assert len(callbacks.chain("on_message")) == 1

    def test_with_removes_it_at_the_end_of_the_block(self, callbacks: CallbackManager) -> None:
        with callbacks.register("on_message", lambda: None) as registration:
            assert isinstance(registration, Registration)
            assert len(callbacks.chain("on_message")) == 1
        assert callbacks.chain("on_message") == []

    def test_with_removes_it_also_where_the_block_raises(self, callbacks: CallbackManager) -> None:
        with pytest.raises(KeyError), callbacks.register("on_message", lambda: None):
            raise KeyError
        assert callbacks.chain("on_message") == []


class TestPlugins:
    def entries(self, callbacks: CallbackManager, plugin: object, hook: str = "on_message") -> list[ChainEntry]:
        plug(callbacks, plugin)
        return callbacks.chain(hook)

    def test_marked_functions_are_found_with_their_options(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @hookimpl(priority=4)
            def on_message(self) -> None: ...

            @hookimpl(states=("executing",))
            def pre_transition(self) -> None: ...

            def on_error(self) -> None:
                """Not marked."""

        (entry,) = self.entries(callbacks, Plugin())
        assert entry.priority == 4
        assert callbacks.chain("pre_transition")[0].states == ("executing",)
        assert callbacks.chain("on_error") == []

    @pytest.mark.parametrize("mark_first", [True, False])
    @pytest.mark.parametrize("kind", [staticmethod, classmethod])
    def test_static_methods_and_class_methods_keep_their_options(
        self, callbacks: CallbackManager, kind: Any, mark_first: bool
    ) -> None:
        def on_message(*_: object) -> None: ...

        mark = hookimpl(priority=4)
        plugin = type("Plugin", (), {"on_message": kind(mark(on_message)) if mark_first else mark(kind(on_message))})
        (entry,) = self.entries(callbacks, plugin())
        assert entry.priority == 4

    def test_an_inherited_callback_is_found(self, callbacks: CallbackManager) -> None:
        class Base:
            @hookimpl
            def on_message(self) -> None: ...

        class Plugin(Base):
            pass

        assert len(self.entries(callbacks, Plugin())) == 1

    def test_properties_of_a_plugin_are_not_run(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @property
            def client(self) -> object:
                raise RuntimeError("not connected")

            @hookimpl
            def on_message(self) -> None: ...

        assert len(self.entries(callbacks, Plugin())) == 1

    def test_a_marker_of_pluggys_own_does_as_well(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @pluggy.HookimplMarker("thea")
            def on_message(self) -> None: ...

        (entry,) = self.entries(callbacks, Plugin())
        assert (entry.priority, entry.states) == (0, ())

    @pytest.mark.parametrize(
        ("plugin", "problem"), [(type("P", (), {}), "is a class, not an instance"), (None, "is None")]
    )
    def test_a_class_or_none_is_refused(self, callbacks: CallbackManager, plugin: object, problem: str) -> None:
        with pytest.raises(RegistrationError, match=problem) as caught:
            plug(callbacks, plugin)
        assert str(caught.value).startswith("plugin 'shop' (distribution thea-shop): ")

    def test_a_plugin_without_callbacks_is_refused(self, callbacks: CallbackManager) -> None:
        with pytest.raises(RegistrationError, match=r"implements no hook; mark its functions with @hookimpl"):
            plug(callbacks, object())

    def test_an_unknown_hook_is_refused_with_place_suggestion_and_fix(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @hookimpl
            def on_mesage(self) -> None: ...

        with pytest.raises(RegistrationError) as caught:
            plug(callbacks, Plugin())
        text = str(caught.value)
        assert f"Plugin.on_mesage at {__file__}:" in text
        assert "implements 'on_mesage', and there is no such hook (did you mean on_message?)" in text
        assert "to do: correct the name, or mark it optionalhook=True" in text

    def test_an_optional_callback_of_an_unknown_hook_is_left_out(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @hookimpl(optionalhook=True)
            def on_something_of_another_plugin(self) -> None: ...

            @hookimpl
            def on_message(self) -> None: ...

        assert len(self.entries(callbacks, Plugin())) == 1

    def test_a_plugin_of_which_one_function_does_not_fit_leaves_nothing_behind(
        self, callbacks: CallbackManager
    ) -> None:
        class Plugin:
            @hookimpl
            def on_error(self) -> None: ...

            @hookimpl
            def on_message(self, colour: str) -> None: ...

        with pytest.raises(RegistrationError):
            plug(callbacks, Plugin())
        assert callbacks.chain("on_error") == []

    def test_states_belong_to_transition_hooks(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @hookimpl(states=("executing",))
            def on_message(self) -> None: ...

        with pytest.raises(RegistrationError, match="only transition hooks are limited to states"):
            plug(callbacks, Plugin())

    @pytest.mark.parametrize(
        ("guard", "hook", "expected"), [(True, "pre_transition", True), (True, "on_message", False)]
    )
    def test_only_transition_callbacks_of_a_guard_guard(
        self, callbacks: CallbackManager, guard: bool, hook: str, expected: bool
    ) -> None:
        class Plugin:
            @hookimpl(specname=hook)
            def callback(self) -> None: ...

        binding = callbacks.bind_plugin(Plugin(), "guard", source=1, position=0, guard=guard)
        found = binding.callback(hook)
        assert found is not None
        assert found.guard is expected
        assert binding.callback("on_error") is None
