"""How long a message goes on waiting when the turn before it, of the same user, has ended.

One turn is held by its agent while the next message comes, to the same process or to another one; then it is let go.
Measured is the time from its reply to the start of the waiting message's agent, on the clock that all processes of a
machine share.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, Pipe
from random import Random
from threading import Event, Thread
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from benchmarks.databases import Database
from benchmarks.measure import Effort
from benchmarks.rows import AT_MOST, Row, Target
from thea_core import Thea

if TYPE_CHECKING:
    from thea_core.types import Context, Turn

__all__ = ["waits_across_processes", "waits_in_process"]

SAMPLES, FEW = 50, 15
MOST_MS = 100
HELD = "Held for 50 to 200 ms, so that looks at a store which come in a rhythm are met at all of its moments."
_PATIENCE = 30.0  # seconds until a measurement that hangs is given up


class _Agent:
    """Takes the place of the fallback agent, notes when it began, and ends when it is told to."""

    name = "fallback"
    intents = ()

    def __init__(self) -> None:
        self.began = 0.0
        self.inside = Event()
        self.may_end = Event()

    def handle(self, message: str, context: Context, turn: Turn) -> str:  # noqa: ARG002 -- as agents are called
        self.began = perf_counter()
        if message == "hold":
            self.inside.set()
            self.may_end.wait(_PATIENCE)
        return "done"


def waits_in_process(database: Database, effort: Effort) -> Iterator[Row]:
    """Give the rows of messages that wait in the process in which the user's turn runs."""
    with _running(database.url) as (thea, agent):
        ours, theirs = Pipe()
        Thread(target=_answer, args=(thea, agent, theirs), name="benchmark-waiting", daemon=True).start()
        yield from _rows(f"a waiting message starts, one process, {database.name}", thea, agent, ours, effort)


def waits_across_processes(database: Database, effort: Effort) -> Iterator[Row]:
    """Give the rows of messages that wait in another process than that in which the user's turn runs."""
    with _running(database.url) as (thea, agent):
        ours, theirs = Pipe()
        other = multiprocessing.get_context("spawn").Process(target=_other, args=(database.url, theirs), daemon=True)
        other.start()
        yield from _rows(f"a waiting message starts, two processes, {database.name}", thea, agent, ours, effort)
        other.join(_PATIENCE)


@contextmanager
def _running(url: str) -> Iterator[tuple[Thea, _Agent]]:
    agent = _Agent()
    with Thea({"store": {"url": url}}, worker=False) as thea:
        thea.router.register(agent)
        yield thea, agent


def _rows(what: str, thea: Thea, agent: _Agent, other: Connection, effort: Effort) -> Iterator[Row]:
    random = Random(1)
    samples = SAMPLES if effort.rounds > 3 else FEW
    with ThreadPoolExecutor(1) as threads:
        waits = tuple(_wait(thea, agent, other, threads, random.uniform(0.05, 0.2)) for _ in range(samples + 1))[1:]
    other.send(None)
    yield Row(what, "the reply before it", waits, unit="ms later", note=HELD)
    yield Row(f"- the last of {samples}", "", (max(waits),), unit="ms later", target=Target(AT_MOST, MOST_MS))


def _wait(thea: Thea, agent: _Agent, other: Connection, threads: ThreadPoolExecutor, seconds: float) -> float:
    """Return the milliseconds for which a message waits in vain; 0 where it began before the reply had arrived."""
    agent.inside.clear()
    agent.may_end.clear()
    first = threads.submit(_handled, thea, "hold")
    if not agent.inside.wait(_PATIENCE):
        raise AssertionError("the first turn did not begin")
    other.send("next")
    _received(other)
    sleep(seconds)
    agent.may_end.set()
    ended = first.result(_PATIENCE)
    return max(0.0, 1e3 * (_received(other) - ended))


def _received(other: Connection) -> float:
    if not other.poll(_PATIENCE):
        raise AssertionError("the other side does not answer")
    return float(other.recv())


def _handled(thea: Thea, message: str) -> float:
    """Handle a message, and return when its reply was there."""
    thea.handle_request("ana", message)
    return perf_counter()


def _other(url: str, pipe: Connection) -> None:
    """Do what the other process does."""
    with _running(url) as (thea, agent):
        _answer(thea, agent, pipe)


def _answer(thea: Thea, agent: _Agent, pipe: Connection) -> None:
    """Handle each message that comes; tell before that it will be, and afterwards when its agent began."""
    while (message := pipe.recv()) is not None:
        pipe.send(perf_counter())
        _handled(thea, message)
        pipe.send(agent.began)
