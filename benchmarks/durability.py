"""What it costs that nothing is lost: turns on PostgreSQL, stored events, sweeps, waiting messages, deliveries.

Turns on SQLite beside raw commits stand in ``benchmarks/turns.py``. Without a PostgreSQL server its rows say so.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from benchmarks.assistant import BOTH, assistant, installed, on_disk
from benchmarks.databases import NO_SERVER, Database, postgres_database, raw_round_trips, sqlite_database
from benchmarks.disk import TURNS, folder_on_disk, messages_to
from benchmarks.measure import Effort, take_turns
from benchmarks.outbox import deliveries, stored_events
from benchmarks.rows import Row, missing, speed
from benchmarks.sweeps import MANY, QUICK, sweeps
from benchmarks.waiting import waits_across_processes, waits_in_process

__all__ = ["measure"]

FLOOR = "two raw round trips each"
PER_SECOND = "A second, for orientation: they say how fast the server's disk is."
PLUGINS = {
    "turns on PostgreSQL, both plugins": BOTH,
    "turns on PostgreSQL, no plugin": (),
}


def measure(effort: Effort) -> Iterator[Row]:
    """Give the rows of durability."""
    with folder_on_disk() as folder:
        files = (Path(folder, f"{number}.db") for number in count())

        def in_file() -> Database:
            return sqlite_database(next(files))

        yield from _of_store(effort, in_file, Path(folder))
        yield from waits_in_process(in_file(), effort)
        if (floor := postgres_database()) is None:
            yield missing("turns, stored events, sweeps and waits on PostgreSQL", "", NO_SERVER)
        else:
            yield from _turns(effort, floor, Path(folder))
            yield from _of_store(effort, _on_server, Path(folder))
        yield from deliveries(effort, in_file)


def _on_server() -> Database:
    if (database := postgres_database()) is None:
        raise AssertionError("the server was there")
    return database


def _of_store(effort: Effort, new: Callable[[], Database], folder: Path) -> Iterator[Row]:
    """Give the rows that there are of each kind of store; ``new`` gives a database that is empty."""
    yield from stored_events(effort, new, folder)
    yield from sweeps(effort, new(), new(), MANY if effort.rounds > 3 else QUICK)
    yield from waits_across_processes(new(), effort)


def _turns(effort: Effort, floor: Database, folder: Path) -> Iterator[Row]:
    """Give the rows of turns on PostgreSQL."""
    with ExitStack() as stack:
        goes = {FLOOR: raw_round_trips(stack.enter_context(floor.connect()))}
        for name, plugins in PLUGINS.items():
            if installed(plugins):
                thea = stack.enter_context(assistant(_on_server().url, plugins, folder))
                goes[name] = messages_to(on_disk(thea))
        for go in goes.values():
            floor.warm_up(go)
        timings = take_turns(goes, rounds=effort.rounds, turns=max(2, effort.turns // 2), pick=statistics.median)
    for name, seconds in timings.seconds.items():
        yield Row(name, "", tuple(TURNS / each for each in seconds), unit="a second", note=PER_SECOND)
    for name in PLUGINS:
        if name in goes:
            yield speed(name, FLOOR, timings, at_least=0.5)
        else:
            yield missing(name, FLOOR, "thea-logging and thea-agenda are not installed")
