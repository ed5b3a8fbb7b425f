"""A store around another one: what the tests of this directory change in a store, they change from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from thea_core import Commit, Conversation, ExpiredSession, Lease, Outbox, Store

__all__ = ["ShortLeases", "WrappedStore"]


class WrappedStore:
    """A store that hands every call on to another one.

    Args:
        store: the other one.
        call: is called with the name of the method and a function that does the work; ``outbox.`` stands before the
            names of an outbox's methods, and ``begin`` of who has a place in the queue is ``begin.queued``.
    """

    def __init__(self, store: Store, call: Callable[[str, Callable[[], Any]], Any] = lambda _, work: work()) -> None:
        self.inner = store
        self._call = call

    @property
    def blocking(self) -> bool:
        return self.inner.blocking

    @property
    def key(self) -> bytes:
        return self.inner.key

    @property
    def outbox(self) -> Outbox | None:
        return None if self.inner.outbox is None else _WrappedOutbox(self.inner.outbox, self._call)

    def begin(
        self, user_id: str, *, owner: str, duration: float, message_id: str | None = None, queued: bool = False
    ) -> Conversation | None:
        return self._call(
            "begin.queued" if queued else "begin",
            lambda: self.inner.begin(user_id, owner=owner, duration=duration, message_id=message_id, queued=queued),
        )

    def enqueue(self, user_id: str, *, owner: str, duration: float) -> None:
        self._call("enqueue", lambda: self.inner.enqueue(user_id, owner=owner, duration=duration))

    def dequeue(self, user_id: str, *, owner: str) -> None:
        self._call("dequeue", lambda: self.inner.dequeue(user_id, owner=owner))

    def renew_places(self, *, owner: str, duration: float) -> None:
        self._call("renew_places", lambda: self.inner.renew_places(owner=owner, duration=duration))

    def renew(self, lease: Lease, *, duration: float) -> bool:
        return self._call("renew", lambda: self.inner.renew(lease, duration=duration))

    def release(self, lease: Lease) -> None:
        self._call("release", lambda: self.inner.release(lease))

    def commit(self, change: Commit) -> None:
        self._call("commit", lambda: self.inner.commit(change))

    def load(self, user_id: str) -> str | None:
        return self._call("load", lambda: self.inner.load(user_id))

    def claim_expired(self, *, owner: str, duration: float, limit: int) -> Sequence[ExpiredSession]:
        return self._call(
            "claim_expired", lambda: self.inner.claim_expired(owner=owner, duration=duration, limit=limit)
        )

    def purge_messages(self, *, older_than: float) -> int:
        return self._call("purge_messages", lambda: self.inner.purge_messages(older_than=older_than))

    def purge_conversations(self, *, older_than: float) -> int:
        return self._call("purge_conversations", lambda: self.inner.purge_conversations(older_than=older_than))

    def close(self) -> None:
        self.inner.close()


class _WrappedOutbox:
    def __init__(self, outbox: Outbox, call: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._outbox = outbox
        self._call = call

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._outbox, name)
        return lambda *arguments, **options: self._call(f"outbox.{name}", lambda: method(*arguments, **options))


class ShortLeases(WrappedStore):
    """A store whose leases and places live for so many seconds, whatever was asked for.

    The router renews a lease after ten seconds at the earliest, so one that is held for longer than it lives here is
    lost, as it is when its process is stopped for long.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        super().__init__(store)
        self._seconds = seconds

    def begin(
        self, user_id: str, *, owner: str, duration: float, message_id: str | None = None, queued: bool = False
    ) -> Conversation | None:
        return super().begin(user_id, owner=owner, duration=self._seconds, message_id=message_id, queued=queued)

    def enqueue(self, user_id: str, *, owner: str, duration: float) -> None:
        super().enqueue(user_id, owner=owner, duration=self._seconds)

    def renew_places(self, *, owner: str, duration: float) -> None:
        super().renew_places(owner=owner, duration=self._seconds)

    def renew(self, lease: Lease, *, duration: float) -> bool:
        return super().renew(lease, duration=self._seconds)
