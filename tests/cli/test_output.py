"""What is printed looks well on a terminal, and is plain elsewhere."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone

import pytest

from thea_core.cli import output


class Terminal(io.StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_table_elsewhere_has_a_line_a_row_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["a", "b"], [["1", "x" * 300], ["2", "two\nlines"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["A  B", f"1  {'x' * 300}", "2  two lines"]


def test_a_table_on_a_terminal_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    output.table(["name", "text"], [["first", "word " * 20]])
    lines = terminal.getvalue().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 80  # with what colours it


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 ms"),
        (0.0000021, "0.0021 ms"),
        (0.001914, "1.91 ms"),
        (0.1234, "123 ms"),
        (1.0, "1 s"),
        (2.345, "2.35 s"),
        (3600.0, "3600 s"),
    ],
)
def test_durations_are_shown_with_three_figures(seconds: float, shown: str) -> None:
    assert output.duration(seconds) == shown


def test_times_are_shown_in_utc() -> None:
    time = datetime(2026, 1, 1, 13, 0, 5, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert output.moment(time) == "2026-01-01 12:00:05Z"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\x1b[2Jb", "a\\x1b[2Jb"), ("two\nlines\tof", "two\nlines\tof"), ("\x9b", "\\x9b"), ("ñ", "ñ")],
)
def test_what_would_steer_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert output.plain(text) == shown


def test_fields_stand_below_each_other_and_empty_ones_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.fields([("one", "1"), ("none", ""), ("three", "3\n4")])
    assert capsys.readouterr().out == "  one    1\n  three  3\n         4\n"


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": "ñ"})
    assert capsys.readouterr().out == '{\n  "a": "\\u00f1"\n}\n'
