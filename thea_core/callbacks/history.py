"""What has been called: a ring of the last calls, exact totals, and observers.

A call of a chain costs one tuple and one ``append``: ``(shape, t0, t1, ..., failures)``, where the shape is a number,
so that the garbage collector need not look at the tuple again. All else is done when somebody reads, or for a thousand
rows at once.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple, overload

from thea_core.types import CallbackRecord, CallbackTotals, CallRecord, Clock, HistoryRecord

__all__ = ["Call", "Failure", "History", "Observer", "Recorder", "Row", "Shape"]

logger = logging.getLogger("thea_core.callbacks")

_BATCH = 1024  # rows that are added to the totals at once: their cost is spread, and stays below a tenth of a call

Row = tuple[Any, ...]
Observer = Callable[[CallRecord], object]


class Failure(NamedTuple):
    """How a callback ended that did not end well; an empty outcome says that it was not called."""

    position: int
    outcome: str
    error: str | None


class Call(NamedTuple):
    """One callback in the rows of a chain."""

    hook: str
    plugin: str
    callback: str


class Shape(NamedTuple):
    """What the rows of one chain have in common.

    Attributes:
        calls: the callbacks.
        spans: begin and end, as numbers of times in the row, and whose time it is; a wrapper has two spans.
        groups: how the calls are split into calls of hooks, as observers get them: first and last call.
    """

    calls: tuple[Call, ...]
    spans: tuple[tuple[int, int, int], ...]
    groups: tuple[tuple[int, int], ...]


class Recorder:
    """Takes rows. Thread-safe; ``rows.append`` is the only thing on the way of a call.

    Args:
        size: how many rows are kept; 0 keeps no rows and no totals.
        clock: measures and dates.
    """

    def __init__(self, size: int, clock: Clock) -> None:
        self.size = size
        self.rows: list[Row] = []  # appending and slicing are atomic
        self.full = size + _BATCH
        self._shapes: list[Shape] = []
        self._numbers: dict[Shape, int] = {}
        self._lock = threading.Lock()
        self._outcomes: dict[Call, Counter[str]] = {}
        self._nanoseconds: Counter[Call] = Counter()
        self._observers: tuple[Observer, ...] = ()
        self._clock = clock
        self._zero = (clock.now(), clock.monotonic_ns())

    @property
    def active(self) -> bool:
        """Whether rows are wanted at all."""
        return bool(self.size or self._observers)

    @property
    def observed(self) -> bool:
        """Whether there are observers."""
        return bool(self._observers)

    def number(self, shape: Shape) -> int:
        """Return the number that stands for a shape in rows."""
        with self._lock:
            if shape not in self._numbers:
                self._shapes.append(shape)
                self._numbers[shape] = len(self._shapes) - 1
            return self._numbers[shape]

    def record(self, row: Row) -> None:
        """Take a row; what a compiled chain does by itself."""
        if self.size:
            self.rows.append(row)
            if len(self.rows) > self.full:
                self.fold()
        if self._observers:
            self.notify(row)

    def add_observer(self, observer: Observer) -> None:
        """Give every row from now on to ``observer``."""
        with self._lock:
            self._observers = (*self._observers, observer)

    def remove_observer(self, observer: Observer) -> None:
        """Stop giving rows to ``observer``."""
        with self._lock:
            self._observers = tuple(each for each in self._observers if each is not observer)

    def notify(self, row: Row) -> None:
        """Give one row to every observer; one that fails is logged, and the others get it all the same."""
        for record in self._call_records(row):
            for observer in self._observers:
                try:
                    observer(record)
                except KeyboardInterrupt:
                    raise
                except BaseException:
                    logger.exception("an observer of calls failed; the others go on")

    def fold(self) -> None:
        """Add the rows that leave the ring to the totals."""
        with self._lock:
            leaving = self.rows[: -self.size]
            del self.rows[: len(leaving)]
            self._add(leaving, self._outcomes, self._nanoseconds)

    def snapshot(self) -> list[Row]:
        """Return the rows that are kept, oldest first."""
        return self.rows[-self.size :] if self.size else []

    def totals(self) -> dict[tuple[str, str, str], CallbackTotals]:
        """Return what each callback did, by hook, plugin and callback."""
        with self._lock:
            outcomes = {key: Counter(counts) for key, counts in self._outcomes.items()}
            nanoseconds = Counter(self._nanoseconds)
            self._add(self.rows[:], outcomes, nanoseconds)
        return {key: CallbackTotals(dict(counts), nanoseconds[key] / 1e9) for key, counts in outcomes.items()}

    def records(self, row: Row) -> Iterator[HistoryRecord]:
        """Split a row into the records of its callbacks."""
        shape = self._shapes[row[0]]
        for index, (start, duration, outcome, error) in sorted(_results(shape, row).items()):
            hook, plugin, callback = shape.calls[index]
            yield HistoryRecord(hook, callback, plugin, self._date(start), duration / 1e9, outcome, error)

    def after_fork_in_child(self) -> None:
        """Take a fresh lock: the parent's may be held."""
        self._lock = threading.Lock()

    def _call_records(self, row: Row) -> Iterator[CallRecord]:
        shape = self._shapes[row[0]]
        results = _results(shape, row)
        for first, last in shape.groups:
            ran = [(shape.calls[index], results[index]) for index in range(first, last + 1) if index in results]
            if ran:
                start = min(result[0] for _, result in ran)
                end = max(row[1 + end] for _, end, index in shape.spans if first <= index <= last)
                records = tuple(
                    CallbackRecord(call.plugin, call.callback, duration / 1e9, outcome, error)
                    for call, (_, duration, outcome, error) in ran
                )
                yield CallRecord(shape.calls[first].hook, self._date(start), (end - start) / 1e9, records)

    def _date(self, nanoseconds: int) -> datetime:
        date, zero = self._zero
        return date + timedelta(microseconds=(nanoseconds - zero) / 1000)

    def _add(self, rows: list[Row], outcomes: dict[Call, Counter[str]], nanoseconds: Counter[Call]) -> None:
        """Add rows to totals: those in which nothing failed by columns, the others one by one."""
        smooth: defaultdict[int, list[Row]] = defaultdict(list)
        for row in rows:
            if row[-1] is None:
                smooth[row[0]].append(row)
            else:
                self._add_one(row, outcomes, nanoseconds)
        for number, group in smooth.items():
            shape = self._shapes[number]
            columns = [sum(map(itemgetter(place), group)) for place in range(1, len(group[0]) - 1)]
            for begin, end, index in shape.spans:
                nanoseconds[shape.calls[index]] += columns[end] - columns[begin]
            for call in shape.calls:
                outcomes.setdefault(call, Counter())["ok"] += len(group)

    def _add_one(self, row: Row, outcomes: dict[Call, Counter[str]], nanoseconds: Counter[Call]) -> None:
        shape = self._shapes[row[0]]
        for index, (_, duration, outcome, _error) in _results(shape, row).items():
            nanoseconds[shape.calls[index]] += duration
            outcomes.setdefault(shape.calls[index], Counter())[outcome] += 1

    def length(self) -> int:
        """Return how many calls of callbacks the rows hold."""
        return sum(len(_results(self._shapes[row[0]], row)) for row in self.snapshot())


class History(Sequence[HistoryRecord]):
    """The last calls, oldest first: a view that is made anew at each look. Thread-safe."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __len__(self) -> int:
        return self._recorder.length()

    def __iter__(self) -> Iterator[HistoryRecord]:
        for row in self._recorder.snapshot():
            yield from self._recorder.records(row)

    @overload
    def __getitem__(self, index: int) -> HistoryRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[HistoryRecord]: ...

    def __getitem__(self, index: int | slice) -> HistoryRecord | list[HistoryRecord]:
        return list(self)[index]

    def __repr__(self) -> str:
        return f"<History: {len(self)} calls>"

    def totals(self) -> dict[tuple[str, str, str], CallbackTotals]:
        """Return exact totals by ``(hook, plugin, callback)``, also of calls that have left the ring."""
        return self._recorder.totals()


def _results(shape: Shape, row: Row) -> dict[int, tuple[int, int, str, str | None]]:
    """Return start, duration, outcome and error of each callback of a row that ran, by its index."""
    results: dict[int, tuple[int, int, str, str | None]] = {}
    for begin, end, index in shape.spans:
        start, spent, *_ = results.get(index, (row[1 + begin], 0))
        results[index] = (start, spent + row[1 + end] - row[1 + begin], "ok", None)
    for failure in row[-1] or ():
        if failure.outcome:
            results[failure.position] = (*results[failure.position][:2], failure.outcome, failure.error)
        else:
            del results[failure.position]
    return results
