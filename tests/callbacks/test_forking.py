"""Fork: the child works, with locks and loops of its own, and knows nothing of calls that do not run there."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.callbacks.helpers import MESSAGE, asay, say
from tests.support import run_in_child
from thea_core import CallbackManager, ReentrancyError
from thea_core.callbacks.forking import watch

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


@contextmanager
def a_call_in_another_thread(callbacks: CallbackManager) -> Iterator[None]:
    inside, go = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        go.wait(10)

    with callbacks.register("on_error", hold):
        thread = threading.Thread(
            target=callbacks.trigger,
            args=("on_error",),
            kwargs={"user_id": "ana", "error": ValueError(), "traceback": ""},
        )
        thread.start()
        inside.wait(10)
    try:
        yield
    finally:
        go.set()
        thread.join(10)


class TestManagerInAChild:
    def test_coroutines_run_on_loops_of_its_own(self, callbacks: CallbackManager) -> None:
        ran = []

        async def later() -> None:
            await asyncio.sleep(0)
            ran.append(os.getpid())

        def check() -> bool:
            assert callbacks.loops.names() == []
            say(callbacks)
            asyncio.run(asay(callbacks))
            return ran[-2:] == [os.getpid()] * 2 and callbacks.close(10.0) == 0

        callbacks.register("on_message", later)
        say(callbacks)
        assert run_in_child(check)
        say(callbacks)
        assert ran == [os.getpid()] * 2

    def test_it_waits_for_no_lock_that_a_thread_of_the_parent_held(self, callbacks: CallbackManager) -> None:
        holding, go = threading.Event(), threading.Event()
        callbacks.register("on_message", lambda: 1 / 0)
        say(callbacks)
        logs = [each for each in callbacks.recorder._logs.values() if each.shape.calls]  # noqa: SLF001
        locks = [
            callbacks._lock,  # noqa: SLF001 -- every lock that a call or a registration takes
            callbacks._failures._lock,  # noqa: SLF001
            callbacks.loops._lock,  # noqa: SLF001
            callbacks.recorder._lock,  # noqa: SLF001
            logs[0]._lock,  # noqa: SLF001
        ]

        def hold() -> None:
            for lock in locks:
                lock.acquire()
            holding.set()
            go.wait(10)
            for lock in locks:
                lock.release()

        def check() -> bool:
            ran = []
            callbacks.register("on_message", lambda: ran.append(1))
            say(callbacks)
            return ran == [1] and len(callbacks.history.totals()) == 2

        thread = threading.Thread(target=hold)
        thread.start()
        holding.wait(10)
        assert run_in_child(check)
        go.set()
        thread.join(10)

    def test_calls_of_other_threads_do_not_run_there(self, callbacks: CallbackManager) -> None:
        with a_call_in_another_thread(callbacks):
            assert callbacks.busy
            assert run_in_child(lambda: not callbacks.busy and callbacks.wait_for_old_calls(0.0))
            assert callbacks.busy

    def test_a_call_that_forks_ends_in_both_processes_and_is_still_not_nested(
        self, callbacks: CallbackManager, fire: Callable[..., None]
    ) -> None:
        seen: list[bool] = []

        def nested() -> bool:
            try:
                say(callbacks)
            except ReentrancyError:
                return True
            return False

        def fork() -> None:
            seen.append(run_in_child(lambda: nested() and callbacks.wait_for_old_calls(0.0)))

        callbacks.register("on_message", fork)
        with a_call_in_another_thread(callbacks):
            fire("on_message", **MESSAGE)
        assert seen == [True]

    def test_a_chain_goes_on_in_a_child_that_was_forked_within_it(self, callbacks: CallbackManager) -> None:
        reading, writing = os.pipe()
        parent = os.getpid()

        def fork() -> None:
            os.fork()

        def tell() -> None:
            if os.getpid() != parent:
                os.write(writing, b"the child goes on")

        callbacks.register("on_message", fork)
        callbacks.register("on_message", tell)
        try:
            call = callbacks.begin_call()
            say(callbacks)
            callbacks.end_call(call)
        finally:
            if os.getpid() != parent:
                os._exit(0)
        os.wait()
        assert os.read(reading, 100) == b"the child goes on"
        os.close(reading)
        os.close(writing)


class Watched:
    def __init__(self) -> None:
        self.told: list[str] = []

    def before_fork(self) -> None:
        self.told.append("before")

    def after_fork_in_parent(self) -> None:
        self.told.append("parent")

    def after_fork_in_child(self) -> None:
        self.told.append("child")


class TestWatch:
    def test_an_object_is_told_before_and_after_a_fork_in_both_processes(self) -> None:
        watched = Watched()
        watch(watched)
        assert run_in_child(lambda: watched.told == ["before", "child"])
        assert watched.told == ["before", "parent"]

    def test_it_is_told_of_every_fork_also_in_a_childs_child(self) -> None:
        watched = Watched()
        watch(watched)
        assert run_in_child(lambda: run_in_child(lambda: watched.told == ["before", "child", "before", "child"]))

    def test_it_is_not_kept_alive(self) -> None:
        watched = Watched()
        watch(watched)
        told = watched.told
        del watched
        gc.collect()
        assert run_in_child(lambda: told == [])

    def test_objects_may_be_added_while_others_fork(self) -> None:
        added, stop = [], threading.Event()

        def add() -> None:
            while not stop.is_set() and len(added) < 3000:
                added.append(Watched())
                watch(added[-1])

        thread = threading.Thread(target=add)
        thread.start()
        try:
            assert all(run_in_child(lambda: True) for _ in range(10))
        finally:
            stop.set()
            thread.join()
        assert all(each.told.count("before") == each.told.count("parent") for each in added)
