"""The threads of a plugin, by themselves: how they are found, reused, left behind, counted and ended."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import run_in_child
from thea_core.callbacks.threads import MAX_AT_WORK, MAX_LEFT_BEHIND, Job, Stragglers, ThreadPool, stack_of
from thea_core.errors import CallbackSkippedError


class Told:
    """Notes what stragglers tell."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.stragglers = Stragglers(lambda: self.told.append("crowded"), lambda: self.told.append("relieved"))


class TestStragglers:
    def test_the_third_is_told_once_and_the_way_back_once(self) -> None:
        it = Told()
        for _ in range(MAX_LEFT_BEHIND - 1):
            it.stragglers.add()
        assert (it.told, it.stragglers.too_many) == ([], False)
        it.stragglers.add()
        it.stragglers.add()
        assert (it.told, it.stragglers.too_many) == (["crowded"], True)
        it.stragglers.remove()
        assert (it.told, it.stragglers.too_many) == (["crowded"], True)
        it.stragglers.remove()
        assert (it.told, it.stragglers.too_many) == (["crowded", "relieved"], False)
        it.stragglers.remove()
        it.stragglers.remove()
        assert it.stragglers.count == 0
        assert it.told == ["crowded", "relieved"]

    @given(st.permutations([1] * 5 + [-1] * 5))
    def test_in_whichever_order_they_are_counted_the_last_word_is_true(self, changes: list[int]) -> None:
        """One that comes back is counted, now and then, just before it is counted as left behind."""
        it = Told()
        for change in changes:
            it.stragglers.add() if change > 0 else it.stragglers.remove()
            assert it.told[-1:] == (["crowded"] if it.stragglers.too_many else ["relieved"] if it.told else [])
        assert it.stragglers.count == 0

    def test_one_that_comes_back_while_others_are_told_is_told_after_that(self) -> None:
        """Told the other way round, breakers would stay open though nothing hangs any more."""
        told, inside, go = [], threading.Event(), threading.Event()

        def crowded() -> None:
            inside.set()
            go.wait(10)
            told.append("crowded")

        stragglers = Stragglers(crowded, lambda: told.append("relieved"))
        for _ in range(MAX_LEFT_BEHIND - 1):
            stragglers.add()
        third = threading.Thread(target=stragglers.add)
        third.start()
        assert inside.wait(10)
        stragglers.remove()  # it does not wait for the other
        go.set()
        third.join(10)
        assert told == ["crowded", "relieved"]

    def test_who_is_told_may_count_another(self) -> None:
        told: list[str] = []

        def crowded() -> None:
            told.append("crowded")
            stragglers.remove()

        stragglers = Stragglers(crowded, lambda: told.append("relieved"))
        for _ in range(MAX_LEFT_BEHIND):
            stragglers.add()
        assert told == ["crowded", "relieved"]

    def test_many_threads_at_once_leave_a_true_word_behind(self) -> None:
        it = Told()

        def come_and_go() -> None:
            for _ in range(500):
                it.stragglers.add()
                it.stragglers.remove()

        threads = [threading.Thread(target=come_and_go) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert it.stragglers.count == 0
        assert it.told == ["crowded", "relieved"] * (len(it.told) // 2)

    @pytest.mark.parametrize(("count", "told"), [(1, []), (MAX_LEFT_BEHIND, ["crowded", "relieved"])])
    def test_a_forked_child_has_none(self, count: int, told: list[str]) -> None:
        it = Told()
        for _ in range(count):
            it.stragglers.add()
        it.stragglers.after_fork_in_child()
        assert (it.stragglers.count, it.told) == (0, told)


class Pool(ThreadPool):
    """A pool, with a short way to make a call on it."""

    def __init__(self, *, one: bool = False) -> None:
        self.stragglers = Stragglers(lambda: None, lambda: None)
        super().__init__("shop", one=one, stragglers=self.stragglers, run_coroutine=self.follow)
        self.given_up = threading.Event()

    def follow(self, coroutine: Any) -> tuple[Callable[[], Any], Callable[[], None]]:
        coroutine.close()

        def wait() -> Any:
            self.given_up.wait(10)
            return "followed", None

        return wait, self.given_up.set

    def begin(self, call: Callable[[], Any], *, capped: bool = True) -> tuple[Job, threading.Event]:
        """Begin a call; return its job, and what is set at its end."""
        told = threading.Event()
        job = Job(call, copy_context(), told.set)
        job.capped = capped
        self.assign(job)
        job.begin()
        return job, told

    def call(self, call: Callable[[], Any]) -> Any:
        """Make a call; return its outcome."""
        job, told = self.begin(call)
        assert told.wait(10)
        return job.outcome


class Gate:
    """A body that hangs until it is let go."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.go = threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self) -> str:
        self.thread = threading.current_thread()
        self.inside.set()
        self.go.wait(60)
        return "late"


@pytest.fixture(params=[False, True], ids=["many", "one"])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    yield from pools(one=request.param)


@pytest.fixture
def many() -> Iterator[Pool]:
    yield from pools(one=False)


@pytest.fixture
def one() -> Iterator[Pool]:
    yield from pools(one=True)


def pools(*, one: bool) -> Iterator[Pool]:
    before = set(threading.enumerate())
    pool = Pool(one=one)
    yield pool
    for thread in pool.close():
        thread.join(10)
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)


class TestCalls:
    def test_their_outcome_is_a_value_or_what_was_raised(self, pool: Pool) -> None:
        def leave() -> None:
            raise SystemExit(3)

        assert pool.call(lambda: 42) == (42, None)
        value, error = pool.call(leave)
        assert value is None
        assert isinstance(error, SystemExit)

    def test_they_note_when_they_began_and_ended(self, pool: Pool) -> None:
        job, told = pool.begin(lambda: None)
        assert told.wait(10)
        assert job.begun is not None
        assert job.begun <= job.ended

    def test_a_thread_that_has_told_its_caller_is_idle_already(self, pool: Pool) -> None:
        """A caller who calls again at once must not need another thread each time."""
        threads = {pool.call(threading.current_thread)[0] for _ in range(200)}
        assert len(threads) == 1

    def test_there_are_as_many_threads_as_calls_at_once(self, many: Pool) -> None:
        gates = [Gate() for _ in range(MAX_AT_WORK)]
        ends = [many.begin(gate)[1] for gate in gates]
        for gate in gates:
            assert gate.inside.wait(10)
        assert len({gate.thread for gate in gates}) == MAX_AT_WORK
        with pytest.raises(CallbackSkippedError, match="16 calls of 'shop' are at work already, which is the limit"):
            many.begin(lambda: None)
        for gate, end in zip(gates, ends, strict=True):
            gate.go.set()
            assert end.wait(10)
        assert many.call(lambda: 1) == (1, None)

    def test_calls_that_are_not_capped_have_threads_beyond_that_which_end(self, many: Pool) -> None:
        gates = [Gate() for _ in range(MAX_AT_WORK + 4)]
        ends = [many.begin(gate, capped=False)[1] for gate in gates]
        for gate, end in zip(gates, ends, strict=True):
            gate.go.set()
            assert end.wait(10)
        assert len({gate.thread for gate in gates}) <= MAX_AT_WORK + 4
        assert len(many.close()) <= MAX_AT_WORK

    def test_on_one_thread_they_wait_for_each_other_in_their_order(self, one: Pool) -> None:
        gate, ran = Gate(), []
        first, _ = one.begin(gate)
        assert gate.inside.wait(10)
        ends = [one.begin(lambda number=number: ran.append(number))[1] for number in range(MAX_AT_WORK - 1)]
        with pytest.raises(CallbackSkippedError):  # those who wait count
            one.begin(lambda: None)
        assert ran == []
        gate.go.set()
        assert all(end.wait(10) for end in ends)
        assert ran == list(range(MAX_AT_WORK - 1))
        assert first.outcome == ("late", None)

    def test_only_the_one_thread_is_its_own(self, pool: Pool) -> None:
        assert pool.call(lambda: pool.on_own_thread) == (pool.one, None)
        assert not pool.on_own_thread


class TestLeavingBehind:
    def test_it_is_counted_until_the_body_ends(self, pool: Pool) -> None:
        gate = Gate()
        job, told = pool.begin(gate)
        assert gate.inside.wait(10)
        assert pool.abandon(job)
        assert pool.stragglers.count == 1
        gate.go.set()
        assert told.wait(10)
        assert pool.stragglers.count == 0
        assert pool.call(threading.current_thread)[0] is gate.thread

    def test_it_counts_once_however_often_it_is_left(self, pool: Pool) -> None:
        """Ctrl-C may come to a caller who has just given up."""
        gate = Gate()
        job, told = pool.begin(gate)
        assert gate.inside.wait(10)
        assert [pool.abandon(job), pool.abandon(job)] == [True, False]
        assert pool.stragglers.count == 1
        gate.go.set()
        assert told.wait(10)
        assert pool.stragglers.count == 0

    def test_what_has_ended_is_not_left(self, pool: Pool) -> None:
        job, told = pool.begin(lambda: "value")
        assert told.wait(10)
        assert not pool.abandon(job)
        assert job.outcome == ("value", None)
        assert pool.stragglers.count == 0

    def test_what_has_not_begun_on_the_one_thread_never_begins(self, one: Pool) -> None:
        gate, ran = Gate(), []
        one.begin(gate)
        job, told = one.begin(lambda: ran.append(True))
        assert one.abandon(job)
        assert one.stragglers.count == 0
        gate.go.set()
        assert one.call(lambda: "next") == ("next", None)
        assert ran == []
        assert not told.is_set()

    def test_they_make_room_among_those_at_work(self, many: Pool) -> None:
        gates = [Gate() for _ in range(MAX_AT_WORK)]
        jobs = [many.begin(gate)[0] for gate in gates]
        for job in jobs[: MAX_LEFT_BEHIND - 1]:
            assert many.abandon(job)
        assert many.call(lambda: 1) == (1, None)
        assert many.abandon(jobs[-1])
        with pytest.raises(CallbackSkippedError, match="3 calls of 'shop' hang whose time was up"):
            many.begin(lambda: None)
        for gate in gates:
            gate.go.set()

    def test_the_coroutine_of_a_body_is_given_up_with_it(self, pool: Pool) -> None:
        following = threading.Event()

        async def later() -> None: ...

        def body() -> Any:
            following.set()
            return later()

        job, told = pool.begin(body)
        assert following.wait(10)
        assert pool.abandon(job)  # before or after the body has returned
        assert told.wait(10)
        assert pool.given_up.is_set()
        assert pool.stragglers.count == 0

    def test_every_job_ends_or_is_left_and_never_both(self, many: Pool) -> None:
        for _ in range(300):
            job, told = many.begin(lambda: None)
            left = many.abandon(job)
            assert told.wait(10)
            assert many.abandon(job) is False
            assert job.claimed
            assert left in {True, False}
        assert many.call(lambda: many.stragglers.count) == (0, None)


class TestEnding:
    def test_idle_threads_end_and_are_returned(self, pool: Pool) -> None:
        thread, _ = pool.call(threading.current_thread)
        assert pool.close() == [thread]
        thread.join(10)
        assert pool.close() == []

    def test_one_at_work_ends_with_its_body_and_what_waits_for_it(self, one: Pool) -> None:
        gate = Gate()
        one.begin(gate)
        assert gate.inside.wait(10)
        job, told = one.begin(lambda: "waited")
        assert one.close() == []
        gate.go.set()
        assert told.wait(10)
        assert job.outcome == ("waited", None)
        assert gate.thread is not None
        gate.thread.join(10)
        assert not gate.thread.is_alive()

    def test_a_call_afterwards_has_a_thread_that_ends_with_it(self, pool: Pool) -> None:
        pool.close()
        first, _ = pool.call(threading.current_thread)
        first.join(10)
        second, _ = pool.call(threading.current_thread)
        second.join(10)
        assert not any(each.is_alive() for each in (first, second))
        assert first is not second

    def test_idle_threads_end_with_a_pool_that_nobody_closed(self) -> None:
        pool = Pool()
        thread, _ = pool.call(threading.current_thread)
        del pool
        gc.collect()
        thread.join(10)
        assert not thread.is_alive()

    def test_closing_while_calls_come_and_go_leaves_no_thread_and_loses_no_call(self, many: Pool) -> None:
        ran, stop = [], threading.Event()

        def call() -> None:
            while not stop.is_set():
                ran.append(many.call(lambda: "ok"))

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(100):
            many.close()
        stop.set()
        for thread in threads:
            thread.join(10)
        assert ran == [("ok", None)] * len(ran)


class TestNoThreadToBeHad:
    def test_the_call_is_refused_and_counts_for_nothing(self, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            for _ in range(MAX_AT_WORK + 1):
                with pytest.raises(CallbackSkippedError, match=r"no thread can be started for 'shop' \(can't start"):
                    pool.begin(lambda: None)
        assert pool.call(lambda: 1) == (1, None)

    def test_who_waits_for_the_one_thread_meanwhile_is_refused_too(
        self, one: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waiting = []

        def start(_: threading.Thread) -> None:
            waiting.extend(one.begin(lambda: None) for _ in range(2))
            one.abandon(waiting[0][0])
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(CallbackSkippedError):
                one.begin(lambda: None)
        (_, not_told), (job, told) = waiting
        assert told.is_set()
        assert not not_told.is_set()
        assert job.outcome is not None
        assert isinstance(job.outcome[1], CallbackSkippedError)
        assert one.call(lambda: 1) == (1, None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_no_thread_of_the_parents(pool: Pool) -> None:
    gate = Gate()
    pool.call(lambda: None)
    _, told = pool.begin(gate)

    def check() -> bool:
        pool.after_fork_in_child()
        thread, _ = pool.call(threading.current_thread)
        return thread is not gate.thread and pool.close() == [thread]

    assert run_in_child(check)
    gate.go.set()
    assert told.wait(10)


class TestStack:
    def test_it_tells_where_a_thread_is(self, many: Pool) -> None:
        gate = Gate()
        job, told = many.begin(gate)
        assert gate.inside.wait(10)
        first, *_ = job.where.splitlines()
        assert first == f'  File "{__file__}", line {Gate.__call__.__code__.co_firstlineno + 3}, in __call__'
        gate.go.set()
        assert told.wait(10)

    def test_of_a_thread_that_has_ended_or_a_job_that_has_none_it_is_empty(self) -> None:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        assert stack_of(thread.ident) == stack_of(None) == ""
        assert Job(lambda: None, copy_context(), lambda: None).where == ""

    def test_of_a_deep_one_it_tells_the_innermost_calls(self, many: Pool) -> None:
        gate = Gate()

        def dig(depth: int) -> None:
            if depth:
                dig(depth - 1)
            else:
                gate()

        job, told = many.begin(lambda: dig(100))
        assert gate.inside.wait(10)
        lines = job.where.splitlines()
        assert len(lines) == 20
        assert any("in __call__" in line for line in lines)
        gate.go.set()
        assert told.wait(10)
