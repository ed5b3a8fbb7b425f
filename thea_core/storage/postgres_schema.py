"""The PostgreSQL schema: its tables, its version, and the rule by which databases of other versions are treated.

Everything is called ``thea_...`` and lies in the connection's current schema. ``thea_store`` says which step of
:data:`STEPS` the database has reached. An older one is brought up to date, in one transaction, when it is opened; a
newer one is refused.

Tables:

* ``thea_conversations``: one row a user with a context or a session;
* ``thea_leases``: the last lease of each user, and of everybody who has a conversation. Apart from the context, so that
  taking a lease never copies one. It is free where it has no owner, or has expired. With room on each page, so that an
  update stays on it and touches no index;
* ``thea_places``: who waits for a lease;
* ``thea_messages``: what was answered, and when. No index on the time: only the purge would use it, which may take its
  time;
* ``thea_events`` and ``thea_lanes``: see :mod:`thea_core.storage.postgres_outbox_functions`;
* ``thea_store``: one row: the schema's version, and the store's key.

Times are seconds since 1970, in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, LiteralString

import psycopg

from thea_core.errors import StoreSchemaError
from thea_core.storage.postgres_functions import FUNCTIONS
from thea_core.storage.postgres_outbox_functions import OUTBOX_FUNCTIONS

__all__ = ["STEPS", "prepare"]

_TABLES = (
    "CREATE TABLE thea_store (id integer PRIMARY KEY CHECK (id = 1), version integer NOT NULL, key bytea NOT NULL)",
    """
    CREATE TABLE thea_conversations (
        user_id text COLLATE "C" PRIMARY KEY,
        version bigint NOT NULL,
        session_id text,
        deadline double precision,
        written double precision NOT NULL,
        context text
    )
    """,
    """
    CREATE INDEX thea_conversations_deadline ON thea_conversations (deadline, user_id) WHERE deadline IS NOT NULL
    """,
    "CREATE SEQUENCE thea_fences",
    """
    CREATE TABLE thea_leases (
        user_id text COLLATE "C" PRIMARY KEY,
        owner text,
        fence bigint NOT NULL,
        expires double precision NOT NULL,
        message_id text,
        attempt integer NOT NULL
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE thea_places (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL,
        owner text COLLATE "C" NOT NULL,
        expires double precision NOT NULL
    )
    """,
    "CREATE INDEX thea_places_user ON thea_places (user_id, number)",
    "CREATE INDEX thea_places_owner ON thea_places (owner)",
    """
    CREATE TABLE thea_messages (
        user_id text COLLATE "C" NOT NULL,
        message_id text COLLATE "C" NOT NULL,
        handled double precision NOT NULL,
        reply text NOT NULL,
        PRIMARY KEY (user_id, message_id)
    )
    """,
    """
    CREATE TABLE thea_events (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id text COLLATE "C" NOT NULL,
        plugin text COLLATE "C" NOT NULL,
        hook text NOT NULL,
        event_id text NOT NULL,
        event text NOT NULL,
        stored double precision NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        error text,
        parked boolean NOT NULL DEFAULT false
    )
    """,
    "CREATE INDEX thea_events_waiting ON thea_events (user_id, plugin, number) WHERE NOT parked",
    "CREATE INDEX thea_events_parked ON thea_events (user_id) WHERE parked",
    "CREATE SEQUENCE thea_claims",
    """
    CREATE TABLE thea_lanes (
        user_id text COLLATE "C" NOT NULL,
        plugin text COLLATE "C" NOT NULL,
        due double precision NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        claim bigint NOT NULL DEFAULT 0,
        claimed boolean NOT NULL DEFAULT false,
        PRIMARY KEY (user_id, plugin)
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX thea_lanes_due ON thea_lanes (plugin, due, user_id)",
    "INSERT INTO thea_store VALUES (1, 0, ''::bytea)",
)

STEPS: tuple[tuple[str, ...], ...] = ((*_TABLES, *OUTBOX_FUNCTIONS, *FUNCTIONS),)
"""Step *n* takes a database from version *n* to *n* + 1. A released step is never changed; a new one is added.

A later step that changes a function gives it another name: processes of both versions may run side by side.
"""

_READ = "SELECT version, key FROM thea_store"
# Not to_regclass(): where it has found nothing once it says so again, also after another process's commit.
_EXISTS = "SELECT 1 FROM pg_class WHERE relname = 'thea_store' AND relkind = 'r' AND pg_table_is_visible(oid)"
_LOCK = "SELECT pg_advisory_xact_lock(5286715826105807)"  # of this store; any number that nobody else is likely to use


def prepare(
    connection: psycopg.Connection,
    shown: str,
    entropy: Callable[[int], bytes],
    steps: Sequence[Sequence[str]] = STEPS,
) -> bytes:
    """Bring the database up to the newest version where it is not, and return the store's key.

    Only one process does it at a time; where nothing is to be done, nothing is locked and no right is needed but that
    to read.

    Args:
        connection: one that commits each statement by itself.
        shown: what the database is called in messages.
        entropy: gives that many random bytes.
        steps: the steps to the newest version.

    Raises:
        StoreSchemaError: the database is newer than this program, or does not keep text as UTF-8.
        psycopg.Error: anything else.
    """
    _check_encoding(connection, shown)
    found = _read(connection, shown, len(steps))
    if found is None:
        with connection.transaction():
            connection.execute(_LOCK)
            found = _read(connection, shown, len(steps)) or _apply(connection, steps, entropy)
    return found


def _check_encoding(connection: psycopg.Connection, shown: str) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreSchemaError(
            f"{shown}: the database keeps text as {encoding}, which cannot hold every message; make one with "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


def _read(connection: psycopg.Connection, shown: str, newest: int) -> bytes | None:
    """Return the key; None where the schema is missing or older."""
    row = _row(connection, _READ) if _exists(connection) else None
    if row is None:
        return None
    version, key = row
    if version > newest:
        raise StoreSchemaError(
            f"{shown} was written by a newer version of Thea (schema {version}; this one knows {newest}); "
            "upgrade thea-core, or use another database"
        )
    return bytes(key) if version == newest else None


def _apply(connection: psycopg.Connection, steps: Sequence[Sequence[str]], entropy: Callable[[int], bytes]) -> bytes:
    (version, key) = (_row(connection, _READ) if _exists(connection) else None) or (0, b"")
    for statement in (statement for step in steps[version:] for statement in step):
        connection.execute(statement.encode())
    if version == 0:
        key = entropy(32)
        connection.execute("UPDATE thea_store SET key = %s", (key,))
    connection.execute("UPDATE thea_store SET version = %s", (len(steps),))
    return bytes(key)


def _exists(connection: psycopg.Connection) -> bool:
    return _row(connection, _EXISTS) is not None


def _row(connection: psycopg.Connection, statement: LiteralString) -> tuple[Any, ...] | None:
    return connection.execute(statement).fetchone()
