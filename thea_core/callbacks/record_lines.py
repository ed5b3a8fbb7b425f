"""The lines of a record file: what each kind holds, and its form. One line is one JSON object, in ASCII.

::

    {"kind":"call","pid":7,"hook":"on_message","start":"2026-01-01T00:00:00+00:00","duration":0.002,"callbacks":[...]}

A reader skips what it does not know, so that a newer Thea may add keys and kinds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from thea_core.types import CallbackRecord, CallRecord

__all__ = ["CallLine", "HealthLine", "LossLine", "ProcessLine", "RecordLine", "decode", "encode", "rotated_path"]

_LONGEST = 300  # characters of a text; a name may be as long as a plugin likes


class CallLine(NamedTuple):
    """One finished call of a chain.

    Attributes:
        pid: the process in which it ran.
        call: the call, as observers get it.
    """

    pid: int
    call: CallRecord


class HealthLine(NamedTuple):
    """A circuit breaker has changed its state.

    Attributes:
        pid: the process whose breaker it is.
        time: when, aware, in UTC.
        plugin: the plugin's name, or ``"local"``.
        hook: the hook's name.
        state: ``"closed"``, ``"open"`` or ``"half-open"``.
        reason: why, in words.
    """

    pid: int
    time: datetime
    plugin: str
    hook: str
    state: str
    reason: str


class ProcessLine(NamedTuple):
    """A process has begun to write, or has ended in good order.

    Attributes:
        pid: the process.
        time: when, aware, in UTC.
        running: whether it has begun.
    """

    pid: int
    time: datetime
    running: bool


class LossLine(NamedTuple):
    """Calls are missing here: they came faster than they could be written, or the file could not be written.

    Attributes:
        pid: the process of which they are missing.
        time: when that was noticed, aware, in UTC.
        records: how many.
    """

    pid: int
    time: datetime
    records: int


RecordLine = CallLine | HealthLine | ProcessLine | LossLine
"""Whatever a line can hold."""


def rotated_path(path: Path) -> Path:
    """Return where a record file goes when it is full: ``calls.jsonl`` to ``calls.jsonl.1``."""
    return path.with_name(f"{path.name}.1")


def encode(line: RecordLine) -> str:
    """Return the line as ASCII, without its end; of a very long text only the start.

    Raises:
        TypeError, ValueError: something in it is not of the type that it should be.
    """
    data: dict[str, Any]
    if isinstance(line, CallLine):
        data = {"kind": "call", "pid": line.pid, **_call_to_json(line.call)}
    elif isinstance(line, HealthLine):
        texts = {name: _short(getattr(line, name)) for name in ("plugin", "hook", "state", "reason")}
        data = {"kind": "health", "pid": line.pid, "time": line.time.isoformat(), **texts}
    elif isinstance(line, ProcessLine):
        data = {"kind": "begin" if line.running else "end", "pid": line.pid, "time": line.time.isoformat()}
    else:
        data = {"kind": "lost", "pid": line.pid, "time": line.time.isoformat(), "records": line.records}
    return _encoder.encode(data)


def decode(text: bytes) -> RecordLine:
    """Return what a line holds.

    Raises:
        ValueError: it is no line of a record, or of a kind that is not known.
    """
    try:
        data = json.loads(text, parse_constant=_refuse)
        return _KINDS[data["kind"]](data)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"it is no line of a record: {type(error).__name__}") from error


def _call_to_json(call: CallRecord) -> dict[str, Any]:
    return {
        "hook": _short(call.hook),
        "start": call.start.isoformat(),
        "duration": round(call.duration, 9),
        "callbacks": [
            {
                "plugin": _short(each.plugin),
                "callback": _short(each.callback),
                "duration": round(each.duration, 9),
                "outcome": _short(each.outcome),
                "error": None if each.error is None else _short(each.error),
            }
            for each in call.callbacks
        ],
        **({"delivery": True} if call.delivery else {}),
    }


def _call(data: dict[str, Any]) -> CallLine:
    callbacks = tuple(
        CallbackRecord(
            _text(each["plugin"]),
            _text(each["callback"]),
            _seconds(each["duration"]),
            _text(each["outcome"]),
            None if each.get("error") is None else _text(each["error"]),
        )
        for each in data["callbacks"]
    )
    start, duration = _date(data["start"]), _seconds(data["duration"])
    call = CallRecord(_text(data["hook"]), start, duration, callbacks, data.get("delivery") is True)
    return CallLine(_number(data["pid"]), call)


def _health(data: dict[str, Any]) -> HealthLine:
    texts = (_text(data[name]) for name in ("plugin", "hook", "state", "reason"))
    return HealthLine(_number(data["pid"]), _date(data["time"]), *texts)


def _process(data: dict[str, Any]) -> ProcessLine:
    return ProcessLine(_number(data["pid"]), _date(data["time"]), data["kind"] == "begin")


def _loss(data: dict[str, Any]) -> LossLine:
    return LossLine(_number(data["pid"]), _date(data["time"]), _number(data["records"]))


_KINDS: Mapping[str, Callable[[dict[str, Any]], RecordLine]] = {
    "call": _call,
    "health": _health,
    "begin": _process,
    "end": _process,
    "lost": _loss,
}


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("it must be a text")
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("it must be a whole number, 0 or more")
    return value


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not isfinite(seconds := float(value)):  # type: ignore[arg-type]
        raise TypeError("it must be a number of seconds")
    return seconds


def _date(value: object) -> datetime:
    date = datetime.fromisoformat(_text(value))
    if date.tzinfo is None:
        raise ValueError("it must be a time with its zone")
    return date


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


_encoder = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":"))
