"""What the last failing ``handle`` of a flow left for ``fsm.on_error()(error, context)``.

A note belongs to a flow: exceptions are shared between users and re-raised, so nothing is kept on them. ``ahandle``
puts an empty note into its caller's flow when it is *called*; the note is then filled by whichever task runs it, such
as those of ``asyncio.gather`` and ``asyncio.wait_for``.
"""

from __future__ import annotations

from contextvars import ContextVar
from itertools import count

from thea_core.types import Context

__all__ = ["Note", "Notes"]

_MOST = 1000  # notes of one flow; only a coroutine that is never awaited leaves an empty one behind


class Note:
    """One ``handle``: what it raised, what it had been given, and the error context that ``fail`` made.

    Attributes:
        owner: the notes of the engine.
        number: tells later failures from earlier ones; 0 until it is filled.
        under_way: whether it may still be filled.
        error: what was raised.
        given: the context before, a copy.
        result: the error context; None for a veto, which is not reported.
    """

    __slots__ = ("error", "given", "number", "owner", "result", "under_way")

    def __init__(self, owner: Notes) -> None:
        self.owner = owner
        self.number = 0
        self.under_way = True
        self.error: BaseException | None = None
        self.given: Context = {}
        self.result: Context | None = None

    def fill(self, error: BaseException, given: Context, result: Context | None) -> None:
        """Note a failure; it is the last one of its flow now."""
        self.error, self.given, self.result = error, given, result
        self.number = self.owner.next_number()
        self.under_way = False


_notes: ContextVar[tuple[Note, ...]] = ContextVar("thea_failures", default=())  # of all engines


class Notes:
    """The notes of one engine, in every flow. Thread-safe."""

    def __init__(self) -> None:
        self._count = count(1)

    def next_number(self) -> int:
        """Return a number that is greater than all before."""
        return next(self._count)

    def begin(self) -> Note:
        """Put an empty note into this flow."""
        note = Note(self)
        self._put(note)
        return note

    def add(self, error: BaseException, given: Context, result: Context | None) -> None:
        """Put a note that is filled into this flow."""
        note = Note(self)
        note.fill(error, given, result)
        self._put(note)

    @staticmethod
    def _put(note: Note) -> None:
        """Put a note into this flow, and drop those that count no more."""
        notes = (*_notes.get(), note)
        last: dict[Notes, Note] = {}
        for each in notes:
            if each.number and (each.owner not in last or each.number > last[each.owner].number):
                last[each.owner] = each
        kept = [each for each in notes if each.under_way or last.get(each.owner) is each]
        _notes.set(tuple(kept[-_MOST:]))

    def last(self) -> Note | None:
        """Return the note of the last failure in this flow."""
        mine = [each for each in _notes.get() if each.owner is self and each.number]
        return max(mine, key=lambda each: each.number, default=None)
