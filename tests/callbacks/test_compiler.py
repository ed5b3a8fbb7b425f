"""Result hooks and wrappers, and what a compiled chain is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.callbacks.helpers import MESSAGE, outcomes, plug, say
from thea_core import CallbackManager, HookResult, IntentMatch, hookimpl
from thea_core.callbacks.compiler import Compiled

DETECT: dict[str, Any] = {"message": "hola", "context": {}}


def values(results: list[HookResult]) -> list[Any]:
    return [each.value for each in results]


class TestResults:
    def test_they_come_in_the_order_of_the_chain_without_none(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        async def later() -> str:
            await asyncio.sleep(0)
            return "later"

        class Plugin:
            @hookimpl(priority=7)
            def detect_intents(self, message: str) -> str:
                return f"plugin {message}"

        plug(callbacks, Plugin())
        callbacks.register("detect_intents", lambda: "low", priority=-1)
        callbacks.register("detect_intents", lambda: None, priority=9)
        callbacks.register("detect_intents", later, priority=8)
        results = call("detect_intents", **DETECT)
        assert values(results) == ["later", "plugin hola", "low"]
        assert [each.plugin for each in results] == ["local", "shop", "local"]
        assert results[1].callback.endswith("Plugin.detect_intents")

    def test_no_detector_changes_the_context_of_the_next(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        def spoil(context: dict[str, Any]) -> None:
            context["slots"]["when"].append(context)
            del context["state"]

        seen: list[Any] = []
        given = {"state": "idle", "slots": {"when": []}}
        callbacks.register("detect_intents", spoil)
        callbacks.register("detect_intents", lambda context: seen.append(context))  # noqa: PLW0108 -- named context
        call("detect_intents", message="hola", context=given)
        assert seen == [given] == [{"state": "idle", "slots": {"when": []}}]

    @pytest.mark.parametrize("value", [0, "", [], False])
    def test_an_empty_value_is_a_result(
        self, callbacks: CallbackManager, call: Callable[..., Any], value: object
    ) -> None:
        callbacks.register("detect_intents", lambda: value)
        assert values(call("detect_intents", **DETECT)) == [value]

    def test_a_callback_that_fails_gives_no_result_and_the_others_do(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        def fail() -> None:
            raise SystemExit

        async def fail_later() -> None:
            raise ValueError

        callbacks.register("detect_intents", fail)
        callbacks.register("detect_intents", fail_later)
        callbacks.register("detect_intents", lambda: "well")
        assert values(call("detect_intents", **DETECT)) == ["well"]

    def test_nobody_gives_an_empty_list(self, callbacks: CallbackManager, call: Callable[..., Any]) -> None:
        assert call("detect_intents", **DETECT) == []

    def test_a_first_result_hook_stops_at_the_first_and_gives_it(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        ran = []

        async def second() -> str:
            ran.append("second")
            return "store"

        callbacks.register("create_store", lambda: ran.append("first"))
        callbacks.register("create_store", second)
        callbacks.register("create_store", lambda: ran.append("third"))
        result = call("create_store", url="x:")
        assert (result.value, result.plugin) == ("store", "local")
        assert ran == ["first", "second"]

    def test_a_first_result_hook_goes_on_after_a_failure(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        def fail() -> None:
            raise ValueError

        callbacks.register("create_store", fail)
        callbacks.register("create_store", lambda: "store")
        assert call("create_store", url="x:").value == "store"

    def test_a_first_result_hook_without_a_result_gives_none(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        assert call("create_store", url="x:") is None
        callbacks.register("create_store", lambda: None)
        assert call("create_store", url="x:") is None


class Wrapper:
    """Notes when it runs, and what its ``yield`` gives."""

    def __init__(self, name: str, ran: list[Any]) -> None:
        self.name = name
        self.ran = ran

    def around(self) -> Any:
        self.ran.append(f"{self.name} before")
        results = yield
        self.ran.append((f"{self.name} after", results))

    @hookimpl(wrapper=True)
    def on_message(self) -> Any:
        return (yield from self.around())

    @hookimpl(wrapper=True)
    def detect_intents(self) -> Any:
        return (yield from self.around())

    @hookimpl(wrapper=True)
    def create_store(self) -> Any:
        return (yield from self.around())


class TestWrappers:
    def test_they_surround_an_event(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        ran: list[Any] = []

        async def later() -> None:
            ran.append("later")

        plug(callbacks, Wrapper("wrapper", ran))
        callbacks.register("on_message", lambda: ran.append("inner"), priority=1000)
        callbacks.register("on_message", later)
        fire("on_message", **MESSAGE)
        assert ran == ["wrapper before", "inner", "later", ("wrapper after", [])]

    def test_their_yield_gives_the_results(self, callbacks: CallbackManager, call: Callable[..., Any]) -> None:
        ran: list[Any] = []
        plug(callbacks, Wrapper("wrapper", ran))
        callbacks.register("detect_intents", lambda: "one")
        results = call("detect_intents", **DETECT)
        assert ran == ["wrapper before", ("wrapper after", results)]
        assert values(results) == ["one"]

    def test_around_a_first_result_hook_their_yield_gives_it_or_none(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        ran: list[Any] = []
        plug(callbacks, Wrapper("wrapper", ran))
        call("create_store", url="x:")
        callbacks.register("create_store", lambda: "store")
        result = call("create_store", url="x:")
        assert [each[1] for each in ran if isinstance(each, tuple)] == [None, result]

    def test_several_stand_within_each_other_by_priority(self, callbacks: CallbackManager) -> None:
        ran: list[Any] = []
        plug(callbacks, Wrapper("inner", ran), "inner", priority=1)
        plug(callbacks, Wrapper("outer", ran), "outer", position=1, priority=2)
        callbacks.register("on_message", lambda: ran.append("callback"))
        say(callbacks)
        assert ran == [
            "outer before",
            "inner before",
            "callback",
            ("inner after", []),
            ("outer after", []),
        ]

    def test_a_failure_that_they_surround_is_not_theirs(self, callbacks: CallbackManager) -> None:
        def fail() -> None:
            raise ValueError

        ran: list[Any] = []
        plug(callbacks, Wrapper("wrapper", ran))
        callbacks.register("on_message", fail)
        say(callbacks)
        assert ran == ["wrapper before", ("wrapper after", [])]
        assert outcomes(callbacks) == [("on_message", "ok"), ("fail", "error")]

    def test_one_cannot_change_the_results_of_the_others(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        class Thief:
            @hookimpl(wrapper=True)
            def detect_intents(self) -> Any:
                results = yield
                results.clear()
                return "mine"

        ran: list[Any] = []
        plug(callbacks, Wrapper("outer", ran), "outer")
        plug(callbacks, Thief(), "thief", position=1)
        callbacks.register("detect_intents", lambda: "one")
        assert values(call("detect_intents", **DETECT)) == ["one"]
        assert values(ran[1][1]) == ["one"]

    def test_one_cannot_change_what_the_others_returned_at_any_depth(
        self, callbacks: CallbackManager, call: Callable[..., Any]
    ) -> None:
        class Spoiler:
            @hookimpl(wrapper=True)
            def detect_intents(self) -> Any:
                (result,) = yield
                result.value[0].slots["when"].clear()
                result.value.clear()

        match = IntentMatch("agenda", 0.9, slots={"when": ["tomorrow"]})
        plug(callbacks, Spoiler())
        callbacks.register("detect_intents", lambda: [match])
        assert values(call("detect_intents", **DETECT)) == [[IntentMatch("agenda", 0.9, slots={"when": ["tomorrow"]})]]

    def around(self, callbacks: CallbackManager, generator: Callable[[], Any]) -> list[str]:
        """Fire an event around which ``generator`` stands, and return which others ran."""
        ran: list[Any] = []

        class Plugin:
            @hookimpl(wrapper=True)
            def on_message(self) -> Any:
                return (yield from generator())

        plug(callbacks, Plugin())
        plug(callbacks, Wrapper("other", ran), "other", position=1)
        callbacks.register("on_message", lambda: ran.append("callback"))
        say(callbacks)
        assert outcomes(callbacks)[1:] == [("on_message", "ok"), ("<lambda>", "ok")]
        return ran

    @pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit, asyncio.CancelledError])
    def test_one_that_fails_before_its_yield_is_as_if_it_were_not_there(
        self, callbacks: CallbackManager, error: type[BaseException]
    ) -> None:
        def early() -> Any:
            raise error
            yield

        assert self.around(callbacks, early) == ["other before", "callback", ("other after", [])]
        assert callbacks.history[0].outcome == "error"

    @pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit, asyncio.CancelledError])
    def test_one_that_fails_after_its_yield_stops_nobody(
        self, callbacks: CallbackManager, error: type[BaseException]
    ) -> None:
        def late() -> Any:
            yield
            raise error

        assert self.around(callbacks, late) == ["other before", "callback", ("other after", [])]
        assert callbacks.history[0].outcome == "error"

    def test_one_that_ends_before_its_yield_fails(self, callbacks: CallbackManager) -> None:
        def never() -> Any:
            yield from ()

        assert self.around(callbacks, never) == ["other before", "callback", ("other after", [])]
        assert callbacks.history[0].error == "RuntimeError: the wrapper ended before its yield"

    def test_one_with_a_second_yield_fails_and_is_closed(self, callbacks: CallbackManager) -> None:
        closed = []

        def twice() -> Any:
            yield
            try:
                yield
            finally:
                closed.append(True)

        assert self.around(callbacks, twice) == ["other before", "callback", ("other after", [])]
        assert closed == [True]
        assert callbacks.history[0].error == "RuntimeError: the wrapper has a second yield"

    def test_one_that_raises_when_it_is_closed_stops_nobody(self, callbacks: CallbackManager) -> None:
        def stubborn() -> Any:
            yield
            try:
                yield
            finally:
                raise SystemExit(3)

        assert self.around(callbacks, stubborn) == ["other before", "callback", ("other after", [])]
        assert callbacks.history[0].error == "SystemExit: 3"

    def test_ctrl_c_in_one_passes(self, callbacks: CallbackManager, fire: Callable[..., None]) -> None:
        class Plugin:
            @hookimpl(wrapper=True)
            def on_message(self) -> Any:
                raise KeyboardInterrupt
                yield

        plug(callbacks, Plugin())
        with pytest.raises(KeyboardInterrupt):
            fire("on_message", **MESSAGE)

    def test_one_gets_the_arguments_that_it_names(self, callbacks: CallbackManager) -> None:
        got = []

        class Plugin:
            @hookimpl(wrapper=True)
            def on_message(self, user_id: str, event_id: str) -> Any:
                got.append((user_id, event_id))
                yield

        plug(callbacks, Plugin())
        say(callbacks, event_id="e")
        assert got == [("ana", "e")]


class TestCompilation:
    def test_a_function_is_compiled_when_it_is_first_asked_for_and_then_kept(self) -> None:
        built: list[str] = []

        def build(kind: str) -> Callable[..., Any]:
            built.append(kind)
            return lambda: kind

        compiled = Compiled(build)
        assert built == []
        assert (compiled.run(), compiled.run(), compiled.steps()) == ("run", "run", "steps")
        assert built == ["run", "steps"]

    def test_it_has_no_other_functions(self) -> None:
        with pytest.raises(AttributeError, match="'Compiled' object has no attribute 'walk'"):
            _ = Compiled(lambda _: print).walk
