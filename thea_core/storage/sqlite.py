"""The SQLite store: one file, which several threads and several processes of one host may use at once.

Loaded only where a ``sqlite:`` URL is opened, because of its import of :mod:`sqlite3`.

What a reply depends on (the commit) is synchronized to the disk before the call returns; a lease need not survive a
power cut, since its holder does not, and goes without that wait. Both go through one connection: of two, each would
have to read again what the other has written.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from thea_core.callbacks.forking import watch
from thea_core.errors import CommitRefusedError, StoreError, StoreUnavailableError
from thea_core.storage import schema, sqlite_queue
from thea_core.storage.failures import explain
from thea_core.storage.sqlite_outbox import SQLiteOutbox, add_events, forget_events
from thea_core.storage.transactions import Connection, Relaxed, Transaction
from thea_core.types import Clock, Commit, Conversation, ExpiredSession, Lease

__all__ = ["SQLiteStore"]

_Result = TypeVar("_Result")
_BUSY_PAUSE = 0.005  # seconds
_CACHED = 500  # KiB of the file, so that memory stays flat; four times as much makes no turn quicker
_PURGE_ROWS = 1000  # at a time, so that turns get their chance in between


class SQLiteStore:
    """A :class:`~thea_core.types.Store` in one SQLite file. Thread-safe; processes of one host may share the file.

    Opened at once, so that a wrong path is told at the start. After a failure the file is opened anew by the next
    call. Before a fork the connection is closed, and both processes open their own when they need them: SQLite's
    locks do not survive a fork, and a child that opens the file beside an inherited connection believes that it holds
    locks that it has not.

    A begin for the message id of the user's last lease that ended without a commit (it expired, or was released)
    counts one attempt more. Leases without a message id do not touch that count.

    Args:
        path: the file; it is created where it is missing, its directory is not.
        clock: decides over leases and deadlines; the same for every process that uses the file.
        entropy: gives that many random bytes.
        busy_timeout: seconds to wait for other processes' transactions.

    Raises:
        StoreUnavailableError: the file cannot be opened or written.
        StoreSchemaError: it is no database of Thea's, or one of a newer version.
    """

    blocking = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Clock,
        entropy: Callable[[int], bytes] = os.urandom,
        busy_timeout: float = 10.0,
    ) -> None:
        self._path = Path(path).absolute()
        self._clock = clock
        self._entropy = entropy
        self._busy_timeout = busy_timeout
        self._lock = threading.RLock()  # re-entrant: a signal handler may close the store in the middle of a call
        self._connection: Connection | None = None
        self._inherited: list[Connection] = []
        self._closed = False
        self._key = self._run(_read_key)
        watch(self)

    @property
    def key(self) -> bytes:
        """32 random bytes, made when the file was."""
        return self._key

    @property
    def outbox(self) -> SQLiteOutbox:
        """Where events wait for plugins with durable delivery: in the same file."""
        return SQLiteOutbox(self._run, self._now)

    def begin(
        self, user_id: str, *, owner: str, duration: float, message_id: str | None = None, queued: bool = False
    ) -> Conversation | None:
        """Take the lease and read the conversation; see :meth:`Store.begin <thea_core.types.Store.begin>`."""
        values = {"user_id": user_id, "message_id": message_id, "waiting": owner if queued else None}
        return self._run(self._begin, user_id, owner, duration, values)

    def enqueue(self, user_id: str, *, owner: str, duration: float) -> None:
        """Take a place at the end of the queue."""
        self._run(self._change_places, sqlite_queue.add, user_id, owner, duration)

    def dequeue(self, user_id: str, *, owner: str) -> None:
        """Give up the newest place of the owner."""
        self._run(self._change_places, sqlite_queue.remove_newest, user_id, owner)

    def renew_places(self, *, owner: str, duration: float) -> None:
        """Prolong all places of the owner that have not expired."""
        self._run(self._change_places, sqlite_queue.renew, owner, duration)

    def renew(self, lease: Lease, *, duration: float) -> bool:
        """Prolong the lease; one that has expired, but that nobody has taken over, lives again."""
        return self._run(self._update_lease, schema.RENEW, lease, duration)

    def release(self, lease: Lease) -> None:
        """Give the lease back; the attempt stays counted."""
        self._run(self._update_lease, schema.RELEASE, lease, 0.0)

    def commit(self, change: Commit) -> None:
        """Write it all; see :meth:`Store.commit <thea_core.types.Store.commit>`.

        An expired lease is good enough while nobody has taken it over. A message id without a reply is stored with
        the reply ``null``. A message id that has a reply already is refused.
        """
        self._run(self._commit, change)

    def load(self, user_id: str) -> str | None:
        """Return the stored context as JSON text; None where there is none."""
        return self._run(_load, user_id)

    def claim_expired(self, *, owner: str, duration: float, limit: int) -> Sequence[ExpiredSession]:
        """Take the leases of users whose session has expired, longest expired first."""
        return self._run(self._claim, owner, duration, limit)

    def purge_messages(self, *, older_than: float) -> int:
        """Forget old message ids, and the attempts of leases that ended as long ago; return how many ids."""
        limit = self._run(self._forget_leases, older_than)
        total = 0
        last: tuple[str, str] | None = ("", "")
        while last is not None:
            count, last = self._run(_forget_messages, limit, last)
            total += count
        return total

    def purge_conversations(self, *, older_than: float) -> int:
        """Forget users who did nothing for long; on the disk when it returns.

        See :meth:`Store.purge_conversations <thea_core.types.Store.purge_conversations>`. What was committed before the
        file noted the times of commits counts as committed when the file was migrated.
        """
        total = 0
        last: str | None = ""
        while last is not None:
            count, last = self._run(self._forget_conversations, older_than, last)
            total += count
        return total

    def close(self) -> None:
        """Close the file. Later calls raise StoreUnavailableError."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def before_fork(self) -> None:
        """Wait for the call under way and close the connection, which must not cross a fork."""
        self._lock.acquire()
        self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Let calls in again."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start with a fresh lock. A connection that came through all the same is kept, and never touched."""
        self._lock = threading.RLock()
        if self._connection is not None:
            self._inherited.append(self._connection)
            self._connection = None

    def _run(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        """Call ``work(connection, *arguments)``; whatever SQLite raises leaves as a StoreError."""
        with self._lock:
            try:
                return work(self._connection or self._connect(), *arguments)
            except sqlite3.Error as error:
                self._disconnect()
                raise explain(error, self._path) from error
            except StoreError:
                raise
            except BaseException:  # Ctrl-C may have come between two steps of a transaction
                self._disconnect()
                raise

    def _connect(self) -> Connection:
        if self._closed:
            raise StoreUnavailableError(f"the store {self._path} is closed; make a new one")
        self._check_path()
        connection = sqlite3.connect(
            self._path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False, factory=Connection
        )
        try:
            connection.synchronize()
            connection.execute(f"PRAGMA cache_size = -{_CACHED}")  # negative: not pages but KiB
            schema.migrate(connection, self._path, self._entropy)
            self._switch_to_wal(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _check_path(self) -> None:
        if self._path.is_dir():
            raise StoreUnavailableError(
                f"{self._path} is a directory; name a file in it, such as {self._path / 'thea.db'}"
            )
        if not self._path.parent.is_dir():
            raise StoreUnavailableError(
                f"{self._path} cannot be created: its directory {self._path.parent} does not exist; create it first"
            )
        if self._path.exists():
            if not self._path.is_file():
                raise StoreUnavailableError(f"{self._path} is a device, a pipe or a socket; name an ordinary file")
            schema.check_origin(self._path)

    def _switch_to_wal(self, connection: sqlite3.Connection) -> None:
        mode = self._journal_mode(connection)
        if mode != "wal":
            raise StoreUnavailableError(
                f"{self._path} lies on a file system that SQLite cannot share between processes (it stays in "
                f"{mode!r} mode), such as a network drive; put it on a local disk"
            )

    def _journal_mode(self, connection: sqlite3.Connection) -> str:
        """Ask for WAL. Where another process asks at the same moment SQLite does not wait for it, so we do."""
        patience = self._busy_timeout
        while True:
            try:
                return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or patience <= 0:
                    raise
            time.sleep(_BUSY_PAUSE)
            patience -= _BUSY_PAUSE

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _begin(
        self, connection: Connection, user_id: str, owner: str, duration: float, values: dict[str, str | None]
    ) -> Conversation | None:
        message_id = values["message_id"]
        if values["waiting"] is not None and self._must_wait(connection, values):
            return None
        with Relaxed(connection):
            now = self._now()
            context, version, session_id, deadline, fence, busy, pending, attempt, reply, place = connection.execute(
                schema.READ, {**values, "now": now}
            ).fetchone()
            lease, again = None, 1
            if reply is None and busy:
                if place is None and values["waiting"] is not None:
                    sqlite_queue.add(connection, now, user_id, owner, duration)
                return None
            if place is not None:
                sqlite_queue.remove(connection, user_id, place)
            if reply is None:
                if message_id is None:
                    kept = (pending, attempt or 1)
                else:
                    again = attempt + 1 if pending == message_id else 1
                    kept = (message_id, again)
                connection.execute(schema.TAKE, (user_id, owner, fence, now + duration, *kept))
                lease = Lease(user_id, owner, fence)
        expired = deadline is not None and deadline <= now
        return Conversation(lease, context, version or 0, session_id, expired, again, reply)

    def _must_wait(self, connection: Connection, values: dict[str, str | None]) -> bool:
        """Whether somebody with a place would get None. Those who ask again and again keep nobody from writing."""
        _, _, _, _, _, busy, _, _, reply, place = connection.execute(
            schema.READ, {**values, "now": self._now()}
        ).fetchone()
        return bool(busy) and reply is None and place is not None

    def _update_lease(self, connection: Connection, statement: str, lease: Lease, duration: float) -> bool:
        expires = self._now() + duration
        with Relaxed(connection):
            cursor = connection.execute(statement, {**lease._asdict(), "expires": expires})
        return cursor.rowcount == 1

    def _commit(self, connection: Connection, change: Commit) -> None:
        with Transaction(connection):
            now = self._now()
            if change.context is None and change.session_id is None:
                _remove(connection, change)
            else:
                _write(connection, change, now)
            if change.message_id is None:
                connection.execute(schema.DISOWN, {"user_id": change.lease.user_id, "expires": now})
            else:
                _answer(connection, change, now)
            if change.forget:
                _forget_others(connection, change)
            if change.events:
                add_events(connection, change.lease.user_id, change.events, now)

    def _change_places(self, connection: Connection, change: Callable[..., None], *arguments: Any) -> None:
        with Relaxed(connection):
            change(connection, self._now(), *arguments)

    def _claim(self, connection: Connection, owner: str, duration: float, limit: int) -> list[ExpiredSession]:
        with Relaxed(connection):
            now = self._now()
            rows = connection.execute(schema.EXPIRED, {"now": now, "limit": max(limit, 0)}).fetchall()
            leases = [
                (user_id, owner, fence, now + duration, pending, attempt)
                for user_id, _, _, _, fence, pending, attempt in rows
            ]
            connection.executemany(schema.TAKE, leases)
        return [
            ExpiredSession(Lease(user_id, owner, fence), session_id, context, version)
            for user_id, session_id, context, version, fence, _, _ in rows
        ]

    def _forget_leases(self, connection: Connection, older_than: float) -> float:
        """Forget leases that ended long ago, and places; return the limit of time that was meant."""
        with Relaxed(connection):
            now = self._now()
            limit = now - older_than
            sqlite_queue.forget_expired(connection, now)
            (fence,) = connection.execute(schema.OLD_LEASES, (limit,)).fetchone()
            if fence is not None:
                connection.execute(schema.RAISE_FENCE, (fence,))
                connection.execute(schema.FORGET_LEASES, (limit,))
        return limit

    def _forget_conversations(self, connection: Connection, older_than: float, after: str) -> tuple[int, str | None]:
        """Go through the next users; return how many were forgotten, and where to go on, if there is more."""
        limit = self._now() - older_than
        rows = connection.execute(schema.NEXT_CONVERSATIONS, (limit, after, _PURGE_ROWS)).fetchall()
        old = [user_id for user_id, is_old in rows if is_old]
        count = 0
        if old:
            with Transaction(connection):
                count = sum(_forget_conversation(connection, user_id, limit, self._now()) for user_id in old)
        return count, rows[-1][0] if len(rows) == _PURGE_ROWS else None


def _read_key(connection: Connection) -> bytes:
    (key,) = connection.execute(schema.KEY).fetchone()
    return bytes(key)


def _load(connection: Connection, user_id: str) -> str | None:
    row = connection.execute(schema.LOAD, (user_id,)).fetchone()
    return None if row is None else row[0]


def _forget_messages(
    connection: Connection, limit: float, after: tuple[str, str]
) -> tuple[int, tuple[str, str] | None]:
    """Go through the next ids; return how many were forgotten, and where to go on, if there is more."""
    rows = connection.execute(schema.NEXT_MESSAGES, (*after, _PURGE_ROWS)).fetchall()
    old = [(user_id, message_id, limit) for user_id, message_id, handled in rows if handled < limit]
    if old:
        with Relaxed(connection):
            connection.executemany(schema.FORGET_MESSAGE, old)
    return len(old), rows[-1][:2] if len(rows) == _PURGE_ROWS else None


def _forget_conversation(connection: sqlite3.Connection, user_id: str, limit: float, now: float) -> bool:
    """Forget the user, unless somebody has come meanwhile."""
    row = connection.execute(schema.OLD_CONVERSATION, (user_id, limit, now)).fetchone()
    if row is None:
        return False
    connection.execute(schema.RAISE_FENCE, row)
    connection.execute(schema.REMOVE, (user_id,))
    connection.execute(schema.DROP, (user_id,))
    connection.execute(schema.FORGET_OTHERS, (user_id, None))
    return True


def _forget_others(connection: sqlite3.Connection, change: Commit) -> None:
    """Forget what was known of the user before this commit: answers, attempts, events."""
    user_id = change.lease.user_id
    connection.execute(schema.FORGET_OTHERS, (user_id, change.message_id))
    connection.execute(schema.DROP, (user_id,))
    forget_events(connection, user_id)


def _write(connection: sqlite3.Connection, change: Commit, now: float) -> None:
    timeout = change.session_timeout
    values = {
        **change.lease._asdict(),
        "session_id": change.session_id,
        "deadline": None if timeout is None or change.session_id is None else now + timeout,
        "context": change.context,
        "version": change.version,
        "now": now,
        "active": None if change.message_id is None and timeout is None else now,
    }
    cursor = connection.execute(schema.INSERT if change.version == 0 else schema.UPDATE, values)
    if cursor.rowcount != 1:
        raise _refusal(connection, change.lease)


def _remove(connection: sqlite3.Connection, change: Commit) -> None:
    lease = change.lease
    (held,) = connection.execute(schema.HOLDS, lease._asdict()).fetchone()
    (version,) = connection.execute(schema.VERSION, (lease.user_id,)).fetchone()
    if not held or version != change.version:
        raise _refusal(connection, lease)
    connection.execute(schema.REMOVE, (lease.user_id,))
    connection.execute(schema.RAISE_FENCE, (lease.fence,))
    if change.message_id is not None:
        connection.execute(schema.DROP, (lease.user_id,))


def _answer(connection: sqlite3.Connection, change: Commit, now: float) -> None:
    reply = "null" if change.reply is None else change.reply
    answer = (change.lease.user_id, change.message_id, now, reply)
    if connection.execute(schema.ANSWER, answer).rowcount != 1:
        raise CommitRefusedError("this message id was handled before; nothing was written")


def _refusal(connection: sqlite3.Connection, lease: Lease) -> CommitRefusedError:
    (held,) = connection.execute(schema.HOLDS, lease._asdict()).fetchone()
    if held:
        return CommitRefusedError("this conversation has another version by now; nothing was written")
    return CommitRefusedError("the lease of this conversation was lost; nothing was written")
