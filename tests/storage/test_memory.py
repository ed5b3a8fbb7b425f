from __future__ import annotations

import os
import tracemalloc

import pytest

from tests.support import FakeClock, run_in_child
from thea_core.storage.memory import MemoryStore
from thea_core.testing import OutboxContract, StoreContract
from thea_core.testing.turns import begin, turn
from thea_core.types import Lease


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


class TestMemoryStore(StoreContract):
    pass


class TestMemoryOutbox(OutboxContract):
    pass


def test_it_never_waits_for_anything(store: MemoryStore) -> None:
    assert store.blocking is False


def test_its_key_comes_from_the_given_randomness(clock: FakeClock) -> None:
    assert MemoryStore(clock=clock, entropy=lambda size: b"k" * size).key == b"k" * 32


def test_an_idle_conversation_costs_at_most_2_kib_beyond_its_context(store: MemoryStore) -> None:
    count = 10_000
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            turn(
                store,
                f"user-{number:030}",
                session_id=f"session-{number:030}",
                message_id=f"id-{number:030}",
                reply='"ok"',
            )
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used / count < 2048


def test_turns_do_not_make_the_list_of_deadlines_longer(store: MemoryStore, clock: FakeClock) -> None:
    turn(store)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2_000):
            clock.advance(1.0)
            turn(store)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used < 20_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_goes_on_with_a_copy_and_a_new_key(store: MemoryStore) -> None:
    turn(store, context='{"a": 1}')
    key = store.key

    def changes_its_copy() -> bool:
        turn(store, context='{"child": 1}')
        return store.load("ana") == '{"child": 1}' and store.key != key

    assert run_in_child(changes_its_copy)
    assert store.load("ana") == '{"a": 1}'


def test_a_release_by_somebody_else_is_ignored(store: MemoryStore) -> None:
    store.release(Lease("ana", "nobody", 7))
    assert begin(store).lease is not None
