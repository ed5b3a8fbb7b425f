"""Leases of running turns are kept alive."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest

from tests.support import FakeClock
from thea_core import Lease, StoreUnavailableError
from thea_core.conversation import leases as module
from thea_core.conversation.leases import LEASE_SECONDS, LeaseKeeper
from thea_core.storage.memory import MemoryStore


class RenewingStore(MemoryStore):
    """Notes renewals, and fails on demand."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.renewed: list[Lease] = []
        self.called = threading.Event()
        self.failing = False

    def renew(self, lease: Lease, *, duration: float) -> bool:
        self.called.set()
        if self.failing:
            raise StoreUnavailableError("disk full")
        self.renewed.append(lease)
        return super().renew(lease, duration=duration)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> RenewingStore:
    return RenewingStore(clock)


@pytest.fixture
def keeper(store: RenewingStore, clock: FakeClock) -> Iterator[LeaseKeeper]:
    made = LeaseKeeper(store, clock)
    yield made
    made.stop()


def lease(store: RenewingStore, user_id: str = "ana") -> Lease:
    read = store.begin(user_id, owner="test", duration=LEASE_SECONDS)
    assert read is not None
    assert read.lease is not None
    return read.lease


def test_a_young_lease_is_left_alone(keeper: LeaseKeeper, store: RenewingStore, clock: FakeClock) -> None:
    keeper.add(lease(store))
    clock.advance(9.9)
    assert keeper.renew_due() == 1
    assert store.renewed == []


def test_a_lease_is_renewed_every_third_of_its_life(
    keeper: LeaseKeeper, store: RenewingStore, clock: FakeClock
) -> None:
    mine = lease(store)
    keeper.add(mine)
    for _ in range(6):
        clock.advance(10)
        keeper.renew_due()
    assert store.renewed == [mine] * 6
    assert store.begin("ana", owner="other", duration=1) is None


def test_a_lease_that_has_ended_is_not_renewed(keeper: LeaseKeeper, store: RenewingStore, clock: FakeClock) -> None:
    mine = lease(store)
    keeper.add(mine)
    keeper.discard(mine)
    clock.advance(10)
    assert keeper.renew_due() == 0
    assert store.renewed == []


def test_a_lost_lease_is_forgotten(keeper: LeaseKeeper, store: RenewingStore, clock: FakeClock) -> None:
    mine = lease(store)
    keeper.add(mine)
    store.release(mine)
    lease(store)
    clock.advance(10)
    keeper.renew_due()
    assert keeper.renew_due() == 0


def test_a_renewal_that_fails_is_tried_again(
    keeper: LeaseKeeper, store: RenewingStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    mine = lease(store)
    keeper.add(mine)
    clock.advance(10)
    store.failing = True
    assert keeper.renew_due() == 1
    assert "disk full" in caplog.text
    store.failing = False
    keeper.renew_due()
    assert store.renewed == [mine]


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "thea-leases"]


def test_a_daemon_thread_does_it(
    keeper: LeaseKeeper, store: RenewingStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.001)
    keeper.add(lease(store))
    assert all(each.daemon for each in threads())
    clock.advance(10)
    assert store.called.wait(20)


def test_the_thread_ends_when_nothing_is_held_and_starts_again(
    keeper: LeaseKeeper, store: RenewingStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.001)
    before = set(threads())
    mine = lease(store)
    keeper.add(mine)
    (thread,) = set(threads()) - before
    keeper.discard(mine)
    thread.join(20)
    assert not thread.is_alive()
    keeper.add(mine)
    clock.advance(10)
    assert store.called.wait(20)


def test_the_thread_ends_with_its_keeper(store: RenewingStore, clock: FakeClock) -> None:
    before = set(threads())
    keeper = LeaseKeeper(store, clock)
    keeper.add(lease(store))
    (thread,) = set(threads()) - before
    del keeper
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()


def test_stopping_ends_the_thread(keeper: LeaseKeeper, store: RenewingStore) -> None:
    before = set(threads())
    mine = lease(store)
    keeper.add(mine)
    (thread,) = set(threads()) - before
    keeper.discard(mine)
    keeper.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_without_a_thread_the_next_lease_tries_again(
    keeper: LeaseKeeper, store: RenewingStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "begin", lambda _thread: False)
        keeper.add(lease(store))
    before = set(threads())
    keeper.add(lease(store, "ben"))
    assert len(set(threads()) - before) == 1
    clock.advance(10)
    assert keeper.renew_due() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_renews_nothing_of_its_parents(
    keeper: LeaseKeeper, store: RenewingStore, clock: FakeClock
) -> None:
    keeper.add(lease(store))
    clock.advance(10)
    child = os.fork()
    if child == 0:
        os._exit(0 if keeper.renew_due() == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert keeper.renew_due() == 1
