"""What a subject finds out: the rows of the table, and the targets that they are held against."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measure import Timings

__all__ = ["AT_LEAST", "AT_MOST", "Row", "Target", "as_json", "as_text", "cost", "missing", "speed"]

AT_MOST = "at most"
AT_LEAST = "at least"

_HEAD = ("what", "beside", "median", "min..max", "target", "met")


@dataclass(frozen=True)
class Target:
    """What the median of a row must keep to.

    Attributes:
        kind: :data:`AT_MOST` or :data:`AT_LEAST`.
        bound: the number.
    """

    kind: str
    bound: float

    def met_by(self, value: float) -> bool:
        """Whether ``value`` keeps to it."""
        return value <= self.bound if self.kind == AT_MOST else value >= self.bound


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what of Thea was measured.
        beside: what it was measured side by side with: a floor or a peer.
        values: one value for each round; empty where nothing could be measured.
        unit: of the values: ``"x"`` for ratios, else what stands after the number.
        target: what the median must keep to; None where there is no promise.
        note: why there are no values, or what a reader should know.
    """

    what: str
    beside: str
    values: tuple[float, ...] = ()
    unit: str = "x"
    target: Target | None = None
    note: str = ""

    @property
    def median(self) -> float | None:
        """The value that counts."""
        return statistics.median(self.values) if self.values else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or nothing was measured."""
        if self.target is None or self.median is None:
            return None
        return self.target.met_by(self.median)


def cost(what: str, beside: str, timings: Timings, at_most: float | None = None) -> Row:
    """Return how many times as long ``what`` takes as ``beside``."""
    target = None if at_most is None else Target(AT_MOST, at_most)
    return Row(what, beside, tuple(timings.ratios(what, beside)), target=target)


def speed(what: str, beside: str, timings: Timings, at_least: float | None = None) -> Row:
    """Return how many times as fast ``what`` is as ``beside``."""
    target = None if at_least is None else Target(AT_LEAST, at_least)
    return Row(what, beside, tuple(timings.ratios(beside, what)), unit="x as fast", target=target)


def missing(what: str, beside: str, why: str) -> Row:
    """Return a row that says why nothing was measured."""
    return Row(what, beside, note=why)


def as_text(rows: Sequence[Row]) -> str:
    """Return the table."""
    table = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEAD))]
    table.insert(1, tuple("-" * width for width in widths))
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join([*lines, *_notes(rows)])


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows as JSON has them."""
    return [{**asdict(row), "median": row.median, "met": row.met} for row in rows]


def _cells(row: Row) -> tuple[str, ...]:
    target = f"{row.target.kind} {row.target.bound:g}" if row.target else ""
    met = {True: "yes", False: "NO", None: ""}[row.met]
    if row.median is None:
        return row.what, row.beside, "-", "", target, row.note
    spread = f"{_number(min(row.values))}..{_number(max(row.values))}"
    return row.what, row.beside, f"{_number(row.median)} {row.unit}", spread, target, met


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    seen = {row.note: None for row in rows if row.note and row.median is not None}
    if seen:
        yield ""
    yield from seen


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
