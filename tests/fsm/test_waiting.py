"""Sync and async are equals; who waits for whom, and what a cancellation leaves behind."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from tests.fsm.machine import BrokenError, Machine, Way, context, raising
from thea_core import Context, ReentrancyError, ValidationError, hookimpl

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class AsyncPlugin:
    """Calls an async function before or after."""

    def __init__(self, pre: Any = None, post: Any = None, error: Any = None) -> None:
        self._pre, self._post, self._error = pre, post, error

    @hookimpl
    async def pre_transition(self, context: Context) -> Any:
        return await self._pre(context) if self._pre else None

    @hookimpl
    async def post_transition(self, context: Context) -> Any:
        return await self._post(context) if self._post else None

    @hookimpl
    async def on_transition_error(self, context: Context) -> Any:
        return await self._error(context) if self._error else None


class TestBothKinds:
    def test_sync_and_async_callbacks_run_in_one_order(self, fsm: Machine, way: Way) -> None:
        def sync(name: str) -> Any:
            return lambda ctx: ctx["order"].append(name)

        def slow(name: str) -> Any:
            async def callback(ctx: Context) -> None:
                for _ in range(3):
                    await asyncio.sleep(0)
                ctx["order"].append(name)

            return callback

        async def plugin(ctx: Context) -> Context:
            await asyncio.sleep(0)
            return {**ctx, "order": [*ctx["order"], "plugin"]}

        fsm.pre_transition(priority=3)(slow("async 3"))
        fsm.pre_transition(priority=2)(sync("sync 2"))
        fsm.pre_transition(priority=1)(slow("async 1"))
        fsm.plug(AsyncPlugin(pre=plugin, post=plugin))
        fsm.post_transition(priority=-1)(sync("sync -1"))
        result = way.handle(fsm, "processing", context(order=[]))
        assert result["order"] == ["async 3", "sync 2", "async 1", "plugin", "plugin", "sync -1"]

    def test_an_async_local_callback_may_return_a_context(self, fsm: Machine, way: Way) -> None:
        @fsm.pre_transition("processing")
        async def replace(ctx: Context, *, source: str) -> Context:
            return {**ctx, "from": source}

        assert way.handle(fsm, "processing", context())["from"] == "initial"

    def test_a_function_that_happens_to_return_a_coroutine_is_awaited(self, fsm: Machine, way: Way) -> None:
        async def later(ctx: Context) -> None:
            ctx["later"] = True

        fsm.pre_transition("processing")(lambda ctx: later(ctx))  # noqa: PLW0108 -- that nobody sees that it is async
        assert way.handle(fsm, "processing", context())["later"] is True

    @pytest.mark.parametrize(
        "error",
        [BrokenError(), SystemExit(), GeneratorExit(), asyncio.CancelledError(), ValidationError("no")],
        ids=repr,
    )
    def test_what_an_async_local_callback_raises_leaves_handle(
        self, fsm: Machine, way: Way, error: BaseException
    ) -> None:
        @fsm.post_transition("processing")
        async def fail(ctx: Context) -> None:
            await asyncio.sleep(0)
            raise error

        with pytest.raises(type(error)) as caught:
            way.handle(fsm, "processing", context())
        assert caught.value is error
        assert fsm.errors == ([] if isinstance(error, ValidationError) else [error])

    @pytest.mark.parametrize("error", [BrokenError(), SystemExit(), asyncio.CancelledError()], ids=repr)
    def test_what_an_async_plugin_raises_is_contained(self, fsm: Machine, way: Way, error: BaseException) -> None:
        async def fail(ctx: Context) -> None:
            await asyncio.sleep(0)
            raise error

        fsm.plug(AsyncPlugin(fail, fail))
        assert way.handle(fsm, "processing", context()) == context("processing")

    def test_a_callback_that_cancels_its_own_task_fails(self, fsm: Machine, way: Way) -> None:
        @fsm.pre_transition("processing")
        async def cancel(ctx: Context) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

        with pytest.raises(asyncio.CancelledError):
            way.handle(fsm, "processing", context())
        assert [type(each) for each in fsm.errors] == [asyncio.CancelledError]

    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    def test_keyboard_interrupt_passes(self, fsm: Machine, way: Way, local: bool) -> None:
        async def interrupt(ctx: Context) -> None:
            raise KeyboardInterrupt

        if local:
            fsm.pre_transition("processing")(interrupt)
        else:
            fsm.plug(AsyncPlugin(interrupt))
        with pytest.raises(KeyboardInterrupt):
            way.handle(fsm, "processing", context())
        assert (fsm.changes, fsm.errors) == ([], [])


class TestWhereTheyRun:
    def test_a_local_one_runs_on_the_loop_of_its_caller(self, fsm: Machine) -> None:
        loops: list[object] = []

        @fsm.pre_transition("processing")
        @fsm.on_error()
        async def note(*_: Any) -> None:
            loops.append(asyncio.get_running_loop())

        async def main() -> None:
            loops.append(asyncio.get_running_loop())
            await fsm.ahandle("processing", context())
            await fsm.afail(BrokenError(), context())

        asyncio.run(main())
        assert loops[0] is loops[1] is loops[2]

    def test_a_local_one_of_a_sync_call_runs_on_the_managers_loop(self, fsm: Machine) -> None:
        threads: list[str] = []

        @fsm.pre_transition("processing")
        async def note(ctx: Context) -> None:
            threads.append(threading.current_thread().name)

        fsm.handle("processing", context())
        assert threads == ["thea-local"]

    def test_a_plugins_runs_on_the_plugins_loop_whoever_calls(self, fsm: Machine, way: Way) -> None:
        threads: list[str] = []

        async def note(ctx: Context) -> None:
            threads.append(threading.current_thread().name)

        fsm.plug(AsyncPlugin(note, note), "slow")
        way.handle(fsm, "processing", context())
        assert threads == ["thea-slow", "thea-slow"]

    def test_context_variables_travel_with_every_call(self, fsm: Machine, way: Way) -> None:
        seen: list[str] = []

        async def note(*_: Any) -> None:
            seen.append(WHO.get())

        fsm.pre_transition()(note)
        fsm.on_error()(note)
        fsm.plug(AsyncPlugin(note, note, note))
        fsm.callbacks.register("on_state_change", note)
        token = WHO.set("ana")
        try:
            way.handle(fsm, "processing", context())
            way.fail(fsm, BrokenError(), context())
        finally:
            WHO.reset(token)
        assert seen == ["ana"] * 7


class TestOnTheasOwnLoops:
    """There, a sync call whose chain has an async callback would wait for itself."""

    @staticmethod
    def on_a_loop(fsm: Machine, call: Any) -> list[object]:
        """Make a call on the manager's own loop, within an event."""
        results: list[object] = []

        async def caller() -> None:
            try:
                results.append(call())
            except BaseException as error:
                results.append(error)

        with fsm.callbacks.register("on_session_timeout", caller):
            fsm.callbacks.trigger("on_session_timeout", user_id="ana", session_id="x")
        return results

    def test_without_async_callbacks_it_runs(self, fsm: Machine) -> None:
        fsm.pre_transition("processing")(lambda ctx: ctx.update(seen=1))
        assert self.on_a_loop(fsm, lambda: fsm.handle("processing", context())) == [context("processing", seen=1)]
        assert self.on_a_loop(fsm, lambda: fsm.fail(BrokenError(), context())) == [context("error_handler")]

    @pytest.mark.parametrize("where", ["pre_transition", "post_transition", "on_error", "on_state_change", "plugin"])
    def test_with_one_it_is_refused_before_anything_runs(self, fsm: Machine, where: str) -> None:
        ran: list[str] = []

        async def note(*_: Any) -> None:
            ran.append(where)

        if where == "plugin":
            fsm.plug(AsyncPlugin())
        elif where == "on_state_change":
            fsm.callbacks.register(where, note)
        else:
            (fsm.on_error() if where == "on_error" else getattr(fsm, where)("processing"))(note)
        fsm.pre_transition("processing", priority=9)(lambda ctx: ran.append("first"))
        result = self.on_a_loop(fsm, lambda: fsm.handle("processing", context()))
        assert isinstance(result[0], ReentrancyError)
        assert "await ahandle" in str(result[0])
        assert (ran, fsm.changes, fsm.errors) == ([], [], [])

    def test_an_async_callback_of_another_target_does_not_matter(self, fsm: Machine) -> None:
        async def never(ctx: Context) -> None:
            raise BrokenError

        fsm.pre_transition("executing")(never)
        assert self.on_a_loop(fsm, lambda: fsm.handle("processing", context())) == [context("processing")]

    def test_fail_is_refused_too_but_a_note_is_given(self, fsm: Machine) -> None:
        async def note(error: BaseException, ctx: Context) -> None:
            ctx["noted"] = True

        error = BrokenError()
        fsm.on_error()(note)
        fsm.pre_transition("processing")(raising(error))
        with pytest.raises(BrokenError):
            fsm.handle("processing", context())
        result = self.on_a_loop(fsm, lambda: fsm.fail(error, context("idle")))
        assert isinstance(result[0], ReentrancyError)
        assert self.on_a_loop(fsm, lambda: fsm.on_error()(error, context()))[0] == context("error_handler", noted=True)
        assert fsm.errors == [error]

    def test_a_coroutine_that_nobody_foresaw_fails_its_callback(self, fsm: Machine) -> None:
        async def later(ctx: Context) -> None:
            raise BrokenError

        fsm.pre_transition("processing")(lambda ctx: later(ctx))  # noqa: PLW0108 -- that nobody sees that it is async
        assert isinstance(self.on_a_loop(fsm, lambda: fsm.handle("processing", context()))[0], ReentrancyError)

    def test_an_async_call_runs_there(self, fsm: Machine) -> None:
        results: list[object] = []

        async def note(ctx: Context) -> None:
            ctx["noted"] = True

        async def caller() -> None:
            results.append(await fsm.ahandle("processing", context()))

        fsm.pre_transition("processing")(note)
        fsm.callbacks.register("on_session_timeout", caller)
        fsm.callbacks.trigger("on_session_timeout", user_id="ana", session_id="x")
        assert results == [context("processing", noted=True)]


class Hanging:
    """An async callback that waits until it is cancelled; tells when it has begun and how it ended."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.cancelled = False

    async def __call__(self, *_: Any) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.ended.set()


async def cancel_when_begun(task: asyncio.Task[Any], hanging: Hanging) -> None:
    """Cancel a task once a callback has begun in it, and wait for both."""
    await asyncio.to_thread(hanging.begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(hanging.ended.wait)


class TestCancellation:
    """Nothing is adopted, nothing fires, it passes; the callback under way is cancelled."""

    @pytest.mark.parametrize("phase", ["pre", "post"])
    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    def test_of_ahandle(self, fsm: Machine, local: bool, phase: str) -> None:
        hanging, later, given = Hanging(), [], context(deep=[1])

        async def hang(ctx: Context) -> None:
            if "deep" in ctx:
                await hanging()

        fsm.pre_transition("processing", priority=1)(lambda ctx: ctx["deep"].append(2))
        if local:
            getattr(fsm, f"{phase}_transition")("processing")(hang)
        else:
            fsm.plug(AsyncPlugin(**{phase: hang}))
        fsm.post_transition(priority=-1)(lambda ctx: later.append("post"))

        async def main() -> None:
            await cancel_when_begun(asyncio.create_task(fsm.ahandle("processing", given)), hanging)
            fsm.handle("idle", context("error_handler"))  # the engine goes on

        asyncio.run(main())
        assert hanging.cancelled
        assert given == context(deep=[1])
        assert later == ["post"]
        assert fsm.changes == [("ana", "error_handler", "idle")]
        assert fsm.errors == []

    def test_by_a_timeout(self, fsm: Machine) -> None:
        hanging = Hanging()
        fsm.pre_transition("processing")(hanging)

        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await fsm.ahandle("processing", context())

        asyncio.run(main())
        assert (fsm.changes, fsm.errors) == ([], [])

    @pytest.mark.parametrize("local", [True, False], ids=["local", "plugin"])
    def test_of_afail(self, fsm: Machine, local: bool) -> None:
        hanging = Hanging()
        if local:
            fsm.on_error()(hanging)
        else:
            fsm.plug(AsyncPlugin(error=hanging))

        async def main() -> None:
            await cancel_when_begun(asyncio.create_task(fsm.afail(BrokenError(), context())), hanging)

        asyncio.run(main())
        assert hanging.cancelled
        assert (fsm.changes, fsm.errors) == ([], [])

    def test_while_an_error_of_ahandle_is_handled(self, fsm: Machine) -> None:
        hanging = Hanging()
        fsm.on_error()(hanging)
        fsm.pre_transition("processing")(raising(BrokenError()))

        async def main() -> None:
            await cancel_when_begun(asyncio.create_task(fsm.ahandle("processing", context())), hanging)

        asyncio.run(main())
        assert (fsm.changes, fsm.errors) == ([], [])

    def test_while_the_event_is_told_lets_the_event_go_on(self, fsm: Machine) -> None:
        begun, go_on, told = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            begun.set()
            await go_on.wait()

        async def last() -> None:
            told.set()

        fsm.callbacks.register("on_state_change", slow, priority=1)
        fsm.callbacks.register("on_state_change", last, priority=-1)

        async def main() -> None:
            task = asyncio.create_task(fsm.ahandle("processing", context()))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go_on.set()
            await told.wait()

        asyncio.run(main())
        assert fsm.changes == [("ana", "initial", "processing")]

    def test_a_task_that_the_callback_had_spawned_is_free_afterwards(self, fsm: Machine) -> None:
        """The outer call has ended, by its cancellation."""
        spawned: list[asyncio.Task[Context]] = []
        hanging = Hanging()

        async def main() -> Context:
            ended = asyncio.Event()

            async def later() -> Context:
                await ended.wait()
                return await fsm.ahandle("processing", context("idle", free=True))

            @fsm.pre_transition("processing")
            async def spawn(ctx: Context) -> None:
                if "free" not in ctx:
                    spawned.append(asyncio.get_running_loop().create_task(later()))
                    await hanging()

            await cancel_when_begun(asyncio.create_task(fsm.ahandle("processing", context())), hanging)
            ended.set()
            return await spawned[0]

        assert asyncio.run(main()) == context("processing", free=True)

    @pytest.mark.parametrize("where", ["pre_transition", "on_error"])
    def test_a_call_that_is_given_up_with_its_loop_leaves_no_trace_in_other_flows(
        self, fsm: Machine, where: str
    ) -> None:
        """The garbage collector ends the coroutine, in whichever flow it happens to run."""
        hanging = Hanging()
        if where == "on_error":
            fsm.on_error()(hanging)
            fsm.pre_transition("processing")(raising(BrokenError()))
        else:
            fsm.pre_transition("processing")(hanging)
        loop = asyncio.new_event_loop()
        call = fsm.ahandle("processing", context())
        task = loop.create_task(asyncio.wait_for(call, None))
        while not hanging.begun.is_set():
            loop.call_soon(loop.stop)
            loop.run_forever()
        call.close()
        fsm.pre_transition("idle")(lambda ctx: ctx.update(seen=1))
        assert fsm.handle("idle", context("completion"))["seen"] == 1
        task.cancel()
        loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
        loop.close()
        assert (fsm.changes, fsm.errors) == ([("ana", "completion", "idle")], [])

    def test_a_call_that_is_given_up_within_another_flow_does_not_end_what_runs_there(self, fsm: Machine) -> None:
        other, hanging = Machine(), Hanging()
        other.pre_transition("processing")(hanging)
        refused: list[ReentrancyError] = []

        @fsm.pre_transition("processing")
        async def give_up(ctx: Context) -> None:
            call.close()
            with pytest.raises(ReentrancyError) as caught:
                await fsm.ahandle("processing", ctx)
            refused.append(caught.value)

        loop = asyncio.new_event_loop()
        call = other.ahandle("processing", context())
        task = loop.create_task(asyncio.wait_for(call, None))
        while not hanging.begun.is_set():
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert fsm.handle("processing", context())["state"] == "processing"
        assert len(refused) == 1
        task.cancel()
        loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
        loop.close()


class TestInterruptedWaiting:
    def test_ctrl_c_while_a_sync_call_waits_ends_it(self, fsm: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        from concurrent.futures import Future

        hanging = Hanging()
        fsm.pre_transition("processing")(hanging)
        result = Future.result

        def interrupted(self: Any, timeout: float | None = None) -> Any:
            if not self.done():
                hanging.begun.wait()
                raise KeyboardInterrupt
            return result(self, timeout)

        monkeypatch.setattr(Future, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fsm.handle("processing", context())
        hanging.ended.wait()
        assert hanging.cancelled
        assert (fsm.changes, fsm.errors) == ([], [])
