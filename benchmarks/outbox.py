"""What durable delivery costs: a turn whose events are stored with it, and bringing stored events to a plugin."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from threading import Event
from time import perf_counter

from benchmarks.assistant import BOTH, assistant, installed, on_disk
from benchmarks.databases import Database
from benchmarks.disk import TURNS, messages_to
from benchmarks.measure import Effort, take_turns
from benchmarks.rows import Row, cost, missing
from thea_core import Thea, hookimpl
from thea_core.types import Outbox

__all__ = ["deliveries", "stored_events"]

TURNS_TO_TELL, FEW = 600, 200
QUEUED = 1_000
"""How many events are put on a queue at once, which has room for more."""

_STORED = "turns with their events stored, "
_NONE = "none stored, "
NOTE = "Of a plugin that does nothing; for orientation."
_PATIENCE = 60.0  # seconds until a measurement that hangs is given up


class _Watcher:
    """Implements the six events, and does nothing but count them."""

    name = "watcher"

    def __init__(self, delivery: str, wanted: int = 0) -> None:
        self.delivery = delivery
        self._first = self._last = 0.0
        self._all = Event()
        self._counted = 0
        self._wanted = wanted

    @hookimpl
    def on_message(self, user_id: str, message: str, timestamp: datetime) -> None:  # noqa: ARG002
        """Count it. A callback gets what it names, so this names all: each event has to be stored whole."""
        self._count()

    @hookimpl
    def on_state_change(self, user_id: str, old_state: str, new_state: str) -> None:  # noqa: ARG002
        """Count it."""
        self._count()

    @hookimpl
    def on_error(self, user_id: str, error: Exception, traceback: str) -> None:  # noqa: ARG002
        """Count it."""
        self._count()

    @hookimpl
    def on_session_timeout(self, user_id: str, session_id: str) -> None:  # noqa: ARG002
        """Count it."""
        self._count()

    @hookimpl
    def on_intent_detected(self, user_id: str, intent: str, score: float) -> None:  # noqa: ARG002
        """Count it."""
        self._count()

    @hookimpl
    def on_agent_delegated(self, user_id: str, agent: str, intent: str) -> None:  # noqa: ARG002
        """Count it."""
        self._count()

    def rate(self) -> float:
        """Wait for all events that are wanted; return how many came in a second."""
        if not self._all.wait(_PATIENCE):
            raise AssertionError(f"{self._counted} of {self._wanted} events came")
        return (self._wanted - 1) / (self._last - self._first)

    def _count(self) -> None:
        self._counted += 1
        if self._counted == 1:
            self._first = perf_counter()
        elif self._counted == self._wanted:
            self._last = perf_counter()
            self._all.set()


def stored_events(effort: Effort, new: Callable[[], Database], folder: Path) -> Iterator[Row]:
    """Give the rows of one kind of store; ``new`` gives a database that is empty.

    Nothing is delivered, since another process may do that; between the goes the outbox is emptied.
    """
    goes: dict[str, Callable[[], float]] = {}
    pairs = {"no other plugin": (), "both plugins": BOTH}
    with ExitStack() as stack:
        for others, plugins in list(pairs.items()):
            if not installed(plugins):
                yield missing(_STORED + others, _NONE + others, "thea-logging and thea-agenda are not installed")
                del pairs[others]
                continue
            for name, objects in ((_STORED, [_Watcher("durable")]), (_NONE, [])):
                database, own = new(), Path(mkdtemp(dir=folder))
                thea = stack.enter_context(assistant(database.url, plugins, own, objects=objects, worker=False))
                go = messages_to(on_disk(thea))
                goes[name + others] = _emptied_after(go, thea) if objects else go
                database.warm_up(goes[name + others])
        timings = take_turns(goes, rounds=effort.rounds, turns=max(3, effort.turns), pick=statistics.median)
    for others in pairs:
        row = cost(_STORED + others, _NONE + others, timings, at_most=1.33)
        yield replace(row, what=f"{row.what}, {database.name}")
        more = zip(timings.seconds[_STORED + others], timings.seconds[_NONE + others], strict=True)
        each = tuple((seconds - without) / TURNS * 1e3 for seconds, without in more)
        yield Row("- what the events take", "", each, unit="ms")


def deliveries(effort: Effort, database: Callable[[], Database]) -> Iterator[Row]:
    """Give the rows of how many events a second get to a plugin, from a store and from a queue.

    Every go has a database of its own.
    """
    rounds = range(max(3, effort.rounds // 2))
    turns = TURNS_TO_TELL if effort.rounds > 3 else FEW
    for name, found in {
        f"events out of the store, {database().name}": [_delivered(database().url, turns) for _ in rounds],
        "events from a queue in memory (delivery = background)": [_queued() for _ in rounds],
    }.items():
        yield Row(name, "", tuple(found), unit="a second", note=NOTE)


def _watched(url: str, watcher: _Watcher, *, worker: bool = True) -> Thea:
    return Thea({"store": {"url": url}}, plugins=[watcher], worker=worker)


def _emptied_after(go: Callable[[], float], thea: Thea) -> Callable[[], float]:
    """Return the go, after which the outbox is emptied; that is not in its time."""

    def go_and_empty() -> float:
        took = go()
        if not _empty(_outbox(thea)):
            raise AssertionError("no event was stored")
        return took

    return go_and_empty


def _empty(outbox: Outbox) -> int:
    return outbox.drop([event.number for event in outbox.list(limit=1_000_000)])


def _outbox(thea: Thea) -> Outbox:
    if (outbox := thea.store.outbox) is None:
        raise AssertionError("the stores of the core have an outbox")
    return outbox


def _delivered(url: str, turns: int) -> float:
    """Store the events of so many turns, then deliver them; return how many arrived in a second."""
    with _watched(url, _Watcher("durable"), worker=False) as thea:
        go = messages_to(on_disk(thea))
        for _ in range(turns // TURNS):
            go()
        stored = len(_outbox(thea).list(limit=1_000_000))
    watcher = _Watcher("durable", stored)
    with _watched(url, watcher):
        return watcher.rate()


def _queued() -> float:
    watcher = _Watcher("background", QUEUED)
    with _watched("memory:", watcher) as thea:
        now = datetime.now(UTC)
        for _ in range(QUEUED):
            thea.callbacks.trigger("on_message", user_id="ana", message="hello", timestamp=now)
        return watcher.rate()
