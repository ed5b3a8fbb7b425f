"""The known hooks, and adding some."""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import types
from typing import Any

import pytest

from tests.callbacks.helpers import plug
from thea_core import CallbackManager, HookCallError, RegistrationError, hookimpl, hookspec
from thea_core.callbacks.hooks import Kind, suggestion


class Specs:
    @hookspec
    def on_order(self, order: str, amount: int = 1) -> None:
        """Called when somebody orders."""

    @hookspec(collect=True)
    def provide_prices(self) -> list[int]:
        """Called to learn prices."""

    @hookspec(firstresult=True)
    def find_price(self, order: str) -> int | None:
        """Called to learn one price."""

    def no_hook(self) -> None: ...


class TestAdding:
    @pytest.mark.parametrize("namespace", [Specs, Specs()], ids=["class", "instance"])
    def test_a_class_or_an_instance_adds_events_and_result_hooks(
        self, callbacks: CallbackManager, namespace: object
    ) -> None:
        callbacks.add_hookspecs(namespace)
        got = []
        callbacks.register("on_order", lambda order, amount: got.append((order, amount)))
        callbacks.register("provide_prices", lambda: [3])
        callbacks.register("find_price", lambda order: 7)
        callbacks.trigger("on_order", order="tea", amount=2)
        assert got == [("tea", 2)]
        assert callbacks.call("provide_prices")[0].value == [3]
        assert callbacks.call("find_price", order="tea").value == 7

    def test_a_module_adds_its_functions_whatever_their_first_argument_is_called(
        self, callbacks: CallbackManager
    ) -> None:
        module = types.ModuleType("specs")

        @hookspec
        def on_order(order: str, amount: int) -> None: ...

        module.on_order = on_order
        callbacks.add_hookspecs(module)
        assert callbacks.hook("on_order").signature == "on_order(order, amount)"

    def test_an_object_may_hold_plain_functions(self, callbacks: CallbackManager) -> None:
        @hookspec
        def on_order(order: str, amount: int) -> None: ...

        callbacks.add_hookspecs(types.SimpleNamespace(on_order=on_order))
        assert callbacks.hook("on_order").parameters == ("order", "amount")

    def test_static_methods_and_class_methods_are_specifications_too(self, callbacks: CallbackManager) -> None:
        class Others:
            @hookspec
            @staticmethod
            def on_static(order: str) -> None: ...

            @classmethod
            @hookspec
            def on_class(cls, order: str) -> None: ...

        callbacks.add_hookspecs(Others)
        assert callbacks.hook("on_static").parameters == callbacks.hook("on_class").parameters == ("order",)

    def test_an_argument_with_a_default_may_be_left_out(self, callbacks: CallbackManager) -> None:
        callbacks.add_hookspecs(Specs)
        got = []
        callbacks.register("on_order", lambda amount: got.append(amount))
        callbacks.register("on_order", lambda **rest: got.append(rest))
        callbacks.trigger("on_order", order="tea")
        assert got == [1, {"order": "tea", "amount": 1}]
        assert callbacks.hook("on_order").signature == "on_order(order, amount=...)"
        with pytest.raises(HookCallError, match="'order' is missing"):
            callbacks.trigger("on_order", amount=2)

    def test_an_added_event_offers_the_extras(self, callbacks: CallbackManager) -> None:
        callbacks.add_hookspecs(Specs)
        got = []
        callbacks.register("on_order", lambda event_id: got.append(len(event_id)))
        callbacks.trigger("on_order", order="tea")
        assert got == [36]

    def test_plugins_implement_added_hooks(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @hookimpl
            def find_price(self, order: str) -> int:
                return len(order)

        callbacks.add_hookspecs(Specs)
        plug(callbacks, Plugin())
        assert callbacks.call("find_price", order="tea").value == 3

    def test_the_docstring_and_kind_are_kept(self, callbacks: CallbackManager) -> None:
        callbacks.add_hookspecs(Specs)
        hook = callbacks.hook("find_price")
        assert (hook.doc, hook.kind, str(hook)) == ("Called to learn one price.", Kind.FIRSTRESULT, "find_price")

    def test_adding_the_same_again_changes_nothing(self, callbacks: CallbackManager) -> None:
        callbacks.add_hookspecs(Specs)
        before = callbacks.hook("on_order")
        callbacks.add_hookspecs(Specs())
        assert callbacks.hook("on_order") is before

    def test_another_manager_does_not_know_them(self, callbacks: CallbackManager) -> None:
        callbacks.add_hookspecs(Specs)
        assert "on_order" not in [hook.name for hook in CallbackManager().hooks]


class TestRefusals:
    def test_an_object_without_a_specification_is_refused(self, callbacks: CallbackManager) -> None:
        with pytest.raises(RegistrationError, match="has no hook specification; mark its functions with @hookspec"):
            callbacks.add_hookspecs(types.SimpleNamespace(a=1))

    def test_a_name_that_is_taken_is_refused_with_both_places(self, callbacks: CallbackManager) -> None:
        class Again:
            @hookspec
            def on_message(self, text: str) -> None: ...

        with pytest.raises(RegistrationError, match=r"'on_message' is specified twice: at .*hookspecs\.py:\d+ and at"):
            callbacks.add_hookspecs(Again)

    @pytest.mark.parametrize("argument", ["*rest", "**rest", "_hidden"])
    def test_an_argument_that_a_hook_cannot_have_is_refused_and_then_none_is_added(
        self, callbacks: CallbackManager, argument: str
    ) -> None:
        names: dict[str, Any] = {}
        exec(f"def on_b({argument}): ...", names)
        bad = types.SimpleNamespace(on_a=hookspec(lambda: None), on_b=hookspec(names["on_b"]))
        with pytest.raises(RegistrationError, match="a hook names each argument, without a leading underscore"):
            callbacks.add_hookspecs(bad)
        assert "on_a" not in [hook.name for hook in callbacks.hooks]


def test_a_suggestion_is_made_only_where_a_name_is_near() -> None:
    assert suggestion("on_mesage", ["on_message", "on_error"]) == " (did you mean on_message?)"
    assert suggestion("xyz", ["on_message", "on_error"]) == ""
