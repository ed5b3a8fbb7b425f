"""``thea plugins install`` and ``uninstall`` leave the work to pip, which no test really runs."""

from __future__ import annotations

import shutil
import sys

from tests.cli.conftest import Command
from tests.cli.plugins.test_enable import enabled
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits


def installing(cli: Command, site: FakeSite) -> None:
    """Let pip install the plugin ``weather``."""

    def pip() -> int:
        site.plugin("raise SystemExit")
        return 0

    cli.pip = pip


def test_what_was_installed_is_told_with_how_to_enable_it(cli: Command, site: FakeSite) -> None:
    installing(cli, site)
    text = cli.ok("plugins", "install", "thea-weather")
    assert "thea plugins enable weather" in text
    assert cli.pip_commands[0][-3:] == ["install", "--", "thea-weather"]
    assert not (cli.directory / "thea.toml").exists()


def test_enable_enables_it_at_once(cli: Command, site: FakeSite) -> None:
    installing(cli, site)
    assert cli.ok("plugins", "install", "thea-weather", "--enable") == "weather is enabled in thea.toml\n"
    assert enabled(cli) == ["weather"]


def test_a_distribution_without_a_plugin_is_told_as_such(cli: Command) -> None:
    assert "offers a plugin" in cli.ok("plugins", "install", "requests", "--enable")


def test_with_json_what_pip_prints_goes_to_standard_error(cli: Command, site: FakeSite) -> None:
    installing(cli, site)
    shown = cli.json("plugins", "install", "thea-weather")
    plugin = {"name": "weather", "distribution": "thea-weather", "version": "1.0"}
    assert shown == {"installed": [plugin], "enabled": False}
    assert cli.pip_streams["stdout"] is not None


def test_a_failing_pip_is_an_error_of_a_plugin(cli: Command) -> None:
    cli.pip = lambda: 1
    result = cli("plugins", "install", "nonsense")
    assert result.exit_code == exits.PLUGIN
    assert "pip install failed with exit status 1" in result.stderr


def test_without_a_name_it_is_wrong_usage(cli: Command) -> None:
    assert cli("plugins", "install").exit_code == exits.USAGE


def test_a_plugin_is_uninstalled_and_where_it_is_still_enabled_told(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    cli.ok("plugins", "enable", "weather")
    result = cli("plugins", "uninstall", "weather")
    assert result.stdout == "Uninstalled: weather\n"
    assert "thea plugins disable weather" in result.stderr
    assert cli.pip_commands[0][-4:] == ["uninstall", "--yes", "--", "thea-weather"]


def test_uninstalling_in_json(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    cli.pip = lambda: shutil.rmtree(site.root) or 0
    assert cli.json("plugins", "uninstall", "weather")["uninstalled"][0]["name"] == "weather"


def test_what_is_no_plugin_is_not_uninstalled(cli: Command) -> None:
    result = cli("plugins", "uninstall", "pip")
    assert result.exit_code == exits.PLUGIN
    assert cli.pip_commands == []


def test_pip_is_run_by_the_python_that_runs_thea(cli: Command) -> None:
    cli("plugins", "install", "nonsense")
    assert cli.pip_commands[0][0] == sys.executable
