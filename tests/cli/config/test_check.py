"""``thea config check`` tells every problem at once."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Command
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits


def report(cli: Command, *arguments: str) -> dict[str, list[str]]:
    """Return what the check says."""
    result = cli("config", "check", "--json", *arguments)
    shown = json.loads(result.stdout)
    assert shown["ok"] is (result.exit_code == exits.OK) is not bool(shown["problems"])
    found: dict[str, list[str]] = shown
    return found


def test_a_right_configuration_is_ok(cli: Command) -> None:
    cli.write('[store]\nurl = "memory:"\n')
    assert cli.ok("config", "check").endswith("thea.toml: ok\n")


def test_no_configuration_is_ok(cli: Command) -> None:
    assert "every key has its default" in cli.ok("config", "check")


def test_where_settings_of_plugins_were_not_checked_it_says_so(cli: Command, site: FakeSite) -> None:
    site.plugin("from thea_core import hookimpl\n@hookimpl\ndef on_message(user_id): ...\n")
    cli.write('[plugins]\nenabled = ["weather"]\n')
    remark = "The settings of plugins were not checked. To check them, too: thea config check --load\n"
    assert cli.ok("config", "check").endswith(f"thea.toml: ok\n{remark}")
    assert cli.ok("config", "check", "--load").endswith("thea.toml: ok\n")
    assert cli.json("config", "check")["unchecked"] == ["weather"]
    assert cli.json("config", "check", "--load")["unchecked"] == []


def test_all_problems_of_the_file_are_told(cli: Command) -> None:
    cli.write('[store]\nurll = "memory:"\n[sessions]\ntimeout = "soon"\n')
    result = cli("config", "check")
    assert result.exit_code == exits.CONFIG
    assert "thea.toml:2: store.urll is not a known key" in result.stderr
    assert "thea.toml:4: sessions.timeout" in result.stderr
    assert result.stderr.endswith("2 problems\n")
    assert result.stdout == ""


def test_the_state_machine_is_checked(cli: Command) -> None:
    cli.write('[fsm.transitions]\ninitial = ["nowhere"]\nerror_handler = ["initial"]\n')
    result = cli("config", "check")
    assert result.exit_code == exits.CONFIG
    assert "[fsm]: the state 'nowhere' is a target of 'initial', but is no state" in result.stderr


@pytest.mark.usefixtures("lantern")
def test_an_enabled_plugin_that_is_not_installed_is_a_problem_with_its_line(cli: Command) -> None:
    cli.write('[plugins]\nenabled = ["lantern"]\n[plugins.lantern]\npriority = 1\n')
    found = report(cli)
    assert found["problems"] == [
        "thea.toml:2: plugins.enabled: thea-lantern is not installed: pip install thea-lantern"
    ]
    assert found["warnings"] == []


def test_an_enabled_plugin_that_does_not_fit_is_a_problem(cli: Command, site: FakeSite) -> None:
    site.distribution("thea-weather", plugins={"weather": "a"}, requires=["thea-core>=99"])
    cli.write('[plugins]\nenabled = ["weather"]\n')
    assert ">=99" in report(cli)["problems"][0]


def test_a_table_for_a_plugin_that_is_not_there_is_a_warning(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    cli.write("[plugins.wether]\npriority = 1\n[plugins.zzz]\npriority = 1\n")
    first, second = report(cli)["warnings"]
    assert first.endswith("[plugins.wether] is for a plugin that is not installed; did you mean [plugins.weather]?")
    assert second.endswith("[plugins.zzz] is for a plugin that is not installed")
    assert "warning: thea.toml:1: " in cli("config", "check").stderr


def test_a_table_for_a_module_is_right(cli: Command) -> None:
    cli.write('[plugins]\nmodules = ["myapp.hooks"]\n[plugins.hooks]\npriority = 1\n')
    assert report(cli)["warnings"] == []


def test_settings_of_a_disabled_plugin_that_wait_for_a_variable_are_a_warning(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    cli.write('[plugins.weather.settings]\ncity = "${CITY}"\n')
    (warning,) = report(cli)["warnings"]
    assert "the plugin weather is not enabled; if it were: " in warning
    assert "CITY" in warning


def test_loading_finds_what_only_the_plugin_knows(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    (cli.directory / "myapp.py").write_text("1 / 0", encoding="utf-8")
    cli.write('[plugins]\nenabled = ["weather"]\nmodules = ["myapp"]\n[plugins.weather.settings]\ncity = "Oslo"\n')
    assert report(cli)["problems"] == []
    first, second = report(cli, "--load")["problems"]
    assert "the plugin takes no settings" in first
    assert "ZeroDivisionError" in second
