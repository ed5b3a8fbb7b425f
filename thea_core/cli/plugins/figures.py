"""What the record of calls says of each plugin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thea_core.cli.output import duration, moment

if TYPE_CHECKING:
    from thea_core.callbacks.record_lines import HealthLine, RecordLine
    from thea_core.callbacks.record_reader import PluginSummary, RecordSummary
    from thea_core.config import Config

__all__ = ["COLUMNS", "Figures", "PluginFigures", "is_running", "read_figures"]

COLUMNS = ("breaker", "failures", "timeouts", "drops", "mean", "worst")
_BAD = ("open", "half-open")
_NO_PLUGINS = frozenset({"local", "core"})  # the application's own callbacks, and whole transitions


@dataclass(frozen=True, slots=True)
class PluginFigures:
    """What the record says of one plugin.

    Attributes:
        summary: its calls; None where there is none in the record, or no record.
        breakers: the last change of each of its circuit breakers that is not closed, by hook.
    """

    summary: PluginSummary | None = None
    breakers: tuple[HealthLine, ...] = ()

    @property
    def breaker(self) -> str:
        """Its circuit breakers as one: ``"open: on_message"``."""
        states = ((state, [each.hook for each in self.breakers if each.state == state]) for state in _BAD)
        return "; ".join(f"{state}: {', '.join(hooks)}" for state, hooks in states if hooks) or "closed"

    def cells(self) -> list[str]:
        """Return what :data:`COLUMNS` show of it."""
        if self.summary is None:
            return ["-"] * len(COLUMNS)
        summary = self.summary
        times = [duration(each) if summary.calls else "-" for each in (summary.mean, summary.worst)]
        return [self.breaker, *map(str, (summary.failures, summary.timeouts, summary.dropped)), *times]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: numbers, times in seconds, and null for what is not known."""
        summary = self.summary
        if summary is None:
            return dict.fromkeys(
                ("breaker", "breakers", "calls", "failures", "timeouts", "drops", "skipped", "mean", "worst")
            )
        return {
            "breaker": next((state for state in _BAD if any(each.state == state for each in self.breakers)), "closed"),
            "breakers": [
                {"hook": each.hook, "state": each.state, "since": each.time.isoformat(), "reason": each.reason}
                for each in self.breakers
            ],
            "calls": summary.calls,
            "failures": summary.failures,
            "timeouts": summary.timeouts,
            "drops": summary.dropped,
            "skipped": summary.skipped,
            "mean": summary.mean if summary.calls else None,
            "worst": summary.worst if summary.calls else None,
        }


@dataclass(frozen=True, slots=True)
class Figures:
    """What the record says of all of them.

    Attributes:
        path: its file; None where none is configured, or that is not known.
        summary: what it adds up to; None where there is none, or it cannot be read.
        unreadable: how many of its lines are none of a record.
        error: why it cannot be read; else empty.
        plugins: the plugins of which it tells, by name.
    """

    path: Path | None = None
    summary: RecordSummary | None = None
    unreadable: int = 0
    error: str = ""
    plugins: dict[str, PluginFigures] = field(default_factory=dict)

    def of(self, plugin: str) -> PluginFigures:
        """Return what it says of one plugin."""
        return self.plugins.get(plugin) or PluginFigures()

    @property
    def told(self) -> str:
        """What the record is, in words: ``"calls.jsonl, as of 2026-01-01 12:00:00Z"``."""
        if self.summary is None or self.summary.latest is None:
            return f"{self.path}, in which there is nothing"
        lost = f"; {self.summary.lost} calls are missing in it" if self.summary.lost else ""
        return f"{self.path}, as of {moment(self.summary.latest)}{lost}"

    def to_json(self) -> dict[str, Any] | None:
        """Return the JSON form; None where there is no record."""
        if self.summary is None:
            return None
        latest = self.summary.latest
        return {
            "file": str(self.path),
            "as_of": None if latest is None else latest.isoformat(),
            "lost": self.summary.lost,
            "unreadable": self.unreadable,
        }


def read_figures(config: Config | None, base: Path, since: datetime | None = None) -> Figures:
    """Return what the record says that the configuration names. Nothing is raised: what is wrong is noted.

    Args:
        config: the configuration, where it can be read.
        base: the directory in which a relative path starts.
        since: from when on calls count; None for all. Circuit breakers count in any case, as long as they last.
    """
    if config is None or config.callbacks.record is None:
        return Figures()
    from thea_core.callbacks.record_reader import RecordReader, summarize

    reader = RecordReader(base / config.callbacks.record)
    try:
        summary = summarize(_lines_since(reader, since))
    except OSError as error:
        return Figures(reader.path, error=error.strerror or str(error))
    if summary.latest is None and not reader.path.exists():
        return Figures(reader.path)
    names = summary.plugins.keys() - _NO_PLUGINS
    plugins = {each: PluginFigures(summary.plugins[each], tuple(_not_closed(summary, each))) for each in names}
    return Figures(reader.path, summary, reader.unreadable, plugins=plugins)


def is_running(process: int) -> bool:
    """Whether a process of that number runs on this machine, whosever it is."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _lines_since(lines: Iterable[RecordLine], since: datetime | None) -> Iterator[RecordLine]:
    from thea_core.callbacks.record_lines import CallLine, LossLine
    from thea_core.callbacks.record_reader import time_of

    for line in lines:
        if since is None or not isinstance(line, CallLine | LossLine) or time_of(line) >= since:
            yield line


def _not_closed(summary: RecordSummary, plugin: str) -> Iterator[HealthLine]:
    """Give the circuit breakers that are not closed, but for those of a process that was killed and begun anew."""
    for _, line in sorted(summary.plugins[plugin].health.items()):
        begun_anew = summary.begun is not None and summary.begun > line.time
        if line.state in _BAD and (is_running(line.pid) or not begun_anew):
            yield line
