from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.fsm.machine import BrokenError, Machine, Way, context, raising
from thea_core import CallbackLimitError, Context, FSMEngine, RegistrationError, hookimpl

PHASES = ["pre_transition", "post_transition"]


class Both:
    """A callable object with methods that fit, too."""

    def __call__(self, given: Context) -> None:
        given["called"] = True

    def method(self, given: Context) -> None:
        given["called"] = True


class TestArguments:
    """A local callback gets the context as its only positional argument, whatever that parameter is called."""

    @pytest.mark.parametrize(
        "callback",
        [
            lambda ctx: ctx.update(called=True),
            lambda context: context.update(called=True),
            lambda ctx, extra=None: ctx.update(called=True, extra=extra),
            lambda *given: given[0].update(called=len(given) == 1),
            lambda ctx, **more: ctx.update(called=not more),
            functools.partial(lambda key, ctx: ctx.update({key: True}), "called"),
            Both(),
            Both().method,
        ],
    )
    @pytest.mark.parametrize("phase", PHASES)
    def test_any_name_will_do(self, fsm: Machine, way: Way, phase: str, callback: Any) -> None:
        getattr(fsm, phase)("processing")(callback)
        result = way.handle(fsm, "processing", context())
        assert result["called"] is True
        assert result.get("extra") is None

    @pytest.mark.parametrize("phase", PHASES)
    def test_source_and_target_are_given_where_they_are_keyword_only(self, fsm: Machine, way: Way, phase: str) -> None:
        @getattr(fsm, phase)()
        def both(ctx: Context, *, source: str, target: str) -> None:
            ctx["both"] = [source, target]

        @getattr(fsm, phase)()
        def one(ctx: Context, source: str = "mine", *, target: str = "mine") -> None:
            ctx["one"] = [source, target]

        result = way.handle(fsm, "processing", context("idle"))
        assert (result["both"], result["one"]) == (["idle", "processing"], ["mine", "processing"])

    def test_an_error_callback_gets_error_and_context(self, fsm: Machine, way: Way) -> None:
        given: list[object] = []

        @fsm.on_error()
        def keep(problem: BaseException, ctx: Context, *, target: str, source: str) -> None:
            given.extend([problem, ctx["state"], source, target])

        error = BrokenError()
        fsm.pre_transition("processing")(raising(error))
        with pytest.raises(BrokenError):
            way.handle(fsm, "processing", context("idle"))
        assert given == [error, "error_handler", "idle", "processing"]

    def test_a_plugin_is_bound_by_name(self, fsm: Machine, way: Way) -> None:
        class Plugin:
            @hookimpl
            def pre_transition(self, target: str, context: Context) -> Context:
                return {**context, "pre": target}

            @hookimpl
            def post_transition(self, context: Context, *, source: str, **rest: Any) -> Context:
                return {**context, "post": source, "rest": sorted(rest)}

        fsm.plug(Plugin())
        result = way.handle(fsm, "processing", context("idle"))
        assert result == context("processing", pre="processing", post="idle", rest=["target"])

    def test_a_decorator_returns_the_function_unchanged(self, fsm: Machine) -> None:
        def callback(*given: Any) -> None:
            pass

        assert fsm.pre_transition("idle", priority=3)(callback) is callback
        assert fsm.post_transition()(callback) is callback
        assert fsm.on_error(priority=1)(callback) is callback


class TestStates:
    def test_a_callback_runs_for_its_targets_only(self, fsm: Machine, way: Way) -> None:
        seen: list[str] = []
        fsm.pre_transition("processing", "executing")(lambda ctx: seen.append("two"))
        fsm.post_transition("executing")(lambda ctx: seen.append("one"))
        fsm.post_transition()(lambda ctx: seen.append("every"))
        one = way.handle(fsm, "processing", context())
        seen.append("|")
        two = way.handle(fsm, "executing", one)
        seen.append("|")
        way.handle(fsm, "completion", two)
        assert seen == ["two", "every", "|", "two", "one", "every", "|", "every"]

    def test_a_plugin_limits_itself_to_targets(self, fsm: Machine, way: Way) -> None:
        class Plugin:
            @hookimpl(states=("executing",))
            def pre_transition(self, context: Context) -> Context:
                return {**context, "limited": context["state"]}

        fsm.plug(Plugin())
        processing = way.handle(fsm, "processing", context())
        assert "limited" not in processing
        assert way.handle(fsm, "executing", processing)["limited"] == "processing"

    def test_a_plugin_limits_its_error_callback_to_the_state_that_was_being_entered(
        self, fsm: Machine, way: Way
    ) -> None:
        class Plugin:
            @hookimpl(states=("executing",))
            def on_transition_error(self, context: Context, target: str) -> Context:
                return {**context, "failed": target}

        fsm.plug(Plugin())
        assert way.fail(fsm, BrokenError(), context(), "executing")["failed"] == "executing"
        assert "failed" not in way.fail(fsm, BrokenError(), context(), "processing")
        assert way.fail(fsm, BrokenError(), context("executing"))["failed"] == "executing"

    @pytest.mark.parametrize("phase", PHASES)
    def test_an_unknown_state_is_refused(self, fsm: Machine, phase: str) -> None:
        with pytest.raises(RegistrationError, match=r"no state 'procesing' \(did you mean processing\?\); the states"):
            getattr(fsm, phase)("executing", "procesing")(lambda ctx: None)


class TestOrder:
    def test_local_and_plugin_callbacks_stand_in_one_chain(self, fsm: Machine, way: Way) -> None:
        order: list[str] = []

        class Plugin:
            def __init__(self, name: str) -> None:
                self.name = name

            @hookimpl(priority=5)
            def pre_transition(self) -> None:
                order.append(self.name)

        class First(Plugin):
            @hookimpl(tryfirst=True)
            def pre_transition(self) -> None:
                order.append(self.name)

        class Last(Plugin):
            @hookimpl(trylast=True)
            def pre_transition(self) -> None:
                order.append(self.name)

        fsm.plug(Last("last"))
        fsm.plug(Plugin("plugin 5"))
        fsm.plug(First("first"))
        fsm.plug(Plugin("by the operator"), priority=20)
        fsm.pre_transition("processing")(lambda ctx: order.append("local 0"))
        fsm.pre_transition(priority=5)(lambda ctx: order.append("local 5"))
        fsm.pre_transition("processing", priority=-1)(lambda ctx: order.append("local -1"))
        fsm.pre_transition("processing")(lambda ctx: order.append("local 0, later"))
        way.handle(fsm, "processing", context())
        assert order == [
            "first",
            "by the operator",
            "local 5",
            "plugin 5",
            "local 0",
            "local 0, later",
            "local -1",
            "last",
        ]

    def test_error_callbacks_stand_in_one_chain(self, fsm: Machine, way: Way) -> None:
        class Plugin:
            @hookimpl
            def on_transition_error(self, context: Context) -> Context:
                return {**context, "order": [*context["order"], "plugin"]}

        fsm.plug(Plugin())
        fsm.on_error()(lambda error, ctx: ctx["order"].append("local"))
        fsm.on_error(priority=-1)(lambda error, ctx: ctx["order"].append("later"))
        fsm.on_error(priority=1)(lambda error, ctx: ctx.update(order=["first"]))
        assert way.fail(fsm, BrokenError(), context())["order"] == ["first", "local", "plugin", "later"]


class TestLimit:
    @pytest.mark.parametrize("phase", PHASES)
    def test_the_sixth_is_refused_and_the_five_are_named(self, phase: str) -> None:
        fsm = FSMEngine()

        def make(number: int) -> Any:
            def callback(ctx: Context) -> None:
                ctx["count"] = ctx.get("count", 0) + 1

            callback.__qualname__ = f"callback_{number}"
            return callback

        for number in range(5):
            getattr(fsm, phase)("processing")(make(number))
        with pytest.raises(CallbackLimitError) as caught:
            getattr(fsm, phase)("processing")(make(6))
        message = str(caught.value)
        assert f"the state 'processing' has 5 local {phase} callbacks already" in message
        assert all(f"callback_{number} ({__file__}:" in message for number in range(5))
        assert message.endswith("give FSMEngine a larger max_callbacks")
        assert fsm.handle("processing", context())["count"] == 5

    def test_a_callback_for_every_target_counts_for_each(self) -> None:
        fsm = FSMEngine(max_callbacks=1)
        fsm.pre_transition("idle")(lambda ctx: None)
        with pytest.raises(CallbackLimitError, match="the state 'idle' has 1 local"):
            fsm.pre_transition()(lambda ctx: None)
        fsm.pre_transition("processing")(lambda ctx: None)
        other = FSMEngine(max_callbacks=1)
        other.pre_transition()(lambda ctx: None)
        with pytest.raises(CallbackLimitError):
            other.pre_transition("idle")(lambda ctx: None)

    def test_each_target_and_each_phase_has_a_limit_of_its_own(self) -> None:
        fsm = FSMEngine(max_callbacks=1)
        for state in fsm.definition.states:
            fsm.pre_transition(state)(lambda ctx: None)
            fsm.post_transition(state)(lambda ctx: None)
        fsm.on_error()(lambda error, ctx: None)

    def test_error_callbacks_are_limited_too(self) -> None:
        fsm = FSMEngine(max_callbacks=2)
        fsm.on_error()(lambda error, ctx: None)
        fsm.on_error()(lambda error, ctx: None)
        with pytest.raises(CallbackLimitError, match="the engine has 2 local on_transition_error callbacks already"):
            fsm.on_error()(lambda error, ctx: None)

    def test_plugins_do_not_count(self, way: Way) -> None:
        fsm = Machine(max_callbacks=1)

        class Plugin:
            @hookimpl
            def pre_transition(self, context: Context) -> Context:
                return {**context, "count": context.get("count", 0) + 1}

        for _ in range(3):
            fsm.plug(Plugin())
        fsm.pre_transition()(lambda ctx: ctx.update(count=1))
        assert way.handle(fsm, "processing", context())["count"] == 4


class TestRefusals:
    @pytest.mark.parametrize(
        ("callback", "problem"),
        [
            (lambda: None, "does not fit: it is called as .*(context)"),
            (lambda ctx, other: None, "with source= and target= where these are keyword-only"),
            (lambda *, context: None, "does not fit"),
            (lambda ctx, *, other: None, "does not fit"),
            (Both, "is a class"),
            (5, "is no function but 5"),
            (iter, "does not fit"),
        ],
    )
    @pytest.mark.parametrize("phase", PHASES)
    def test_what_cannot_be_called_is_refused(self, fsm: Machine, phase: str, callback: Any, problem: str) -> None:
        with pytest.raises(RegistrationError, match=problem):
            getattr(fsm, phase)("processing")(callback)
        assert fsm.handle("processing", context())["state"] == "processing"

    def test_generators_are_refused(self, fsm: Machine) -> None:
        def generator(ctx: Context) -> Iterator[None]:
            yield

        async def async_generator(ctx: Context) -> AsyncIterator[None]:
            yield

        for callback in (generator, async_generator):
            with pytest.raises(RegistrationError, match="generator"):
                fsm.pre_transition("processing")(callback)

    def test_an_error_callback_takes_two_arguments(self, fsm: Machine) -> None:
        with pytest.raises(RegistrationError, match=r"it is called as .*\(error, context\)"):
            fsm.on_error()(lambda error: None)

    @pytest.mark.parametrize("phase", PHASES)
    def test_a_decorator_without_parentheses_is_refused(self, fsm: Machine, phase: str) -> None:
        with pytest.raises(RegistrationError, match=rf"write @fsm.{phase}\(...\)"):
            getattr(fsm, phase)(lambda ctx: None)

    @pytest.mark.parametrize("priority", ["high", 1.5, None, True], ids=repr)
    def test_a_priority_is_a_whole_number(self, fsm: Machine, priority: Any) -> None:
        for decorate in (fsm.pre_transition("idle", priority=priority), fsm.on_error(priority=priority)):
            with pytest.raises(RegistrationError, match="priority must be a whole number"):
                decorate(lambda *given: None)

    @pytest.mark.parametrize("phase", PHASES)
    def test_a_time_limit_is_a_number_of_seconds(self, fsm: Machine, phase: str) -> None:
        states = () if phase == "on_error" else ("processing",)
        with pytest.raises(RegistrationError, match="timeout must be a number of seconds greater than 0"):
            getattr(fsm, phase)(*states, timeout=0)(lambda *given: None)

    def test_a_wrapper_of_a_transition_hook_is_refused(self, fsm: Machine) -> None:
        class Plugin:
            @hookimpl(wrapper=True)
            def pre_transition(self) -> Iterator[None]:
                yield

        with pytest.raises(RegistrationError, match="only events and result hooks have wrappers"):
            fsm.plug(Plugin())
