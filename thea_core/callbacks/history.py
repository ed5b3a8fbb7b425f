"""What has been called: a ring of the last calls, exact totals, and observers.

A call of a chain costs one row in the log of the chain: ``(t0, t1, ..., failures)``. The log is one list of the rows'
values, one after another: a tuple that is kept for each row would be more memory to touch, and work for the garbage
collector. All else is done when somebody reads, or for hundreds of rows at once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from types import CoroutineType
from typing import Any, NamedTuple, overload

from thea_core.callbacks.binding import is_async, name_of
from thea_core.callbacks.failures import FailureLog
from thea_core.errors import RegistrationError
from thea_core.types import CallbackRecord, CallbackTotals, CallRecord, Clock, HistoryRecord

__all__ = ["Call", "Failure", "History", "Log", "Observer", "Recorder", "Row", "Seat", "Shape", "check_observer"]

_BATCH = 512  # rows that are added to the totals at once, which makes the cost of one small

Row = tuple[Any, ...]
Plan = tuple[tuple[str, int, int, tuple[tuple[str, str, int, int, str], ...], bool], ...]
"""How a row without failures is split: hook, begin, end, calls (plugin, callback, begin, end, outcome), delivery."""
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
        queued: which calls only put theirs on a queue, by their index: the outcome of these is ``"queued"``, not
            ``"ok"``.
        delivery: whether the rows tell what became of calls that were queued.
    """

    calls: tuple[Call, ...]
    spans: tuple[tuple[int, int, int], ...]
    groups: tuple[tuple[int, int], ...]
    queued: frozenset[int] = frozenset()
    delivery: bool = False

    def usual(self, index: int) -> str:
        """Return how a call ended of which nothing else is noted."""
        return "queued" if index in self.queued else "ok"

    @property
    def width(self) -> int:
        """How many values a row has: its times, and its failures."""
        return max((end for _, end, _ in self.spans), default=0) + 2


class Log:
    """The rows of one chain, and what the rows that have left it add up to. Made by :meth:`Recorder.log`.

    ``values.extend``, and :meth:`fold` when there are more than ``full``, is all that a call of the chain pays for.
    """

    def __init__(self, shape: Shape, size: int) -> None:
        self.shape = shape
        self.plan = _plan(shape)
        self.values: list[Any] = []  # extending and slicing are atomic
        self._width = shape.width
        self._kept = size * self._width
        self.full = self._kept + _BATCH * self._width
        self._lock = threading.Lock()
        self._totals = _Totals(shape)

    def rows(self) -> Iterator[Row]:
        """Return the rows that can be in the ring, oldest first."""
        return _split(self.values[-self._kept :], self._width)

    def fold(self) -> None:
        """Add the rows that can be in the ring no more to the totals.

        Where somebody is at it already, the next call does it: nobody waits, not even a finalizer that runs within.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            leaving = self.values[: -self._kept]
            del self.values[: len(leaving)]
            self._totals.add(leaving)
        finally:
            self._lock.release()

    def totals(self) -> _Totals:
        """Return what all rows add up to."""
        with self._lock:
            totals = self._totals.copy()
            totals.add(self.values[:])
            return totals

    def after_fork_in_child(self) -> None:
        """Take a fresh lock: the parent's may be held."""
        self._lock = threading.Lock()


class _Totals:
    """Counts of outcomes and nanoseconds of each call of a shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.outcomes: list[Counter[str]] = [Counter() for _ in shape.calls]
        self.nanoseconds = [0] * len(shape.calls)

    def copy(self) -> _Totals:
        copy = _Totals(self.shape)
        copy.outcomes = [Counter(each) for each in self.outcomes]
        copy.nanoseconds = list(self.nanoseconds)
        return copy

    def add(self, values: list[Any]) -> None:
        """Add the values of rows: where nothing failed by columns, else the rows that failed one by one."""
        width = self.shape.width
        failures = values[width - 1 :: width]
        if failures.count(None) < len(failures):
            smooth: list[Any] = []
            for row in _split(values, width):
                if row[-1]:
                    self._add_one(row)
                else:
                    smooth += row
            values = smooth
        if not values:
            return
        columns = [sum(values[place::width]) for place in range(width - 1)]
        for begin, end, index in self.shape.spans:
            self.nanoseconds[index] += columns[end] - columns[begin]
        for index, outcomes in enumerate(self.outcomes):
            outcomes[self.shape.usual(index)] += len(values) // width

    def _add_one(self, row: Row) -> None:
        for index, (_, duration, outcome, _error) in _results(self.shape, row).items():
            self.nanoseconds[index] += duration
            self.outcomes[index][outcome] += 1


class Seat:
    """An observer, once for each time that it was added."""

    __slots__ = ("observer",)

    def __init__(self, observer: Observer) -> None:
        self.observer = observer


class Recorder:
    """Keeps a log for each chain, and reads the last calls of all of them together. Thread-safe.

    Args:
        size: how many rows are kept; 0 keeps no rows and no totals.
        clock: measures and dates.
        failures: takes what observers raise.
    """

    def __init__(self, size: int, clock: Clock, failures: FailureLog) -> None:
        self.size = size
        self._failures = failures
        self._lock = threading.Lock()
        self._logs: dict[Shape, Log] = {}
        self._seats: tuple[Seat, ...] = ()
        self._zero = (clock.now(), clock.monotonic_ns())

    @property
    def active(self) -> bool:
        """Whether rows are wanted at all."""
        return bool(self.size or self._seats)

    @property
    def observed(self) -> bool:
        """Whether there are observers."""
        return bool(self._seats)

    def log(self, shape: Shape) -> Log:
        """Return the log of the chains that have this shape."""
        with self._lock:
            if shape not in self._logs:
                self._logs[shape] = Log(shape, self.size)
            return self._logs[shape]

    def record(self, log: Log, row: Row) -> None:
        """Take a row; what a compiled chain does by itself."""
        if self.size:
            log.values.extend(row)
            if len(log.values) > log.full:
                log.fold()
        if self._seats:
            self.notify(log, row)

    def add_observer(self, observer: Observer) -> Seat:
        """Give every row from now on to ``observer``, until its seat is given to :meth:`remove_observer`."""
        seat = Seat(observer)
        with self._lock:
            self._seats = (*self._seats, seat)
        return seat

    def remove_observer(self, seat: Seat) -> None:
        """Stop giving rows to the observer that has this seat."""
        with self._lock:
            self._seats = tuple(each for each in self._seats if each is not seat)

    def notify(self, log: Log, row: Row) -> None:
        """Give one row to every observer; one that fails is logged, and the others get it all the same."""
        plan = None if row[-1] else log.plan
        for record in self._call_records(log.shape, row) if plan is None else self._smooth_records(plan, row):
            for seat in self._seats:
                try:
                    _refuse_coroutine(seat.observer(record))
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    self._failures.report_observer(name_of(seat.observer), record.hook, error)

    def last(self) -> list[tuple[Shape, Row]]:
        """Return the rows that are in the ring, oldest first, by the time at which they ended."""
        if not self.size:
            return []
        with self._lock:
            logs = list(self._logs.values())
        rows = [(log.shape, row) for log in logs for row in log.rows()]
        rows.sort(key=lambda each: each[1][-2])
        return rows[-self.size :]

    def length(self) -> int:
        """Return how many calls of callbacks the ring holds."""
        return sum(len(_results(shape, row)) for shape, row in self.last())

    def records(self) -> Iterator[HistoryRecord]:
        """Split the rows of the ring into the records of single callbacks."""
        for shape, row in self.last():
            for index, (start, duration, outcome, error) in sorted(_results(shape, row).items()):
                hook, plugin, callback = shape.calls[index]
                yield HistoryRecord(hook, callback, plugin, self._date(start), duration / 1e9, outcome, error)

    def totals(self) -> dict[tuple[str, str, str], CallbackTotals]:
        """Return what each callback did, by hook, plugin and callback."""
        with self._lock:
            logs = list(self._logs.values())
        outcomes: dict[Call, Counter[str]] = {}
        nanoseconds: Counter[Call] = Counter()
        for totals in (log.totals() for log in logs):
            for call, counts, spent in zip(totals.shape.calls, totals.outcomes, totals.nanoseconds, strict=True):
                outcomes.setdefault(call, Counter()).update(counts)
                nanoseconds[call] += spent
        return {
            call: CallbackTotals(dict(counts), nanoseconds[call] / 1e9) for call, counts in outcomes.items() if counts
        }

    def after_fork_in_child(self) -> None:
        """Take fresh locks: the parent's may be held."""
        self._lock = threading.Lock()
        for log in self._logs.values():
            log.after_fork_in_child()

    def _call_records(self, shape: Shape, row: Row) -> Iterator[CallRecord]:
        results = _results(shape, row)
        for first, last in shape.groups:
            ran = [(shape.calls[index], results[index]) for index in range(first, last + 1) if index in results]
            if ran:
                start = min(result[0] for _, result in ran)
                end = max(row[end] for _, end, index in shape.spans if first <= index <= last)
                records = tuple(
                    CallbackRecord(call.plugin, call.callback, duration / 1e9, outcome, error)
                    for call, (_, duration, outcome, error) in ran
                )
                hook, seconds = shape.calls[first].hook, (end - start) / 1e9
                yield CallRecord(hook, self._date(start), seconds, records, shape.delivery)

    def _smooth_records(self, plan: Plan, row: Row) -> Iterator[CallRecord]:
        """Do the same for a row without failures, in half of the time."""
        for hook, begin, end, calls, delivery in plan:
            records = [
                CallbackRecord(plugin, callback, (row[stop] - row[start]) / 1e9, outcome, None)
                for plugin, callback, start, stop, outcome in calls
            ]
            yield CallRecord(hook, self._date(row[begin]), (row[end] - row[begin]) / 1e9, tuple(records), delivery)

    def _date(self, nanoseconds: int) -> datetime:
        date, zero = self._zero
        return date + timedelta(microseconds=(nanoseconds - zero) / 1000)


class History(Sequence[HistoryRecord]):
    """The last calls, oldest first: a view that is made anew at each look. Thread-safe."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __len__(self) -> int:
        return self._recorder.length()

    def __iter__(self) -> Iterator[HistoryRecord]:
        return self._recorder.records()

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


def check_observer(observer: object) -> None:
    """Refuse what cannot be called inline with a record.

    Raises:
        RegistrationError: it is no function, or an asynchronous one.
    """
    if not callable(observer) or is_async(observer):
        raise RegistrationError(f"add_observer: give a plain function of one CallRecord, not {observer!r}")


def _refuse_coroutine(result: object) -> None:
    if type(result) is CoroutineType:
        result.close()
        raise TypeError("an observer is called inline and must not be asynchronous")


def _results(shape: Shape, row: Row) -> dict[int, tuple[int, int, str, str | None]]:
    """Return start, duration, outcome and error of each callback of a row that ran, by its index."""
    results: dict[int, tuple[int, int, str, str | None]] = {}
    for begin, end, index in shape.spans:
        start, spent, *_ = results.get(index, (row[begin], 0))
        results[index] = (start, spent + row[end] - row[begin], shape.usual(index), None)
    for failure in row[-1] or ():
        if failure.outcome:
            results[failure.position] = (*results[failure.position][:2], failure.outcome, failure.error)
        else:
            del results[failure.position]
    return results


def _plan(shape: Shape) -> Plan | None:
    """Return how rows of the shape are split that have no failures; None where a call has two spans."""
    spans = {index: (begin, end) for begin, end, index in shape.spans}
    if len(spans) < len(shape.spans):
        return None
    plan = []
    for first, last in shape.groups:
        calls = [(*shape.calls[index][1:], *spans[index], shape.usual(index)) for index in range(first, last + 1)]
        if calls:
            begin, end = min(each[2] for each in calls), max(each[3] for each in calls)
            plan.append((shape.calls[first].hook, begin, end, tuple(calls), shape.delivery))
    return tuple(plan)


def _split(values: list[Any], width: int) -> Iterator[Row]:
    return zip(*[iter(values)] * width, strict=True)
