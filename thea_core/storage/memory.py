"""The memory store: everything is gone with the process; the least there is to wait for.

It holds texts only, so nobody ever gets a live reference to what is stored.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush

from thea_core.callbacks.forking import watch
from thea_core.errors import CommitRefusedError, StoreUnavailableError
from thea_core.storage.memory_outbox import Events, MemoryOutbox
from thea_core.types import Clock, Commit, Conversation, ExpiredSession, Lease

__all__ = ["MemoryStore"]


class _Stored:
    """What is kept of a user between turns.

    ``queued`` is the deadline under which the user stands in the heap of deadlines; None while it does not.
    """

    __slots__ = ("committed", "context", "deadline", "queued", "session_id", "version")

    def __init__(self) -> None:
        self.committed = 0.0
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


class _Place:
    """Somebody who waits for a lease."""

    __slots__ = ("expires", "owner")

    def __init__(self, owner: str, expires: float) -> None:
        self.owner = owner
        self.expires = expires


_NONE = (0.0, None)
_NO_REPLIES: dict[str, tuple[float, str]] = {}  # never changed
_NOTHING = _Stored()  # stands for a user of whom nothing is stored; never changed


class MemoryStore:
    """A :class:`~thea_core.types.Store` in the process's own memory. Thread-safe.

    A user costs about half a KiB beyond the context, and each kept message id about 250 bytes beyond its reply. A
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
        self._replies: dict[str, dict[str, tuple[float, str]]] = {}  # when it was handled, and the reply
        self._handled: list[tuple[float, str, str]] = []  # a heap: when, user id, message id
        self._void = 0  # how many entries of that heap say nothing any more
        self._deadlines: list[tuple[float, str]] = []  # a heap, see _queue
        self._places: dict[str, list[_Place]] = {}  # of each user, the oldest first
        self._events = Events()
        self._closed = False
        watch(self)

    @property
    def key(self) -> bytes:
        """32 random bytes, made once for the store (and once more in a forked child)."""
        return self._key

    @property
    def outbox(self) -> MemoryOutbox:
        """Where events wait for plugins with durable delivery."""
        return MemoryOutbox(self._events, lambda: self._lock, self._now)

    def begin(
        self, user_id: str, *, owner: str, duration: float, message_id: str | None = None, queued: bool = False
    ) -> Conversation | None:
        """Take the lease and read the conversation; see :meth:`Store.begin <thea_core.types.Store.begin>`."""
        with self._lock:
            now = self._now()
            reply = None if message_id is None else self._replies.get(user_id, _NO_REPLIES).get(message_id, _NONE)[1]
            if reply is None and not self._may_take(user_id, owner if queued else None, now):
                if queued and self._oldest_place(user_id, owner, now) is None:
                    self._places.setdefault(user_id, []).append(_Place(owner, now + duration))
                return None
            if queued:
                self._give_up(user_id, self._oldest_place(user_id, owner, now))
            if reply is not None:
                return self._read(user_id, now, lease=None, attempt=1, reply=reply)
            lease = self._take(user_id, owner, now + duration)
            attempt = self._held[user_id].remember(message_id)
            return self._read(user_id, now, lease=lease, attempt=attempt, reply=None)

    def enqueue(self, user_id: str, *, owner: str, duration: float) -> None:
        """Take a place at the end of the queue."""
        with self._lock:
            now = self._now()
            waiting = [*self._waiting(user_id, now), _Place(owner, now + duration)]
            self._places[user_id] = waiting

    def dequeue(self, user_id: str, *, owner: str) -> None:
        """Give up the newest place of the owner."""
        with self._lock:
            own = [place for place in self._waiting(user_id, self._now()) if place.owner == owner]
            self._give_up(user_id, own[-1] if own else None)

    def renew_places(self, *, owner: str, duration: float) -> None:
        """Prolong all places of the owner that have not expired."""
        with self._lock:
            now = self._now()
            for user_id in self._places:
                for place in self._waiting(user_id, now):
                    if place.owner == owner:
                        place.expires = now + duration

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
            self._end(user_id, self._held[user_id], now, keep=change.message_id is None and not change.forget)
            if change.forget:
                self._forget_messages(user_id)
                self._events.forget(user_id)
            if change.context is None and change.session_id is None:
                self._stored.pop(user_id, None)
            else:
                self._write(self._stored.setdefault(user_id, _Stored()), change, now)
            if change.message_id is not None:
                reply = "null" if change.reply is None else change.reply
                self._replies.setdefault(user_id, {})[change.message_id] = (now, reply)
                heappush(self._handled, (now, user_id, change.message_id))
            self._events.add(user_id, change.events, now)

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
            self._forget_places()
            count = 0
            while self._handled and self._handled[0][0] < limit:
                count += self._forget_message(heappop(self._handled))
            return count

    def purge_conversations(self, *, older_than: float) -> int:
        """Forget users who did nothing for long.

        See :meth:`Store.purge_conversations <thea_core.types.Store.purge_conversations>`.
        """
        with self._lock:
            now = self._now()
            old = [
                user_id
                for user_id, stored in self._stored.items()
                if stored.committed < now - older_than and stored.session_id is None and not self._is_held(user_id, now)
            ]
            for user_id in old:
                del self._stored[user_id]
                self._held.pop(user_id, None)
            self._forget_messages(*old)
            return len(old)

    def close(self) -> None:
        """Drop everything. Later calls raise StoreUnavailableError."""
        with self._lock:
            self._closed = True
            self._events.clear()
            for part in (self._stored, self._held, self._replies, self._handled, self._deadlines, self._places):
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

    def _is_held(self, user_id: str, now: float) -> bool:
        held = self._held.get(user_id)
        return held is not None and held.alive(now)

    def _may_take(self, user_id: str, queued: str | None, now: float) -> bool:
        """Whether the lease is free, and it is the turn of the owner ``queued``, or of one without a place."""
        if self._is_held(user_id, now):
            return False
        waiting = self._waiting(user_id, now)
        return not waiting or (queued is not None and waiting[0].owner == queued)

    def _waiting(self, user_id: str, now: float) -> list[_Place]:
        places = self._places.get(user_id, [])
        return [place for place in places if place.expires > now] if places else places

    def _oldest_place(self, user_id: str, owner: str, now: float) -> _Place | None:
        return next((place for place in self._waiting(user_id, now) if place.owner == owner), None)

    def _give_up(self, user_id: str, place: _Place | None) -> None:
        if place is not None:
            self._places[user_id].remove(place)
            if not self._places[user_id]:
                del self._places[user_id]

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
        if stored.version == 0 or change.message_id is not None or change.session_timeout is not None:
            stored.committed = now
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

    def _forget_places(self) -> None:
        now = self._now()
        for user_id in list(self._places):
            self._places[user_id] = self._waiting(user_id, now)
            if not self._places[user_id]:
                del self._places[user_id]

    def _forget_message(self, entry: tuple[float, str, str]) -> bool:
        """Forget what the heap had; False where it was forgotten before, or handled anew since."""
        handled, user_id, message_id = entry
        replies = self._replies.get(user_id, {})
        if message_id not in replies or replies[message_id][0] != handled:
            self._void -= 1
            return False
        del replies[message_id]
        if not replies:
            del self._replies[user_id]
        return True

    def _forget_messages(self, *user_ids: str) -> None:
        """Forget all message ids of users. What stands in the heap for them goes when half of it is void."""
        self._void += sum(len(self._replies.pop(user_id, ())) for user_id in user_ids)
        if 2 * self._void > len(self._handled):
            self._void = 0
            self._handled = [
                (handled, user_id, message_id)
                for user_id, replies in self._replies.items()
                for message_id, (handled, _) in replies.items()
            ]
            heapify(self._handled)
