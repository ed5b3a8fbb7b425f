"""A loop that stalls, because a callback blocks it, is replaced; whatever has not begun on it goes on on another."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.callbacks.helpers import MESSAGE, asay, plug, say
from thea_core import CallbackManager, CallbackSkippedError, hookimpl
from thea_core.callbacks.loops import Body, LoopPool, LoopThread, cancelled
from thea_core.callbacks.threads import Stragglers
from thea_core.callbacks.watching import Watch

SHORT, LONG = 0.05, 300.0  # seconds: the limit of what hangs, and of what does not
ERROR: dict[str, Any] = {"user_id": "ana", "error": ValueError(), "traceback": ""}


class Looks(Watch):
    """A watch that looks when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[Callable[[], object]] = []

    def after(self, seconds: float, look: Callable[[], object]) -> None:
        self.looks.append(look)

    def look(self) -> None:
        looks, self.looks = self.looks, []
        for look in looks:
            look()


class Endless(Stragglers):
    """There may be any number."""

    too_many = False


class Stage:
    """One pool of loops, one plugin, and what looks after them."""

    def __init__(self) -> None:
        self.loops = LoopPool()
        self.watch = Looks()
        self.stragglers = Stragglers(lambda: None, lambda: None)
        self.inside, self.go = threading.Event(), threading.Event()
        self.ran: list[LoopThread] = []

    async def block(self) -> None:
        self.inside.set()
        self.go.wait(60)

    async def note(self) -> str:
        self.ran.append(threading.current_thread())  # type: ignore[arg-type]
        return "ran"

    def stall(self) -> tuple[LoopThread, Body]:
        """Block the loop; return its thread and the body that blocks it."""
        body = Body()
        self.loops.submit("shop", self.block(), body=body)
        assert self.inside.wait(10)
        assert body.thread is not None
        return body.thread, body

    def replace(self, body: Body, **more: Any) -> None:
        self.loops.look_after("shop", body, self.watch, self.stragglers, late=True, **more)
        self.watch.look()


@pytest.fixture
def stage() -> Iterator[Stage]:
    before = set(threading.enumerate())
    stage = Stage()
    yield stage
    stage.go.set()
    assert stage.loops.close(10.0) == 0
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert not set(threading.enumerate()) - before


class TestReplacing:
    def test_what_had_not_begun_runs_on_a_new_loop_once(self, stage: Stage) -> None:
        old, blocking = stage.stall()
        bodies = [Body() for _ in range(5)]
        futures = [stage.loops.submit("shop", stage.note(), body=body) for body in bodies]
        stage.replace(blocking)
        assert [future.result(10) for future in futures] == [("ran", None)] * 5
        assert len(set(stage.ran)) == 1
        assert old not in stage.ran
        stage.go.set()
        assert old.ended(10)
        assert len(stage.ran) == 5  # the old loop, which had them too, has left them alone
        assert {body.thread for body in bodies} == set(stage.ran)

    def test_what_comes_later_runs_on_the_new_loop(self, stage: Stage) -> None:
        old, blocking = stage.stall()
        stage.replace(blocking)
        assert stage.loops.submit("shop", stage.note()).result(10) == ("ran", None)
        assert stage.ran == [stage.loops.loop_of("shop")]
        assert stage.ran != [old]

    def test_what_had_begun_goes_on_where_it_is_and_the_loop_ends_after_it(self, stage: Stage) -> None:
        begun = threading.Event()
        leave: asyncio.Event | None = None

        async def wait() -> LoopThread:
            nonlocal leave
            leave = asyncio.Event()
            begun.set()
            await leave.wait()
            return threading.current_thread()  # type: ignore[return-value]

        waiting = stage.loops.submit("shop", wait())
        assert begun.wait(10)
        old, blocking = stage.stall()
        stage.replace(blocking)
        stage.go.set()
        assert old.ping().wait(10)
        assert old.is_alive()
        assert leave is not None
        old.loop.call_soon_threadsafe(leave.set)
        assert waiting.result(10) == (old, None)
        assert old.ended(10)

    def test_it_is_done_once_however_many_look(self, stage: Stage) -> None:
        _, blocking = stage.stall()
        other = Body()
        stage.loops.submit("shop", stage.note(), body=other)
        for body in (blocking, other, blocking):
            stage.loops.look_after("shop", body, stage.watch, stage.stragglers, late=False)
        stage.watch.look()
        assert stage.stragglers.count == 1

    def test_a_loop_that_answers_stays(self, stage: Stage) -> None:
        old, blocking = stage.stall()
        stage.loops.look_after("shop", blocking, stage.watch, stage.stragglers, late=True)
        stage.go.set()
        assert old.ping().wait(10)
        stage.watch.look()
        assert stage.loops.loop_of("shop") is old
        assert stage.stragglers.count == 0

    def test_one_that_was_closed_meanwhile_is_left_alone(self, stage: Stage) -> None:
        old, blocking = stage.stall()
        stage.loops.look_after("shop", blocking, stage.watch, stage.stragglers, late=True)
        stage.go.set()
        assert stage.loops.close_one("shop", 10.0)
        assert not old.is_alive()
        stage.watch.look()
        stage.replace(blocking)
        assert stage.stragglers.count == 0
        assert stage.loops.names() == []

    def test_a_call_that_finds_the_loop_replaced_just_now_gets_the_new_one(self, stage: Stage) -> None:
        """It had the old loop in its hand already; it used to be answered that it was cancelled."""
        old = stage.loops.loop_of("shop")
        old.retire(lambda: None)
        assert stage.loops.submit("shop", stage.note()).result(10) == ("ran", None)
        assert stage.ran != [old]

    def test_a_call_for_a_loop_that_its_plugin_has_closed_gets_another(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = stage.loops.loop_of("shop")

        def refuse(*_: object, **__: object) -> None:
            raise RuntimeError("Event loop is closed")

        with monkeypatch.context() as patch:
            patch.setattr(old.loop, "call_soon_threadsafe", refuse)
            assert stage.loops.submit("shop", stage.note()).result(10) == ("ran", None)
        assert stage.ran == [stage.loops.loop_of("shop")]
        old.stop()
        assert old.ended(10)

    def test_there_are_no_more_loops_that_stall_than_may_be_left_behind(self, stage: Stage) -> None:
        """Each of these blocks the loop to which it moves; there would be a thread for each of them."""
        bodies = [Body() for _ in range(10)]
        futures = [stage.loops.submit("shop", stage.block(), body=body) for body in bodies]
        for stalled in range(1, 4):
            assert stage.inside.wait(10)
            stage.inside.clear()
            stage.replace(next(body for body in bodies if body.thread is stage.loops.loop_of("shop")))
            assert stage.stragglers.count == stalled
        skipped = [future.result(10)[1] for future in futures[3:]]
        assert [type(error) for error in skipped] == [CallbackSkippedError] * 7
        stage.go.set()
        assert [future.result(10) for future in futures[:3]] == [(None, None)] * 3

    def test_one_that_is_cancelled_while_it_moves_never_runs_and_warns_of_nothing(self, stage: Stage) -> None:
        _, blocking = stage.stall()
        future = stage.loops.submit("shop", stage.note())
        assert future.cancel()
        stage.replace(blocking)
        stage.go.set()
        assert stage.loops.submit("shop", stage.note()).result(10) == ("ran", None)
        assert len(stage.ran) == 1
        gc.collect()  # a coroutine that was never awaited would warn here

    def test_where_no_new_one_can_be_started_those_who_wait_are_told(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        _, blocking = stage.stall()
        future = stage.loops.submit("shop", stage.note())
        with monkeypatch.context() as patch:
            patch.setattr(LoopThread, "start", start)
            stage.replace(blocking)
            value, error = future.result(10)
        assert value is None
        assert isinstance(error, RuntimeError)
        assert stage.ran == []

    def test_many_may_submit_while_the_loop_is_replaced_again_and_again(self, stage: Stage) -> None:
        """Each call runs once, wherever it is just then."""
        numbers: list[int] = []
        futures: list[Any] = []
        stop = threading.Event()
        stragglers = Endless(lambda: None, lambda: None)

        async def note(number: int) -> int:
            numbers.append(number)
            await asyncio.sleep(0)
            return number

        def submit(first: int) -> None:
            futures.extend(stage.loops.submit("shop", note(number)) for number in range(first, first + 200))

        def replace() -> None:
            while not stop.is_set():
                with suppress(KeyError):
                    stage.loops._replace("shop", stage.loops._threads["shop"], stragglers)  # noqa: SLF001

        replacing = threading.Thread(target=replace)
        submitting = [threading.Thread(target=submit, args=(200 * number,)) for number in range(4)]
        for thread in (replacing, *submitting):
            thread.start()
        for thread in submitting:
            thread.join()
        results = [future.result(60) for future in futures]
        stop.set()
        replacing.join()
        assert sorted(numbers) == list(range(800))
        assert sorted(results, key=lambda each: each[0]) == [(number, None) for number in range(800)]
        for _, thread in stage.loops._replaced.copy():  # noqa: SLF001
            assert thread.ended(10)
        assert stragglers.count == 0


class TestCounting:
    def test_a_loop_counts_as_left_behind_until_it_answers(self, stage: Stage) -> None:
        old, blocking = stage.stall()
        stage.replace(blocking)
        assert stage.stragglers.count == 1
        assert old.stalls
        stage.go.set()
        assert old.ended(10)
        assert stage.stragglers.count == 0
        assert not old.stalls

    def test_also_where_it_is_closed_before_it_answers(self, stage: Stage) -> None:
        old, blocking = stage.stall()
        stage.replace(blocking)
        stage.loops.close(0.0)
        stage.go.set()
        assert old.ended(10)
        assert stage.stragglers.count == 0

    def test_a_late_body_counts_that_does_not_end_when_it_is_cancelled(self, stage: Stage) -> None:
        begun, body = threading.Event(), Body()
        leave: asyncio.Event | None = None

        async def stay() -> None:
            nonlocal leave
            leave = asyncio.Event()
            while not leave.is_set():
                begun.set()
                with suppress(asyncio.CancelledError):
                    await leave.wait()

        future = stage.loops.submit("shop", stay(), body=body)
        assert begun.wait(10)
        stage.loops.look_after("shop", body, stage.watch, stage.stragglers, late=True)
        future.cancel()
        thread = stage.loops.loop_of("shop")
        assert thread.ping().wait(10)
        stage.watch.look()
        assert stage.stragglers.count == 1
        stage.loops.look_after("shop", body, stage.watch, stage.stragglers, late=True)
        assert thread.ping().wait(10)
        stage.watch.look()
        assert stage.stragglers.count == 1
        assert leave is not None
        thread.loop.call_soon_threadsafe(leave.set)
        assert stage.loops.close(10.0) == 0
        assert stage.stragglers.count == 0

    def test_a_body_that_still_has_time_does_not(self, stage: Stage) -> None:
        """One that began late, on a loop that was busy, used to be counted although nothing was wrong with it."""
        begun, body = threading.Event(), Body()

        async def stay() -> None:
            begun.set()
            await asyncio.Event().wait()

        stage.loops.submit("shop", stay(), body=body)
        stage.loops.look_after("shop", body, stage.watch, stage.stragglers, late=False)
        assert begun.wait(10)
        assert stage.loops.loop_of("shop").ping().wait(10)
        stage.watch.look()
        assert stage.stragglers.count == 0

    @pytest.mark.parametrize("ended", [True, False], ids=["ended", "running"])
    def test_a_body_that_ends_while_it_is_counted_is_counted_out_again(self, ended: bool) -> None:
        changes: list[str] = []

        class Noting(Stragglers):
            def add(self) -> None:
                changes.append("add")

            def remove(self) -> None:
                changes.append("remove")

        body = Body()
        if ended:
            body.end()
        body.leave_behind(Noting(lambda: None, lambda: None))
        body.leave_behind(Noting(lambda: None, lambda: None))
        if not ended:
            body.end()
        assert changes == ([] if ended else ["add", "remove"])


class TestClosing:
    def test_loops_that_were_replaced_end_with_the_others(self, stage: Stage) -> None:
        ended = threading.Event()

        async def poll() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        async def spawn() -> asyncio.Task[None]:
            task = asyncio.create_task(poll())
            await asyncio.sleep(0)
            return task

        task, _ = stage.loops.submit("shop", spawn()).result(10)
        old, blocking = stage.stall()
        stage.replace(blocking)
        stage.go.set()
        assert old.ping().wait(10)
        assert not task.done()
        assert stage.loops.close(10.0) == 0
        assert ended.wait(10)
        assert not old.is_alive()

    def test_those_of_one_plugin_end_with_its_loop(self, stage: Stage) -> None:
        old, blocking = stage.stall()
        stage.replace(blocking)
        stage.loops.loop_of("shop")
        stage.loops.loop_of("other")
        stage.go.set()
        assert stage.loops.close_one("shop", 10.0)
        assert old.ended(10)
        assert stage.loops.names() == ["other"]

    def test_one_that_stalls_still_is_told_to_end_and_not_waited_for(self, stage: Stage) -> None:
        old, blocking = stage.stall()
        stage.replace(blocking)
        assert stage.loops.close(3600.0) == 0
        assert old.is_alive()
        stage.go.set()
        assert old.ended(10)

    def test_they_end_with_a_pool_that_nobody_closed(self, stage: Stage) -> None:
        old, blocking = stage.stall()
        stage.replace(blocking)
        stage.watch.looks.clear()
        stage.loops = LoopPool()
        gc.collect()
        stage.go.set()
        assert old.ended(10)

    def test_who_waits_on_a_loop_that_is_closed_while_it_blocks_is_told_so(self, stage: Stage) -> None:
        old, _ = stage.stall()
        future = stage.loops.submit("shop", stage.note())
        assert stage.loops.close(0.0) == 1
        stage.go.set()
        assert old.ended(10)
        outcome = future.result(10)
        assert outcome == ("ran", None) or type(outcome[1]) is type(cancelled())

    def test_a_plugin_that_cancels_every_task_does_not_keep_a_replaced_loop(self, stage: Stage) -> None:
        started = threading.Event()
        go = threading.Event()

        async def cancel_all() -> None:
            started.set()
            while not go.is_set():  # noqa: ASYNC110 -- a thread sets it
                await asyncio.sleep(0)
            for task in asyncio.all_tasks():
                task.cancel()

        stage.loops.submit("shop", cancel_all())
        assert started.wait(10)
        old, blocking = stage.stall()
        stage.replace(blocking)
        stage.go.set()
        assert old.ping().wait(10)
        go.set()
        assert old.ended(10)


class Blocking:
    """Blocks its loop in one hook, and has others."""

    def __init__(self) -> None:
        self.inside, self.go = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []

    @hookimpl(timeout=SHORT)
    async def on_message(self) -> None:
        self.inside.set()
        self.go.wait(60)

    @hookimpl(timeout=LONG)
    async def on_error(self) -> None:
        self.threads.append(threading.current_thread())
        await asyncio.sleep(0)


class TestThroughTheManager:
    def test_the_caller_goes_on_and_other_coroutines_of_the_plugin_too(
        self, callbacks: CallbackManager, fire: Callable[..., None], caplog: pytest.LogCaptureFixture
    ) -> None:
        plugin = Blocking()
        plug(callbacks, plugin)
        fire("on_error", **ERROR)
        fire("on_message", **MESSAGE)
        assert not plugin.go.is_set()
        fire("on_error", **ERROR)
        assert not plugin.go.is_set()
        assert [(each.hook, each.outcome) for each in callbacks.history] == [
            ("on_error", "ok"),
            ("on_message", "timeout"),
            ("on_error", "ok"),
        ]
        assert plugin.threads[0] is not plugin.threads[1]
        assert "in on_message" in caplog.text  # where it blocks
        plugin.go.set()
        plugin.threads[0].join(10)
        assert not plugin.threads[0].is_alive()

    def test_calls_that_wait_for_the_loop_are_moved(self, callbacks: CallbackManager) -> None:
        plugin = Blocking()
        plug(callbacks, plugin)
        first = threading.Thread(target=say, args=(callbacks,))
        first.start()
        assert plugin.inside.wait(10)
        others = [
            threading.Thread(target=callbacks.trigger, args=("on_error",), kwargs=ERROR, daemon=True) for _ in range(8)
        ]
        for thread in (*others, first):
            if thread is not first:
                thread.start()
        for thread in (*others, first):
            thread.join(60)
        assert not plugin.go.is_set()
        assert len(plugin.threads) == 8
        assert sorted(each.outcome for each in callbacks.history) == ["ok"] * 8 + ["timeout"]
        plugin.go.set()

    def test_the_third_that_stalls_opens_the_breakers(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        plugin = Blocking()
        plug(callbacks, plugin)
        while not all(each.reason == "too many of its calls hang whose time was up" for each in callbacks.breakers):
            fire("on_message", **MESSAGE)
        fire("on_error", **ERROR)
        assert plugin.threads == []
        plugin.go.set()
        while not plugin.threads:
            fire("on_error", **ERROR)

    def test_local_coroutines_that_block_the_managers_loop_are_skipped_after_the_third(
        self, callbacks: CallbackManager
    ) -> None:
        go, ran = threading.Event(), []

        async def block() -> None:
            ran.append(threading.current_thread())
            go.wait(60)

        callbacks.register("detect_intents", block, timeout=SHORT)
        while not callbacks.history or callbacks.history[-1].outcome != "skipped":
            callbacks.call("detect_intents", message="", context={})
        assert callbacks.history[-1].error == (
            "CallbackSkippedError: too many calls of 'local' hang whose time was up; "
            "it is called again when one has come back"
        )
        assert len(set(ran)) == len(ran) == 3
        go.set()

    def test_a_local_coroutine_that_blocks_the_callers_own_loop_is_late_when_it_ends(
        self, callbacks: CallbackManager
    ) -> None:
        async def block() -> None:
            threading.Event().wait(SHORT * 2)

        async def scenario() -> None:
            callbacks.register("on_message", block, timeout=SHORT)
            await asay(callbacks)

        asyncio.run(scenario())
        assert [each.outcome for each in callbacks.history] == ["timeout"]
