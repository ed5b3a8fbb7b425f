"""The memory store: everything is gone with the process; the least there is to wait for.

It holds texts only, so nobody ever gets a live reference to what is stored.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from thea_core.callbacks.forking import watch
from thea_core.errors import CommitRefusedError, StoreUnavailableError
from thea_core.types import Clock, Commit, Conversation, ExpiredSession, Lease

__all__ = ["MemoryStore"]


class _Stored:
    """What is kept of a user between turns.

    ``queued`` is the deadline under which the user stands in the heap of deadlines; None while it does not.
    """

    __slots__ = ("context", "deadline", "queued", "session_id", "version")

    def __init__(self) -> None:
        self.context: str | None = None
        self.version = 0
        self.session_id: str | None = None
        self.deadline: float | None = None
        self.queued: float | None = None


class _Held:
    """A lease, or what is remembered of one that ended without a commit (``owner`` is None then)."""

    __slots__ = ("attempt", "expires", "fence", "message_id", "owner")

    def __init__(self) -> None:
        self.owner: str | None = None
        self.fence = 0
        self.expires = 0.0
        self.message_id: str | None = None
        self.attempt = 1

    def alive(self, now: float) -> bool:
        return self.owner is not None and self.expires > now

    def is_for(self, lease: Lease) -> bool:
        return self.owner == lease.owner and self.fence == lease.fence

    def remember(self, message_id: str | None) -> int:
        """Note which message the lease is for, and return the attempt; other work leaves the note alone."""
        if message_id is None:
            return 1
        self.attempt = self.attempt + 1 if message_id == self.message_id else 1
        self.message_id = message_id
        return self.attempt


_NOTHING = _Stored()  # stands for a user of whom nothing is stored; never changed


class MemoryStore:
    """A :class:`~thea_core.types.Store` in the process's own memory. Thread-safe.

    A user costs about half a KiB beyond the context, and each kept message id about 200 bytes beyond its reply. A
    forked child goes on with a copy of its own and a new key, since from there on the two tell different things.

    A begin for the message id of the user's last lease that ended without a commit (it expired, or was released)
    counts one attempt more. Leases without a message id do not touch that count.
    """

    blocking = False

    def __init__(self, *, clock: Clock, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._entropy = entropy
        self._key = entropy(32)
        self._lock = threading.RLock()  # re-entrant: a signal handler may close the store in the middle of a call
        self._fence = 0  # one sequence for all users, so that no number ever comes back
        self._stored: dict[str, _Stored] = {}
        self._held: dict[str, _Held] = {}
        self._replies: dict[str, dict[str, str]] = {}
        self._handled: list[tuple[float, str, str]] = []  # a heap: when, user id, message id
        self._deadlines: list[tuple[float, str]] = []  # a heap, see _queue
        self._closed = False
        watch(self)

    @property
    def key(self) -> bytes:
        """32 random bytes, made once for the store (and once more in a forked child)."""
        return self._key

    def begin(self, user_id: str, *, owner: str, duration: float, message_id: str | None = None) -> Conversation | None:
        """Take the lease and read the conversation; see :meth:`Store.begin <thea_core.types.Store.begin>`."""
        with self._lock:
            now = self._now()
            reply = None if message_id is None else self._replies.get(user_id, {}).get(message_id)
            if reply is not None:
                return self._read(user_id, now, lease=None, attempt=1, reply=reply)
            held = self._held.get(user_id)
            if held is not None and held.alive(now):
                return None
            lease = self._take(user_id, owner, now + duration)
            attempt = self._held[user_id].remember(message_id)
            return self._read(user_id, now, lease=lease, attempt=attempt, reply=None)

    def renew(self, lease: Lease, *, duration: float) -> bool:
        """Prolong the lease; one that has expired, but that nobody has taken over, lives again."""
        with self._lock:
            now = self._now()
            held = self._held.get(lease.user_id)
            if held is None or not held.is_for(lease):
                return False
            held.expires = now + duration
            return True

    def release(self, lease: Lease) -> None:
        """Give the lease back; the attempt stays counted."""
        with self._lock:
            now = self._now()
            held = self._held.get(lease.user_id)
            if held is not None and held.is_for(lease):
                self._end(lease.user_id, held, now, keep=True)

    def commit(self, change: Commit) -> None:
        """Write it all; see :meth:`Store.commit <thea_core.types.Store.commit>`.

        An expired lease is good enough while nobody has taken it over. A message id without a reply is stored with
        the reply ``null``. A message id that has a reply already is refused.
        """
        user_id = change.lease.user_id
        with self._lock:
            now = self._now()
            self._check(change)
            # after other work than a message's, what is known of an earlier attempt stays
            self._end(user_id, self._held[user_id], now, keep=change.message_id is None)
            if change.context is None and change.session_id is None:
                self._stored.pop(user_id, None)
            else:
                self._write(self._stored.setdefault(user_id, _Stored()), change, now)
            if change.message_id is not None:
                reply = "null" if change.reply is None else change.reply
                self._replies.setdefault(user_id, {})[change.message_id] = reply
                heappush(self._handled, (now, user_id, change.message_id))

    def load(self, user_id: str) -> str | None:
        """Return the stored context as JSON text; None where there is none."""
        with self._lock:
            self._now()
            return self._stored.get(user_id, _NOTHING).context

    def claim_expired(self, *, owner: str, duration: float, limit: int) -> Sequence[ExpiredSession]:
        """Take the leases of users whose session has expired, longest expired first."""
        claimed: list[ExpiredSession] = []
        with self._lock:
            now = self._now()
            seen: list[str] = []
            while len(claimed) < limit and (user_id := self._next_expired(now)) is not None:
                seen.append(user_id)
                held = self._held.get(user_id)
                if held is None or not held.alive(now):
                    claimed.append(self._claim(user_id, owner, now + duration))
            for user_id in seen:  # still expired until a commit says otherwise
                self._queue(user_id, self._stored[user_id])
        return claimed

    def purge_messages(self, *, older_than: float) -> int:
        """Forget old message ids, and the attempts of leases that ended as long ago; return how many ids."""
        with self._lock:
            limit = self._now() - older_than
            for user_id in [user_id for user_id, held in self._held.items() if held.expires < limit]:
                del self._held[user_id]
            count = 0
            while self._handled and self._handled[0][0] < limit:
                _, user_id, message_id = heappop(self._handled)
                self._forget(user_id, message_id)
                count += 1
            return count

    def close(self) -> None:
        """Drop everything. Later calls raise StoreUnavailableError."""
        with self._lock:
            self._closed = True
            for part in (self._stored, self._held, self._replies, self._handled, self._deadlines):
                part.clear()

    def before_fork(self) -> None:
        """Wait for calls under way: the child shall not inherit half of a change."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Let calls in again."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Make the copy a store of its own."""
        self._lock = threading.RLock()
        self._key = self._entropy(32)

    def _now(self) -> float:
        if self._closed:
            raise StoreUnavailableError("the memory store is closed; make a new one")
        return self._clock.now().timestamp()

    def _read(self, user_id: str, now: float, *, lease: Lease | None, attempt: int, reply: str | None) -> Conversation:
        stored = self._stored.get(user_id, _NOTHING)
        expired = stored.deadline is not None and stored.deadline <= now
        return Conversation(lease, stored.context, stored.version, stored.session_id, expired, attempt, reply)

    def _take(self, user_id: str, owner: str, expires: float) -> Lease:
        held = self._held.setdefault(user_id, _Held())
        self._fence += 1
        held.owner, held.fence, held.expires = owner, self._fence, expires
        return Lease(user_id, owner, self._fence)

    def _check(self, change: Commit) -> None:
        user_id = change.lease.user_id
        held = self._held.get(user_id)
        if held is None or not held.is_for(change.lease):
            raise CommitRefusedError("the lease of this conversation was lost; nothing was written")
        if self._stored.get(user_id, _NOTHING).version != change.version:
            raise CommitRefusedError("this conversation has another version by now; nothing was written")
        if change.message_id is not None and change.message_id in self._replies.get(user_id, ()):
            raise CommitRefusedError("this message id was handled before; nothing was written")

    def _end(self, user_id: str, held: _Held, now: float, *, keep: bool) -> None:
        """End the lease; ``keep`` what is known of attempts at a message, if anything is."""
        if keep and held.message_id is not None:
            held.owner, held.expires = None, now
        else:
            del self._held[user_id]

    def _write(self, stored: _Stored, change: Commit, now: float) -> None:
        stored.context = change.context
        stored.version += 1
        stored.session_id = change.session_id
        if change.session_id is None:
            stored.deadline = None
        elif change.session_timeout is not None:
            stored.deadline = now + change.session_timeout
            self._queue(change.lease.user_id, stored)

    def _queue(self, user_id: str, stored: _Stored) -> None:
        """See to it that the user stands in the heap, at its deadline or before it.

        A deadline that only moves away costs nothing: the old entry stays, and is put right when its time has come.
        """
        if stored.deadline is not None and (stored.queued is None or stored.deadline < stored.queued):
            stored.queued = stored.deadline
            heappush(self._deadlines, (stored.deadline, user_id))

    def _next_expired(self, now: float) -> str | None:
        """Take the user with the oldest deadline out of the heap, if that has passed."""
        while self._deadlines and self._deadlines[0][0] <= now:
            queued, user_id = heappop(self._deadlines)
            stored = self._stored.get(user_id)
            if stored is None or stored.queued != queued:
                continue  # left over from a conversation that is gone, or from a later deadline
            stored.queued = None
            if stored.deadline == queued:
                return user_id
            self._queue(user_id, stored)
        return None

    def _claim(self, user_id: str, owner: str, expires: float) -> ExpiredSession:
        stored = self._stored[user_id]
        session_id = stored.session_id or ""
        return ExpiredSession(self._take(user_id, owner, expires), session_id, stored.context, stored.version)

    def _forget(self, user_id: str, message_id: str) -> None:
        replies = self._replies[user_id]
        del replies[message_id]
        if not replies:
            del self._replies[user_id]
