"""The progress of a run is shown on a terminal only."""

from __future__ import annotations

import pytest

from tests.cli.test_output import Terminal
from thea_core.cli.messages.progress import progress


def terminal_for(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal, and return it."""
    made = Terminal()
    monkeypatch.setattr("sys.stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return made


def test_a_terminal_gets_a_bar_with_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    with progress(100) as bar:
        bar.advance(50, 1234)
        bar.write("\x1b[33mwarning\x1b[0m: [odd]")
        bar.advance(50, 1235)
        bar.close()
    assert "1,235 messages" in terminal.getvalue()
    assert "warning" in terminal.getvalue()
    assert "[odd]" in terminal.getvalue()


def test_where_messages_are_typed_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    monkeypatch.setattr("sys.stdin", Terminal())
    with progress(None) as bar:
        bar.advance(5, 1)
    assert terminal.getvalue() == ""


def test_elsewhere_only_what_is_written_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(100) as bar:
        bar.advance(50, 1)
        bar.write("careful")
        bar.close()
    assert capsys.readouterr().err == "careful\n"
