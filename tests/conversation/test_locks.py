"""One lock a key, first come first served, for threads and tasks alike."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable

import pytest

from tests.conversation.parts import in_thread
from thea_core.callbacks.steps import adrive, drive
from thea_core.conversation import locks as module
from thea_core.conversation.locks import Locks


def until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    """Wait for something that another thread is about to do."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "it never came"
        pause.wait(0.001)


def test_a_free_lock_is_taken_at_once() -> None:
    locks = Locks()
    assert drive(locks.take("a"))
    assert len(locks) == 1


def test_a_lock_costs_nothing_while_nobody_holds_it() -> None:
    locks = Locks()
    drive(locks.take("a"))
    locks.give_back("a")
    assert len(locks) == 0


def test_other_keys_are_other_locks() -> None:
    locks = Locks()
    assert drive(locks.take("a"))
    assert drive(locks.take("b"))


def test_giving_back_what_nobody_holds_does_nothing() -> None:
    Locks().give_back("a")


def test_threads_and_tasks_are_served_in_the_order_in_which_they_came() -> None:
    locks = Locks()
    served: list[int] = []

    async def task(number: int) -> None:
        await adrive(locks.take("a"))
        served.append(number)
        locks.give_back("a")

    def thread(number: int) -> None:
        drive(locks.take("a"))
        served.append(number)
        locks.give_back("a")

    drive(locks.take("a"))
    joins = []
    for number in range(8):
        run = (
            (lambda number=number: asyncio.run(task(number))) if number % 2 else (lambda number=number: thread(number))
        )
        joins.append(in_thread(run))
        until(lambda number=number: locks.waiting("a") == number + 1)
    locks.give_back("a")
    for join in joins:
        join()
    assert served == list(range(8))
    assert len(locks) == 0


def test_tasks_of_one_loop_wait_for_each_other() -> None:
    locks = Locks()
    served: list[int] = []

    async def task(number: int) -> None:
        await adrive(locks.take("a"))
        await asyncio.sleep(0)
        served.append(number)
        locks.give_back("a")

    async def main() -> None:
        await asyncio.gather(*(task(number) for number in range(20)))

    asyncio.run(main())
    assert served == list(range(20))


def test_who_runs_out_of_patience_gets_nothing_and_leaves_the_queue() -> None:
    locks = Locks()
    drive(locks.take("a"))
    assert not drive(locks.take("a", 0.001))
    assert not asyncio.run(adrive(locks.take("a", 0.001)))
    assert locks.waiting("a") == 0
    locks.give_back("a")
    assert len(locks) == 0


def test_who_blocks_an_event_loop_waits_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder may be a task of that very loop."""
    monkeypatch.setattr(module, "_IN_LOOP_SECONDS", 0.001)
    locks = Locks()

    async def main() -> bool:
        drive(locks.take("a"))
        return drive(locks.take("a"))

    assert not asyncio.run(main())


def test_a_lock_that_comes_free_while_a_task_begins_to_wait_is_noticed() -> None:
    locks = Locks()
    drive(locks.take("a"))
    steps = locks.take("a")
    ticket = next(steps)
    locks.give_back("a")
    asyncio.run(ticket.wait_async())
    with pytest.raises(StopIteration) as end:
        steps.send(None)
    assert end.value.value is True


def test_a_cancelled_task_leaves_the_queue() -> None:
    locks = Locks()

    async def main() -> None:
        drive(locks.take("a"))
        task = asyncio.create_task(adrive(locks.take("a")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert locks.waiting("a") == 0


def test_a_task_that_is_cancelled_when_its_turn_has_come_lets_the_next_one_go() -> None:
    locks = Locks()

    async def main() -> bool:
        drive(locks.take("a"))
        first = asyncio.create_task(adrive(locks.take("a")))
        second = asyncio.create_task(adrive(locks.take("a")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        locks.give_back("a")
        first.cancel()
        return await asyncio.wait_for(second, 20)

    assert asyncio.run(main())


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_waiter_whose_loop_was_closed_under_it_is_passed_over() -> None:
    locks = Locks()
    drive(locks.take("a"))
    loop = asyncio.new_event_loop()
    waiter = adrive(locks.take("a"))
    task = loop.create_task(waiter)
    loop.run_until_complete(asyncio.sleep(0))
    assert locks.waiting("a") == 1
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 -- the test means it
    loop.close()
    locks.give_back("a")
    assert len(locks) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_fresh_locks() -> None:
    locks = Locks()
    drive(locks.take("a"))
    child = os.fork()
    if child == 0:
        os._exit(0 if len(locks) == 0 and drive(locks.take("a", 0.001)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(locks) == 1
