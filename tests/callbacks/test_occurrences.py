"""Where the extras come from while a turn runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import Token

import pytest

from thea_core import CallbackManager
from thea_core.callbacks.occurrences import Occurrences, turn_occurrences
from thea_core.callbacks.steps import drive

CHANGE = {"user_id": "ana", "old_state": "idle", "new_state": "processing"}


class Turn:
    """Counts the events that the core fires."""

    alive = True
    session_id = "session"

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def begin(self, hook: str) -> None:
        self.counts[hook] = self.counts.get(hook, 0) + 1

    def event_id(self, hook: str) -> str:
        return f"{hook} {self.counts.get(hook, 0)}"


@pytest.fixture
def turn() -> Iterator[Turn]:
    running: Occurrences = Turn()
    token: Token[Occurrences | None] = turn_occurrences.set(running)
    yield running
    turn_occurrences.reset(token)


@pytest.fixture
def got(callbacks: CallbackManager) -> list[tuple[str, str | None]]:
    taken: list[tuple[str, str | None]] = []
    callbacks.register("on_state_change", lambda event_id, session_id: taken.append((event_id, session_id)))
    return taken


def test_what_the_core_fires_in_a_turn_gets_the_turns_ids_and_session(
    callbacks: CallbackManager, turn: Turn, got: list[tuple[str, str | None]]
) -> None:
    for _ in range(2):
        drive(callbacks.fire("on_state_change", **CHANGE))
    assert got == [("on_state_change 1", "session"), ("on_state_change 2", "session")]


def test_occurrences_are_counted_also_where_nobody_listens(callbacks: CallbackManager, turn: Turn) -> None:
    drive(callbacks.fire("on_state_change", **CHANGE))
    assert turn.counts == {"on_state_change": 1}


def test_after_the_turn_ids_are_random_and_there_is_no_session(
    callbacks: CallbackManager, turn: Turn, got: list[tuple[str, str | None]]
) -> None:
    turn.alive = False
    drive(callbacks.fire("on_state_change", **CHANGE))
    ((event_id, session_id),) = got
    assert len(event_id) == 36
    assert session_id is None
    assert turn.counts == {}


def test_a_caller_that_gives_them_is_believed(
    callbacks: CallbackManager, turn: Turn, got: list[tuple[str, str | None]]
) -> None:
    drive(callbacks.fire("on_state_change", **CHANGE, event_id="e", session_id="s"))
    assert got == [("e", "s")]
