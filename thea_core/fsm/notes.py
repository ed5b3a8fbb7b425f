"""What the last failing ``handle`` of a flow left for ``fsm.on_error()(error, context)``.

A note belongs to a flow: exceptions are shared between users and re-raised, so nothing is kept on them. ``ahandle``
puts an empty note into its caller's context when it is *called*; the note is then filled by whichever task runs it.
"""

from __future__ import annotations

from contextvars import ContextVar

from thea_core.types import Context

__all__ = ["Note", "find_note", "new_note"]


class Note:
    """One failing ``handle``: what it raised, what it had been given, and the error context that ``fail`` made."""

    __slots__ = ("engine", "error", "given", "previous", "result")

    def __init__(self, engine: object, previous: Note | None) -> None:
        self.engine = engine
        self.previous = previous
        self.error: BaseException | None = None
        self.given: Context = {}
        self.result: Context = {}

    def fill(self, error: BaseException, given: Context, result: Context) -> None:
        """Note a failure; what came before it is forgotten."""
        self.error, self.given, self.result = error, given, result
        self.previous = None


_notes: ContextVar[tuple[Note, ...]] = ContextVar("thea_failures", default=())  # one for each engine


def new_note(engine: object) -> Note:
    """Put an empty note of ``engine`` into this flow; an older one counts until it is filled."""
    notes = _notes.get()
    last = next((each for each in notes if each.engine is engine), None)
    note = Note(engine, last if last is None or last.error is not None else last.previous)
    _notes.set((note, *(each for each in notes if each.engine is not engine)))
    return note


def find_note(engine: object) -> Note | None:
    """Return the note of the last failing call of ``engine`` in this flow."""
    note = next((each for each in _notes.get() if each.engine is engine), None)
    while note is not None and note.error is None:
        note = note.previous
    return note
