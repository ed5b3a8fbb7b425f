"""SessionManager: sessions begin with a message and end by inactivity, whether or not another message comes."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from thea_core.callbacks.forking import watch
from thea_core.callbacks.steps import adrive, drive
from thea_core.conversation.events import keyed_id
from thea_core.conversation.keeper import Keeper
from thea_core.conversation.leases import LEASE_SECONDS
from thea_core.conversation.requests import check_user_id
from thea_core.conversation.store_steps import PauseStep
from thea_core.conversation.work import Scope, Work, dump_context, end_session, load_context, running_work
from thea_core.conversation.workers import begin
from thea_core.errors import ReentrancyError, StoreError
from thea_core.types import Commit, Conversation, ExpiredSession, Lease, Store

if TYPE_CHECKING:
    from thea_core.callbacks.manager import CallbackManager
    from thea_core.callbacks.steps import Steps

__all__ = ["SessionManager"]

logger = logging.getLogger("thea_core.conversation")

_CLAIM: Final = 100
_HOLD_NS: Final = 1_000_000_000  # how long a sweep keeps the users waiting that it has claimed
_LET_IN: Final = 0.05  # seconds for which it then lets them in, who look every 0.02 s
_PURGE_NS: Final = 3600 * 1_000_000_000


class SessionManager:
    """Begins, prolongs and ends sessions. Thread-safe, fork-safe. A router makes its own.

    A message begins a session or prolongs the one under way. A session whose deadline has passed is ended exactly once,
    by whoever takes that user's lease first: a sweep of any process, or the user's next message. ``on_session_timeout``
    is told, always with the same ``event_id`` for one session; the state is reset, and what an agent waited for is
    dropped.

    Args:
        store: where the sessions are.
        callbacks: where ``on_session_timeout`` is fired.
        keeper: what the router and this manager share; one of its own, if not given.
        timeout: seconds of inactivity after which a session ends.
        interval: seconds between two sweeps of the thread.
        initial: the state to which a conversation is reset.
        message_ids: seconds for which handled message ids are remembered; the thread forgets older ones.

    Every ``a...`` method is its namesake for async code. They raise StoreError where the store fails.
    """

    def __init__(
        self,
        store: Store,
        callbacks: CallbackManager,
        *,
        keeper: Keeper | None = None,
        timeout: float = 1800.0,
        interval: float = 30.0,
        initial: str = "initial",
        message_ids: float = 604800.0,
    ) -> None:
        _check_positive(timeout=timeout, interval=interval, message_ids=message_ids)
        self.timeout = timeout
        self.interval = interval
        self._store = store
        self._callbacks = callbacks
        self._keeper = keeper if keeper is not None else Keeper(store)
        self._initial = initial
        self._message_ids = message_ids
        self._purged: int | None = None
        self._stopped = False
        self._closed = False
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        watch(self)

    # The sessions of one user

    def create(self, user_id: str) -> str:
        """Begin a session as a message does, and return its id; one that is under way is prolonged instead."""
        return drive(self._create(user_id))

    def renew(self, user_id: str) -> bool:
        """Prolong the user's session from now on; False where none is under way."""
        return drive(self._renew(user_id))

    def expire(self, user_id: str) -> bool:
        """End the user's session now, as if its time were up; False where there is none.

        Raises:
            ReentrancyError: a turn of that user is running in this flow.
        """
        return drive(self._expire(user_id))

    def acreate(self, user_id: str) -> Coroutine[Any, Any, str]:
        """Do the same as :meth:`create`."""
        return adrive(self._create(user_id))

    def arenew(self, user_id: str) -> Coroutine[Any, Any, bool]:
        """Do the same as :meth:`renew`."""
        return adrive(self._renew(user_id))

    def aexpire(self, user_id: str) -> Coroutine[Any, Any, bool]:
        """Do the same as :meth:`expire`."""
        return adrive(self._expire(user_id))

    # All sessions

    def sweep(self) -> int:
        """End every session whose deadline has passed and whose user has no turn running; return how many."""
        return drive(self._sweep())

    def asweep(self) -> Coroutine[Any, Any, int]:
        """Do the same as :meth:`sweep`."""
        return adrive(self._sweep())

    def purge(self, older_than: float) -> int:
        """End what has expired; then forget users without a session who did nothing for ``older_than`` seconds.

        Of each of them context, message ids and replies go. Returns how many there were.
        """
        return drive(self._forget(older_than))

    def apurge(self, older_than: float) -> Coroutine[Any, Any, int]:
        """Do the same as :meth:`purge`."""
        return adrive(self._forget(older_than))

    def start(self) -> None:
        """Sweep every ``interval`` seconds, on a daemon thread ``thea-sweeper``. Does nothing where it runs."""
        self._stopped = False
        self.ensure_started()

    def stop(self, timeout: float = 5.0) -> bool:
        """Stop the thread, and wait for a sweep under way, at most ``timeout`` seconds; whether it has ended."""
        self._stopped = True
        with self._guard:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    # For the router

    def close(self, timeout: float) -> bool:
        """Stop the thread, as :meth:`stop` does, and end no session any more but the one under way."""
        self._closed = True
        return self.stop(timeout)

    def ensure_started(self) -> None:
        """Start the thread unless it runs or was stopped; a forked child so gets its own."""
        if self._thread is None and not self._stopped:
            with self._guard:
                if self._thread is None:
                    self._thread = self._begin_thread()

    def _begin_thread(self) -> threading.Thread | None:
        stop = self._stop = threading.Event()
        reference = weakref.ref(self, lambda _: stop.set())
        thread = threading.Thread(
            target=_sweep_forever, args=(reference, stop, self.interval), name="thea-sweeper", daemon=True
        )
        return thread if begin(thread) else None

    def new_id(self, read: Conversation, user_id: str, message_id: str) -> str:
        """Return the id of a session that this message begins: the same if the turn runs again."""
        return keyed_id(self._store.key, user_id, message_id, str(read.version), "session")

    def tell_end(self, user_id: str, session_id: str) -> Steps[None]:
        """Return steps that fire ``on_session_timeout`` with the ``event_id`` of that session."""
        return self._callbacks.fire(
            "on_session_timeout",
            user_id=user_id,
            session_id=session_id,
            event_id=keyed_id(self._store.key, user_id, session_id, "on_session_timeout"),
        )

    def after_fork_in_child(self) -> None:
        """Forget the parent's thread; the next message starts one here."""
        self._guard = threading.Lock()
        self._thread = None
        self._stop = threading.Event()

    # Within

    def _create(self, user_id: str) -> Steps[str]:
        own = self._own_session(user_id)
        if own is not None:
            return own
        with (yield from self._hold(user_id)) as (read, lease):
            change = Commit(lease, read.version, read.context, read.session_id)
            if read.session_id is not None and read.session_expired:
                change = yield from self._told(ExpiredSession(lease, read.session_id, read.context, read.version))
            session_id = change.session_id or self.new_id(read, user_id, self._keeper.entropy(12).hex())
            yield from self._keeper.commit(change._replace(session_id=session_id, session_timeout=self.timeout))
            return session_id

    def _renew(self, user_id: str) -> Steps[bool]:
        if self._own_session(user_id) is not None:
            return True
        with (yield from self._hold(user_id)) as (read, lease):
            if read.session_id is None or read.session_expired:
                self._keeper.release(lease)
                return False
            yield from self._keeper.commit(Commit(lease, read.version, read.context, read.session_id, self.timeout))
            return True

    def _expire(self, user_id: str) -> Steps[bool]:
        if self._own_session(user_id) is not None:
            raise ReentrancyError("the session of a turn that is running cannot be ended within it; do it afterwards")
        with (yield from self._hold(user_id)) as (read, lease):
            if read.session_id is None:
                self._keeper.release(lease)
                return False
            return (yield from self._end(ExpiredSession(lease, read.session_id, read.context, read.version)))

    def _own_session(self, user_id: str) -> str | None:
        """Return the session of that user's turn, if it runs in this flow."""
        check_user_id(user_id)
        work = self._work()
        return work.session_id if work is not None and work.user_id == user_id else None

    def _work(self) -> Work | None:
        work = running_work.get()
        return work if work is not None and work.alive and work.store is self._store else None

    def _hold(self, user_id: str) -> Steps[Any]:
        """Take the user's lock and lease; the block that uses them gives back whatever it has not."""
        patience = None if self._work() is None else self._keeper.patience
        read = yield from self._keeper.take(user_id, patience=patience)

        @contextmanager
        def held() -> Generator[tuple[Conversation, Lease]]:
            if read.lease is None:
                raise AssertionError("a conversation that was taken without a message id has a lease")
            try:
                yield read, read.lease
            except BaseException:
                self._keeper.release(read.lease)
                raise
            finally:
                self._keeper.unlock(user_id)

        return held()

    def _sweep(self) -> Steps[int]:
        ended = 0
        while True:
            claimed = yield from self._keeper.call(
                lambda: self._store.claim_expired(owner=self._keeper.owner, duration=LEASE_SECONDS, limit=_CLAIM)
            )
            count, done = yield from self._end_some(claimed)
            ended += count
            if done or self._closed:
                return ended
            yield PauseStep(_LET_IN)

    def _end_some(self, claimed: list[ExpiredSession]) -> Steps[tuple[int, bool]]:
        """End what was claimed, one by one, as long as their users may wait for it; the rest is released.

        Returns how many were ended, and whether this sweep is done: nothing is left, or something failed, which the
        next one tries again.
        """
        left = list(reversed(claimed))
        until = self._callbacks.clock.monotonic_ns() + _HOLD_NS
        ended, failed = 0, False
        for each in claimed:
            self._keeper.leases.add(each.lease)
        try:
            while left and not self._closed and self._callbacks.clock.monotonic_ns() < until:
                try:
                    ended += yield from self._end(left[-1])
                except StoreError as error:
                    failed = True
                    self._keeper.release(left[-1].lease)
                    logger.warning("the end of a session could not be stored; it is tried again: %s", error)
                left.pop()
        finally:
            for each in left:
                self._keeper.release(each.lease)
        return ended, failed or (not left and len(claimed) < _CLAIM)

    def _end(self, expired: ExpiredSession) -> Steps[bool]:
        """Return steps that end a session; whether it is ended. Where the plugins are gone, another process does it."""
        change = yield from self._told(expired)
        if self._keeper.ended:
            self._keeper.release(expired.lease)
            return False
        yield from self._keeper.commit(change)
        return True

    def _told(self, expired: ExpiredSession) -> Steps[Commit]:
        """Tell that a session has ended; return what is to be committed: the context, reset, with what was saved."""
        user_id = expired.lease.user_id
        context = load_context(expired.context, user_id, self._initial)
        work = Work(self._store, user_id, expired.session_id, context)
        with Scope(self._keeper, work):  # a message that is handled in here would wait for itself
            yield from self.tell_end(user_id, expired.session_id)
            events = work.gathered.close()
        text = self._text_after(expired, work)
        return Commit(expired.lease, expired.version, text, None, events=events, forget=work.cleared)

    def _text_after(self, expired: ExpiredSession, work: Work) -> str | None:
        if work.cleared or (expired.context is None and not work.has_saved):
            return None
        return dump_context(end_session(work.adopt(work.context.copy()), self._initial))

    def _forget(self, older_than: float) -> Steps[int]:
        _check_positive(older_than=older_than)
        yield from self._sweep()
        count: int = yield from self._keeper.call(lambda: self._store.purge_conversations(older_than=older_than))
        return count

    def _purge(self) -> None:
        """Forget old message ids, once an hour."""
        now = self._callbacks.clock.monotonic_ns()
        if self._purged is None or now - self._purged >= _PURGE_NS:
            self._purged = now
            self._store.purge_messages(older_than=self._message_ids)

    def _run(self) -> None:
        """Do what the thread does each time. Never raises: the next time it may work."""
        try:
            self.sweep()
            self._purge()
        except StoreError as error:
            logger.warning("a sweep of sessions failed; the next one tries again: %s", error)
        except Exception:
            logger.exception("a sweep of sessions failed; the next one tries again")


def _sweep_forever(manager: weakref.ref[SessionManager], stop: threading.Event, interval: float) -> None:
    """Holds no reference to the manager while it waits."""
    while not stop.wait(interval):
        alive = manager()
        if alive is None:
            return
        alive._run()  # noqa: SLF001 -- same module
        del alive


def _check_positive(**values: object) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")
