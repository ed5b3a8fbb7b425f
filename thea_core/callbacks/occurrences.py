"""Where the extras of an event come from while a turn runs.

Outside a turn an event gets a random id and no session. A turn notes its :class:`Occurrences` in a context variable:
events that are fired within it get its session, and an id that is the same if the turn runs again.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

__all__ = ["Occurrences", "begin_occurrence", "session_of_turn", "turn_event_id", "turn_occurrences"]


class Occurrences(Protocol):
    """What a turn knows of the events that are fired within it. Used by one flow at a time."""

    @property
    def alive(self) -> bool:
        """Whether the turn still runs."""
        ...

    @property
    def session_id(self) -> str | None:
        """The session of the turn."""
        ...

    def begin(self, hook: str) -> None:
        """Count an occurrence of an event that the core fires."""
        ...

    def event_id(self, hook: str) -> str:
        """Return the id of the occurrence that was counted last."""
        ...


turn_occurrences: ContextVar[Occurrences | None] = ContextVar("thea_occurrences", default=None)
"""The turn that runs in this flow."""


def begin_occurrence(hook: str) -> None:
    """Count an occurrence of an event, if a turn runs in this flow."""
    turn = turn_occurrences.get()
    if turn is not None and turn.alive:
        turn.begin(hook)


def turn_event_id(hook: str) -> str | None:
    """Return the id that the turn of this flow gives to the event, or None where no turn runs."""
    turn = turn_occurrences.get()
    return turn.event_id(hook) if turn is not None and turn.alive else None


def session_of_turn() -> str | None:
    """Return the session of the turn of this flow, or None where no turn runs."""
    turn = turn_occurrences.get()
    return turn.session_id if turn is not None and turn.alive else None
