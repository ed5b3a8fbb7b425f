"""A transition is never started within a transition of the same engine in the same flow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.fsm.machine import BrokenError, Machine, Way, context
from thea_core import CallbackManager, Context, FSMEngine, ReentrancyError, hookimpl
from thea_core.callbacks.steps import drive

CALLS: dict[str, Callable[[FSMEngine, Context], Any]] = {
    "handle": lambda fsm, ctx: fsm.handle("processing", ctx),
    "reset": lambda fsm, ctx: fsm.reset(ctx),
    "fail": lambda fsm, ctx: fsm.fail(BrokenError(), ctx),
    "on_error": lambda fsm, ctx: fsm.on_error()(BrokenError(), ctx),
    "ahandle": lambda fsm, ctx: fsm.ahandle("processing", ctx).send(None),  # its first step
    "an unknown target": lambda fsm, ctx: fsm.handle("nowhere", ctx),
}
ASYNC_CALLS: dict[str, Callable[[FSMEngine, Context], Any]] = {
    "ahandle": lambda fsm, ctx: fsm.ahandle("processing", ctx),
    "areset": lambda fsm, ctx: fsm.areset(ctx),
    "afail": lambda fsm, ctx: fsm.afail(BrokenError(), ctx),
    "aon_error": lambda fsm, ctx: fsm.aon_error(BrokenError(), ctx),
}


@pytest.fixture
def tried() -> list[object]:
    """What came of the calls that were tried."""
    return []


def attempt(tried: list[object], call: Callable[[], Any]) -> None:
    try:
        tried.append(call())
    except ReentrancyError as refused:
        tried.append(refused)


async def attempt_async(tried: list[object], call: Callable[[], Any]) -> None:
    try:
        tried.append(await call())
    except ReentrancyError as refused:
        tried.append(refused)


def only_refused(tried: list[object]) -> bool:
    return bool(tried) and all(isinstance(each, ReentrancyError) for each in tried)


@pytest.mark.parametrize("name", CALLS)
class TestWithinCallbacks:
    @pytest.mark.parametrize("phase", ["pre_transition", "post_transition"])
    def test_of_the_engine(self, fsm: Machine, way: Way, tried: list[object], phase: str, name: str) -> None:
        @getattr(fsm, phase)("processing")
        def nest(ctx: Context) -> None:
            attempt(tried, lambda: CALLS[name](fsm, context("idle")))

        assert way.handle(fsm, "processing", context())["state"] == "processing"
        assert only_refused(tried)
        assert fsm.changes == [("ana", "initial", "processing")]
        assert fsm.errors == []

    @pytest.mark.parametrize("phase", ["pre_transition", "post_transition", "on_transition_error"])
    def test_of_plugins(self, fsm: Machine, way: Way, tried: list[object], phase: str, name: str) -> None:
        def nest(self: object) -> None:
            attempt(tried, lambda: CALLS[name](fsm, context("idle")))

        nest.__name__ = phase
        fsm.plug(type("Plugin", (), {phase: hookimpl(nest)})())
        if phase == "on_transition_error":
            way.fail(fsm, BrokenError(), context())
        else:
            way.handle(fsm, "processing", context())
        assert only_refused(tried)

    @pytest.mark.parametrize("event", ["on_state_change", "on_error"])
    def test_of_the_events_that_the_engine_fires(
        self, fsm: Machine, way: Way, tried: list[object], event: str, name: str
    ) -> None:
        fsm.callbacks.register(event, lambda: attempt(tried, lambda: CALLS[name](fsm, context("idle"))))
        way.fail(fsm, BrokenError(), context())
        assert only_refused(tried)
        assert len(fsm.errors) == 1

    def test_of_a_state_change_that_somebody_else_fires(self, fsm: Machine, tried: list[object], name: str) -> None:
        fsm.callbacks.register(
            "on_state_change", lambda: attempt(tried, lambda: CALLS[name](fsm, context("idle"))), priority=1
        )
        fsm.callbacks.trigger("on_state_change", user_id="ana", old_state="a", new_state="b")
        assert only_refused(tried)
        assert fsm.changes == [("ana", "a", "b")]


@pytest.mark.parametrize("name", ASYNC_CALLS)
@pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
class TestWithinAsyncCallbacks:
    @pytest.mark.parametrize("phase", ["pre_transition", "post_transition", "on_transition_error"])
    def test_of_transitions(
        self, fsm: Machine, way: Way, *, tried: list[object], local: bool, phase: str, name: str
    ) -> None:
        async def nest(*_: Any) -> None:
            await asyncio.sleep(0)
            await attempt_async(tried, lambda: ASYNC_CALLS[name](fsm, context("idle")))

        if local:
            decorate = fsm.on_error() if phase == "on_transition_error" else getattr(fsm, phase)("processing")
            decorate(nest)
        else:

            async def method(self: object) -> None:
                await nest()

            method.__name__ = phase
            fsm.plug(type("Plugin", (), {phase: hookimpl(method)})())
        if phase == "on_transition_error":
            way.fail(fsm, BrokenError(), context())
        else:
            way.handle(fsm, "processing", context())
        assert only_refused(tried)

    def test_of_the_event(self, fsm: Machine, way: Way, tried: list[object], local: bool, name: str) -> None:
        class Plugin:
            @hookimpl
            async def on_state_change(self) -> None:
                await nest()

        async def nest() -> None:
            await asyncio.sleep(0)
            await attempt_async(tried, lambda: ASYNC_CALLS[name](fsm, context("idle")))

        if local:
            fsm.callbacks.register("on_state_change", nest)
        else:
            fsm.plug(Plugin())
        way.handle(fsm, "processing", context())
        assert only_refused(tried)


class TestAllowed:
    def test_callbacks_of_other_events_may_handle(self, fsm: Machine, tried: list[object]) -> None:
        fsm.callbacks.register("on_message", lambda: attempt(tried, lambda: fsm.handle("processing", context())))
        fsm.callbacks.trigger("on_message", user_id="ana", message="x", timestamp=fsm.callbacks.clock.now())
        assert tried == [context("processing")]
        assert fsm.changes == [("ana", "initial", "processing")]

    def test_async_callbacks_of_other_events_may_handle(self, fsm: Machine, tried: list[object]) -> None:
        async def handle() -> None:
            await attempt_async(tried, lambda: fsm.ahandle("processing", context()))

        fsm.callbacks.register("on_message", handle)
        fsm.callbacks.trigger("on_message", user_id="ana", message="x", timestamp=fsm.callbacks.clock.now())
        assert tried == [context("processing")]

    def test_an_error_that_somebody_else_tells_may_lead_to_a_transition(
        self, fsm: Machine, tried: list[object]
    ) -> None:
        fsm.callbacks.register(
            "on_error", lambda: attempt(tried, lambda: fsm.handle("idle", context("error_handler"))), priority=1
        )
        fsm.callbacks.trigger("on_error", user_id="ana", error=BrokenError(), traceback="")
        assert tried == [context("idle")]

    def test_a_transition_that_fails_within_an_error_is_not_told_again(self, fsm: Machine) -> None:
        failed: list[str] = []
        fsm.on_error()(lambda error, ctx: failed.append("callback"))
        fsm.pre_transition("idle")(lambda ctx: 1 / 0)

        def recover() -> None:
            with pytest.raises(ZeroDivisionError):
                fsm.handle("idle", context("error_handler"))
            failed.append("recovered")

        fsm.callbacks.register("on_error", recover, priority=1)
        fsm.callbacks.trigger("on_error", user_id="ana", error=BrokenError(), traceback="")
        assert failed == ["callback", "recovered"]
        assert [type(each) for each in fsm.errors] == [BrokenError]

    def test_fail_is_refused_within_an_error_that_somebody_else_tells(self, fsm: Machine, tried: list[object]) -> None:
        fsm.callbacks.register("on_error", lambda: attempt(tried, lambda: fsm.fail(BrokenError(), context())))
        fsm.callbacks.trigger("on_error", user_id="ana", error=BrokenError(), traceback="")
        assert only_refused(tried)
        assert fsm.changes == []

    def test_fail_is_fine_within_any_other_event(self, fsm: Machine, tried: list[object]) -> None:
        fsm.callbacks.register("on_message", lambda: attempt(tried, lambda: fsm.fail(BrokenError(), context())))
        fsm.callbacks.trigger("on_message", user_id="ana", message="x", timestamp=fsm.callbacks.clock.now())
        assert tried == [context("error_handler")]

    def test_settling_is_refused_within_a_transition(self, fsm: Machine, way: Way, tried: list[object]) -> None:
        fsm.pre_transition()(lambda ctx: attempt(tried, lambda: drive(fsm.settle_steps("idle", context()))))
        way.handle(fsm, "processing", context())
        assert only_refused(tried)

    def test_another_engine_may_handle_within_a_transition(self, fsm: Machine, way: Way) -> None:
        other = Machine()
        fsm.pre_transition()(lambda ctx: ctx.update(other=other.handle("processing", context())["state"]))
        assert way.handle(fsm, "processing", context())["other"] == "processing"
        assert other.changes == [("ana", "initial", "processing")]

    def test_an_engine_of_the_same_manager_may_too_but_not_within_the_event(
        self, way: Way, tried: list[object]
    ) -> None:
        callbacks = CallbackManager()
        one, other = Machine(callbacks=callbacks), Machine(callbacks=callbacks, events=False)
        one.pre_transition()(lambda ctx: attempt(tried, lambda: other.handle("processing", context())["state"]))
        callbacks.register("on_state_change", lambda: attempt(tried, lambda: other.handle("idle", context())))
        way.handle(one, "processing", context())
        assert tried[1] == "processing"
        assert only_refused([tried[0], tried[2]])

    def test_an_engine_of_the_same_manager_that_fails_within_an_error_runs_no_error_callbacks_again(
        self, way: Way
    ) -> None:
        callbacks = CallbackManager()
        one, other = Machine(callbacks=callbacks, events=False), Machine(callbacks=callbacks, events=False)
        told: list[str] = []

        class Plugin:
            @hookimpl
            def on_transition_error(self, error: BaseException) -> None:
                told.append(str(error))
                other.fail(BrokenError("inner"), context())

        one.plug(Plugin())
        way.fail(one, BrokenError("outer"), context())
        assert told == ["outer"]

    def test_a_callback_may_look(self, fsm: Machine, way: Way) -> None:
        fsm.pre_transition()(lambda ctx: ctx.update(looked=[fsm.can("idle", ctx), fsm.allowed("completion")[0]]))
        assert way.handle(fsm, "processing", context())["looked"] == [False, "idle"]

    def test_after_a_refusal_everything_goes_on(self, fsm: Machine, way: Way, tried: list[object]) -> None:
        fsm.pre_transition()(lambda ctx: attempt(tried, lambda: fsm.handle("idle", ctx)))
        for number in range(1, 4):
            assert way.handle(fsm, "processing", context())["state"] == "processing"
            assert len(tried) == number

    def test_hooks_that_are_nested_too_deep_refuse_a_transition_before_it_begins(
        self, fsm: Machine, tried: list[object]
    ) -> None:
        arguments: dict[str, dict[str, Any]] = {
            "on_message": {"message": "x", "timestamp": fsm.callbacks.clock.now()},
            "on_intent_detected": {"intent": "x", "score": 1.0},
            "on_agent_delegated": {"agent": "x", "intent": "x"},
            "on_session_timeout": {"session_id": "x"},
        }
        names = list(arguments)

        def fire(name: str) -> None:
            fsm.callbacks.trigger(name, user_id="ana", **arguments[name])

        for outer, inner in pairwise(names):
            fsm.callbacks.register(outer, lambda inner=inner: fire(inner))
        fsm.callbacks.register(names[2], lambda: attempt(tried, lambda: fsm.handle("processing", context())))
        fsm.callbacks.register(names[3], lambda: attempt(tried, lambda: fsm.handle("processing", context())))
        fire(names[0])
        assert isinstance(tried[0], ReentrancyError)
        assert tried[1] == context("processing")
        assert fsm.changes == [("ana", "initial", "processing")]


class TestRefusalThatIsNotCaught:
    def test_of_a_local_callback_it_is_an_error(self, fsm: Machine, way: Way) -> None:
        fsm.pre_transition("processing")(lambda ctx: fsm.handle("idle", ctx))
        with pytest.raises(ReentrancyError, match="runs already in this flow") as caught:
            way.handle(fsm, "processing", context())
        assert fsm.errors == [caught.value]

    def test_of_a_plugin_it_is_contained(self, fsm: Machine, way: Way) -> None:
        class Plugin:
            @hookimpl
            def pre_transition(self, context: Context) -> Context:
                return fsm.handle("processing", context)

        fsm.plug(Plugin())
        assert way.handle(fsm, "processing", context()) == context("processing")


class TestSpawnedTasks:
    """A task that is spawned within a transition may start another one once the outer call has ended."""

    @pytest.mark.parametrize("spawner", ["sync", "async"])
    def test_while_the_outer_call_runs_it_is_refused_and_afterwards_it_is_not(
        self, fsm: Machine, tried: list[object], spawner: str
    ) -> None:
        tasks: list[asyncio.Task[None]] = []
        refused, outer_ended = asyncio.Event(), asyncio.Event()

        async def spawned() -> None:
            await attempt_async(tried, lambda: fsm.ahandle("processing", context("idle")))
            refused.set()
            await outer_ended.wait()
            await attempt_async(tried, lambda: fsm.ahandle("processing", context("idle")))
            attempt(tried, lambda: fsm.handle("executing", context("processing")))

        def spawn(ctx: Context) -> None:
            if "outer" in ctx:
                tasks.append(asyncio.get_running_loop().create_task(spawned()))

        async def spawn_async(ctx: Context) -> None:
            spawn(ctx)

        fsm.pre_transition("processing", priority=1)(spawn if spawner == "sync" else spawn_async)

        @fsm.post_transition("processing")
        async def wait(ctx: Context) -> None:
            if "outer" in ctx:
                await refused.wait()

        async def main() -> None:
            await fsm.ahandle("processing", context(outer=1))
            outer_ended.set()
            await tasks[0]

        asyncio.run(main())
        assert isinstance(tried[0], ReentrancyError)
        assert tried[1:] == [context("processing"), context("executing")]

    def test_on_the_managers_loop_too(self, fsm: Machine, tried: list[object]) -> None:
        """The async callbacks of a sync handle run on a loop of the manager's, where tasks outlive them."""
        tasks: list[asyncio.Task[None]] = []
        next_callback = asyncio.Event()

        async def spawned() -> None:
            await next_callback.wait()
            await attempt_async(tried, lambda: fsm.ahandle("processing", context("idle")))

        @fsm.pre_transition("processing")
        async def spawn(ctx: Context) -> None:
            tasks.append(asyncio.get_running_loop().create_task(spawned()))

        @fsm.post_transition("processing")
        async def wait(ctx: Context) -> None:
            next_callback.set()
            await asyncio.wait(tasks)

        fsm.handle("processing", context())
        assert only_refused(tried)

    def test_a_task_that_was_spawned_before_is_no_part_of_the_transition(
        self, fsm: Machine, tried: list[object]
    ) -> None:
        async def main() -> None:
            begun = asyncio.Event()
            other_ended = asyncio.Event()

            @fsm.pre_transition("processing")
            async def wait(ctx: Context) -> None:
                if ctx.get("wait"):
                    begun.set()
                    await other_ended.wait()

            async def other() -> None:
                await begun.wait()
                await attempt_async(tried, lambda: fsm.ahandle("processing", context()))
                other_ended.set()

            task = asyncio.create_task(other())
            await fsm.ahandle("processing", context(wait=True))
            await task

        asyncio.run(main())
        assert tried == [context("processing")]
