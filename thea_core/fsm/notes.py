"""What the last failing ``handle`` of a flow left for ``fsm.on_error()(error, context)``.

A note belongs to a flow: exceptions are shared between users and re-raised, so nothing is kept on them. ``ahandle``
takes the notes of its caller's flow when it is *called*; whichever task then runs it, such as those of
``asyncio.gather`` and ``asyncio.wait_for``, writes there.
"""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import ref

from thea_core.types import Context

__all__ = ["Note", "Notes", "find_note", "own_notes"]

_MOST = 8  # engines of one flow: a note holds an exception with all its frames


class Note(NamedTuple):
    """One failing ``handle``.

    Attributes:
        error: what it raised.
        given: the context that it had been given, a copy.
        result: the error context that ``fail`` made; None after a veto, which is not reported.
    """

    error: BaseException
    given: Context
    result: Context | None


class Notes:
    """The last failure of each engine in one flow. Thread-safe.

    It is changed in place: contexts that were copied within the flow see the same notes, and keep no older ones alive.
    """

    __slots__ = ("_flow", "_last")

    def __init__(self, flow: Any, last: dict[object, Note]) -> None:
        self._flow = flow
        self._last = last

    def keep(self, engine: object, note: Note) -> None:
        """Put ``note`` in the place of the engine's last one."""
        self._last.pop(engine, None)
        self._last[engine] = note
        for oldest in [*self._last][:-_MOST]:
            self._last.pop(oldest, None)

    def last(self, engine: object) -> Note | None:
        """Return the engine's last note."""
        return self._last.get(engine)

    def belongs_to(self, flow: Any) -> bool:
        """Whether these are the notes of that flow, and not inherited from another one."""
        return bool(self._flow == flow)

    def inherited(self, flow: Any) -> Notes:
        """Return notes for a flow that begins with these."""
        return Notes(flow, dict(self._last))


_notes: ContextVar[Notes | None] = ContextVar("thea_failures", default=None)


def own_notes() -> Notes:
    """Return the notes of this flow; they are made if need be."""
    flow, notes = _this_flow(), _notes.get()
    if notes is None or not notes.belongs_to(flow):
        notes = Notes(flow, {}) if notes is None else notes.inherited(flow)
        _notes.set(notes)
    return notes


def find_note(engine: object) -> Note | None:
    """Return the note of the engine's last failing call in this flow."""
    notes = _notes.get()
    return None if notes is None else notes.last(engine)


def _this_flow() -> Any:
    """Return what this flow is known by: its task, or else its thread."""
    asyncio = sys.modules.get("asyncio")  # where nobody has imported it, no task runs
    if asyncio is not None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop runs
            task = None
        if task is not None:
            return ref(task)
    return threading.get_ident()
