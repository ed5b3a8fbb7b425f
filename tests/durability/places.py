"""Where the applications of these tests keep their conversations, and the time that they go by.

The memory store is left out everywhere: with its process everything is gone, so nothing can outlive a kill, and no
second process can share it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from thea_core import Clock, Store, SystemClock, Thea
from thea_core.storage import open_store

STORES = ("sqlite", "postgres")
SESSION_SECONDS = 1800.0
LEASE_SECONDS = 30.0
"""How long leases and places in queues live at most: a kill holds no user up for longer."""

_DRAIN_SECONDS = 60.0
_LOOK_SECONDS = 0.02

CONFIG = {"sessions": {"timeout": SESSION_SECONDS, "sweep_interval": 0.1}}
QUIET = {"sessions": {"timeout": SESSION_SECONDS, "sweep_interval": 3600.0}}
"""As above, with no sweep but those that are asked for."""


class ShiftedClock:
    """The machine's clock, put forward by so many seconds."""

    monotonic_ns = staticmethod(time.perf_counter_ns)

    def __init__(self, seconds: float) -> None:
        self._shift = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._shift


@contextmanager
def application(
    url: str, plugins: Sequence[object], *, shift: float = 0.0, config: Mapping[str, Any] = CONFIG
) -> Iterator[Thea]:
    """Run an application over the store that ``url`` names, whose time is ``shift`` seconds ahead."""
    clock = ShiftedClock(shift)
    with opened(url, clock) as store, Thea(config, plugins=plugins, store=store, clock=clock) as app:
        yield app


def drained(app: Thea) -> int:
    """Wait until everything stored is handed over, but not for ever; return how many events are left."""
    outbox, pause = app.store.outbox, threading.Event()
    if outbox is None:
        raise AssertionError("the store has no outbox")
    for _ in range(round(_DRAIN_SECONDS / _LOOK_SECONDS)):
        if not outbox.list(limit=1):
            return 0
        pause.wait(_LOOK_SECONDS)
    return len(outbox.list(limit=1000))


@contextmanager
def opened(url: str, clock: Clock | None = None) -> Iterator[Store]:
    """Open a store that goes by that clock; without one PostgreSQL goes by its server's, as it does outside tests."""
    if url.startswith("postgresql:"):
        from thea_core.storage.postgres import PostgresStore

        store: Store = PostgresStore(url, clock=clock)
    else:
        store = open_store(url, clock=clock or SystemClock())
    with closing(store):
        yield store


def place(kind: str, directory: Path) -> str:
    """Return the URL of an empty store of that kind; a schema goes with the database of this run."""
    if kind == "sqlite":
        return f"sqlite:///{directory / 'thea.db'}"
    from tests.services.postgres import new_schema

    return new_schema()


def version(url: str) -> str:
    """Return what the store at ``url`` runs on."""
    if not url.startswith("postgresql:"):
        return f"SQLite {sqlite3.sqlite_version}"
    import psycopg

    with psycopg.connect(url) as connection:
        number = connection.info.server_version
    return f"PostgreSQL {number // 10000}.{number % 10000}"
