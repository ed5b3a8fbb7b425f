"""What is being done for one user under that user's lease, and how saves of callbacks join it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from thea_core.callbacks import flow
from thea_core.callbacks.durable import Gathered, gathered
from thea_core.callbacks.occurrences import turn_occurrences
from thea_core.conversation.events import TurnOccurrences
from thea_core.errors import ContextError, StoreSchemaError
from thea_core.fsm import copy_context
from thea_core.types import Context, Store

__all__ = ["MAX_TEXT", "Scope", "Work", "dump_context", "end_session", "load_context", "running_work"]

MAX_TEXT: Final = 16 * 2**20
"""How many characters the JSON text of a context may have."""

_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
_MISSING: Final = object()


class Work:
    """A turn, or the end of a session, while it has its user's lease.

    Args:
        failing: tells whether error callbacks run in this flow.

    Attributes:
        store: the store that the lease belongs to.
        user_id: whose conversation it is.
        session_id: the session under way.
        context: as it stands after the last thing that was done whole.
        cleared: whether somebody asked for the user to be forgotten.
        gathered: the events for plugins with durable delivery, which join the commit.
        alive: False once it has ended: a task that outlives it is on its own.
    """

    __slots__ = (
        "_failing",
        "_saved",
        "_saved_late",
        "alive",
        "cleared",
        "context",
        "gathered",
        "session_id",
        "store",
        "user_id",
    )

    def __init__(
        self,
        store: Store,
        user_id: str,
        session_id: str,
        context: Context,
        failing: Callable[[], bool] = lambda: False,
    ) -> None:
        self.store = store
        self.user_id = user_id
        self.session_id = session_id
        self.context = context
        self.cleared = False
        self.gathered = Gathered(user_id)
        self.alive = True
        self._saved: Context | None = None
        self._saved_late = False  # by an error callback: what has failed does not take it along
        self._failing = failing

    def load(self) -> Context | None:
        """Return a copy of the context as it stands, with what was saved; None after a clear."""
        if self._saved is not None and self._failing():
            self.drop_saved()
        return None if self.cleared else copy_context(self._saved or self.context)

    def save(self, context: Context) -> None:
        """Let ``context``, a copy that belongs to the work now, join the commit."""
        self._saved = context
        self._saved_late = self._failing()

    def clear(self) -> None:
        """Keep nothing of the context, whatever is saved afterwards."""
        self.cleared = True
        self._saved = None

    def adopt(self, result: Context) -> Context:
        """Go on with ``result`` of what was just done, and with what was saved while it was done.

        Of what was saved, each key counts that the result itself has left alone; ``user_id`` and ``state`` are the
        result's.
        """
        saved, self._saved, self._saved_late = self._saved, None, False
        if saved is not None:
            before = self.context
            for key in {*saved, *before} - {"user_id", "state"}:
                if before.get(key, _MISSING) == result.get(key, _MISSING):
                    _set(result, key, saved.get(key, _MISSING))
        self.context = result
        return result

    @property
    def has_saved(self) -> bool:
        """Whether something was saved that is not adopted yet."""
        return self._saved is not None

    def drop_saved(self) -> None:
        """Forget what was saved during something that has failed, unless an error callback saved it."""
        if not self._saved_late:
            self._saved = None


running_work: ContextVar[Work | None] = ContextVar("thea_work", default=None)
"""What this flow is doing under a lease; look at ``alive``."""


class Scope:
    """While it is entered, the flow knows what it is doing: messages are refused in it, and saves join the work.

    Args:
        key: what stands for the router in the flow.
        work: what is being done.
        occurrences: where ids of events come from; unchanged, if not given.
    """

    __slots__ = ("_frame", "_key", "_occurrences", "_outer", "_work")

    def __init__(self, key: object, work: Work, occurrences: TurnOccurrences | None = None) -> None:
        self._key = key
        self._work = work
        self._occurrences = occurrences

    def __enter__(self) -> None:
        self._frame = flow.enter(self._key)
        self._outer = running_work.get(), turn_occurrences.get(), gathered.get()
        running_work.set(self._work)
        gathered.set(self._work.gathered)
        if self._occurrences is not None:
            turn_occurrences.set(self._occurrences)

    def __exit__(self, *exc_info: object) -> None:
        self._work.alive = False
        self._work.gathered.close()
        running_work.set(self._outer[0])
        gathered.set(self._outer[2])
        if self._occurrences is not None:
            self._occurrences.alive = False
            turn_occurrences.set(self._outer[1])
        flow.leave(self._frame)


def dump_context(context: Context) -> str:
    """Return ``context`` as ASCII JSON text, which keeps every ``str``.

    Raises:
        ContextError: it is not JSON-shaped, or its text is longer than :data:`MAX_TEXT`.
    """
    try:
        text = _encode(context)
    except (TypeError, ValueError, RecursionError) as error:
        raise ContextError(f"the context cannot be stored: {error}") from error
    if len(text) > MAX_TEXT:
        raise ContextError(
            f"the context has {len(text)} characters as JSON; at most {MAX_TEXT} are stored: "
            "keep large things elsewhere, and their keys in the context"
        )
    return text


def load_context(text: str | None, user_id: str, initial: str) -> Context:
    """Return the context that ``text`` holds; a new one where nothing is stored.

    Raises:
        StoreSchemaError: the text is no context of that user.
    """
    if text is None:
        return {"user_id": user_id, "state": initial}
    try:
        context: Any = json.loads(text)
    except ValueError:
        context = None
    if isinstance(context, dict) and context.get("user_id") == user_id:
        return context
    raise StoreSchemaError(
        "what is stored as the context of this user is none; restore a backup, or clear the user's context"
    )


def end_session(context: Context, initial: str) -> Context:
    """Reset what belongs to a session that has ended: the state, and what an agent or a question waits for."""
    context["state"] = initial
    context["pending"] = None
    context.pop("slots", None)
    return context


def _set(context: Context, key: str, value: Any) -> None:
    if value is _MISSING:
        context.pop(key, None)
    else:
        context[key] = value
