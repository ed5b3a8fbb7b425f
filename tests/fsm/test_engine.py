from __future__ import annotations

import asyncio
import gc
import weakref
from enum import StrEnum
from typing import Any

import pytest

from tests.fsm.machine import BrokenError, Machine, Way, context, plug, raising
from tests.support import run_in_child
from thea_core import (
    CallbackManager,
    ContextError,
    Definition,
    FSMEngine,
    HookCallError,
    IllegalTransitionError,
    RegistrationError,
    ValidationError,
    hookimpl,
)
from thea_core.callbacks.steps import drive


class State(StrEnum):
    PROCESSING = "processing"


class TestHandle:
    def test_it_returns_the_context_in_its_new_state(self, fsm: Machine, way: Way) -> None:
        assert way.handle(fsm, "processing", context(a=[1])) == context("processing", a=[1])

    def test_it_never_changes_the_dict_that_it_is_given(self, fsm: Machine, way: Way) -> None:
        @fsm.pre_transition()
        @fsm.post_transition()
        def change(context: dict[str, Any]) -> None:
            context["list"].append({"new": 1})
            context["more"] = 1

        given = context(list=[{"old": 1}])
        result = way.handle(fsm, "processing", given)
        assert given == context(list=[{"old": 1}])
        assert len(result["list"]) == 3
        assert result["list"] is not given["list"]

    def test_the_order_is_pre_callbacks_state_post_callbacks_event(self, fsm: Machine, way: Way) -> None:
        order: list[object] = []
        fsm.callbacks.register("on_state_change", lambda old_state, new_state: order.append((old_state, new_state)))
        fsm.post_transition("processing")(lambda context: order.append(("post", context["state"])))
        fsm.pre_transition("processing")(lambda context: order.append(("pre", context["state"])))
        way.handle(fsm, "processing", context())
        assert order == [("pre", "initial"), ("post", "processing"), ("initial", "processing")]

    def test_the_event_names_user_and_states(self, fsm: Machine, way: Way) -> None:
        way.handle(fsm, "processing", context("idle"))
        assert fsm.changes == [("ana", "idle", "processing")]

    def test_a_failing_callback_of_the_event_does_not_matter(self, fsm: Machine, way: Way) -> None:
        def fail(user_id: str) -> None:
            raise SystemExit(user_id)

        fsm.callbacks.register("on_state_change", fail, priority=1)
        assert way.handle(fsm, "processing", context())["state"] == "processing"
        assert fsm.changes == [("ana", "initial", "processing")]

    def test_without_any_callback_it_only_sets_the_state(self, way: Way) -> None:
        assert way.handle(FSMEngine(), "processing", context()) == context("processing")

    def test_a_callback_that_is_registered_later_counts_from_the_next_call_on(self, fsm: Machine, way: Way) -> None:
        way.handle(fsm, "processing", context())
        fsm.pre_transition("processing")(lambda context: context.update(seen=1))
        registration = fsm.callbacks.register("on_state_change", lambda: fsm.changes.append(("late", "", "")))
        assert way.handle(fsm, "processing", context())["seen"] == 1
        registration.remove()
        way.handle(fsm, "processing", context())
        assert [each[0] for each in fsm.changes] == ["ana", "ana", "late", "ana"]

    def test_an_own_definition_counts(self, way: Way) -> None:
        fsm = FSMEngine(Definition({"a": ["b"], "b": ["a"], "x": ["a"]}, initial="a", error="x"))
        assert way.handle(fsm, "b", context("a"))["state"] == "b"
        with pytest.raises(ContextError):
            way.handle(fsm, "b", context("initial"))

    def test_a_member_of_an_enum_is_a_name_and_the_state_becomes_plain(self, way: Way) -> None:
        fsm = FSMEngine()
        targets: list[object] = []
        fsm.pre_transition(State.PROCESSING)(lambda context: targets.append(context["state"]))
        result = way.handle(fsm, State.PROCESSING, context())
        assert (targets, type(result["state"])) == (["initial"], str)
        assert way.handle(fsm, "executing", context(State.PROCESSING))["state"] == "executing"

    def test_one_engine_serves_many_users(self, fsm: Machine, way: Way) -> None:
        users = [{"user_id": f"user {number}", "state": "initial"} for number in range(5)]
        assert [way.handle(fsm, "processing", user)["user_id"] for user in users] == [f"user {n}" for n in range(5)]

    def test_an_engine_is_forgotten_when_nobody_has_it(self) -> None:
        callbacks = CallbackManager()
        fsm = FSMEngine(callbacks=callbacks)
        fsm.pre_transition("processing")(lambda context: None)
        fsm.handle("processing", context())
        gone = weakref.ref(fsm)
        del fsm
        gc.collect()
        assert gone() is None

    def test_every_call_returns_a_plain_dict_of_its_own(self, fsm: Machine, way: Way) -> None:
        kept: list[dict[str, Any]] = []

        class Special(dict[str, Any]):
            pass

        @fsm.pre_transition("processing")
        def special(context: dict[str, Any]) -> dict[str, Any]:
            kept.append(Special(context))
            return kept[-1]

        result = way.handle(fsm, "processing", context())
        assert type(result) is dict
        assert result is not kept[0]
        assert kept[0]["state"] == "initial"


class TestMisuse:
    """An illegal target or a malformed context is refused at once: nothing runs, nothing fires."""

    @pytest.fixture(autouse=True)
    def nothing_runs(self, fsm: Machine) -> Any:
        ran: list[object] = []
        fsm.pre_transition()(lambda context: ran.append("pre"))
        fsm.on_error()(lambda error, context: ran.append("error"))
        yield
        assert (ran, fsm.changes, fsm.errors, len(fsm.callbacks.history)) == ([], [], [], 0)

    def test_an_illegal_target_is_refused_with_the_legal_ones(self, fsm: Machine, way: Way) -> None:
        with pytest.raises(IllegalTransitionError) as caught:
            way.handle(fsm, "completion", context("idle"))
        assert str(caught.value) == (
            "there is no transition 'idle' -> 'completion'; from 'idle' there are: processing, error_handler"
        )
        assert (caught.value.source, caught.value.target) == ("idle", "completion")

    def test_an_unknown_target_is_refused_with_a_suggestion(self, fsm: Machine, way: Way) -> None:
        with pytest.raises(
            IllegalTransitionError, match=r"there is no state 'procesing' \(did you mean processing\?\)"
        ):
            way.handle(fsm, "procesing", context())

    @pytest.mark.parametrize("target", [None, 5, ["processing"], "", "\0", "\ud800"], ids=ascii)
    def test_whatever_is_no_state_is_refused(self, fsm: Machine, way: Way, target: Any) -> None:
        with pytest.raises(IllegalTransitionError, match="there is no state"):
            way.handle(fsm, target, context())

    def test_an_unknown_state_is_refused_with_a_suggestion(self, fsm: Machine, way: Way) -> None:
        for target in ("processing", "nowhere"):
            with pytest.raises(ContextError, match=r"context\['state'\] is 'idel', .*did you mean idle\?") as caught:
                way.handle(fsm, target, context("idel"))
            assert caught.value.path == "context['state']"

    @pytest.mark.parametrize("given", [None, [], {}, {"user_id": "ana"}, context(x={1})], ids=str)
    def test_a_malformed_context_is_refused(self, fsm: Machine, way: Way, given: Any) -> None:
        for target in ("processing", "nowhere"):
            with pytest.raises(ContextError):
                way.handle(fsm, target, given)
        with pytest.raises(ContextError):
            way.fail(fsm, ValueError(), given)
        with pytest.raises(ContextError):
            way.report(fsm, ValueError(), given)
        with pytest.raises(ContextError):
            way.reset(fsm, given)

    def test_the_error_of_fail_must_be_an_exception(self, fsm: Machine, way: Way) -> None:
        for call in (way.fail, way.report):
            with pytest.raises(TypeError, match="error must be an exception, not 'boom'"):
                call(fsm, "boom", context())

    def test_the_target_of_fail_must_be_a_state(self, fsm: Machine, way: Way) -> None:
        with pytest.raises(IllegalTransitionError, match="did you mean executing"):
            way.fail(fsm, ValueError(), context(), "executin")


def test_targets_that_do_not_exist_leave_nothing_behind(fsm: Machine) -> None:
    """A target may come from outside: what is kept for each state must not grow with it."""
    fsm.handle("processing", context())
    before = len(fsm.callbacks.history.totals())
    for number in range(50):
        with pytest.raises(IllegalTransitionError):
            fsm.handle(f"state {number}", context())
    assert len(fsm.callbacks.history.totals()) == before


class TestReset:
    def test_it_leads_to_the_initial_state_from_every_state(self, fsm: Machine, way: Way) -> None:
        for state in fsm.definition.states:
            assert way.reset(fsm, context(state, a=1)) == context("initial", a=1)

    def test_it_runs_the_callbacks_and_fires_the_event(self, fsm: Machine, way: Way) -> None:
        fsm.pre_transition("initial")(lambda context: context.update(pre=context["state"]))
        fsm.post_transition("initial")(lambda context: context.update(post=context["state"]))
        assert way.reset(fsm, context("executing")) == context(pre="executing", post="initial")
        assert fsm.changes == [("ana", "executing", "initial")]

    def test_it_can_be_vetoed(self, fsm: Machine, way: Way) -> None:
        @fsm.pre_transition("initial")
        def stay(context: dict[str, Any]) -> None:
            raise ValidationError("stay")

        with pytest.raises(ValidationError):
            way.reset(fsm, context("executing"))
        assert (fsm.changes, fsm.errors) == ([], [])

    def test_it_makes_no_other_transition_legal(self, fsm: Machine, way: Way) -> None:
        way.reset(fsm, context("executing"))
        with pytest.raises(IllegalTransitionError):
            way.handle(fsm, "initial", context("executing"))

    def test_a_context_in_an_unknown_state_is_refused(self, fsm: Machine, way: Way) -> None:
        with pytest.raises(ContextError):
            way.reset(fsm, context("nowhere"))

    def test_an_error_in_it_can_be_reported(self, fsm: Machine, way: Way) -> None:
        error = BrokenError()
        fsm.pre_transition("initial")(raising(error))
        with pytest.raises(BrokenError):
            way.reset(fsm, context("idle"))
        assert way.report(fsm, error, context("idle")) == context("error_handler")
        assert fsm.errors == [error]


class TestLooking:
    def test_allowed_tells_the_targets_of_a_state(self, fsm: Machine) -> None:
        assert fsm.allowed("idle") == ("processing", "error_handler")

    @pytest.mark.parametrize("state", ["idel", None, ["idle"]])
    def test_allowed_refuses_what_is_no_state(self, fsm: Machine, state: Any) -> None:
        with pytest.raises(ContextError, match="is no state"):
            fsm.allowed(state)

    def test_can_tells_whether_a_transition_is_legal(self, fsm: Machine) -> None:
        assert fsm.can("processing", context("idle"))
        assert not fsm.can("executing", context("idle"))
        assert not fsm.can("nowhere", context("idle"))

    def test_can_runs_nothing(self, fsm: Machine) -> None:
        fsm.pre_transition()(raising(ValidationError("no")))
        assert fsm.can("processing", context("idle"))
        assert (fsm.changes, len(fsm.callbacks.history)) == ([], 0)

    @pytest.mark.parametrize("given", [{}, {"state": "idel"}, {"state": ["idle"]}, None, "idle"], ids=str)
    def test_can_refuses_a_context_without_a_known_state(self, fsm: Machine, given: Any) -> None:
        with pytest.raises(ContextError):
            fsm.can("processing", given)

    @pytest.mark.parametrize("source", Definition().states)
    def test_what_can_tells_is_what_handle_does(self, source: str) -> None:
        fsm = FSMEngine()
        for target in fsm.definition.states:
            try:
                fsm.handle(target, context(source))
            except IllegalTransitionError:
                assert not fsm.can(target, context(source))
                assert target not in fsm.allowed(source)
            else:
                assert fsm.can(target, context(source))
                assert target in fsm.allowed(source)


class TestSettle:
    """The router comes to rest: a state is set without pre and post callbacks."""

    def test_it_sets_the_state_and_fires_one_event(self, fsm: Machine) -> None:
        fsm.pre_transition()(raising(ValueError()))
        given = context("error_handler", a=[1])
        assert drive(fsm.settle_steps("idle", given)) == context("idle", a=[1])
        assert given["state"] == "error_handler"
        assert fsm.changes == [("ana", "error_handler", "idle")]

    def test_an_unknown_state_is_refused(self, fsm: Machine) -> None:
        with pytest.raises(ContextError):
            drive(fsm.settle_steps("nowhere", context()))
        assert fsm.changes == []


class TestMaking:
    def test_an_engine_has_a_manager_of_its_own(self) -> None:
        assert FSMEngine().callbacks is not FSMEngine().callbacks

    def test_an_engine_uses_the_manager_that_it_is_given(self) -> None:
        callbacks = CallbackManager(history_size=0)
        assert FSMEngine(callbacks=callbacks).callbacks is callbacks

    def test_two_engines_of_one_manager_share_plugins_but_no_local_callbacks(self) -> None:
        callbacks = CallbackManager()
        one, other = Machine(callbacks=callbacks, events=False), Machine(callbacks=callbacks, events=False)
        one.pre_transition("processing")(lambda context: context.update(local=1))
        plug(callbacks, Adder(), "adder")
        assert one.handle("processing", context()) == context("processing", local=1, plugin=1)
        assert other.handle("processing", context()) == context("processing", plugin=1)

    @pytest.mark.parametrize("number", [0, -1, "5", 2.0, True, None], ids=repr)
    def test_max_callbacks_must_be_a_whole_number(self, number: Any) -> None:
        with pytest.raises(ValueError, match="max_callbacks must be a whole number, 1 or more"):
            FSMEngine(max_callbacks=number)

    def test_a_mapping_is_no_definition(self) -> None:
        with pytest.raises(TypeError, match="definition must be a Definition"):
            FSMEngine({"initial": ["processing"]})  # type: ignore[arg-type]


class TestLocalCallbacksBelongToOneEngine:
    @pytest.mark.parametrize("hook", ["pre_transition", "post_transition", "on_transition_error"])
    def test_the_manager_names_the_decorators(self, hook: str) -> None:
        with pytest.raises(RegistrationError, match=r"@fsm.pre_transition\(...\).*@fsm.on_error\(\)"):
            FSMEngine().callbacks.register(hook, lambda context: None)

    def test_a_transition_hook_cannot_be_called(self) -> None:
        with pytest.raises(HookCallError, match=r"use fsm\.handle"):
            FSMEngine().callbacks.call("pre_transition", source="a", target="b", context={})


def test_a_child_process_may_go_on(fsm: Machine) -> None:
    fsm.handle("processing", context())

    def register_and_handle() -> bool:
        fsm.pre_transition("processing")(lambda context: context.update(child=1))
        return fsm.handle("processing", context())["child"] == 1

    assert run_in_child(register_and_handle)


def test_a_call_that_nobody_awaits_does_nothing(fsm: Machine) -> None:
    coroutine = fsm.ahandle("processing", context())
    coroutine.close()
    assert fsm.changes == []
    assert asyncio.run(fsm.ahandle("processing", context()))["state"] == "processing"


class Adder:
    @hookimpl
    def pre_transition(self, context: dict[str, Any]) -> dict[str, Any]:
        return {**context, "plugin": 1}
