"""The lines of a recording are read one by one, and one that is no event is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from thea_core.callbacks.event_json import encode
from thea_core.cli.exits import Refusal
from thea_core.cli.replaying import events
from thea_core.cli.replaying.events import recorded


def line(number: int, **more: Any) -> str:
    return json.dumps({"at": "2026-03-01T12:00:00+00:00", **encode("on_order", {"number": number}), **more}) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_events_come_with_their_place_and_their_time(path: Path) -> None:
    path.write_text(line(1) + "\n  \n" + line(2), encoding="ascii")
    first, second = recorded(path)
    assert first.event == ("on_order", {"number": 1}, 0)
    assert (first.place, second.place) == (f"{path}:1", f"{path}:4")
    assert first.at == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_what_was_put_aside_comes_first(path: Path) -> None:
    path.write_text(line(3), encoding="ascii")
    path.with_name("events.jsonl.1").write_text(line(1) + line(2), encoding="ascii")
    places = [
        (each.place.removeprefix(str(path)), each.event.arguments["number"]) for each in recorded(path) if each.event
    ]
    assert places == [(".1:1", 1), (".1:2", 2), (":1", 3)]


@pytest.mark.parametrize("at", ["yesterday", "2026-03-01T12:00:00", 5, None])
def test_a_time_that_is_none_makes_no_pause(path: Path, at: Any) -> None:
    path.write_text(line(1, at=at), encoding="ascii")
    (found,) = recorded(path)
    assert (found.at, found.problem) == (None, "")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"at": ', "the line is not JSON (Expecting value at column 8)"),
        (b"[1, 2]", "an event is a JSON object, not list"),
        (b'{"kind": "call"}', "version None"),
        (b"\xff{}", "the line is no text"),
        (b'{"version": 1, "a": ' + b"9" * 5000 + b"}", "limit"),
        (b"[" * 100_000, "nested too deeply"),
        (b"x" * 2000, "longer than 1,000 bytes"),
    ],
    ids=["torn", "list", "record", "bytes", "digits", "deep", "long"],
)
def test_a_line_that_is_no_event_is_told_and_the_rest_goes_on(
    path: Path, content: bytes, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content.startswith(b"x"):
        monkeypatch.setattr(events, "_LONGEST", 1000)
    path.write_bytes(content + b"\n" + line(2).encode())
    bad, good = recorded(path)
    assert bad.event is None
    assert bad.place == f"{path}:1"
    assert problem in bad.problem
    assert good.event is not None


def test_a_file_that_cannot_be_read_is_refused(path: Path) -> None:
    with pytest.raises(Refusal, match=r"events\.jsonl cannot be read: No such file or directory"):
        list(recorded(path))
