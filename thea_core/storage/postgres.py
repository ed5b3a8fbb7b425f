"""The PostgreSQL store: for processes of several hosts.

Loaded only where a ``postgresql:`` URL is opened, because of its import of :mod:`psycopg`.

Every call is one round trip, and a transaction of its own: no connection is held between two of them. What the server
does is written in :mod:`thea_core.storage.postgres_functions`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, LiteralString

from psycopg import Error
from psycopg.types.numeric import Int8

from thea_core.storage import postgres_schema as schema
from thea_core.storage.postgres_connections import Connections, connect
from thea_core.storage.postgres_failures import explain
from thea_core.storage.postgres_outbox import PostgresOutbox, columns
from thea_core.storage.postgres_urls import read_url
from thea_core.types import Clock, Commit, Conversation, ExpiredSession, Lease

__all__ = ["PostgresStore"]

_PURGE_ROWS = 1000  # at a time, so that no lock is held for long
_UNKNOWN_COMMIT = (
    "it is not known whether the turn was written; send the same message id again: it is answered once, either way"
)
_UNKNOWN_PLACE = "it is not known whether the place was taken; try again"

_BEGIN: LiteralString = "SELECT * FROM thea_begin(%s, %s, %s, %s, %s, %s)"
_ENQUEUE: LiteralString = "SELECT thea_enqueue(%s, %s, %s, %s)"
_DEQUEUE: LiteralString = "SELECT thea_dequeue(%s, %s, %s)"
_RENEW_PLACES: LiteralString = "SELECT thea_renew_places(%s, %s, %s)"
_RENEW: LiteralString = "SELECT thea_renew(%s, %s, %s, %s, %s)"
_RELEASE: LiteralString = "SELECT thea_release(%s, %s, %s, %s)"
# %b: an array goes in binary, since as text every quotation mark in it would have to be escaped
_COMMIT: LiteralString = "SELECT thea_commit(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %b, %b, %b, %b, %s)"
_LOAD: LiteralString = "SELECT context FROM thea_conversations WHERE user_id = %s"
_CLAIM: LiteralString = "SELECT * FROM thea_claim_expired(%s, %s, %s, %s)"
_PURGE_LEASES: LiteralString = "SELECT thea_purge_leases(%s, %s)"
_PURGE_MESSAGES: LiteralString = "SELECT * FROM thea_purge_messages(%s, %s, %s, %s)"
_PURGE_CONVERSATIONS: LiteralString = "SELECT * FROM thea_purge_conversations(%s, %s, %s, %s)"


class PostgresStore:
    """A :class:`~thea_core.types.Store` in a PostgreSQL database, version 13 or later, encoded as UTF-8. Thread-safe.

    The database is opened at once, so that a wrong address is told at the start, and its tables are made or brought up
    to date, in the connection's current schema; ``?options=-csearch_path%3DNAME`` names another. Once they are, the
    user needs no right to make anything. Connections, at most ten, are made when they are needed; one that breaks is
    replaced. After a fork each process has its own.

    Time is the server's: hosts whose clocks differ agree on leases and deadlines.

    Behind a pooler such as PgBouncer in transaction mode: let it track prepared statements (PgBouncer 1.21 or later,
    ``max_prepared_statements``), and give the role the search path, since options in the URL are not passed on.

    A begin for the message id of the user's last lease that ended without a commit (it expired, or was released)
    counts one attempt more. Leases without a message id do not touch that count.

    Args:
        url: as libpq takes it: ``postgresql://user:password@host:5432/database``. A password may also come from the
            environment (``PGPASSWORD``) or from ``~/.pgpass``. It is in no message.
        entropy: gives that many random bytes.
        timeout: seconds to wait for a connection.
        clock: only for tests: decides in place of the server's time.

    Raises:
        StoreUnavailableError: the database cannot be opened.
        StoreSchemaError: it is one of a newer version, or cannot keep every text.
    """

    blocking = True

    def __init__(
        self,
        url: str,
        *,
        entropy: Callable[[int], bytes] = os.urandom,
        timeout: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        target = read_url(url, connect_timeout=timeout)
        self._clock = clock
        with connect(target) as connection:
            try:
                self._key = schema.prepare(connection, target.shown, entropy)
            except Error as error:
                raise explain(error, target) from error
        self._connections = Connections(target, timeout)

    @property
    def key(self) -> bytes:
        """32 random bytes, made when the tables were."""
        return self._key

    @property
    def outbox(self) -> PostgresOutbox:
        """Where events wait for plugins with durable delivery."""
        return PostgresOutbox(self._connections, self._at)

    def begin(
        self, user_id: str, *, owner: str, duration: float, message_id: str | None = None, queued: bool = False
    ) -> Conversation | None:
        """Take the lease and read the conversation; see :meth:`Store.begin <thea_core.types.Store.begin>`."""
        rows = self._run(_BEGIN, user_id, owner, float(duration), message_id, queued, self._at())
        if not rows:
            return None
        context, version, session_id, expired, fence, attempt, reply = rows[0]
        lease = None if fence is None else Lease(user_id, owner, fence)
        return Conversation(lease, context, version, session_id, expired, attempt, reply)

    def enqueue(self, user_id: str, *, owner: str, duration: float) -> None:
        """Take a place at the end of the queue."""
        self._once(_ENQUEUE, _UNKNOWN_PLACE, user_id, owner, float(duration), self._at())

    def dequeue(self, user_id: str, *, owner: str) -> None:
        """Give up the newest place of the owner."""
        self._once(_DEQUEUE, _UNKNOWN_PLACE, user_id, owner, self._at())

    def renew_places(self, *, owner: str, duration: float) -> None:
        """Prolong all places of the owner that have not expired."""
        self._run(_RENEW_PLACES, owner, float(duration), self._at())

    def renew(self, lease: Lease, *, duration: float) -> bool:
        """Prolong the lease; one that has expired, but that nobody has taken over, lives again."""
        return bool(self._run(_RENEW, *_named(lease), float(duration), self._at())[0][0])

    def release(self, lease: Lease) -> None:
        """Give the lease back; the attempt stays counted."""
        self._run(_RELEASE, *_named(lease), self._at())

    def commit(self, change: Commit) -> None:
        """Write it all; see :meth:`Store.commit <thea_core.types.Store.commit>`.

        An expired lease is good enough while nobody has taken it over. A message id without a reply is stored with
        the reply ``null``. A message id that has a reply already is refused.

        Where the connection is lost meanwhile, nobody knows whether it was written: the error says so.
        """
        timeout = change.session_timeout
        self._once(
            _COMMIT,
            _UNKNOWN_COMMIT,
            *_named(change.lease),
            Int8(change.version),
            change.context,
            change.session_id,
            None if timeout is None else float(timeout),
            change.message_id,
            change.reply,
            change.forget,
            *columns(change.events),
            self._at(),
        )

    def load(self, user_id: str) -> str | None:
        """Return the stored context as JSON text; None where there is none."""
        rows = self._run(_LOAD, user_id)
        return rows[0][0] if rows else None

    def claim_expired(self, *, owner: str, duration: float, limit: int) -> Sequence[ExpiredSession]:
        """Take the leases of users whose session has expired, longest expired first."""
        rows = self._run(_CLAIM, owner, float(duration), Int8(max(limit, 0)), self._at())
        return [
            ExpiredSession(Lease(user_id, owner, fence), session_id, context, version)
            for user_id, fence, session_id, context, version in rows
        ]

    def purge_messages(self, *, older_than: float) -> int:
        """Forget old message ids, and the attempts of leases that ended as long ago; return how many ids."""
        before = self._run(_PURGE_LEASES, float(older_than), self._at())[0][0]
        total = 0
        user_id: str | None = ""
        message_id = ""
        while user_id is not None:
            rows = self._run(_PURGE_MESSAGES, before, user_id, message_id, Int8(_PURGE_ROWS))
            count, user_id, message_id = rows[0]
            total += count
        return total

    def purge_conversations(self, *, older_than: float) -> int:
        """Forget users who did nothing for long.

        See :meth:`Store.purge_conversations <thea_core.types.Store.purge_conversations>`.
        """
        total = 0
        last: str | None = ""
        while last is not None:
            count, last = self._run(_PURGE_CONVERSATIONS, float(older_than), last, Int8(_PURGE_ROWS), self._at())[0]
            total += count
        return total

    def close(self) -> None:
        """Close the connections; a call under way keeps its own to its end. Later calls raise StoreUnavailableError."""
        self._connections.close()

    def _at(self) -> float | None:
        return None if self._clock is None else self._clock.now().timestamp()

    def _run(self, statement: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._connections.run(statement, parameters)

    def _once(self, statement: LiteralString, unknown: str, *parameters: Any) -> None:
        self._connections.run(statement, parameters, unknown=unknown)


def _named(lease: Lease) -> tuple[str, str, Int8]:
    return lease.user_id, lease.owner, Int8(lease.fence)
