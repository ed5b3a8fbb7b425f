"""Who may work on a conversation: the user's lock within the process, the user's lease across processes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from thea_core.callbacks.failures import short_text
from thea_core.callbacks.forking import watch
from thea_core.conversation.leases import LEASE_SECONDS, LeaseKeeper
from thea_core.conversation.locks import Locks
from thea_core.conversation.store_steps import PauseStep, StoreStep
from thea_core.conversation.workers import Workers
from thea_core.errors import ConversationBusyError
from thea_core.types import Clock, Commit, Conversation, Lease, Store, SystemClock

if TYPE_CHECKING:
    from thea_core.callbacks.steps import Steps

__all__ = ["Keeper"]

logger = logging.getLogger("thea_core.conversation")

_PAUSE: Final = 0.02
_STORE_THREADS: Final = 8


class Keeper:
    """Takes and gives back conversations of one store, for one router. Thread-safe, fork-safe.

    Args:
        store: where the conversations are.
        clock: measures how old leases are.
        entropy: gives random bytes, for the name under which leases are held.
        patience: seconds that somebody waits who has a conversation already.
        wake: called after each commit that has brought events for plugins with durable delivery.

    Attributes:
        ended: whether the plugins are being shut down. Then turns, and the ends of sessions, are committed no more,
            since nobody would hear of them.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
        patience: float = 10.0,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self._wake = wake
        self.patience = patience
        self.entropy = entropy
        self.ended = False
        self.leases = LeaseKeeper(store, clock or SystemClock(), lambda: self.owner)
        self._locks = Locks()
        self._workers = Workers("store", _STORE_THREADS) if store.blocking else None
        self._guard = threading.Lock()
        self._owner: str | None = None
        watch(self)

    @property
    def owner(self) -> str:
        """The name under which leases are held: unique to this keeper in this process."""
        with self._guard:
            if self._owner is None:
                self._owner = self.entropy(12).hex()
            return self._owner

    def call(self, function: Callable[[], Any]) -> Steps[Any]:
        """Return steps that call the store."""
        if self._workers is None:
            return function()
        return (yield StoreStep(function, self._workers))

    def take(
        self, user_id: str, message_id: str | None = None, *, patience: float | None = None
    ) -> Steps[Conversation]:
        """Return steps that wait for the user's lock and lease, and read the conversation.

        Nothing is held where the result has no lease: the message id was handled before.

        Raises:
            ConversationBusyError: others held it for longer than ``patience`` seconds; or for 10 seconds where a
                synchronous call blocks the thread of an event loop, on which the holder may be waiting too.
        """
        place = _Place(self, user_id)
        try:
            return (yield from self._take(user_id, message_id, patience, place))
        except BaseException:
            place.give_up()
            raise

    def commit(self, change: Commit) -> Steps[None]:
        """Return steps that write ``change`` and so end the lease; :meth:`unlock` is still to be called."""
        yield from self.call(lambda: self.store.commit(change))
        self.leases.discard(change.lease)
        if change.events:
            self._wake()

    def release(self, lease: Lease) -> None:
        """Give a lease back without a commit, in the calling thread. A store that fails here is logged only."""
        self.leases.discard(lease)
        try:
            self.store.release(lease)
        except Exception as error:  # whatever a plugin's store raises: the lease ends by itself
            logger.warning("a lease could not be given back; it ends in %.0f s: %s", LEASE_SECONDS, short_text(error))

    def unlock(self, user_id: str) -> None:
        """Let the next one in this process have the conversation."""
        self._locks.give_back(user_id)

    def after_fork_in_child(self) -> None:
        """Hold leases under another name than the parent."""
        self._guard = threading.Lock()
        self._owner = None

    def _take(self, user_id: str, message_id: str | None, patience: float | None, place: _Place) -> Steps[Conversation]:
        until = None if patience is None else time.monotonic() + patience
        if not (yield from self._locks.take(user_id, patience, place.take)):
            raise _busy()
        try:
            conversation = yield from self._begin(user_id, message_id, until, place)
        except BaseException:
            self._locks.give_back(user_id)
            raise
        if conversation.lease is None:
            self._locks.give_back(user_id)
        else:
            self.leases.add(conversation.lease)
        return conversation

    def _begin(self, user_id: str, message_id: str | None, until: float | None, place: _Place) -> Steps[Conversation]:
        begin = _Begin(self.store, user_id, self.owner, message_id)
        try:
            begin.queued = place.taken
            while (conversation := (yield from self.call(begin))) is None:
                _check_patience(until)
                if not place.taken:
                    yield from place.take()
                    begin.queued = True
                yield PauseStep(_PAUSE)
        except BaseException:
            begin.give_up()
            raise
        place.used()
        return conversation  # type: ignore[no-any-return]


class _Place:
    """A place in the store's queue for a user's lease, kept alive while its holder waits: here, or for other processes.

    Places of one owner are alike: whoever has the lock of the process uses the oldest.
    """

    def __init__(self, keeper: Keeper, user_id: str) -> None:
        self._keeper = keeper
        self._user_id = user_id
        self.taken = False

    def take(self) -> Steps[None]:
        """Return steps that take it."""
        store, owner = self._keeper.store, self._keeper.owner
        self.taken = True  # before it is so: who is interrupted meanwhile gives it up
        self._keeper.leases.add_place()
        yield from self._keeper.call(lambda: store.enqueue(self._user_id, owner=owner, duration=LEASE_SECONDS))

    def used(self) -> None:
        """Note that the store has taken it back, together with giving the lease."""
        if self.taken:
            self.taken = False
            self._keeper.leases.discard_place()

    def give_up(self) -> None:
        """Leave the queue, in the calling thread. A store that fails here is logged only: the place ends by itself."""
        if not self.taken:
            return
        self.used()
        try:
            self._keeper.store.dequeue(self._user_id, owner=self._keeper.owner)
        except Exception as error:  # whatever a plugin's store raises
            logger.warning("a place in a queue could not be given up; it ends by itself: %s", short_text(error))


class _Begin:
    """Takes a lease, perhaps on another thread; one that comes when nobody waits for it any more is given back."""

    def __init__(self, store: Store, user_id: str, owner: str, message_id: str | None) -> None:
        self.queued = False
        self._begin = partial(store.begin, user_id, owner=owner, duration=LEASE_SECONDS, message_id=message_id)
        self._release = store.release
        self._lease: Lease | None = None
        self._given_up = False

    def __call__(self) -> Conversation | None:
        conversation = self._begin(queued=self.queued)
        if conversation is not None:
            self._lease = conversation.lease
        if self._given_up:
            self.give_up()
        return conversation

    def give_up(self) -> None:
        """Give the lease back, now or when it comes; whichever thread is last does it."""
        self._given_up = True
        if self._lease is not None:
            self._release(self._lease)


def _check_patience(until: float | None) -> None:
    if until is not None and time.monotonic() >= until:
        raise _busy()


def _busy() -> ConversationBusyError:
    return ConversationBusyError(
        "the conversation stayed in other hands for too long; who asks for it within another turn, or blocks a running "
        "event loop, waits a while only: do it after the turn, or await the asynchronous form"
    )
