"""The databases of the durable stores, as they are reached beside the store: for floors, and to be filled quickly."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.disk import CONTEXT, TURNS, fill_log, numbered_users
from benchmarks.peers import peer

__all__ = ["NO_SERVER", "Database", "postgres_database", "raw_round_trips", "sqlite_database"]

NO_SERVER = "there is no PostgreSQL server that can be used, or psycopg or pytest is not installed"


@dataclass(frozen=True)
class Database:
    """A database that a store uses.

    Attributes:
        name: how a table calls it.
        url: the store's URL.
        tables: a query for the tables that belong to users, each with a column of its own.
        numbers: a query for the numbers from 1 to as many as ``{count}``.
        before, after: what to execute before and after it is filled.
        connect: gives a connection on which every statement is a transaction.
        warm_up: does a go so often that the next ones take what it takes in the long run.
    """

    name: str
    url: str
    tables: str
    numbers: str
    before: Sequence[str]
    after: Sequence[str]
    connect: Callable[[], AbstractContextManager[Any]]
    warm_up: Callable[[Callable[[], float]], None]

    def fill(self, user: str, count: int) -> None:
        """Give ``count`` new users all that is stored of one. The store must not be open."""
        with self.connect() as connection:
            for statement in self.before:
                connection.execute(statement)
            for table, columns in self._columns(connection).items():
                others = ", ".join(each for each in columns if each != "user_id")
                connection.execute(
                    f"INSERT INTO {table} (user_id, {others}) SELECT 'user-' || (10000000 + n), {others} "
                    f"FROM {table}, ({self.numbers.format(count=count)}) AS numbers "
                    f"WHERE user_id = '{user}' ORDER BY n"
                )
            for statement in self.after:
                connection.execute(statement)
        os.sync()  # or what is measured next would share the disk with what was filled

    def _columns(self, connection: Any) -> dict[str, list[str]]:
        columns: dict[str, list[str]] = {}
        for table, column in connection.execute(self.tables).fetchall():
            columns.setdefault(table, []).append(column)
        return {table: names for table, names in columns.items() if "user_id" in names}


def sqlite_database(file: Path) -> Database:
    """Return the database in a file, which need not be there yet."""
    return Database(
        name="SQLite",
        url=f"sqlite:///{file}",
        tables="""
            SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c
            WHERE m.type = 'table' ORDER BY m.name, c.cid
        """,
        numbers="WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {count}) SELECT n FROM r",
        before=["PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF"],
        after=[],
        connect=lambda: closing(sqlite3.connect(file, isolation_level=None)),
        warm_up=lambda go: fill_log(go, file),
    )


def postgres_database() -> Database | None:
    """Return a schema of its own on the server that the tests use too; None where there is none."""
    psycopg, pytest = peer("psycopg"), peer("pytest")
    if psycopg is None or pytest is None:
        return None
    from tests.services.postgres import new_schema

    try:
        url = new_schema()
    except pytest.skip.Exception:
        return None
    return _postgres(url, psycopg)


def _postgres(url: str, psycopg: Any) -> Database:
    return Database(
        name="PostgreSQL",
        url=url,
        tables="""
            SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = current_schema() AND is_identity = 'NO' ORDER BY table_name, ordinal_position
        """,
        numbers="SELECT n FROM generate_series(1, {count}) AS n",
        before=["SET synchronous_commit = off"],
        after=["VACUUM ANALYZE"],
        connect=lambda: psycopg.connect(url, autocommit=True, prepare_threshold=0),
        warm_up=_ten_times,
    )


def _ten_times(go: Callable[[], float]) -> None:
    for _ in range(10):
        go()


def raw_round_trips(connection: Any) -> Callable[[], float]:
    """Return a go that stores as much by hand, with the round trips that Thea's design needs: two for each turn.

    The first takes the user's lease, for which it does not wait for the disk, and reads the context; the second one
    stores the new context, and waits.
    """
    connection.execute("CREATE TABLE contexts (user_id text PRIMARY KEY, context text)")
    connection.execute("CREATE TABLE leases (user_id text PRIMARY KEY, owner text, fence bigint, expires timestamptz)")
    users = numbered_users()
    text = json.dumps(CONTEXT)

    def go() -> float:
        start = perf_counter()
        for _ in range(TURNS):
            user = next(users)
            connection.execute(_LEASE, {"user_id": user}).fetchone()
            connection.execute(_STORE, (user, text))
        return perf_counter() - start

    return go


_LEASE = """
WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true)),
     lease AS (
        INSERT INTO leases VALUES (%(user_id)s, 'benchmark', 1, now() + interval '30s')
        ON CONFLICT (user_id) DO UPDATE SET fence = leases.fence + 1, expires = EXCLUDED.expires
        RETURNING fence
     )
SELECT fence, (SELECT context FROM contexts WHERE user_id = %(user_id)s) FROM lease, relaxed
"""
_STORE = "INSERT INTO contexts VALUES (%s, %s) ON CONFLICT (user_id) DO UPDATE SET context = EXCLUDED.context"
