"""What transition callbacks return, change in place or raise, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections import UserDict
from enum import StrEnum
from typing import Any
from unittest.mock import Mock

import pytest

from tests.fsm.machine import BrokenError, Machine, Way, context, raising
from thea_core import (
    AgentNotAvailableError,
    Context,
    ContextError,
    GuardUnavailableError,
    TransitionVeto,
    ValidationError,
    hookimpl,
)

PHASES = ["pre_transition", "post_transition"]


class Hostile:
    """Raises whatever is done with it."""

    def _refuse(self, *_: Any) -> Any:
        raise BrokenError("touched")

    __eq__ = __ne__ = __bool__ = __repr__ = __str__ = __len__ = _refuse  # type: ignore[assignment]
    __hash__ = object.__hash__


class HostileDict(dict[str, Any]):
    """A dict whose own methods all raise."""

    def _refuse(self, *_: Any) -> Any:
        raise BrokenError("touched")

    get = __getitem__ = __iter__ = keys = items = values = copy = __repr__ = __eq__ = _refuse  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class User(StrEnum):
    ANA = "ana"


class Plugin:
    """Calls what it is given, before and after."""

    def __init__(self, pre: Any = None, post: Any = None) -> None:
        self._pre = pre
        self._post = post

    @hookimpl
    def pre_transition(self, context: Context) -> Any:
        return self._pre and self._pre(context)

    @hookimpl
    def post_transition(self, context: Context) -> Any:
        return self._post and self._post(context)


def plugin(phase: str, callback: Any) -> Plugin:
    return Plugin(**{phase.removesuffix("_transition"): callback})


# What no callback may return, given the context: the wrong type, another user, another state, no JSON.
NONSENSE: dict[str, Any] = {
    "text": lambda ctx: "context",
    "zero": lambda ctx: 0,
    "false": lambda ctx: False,
    "pairs": lambda ctx: list(ctx.items()),
    "no dict": lambda ctx: UserDict(ctx.items()),
    "empty": lambda ctx: {},
    "no user": lambda ctx: {"state": ctx["state"]},
    "no state": lambda ctx: {"user_id": ctx["user_id"]},
    "another user": lambda ctx: {**ctx, "user_id": "eva"},
    "another state": lambda ctx: {**ctx, "state": "idle"},
    "state None": lambda ctx: {**ctx, "state": None},
    "a set": lambda ctx: {**ctx, "x": {1}},
    "a number as key": lambda ctx: {**ctx, "x": {1: 2}},
    "mock": lambda ctx: Mock(spec=dict),
    "a hostile user": lambda ctx: {**ctx, "user_id": Hostile()},
    "a hostile value": lambda ctx: {**ctx, "x": Hostile()},
    "a hostile key": lambda ctx: {**ctx, Hostile(): 1},
    "hostile": lambda ctx: Hostile(),
    "an empty hostile dict": lambda ctx: HostileDict(),
}


@pytest.mark.parametrize("phase", PHASES)
class TestLocalCallbacks:
    """They share the working copy: what they change in place counts."""

    def test_changes_in_place_count(self, fsm: Machine, way: Way, phase: str) -> None:
        getattr(fsm, phase)()(lambda ctx: ctx["deep"]["list"].append(1))
        getattr(fsm, phase)()(lambda ctx: ctx["deep"]["list"].append(2))
        assert way.handle(fsm, "processing", context(deep={"list": []}))["deep"] == {"list": [1, 2]}

    def test_a_returned_context_takes_its_place(self, fsm: Machine, way: Way, phase: str) -> None:
        getattr(fsm, phase)()(lambda ctx: {**ctx, "first": 1})
        getattr(fsm, phase)()(lambda ctx: {**ctx, "second": ctx["first"] + 1})
        getattr(fsm, phase)()(lambda ctx: ctx.update(third=3))
        result = way.handle(fsm, "processing", context())
        assert (result["first"], result["second"], result["third"]) == (1, 2, 3)

    def test_returning_the_context_itself_is_fine(self, fsm: Machine, way: Way, phase: str) -> None:
        getattr(fsm, phase)()(lambda ctx: ctx)
        assert way.handle(fsm, "processing", context())["state"] == "processing"

    def test_what_was_returned_is_not_changed_by_others(self, fsm: Machine, way: Way, phase: str) -> None:
        returned: list[Context] = []
        getattr(fsm, phase)(priority=1)(lambda ctx: returned.append({**ctx, "list": []}) or returned[-1])
        getattr(fsm, phase)()(lambda ctx: ctx["list"].append(1))
        assert way.handle(fsm, "processing", context())["list"] == [1]
        assert returned[0]["list"] == []

    @pytest.mark.parametrize("more", [{}, {"deep": [1]}], ids=["flat", "deep"])
    def test_what_a_callback_keeps_is_not_what_the_caller_gets(
        self, fsm: Machine, way: Way, phase: str, more: Context
    ) -> None:
        kept: list[Context] = []
        getattr(fsm, phase)()(kept.append)
        result = way.handle(fsm, "processing", context(**more))
        kept[0].clear()
        assert result == context("processing", **more)

    @pytest.mark.parametrize("nonsense", NONSENSE)
    def test_nonsense_is_an_error_of_the_transition(self, fsm: Machine, way: Way, phase: str, nonsense: str) -> None:
        given = context(deep=[1])
        getattr(fsm, phase)("processing")(NONSENSE[nonsense])
        with pytest.raises(ContextError) as caught:
            way.handle(fsm, "processing", given)
        assert fsm.errors == [caught.value]
        assert fsm.changes == [("ana", "initial", "error_handler")]
        assert given == context(deep=[1])

    @pytest.mark.parametrize(
        "change",
        [
            lambda ctx: ctx.pop("user_id"),
            lambda ctx: ctx.pop("state"),
            lambda ctx: ctx.clear(),
            lambda ctx: ctx.update(user_id="eva"),
            lambda ctx: ctx.update(state="idle"),
            lambda ctx: ctx.update(state=None),
            lambda ctx: ctx.update(user_id=Hostile()),
            lambda ctx: ctx.update(x={1}),
            lambda ctx: ctx["deep"].append(ctx),
            lambda ctx: ctx.update(x=Hostile()),
            lambda ctx: ctx.__setitem__(Hostile(), 1),
        ],
    )
    def test_a_forbidden_change_in_place_is_an_error(self, fsm: Machine, way: Way, phase: str, change: Any) -> None:
        def callback(ctx: Context) -> None:
            change(ctx)

        given = context(deep=[1])
        getattr(fsm, phase)("processing")(callback)
        with pytest.raises(ContextError) as caught:
            way.handle(fsm, "processing", given)
        assert fsm.errors == [caught.value]
        assert given == context(deep=[1])

    def test_what_a_later_callback_mends_does_not_matter(self, fsm: Machine, way: Way, phase: str) -> None:
        getattr(fsm, phase)(priority=1)(lambda ctx: ctx.update(seen={"a"}))
        getattr(fsm, phase)()(lambda ctx: ctx.update(seen=sorted(ctx["seen"])))
        assert way.handle(fsm, "processing", context())["seen"] == ["a"]

    def test_an_equal_user_of_another_kind_is_the_same_user(self, fsm: Machine, way: Way, phase: str) -> None:
        getattr(fsm, phase)()(lambda ctx: ctx.update(user_id=User.ANA))
        getattr(fsm, phase)()(lambda ctx: {**ctx, "user_id": "".join(list("ana"))})
        assert type(way.handle(fsm, "processing", context())["user_id"]) is str

    def test_an_exception_undoes_everything(self, fsm: Machine, way: Way, phase: str) -> None:
        def fail(ctx: Context) -> None:
            ctx["deep"].append(2)
            raise BrokenError

        given = context(deep=[1])
        getattr(fsm, phase)("processing")(fail)
        with pytest.raises(BrokenError):
            way.handle(fsm, "processing", given)
        assert given == context(deep=[1])

    def test_later_callbacks_do_not_run(self, fsm: Machine, way: Way, phase: str) -> None:
        later: list[str] = []
        getattr(fsm, phase)(priority=1)(raising(BrokenError()))
        getattr(fsm, phase)()(lambda ctx: later.append("local"))
        fsm.post_transition()(lambda ctx: later.append("post"))
        fsm.plug(plugin(phase, lambda ctx: later.append("plugin")))
        with pytest.raises(BrokenError):
            way.handle(fsm, "processing", context())
        assert later == []


@pytest.mark.parametrize("phase", PHASES)
class TestPluginCallbacks:
    """Each gets a copy of its own, which is adopted only if it is returned."""

    def test_a_returned_context_is_adopted(self, fsm: Machine, way: Way, phase: str) -> None:
        fsm.plug(plugin(phase, lambda ctx: {**ctx, "first": 1}))
        fsm.plug(plugin(phase, lambda ctx: {**ctx, "second": ctx["first"] + 1}))
        assert way.handle(fsm, "processing", context())["second"] == 2

    def test_changes_in_place_leave_nothing_behind(self, fsm: Machine, way: Way, phase: str) -> None:
        fsm.plug(plugin(phase, lambda ctx: ctx["deep"].append(ctx.clear())))
        assert way.handle(fsm, "processing", context(deep=[1])) == context("processing", deep=[1])

    def test_what_it_raises_leaves_nothing_behind(self, fsm: Machine, way: Way, phase: str) -> None:
        def fail(ctx: Context) -> None:
            ctx["deep"].append(2)
            raise BrokenError

        fsm.plug(plugin(phase, fail))
        assert way.handle(fsm, "processing", context(deep=[1])) == context("processing", deep=[1])
        assert fsm.errors == []

    @pytest.mark.parametrize(
        "error", [BrokenError(), SystemExit(), GeneratorExit(), asyncio.CancelledError(), StopIteration()], ids=repr
    )
    def test_whatever_it_raises_is_contained(self, fsm: Machine, way: Way, phase: str, error: BaseException) -> None:
        fsm.plug(plugin(phase, raising(error)))
        fsm.plug(plugin(phase, lambda ctx: {**ctx, "next": 1}))
        assert way.handle(fsm, "processing", context()) == context("processing", next=1)
        assert (fsm.errors, fsm.changes) == ([], [("ana", "initial", "processing")])

    @pytest.mark.parametrize("nonsense", NONSENSE)
    def test_nonsense_is_contained(self, fsm: Machine, way: Way, phase: str, nonsense: str) -> None:
        fsm.plug(plugin(phase, NONSENSE[nonsense]), "liar")
        assert way.handle(fsm, "processing", context(deep=[1])) == context("processing", deep=[1])
        assert [each.outcome for each in fsm.callbacks.history if each.plugin == "liar" and each.hook == phase] == [
            "error"
        ]

    def test_what_it_keeps_is_its_own(self, fsm: Machine, way: Way, phase: str) -> None:
        kept: list[Context] = []

        def keep(ctx: Context) -> Context:
            kept.append(ctx)
            return ctx

        fsm.plug(plugin(phase, keep))
        fsm.plug(plugin(phase, keep))
        fsm.post_transition(priority=-1)(lambda ctx: ctx["deep"].append(2))
        result = way.handle(fsm, "processing", context(deep=[1]))
        kept[0]["deep"].append(3)
        kept[1]["deep"].append(4)
        assert result["deep"] == [1, 2]
        assert [each["deep"] for each in kept] == [[1, 3], [1, 4]]

    def test_it_sees_what_local_callbacks_have_changed(self, fsm: Machine, way: Way, phase: str) -> None:
        getattr(fsm, phase)()(lambda ctx: ctx.update(seen=[1]))
        fsm.plug(plugin(phase, lambda ctx: {**ctx, "plugin": ctx["seen"]}))
        assert way.handle(fsm, "processing", context())["plugin"] == [1]

    def test_a_local_callback_that_breaks_the_context_before_it_is_to_blame(
        self, fsm: Machine, way: Way, phase: str
    ) -> None:
        called: list[str] = []
        getattr(fsm, phase)("processing")(lambda ctx: ctx.update(seen={1}))
        fsm.plug(plugin(phase, lambda ctx: called.append("guard")), "guard", guard=True)
        with pytest.raises(ContextError) as caught:
            way.handle(fsm, "processing", context())
        assert (called, fsm.errors) == ([], [caught.value])
        assert (phase, "guard") not in [(each.hook, each.plugin) for each in fsm.callbacks.history]

    def test_keyboard_interrupt_passes(self, fsm: Machine, way: Way, phase: str) -> None:
        fsm.plug(plugin(phase, raising(KeyboardInterrupt())))
        with pytest.raises(KeyboardInterrupt):
            way.handle(fsm, "processing", context())
        assert (fsm.errors, fsm.changes) == ([], [])


@pytest.mark.parametrize("veto", [TransitionVeto("no"), ValidationError("no"), AgentNotAvailableError("no")], ids=repr)
@pytest.mark.parametrize("phase", PHASES)
class TestVetoes:
    """The context stays as it was; no error callbacks, no events; the veto leaves handle."""

    @pytest.fixture(autouse=True)
    def nothing_is_told(self, fsm: Machine) -> Any:
        fsm.on_error()(lambda error, ctx: fsm.errors.append(error))
        yield
        assert (fsm.errors, fsm.changes) == ([], [])
        assert "on_transition_error" not in [each.hook for each in fsm.callbacks.history]

    def test_of_a_local_callback(self, fsm: Machine, way: Way, phase: str, veto: TransitionVeto) -> None:
        def refuse(ctx: Context) -> None:
            ctx["deep"].append(2)
            raise veto

        given = context(deep=[1])
        getattr(fsm, phase)("processing")(refuse)
        with pytest.raises(TransitionVeto) as caught:
            way.handle(fsm, "processing", given)
        assert caught.value is veto
        assert given == context(deep=[1])

    def test_of_a_plugin(self, fsm: Machine, way: Way, phase: str, veto: TransitionVeto) -> None:
        later: list[str] = []
        fsm.plug(plugin(phase, raising(veto)))
        fsm.plug(plugin(phase, lambda ctx: later.append("ran")))
        with pytest.raises(TransitionVeto) as caught:
            way.handle(fsm, "processing", context())
        assert caught.value is veto
        assert later == []

    def test_the_engine_goes_on(self, fsm: Machine, way: Way, phase: str, veto: TransitionVeto) -> None:
        @getattr(fsm, phase)("processing")
        def refuse_empty(ctx: Context) -> None:
            if not ctx["message"]:
                raise veto

        with pytest.raises(TransitionVeto):
            way.handle(fsm, "processing", context(message=""))
        assert way.handle(fsm, "processing", context(message="x"))["state"] == "processing"
        fsm.changes.clear()


@pytest.mark.parametrize("phase", PHASES)
class TestGuards:
    """A plugin with on_failure = "veto" fails closed."""

    @pytest.mark.parametrize(
        "error",
        [BrokenError("down"), SystemExit("down"), GeneratorExit("down"), asyncio.CancelledError("down")],
        ids=repr,
    )
    def test_an_exception_is_a_veto(self, fsm: Machine, way: Way, phase: str, error: BaseException) -> None:
        fsm.plug(plugin(phase, raising(error)), "guard", guard=True)
        with pytest.raises(GuardUnavailableError) as caught:
            way.handle(fsm, "processing", context())
        assert caught.value.plugin == "guard"
        assert caught.value.reason == f"{type(error).__qualname__}: down"
        assert (fsm.errors, fsm.changes) == ([], [])

    @pytest.mark.parametrize("nonsense", NONSENSE)
    def test_nonsense_is_a_veto(self, fsm: Machine, way: Way, phase: str, nonsense: str) -> None:
        fsm.plug(plugin(phase, NONSENSE[nonsense]), "guard", guard=True)
        with pytest.raises(GuardUnavailableError, match="the guard 'guard' could not decide"):
            way.handle(fsm, "processing", context())
        assert (fsm.errors, fsm.changes) == ([], [])

    def test_its_own_veto_stays_its_own(self, fsm: Machine, way: Way, phase: str) -> None:
        fsm.plug(plugin(phase, raising(ValidationError("no"))), "guard", guard=True)
        with pytest.raises(ValidationError, match="no"):
            way.handle(fsm, "processing", context())

    def test_one_that_agrees_changes_the_context_like_any_plugin(self, fsm: Machine, way: Way, phase: str) -> None:
        fsm.plug(plugin(phase, lambda ctx: {**ctx, "guarded": True}), "guard", guard=True)
        assert way.handle(fsm, "processing", context()) == context("processing", guarded=True)

    def test_keyboard_interrupt_passes(self, fsm: Machine, way: Way, phase: str) -> None:
        fsm.plug(plugin(phase, raising(KeyboardInterrupt())), "guard", guard=True)
        with pytest.raises(KeyboardInterrupt):
            way.handle(fsm, "processing", context())

    def test_an_async_one_fails_closed(self, fsm: Machine, way: Way, phase: str) -> None:
        async def fail(ctx: Context) -> None:
            raise BrokenError("down")

        fsm.plug(plugin(phase, fail), "guard", guard=True)
        with pytest.raises(GuardUnavailableError, match="down"):
            way.handle(fsm, "processing", context())


@pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
def test_a_coroutine_that_a_coroutine_returns_is_closed(fsm: Machine, way: Way, local: bool) -> None:
    """Somebody forgot an await: the failure says what came back, and no warning tells of it later."""

    async def inner(ctx: Context) -> Context:
        return ctx

    async def outer(ctx: Context) -> Any:
        return inner(ctx)

    if local:
        fsm.pre_transition("processing")(outer)
        with pytest.raises(ContextError, match="must return a context or None, not coroutine"):
            way.handle(fsm, "processing", context())
    else:
        fsm.plug(plugin("pre_transition", outer))
        assert way.handle(fsm, "processing", context())["state"] == "processing"
