"""The lines of a record: one ASCII line each, which gives back what was put in; anything else is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.callbacks.helpers import NOW
from thea_core import CallbackRecord, CallRecord
from thea_core.callbacks.record_lines import (
    CallLine,
    HealthLine,
    LossLine,
    ProcessLine,
    RecordLine,
    decode,
    encode,
    rotated_path,
)

TEXTS = st.text(max_size=300)
SECONDS = st.integers(0, 10**15).map(lambda nanoseconds: round(nanoseconds / 1e9, 9))
PIDS = st.integers(0, 2**31)
TIMES = st.datetimes(timezones=st.just(UTC))
CALLBACKS = st.builds(CallbackRecord, TEXTS, TEXTS, SECONDS, TEXTS, st.none() | TEXTS)
CALLS = st.builds(CallRecord, TEXTS, TIMES, SECONDS, st.lists(CALLBACKS, max_size=4).map(tuple))
LINES = st.one_of(
    st.builds(CallLine, PIDS, CALLS),
    st.builds(HealthLine, PIDS, TIMES, TEXTS, TEXTS, TEXTS, TEXTS),
    st.builds(ProcessLine, PIDS, TIMES, st.booleans()),
    st.builds(LossLine, PIDS, TIMES, st.integers(0)),
)


@given(LINES)
def test_what_is_written_is_read_again_from_one_line_of_ascii(line: RecordLine) -> None:
    text = encode(line)
    assert text.isascii()
    assert text.isprintable()
    assert decode(text.encode("ascii")) == line


@given(st.binary(max_size=200))
def test_bytes_that_are_no_line_are_refused_and_nothing_else_happens(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no line of a record"):
        decode(raw)


CALL = {"kind": "call", "pid": 1, "hook": "on_message", "start": NOW.isoformat(), "duration": 0.5, "callbacks": []}
HEALTH = {"kind": "health", "pid": 1, "time": NOW.isoformat(), "plugin": "a", "hook": "b", "state": "c", "reason": ""}
LOST = {"kind": "lost", "pid": 1, "time": NOW.isoformat(), "records": 1}
ONE = {"plugin": "a", "callback": "b", "duration": 1, "outcome": "ok", "error": None}


@pytest.mark.parametrize(
    "data",
    [
        [],
        "call",
        {},
        {"kind": ["call"]},
        {"kind": "snapshot"},
        CALL | {"hook": 5},
        CALL | {"pid": "1"},
        CALL | {"pid": True},
        CALL | {"duration": "1"},
        CALL | {"duration": False},
        CALL | {"duration": 10**400},
        CALL | {"start": "yesterday"},
        CALL | {"start": "2026-01-01T00:00:00"},
        CALL | {"callbacks": None},
        CALL | {"callbacks": [5]},
        CALL | {"callbacks": [ONE | {"plugin": None}]},
        CALL | {"callbacks": [ONE | {"error": 5}]},
        HEALTH | {"reason": None},
        LOST | {"records": -1},
        LOST | {"records": 1.0},
    ],
)
def test_json_that_is_no_line_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="no line of a record"):
        decode(json.dumps(data).encode())


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "[" * 100_000])
def test_what_json_does_not_know_or_cannot_hold_is_refused(number: str) -> None:
    text = json.dumps(CALL).replace("0.5", number)
    with pytest.raises(ValueError, match="no line of a record"):
        decode(text.encode())


def test_keys_of_a_newer_version_are_skipped() -> None:
    data = CALL | {"callbacks": [ONE | {"new": 1}], "new": {}}
    assert decode(json.dumps(data).encode()) == CallLine(
        1, CallRecord("on_message", NOW, 0.5, (CallbackRecord("a", "b", 1.0, "ok", None),))
    )


def test_an_error_may_be_left_out() -> None:
    data = CALL | {"callbacks": [{key: value for key, value in ONE.items() if key != "error"}]}
    line = decode(json.dumps(data).encode())
    assert isinstance(line, CallLine)
    assert line.call.callbacks[0].error is None


def test_a_very_long_text_is_cut() -> None:
    callback = CallbackRecord("p" * 1000, "c" * 1000, 0.0, "ok", "e" * 1000)
    line = decode(encode(CallLine(1, CallRecord("h" * 1000, NOW, 0.0, (callback,)))).encode())
    assert isinstance(line, CallLine)
    assert [len(each) for each in (line.call.hook, *line.call.callbacks[0][:2])] == [300, 300, 300]
    assert line.call.callbacks[0].error == "e" * 300


def test_a_duration_that_is_no_number_of_seconds_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode(CallLine(1, CallRecord("on_message", NOW, float("nan"), ())))


def test_another_zone_is_the_same_time() -> None:
    data = CALL | {"start": datetime(2026, 1, 1, 1, tzinfo=UTC).astimezone().isoformat()}
    line = decode(json.dumps(data).encode())
    assert isinstance(line, CallLine)
    assert line.call.start == NOW + timedelta(hours=1)


def test_a_full_file_gets_a_number() -> None:
    assert rotated_path(Path("a/calls.jsonl")) == Path("a/calls.jsonl.1")
