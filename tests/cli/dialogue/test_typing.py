"""What is typed comes line by line."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator

import pytest

from tests.cli.test_output import Terminal
from thea_core.cli.dialogue.typing import lines_of


def typing(monkeypatch: pytest.MonkeyPatch, *lines: str, end: BaseException) -> None:
    """Let a person type these lines at a terminal, and then ``end``."""
    waiting: Iterator[str] = iter(lines)

    def ask(_: str) -> str:
        for line in waiting:
            return line
        raise end

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(builtins, "input", ask)


@pytest.mark.parametrize("end", [EOFError(), KeyboardInterrupt()])
def test_on_a_terminal_lines_come_until_the_end_is_typed(monkeypatch: pytest.MonkeyPatch, end: BaseException) -> None:
    typing(monkeypatch, "one", "two", end=end)
    assert list(lines_of(print)) == ["one", "two"]


def test_a_python_without_readline_reads_lines_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "readline", None)
    typing(monkeypatch, "one", end=EOFError())
    assert list(lines_of(print)) == ["one"]


def test_what_stops_the_answer_to_a_line_is_not_taken_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    typing(monkeypatch, "one", end=EOFError())
    lines = lines_of(print)
    assert next(lines) == "one"
    with pytest.raises(KeyboardInterrupt):
        lines.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
