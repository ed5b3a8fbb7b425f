"""Turns that end on a disk: goes of as many, whoever handles them, and the raw commits that they are held against."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.measure import ROOT
from benchmarks.utterances import utterances

__all__ = ["CONTEXT", "TURNS", "fill_log", "folder_on_disk", "messages_to", "numbered_users", "raw_commits"]

TURNS = 20
"""How many there are in one go."""

CONTEXT = {
    "user_id": "ana",
    "state": "idle",
    "message": utterances()[0],
    "message_id": "0123456789abcdef0123456789abcdef",
    "session_id": "01234567-89ab-8def-8123-456789abcdef",
    "intent": None,
    "score": None,
    "agent": "fallback",
    "pending": None,
}
"""What the store has of a user after a turn."""


def folder_on_disk() -> TemporaryDirectory[str]:
    """Return a folder in the checkout: the one for temporary files may be in memory."""
    return TemporaryDirectory(prefix=".benchmark-", dir=ROOT)


def messages_to(handle: Callable[[str, str], object]) -> Callable[[], float]:
    """Return a go of turns, which tells its seconds: the same messages of the same users, whoever handles them."""
    messages = cycle(enumerate(utterances()))

    def go() -> float:
        start = perf_counter()
        for _ in range(TURNS):
            number, text = next(messages)
            handle(f"user-{number}", text)
        return perf_counter() - start

    return go


def numbered_users() -> Iterator[str]:
    """Give the same users in the same order as :func:`messages_to`, for a floor."""
    users = len(utterances())
    return (f"user-{number % users}" for number in count())


def raw_commits(connection: sqlite3.Connection) -> Callable[[], float]:
    """Return a go that stores as much by hand: a row for each user, one transaction for each turn."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE contexts (user_id TEXT PRIMARY KEY, context TEXT) WITHOUT ROWID")
    users = numbered_users()
    text = json.dumps(CONTEXT)

    def go() -> float:
        start = perf_counter()
        for _ in range(TURNS):
            row = (next(users), text)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT OR REPLACE INTO contexts VALUES (?, ?)", row)
            connection.execute("COMMIT")
        return perf_counter() - start

    return go


def fill_log(go: Callable[[], float], file: Path) -> None:
    """Go on until the write-ahead log begins anew, and so grows no more.

    As long as it grows, the system has to write down its new length too, and a commit takes more than twice as long.
    That is a matter of the first seconds, and whoever writes more in a turn has it behind him sooner.
    """
    log, size = file.with_name(f"{file.name}-wal"), -1
    while True:
        go()
        before, size = size, log.stat().st_size
        if size == before:
            return
