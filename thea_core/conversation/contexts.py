"""ContextManager: reads and writes the contexts of users from outside the router."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any

from thea_core.callbacks.hooks import suggestion
from thea_core.callbacks.steps import adrive, drive
from thea_core.conversation.keeper import Keeper
from thea_core.conversation.requests import check_user_id
from thea_core.conversation.work import Work, dump_context, load_context, running_work
from thea_core.errors import ContextError
from thea_core.fsm import copy_context
from thea_core.types import Commit, Context, Conversation, Store

if TYPE_CHECKING:
    from thea_core.callbacks.steps import Steps

__all__ = ["ContextManager"]


class ContextManager:
    """Loads, saves and clears what is stored of users. Thread-safe.

    ::

        contexts = CoreRouter(FSMEngine()).contexts  # or, beside a router: ContextManager(store)
        contexts.save("ana", {"user_id": "ana", "state": "idle", "name": "Ana"})

    While a user's turn runs, ``save`` and ``clear`` for that user join the turn's commit: they are no writes of their
    own. A veto undoes both. A save is undone with the transition, or the agent, that fails afterwards; what error
    callbacks save is kept. For any other user they wait for that user's turn to end; within a turn for 10 seconds at
    most. A plain thread that a callback starts is outside of the turn.

    Args:
        store: where the contexts are.
        keeper: what the router and this manager share; one of its own, if not given.
        initial: the state of a user of whom nothing is stored.
        states: the states that a context may be saved with; any, if not given.

    Every ``a...`` method is its namesake for async code. They raise the same:

        InvalidRequestError: the ``user_id`` is not a ``str`` of 1 to 256 characters.
        ContextError: the context is not JSON-shaped, is another user's, is too large, or its state is unknown.
        ConversationBusyError: within a turn, the other user's conversation stayed in other hands.
        StoreError: the store could not do it.
    """

    def __init__(
        self,
        store: Store,
        *,
        keeper: Keeper | None = None,
        initial: str = "initial",
        states: Collection[str] | None = None,
    ) -> None:
        self._keeper = keeper if keeper is not None else Keeper(store)
        self._store = store
        self._initial = initial
        self._states = states

    def load(self, user_id: str) -> Context:
        """Return a copy of the user's context; within the user's turn, as it stands there.

        Of an unknown user: ``{"user_id": ..., "state": "initial"}``.
        """
        return drive(self._load(user_id))

    def save(self, user_id: str, context: Context) -> None:
        """Store a copy of ``context`` as the user's. The session and its deadline stay as they are."""
        drive(self._save(user_id, context))

    def clear(self, user_id: str) -> None:
        """Forget everything of the user: context, session, replies, and events that durable plugins were not told yet.

        After a clear in a turn, later saves of that turn are dropped too; that turn's own reply and events are kept.
        """
        drive(self._clear(user_id))

    def aload(self, user_id: str) -> Coroutine[Any, Any, Context]:
        """Do the same as :meth:`load`."""
        return adrive(self._load(user_id))

    def asave(self, user_id: str, context: Context) -> Coroutine[Any, Any, None]:
        """Do the same as :meth:`save`."""
        return adrive(self._save(user_id, context))

    def aclear(self, user_id: str) -> Coroutine[Any, Any, None]:
        """Do the same as :meth:`clear`."""
        return adrive(self._clear(user_id))

    def _load(self, user_id: str) -> Steps[Context]:
        check_user_id(user_id)
        work = self._running()
        if work is not None and work.user_id == user_id:
            return work.load() or load_context(None, user_id, self._initial)
        text = yield from self._keeper.call(lambda: self._store.load(user_id))
        return load_context(text, user_id, self._initial)

    def _save(self, user_id: str, context: Context) -> Steps[None]:
        check_user_id(user_id)
        copy = self._checked(user_id, context)
        text = dump_context(copy)
        work = self._running()
        if work is not None and work.user_id == user_id:
            work.save(copy)
            return

        def change(read: Conversation) -> Commit:
            return _commit(read, text, read.session_id)

        yield from self._write(user_id, change, within=work)

    def _clear(self, user_id: str) -> Steps[None]:
        check_user_id(user_id)
        work = self._running()
        if work is not None and work.user_id == user_id:
            work.clear()
            return
        yield from self._write(user_id, lambda read: _commit(read, None, None)._replace(forget=True), within=work)

    def _write(self, user_id: str, change: Callable[[Conversation], Commit], *, within: Work | None) -> Steps[None]:
        patience = None if within is None else self._keeper.patience
        read = yield from self._keeper.take(user_id, patience=patience)
        commit = change(read)
        try:
            yield from self._keeper.commit(commit)
        except BaseException:
            self._keeper.release(commit.lease)
            raise
        finally:
            self._keeper.unlock(user_id)

    def _running(self) -> Work | None:
        """Return what this flow does under a lease of the same store, if anything."""
        work = running_work.get()
        return work if work is not None and work.alive and work.store is self._store else None

    def _checked(self, user_id: str, context: Context) -> Context:
        copy = copy_context(context)
        if copy["user_id"] != user_id:
            raise ContextError(
                f"context['user_id'] is {copy['user_id']!r}, but the context is to be saved for {user_id!r}; "
                "save each context for its own user",
                path="context['user_id']",
            )
        if self._states is not None and copy["state"] not in self._states:
            raise ContextError(
                f"context['state'] is {copy['state']!r}, which is no state"
                f"{suggestion(copy['state'], self._states)}; the states are: {', '.join(self._states)}",
                path="context['state']",
            )
        return copy


def _commit(read: Conversation, context: str | None, session_id: str | None) -> Commit:
    if read.lease is None:
        raise AssertionError("a conversation that was taken without a message id has a lease")
    return Commit(lease=read.lease, version=read.version, context=context, session_id=session_id)
