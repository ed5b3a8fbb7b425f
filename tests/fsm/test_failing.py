"""What happens when a transition has failed, and what ``fail`` does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fsm.machine import BrokenError, Machine, Way, context, raising
from thea_core import (
    Context,
    ContextError,
    Definition,
    FSMEngine,
    IllegalTransitionError,
    ReentrancyError,
    ValidationError,
    hookimpl,
)

ENDINGS = [BrokenError("boom"), SystemExit(3), GeneratorExit(), asyncio.CancelledError("own"), AssertionError()]


class ErrorPlugin:
    def __init__(self, callback: Any) -> None:
        self._callback = callback

    @hookimpl
    def on_transition_error(self, context: Context, error: BaseException) -> Any:
        return self._callback(context)


class TestErrorsOfTransitions:
    @pytest.mark.parametrize("error", ENDINGS, ids=repr)
    @pytest.mark.parametrize("phase", ["pre_transition", "post_transition"])
    def test_fail_runs_once_and_the_same_exception_leaves_handle(
        self, fsm: Machine, way: Way, phase: str, error: BaseException
    ) -> None:
        failures: list[tuple[BaseException, str]] = []
        fsm.on_error()(lambda error, ctx: failures.append((error, ctx["state"])))
        getattr(fsm, phase)("processing")(raising(error))
        given = context("idle", deep=[1])
        with pytest.raises(type(error)) as caught:
            way.handle(fsm, "processing", given)
        assert caught.value is error
        assert given == context("idle", deep=[1])
        assert failures == [(error, "error_handler")]
        assert fsm.changes == [("ana", "idle", "error_handler")]
        assert fsm.errors == [error]

    def test_stop_iteration_leaves_a_call_as_python_lets_it(self, fsm: Machine, way: Way) -> None:
        """A coroutine cannot raise StopIteration: ahandle raises a RuntimeError, which is also what is told."""
        fsm.pre_transition("processing")(lambda ctx: next(iter(())))
        with pytest.raises((StopIteration, RuntimeError)) as caught:
            way.handle(fsm, "processing", context())
        assert fsm.errors == [caught.value]
        assert way.report(fsm, caught.value, context())["state"] == "error_handler"
        assert len(fsm.errors) == 1

    def test_the_error_context_begins_with_the_context_before_the_transition(self, fsm: Machine, way: Way) -> None:
        seen: list[Context] = []

        @fsm.pre_transition("processing")
        def fail(ctx: Context) -> None:
            ctx["deep"].append(2)
            ctx["new"] = 1
            raise BrokenError

        fsm.on_error()(lambda error, ctx: seen.append(dict(ctx)))
        with pytest.raises(BrokenError):
            way.handle(fsm, "processing", context(deep=[1]))
        assert seen == [context("error_handler", deep=[1])]

    def test_the_order_is_error_callbacks_then_the_change_then_the_error(self, fsm: Machine, way: Way) -> None:
        order: list[str] = []
        fsm.on_error()(lambda error, ctx: order.append("callback"))
        fsm.callbacks.register("on_state_change", lambda new_state: order.append(f"now {new_state}"))
        fsm.callbacks.register("on_error", lambda error, traceback, user_id: order.append(traceback.split("\n")[0]))
        fsm.pre_transition("processing")(raising(BrokenError()))
        with pytest.raises(BrokenError):
            way.handle(fsm, "processing", context())
        assert order == ["callback", "now error_handler", "Traceback (most recent call last):"]

    def test_an_assertion_is_an_error_like_any_other(self, fsm: Machine, way: Way) -> None:
        @fsm.pre_transition("processing")
        def validate(ctx: Context) -> None:
            assert "message" in ctx, "no message"

        with pytest.raises(AssertionError, match="no message"):
            way.handle(fsm, "processing", context())
        assert len(fsm.errors) == 1
        assert way.handle(fsm, "processing", context(message="x"))["state"] == "processing"

    def test_a_definition_may_have_another_error_state(self, way: Way) -> None:
        fsm = Machine(Definition({"a": ["b"], "b": ["a"], "x": ["a"]}, initial="a", error="x"))
        fsm.pre_transition("b")(raising(BrokenError()))
        with pytest.raises(BrokenError):
            way.handle(fsm, "b", context("a"))
        assert fsm.changes == [("ana", "a", "x")]

    def test_an_error_on_the_way_out_of_the_error_state_tells_no_change(self, fsm: Machine, way: Way) -> None:
        fsm.pre_transition("idle")(raising(BrokenError()))
        with pytest.raises(BrokenError):
            way.handle(fsm, "idle", context("error_handler"))
        assert fsm.changes == []
        assert len(fsm.errors) == 1

    def test_a_callback_that_breaks_its_callers_own_dict_is_told_with_its_exception(self, fsm: Machine) -> None:
        given = context()

        @fsm.pre_transition("processing")
        def fail(ctx: Context) -> None:
            given["x"] = {1}
            raise BrokenError

        with pytest.raises(ContextError) as caught:
            fsm.handle("processing", given)
        assert isinstance(caught.value.__cause__, BrokenError)

    def test_what_others_do_to_the_dict_while_ahandle_waits_does_not_matter(self, fsm: Machine) -> None:
        given = context(deep=[1])

        @fsm.pre_transition("processing")
        async def fail(ctx: Context) -> None:
            given["deep"].append({2})  # stands for another task
            raise BrokenError

        async def main() -> Context:
            error = BrokenError()
            try:
                await fsm.ahandle("processing", given)
            except BrokenError as raised:
                error = raised
            return await fsm.aon_error(error, context(deep=[1]))

        assert asyncio.run(main()) == context("error_handler", deep=[1])
        assert len(fsm.errors) == 1


class TestFail:
    def test_it_sets_the_error_state_and_returns_the_error_context(self, fsm: Machine, way: Way) -> None:
        given, error = context("executing", deep=[1]), BrokenError()
        assert way.fail(fsm, error, given) == context("error_handler", deep=[1])
        assert given == context("executing", deep=[1])
        assert (fsm.changes, fsm.errors) == ([("ana", "executing", "error_handler")], [error])

    def test_no_pre_or_post_callback_runs(self, fsm: Machine, way: Way) -> None:
        fsm.pre_transition()(raising(ValidationError("no")))
        fsm.post_transition("error_handler")(raising(ValidationError("no")))
        assert way.fail(fsm, BrokenError(), context())["state"] == "error_handler"

    def test_from_the_error_state_it_tells_no_change(self, fsm: Machine, way: Way) -> None:
        way.fail(fsm, BrokenError(), context("error_handler"))
        assert (fsm.changes, len(fsm.errors)) == ([], 1)

    @pytest.mark.parametrize("error", [*ENDINGS, KeyboardInterrupt(), ValidationError("veto")], ids=repr)
    def test_it_takes_any_exception(self, fsm: Machine, way: Way, error: BaseException) -> None:
        assert way.fail(fsm, error, context())["state"] == "error_handler"
        assert fsm.errors == [error]

    def test_source_and_target_tell_the_states(self, fsm: Machine, way: Way) -> None:
        told: list[tuple[str, str]] = []

        class Plugin:
            @hookimpl
            def on_transition_error(self, source: str, target: str) -> None:
                told.append((source, target))

        fsm.plug(Plugin())
        way.fail(fsm, BrokenError(), context("idle"))
        way.fail(fsm, BrokenError(), context("idle"), "processing")
        fsm.pre_transition("executing")(raising(BrokenError()))
        with pytest.raises(BrokenError):
            way.handle(fsm, "executing", context("processing"))
        assert told == [("idle", "idle"), ("idle", "processing"), ("processing", "executing")]

    def test_the_traceback_is_told(self, fsm: Machine, way: Way) -> None:
        texts: list[str] = []
        fsm.callbacks.register("on_error", lambda traceback: texts.append(str(traceback)))
        try:
            raise BrokenError("boom")  # noqa: TRY301 -- it needs a traceback
        except BrokenError as error:
            way.fail(fsm, error, context())
        assert texts[0].startswith("Traceback (most recent call last):")
        assert texts[0].endswith("BrokenError: boom\n")

    def test_an_exception_that_cannot_be_shown_is_told_all_the_same(self, fsm: Machine, way: Way) -> None:
        class HostileError(Exception):
            def __str__(self) -> str:
                raise SystemExit

            __repr__ = __str__

        error = HostileError()
        fsm.pre_transition("processing")(raising(error))
        with pytest.raises(HostileError):
            way.handle(fsm, "processing", context())
        assert fsm.errors == [error]


class TestCritical:
    def test_it_is_false_where_the_exception_has_none(self, fsm: Machine, way: Way) -> None:
        error = BrokenError()
        seen: list[bool] = []
        fsm.on_error()(lambda error, ctx: seen.append(error.critical))  # type: ignore[attr-defined]
        way.fail(fsm, error, context())
        assert seen == [False]

    def test_it_stays_what_it_is(self, fsm: Machine, way: Way) -> None:
        class CriticalError(BrokenError):
            critical = True

        error = CriticalError()
        way.fail(fsm, error, context())
        assert error.critical is True
        assert "critical" not in vars(error)

    def test_an_exception_that_accepts_none_is_left_alone(self, fsm: Machine, way: Way) -> None:
        class ClosedError(Exception):
            def __setattr__(self, name: str, value: object) -> None:
                raise SystemExit

        class PropertyError(Exception):
            @property
            def critical(self) -> bool:
                raise BrokenError

        for error in (ClosedError(), PropertyError()):
            assert way.fail(fsm, error, context())["state"] == "error_handler"
        assert len(fsm.errors) == 2

    def test_keyboard_interrupt_passes(self, fsm: Machine, way: Way) -> None:
        class KeysError(Exception):
            @property
            def critical(self) -> bool:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            way.fail(fsm, KeysError(), context())


class TestErrorCallbacks:
    """They stand in one chain, each isolated; each valid result is adopted."""

    def test_a_local_one_changes_in_place_or_returns(self, fsm: Machine, way: Way) -> None:
        fsm.on_error()(lambda error, ctx: ctx["deep"].append(1))
        fsm.on_error()(lambda error, ctx: {**ctx, "said": str(error)})
        assert way.fail(fsm, BrokenError("boom"), context(deep=[])) == context("error_handler", deep=[1], said="boom")

    def test_a_plugin_returns(self, fsm: Machine, way: Way) -> None:
        fsm.plug(ErrorPlugin(lambda ctx: ctx["deep"].append(1)))
        fsm.plug(ErrorPlugin(lambda ctx: {**ctx, "plugin": True}))
        assert way.fail(fsm, BrokenError(), context(deep=[])) == context("error_handler", deep=[], plugin=True)

    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    @pytest.mark.parametrize("error", [*ENDINGS, StopIteration(), ValidationError("veto")], ids=repr)
    def test_one_that_raises_leaves_nothing_behind(
        self, fsm: Machine, way: Way, local: bool, error: BaseException
    ) -> None:
        def fail(ctx: Context) -> None:
            ctx["deep"].append(1)
            raise error

        if local:
            fsm.on_error()(lambda error, ctx: fail(ctx))
        else:
            fsm.plug(ErrorPlugin(fail), guard=True)
        fsm.on_error(priority=-1)(lambda error, ctx: ctx.update(next=True))
        original = BrokenError()
        assert way.fail(fsm, original, context(deep=[])) == context("error_handler", deep=[], next=True)
        assert fsm.errors == [original]

    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    @pytest.mark.parametrize(
        "nonsense",
        [
            lambda ctx: "text",
            lambda ctx: False,
            lambda ctx: {**ctx, "user_id": "eva"},
            lambda ctx: {**ctx, "state": "idle"},
            lambda ctx: {**ctx, "x": {1}},
            lambda ctx: {},
        ],
    )
    def test_nonsense_is_contained(self, fsm: Machine, way: Way, local: bool, nonsense: Any) -> None:
        if local:
            fsm.on_error()(lambda error, ctx: nonsense(ctx))
        else:
            fsm.plug(ErrorPlugin(nonsense))
        assert way.fail(fsm, BrokenError(), context(deep=[])) == context("error_handler", deep=[])
        assert len(fsm.errors) == 1

    @pytest.mark.parametrize("change", [{"user_id": "eva"}, {"state": "idle"}, {"x": {1}}], ids=str)
    def test_a_forbidden_change_in_place_is_contained(self, fsm: Machine, way: Way, change: Context) -> None:
        fsm.on_error()(lambda error, ctx: ctx.update(change))
        assert way.fail(fsm, BrokenError(), context()) == context("error_handler")

    def test_async_ones_take_part(self, fsm: Machine, way: Way) -> None:
        @fsm.on_error()
        async def first(error: BaseException, ctx: Context) -> None:
            await asyncio.sleep(0)
            ctx["order"] = ["local"]

        async def second(ctx: Context) -> Context:
            await asyncio.sleep(0)
            return {**ctx, "order": [*ctx["order"], "plugin"]}

        async def third(ctx: Context) -> Context:
            raise SystemExit

        fsm.plug(ErrorPlugin(second))
        fsm.plug(ErrorPlugin(third))
        assert way.fail(fsm, BrokenError(), context())["order"] == ["local", "plugin"]

    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    def test_keyboard_interrupt_passes_and_nothing_is_told(self, fsm: Machine, way: Way, local: bool) -> None:
        if local:
            fsm.on_error()(raising(KeyboardInterrupt()))
        else:
            fsm.plug(ErrorPlugin(raising(KeyboardInterrupt())))
        with pytest.raises(KeyboardInterrupt):
            way.fail(fsm, BrokenError(), context())
        assert (fsm.changes, fsm.errors) == ([], [])
        assert way.handle(fsm, "processing", context())["state"] == "processing"

    def test_failing_again_within_is_misuse_and_contained(self, fsm: Machine, way: Way) -> None:
        seen: list[BaseException] = []

        @fsm.on_error()
        def again(error: BaseException, ctx: Context) -> None:
            for call in (
                lambda: fsm.fail(error, ctx),
                lambda: fsm.handle("idle", ctx),
                lambda: fsm.reset(ctx),
                lambda: fsm.on_error()(error, ctx),
            ):
                try:
                    call()
                except ReentrancyError as refused:
                    seen.append(refused)

        way.fail(fsm, BrokenError(), context())
        assert len(seen) == 4
        assert len(fsm.errors) == 1


class TestRecovery:
    def test_the_error_context_goes_on(self, fsm: Machine, way: Way) -> None:
        failed = way.fail(fsm, BrokenError(), context())
        for target in ("idle", "processing", "executing", "initial"):
            assert way.handle(fsm, target, failed)["state"] == target
        with pytest.raises(IllegalTransitionError):
            way.handle(fsm, "completion", failed)

    def test_handle_may_lead_to_the_error_state_like_to_any(self, fsm: Machine, way: Way) -> None:
        fsm.on_error()(raising(BrokenError()))
        assert way.handle(fsm, "error_handler", context())["state"] == "error_handler"
        assert fsm.errors == []


def test_an_engine_without_any_callback_fails_too(way: Way) -> None:
    assert way.fail(FSMEngine(), BrokenError(), context("idle")) == context("error_handler")
