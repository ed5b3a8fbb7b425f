"""``fsm.on_error()(error, context)``: the error context of the last failing call of a flow, or ``fail``."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context as copy_of_flow
from typing import Any

import pytest

from tests.fsm.machine import BrokenError, Machine, Way, context, raising
from thea_core import Context, ValidationError
from thea_core.fsm.notes import find_note

ERROR = BrokenError("shared")


@pytest.fixture(autouse=True)
def count(fsm: Machine) -> None:
    """Each error context tells how often ``fail`` has run before; entering ``executing`` always fails."""
    fsm.on_error()(lambda error, ctx: ctx.update(number=len(fsm.errors)))
    fsm.pre_transition("executing")(raising(ERROR))


def fail(way: Way, fsm: Machine, given: Context) -> None:
    with pytest.raises(BrokenError):
        way.handle(fsm, "executing", given)


class TestInOneFlow:
    def test_it_returns_what_fail_has_made(self, fsm: Machine, way: Way) -> None:
        given = context("processing", deep=[1])
        fail(way, fsm, given)
        assert way.report(fsm, ERROR, given) == context("error_handler", deep=[1], number=0)
        assert fsm.errors == [ERROR]

    def test_a_sync_handle_and_an_async_report_are_one_flow(self, fsm: Machine) -> None:
        async def main() -> Context:
            given = context("processing")
            try:
                fsm.handle("executing", given)
            except BrokenError as error:
                return await fsm.aon_error(error, given)
            return {}

        assert asyncio.run(main())["number"] == 0
        assert len(fsm.errors) == 1

    def test_it_may_be_asked_twice_and_each_answer_is_a_copy(self, fsm: Machine, way: Way) -> None:
        given = context("processing", deep=[1])
        fail(way, fsm, given)
        first = way.report(fsm, ERROR, given)
        first["deep"].append(2)
        assert way.report(fsm, ERROR, given)["deep"] == [1]
        assert len(fsm.errors) == 1

    def test_an_equal_context_will_do(self, fsm: Machine, way: Way) -> None:
        fail(way, fsm, context("processing", deep=[1]))
        way.report(fsm, ERROR, context("processing", deep=[1]))
        assert len(fsm.errors) == 1

    def test_another_context_calls_fail(self, fsm: Machine, way: Way) -> None:
        fail(way, fsm, context("processing", deep=[1]))
        assert way.report(fsm, ERROR, context("processing", deep=[2]))["number"] == 1
        assert fsm.errors == [ERROR, ERROR]

    def test_another_user_calls_fail(self, fsm: Machine, way: Way) -> None:
        fail(way, fsm, context("processing"))
        given = {**context("processing"), "user_id": "eva"}
        assert way.report(fsm, ERROR, given)["user_id"] == "eva"
        assert len(fsm.errors) == 2

    def test_an_equal_exception_is_not_the_same(self, fsm: Machine, way: Way) -> None:
        fail(way, fsm, context("processing"))
        way.report(fsm, BrokenError("shared"), context("processing"))
        assert len(fsm.errors) == 2

    def test_only_the_last_failing_call_counts(self, fsm: Machine, way: Way) -> None:
        fail(way, fsm, context("processing", number=1))
        fail(way, fsm, context("processing", number=2))
        way.report(fsm, ERROR, context("processing", number=2))
        assert len(fsm.errors) == 2
        way.report(fsm, ERROR, context("processing", number=1))
        assert len(fsm.errors) == 3

    def test_calls_that_succeed_do_not_count(self, fsm: Machine, way: Way) -> None:
        fail(way, fsm, context("processing"))
        for _ in range(3):
            way.handle(fsm, "processing", context())
        way.report(fsm, ERROR, context("processing"))
        assert len(fsm.errors) == 1

    def test_a_veto_is_a_failure_that_fail_has_not_seen(self, fsm: Machine, way: Way) -> None:
        veto = ValidationError("no")
        fsm.pre_transition("processing")(raising(veto))
        with pytest.raises(ValidationError):
            way.handle(fsm, "processing", context())
        assert fsm.errors == []
        assert way.report(fsm, veto, context())["state"] == "error_handler"
        assert fsm.errors == [veto]

    def test_after_a_veto_an_older_error_is_no_longer_the_last(self, fsm: Machine, way: Way) -> None:
        fsm.pre_transition("processing")(raising(ValidationError("no")))
        fail(way, fsm, context("processing"))
        with pytest.raises(ValidationError):
            way.handle(fsm, "processing", context())
        way.report(fsm, ERROR, context("processing"))
        assert len(fsm.errors) == 2

    def test_fail_itself_leaves_no_note(self, fsm: Machine, way: Way) -> None:
        way.fail(fsm, ERROR, context("processing"))
        way.report(fsm, ERROR, context("processing"))
        assert len(fsm.errors) == 2

    def test_an_exception_that_no_call_has_raised_calls_fail(self, fsm: Machine, way: Way) -> None:
        error = BrokenError("of an agent")
        assert way.report(fsm, error, context("executing")) == context("error_handler", number=0)
        assert fsm.errors == [error]

    def test_each_engine_has_notes_of_its_own(self, fsm: Machine, way: Way) -> None:
        other = Machine()
        other.pre_transition("executing")(raising(ERROR))
        given = context("processing")
        fail(way, fsm, given)
        fail(way, other, given)
        way.report(fsm, ERROR, given)
        way.report(other, ERROR, given)
        assert (len(fsm.errors), len(other.errors)) == (1, 1)

    def test_without_a_context_it_is_a_decorator(self, fsm: Machine) -> None:
        def callback(error: BaseException, ctx: Context) -> None:
            pass

        assert fsm.on_error()(callback) is callback


class TestAcrossTasks:
    def test_wait_for_is_the_callers_flow(self, fsm: Machine) -> None:
        async def main() -> None:
            given = context("processing")
            try:
                await asyncio.wait_for(fsm.ahandle("executing", given), 60)
            except BrokenError as error:
                await asyncio.wait_for(fsm.aon_error(error, given), 60)

        asyncio.run(main())
        assert len(fsm.errors) == 1

    @pytest.mark.parametrize("failing", [0, 1, 2])
    def test_each_call_of_a_gather_is_the_callers_flow(self, fsm: Machine, failing: int) -> None:
        async def main() -> None:
            given = [{"user_id": f"user {number}", "state": "idle"} for number in range(3)]
            given[failing]["state"] = "processing"
            targets = ["executing" if each["state"] == "processing" else "processing" for each in given]
            calls = map(fsm.ahandle, targets, given)
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert done[failing] is ERROR
            await fsm.aon_error(ERROR, given[failing])

        asyncio.run(main())
        assert len(fsm.errors) == 1

    def test_of_several_that_fail_the_last_to_fail_counts(self, fsm: Machine) -> None:
        order: list[str] = []

        @fsm.pre_transition("executing", priority=1)
        async def wait(ctx: Context) -> None:
            for _ in range(ctx["turns"]):
                await asyncio.sleep(0)
            order.append(ctx["user_id"])

        async def main() -> tuple[int, int]:
            given = [{"user_id": "slow", "state": "processing", "turns": 9}, {**context("processing"), "turns": 1}]
            calls = [fsm.ahandle("executing", each) for each in given]
            await asyncio.gather(*calls, return_exceptions=True)
            await fsm.aon_error(ERROR, given[0])
            after_the_last = len(fsm.errors)
            await fsm.aon_error(ERROR, given[1])
            return after_the_last, len(fsm.errors)

        assert asyncio.run(main()) == (2, 3)
        assert order == ["ana", "slow"]

    def test_a_shared_exception_belongs_to_each_task_with_its_own_context(self, fsm: Machine) -> None:
        async def turn(user_id: str) -> Context:
            given = {"user_id": user_id, "state": "processing"}
            try:
                await fsm.ahandle("executing", given)
            except BrokenError as error:
                await asyncio.sleep(0)
                return await fsm.aon_error(error, given)
            return {}

        async def main() -> list[Context]:
            return await asyncio.gather(*(turn(f"user {number}") for number in range(20)))

        assert [each["user_id"] for each in asyncio.run(main())] == [f"user {number}" for number in range(20)]
        assert len(fsm.errors) == 20

    def test_another_task_with_an_equal_context_is_another_flow(self, fsm: Machine) -> None:
        async def fails() -> None:
            with pytest.raises(BrokenError):
                await fsm.ahandle("executing", context("processing"))

        async def main() -> None:
            await asyncio.create_task(fails())
            await asyncio.create_task(fsm.aon_error(ERROR, context("processing")))

        asyncio.run(main())
        assert len(fsm.errors) == 2

    def test_a_cancelled_call_leaves_the_older_note(self, fsm: Machine) -> None:
        @fsm.pre_transition("processing")
        async def wait(ctx: Context) -> None:
            await asyncio.Event().wait()

        async def main() -> None:
            given = context("processing")
            with pytest.raises(BrokenError):
                await fsm.ahandle("executing", given)
            task = asyncio.create_task(fsm.ahandle("processing", context()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await fsm.aon_error(ERROR, given)

        asyncio.run(main())
        assert len(fsm.errors) == 1


class TestAcrossThreads:
    def test_each_thread_is_a_flow(self, fsm: Machine) -> None:
        fail_in: Callable[[], Any] = lambda: fail_sync(fsm)  # noqa: E731
        with ThreadPoolExecutor(1) as pool:
            pool.submit(fail_in).result()
            fsm.on_error()(ERROR, context("processing"))
            assert len(fsm.errors) == 2
            pool.submit(fsm.on_error(), ERROR, context("processing")).result()
        assert len(fsm.errors) == 2

    def test_a_shared_exception_in_many_threads_is_told_once_for_each(self, fsm: Machine) -> None:
        start = threading.Barrier(8)

        def turn(number: int) -> Context:
            given = {"user_id": f"user {number}", "state": "processing"}
            start.wait()
            for _ in range(20):
                try:
                    fsm.handle("executing", given)
                except BrokenError as error:
                    result = fsm.on_error()(error, given)
                    assert result["user_id"] == given["user_id"]
            return given

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(turn, range(8)))
        assert len(fsm.errors) == 160


class TestWhatIsKept:
    def test_a_flow_keeps_the_last_exception_only(self, fsm: Machine, way: Way) -> None:
        class PayloadError(BrokenError):
            pass

        fsm.pre_transition("processing")(lambda ctx: (_ for _ in ()).throw(PayloadError()))

        def many() -> int:
            for _ in range(10):
                with pytest.raises(PayloadError):
                    way.handle(fsm, "processing", context())
            gc.collect()
            return sum(isinstance(each, PayloadError) for each in gc.get_objects())

        fsm.errors = ForgettingList()
        assert copy_of_flow().run(many) == 1

    def test_a_flow_keeps_the_notes_of_few_engines(self) -> None:
        def many() -> list[bool]:
            engines = [Machine(events=False) for _ in range(12)]
            for engine in engines:
                engine.pre_transition("executing")(raising(ERROR))
                fail_sync(engine)
            return [find_note(engine) is not None for engine in engines]

        assert copy_of_flow().run(many) == [False] * 4 + [True] * 8

    def test_an_engine_that_fails_again_and_again_stays(self) -> None:
        def many() -> bool:
            engines = [Machine(events=False) for _ in range(9)]
            for engine in engines:
                engine.pre_transition("executing")(raising(ERROR))
            for engine in engines[1:]:
                fail_sync(engines[0])
                fail_sync(engine)
            return find_note(engines[0]) is not None

        assert copy_of_flow().run(many)


class TestInheritance:
    def test_a_task_begins_with_the_notes_of_its_spawner(self, fsm: Machine) -> None:
        async def spawned() -> None:
            await fsm.ahandle("processing", context())
            await fsm.aon_error(ERROR, context("processing"))

        async def main() -> None:
            with pytest.raises(BrokenError):
                await fsm.ahandle("executing", context("processing"))
            await asyncio.create_task(spawned())

        asyncio.run(main())
        assert fsm.errors == [ERROR]

    def test_what_a_task_notes_is_not_its_spawners(self, fsm: Machine) -> None:
        async def spawned(given: Context) -> None:
            with pytest.raises(BrokenError):
                fsm.handle("executing", given)

        async def main() -> None:
            with pytest.raises(BrokenError):
                await fsm.ahandle("executing", context("processing"))
            await asyncio.create_task(spawned(context("processing", other=True)))
            await fsm.aon_error(ERROR, context("processing"))

        asyncio.run(main())
        assert fsm.errors == [ERROR, ERROR]

    def test_a_thread_in_a_copied_flow_notes_for_itself(self, fsm: Machine) -> None:
        async def main() -> None:
            with pytest.raises(BrokenError):
                await fsm.ahandle("executing", context("processing"))
            await asyncio.to_thread(fail_sync, fsm, other=True)
            await fsm.aon_error(ERROR, context("processing"))

        asyncio.run(main())
        assert fsm.errors == [ERROR, ERROR]


class ForgettingList(list[Any]):
    def append(self, item: Any) -> None:
        pass


def fail_sync(fsm: Machine, **more: Any) -> None:
    with pytest.raises(BrokenError):
        fsm.handle("executing", context("processing", **more))
