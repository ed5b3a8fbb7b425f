"""The law of transitions: whole or not at all, whatever callbacks do.

Hypothesis draws a definition, a context and chains of callbacks that change, lie, raise and recurse. What ``handle``
and ``ahandle`` must make of them is computed by a model of the rules that is as plain as possible: it copies always,
and checks always.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fsm.machine import Async, BrokenError, Machine, Sync
from thea_core import (
    Context,
    ContextError,
    Definition,
    GuardUnavailableError,
    IllegalTransitionError,
    ReentrancyError,
    TransitionVeto,
    ValidationError,
    hookimpl,
)

STATES = ("a", "b", "c", "d")
ERROR = "trouble"


# What a callback may do


def _raise(error: BaseException) -> Callable[[Context], Any]:
    def action(_: Context) -> Any:
        raise type(error)(*error.args)

    return action


def _after(change: Callable[[Context], Any], action: Callable[[Context], Any]) -> Callable[[Context], Any]:
    def both(ctx: Context) -> Any:
        change(ctx)
        return action(ctx)

    return both


def _in_place(change: Callable[[Context], Any]) -> Callable[[Context], Any]:
    def action(ctx: Context) -> None:
        change(ctx)

    return action


def _deeply(ctx: Context) -> None:
    ctx.setdefault("deep", {"list": []})["list"].append(len(ctx))
    ctx["deep"]["more"] = {"copy": list(ctx["deep"]["list"])}


def _recurse(_: Context) -> Any:
    raise ReentrancyError  # what the model sees; the real callback calls the engine


ACTIONS: dict[str, Callable[[Context], Any]] = {
    "nothing": lambda ctx: None,
    "return the same": lambda ctx: ctx,
    "change deeply": _in_place(_deeply),
    "change and return": _after(_deeply, lambda ctx: {**ctx, "returned": True}),
    "delete": _in_place(lambda ctx: ctx.pop("deep", None)),
    "veto": _after(_deeply, _raise(ValidationError("no"))),
    "error": _after(_deeply, _raise(BrokenError("boom"))),
    "exit": _raise(SystemExit(1)),
    "generator exit": _raise(GeneratorExit()),
    "own cancellation": _raise(asyncio.CancelledError()),
    "text": lambda ctx: "context",
    "zero": lambda ctx: 0,
    "another user": lambda ctx: {**ctx, "user_id": "eva"},
    "another state": lambda ctx: {**ctx, "state": "b" if ctx["state"] != "b" else "c"},
    "no state": lambda ctx: {key: value for key, value in ctx.items() if key != "state"},
    "a set": lambda ctx: {**ctx, "x": {1}},
    "change the user": _in_place(lambda ctx: ctx.update(user_id="eva")),
    "delete the state": _in_place(lambda ctx: ctx.pop("state")),
    "clear": _in_place(lambda ctx: ctx.clear()),
    "put a tuple": _in_place(lambda ctx: ctx.update(x=[(1,)])),
    "take the tuple away": _in_place(lambda ctx: ctx.pop("x", None)),
    "contain itself": _in_place(lambda ctx: ctx.setdefault("deep", {"list": []})["list"].append(ctx)),
    "recurse": _recurse,
}


@dataclass(frozen=True)
class Spec:
    """One callback of a chain."""

    action: str
    kind: str
    is_async: bool
    priority: int
    timeout: float | None


@dataclass(frozen=True)
class Case:
    """One transition, with all that surrounds it."""

    transitions: dict[str, list[str]]
    context: Context
    target: str
    pre: list[Spec]
    post: list[Spec]
    error: list[Spec]


SPECS = st.lists(
    st.builds(
        Spec,
        action=st.sampled_from(list(ACTIONS)) | st.sampled_from(["nothing", "change deeply", "change and return"]),
        kind=st.sampled_from(["local", "local", "plugin", "guard"]),
        is_async=st.booleans(),
        priority=st.integers(-1, 1),
        timeout=st.sampled_from([None, 600.0]),  # never up: what that leads to is for other tests
    ),
    max_size=3,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    ring = {state: [STATES[(number + 1) % len(STATES)]] for number, state in enumerate(STATES)}
    more = draw(st.dictionaries(st.sampled_from(STATES), st.sets(st.sampled_from(STATES))))
    transitions = {state: sorted({*targets, *more.get(state, ())}) for state, targets in ring.items()}
    context = draw(st.dictionaries(st.sampled_from(["m", "n", "deep"]), JSON, max_size=3))
    if "deep" in context:
        context["deep"] = {"list": [context["deep"]]}
    return Case(
        transitions={**transitions, ERROR: ["a"]},
        context={**context, "user_id": "ana", "state": draw(st.sampled_from((*STATES, ERROR)))},
        target=draw(st.sampled_from(STATES)),
        pre=draw(SPECS),
        post=draw(SPECS),
        error=draw(SPECS),
    )


# What must come of it


@dataclass(frozen=True)
class Outcome:
    """How a transition ends: with a context, or by an exception; and what was told."""

    context: Context | None = None
    raised: type[BaseException] | None = None
    error_context: Context | None = None
    changes: tuple[tuple[str, str, str], ...] = ()
    errors: int = 0


class Model:
    """The rules, written down as plainly as possible."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.source = case.context["state"]

    def outcome(self) -> Outcome:
        if self.case.target not in self.case.transitions[self.source]:
            return Outcome(raised=IllegalTransitionError)
        try:
            work = self.phases()
        except TransitionVeto as veto:
            return Outcome(raised=type(veto))
        except BaseException as error:
            return self.failed(error)
        return Outcome(context=work, changes=(("ana", self.source, self.case.target),))

    def phases(self) -> Context:
        work = deepcopy(self.case.context)
        for specs, state in ((self.case.pre, self.source), (self.case.post, self.case.target)):
            work["state"] = state
            for spec in in_order(specs):
                work = self.local(spec, work) if spec.kind == "local" else self.plugin(spec, work)
        if not is_json(work):
            raise ContextError("")
        return work

    def local(self, spec: Spec, work: Context) -> Context:
        user_and_state = work["user_id"], work["state"]
        if spec.timeout is not None:  # it has a copy of its own, and what becomes of it is checked at once
            if not is_json(work):
                raise ContextError("")
            own = deepcopy(work)
            result = ACTIONS[spec.action](own)
            return self.fitting(own if result is None else result, *user_and_state)
        result = ACTIONS[spec.action](work)
        if result is None or result is work:
            if (work.get("user_id"), work.get("state")) != user_and_state:
                raise ContextError("")
            return work
        return self.fitting(result, *user_and_state)

    def fitting(self, result: Any, user_id: str, state: str) -> Context:
        if not fits(result, user_id, state):
            raise ContextError("")
        return deepcopy(result)

    def plugin(self, spec: Spec, work: Context) -> Context:
        if not is_json(work):
            raise ContextError("")
        try:
            result = ACTIONS[spec.action](deepcopy(work))
        except TransitionVeto:
            raise
        except BaseException:
            result = "a failure"
        if result is None or fits(result, work["user_id"], work["state"]):
            return work if result is None else deepcopy(result)
        if spec.kind == "guard":
            raise GuardUnavailableError("guard", "")
        return work

    def failed(self, error: BaseException) -> Outcome:
        work = {**deepcopy(self.case.context), "state": ERROR}
        for spec in in_order(self.case.error):
            own = deepcopy(work)
            try:
                result = ACTIONS[spec.action](own)
            except BaseException:
                continue
            result = own if result is None and spec.kind == "local" else result
            if fits(result, "ana", ERROR):
                work = deepcopy(result)
        changes = () if self.source == ERROR else (("ana", self.source, ERROR),)
        return Outcome(raised=type(error), error_context=work, changes=changes, errors=1)


def in_order(specs: list[Spec]) -> list[Spec]:
    """Higher priority first; then local callbacks; then in order of registration."""
    return sorted(specs, key=lambda each: (-each.priority, each.kind != "local"))


def fits(result: Any, user_id: str, state: str) -> bool:
    if not isinstance(result, dict) or not is_json(result):
        return False
    return result.get("user_id") == user_id and result.get("state") == state


def is_json(value: Any, depth: int = 100) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(type(key) is str and is_json(each, depth - 1) for key, each in value.items())
    if isinstance(value, list):
        return depth > 0 and all(is_json(each, depth - 1) for each in value)
    return value is None or type(value) in (str, int, bool)


# What does come of it


class Bench:
    """An engine with the callbacks of a case."""

    def __init__(self, case: Case) -> None:
        self.quiet = False
        self.kept: list[Context] = []
        self.machine = Machine(Definition(case.transitions, initial="a", error=ERROR), max_callbacks=9)
        for spec in case.pre:
            self._add(spec, "pre_transition")
        for spec in case.post:
            self._add(spec, "post_transition")
        for spec in case.error:
            self._add(spec, "on_transition_error")

    def _add(self, spec: Spec, phase: str) -> None:
        if spec.kind == "local":
            decorator = self.machine.on_error if phase == "on_transition_error" else getattr(self.machine, phase)
            act, sync = self._act(spec), lambda *given: self._do(spec, given[-1])
            decorator(priority=spec.priority, timeout=spec.timeout)(act if spec.is_async else sync)
        else:
            self.machine.plug(self._plugin(spec, phase), guard=spec.kind == "guard")

    def _plugin(self, spec: Spec, phase: str) -> object:
        act = self._act(spec)

        def sync(_: object, context: Context) -> Any:
            return self._do(spec, context)

        async def later(_: object, context: Context) -> Any:
            return await act(context)

        function = later if spec.is_async else sync
        function.__name__ = phase
        return type("Plugin", (), {phase: hookimpl(priority=spec.priority, timeout=spec.timeout)(function)})()

    def _act(self, spec: Spec) -> Callable[..., Any]:
        async def act(*given: Any) -> Any:
            await asyncio.sleep(0)
            if spec.action == "recurse" and not self.quiet:
                return await self.machine.ahandle("a", given[-1])
            return self._do(spec, given[-1])

        return act

    def _do(self, spec: Spec, context: Context) -> Any:
        if spec.kind != "local" or spec.timeout is not None:
            self.kept.append(context)
        if self.quiet:
            return None
        if spec.action == "recurse":
            return self.machine.handle("a", context)
        return ACTIONS[spec.action](context)

    def close(self) -> None:
        self.machine.callbacks.close()


@pytest.mark.parametrize("way", [Sync(), Async()], ids=["sync", "async"])
@given(case=cases())
def test_a_transition_happens_whole_or_not_at_all(way: Sync | Async, case: Case) -> None:
    expected = Model(case).outcome()
    bench = Bench(case)
    fsm = bench.machine
    context = deepcopy(case.context)
    try:
        result, raised = None, None
        try:
            result = way.handle(fsm, case.target, context)
        except BaseException as error:
            raised = error
        for kept in bench.kept:
            kept.clear()  # who has a copy of its own may do with it what it likes, also later
        assert context == case.context
        assert is_json(context)
        assert (result, raised and type(raised)) == (expected.context, expected.raised)
        assert tuple(fsm.changes) == expected.changes
        assert len(fsm.errors) == expected.errors
        if raised is not None and expected.errors:
            assert fsm.errors == [raised]
            assert raised.critical is False  # type: ignore[attr-defined]
            assert way.report(fsm, raised, context) == expected.error_context
            assert len(fsm.errors) == 1
        bench.quiet = True
        after = {"user_id": "eva", "state": "a", "deep": {"list": [1]}}
        assert way.handle(fsm, "b", after) == {**after, "state": "b"}
        assert len(fsm.callbacks.running_calls) == 0
    finally:
        bench.close()


@given(case=cases())
def test_both_ways_leave_the_same_records(case: Case) -> None:
    records = []
    for way in (Sync(), Async()):
        bench = Bench(case)
        with suppress(BaseException):
            way.handle(bench.machine, case.target, deepcopy(case.context))
        bench.close()
        records.append([(each.hook, each.plugin, each.outcome) for each in bench.machine.callbacks.history])
    assert records[0] == records[1]
