"""Messages of one user are served in the order in which they came, whichever router of which process they came to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conversation.parts import FunctionAgent, Gate, World, in_thread
from tests.support import FakeClock
from thea_core import ConversationBusyError, StoreUnavailableError
from thea_core.callbacks.steps import drive
from thea_core.conversation.keeper import Keeper
from thea_core.conversation.leases import LEASE_SECONDS, LeaseKeeper
from thea_core.storage.memory import MemoryStore


class Queue(MemoryStore):
    """Lets a test wait until somebody has taken a place."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.arrived = threading.Semaphore(0)
        self.failing = False

    def enqueue(self, user_id: str, *, owner: str, duration: float) -> None:
        if self.failing:
            raise StoreUnavailableError("disk full")
        super().enqueue(user_id, owner=owner, duration=duration)
        self.arrived.release()

    def dequeue(self, user_id: str, *, owner: str) -> None:
        if self.failing:
            raise StoreUnavailableError("disk full")
        super().dequeue(user_id, owner=owner)

    def wait(self) -> None:
        assert self.arrived.acquire(timeout=20), "nobody came"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Iterator[Queue]:
    made = Queue(clock)
    yield made
    made.close()


class Offices:
    """Routers of one store, as if each were in a process of its own; a message ``gate`` waits at the gate."""

    def __init__(self, store: Queue, clock: FakeClock, count: int) -> None:
        self.served: list[str] = []
        self.gate = Gate()
        self.store = store
        self.routers = [World(store=store, clock=clock).router for _ in range(count)]
        for router in self.routers:
            router.register(FunctionAgent("fallback", self._answer))

    def _answer(self, message: str, _context: Any, _turn: Any) -> str:
        if message == "gate":
            self.gate.pass_through()
        self.served.append(message)
        return message

    def hold(self) -> Callable[[], Any]:
        """Let the first router have a turn of Ana's that does not end before the gate is opened."""
        join = in_thread(lambda: self.routers[0].handle_request("ana", "gate"))
        assert self.gate.reached.wait(20)
        return join

    def send(self, number: int, message: str) -> Callable[[], Any]:
        """Send a message that has to wait, and return when it has its place."""
        join = in_thread(lambda: self.routers[number].handle_request("ana", message))
        self.store.wait()
        return join


def test_first_come_first_served_across_routers(store: Queue, clock: FakeClock) -> None:
    offices = Offices(store, clock, 3)
    joins = [offices.hold(), offices.send(1, "b"), offices.send(0, "a"), offices.send(2, "c"), offices.send(1, "d")]
    offices.gate.open()
    for join in joins:
        join()
    assert offices.served == ["gate", "b", "a", "c", "d"]


def test_tasks_stand_in_the_same_queue(store: Queue, clock: FakeClock) -> None:
    offices = Offices(store, clock, 2)

    async def main() -> None:
        held = offices.hold()
        tasks = []
        for number, message in [(1, "b"), (0, "a"), (1, "c")]:
            tasks.append(asyncio.create_task(offices.routers[number].ahandle_request("ana", message)))
            await asyncio.to_thread(store.wait)
        offices.gate.open()
        await asyncio.gather(*tasks)
        held()

    asyncio.run(main())
    assert offices.served == ["gate", "b", "a", "c"]


def test_nobody_queues_where_nobody_waits(store: Queue, clock: FakeClock) -> None:
    offices = Offices(store, clock, 2)
    for number in (0, 1, 0):
        offices.routers[number].handle_request("ana", "hello")
    assert not store.arrived.acquire(blocking=False)


def test_who_gives_up_leaves_the_queue(store: Queue, clock: FakeClock) -> None:
    offices = Offices(store, clock, 3)
    held = offices.hold()
    with pytest.raises(ConversationBusyError):
        drive(Keeper(store, clock=clock).take("ana", patience=0.05))
    store.wait()
    last = offices.send(2, "c")
    offices.gate.open()
    held()
    last()
    assert offices.served == ["gate", "c"]


def test_a_repeated_message_gives_its_place_up(store: Queue, clock: FakeClock) -> None:
    offices = Offices(store, clock, 2)
    offices.routers[1].handle_request("ana", "hello", "m1")
    held = offices.hold()
    assert offices.routers[1].handle_request("ana", "hello", "m1").text == "hello"
    offices.gate.open()
    held()
    offices.routers[0].handle_request("ana", "later")
    assert offices.served == ["hello", "gate", "later"]


def test_a_store_that_fails_at_the_queue_fails_that_message_alone(
    store: Queue, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    offices = Offices(store, clock, 2)
    held = offices.hold()
    store.failing = True
    with pytest.raises(StoreUnavailableError):
        offices.routers[1].handle_request("ana", "b")
    assert "could not be given up" in caplog.text
    store.failing = False
    offices.gate.open()
    held()
    offices.routers[1].handle_request("ana", "c")
    assert offices.served == ["gate", "c"]


class TestPlacesAreKeptAlive:
    """The thread of the leases looks after them too."""

    def test_they_are_renewed_every_third_of_their_life(self, store: Queue, clock: FakeClock) -> None:
        keeper = LeaseKeeper(store, clock, lambda: "here")
        store.begin("ana", owner="holder", duration=2 * LEASE_SECONDS)
        store.enqueue("ana", owner="here", duration=LEASE_SECONDS)
        keeper.add_place()
        for _ in range(6):
            clock.advance(LEASE_SECONDS / 3)
            assert keeper.renew_due() == 1
        assert store.begin("ana", owner="third", duration=1.0) is None
        assert store.begin("ana", owner="here", duration=1.0, queued=True) is not None
        keeper.stop()

    def test_none_is_renewed_when_all_are_given_up(self, store: Queue, clock: FakeClock) -> None:
        keeper = LeaseKeeper(store, clock, lambda: "here")
        keeper.add_place()
        keeper.add_place()
        keeper.discard_place()
        assert keeper.renew_due() == 1
        keeper.discard_place()
        assert keeper.renew_due() == 0
        keeper.stop()

    def test_a_store_that_fails_is_asked_again(
        self, store: Queue, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        asked: list[str] = []

        def renew_places(*, owner: str, duration: float) -> None:
            asked.append(owner)
            if len(asked) == 1:
                raise StoreUnavailableError("disk full")

        monkeypatch.setattr(store, "renew_places", renew_places)
        keeper = LeaseKeeper(store, clock, lambda: "here")
        keeper.add_place()
        clock.advance(LEASE_SECONDS / 3)
        keeper.renew_due()
        keeper.renew_due()
        keeper.renew_due()
        assert asked == ["here", "here"]
        assert "places in queues could not be renewed" in caplog.text
        keeper.stop()
