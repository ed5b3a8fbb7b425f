"""``thea plugins enable`` edits the file, and says what will be in the way."""

from __future__ import annotations

import sys
import tomllib

import pytest

from tests.cli.conftest import Command
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits


def enabled(cli: Command, name: str = "thea.toml") -> list[str]:
    """Return what the file enables."""
    names: list[str] = tomllib.loads((cli.directory / name).read_text(encoding="utf-8"))["plugins"]["enabled"]
    return names


def test_a_plugin_is_enabled_without_being_imported(cli: Command, site: FakeSite) -> None:
    site.plugin("raise SystemExit")
    assert cli.ok("plugins", "enable", "weather") == "weather is enabled in thea.toml\n"
    assert enabled(cli) == ["weather"]
    assert "weather_plugin" not in sys.modules


def test_comments_of_the_file_stay(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    file = cli.write("# mine\n[plugins]  # ours\nenabled = []  # theirs\n")
    cli.ok("plugins", "enable", "weather")
    assert file.read_text(encoding="utf-8") == '# mine\n[plugins]  # ours\nenabled = ["weather"]  # theirs\n'


def test_the_distributions_name_enables_its_plugin(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    cli.ok("plugins", "enable", "thea-weather")
    assert enabled(cli) == ["weather"]


def test_enabling_twice_changes_nothing_and_says_so(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    cli.ok("plugins", "enable", "weather")
    assert "already" in cli.ok("plugins", "enable", "weather")
    assert cli.json("plugins", "enable", "weather") == {"plugin": "weather", "file": "thea.toml", "changed": False}


@pytest.mark.usefixtures("lantern")
def test_what_is_not_installed_is_not_enabled(cli: Command) -> None:
    result = cli("plugins", "enable", "lantern")
    assert result.exit_code == exits.PLUGIN
    assert result.stderr == "error[plugin-not-found]: thea-lantern is not installed: pip install thea-lantern\n"
    assert not (cli.directory / "thea.toml").exists()


def test_the_file_is_the_one_that_config_or_the_variable_names(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    cli.ok("plugins", "enable", "weather", "--config", "own.toml")
    cli.ok("plugins", "enable", "weather", THEA_CONFIG="theirs.toml")
    assert enabled(cli, "own.toml") == enabled(cli, "theirs.toml") == ["weather"]


def test_settings_in_pyproject_are_edited_there(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    file = cli.write("[tool.thea.plugins]\nenabled = []\n", "pyproject.toml")
    cli.ok("plugins", "enable", "weather")
    assert 'enabled = ["weather"]' in file.read_text(encoding="utf-8")


def test_a_pyproject_of_others_is_left_alone(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    for text in ("[project]\nname = 'x'\n", "no TOML", "tool = 3\n"):
        file = cli.write(text, "pyproject.toml")
        cli.ok("plugins", "enable", "weather", "--config", "thea.toml")
        assert cli("plugins", "disable", "weather").exit_code == exits.OK
        assert file.read_text(encoding="utf-8") == text


def test_a_variable_that_replaces_the_list_is_told(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    result = cli("plugins", "enable", "weather", THEA__PLUGINS__ENABLED="[]")
    assert result.exit_code == exits.OK
    assert "the variable THEA__PLUGINS__ENABLED replaces what the file says" in result.stderr


def test_problems_of_the_configuration_are_told_and_the_plugin_is_enabled(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    cli.write("nonsense = 1\n")
    result = cli("plugins", "enable", "weather")
    assert result.exit_code == exits.OK
    assert "warning: the configuration has problems" in result.stderr
    assert enabled(cli) == ["weather"]


def test_settings_that_wait_for_a_variable_are_told(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    cli.write('[plugins.weather.settings]\ncity = "${CITY}"\n')
    assert "CITY" in cli("plugins", "enable", "weather").stderr


def test_a_file_that_is_no_toml_is_left_as_it_is(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    file = cli.write("no TOML")
    assert cli("plugins", "enable", "weather").exit_code == exits.CONFIG
    assert file.read_text(encoding="utf-8") == "no TOML"
