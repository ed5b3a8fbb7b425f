"""The public contracts find what is wrong with a store, and ask for nothing that a writer of stores has not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from thea_core.errors import CommitRefusedError
from thea_core.storage.memory import MemoryStore
from thea_core.storage.memory_outbox import MemoryOutbox
from thea_core.testing import FakeClock, OutboxContract, StoreContract
from thea_core.testing.machine import StoreMachine
from thea_core.testing.queues import QueueContract
from thea_core.types import ClaimedEvents, Commit, Conversation, Lease, Outbox, Store


class Wrapped:
    """An outbox that leaves the work to another one."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)


class WithoutFences(MemoryStore):
    """Lets a late holder write."""

    def commit(self, change: Commit) -> None:
        held = self._held.get(change.lease.user_id)
        fence = change.lease.fence if held is None else held.fence
        owner = change.lease.owner if held is None or held.owner is None else held.owner
        super().commit(change._replace(lease=Lease(change.lease.user_id, owner, fence)))


class WithoutQueue(MemoryStore):
    """Gives the lease to whoever asks first."""

    def begin(self, user_id: str, **options: Any) -> Conversation | None:
        self._places.pop(user_id, None)
        return super().begin(user_id, **options)


class EventsFirst(MemoryStore):
    """Stores events before it knows whether the commit is good."""

    def commit(self, change: Commit) -> None:
        self.outbox.append(change.lease.user_id, change.events)
        super().commit(change._replace(events=()))


class Forgetful(MemoryStore):
    """Forgets the context only."""

    def commit(self, change: Commit) -> None:
        super().commit(change._replace(forget=False))


class Unfenced(MemoryStore):
    """Lets a late worker settle what another one is delivering."""

    @property
    def outbox(self) -> Any:
        events = self._events

        class Settling(Wrapped):
            def settle(self, claimed: ClaimedEvents, **options: Any) -> bool:
                lane = events._lanes.get((claimed.plugin, claimed.user_id))  # noqa: SLF001
                claim = claimed.claim if lane is None else lane.claim
                return self._outbox.settle(claimed._replace(claim=claim), **options)

        return Settling(super().outbox)


class Unordered(MemoryStore):
    """Hands events over with the newest first."""

    @property
    def outbox(self) -> Any:
        class Claiming(Wrapped):
            def claim(self, plugin: str, **options: Any) -> Sequence[ClaimedEvents]:
                claimed = self._outbox.claim(plugin, **options)
                return [each._replace(events=tuple(reversed(each.events))) for each in claimed]

        return Claiming(super().outbox)


class WithoutOutbox(MemoryStore):
    """Keeps no events."""

    @property
    def outbox(self) -> Any:
        return None


def the_overtaken(store: Store, clock: FakeClock) -> None:
    StoreContract().test_the_holder_that_was_overtaken_is_refused(store, clock)


def the_queue(store: Store, clock: FakeClock) -> None:
    StoreContract().test_those_who_wait_are_served_in_the_order_in_which_they_came(store)


def the_refused(store: Store, clock: FakeClock) -> None:
    OutboxContract().test_a_commit_that_is_refused_stores_none(store, outbox_of(store), "{}")


def the_forgotten(store: Store, clock: FakeClock) -> None:
    StoreContract().test_a_commit_that_forgets_removes_earlier_replies(store, None)


def the_late_worker(store: Store, clock: FakeClock) -> None:
    OutboxContract().test_who_was_overtaken_settles_nothing(store, outbox_of(store), clock)


def the_order(store: Store, clock: FakeClock) -> None:
    OutboxContract().test_events_of_a_user_are_claimed_in_order(store, outbox_of(store))


def outbox_of(store: Store) -> Outbox:
    assert store.outbox is not None
    return store.outbox


BROKEN = [
    (WithoutFences, the_overtaken),
    (WithoutQueue, the_queue),
    (EventsFirst, the_refused),
    (Forgetful, the_forgotten),
    (Unfenced, the_late_worker),
    (Unordered, the_order),
]


@pytest.mark.parametrize(("broken", "check"), BROKEN)
def test_a_contract_passes_what_is_right_and_finds_what_is_wrong(
    broken: type[MemoryStore], check: Callable[[Store, FakeClock], None]
) -> None:
    clock = FakeClock()
    check(MemoryStore(clock=clock), clock)
    with pytest.raises((AssertionError, CommitRefusedError, pytest.fail.Exception)):
        check(broken(clock=clock), clock)


@pytest.mark.parametrize("broken", [WithoutQueue, EventsFirst])
def test_the_machine_finds_what_is_wrong(broken: type[MemoryStore]) -> None:
    class Machine(StoreMachine):
        def open_clients(self) -> tuple[Store, Store]:
            store = broken(clock=self.clock)
            return store, store

    once = settings(
        database=None, deadline=None, max_examples=500, phases=[Phase.generate], print_blob=False, derandomize=True
    )
    with pytest.raises((AssertionError, CommitRefusedError, pytest.fail.Exception, KeyError)):
        run_state_machine_as_test(Machine, settings=once)


def test_the_machine_tries_a_store_without_events_and_places() -> None:
    class Machine(StoreMachine):
        keeps_places = False

        def open_clients(self) -> tuple[Store, Store]:
            store = WithoutOutbox(clock=self.clock)
            return store, store

    run_state_machine_as_test(Machine, settings=settings(database=None, deadline=None, max_examples=10))


def test_the_contract_of_outboxes_is_skipped_where_a_store_has_none() -> None:
    fixture = OutboxContract.outbox.__wrapped__  # what pytest calls
    with pytest.raises(pytest.skip.Exception, match="keeps no events"):
        fixture(OutboxContract(), WithoutOutbox(clock=FakeClock()))
    store = MemoryStore(clock=FakeClock())
    assert isinstance(fixture(OutboxContract(), store), MemoryOutbox)


def test_the_tests_of_queues_are_left_out_where_a_store_keeps_no_places() -> None:
    class Contract(StoreContract):
        keeps_places = False

    def tests_of(contract: type) -> set[str]:
        return {name for name in dir(contract) if name.startswith("test_") and callable(getattr(contract, name))}

    left_out = tests_of(StoreContract) - tests_of(Contract)
    assert left_out == tests_of(QueueContract)
    assert len(left_out) > 10


def test_the_fake_clock_moves_only_when_it_is_told_to() -> None:
    clock = FakeClock()
    start, start_ns = clock.now(), clock.monotonic_ns()
    assert (clock.now(), clock.monotonic_ns()) == (start, start_ns)
    clock.advance(1.5)
    assert ((clock.now() - start).total_seconds(), clock.monotonic_ns() - start_ns) == (1.5, 1_500_000_000)
    assert start.utcoffset() is not None


def run(program: str) -> int:
    return subprocess.run([sys.executable, "-c", program], check=False).returncode


def test_the_contracts_need_no_hypothesis() -> None:
    assert run("import sys; sys.modules['hypothesis'] = None; import thea_core.testing as t; t.StoreContract") == 0


def test_an_application_does_not_load_what_tests_need() -> None:
    program = """
import sys
import thea_core
with thea_core.Thea({"store": {"url": "memory:"}}) as thea:
    thea.handle_request("ana", "hello")
sys.exit(any(name.split(".")[0] in {"pytest", "_pytest", "hypothesis"} for name in sys.modules))
"""
    assert run(program) == 0
