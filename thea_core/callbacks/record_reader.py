"""Reading a record file from outside, also while it is written and rotated; and what it adds up to for each plugin."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

from thea_core.callbacks.record_lines import (
    CallLine,
    HealthLine,
    ProcessLine,
    RecordLine,
    decode,
    rotated_path,
)
from thea_core.types import CallbackRecord, CallRecord

__all__ = ["SLOW", "CallbackTimes", "PluginSummary", "RecordReader", "RecordSummary", "Trouble", "summarize", "time_of"]

SLOW: Final = 0.1
"""Seconds: a call that takes longer is one that somebody notices who waits for it."""

_LONGEST = 2**20  # bytes of a line
_RAN = ("ok", "veto", "error", "timeout", "cancelled")
_TROUBLES = ("error", "timeout", "dropped", "skipped")
_STATES = ("closed", "half-open", "open")  # from good to bad


class RecordReader:
    """Reads what a :class:`~thea_core.callbacks.record_file.RecordWriter` writes; in any process, without a lock.

    ::

        for line in RecordReader(Path("calls.jsonl")):
            ...

    Not thread-safe.

    Args:
        path: the file; the one before it, ``FILE.1``, is read too.

    Attributes:
        unreadable: how many lines so far were none of a record; a last line that is not ended yet is left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable = 0

    def __iter__(self) -> Iterator[RecordLine]:
        """Give all lines that are there, oldest first.

        Raises:
            OSError: a file is there and cannot be read.
        """
        with closing(self.follow()) as lines:
            for line in lines:
                if line is None:
                    return
                yield line

    def follow(self) -> Generator[RecordLine | None]:
        """Give all lines that are there, and then what comes; None each time when nothing more is there yet.

        Whoever gets a None waits as long as it likes, and asks again. The file may be missing, and come later. Where it
        is rotated, reading goes on in the next one; nothing is missed that is not rotated away twice before it is read.

        Raises:
            OSError: a file is there and cannot be read.
        """
        files: list[BinaryIO] = []  # the one that is read, last; and the one before, open so that none takes its place
        try:
            while True:
                if files:
                    yield from self._lines(files[-1])
                following = self._following(files)
                if following is None:
                    yield None
                    continue
                if files:  # what came between the last look and the rotation
                    yield from self._lines(files[-1])
                    self.unreadable += bool(files[-1].read(1))  # it ends within a line
                    if len(files) > 1:
                        files.pop(0).close()
                files.append(following)
        finally:
            for each in files:
                each.close()

    def _following(self, files: list[BinaryIO]) -> BinaryIO | None:
        """Open the file that comes after the last of ``files``; None where there is none yet."""
        newest = _open(self.path)  # in this order: where it is rotated between the two, it is found all the same
        rotated = _open(rotated_path(self.path))
        found = [each for each in (rotated, newest) if each is not None]
        unread = [each for each in found if not any(_same(each, known) for known in files)]
        if files and (newest is None or newest not in unread):  # it is the last, or removed, or just being rotated
            unread = []
        following = unread[0] if unread else None
        for each in found:
            if each is not following:
                each.close()
        return following

    def _lines(self, file: BinaryIO) -> Iterator[RecordLine]:
        """Give the whole lines that are there from the place on at which ``file`` is."""
        if os.fstat(file.fileno()).st_size < file.tell():  # somebody has emptied it
            file.seek(0)
        while True:
            start = file.tell()
            raw = file.readline(_LONGEST)
            if not raw.endswith(b"\n") and len(raw) < _LONGEST:
                file.seek(start)
                return
            try:
                yield decode(raw)
            except ValueError:
                self.unreadable += 1


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))


@dataclass(frozen=True, slots=True)
class Trouble:
    """A callback that did not end well.

    Attributes:
        time: when the call began, aware, in UTC.
        hook, callback: what was called.
        outcome: ``"error"``, ``"timeout"``, ``"dropped"`` or ``"skipped"``.
        error: the exception's type and the start of its text, or None.
    """

    time: datetime
    hook: str
    callback: str
    outcome: str
    error: str | None


@dataclass(slots=True)
class CallbackTimes:
    """How long the calls of one callback took; those whose time was up are left out.

    Attributes:
        calls: how many.
        seconds: the time spent in them, in all.
        worst: the longest, in seconds.
        slow: how many took longer than :data:`SLOW`.
    """

    calls: int = 0
    seconds: float = 0.0
    worst: float = 0.0
    slow: int = 0

    @property
    def mean(self) -> float:
        """The mean time of a call, in seconds; 0 where there is none."""
        return self.seconds / self.calls if self.calls else 0.0

    def add(self, duration: float) -> None:
        """Count one call."""
        self.calls += 1
        self.seconds += duration
        self.worst = max(self.worst, duration)
        self.slow += duration > SLOW


@dataclass(slots=True)
class PluginSummary:
    """What a record says of one plugin.

    Attributes:
        outcomes: how many of its callbacks' calls ended in each outcome.
        seconds: the time spent in them, in all.
        worst: the longest of them, in seconds; ``worst_call`` is its hook and callback.
        times: the times of each of its callbacks, by hook and callback.
        last: the last call of each outcome that is not good.
        breakers: the last change of each of its circuit breakers, by process and hook; of processes that have not
            ended.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    worst: float = 0.0
    worst_call: tuple[str, str] | None = None
    times: dict[tuple[str, str], CallbackTimes] = field(default_factory=dict)
    last: dict[str, Trouble] = field(default_factory=dict)
    breakers: dict[tuple[int, str], HealthLine] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """How many calls have run, however they ended; those that were queued, skipped or dropped are none."""
        return sum(self.outcomes[each] for each in _RAN)

    @property
    def failures(self) -> int:
        """How many calls raised."""
        return self.outcomes["error"]

    @property
    def timeouts(self) -> int:
        """How many calls took too long."""
        return self.outcomes["timeout"]

    @property
    def dropped(self) -> int:
        """How many events found the plugin's queue full, or closed before their turn."""
        return self.outcomes["dropped"]

    @property
    def skipped(self) -> int:
        """How many calls were left out: an open circuit breaker, or no thread to be had."""
        return self.outcomes["skipped"]

    @property
    def mean(self) -> float:
        """The mean time of a call, in seconds; 0 where there is none."""
        return self.seconds / self.calls if self.calls else 0.0

    @property
    def last_failure(self) -> Trouble | None:
        """The last error or timeout; None where there is none."""
        failures = (self.last[each] for each in ("error", "timeout") if each in self.last)
        return max(failures, key=lambda each: each.time, default=None)

    @property
    def health(self) -> dict[str, HealthLine]:
        """The state of its circuit breakers, by hook; where several processes have one, the worst of them."""
        worst: dict[str, HealthLine] = {}
        for (_, hook), line in self.breakers.items():
            if hook not in worst or _badness(line) >= _badness(worst[hook]):
                worst[hook] = line
        return worst

    def add(self, call: CallRecord, callback: CallbackRecord) -> None:
        """Count one call of one of its callbacks."""
        self.outcomes[callback.outcome] += 1
        if callback.outcome in _TROUBLES:
            trouble = Trouble(call.start, call.hook, callback.callback, callback.outcome, callback.error)
            self.last[callback.outcome] = trouble
        if callback.outcome not in _RAN:
            return
        self.seconds += callback.duration
        whose = call.hook, callback.callback
        if self.worst_call is None or callback.duration > self.worst:
            self.worst, self.worst_call = callback.duration, whose
        if callback.outcome != "timeout":
            self.times.setdefault(whose, CallbackTimes()).add(callback.duration)


def _badness(line: HealthLine) -> int:
    return _STATES.index(line.state) if line.state in _STATES else 0


@dataclass(slots=True)
class RecordSummary:
    """What a record adds up to.

    Attributes:
        plugins: by name; ``"local"`` for the application's own callbacks, ``"core"`` for whole transitions.
        first, last: when its first and its last call began; None where it has none.
        latest: the latest moment of which any line tells; None where there is none.
        begun: when the last process began to write; None where none is known.
        lost: how many calls are missing in it.
    """

    plugins: dict[str, PluginSummary] = field(default_factory=dict)
    first: datetime | None = None
    last: datetime | None = None
    latest: datetime | None = None
    begun: datetime | None = None
    lost: int = 0

    def add(self, line: RecordLine) -> None:
        """Take one more line."""
        self.latest = _later(self.latest, time_of(line))
        if isinstance(line, CallLine):
            self.first, self.last = self.first or line.call.start, line.call.start
            for each in line.call.callbacks:
                self._plugin(each.plugin).add(line.call, each)
        elif isinstance(line, HealthLine):
            self._plugin(line.plugin).breakers[line.pid, line.hook] = line
        elif isinstance(line, ProcessLine):
            self._forget_breakers(line.pid)
            if line.running:
                self.begun = _later(self.begun, line.time)
        else:
            self.lost += line.records

    def _plugin(self, name: str) -> PluginSummary:
        return self.plugins.setdefault(name, PluginSummary())

    def _forget_breakers(self, pid: int) -> None:
        """Forget the breakers of a process that has ended, or whose number another one has now: they are gone."""
        for plugin in self.plugins.values():
            plugin.breakers = {place: line for place, line in plugin.breakers.items() if line.pid != pid}


def time_of(line: RecordLine) -> datetime:
    """Return the moment of which a line tells; of a call, when it had ended."""
    if isinstance(line, CallLine):
        return _ended(line.call)
    return line.time


def _ended(call: CallRecord) -> datetime:
    try:
        return call.start + timedelta(seconds=call.duration)
    except OverflowError:
        return call.start


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)


def summarize(lines: Iterable[RecordLine]) -> RecordSummary:
    """Return what the lines of a record add up to: ``summarize(RecordReader(path))``."""
    summary = RecordSummary()
    for line in lines:
        summary.add(line)
    return summary
