"""Reading a record: of both files, oldest first, also while it is written, and whatever has become of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.callbacks.helpers import NOW
from thea_core import CallbackRecord, CallRecord
from thea_core.callbacks.record_file import RecordFile
from thea_core.callbacks.record_lines import (
    CallLine,
    HealthLine,
    LossLine,
    ProcessLine,
    RecordLine,
    encode,
    rotated_path,
)
from thea_core.callbacks.record_reader import (
    CallbackTimes,
    PluginSummary,
    RecordReader,
    Trouble,
    summarize,
    time_of,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


def raw(*numbers: int) -> bytes:
    """Return lines that can be told apart."""
    return b"".join(encode(ProcessLine(number, NOW, running=True)).encode() + b"\n" for number in numbers)


def numbers(reader: RecordReader) -> list[int]:
    return [line.pid for line in reader]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def rotate(path: Path, *numbers: int) -> None:
    """Rotate as a writer does, and begin the new file with these lines."""
    path.replace(rotated_path(path))
    path.write_bytes(raw(*numbers))


def until_none(lines: Iterator[RecordLine | None]) -> list[int]:
    found = []
    while (line := next(lines)) is not None:
        found.append(line.pid)
    return found


class TestReading:
    def test_both_files_are_read_the_older_one_first(self, path: Path) -> None:
        rotated_path(path).write_bytes(raw(1, 2))
        path.write_bytes(raw(3))
        assert numbers(RecordReader(path)) == [1, 2, 3]

    @pytest.mark.parametrize("name", ["calls.jsonl", "calls.jsonl.1"])
    def test_one_of_them_is_enough(self, path: Path, name: str) -> None:
        path.with_name(name).write_bytes(raw(1, 2))
        assert numbers(RecordReader(path)) == [1, 2]

    def test_where_there_is_none_there_is_nothing(self, path: Path) -> None:
        assert numbers(RecordReader(path)) == []

    def test_it_can_be_read_again(self, path: Path) -> None:
        reader = RecordReader(path)
        path.write_bytes(raw(1))
        assert numbers(reader) == numbers(reader) == [1]

    def test_lines_that_are_none_are_counted_and_left_out(self, path: Path) -> None:
        rotated_path(path).write_bytes(b"\xff\n" + raw(1) + b'{"kind":"ca')
        path.write_bytes(b"\n" + raw(2) + b"[]\n" + raw(3))
        reader = RecordReader(path)
        assert numbers(reader) == [1, 2, 3]
        assert reader.unreadable == 4

    def test_a_last_line_that_is_not_ended_is_left_out(self, path: Path) -> None:
        path.write_bytes(raw(1, 2)[:-3])
        reader = RecordReader(path)
        assert numbers(reader) == [1]
        assert reader.unreadable == 0

    def test_a_file_without_any_line_is_not_read_at_once(self, path: Path) -> None:
        path.write_bytes(b"x" * (2**20 + 5) + b"\n" + raw(1))
        reader = RecordReader(path)
        assert numbers(reader) == [1]
        assert reader.unreadable == 2

    def test_what_cannot_be_read_is_told(self, path: Path) -> None:
        path.mkdir()
        with pytest.raises(IsADirectoryError):
            numbers(RecordReader(path))


class TestFollowing:
    def test_none_comes_each_time_when_nothing_more_is_there(self, path: Path) -> None:
        lines = RecordReader(path).follow()
        path.write_bytes(raw(1, 2))
        assert until_none(lines) == [1, 2]
        assert until_none(lines) == []
        append(path, raw(3))
        assert until_none(lines) == [3]
        lines.close()

    def test_a_file_that_comes_later_is_awaited(self, path: Path) -> None:
        lines = RecordReader(path).follow()
        assert until_none(lines) == until_none(lines) == []
        path.write_bytes(raw(1))
        assert until_none(lines) == [1]
        lines.close()

    def test_a_line_is_given_when_it_is_ended(self, path: Path) -> None:
        reader = RecordReader(path)
        lines = reader.follow()
        path.write_bytes(raw(1)[:20])
        assert until_none(lines) == []
        append(path, raw(1)[20:])
        assert until_none(lines) == [1]
        assert reader.unreadable == 0
        lines.close()

    def test_rotation_is_followed(self, path: Path) -> None:
        lines = RecordReader(path).follow()
        path.write_bytes(raw(1))
        assert until_none(lines) == [1]
        for number in range(2, 12, 2):
            append(path, raw(number))
            rotate(path, number + 1)
            assert until_none(lines) == [number, number + 1]
        lines.close()

    def test_two_rotations_between_two_looks_are_followed(self, path: Path) -> None:
        lines = RecordReader(path).follow()
        path.write_bytes(raw(1))
        assert until_none(lines) == [1]
        append(path, raw(2))
        rotate(path, 3)
        rotate(path, 4)
        assert until_none(lines) == [2, 3, 4]
        assert until_none(lines) == []
        lines.close()

    def test_the_moment_within_a_rotation_in_which_there_is_no_file_is_nothing(self, path: Path) -> None:
        lines = RecordReader(path).follow()
        path.write_bytes(raw(1))
        assert until_none(lines) == [1]
        path.replace(rotated_path(path))
        assert until_none(lines) == []
        path.write_bytes(raw(2))
        assert until_none(lines) == [2]
        lines.close()

    def test_a_rotation_between_the_opening_of_the_two_files_hides_nothing(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rotated_path(path).write_bytes(raw(1))
        path.write_bytes(raw(2))
        opened = Path.open

        def interrupt(self: Path, *arguments: str) -> object:
            file = opened(self, *arguments)
            if self == path:
                monkeypatch.undo()
                rotate(path, 3)
            return file

        monkeypatch.setattr(Path, "open", interrupt)
        assert numbers(RecordReader(path)) == [2, 3]

    def test_a_file_that_is_removed_and_made_anew_is_followed(self, path: Path) -> None:
        lines = RecordReader(path).follow()
        rotated_path(path).write_bytes(raw(1))
        path.write_bytes(raw(2))
        assert until_none(lines) == [1, 2]
        path.unlink()
        assert until_none(lines) == []
        path.write_bytes(raw(3))
        assert until_none(lines) == [3]
        lines.close()

    def test_a_file_that_is_emptied_is_read_from_its_beginning(self, path: Path) -> None:
        lines = RecordReader(path).follow()
        path.write_bytes(raw(1, 2))
        assert until_none(lines) == [1, 2]
        os.truncate(path, 0)
        append(path, raw(3))
        assert until_none(lines) == [3]
        lines.close()

    def test_what_a_full_disk_takes_back_is_given_once(self, path: Path) -> None:
        """A writer that cannot end a line takes the beginning of it back, and writes it again when it can."""
        lines = RecordReader(path).follow()
        path.write_bytes(raw(1) + raw(2)[:10])
        assert until_none(lines) == [1]
        os.truncate(path, len(raw(1)))
        assert until_none(lines) == []
        RecordFile(path).append(raw(2))
        assert until_none(lines) == [2]
        lines.close()


def line(*callbacks: CallbackRecord, hook: str = "on_message", after: float = 0.0) -> CallLine:
    return CallLine(1, CallRecord(hook, NOW + timedelta(seconds=after), 1.0, callbacks))


def ended(outcome: str, duration: float = 0.0, error: str | None = None, plugin: str = "shop") -> CallbackRecord:
    return CallbackRecord(plugin, f"Shop.{outcome}", duration, outcome, error)


class TestSummary:
    def test_of_nothing_it_is_empty(self) -> None:
        summary = summarize([])
        assert (summary.plugins, summary.first, summary.last, summary.lost) == ({}, None, None, 0)
        assert (PluginSummary().calls, PluginSummary().mean) == (0, 0.0)

    def test_calls_of_each_plugin_are_counted_by_outcome(self) -> None:
        outcomes = ("ok", "ok", "veto", "error", "timeout", "cancelled", "queued", "skipped", "dropped")
        summary = summarize([line(*(ended(each) for each in outcomes)), line(ended("ok", plugin="other"))])
        shop = summary.plugins["shop"]
        assert (shop.calls, shop.failures, shop.timeouts, shop.dropped, shop.skipped) == (6, 1, 1, 1, 1)
        assert shop.outcomes["queued"] == 1
        assert summary.plugins["other"].calls == 1

    def test_mean_and_worst_time_are_of_calls_that_ran(self) -> None:
        summary = summarize([
            line(ended("ok", 1.0), ended("error", 3.0), ended("queued", 50.0)),
            line(ended("timeout", 2.0), ended("skipped", 50.0), hook="on_error"),
        ])  # fmt: skip
        shop = summary.plugins["shop"]
        assert (shop.mean, shop.worst, shop.worst_call) == (2.0, 3.0, ("on_message", "Shop.error"))

    def test_the_last_failure_is_told(self) -> None:
        summary = summarize([
            line(ended("error", error="ValueError: first")),
            line(ended("timeout", error="after 2 s"), hook="on_error", after=5),
            line(ended("ok"), ended("veto", error="not that"), ended("dropped"), after=6),
        ])  # fmt: skip
        assert summary.plugins["shop"].last_failure == Trouble(
            NOW + timedelta(seconds=5), "on_error", "Shop.timeout", "timeout", "after 2 s"
        )
        assert (summary.first, summary.last) == (NOW, NOW + timedelta(seconds=6))

    def test_calls_that_are_missing_are_added_up(self) -> None:
        assert summarize([LossLine(1, NOW, 5), LossLine(2, NOW, 3)]).lost == 8

    def test_the_last_state_of_each_breaker_is_told_until_its_process_ends(self) -> None:
        opened = HealthLine(1, NOW, "shop", "on_message", "open", "5 failures in a row")
        tried = opened._replace(state="half-open")
        others = [opened._replace(hook="on_error"), opened._replace(pid=2, plugin="other")]
        lines: list[RecordLine] = [ProcessLine(1, NOW, running=True), opened, *others, tried]
        summary = summarize(lines)
        assert summary.plugins["shop"].health == {"on_message": tried, "on_error": others[0]}
        assert summary.plugins["other"].health == {"on_message": others[1]}
        for running in (True, False):  # a number that is used again is that of a new process, too
            summary = summarize([*lines, ProcessLine(1, NOW, running=running)])
            assert summary.plugins["shop"].health == {}
            assert summary.plugins["other"].health == {"on_message": others[1]}

    def test_of_several_processes_the_worst_breaker_is_told(self) -> None:
        opened = HealthLine(1, NOW, "shop", "on_message", "open", "5 failures in a row")
        closed = opened._replace(pid=2, state="closed")
        again = opened._replace(pid=3, reason="6 failures in a row")
        assert summarize([closed, opened]).plugins["shop"].health == {"on_message": opened}
        assert summarize([opened, closed]).plugins["shop"].health == {"on_message": opened}
        assert summarize([opened, again]).plugins["shop"].health == {"on_message": again}
        ended = ProcessLine(1, NOW, running=False)
        assert summarize([opened, closed, ended]).plugins["shop"].health == {"on_message": closed}

    def test_a_state_that_is_not_known_is_none_of_the_bad_ones(self) -> None:
        odd = HealthLine(1, NOW, "shop", "on_message", "ajar", "")
        assert summarize([odd._replace(pid=2, state="half-open"), odd]).plugins["shop"].health["on_message"].pid == 2

    def test_times_are_told_for_each_callback_without_the_calls_whose_time_was_up(self) -> None:
        summary = summarize([
            line(ended("ok", 0.1), ended("ok", 0.2), ended("timeout", 9.0), ended("skipped", 9.0)),
            line(ended("ok", 0.5), hook="on_error"),
        ])  # fmt: skip
        assert summary.plugins["shop"].times == {
            ("on_message", "Shop.ok"): CallbackTimes(2, pytest.approx(0.3), 0.2, 1),
            ("on_error", "Shop.ok"): CallbackTimes(1, 0.5, 0.5, 1),
        }
        assert summary.plugins["shop"].times["on_message", "Shop.ok"].mean == pytest.approx(0.15)
        assert CallbackTimes().mean == 0.0

    def test_the_last_of_each_trouble_is_told(self) -> None:
        troubles = ("error", "timeout", "dropped", "skipped")
        shop = summarize([line(*map(ended, troubles), after=each) for each in (0, 3)]).plugins["shop"]
        assert {name: each.time for name, each in shop.last.items()} == dict.fromkeys(
            troubles, NOW + timedelta(seconds=3)
        )

    def test_the_latest_moment_is_told_whatever_the_order_of_the_lines(self) -> None:
        summary = summarize([
            line(ended("ok"), after=5),
            ProcessLine(2, NOW + timedelta(seconds=3), running=True),
            ProcessLine(1, NOW, running=True),
            LossLine(1, NOW, 5),
        ])  # fmt: skip
        assert (summary.latest, summary.begun) == (NOW + timedelta(seconds=6), NOW + timedelta(seconds=3))
        assert summarize([ProcessLine(1, NOW, running=False)]).begun is None

    def test_a_call_that_would_end_after_the_end_of_time_is_dated_by_its_beginning(self) -> None:
        assert time_of(CallLine(1, CallRecord("on_message", NOW, 1e30, ()))) == NOW
