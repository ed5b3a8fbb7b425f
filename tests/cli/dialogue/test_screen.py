"""What a conversation shows on a terminal, and elsewhere."""

from __future__ import annotations

import pytest
from click import unstyle

from tests.cli.test_output import Terminal
from thea_core.cli.dialogue.screen import screen


def test_on_a_terminal_long_replies_are_wrapped_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm")
    shown = screen()
    shown.reply("[bold]twelve words[/bold] " * 6, ok=True)
    shown.status("[state idle]")
    shown.notice("done")
    lines = [line.rstrip() for line in unstyle(terminal.getvalue()).splitlines()]
    assert max(map(len, lines)) <= 30
    assert lines[0] == "[bold]twelve words[/bold]"
    assert lines[-3:] == ["[state idle]", "", "done"]


def test_elsewhere_lines_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    shown = screen()
    shown.reply("words " * 50, ok=False)
    shown.remark("careful")
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert captured.err == "careful\n"
