"""``thea history``."""

from __future__ import annotations

import heapq
import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thea_core.cli import exits
from thea_core.cli.exits import Refusal
from thea_core.cli.groups import json_option, verb
from thea_core.cli.options import Options
from thea_core.cli.output import plain, print_json, say, table, warn

if TYPE_CHECKING:
    from thea_core.callbacks.record_lines import CallLine, RecordLine
    from thea_core.callbacks.record_reader import RecordReader

__all__ = ["command"]

FAILURES = frozenset({"error", "timeout", "dropped", "open", "lost"})
"""What ``--failures`` shows: skipped calls follow from an open breaker, and a veto is an answer."""

_LOOK = 0.2  # seconds between two looks for more
_COLUMNS = {"time": 24, "outcome": 9, "duration": 10, "plugin": 12, "hook": 18, "callback": 28, "error": 0}


@dataclass(frozen=True, slots=True)
class Row:
    """One call of a callback; or what else the record tells, with a ``kind`` of its own.

    Attributes:
        kind: ``"call"``, ``"health"``, ``"begin"``, ``"end"`` or ``"lost"``.
        time: when it began.
        pid: in which process.
        outcome: how the call ended; of a circuit breaker its state; else one word.
        duration: seconds; None where nothing ran.
        plugin, hook, callback: whose it is; empty where it is of none.
        error: the exception's type and the start of its text, or another reason; else empty.
    """

    kind: str
    time: datetime
    pid: int
    outcome: str
    duration: float | None = None
    plugin: str = ""
    hook: str = ""
    callback: str = ""
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; what is empty is null."""
        texts = ("plugin", "hook", "callback", "error")
        return {
            "kind": self.kind,
            "time": self.time.isoformat(),
            "pid": self.pid,
            "outcome": self.outcome,
            "duration": self.duration,
            **{name: getattr(self, name) or None for name in texts},
        }

    def cells(self) -> list[str]:
        """Return what the columns show."""
        time = self.time.astimezone(UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z")
        duration = "" if self.duration is None else f"{self.duration * 1000:.3f} ms"
        return [time, self.outcome, duration, self.plugin, self.hook, self.callback, self.error]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are asked for.

    Attributes:
        plugin, hook: of which plugin and hook; None is any.
        failures: only what did not go well.
        slowest: only calls that can be compared: a whole transition, which contains others, only if ``hook`` names it.
    """

    plugin: str | None
    hook: str | None
    failures: bool
    slowest: bool

    def __contains__(self, row: Row) -> bool:
        """Whether the row is asked for."""
        if (self.plugin or row.plugin) != row.plugin or (self.hook or row.hook) != row.hook:
            return False
        if self.slowest and (row.duration is None or (row.hook == "transition" and not self.hook)):
            return False
        return not self.failures or row.outcome in FAILURES


@verb("history", statuses=(exits.CONFIG,), failed="no record is configured, or it cannot be read")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--failures", is_flag=True, help="Only what failed: error, timeout, dropped, and breakers that open.")
@click.option("--slowest", is_flag=True, help="The calls that took longest, the longest first.")
@click.option("--plugin", metavar="NAME", help="Only calls of this plugin; local for the application's own functions.")
@click.option("--hook", metavar="NAME", help="Only calls of this hook; transition for whole transitions.")
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), default=20, show_default=True, help="How many.")
@json_option
@click.pass_obj
def command(
    options: Options,
    file: Path | None,
    *,
    follow: bool,
    failures: bool,
    slowest: bool,
    plugin: str | None,
    hook: str | None,
    count: int,
) -> None:
    """Show the last calls of callbacks, of an application that runs or has run.

    They stand in the file that [callbacks] record names, if the application has written one; FILE is another such file.
    Nothing of the application is loaded or asked. Besides the calls it tells when processes began and ended, when a
    circuit breaker changed its state, and where calls are missing.

    With --json a list stands under "rows"; with --follow, too, each row is one line of JSON.
    """
    if follow and slowest:
        raise click.UsageError("--slowest needs the end of the record, and with --follow there is none: leave out one")
    from thea_core.callbacks.record_reader import RecordReader

    reader = RecordReader(file or _configured(options))
    wanted = Wanted(plugin, hook, failures, slowest)
    try:
        if follow:
            _follow(reader, wanted, count, as_json=options.json)
        else:
            _show(reader, wanted, count, as_json=options.json)
    except OSError as error:
        if error.filename is None:
            raise
        raise Refusal(f"{error.filename} cannot be read: {error.strerror}", code="file") from None


def _configured(options: Options) -> Path:
    config = options.load()
    if config.callbacks.record is None:
        example = '[callbacks] record = "calls.jsonl"'
        where = options.file() if config.source is None else config.source
        raise Refusal(
            f"no record is configured, so nothing is known of any call: write {example} into {where} and start the "
            "application again, or name a file: thea history FILE",
            code="no-record",
        )
    return options.base / config.callbacks.record


def _show(reader: RecordReader, wanted: Wanted, count: int, *, as_json: bool) -> None:
    names = set[str]()
    rows = _chosen(_rows_of(reader, names), wanted, count)
    if not names and not reader.path.exists():
        raise Refusal(
            f"there is no record {reader.path} yet: the application writes it while it runs, where [callbacks] record "
            "names it; a relative path starts in the directory in which the application was started",
            code="file",
        )
    if as_json:
        shown = [each.to_json() for each in rows]
        print_json({"file": str(reader.path), "rows": shown, "unreadable": reader.unreadable})
    elif rows or not count:
        table(list(_COLUMNS), [each.cells() for each in rows])
    else:
        say(_nothing(wanted, names))
    if reader.unreadable:
        warn(f"{reader.unreadable} lines of {reader.path} are none of a record; they are left out")


def _chosen(rows: Iterable[Row], wanted: Wanted, count: int) -> list[Row]:
    found = (each for each in rows if each in wanted)
    if wanted.slowest:
        return heapq.nlargest(count, found, key=lambda each: each.duration or 0.0)
    return list(deque(found, count))


def _nothing(wanted: Wanted, names: set[str]) -> str:
    text = "There is no such call in the record." if names else "There is no call in the record."
    if wanted.plugin and wanted.plugin not in names:
        text += f" It has calls of: {', '.join(sorted(names)) or 'none'}."
    return text


def _follow(reader: RecordReader, wanted: Wanted, count: int, *, as_json: bool) -> None:
    first: deque[Row] | None = deque(maxlen=count)
    pause = threading.Event()  # on which nobody waits but this
    if not reader.path.exists():
        click.echo(f"There is no record {plain(str(reader.path))} yet; it is awaited. Ctrl-C ends.", err=True)
    try:
        for line in reader.follow():
            rows = [] if line is None else [each for each in _rows(line) if each in wanted]
            if first is None:
                _print(rows, as_json=as_json)
            else:
                first.extend(rows)
            if line is None:
                if first is not None:
                    _print_head(as_json=as_json)
                    _print(first, as_json=as_json)
                    first = None
                pause.wait(_LOOK)
    except KeyboardInterrupt:  # the one end that there is
        return


def _print_head(*, as_json: bool) -> None:
    if not as_json:
        click.echo(_in_columns([name.upper() for name in _COLUMNS]))


def _print(rows: Iterable[Row], *, as_json: bool) -> None:
    for row in rows:
        click.echo(json.dumps(row.to_json()) if as_json else _in_columns(row.cells()))


def _in_columns(cells: list[str]) -> str:
    """Return cells below each other as far as their columns are wide enough: what comes is not known yet."""
    padded = (plain(cell).replace("\n", " ").ljust(width) for cell, width in zip(cells, _COLUMNS.values(), strict=True))
    return "  ".join(padded).rstrip()


def _rows_of(reader: RecordReader, names: set[str]) -> Iterator[Row]:
    """Give all rows of a record, and note of which plugins there are calls."""
    for line in reader:
        for row in _rows(line):
            if row.kind == "call":
                names.add(row.plugin)
            yield row


def _rows(line: RecordLine) -> Iterator[Row]:
    from thea_core.callbacks.record_lines import CallLine, HealthLine, ProcessLine

    if isinstance(line, CallLine):
        yield from _rows_of_call(line)
    elif isinstance(line, HealthLine):
        yield Row(
            "health",
            line.time,
            line.pid,
            line.state,
            plugin=line.plugin,
            hook=line.hook,
            callback="(circuit breaker)",
            error=line.reason,
        )
    elif isinstance(line, ProcessLine):
        kind, outcome = ("begin", "started") if line.running else ("end", "stopped")
        yield Row(kind, line.time, line.pid, outcome, callback=f"(process {line.pid})")
    else:
        yield Row("lost", line.time, line.pid, "lost", callback=f"({line.records} calls are missing)")


def _rows_of_call(line: CallLine) -> Iterator[Row]:
    call = line.call
    for each in call.callbacks:
        yield Row(
            "call",
            call.start,
            line.pid,
            each.outcome,
            duration=each.duration,
            plugin=each.plugin,
            hook=call.hook,
            callback=each.callback,
            error=each.error or "",
        )
