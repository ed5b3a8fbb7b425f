"""The race test in short, with another seed in each run; and the order across processes, step by step."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from tests.durability.assistant import Counting
from tests.durability.places import CONFIG, STORES, opened, place
from tests.durability.process import PATIENCE
from tests.durability.racing import Race, command, race
from tests.durability.wrapping import WrappedStore
from thea_core import Thea

every_store = pytest.mark.parametrize("store", STORES)


def plan(store: str, directory: Path, **options: Any) -> Race:
    seed = random.SystemRandom().randrange(1_000_000)
    made = Race(place(store, directory), directory, seed=seed, messages=400, **options)
    print(f"to repeat it: {command(store, made)}")  # noqa: T201 -- shown where the test fails
    return made


@every_store
def test_processes_that_handle_messages_of_the_same_users_lose_no_update_and_keep_the_order(
    store: str, tmp_path: Path
) -> None:
    result = race(plan(store, tmp_path))
    assert result.problems == []


@every_store
def test_a_process_that_was_stopped_for_longer_than_its_leases_live_is_refused_and_nothing_is_lost(
    store: str, tmp_path: Path
) -> None:
    result = race(plan(store, tmp_path, stop=True))
    assert result.problems == []
    assert result.refused[0] >= 1


# First come, first served


class Process:
    """An application over its own connection to the store, as another process would have it."""

    def __init__(self, url: str, stack: ExitStack, agent: Counting) -> None:
        self._places: SimpleQueue[str] = SimpleQueue()
        store = WrappedStore(stack.enter_context(opened(url)), self._call)
        self._app = stack.enter_context(Thea(CONFIG, plugins=[agent], store=store))
        self._threads: list[threading.Thread] = []

    def send(self, text: str) -> None:
        """Send a message on a thread of its own, and wait until it has its place in the queue."""
        self.begin(text)
        assert self._places.get(timeout=PATIENCE) == "enqueue"

    def begin(self, text: str) -> None:
        """Send a message on a thread of its own."""
        thread = threading.Thread(target=self._app.handle_request, args=("ana", text), daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> list[str]:
        """Wait until all are answered, and return what was applied."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        return self._app.contexts.load("ana")["seen"]  # type: ignore[no-any-return]

    def _call(self, name: str, work: Callable[[], Any]) -> Any:
        result = work()
        if name == "enqueue":
            self._places.put(name)
        return result


class Waiting(Counting):
    """Stays in its first turn until it may go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def handle(self, message: str, context: dict[str, Any], turn: Any) -> Any:
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        return super().handle(message, context, turn)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@every_store
def test_messages_of_one_user_that_wait_in_several_processes_are_handled_in_the_order_in_which_they_came(
    store: str, tmp_path: Path, stack: ExitStack
) -> None:
    url, agent = place(store, tmp_path), Waiting()
    a, b, c = (Process(url, stack, each) for each in (agent, Counting(), Counting()))
    a.begin("a1")
    assert agent.begun.wait(PATIENCE)
    b.send("b1")
    a.send("a2")
    c.send("c1")
    b.send("b2")
    agent.go_on.set()
    assert [each.join() for each in (a, b, c)][-1] == ["a1", "b1", "a2", "c1", "b2"]
