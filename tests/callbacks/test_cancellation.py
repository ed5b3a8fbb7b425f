"""Cancellation: it passes at once, and the rest of the chain goes on, whatever becomes of the host's loop."""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not
# ruff: noqa: ASYNC110 -- what is waited for here is set by threads, and by chains that nobody awaits

from __future__ import annotations

import asyncio
import gc
import logging
import threading

import pytest

from tests.callbacks.helpers import asay, ctrl_c, outcomes, plug, say
from thea_core import CallbackManager, hookimpl


class Steps:
    """A chain of three: a coroutine that waits until it is let go, another coroutine, and a plain function."""

    def __init__(self, callbacks: CallbackManager, *, plugin: bool) -> None:
        self.callbacks = callbacks
        self.ran: list[str] = []
        self.inside = threading.Event()
        self.go = threading.Event()
        self.done = threading.Event()
        if plugin:
            plug(callbacks, self)
        else:
            callbacks.register("on_message", self.on_message)
        callbacks.register("on_message", self.second, priority=-1)
        callbacks.register("on_message", self.third, priority=-2)

    @hookimpl
    async def on_message(self) -> None:
        self.inside.set()
        while not self.go.is_set():
            await asyncio.sleep(0)
        self.ran.append("first")
        self.done.set()

    async def second(self) -> None:
        await asyncio.sleep(0)
        self.ran.append("second")

    def third(self) -> None:
        self.ran.append("third")

    async def begin(self) -> asyncio.Task[None]:
        task = asyncio.create_task(asay(self.callbacks))
        while not self.inside.is_set():
            await asyncio.sleep(0)
        return task


@pytest.mark.parametrize("plugin", [False, True], ids=["local", "plugin"])
class TestCancellation:
    def test_it_passes_at_once_and_the_rest_of_the_chain_goes_on(
        self, callbacks: CallbackManager, plugin: bool
    ) -> None:
        steps = Steps(callbacks, plugin=plugin)

        async def scenario() -> None:
            task = await steps.begin()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert steps.ran == []
            assert callbacks.busy
            steps.go.set()
            while callbacks.busy:
                await asyncio.sleep(0)

        asyncio.run(scenario())
        assert steps.ran == ["first", "second", "third"]
        assert [outcome for _, outcome in outcomes(callbacks)] == ["ok", "ok", "ok"]

    def test_the_rest_runs_also_where_asyncio_run_ends_meanwhile(
        self, callbacks: CallbackManager, plugin: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        steps = Steps(callbacks, plugin=plugin)

        async def scenario() -> None:
            task = await steps.begin()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(scenario())
        assert steps.ran == ["second", "third"]
        assert [outcome for _, outcome in outcomes(callbacks)] == ["cancelled", "ok", "ok"]
        assert caplog.records == []
        if plugin:
            steps.go.set()
            assert steps.done.wait(10)

    def test_the_rest_runs_also_where_the_end_of_asyncio_run_is_what_cancels(
        self, callbacks: CallbackManager, plugin: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        steps = Steps(callbacks, plugin=plugin)

        async def scenario() -> None:
            await steps.begin()
            threading.Timer(0.01, steps.go.set).start()

        asyncio.run(scenario())
        first = [("on_message", "ok")] if plugin else [("on_message", "cancelled")]
        assert steps.ran[-2:] == ["second", "third"]
        assert outcomes(callbacks) == [*first, ("second", "ok"), ("third", "ok")]
        assert caplog.records == []

    def test_cancelling_everything_again_and_again_loses_nothing(
        self, callbacks: CallbackManager, plugin: bool
    ) -> None:
        steps = Steps(callbacks, plugin=plugin)

        async def scenario() -> None:
            await steps.begin()
            for _ in range(5):
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
                await asyncio.sleep(0)

        asyncio.run(scenario())
        assert "third" in steps.ran
        steps.go.set()
        assert not callbacks.busy

    def test_a_callback_whose_task_is_cancelled_before_it_begins_leaves_no_coroutine_behind(
        self, callbacks: CallbackManager, plugin: bool
    ) -> None:
        steps = Steps(callbacks, plugin=plugin)

        async def scenario() -> None:
            asyncio.create_task(asay(callbacks))  # noqa: RUF006 -- its end is what is tested
            await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            steps.go.set()

        asyncio.run(scenario())
        gc.collect()  # a coroutine that was never awaited would warn here
        assert "third" in steps.ran


def test_an_acall_is_let_go_in_the_same_way(callbacks: CallbackManager) -> None:
    inside, go, ran = asyncio.Event(), asyncio.Event(), []

    async def slow() -> None:
        inside.set()
        await go.wait()

    async def scenario() -> None:
        task = asyncio.create_task(callbacks.acall("detect_intents", message="", context={}))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        while callbacks.busy:
            await asyncio.sleep(0)

    callbacks.register("detect_intents", slow)
    callbacks.register("detect_intents", lambda context: ran.append(context))
    asyncio.run(scenario())
    assert ran == [{}]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_is_closed_under_a_call_takes_the_rest_with_it_and_leaves_nothing_busy(
    callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)  # "Task was destroyed but it is pending!"
    steps = Steps(callbacks, plugin=True)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(steps.begin())
    loop.close()
    steps.go.set()
    assert steps.done.wait(10)
    assert callbacks.close(10.0) == 0
    del loop
    gc.collect()
    assert not callbacks.busy
    assert steps.ran == ["first"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_rest_of_a_cancelled_call_is_let_go_where_its_loop_is_closed_without_letting_anything_end(
    callbacks: CallbackManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)  # "Task was destroyed but it is pending!"
    steps = Steps(callbacks, plugin=False)

    async def scenario() -> None:
        task = await steps.begin()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop = asyncio.new_event_loop()
    loop.run_until_complete(scenario())
    loop.close()
    del loop
    assert callbacks.busy
    assert callbacks.close() == 0
    gc.collect()
    assert not callbacks.busy


def test_ctrl_c_in_the_waiting_thread_cancels_the_coroutine(callbacks: CallbackManager) -> None:
    ended = threading.Event()
    inside = threading.Event()

    async def wait() -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    callbacks.register("on_message", wait)
    with pytest.raises(KeyboardInterrupt), ctrl_c(inside):
        say(callbacks)
    assert ended.wait(10)
