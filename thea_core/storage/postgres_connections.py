"""The PostgreSQL store's connections: a small pool, opened when it is needed, and what is done where one breaks.

No connection is held between two calls. Before a connection is used it is looked at whether the server has closed it:
that costs no round trip, and is why a server's restart is not noticed by who comes after it.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from thea_core.callbacks.forking import watch
from thea_core.errors import StoreUnavailableError
from thea_core.storage.postgres_failures import exhausted, explain, is_undone, unreachable
from thea_core.storage.postgres_urls import Target

__all__ = ["Connections", "connect"]

_MOST = 10  # connections of one store
_ATTEMPTS = 3  # at a statement that the server has undone, or that may be repeated
_CLOSE_TIMEOUT = 2.0  # seconds

# Each statement is a transaction, and a function sees what was committed before each of its own statements.
_ISOLATION = "SET default_transaction_isolation TO 'read committed'"


class _Connection(psycopg.Connection[Any]):
    """A connection that tells ``failed`` why it could not be made: the pool, which tries in a thread, does not say."""

    @classmethod
    def connect(  # type: ignore[override]  # narrower: only the pool calls it
        cls, conninfo: str = "", *, failed: Callable[[psycopg.Error | None], None], **options: Any
    ) -> psycopg.Connection[Any]:
        try:
            connection = super().connect(conninfo, **options)
        except psycopg.Error as error:
            failed(error)
            raise
        failed(None)
        return connection


def connect(target: Target) -> psycopg.Connection[Any]:
    """Return a new connection that commits each statement by itself.

    Raises:
        StoreUnavailableError: there is none to be had.
    """
    try:
        connection = psycopg.connect(**target.parameters, autocommit=True)
        _configure(connection)
    except psycopg.Error as error:
        raise unreachable(error, target) from error
    return connection


class Connections:
    """The connections of one store. Thread-safe. A forked child has a pool of its own, and never touches the old one.

    Args:
        target: where to connect to.
        timeout: seconds to wait for a connection.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self._target = target
        self._timeout = timeout
        self._lock = threading.RLock()  # re-entrant: a signal handler may close the store in the middle of a call
        self._pool: ConnectionPool[Any] | None = None
        self._inherited: list[ConnectionPool[Any]] = []
        self._failure: psycopg.Error | None = None
        self._closed = False
        watch(self)

    def run(
        self, statement: LiteralString, parameters: Sequence[Any], *, unknown: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Run one statement, in a transaction of its own, and return its rows.

        Where the server undoes it on account of another transaction it is tried again; where the connection is lost
        meanwhile, only if it may be run twice.

        Args:
            statement: with ``%s`` for each parameter.
            parameters: its parameters.
            unknown: what is said where the connection is lost and the statement may not be run twice; None where it
                may.

        Raises:
            StoreError: whatever PostgreSQL says against it.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            pool, connection = self._take()
            try:
                return connection.execute(statement, parameters).fetchall()
            except psycopg.Error as error:
                lost = connection.closed
                if attempt == _ATTEMPTS or not (is_undone(error) or (lost and unknown is None)):
                    raise explain(error, self._target, unknown=unknown if lost else None) from error
            finally:
                pool.putconn(connection)
        raise AssertionError  # the last attempt returns or raises

    def close(self) -> None:
        """Close them; those in use when they are given back. Idempotent."""
        self._closed = True
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close(_CLOSE_TIMEOUT)

    def after_fork_in_child(self) -> None:
        """Keep the parent's pool, so that nobody closes its connections, and never touch it."""
        self._lock = threading.RLock()
        if self._pool is not None:
            self._inherited.append(self._pool)
            self._pool = None

    def _take(self) -> tuple[ConnectionPool[Any], psycopg.Connection[Any]]:
        """Return a connection that the server has not closed, and the pool to which it is to be given back."""
        deadline = time.monotonic() + self._timeout
        pool = self._open()
        while True:
            try:
                connection: psycopg.Connection[Any] = pool.getconn(deadline - time.monotonic())
            except PoolTimeout as error:
                raise self._unavailable() from (self._failure or error)
            except PoolClosed as error:
                raise self._is_closed() from error
            if _is_quiet(connection):
                return pool, connection
            connection.close()
            pool.putconn(connection)  # which makes another one in its place

    def _open(self) -> ConnectionPool[Any]:
        pool = self._pool
        if pool is None:
            with self._lock:
                if self._closed:
                    raise self._is_closed()
                pool = self._pool = self._pool or self._new_pool()
        return pool

    def _new_pool(self) -> ConnectionPool[Any]:
        pool: ConnectionPool[Any] = ConnectionPool(
            connection_class=_Connection,
            kwargs={**self._target.parameters, "autocommit": True, "failed": self._note},
            configure=_configure,
            min_size=0,
            max_size=_MOST,
            open=False,
            name="thea-postgres",
            timeout=self._timeout,
            reconnect_timeout=self._timeout,  # the next call tries again at once
        )
        pool.open()
        return pool

    def _note(self, failure: psycopg.Error | None) -> None:
        self._failure = failure

    def _unavailable(self) -> StoreUnavailableError:
        if self._failure is None:
            return exhausted(self._target, self._timeout, _MOST)
        return unreachable(self._failure, self._target)

    def _is_closed(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"the store {self._target.shown} is closed; make a new one")


def _configure(connection: psycopg.Connection[Any]) -> None:
    connection.execute(_ISOLATION)


def _is_quiet(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has said nothing since the last statement. What it says by itself is that it goes."""
    if connection.closed:
        return False
    if not hasattr(select, "poll"):
        return not select.select([connection], [], [], 0)[0]
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return not poll.poll(0)
