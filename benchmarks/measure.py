"""Measures contenders side by side, so that what else the machine does strikes all of them alike.

One *batch* is a loop of some milliseconds over one statement; the batches of all contenders take turns: A B C A B C.
One *round* is many such turns: of each contender the fastest batch counts, and the round gives one ratio for each pair.
A result is the ratios of all rounds: their median, the smallest and the largest. An absolute time says more about the
machine than about the code, so only ratios are compared with a target.

The garbage collector runs as in production, and the statements stand in the loop themselves, as ``timeit`` does it: a
call of a function around each would flatter whatever is slow.
"""

from __future__ import annotations

import compileall
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from time import perf_counter_ns
from typing import Any

__all__ = ["Contender", "Effort", "Timings", "compile_bytecode", "interleave", "over", "statement", "take_turns"]

ROOT = Path(__file__).resolve().parents[1]

_LOOP = """
def batch(_count):
    {setup}
    _each = _repeat(None, _count)
    _start = _now()
    for _ in _each:
        {statement}
    return _now() - _start
"""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: how many ratios there are of each pair.
        turns: how many batches of each contender there are in a round; the fastest counts.
        batch: seconds that one batch takes, about.
    """

    rounds: int = 7
    turns: int = 10
    batch: float = 0.01


@dataclass(frozen=True)
class Contender:
    """Something to measure.

    Attributes:
        name: what it is called in the table.
        batch: does the work so many times, and returns the nanoseconds that it took.
    """

    name: str
    batch: Callable[[int], int]


@dataclass
class Timings:
    """The times of several contenders, measured in turns.

    Attributes:
        seconds: for each contender, the time of one go in each round.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def ratios(self, first: str, second: str) -> list[float]:
        """Return how many times as long the first takes as the second, round by round."""
        return [a / b for a, b in zip(self.seconds[first], self.seconds[second], strict=True)]

    def median(self, name: str) -> float:
        """Return the median over the rounds of the seconds that one go takes."""
        return statistics.median(self.seconds[name])


def statement(name: str, text: str, names: Mapping[str, Any]) -> Contender:
    """Return a contender that runs one statement, in which ``names`` stand for local variables."""
    setup = "; ".join(f"{each} = _names[{each!r}]" for each in names) or "pass"
    scope: dict[str, Any] = {"_now": perf_counter_ns, "_repeat": repeat, "_names": dict(names)}
    exec(compile(_LOOP.format(setup=setup, statement=text), f"<benchmark {name}>", "exec"), scope)
    return Contender(name, scope["batch"])


def over(name: str, items: Sequence[Any], function: Callable[[Any], object]) -> Contender:
    """Return a contender of which one go calls ``function`` with every item, in order.

    For what takes microseconds: beside them the call of a function is little.
    """

    def batch(count: int) -> int:
        start = perf_counter_ns()
        for _ in repeat(None, count):
            for each in items:
                function(each)
        return perf_counter_ns() - start

    return Contender(name, batch)


def interleave(contenders: Sequence[Contender], effort: Effort) -> Timings:
    """Measure contenders in turns; each does as much in a batch as fits into its time."""
    counts = {each.name: _fitting(each, effort.batch) for each in contenders}
    timings = Timings({each.name: [] for each in contenders})
    for _ in range(effort.rounds):
        fastest = dict.fromkeys(counts, float("inf"))
        for _ in range(effort.turns):
            for each in contenders:
                took = each.batch(counts[each.name]) / counts[each.name] / 1e9
                fastest[each.name] = min(fastest[each.name], took)
        for name, took in fastest.items():
            timings.seconds[name].append(took)
    return timings


def take_turns(
    goes: Mapping[str, Callable[[], float]], *, rounds: int, turns: int, pick: Callable[[list[float]], float] = min
) -> Timings:
    """Like :func:`interleave`, for goes that are long by themselves and tell their seconds.

    ``pick`` says which of the turns of a round counts: the fastest; where a disk takes part rather the median, since a
    disk that answers quickly once is not a quick disk.
    """
    timings = Timings({name: [] for name in goes})
    for go in goes.values():
        go()  # once for the caches of the disk
    for _ in range(rounds):
        taken: dict[str, list[float]] = {name: [] for name in goes}
        for _ in range(turns):
            for name, go in goes.items():
                taken[name].append(go())
        for name, seconds in taken.items():
            timings.seconds[name].append(pick(seconds))
    return timings


def compile_bytecode() -> None:
    """Compile what is measured, or the first go would time the compiler."""
    for folder in (ROOT / "thea_core", ROOT / "plugins", ROOT / "benchmarks"):
        compileall.compile_dir(folder, quiet=1)


def _fitting(contender: Contender, seconds: float) -> int:
    """Return how many goes take about ``seconds``; this warms up, too.

    Of three batches the fastest counts: an interruption, taken for work, would make all batches to come too short.
    """
    count = 1
    while (took := min(contender.batch(count) for _ in range(3)) / 1e9) < seconds / 4:
        count *= 4
    return max(1, round(count * seconds / took))
