"""``thea fsm`` draws the state machine of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from thea_core.cli import exits

OWN = '[fsm.transitions]\ninitial = ["busy"]\nbusy = ["initial"]\nerror_handler = ["initial"]\n'


@pytest.mark.parametrize(
    ("form", "start"), [("text", "  initial "), ("mermaid", "stateDiagram-v2"), ("dot", "digraph thea")]
)
def test_it_is_drawn_in_each_form(cli: Command, form: str, start: str) -> None:
    assert cli.ok("fsm", "--format", form).startswith(start)


def test_text_is_the_default(cli: Command) -> None:
    assert cli.ok("fsm") == cli.ok("fsm", "--format", "text")


def test_the_configuration_decides_what_is_drawn(cli: Command) -> None:
    cli.write(OWN)
    assert "busy" in cli.ok("fsm")
    assert "disambiguation" not in cli.ok("fsm")


def test_a_state_is_marked(cli: Command) -> None:
    assert "> executing" in cli.ok("fsm", "--current", "executing")


def test_an_unknown_state_is_refused_with_those_that_there_are(cli: Command) -> None:
    result = cli("fsm", "--current", "executin")
    assert result.exit_code == exits.FAILED
    assert "the states are: initial, processing" in result.stderr


def test_it_is_given_as_json(cli: Command) -> None:
    cli.write(OWN)
    shown = cli.json("fsm")
    assert shown["transitions"]["initial"] == ["busy", "error_handler"]
    assert (shown["initial"], shown["error"], shown["final"]) == ("initial", "error_handler", [])


def test_a_definition_that_is_not_well_formed_is_refused(cli: Command) -> None:
    cli.write('[fsm.transitions]\ninitial = ["nowhere"]\n')
    result = cli("fsm")
    assert result.exit_code == exits.CONFIG
    assert result.stderr.startswith("error[fsm-definition]")


def test_an_unknown_form_is_wrong_usage(cli: Command) -> None:
    assert cli("fsm", "--format", "png").exit_code == exits.USAGE


def fake_dot(cli: Command, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program called dot on the path, and nothing else."""
    program = Path(cli.directory, "dot")
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{cli.directory}:/usr/bin:/bin")


def test_dot_draws_svg(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dot(cli, monkeypatch, 'echo "<svg $1>"; cat')
    assert cli.ok("fsm", "--format", "svg").startswith("<svg -Tsvg>\ndigraph thea {")


def test_where_dot_is_missing_the_error_says_what_to_install(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cli.directory))
    result = cli("fsm", "--format", "svg")
    assert result.exit_code == exits.FAILED
    assert result.stderr.startswith("error[program-missing]")
    assert "graphviz" in result.stderr


def test_where_dot_fails_the_error_says_why(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dot(cli, monkeypatch, "echo no fonts >&2; exit 3")
    result = cli("fsm", "--format", "svg")
    assert result.exit_code == exits.FAILED
    assert "dot ended with exit status 3: no fonts" in result.stderr
