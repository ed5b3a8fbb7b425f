"""The SQLite store's connection, and the two kinds of write transaction: those that wait for the disk, and the others.

Every one begins with ``BEGIN IMMEDIATE``, so that it waits for other processes instead of failing half-way. SQLite has
one setting for what a commit waits for, ``synchronous``, which cannot be changed within a transaction. It is FULL, and
NORMAL only as long as a :class:`Relaxed` lasts.
"""

from __future__ import annotations

import sqlite3
from types import TracebackType

__all__ = ["Connection", "Relaxed", "Transaction"]


class Connection(sqlite3.Connection):
    """A connection that knows whether its commits wait for the disk."""

    synchronized = False

    def synchronize(self) -> None:
        """Let every later commit wait until the disk has it. SQLite refuses this within a transaction."""
        if not self.synchronized:
            self.execute("PRAGMA synchronous = FULL")
            self.synchronized = True

    def relax(self) -> None:
        """Let later commits leave it to the system when the disk gets them."""
        self.synchronized = False
        self.execute("PRAGMA synchronous = NORMAL")


class Transaction:
    """A write transaction: committed at the end of the block, rolled back where the block or the commit fails.

    It is on the disk when the block is left.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Connection:
        self._connection.synchronize()
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()


class Relaxed(Transaction):
    """A write transaction of which nothing depends on the disk: a power cut may undo it.

    The connection is set right at the end, not by who needs it: a signal handler that uses the store in the middle of
    a call would otherwise leave a transaction that was about to begin without its wait.
    """

    __slots__ = ()

    def __enter__(self) -> Connection:
        self._connection.relax()
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, traceback)
        finally:
            self._connection.synchronize()
