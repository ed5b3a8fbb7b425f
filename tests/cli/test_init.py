"""``thea init`` writes a commented configuration."""

from __future__ import annotations

import os
import sys

import pytest

from tests.cli.conftest import Command
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits


def test_what_it_writes_is_a_right_configuration_that_changes_nothing(cli: Command) -> None:
    before = cli.json("config", "show")["values"]
    assert cli.ok("init").startswith("thea.toml is written.")
    assert "thea.toml: ok" in cli.ok("config", "check")
    values = {each["key"]: each["value"] for each in cli.json("config", "show")["values"]}
    assert values == {each["key"]: each["value"] for each in before}
    assert (cli.directory / "thea.toml").read_text(encoding="utf-8").count("#") > 30


def test_a_file_that_is_there_is_left_alone_unless_forced(cli: Command) -> None:
    file = cli.write("# mine\n")
    result = cli("init")
    assert result.exit_code == exits.FAILED
    assert result.stderr == "error[file]: thea.toml is there already; --force replaces it\n"
    assert file.read_text(encoding="utf-8") == "# mine\n"
    cli.ok("init", "--force")
    assert file.read_text(encoding="utf-8") != "# mine\n"


def test_config_names_the_file(cli: Command) -> None:
    cli.ok("init", "--config", "own.toml")
    assert (cli.directory / "own.toml").exists()


def test_it_tells_how_to_enable_what_is_installed(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    said = cli.ok("init")
    assert "\nPlugins are installed, but not enabled. To enable:\n" in said
    assert "\n  thea plugins enable weather\n" in said


def test_where_nothing_is_installed_it_tells_nothing_of_plugins(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(cli.directory)])
    assert cli.ok("init") == "thea.toml is written. Check it with: thea config check\n"


def test_a_pyproject_is_never_replaced(cli: Command) -> None:
    result = cli("init", "--force", "--config", "pyproject.toml")
    assert result.exit_code == exits.FAILED
    assert "[tool.thea]" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="a folder that is a file")
def test_a_place_that_cannot_be_written_is_told(cli: Command) -> None:
    cli.write("", "file")
    result = cli("init", "--config", "file/thea.toml")
    assert result.exit_code == exits.FAILED
    assert "cannot be written: Not a directory" in result.stderr
