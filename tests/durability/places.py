"""Where the applications of these tests keep their conversations, and the time that they go by.

The memory store is left out everywhere: with its process everything is gone, so nothing can outlive a kill, and no
second process can share it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from thea_core import Clock, Store, SystemClock, Thea
from thea_core.storage import open_store

STORES = ("sqlite", "postgres")
SESSION_SECONDS = 1800.0
LEASE_SECONDS = 30.0
"""How long leases, places in queues and claims of events live at most: a kill holds nothing up for longer."""

CONFIG = {"sessions": {"timeout": SESSION_SECONDS, "sweep_interval": 0.1}}


class ShiftedClock:
    """The machine's clock, put forward by so many seconds."""

    monotonic_ns = staticmethod(time.perf_counter_ns)

    def __init__(self, seconds: float) -> None:
        self._shift = timedelta(seconds=seconds)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._shift


@contextmanager
def application(url: str, plugins: Sequence[object], *, shift: float = 0.0) -> Iterator[Thea]:
    """Run an application over the store that ``url`` names, whose time is ``shift`` seconds ahead."""
    clock = ShiftedClock(shift)
    with opened(url, clock) as store, Thea(CONFIG, plugins=plugins, store=store, clock=clock) as app:
        yield app


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


@contextmanager
def place(kind: str, directory: Path) -> Iterator[str]:
    """Give the URL of an empty store of that kind; what is in a database goes at the end of the block."""
    if kind == "sqlite":
        yield f"sqlite:///{directory / 'thea.db'}"
        return
    from tests.durability.schemas import schema

    with schema() as url:
        yield url


def version(url: str) -> str:
    """Return what the store at ``url`` runs on."""
    if not url.startswith("postgresql:"):
        return f"SQLite {sqlite3.sqlite_version}"
    import psycopg

    with psycopg.connect(url) as connection:
        number = connection.info.server_version
    return f"PostgreSQL {number // 10000}.{number % 10000}"
