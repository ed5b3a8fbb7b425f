"""Records of calls, as an application would have written them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from thea_core import CallbackRecord, CallRecord
from thea_core.callbacks.record_file import RecordFile
from thea_core.callbacks.record_lines import CallLine, HealthLine, ProcessLine, RecordLine, encode

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
GONE = 2**31 - 1
"""The number of a process that no machine has."""


def call(
    outcome: str = "ok",
    *,
    plugin: str = "weather",
    hook: str = "on_message",
    callback: str = "Weather.on_message",
    duration: float = 0.001,
    error: str | None = None,
    start: datetime = NOW,
) -> CallLine:
    """Return the line of one call of one callback."""
    return CallLine(7, CallRecord(hook, start, duration, (CallbackRecord(plugin, callback, duration, outcome, error),)))


def opened(*, hook: str = "on_message", pid: int = GONE, state: str = "open", after: float = 0.0) -> HealthLine:
    """Return the line of a circuit breaker that has changed."""
    reason = "5 failures in a row, the last: ValueError: no"
    return HealthLine(pid, NOW + timedelta(seconds=after), "weather", hook, state, reason)


def process(*, running: bool, pid: int = GONE, after: float = 0.0) -> ProcessLine:
    """Return the line of a process that has begun or ended."""
    return ProcessLine(pid, NOW + timedelta(seconds=after), running)


def write(path: Path, *lines: RecordLine) -> None:
    """Append lines to a record."""
    RecordFile(path.absolute()).append(b"".join(encode(each).encode() + b"\n" for each in lines))
