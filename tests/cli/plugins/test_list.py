"""``thea plugins list`` shows every plugin, whatever it does and however wrong the configuration is."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

from tests.cli.conftest import Command
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits
from thea_core.plugins.status import PluginStatus, StatusFile

BOMB = "raise SystemExit('imported')"
HEARS = """
from thea_core import hookimpl

@hookimpl(priority=7)
def on_message(user_id): ...

@hookimpl
def on_error(user_id): ...
"""


def rows(cli: Command, *arguments: str, **environ: str) -> dict[str, dict[str, Any]]:
    """Return what the list says, by name."""
    result = cli("plugins", "list", "--json", *arguments, **environ)
    return {each["name"]: each for each in json.loads(result.stdout)["plugins"]}


def test_an_installed_plugin_is_listed_and_not_imported(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    listed = rows(cli)["weather"]
    assert (listed["distribution"], listed["version"], listed["enabled"]) == ("thea-weather", "1.0", False)
    assert listed["status"] == "not enabled"
    assert "weather_plugin" not in sys.modules


def test_an_enabled_plugin_that_has_not_run_yet_says_so(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write('[plugins]\nenabled = ["weather"]\n[plugins.weather]\npriority = 3\nrequired = true\n')
    listed = rows(cli)["weather"]
    assert (listed["enabled"], listed["source"], listed["status"]) == (True, "enabled", "not started yet")
    assert (listed["priority"], listed["required"], listed["guard"]) == ("3", True, False)


def test_what_became_of_a_plugin_the_last_time_is_shown(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write('[plugins]\nenabled = ["weather"]\n')
    when = datetime(2026, 1, 1, tzinfo=UTC)
    StatusFile(cli.directory).record({"weather": PluginStatus("failed", when, "it rained", ("on_message",))})
    listed = rows(cli)["weather"]
    assert (listed["status"], listed["reason"], listed["since"]) == ("failed", "it rained", when.isoformat())
    assert listed["hooks"] == ["on_message"]
    assert "weather: it rained" in cli.ok("plugins", "list")


def test_a_plugin_enabled_by_its_distribution_is_one_row(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write('[plugins]\nenabled = ["thea-weather", "weather"]\n')
    assert rows(cli)["weather"]["enabled"]
    assert "thea-weather" not in rows(cli)


def test_what_is_enabled_but_not_installed_is_listed_with_advice(cli: Command) -> None:
    cli.write('[plugins]\nenabled = ["sentry"]\n')
    listed = rows(cli)["sentry"]
    assert (listed["status"], listed["distribution"]) == ("not installed", None)
    assert listed["reason"] == "thea-sentry is not installed: pip install thea-sentry"


def test_a_name_offered_twice_is_a_conflict_whether_enabled_or_not(cli: Command, site: FakeSite) -> None:
    site.distribution("thea-weather", plugins={"weather": "a"})
    site.distribution("other-weather", plugins={"weather": "b"})
    both = [each for each in cli.json("plugins", "list")["plugins"] if each["name"] == "weather"]
    assert [each["status"] for each in both] == ["conflict", "conflict"]
    cli.write('[plugins]\nenabled = ["weather"]\n')
    (one,) = (each for each in cli.json("plugins", "list")["plugins"] if each["name"] == "weather")
    assert one["status"] == "conflict"
    assert "thea-weather" in one["reason"]
    assert "other-weather" in one["reason"]


def test_a_plugin_for_another_version_of_thea_does_not_fit(cli: Command, site: FakeSite) -> None:
    site.distribution("thea-weather", plugins={"weather": "a"}, requires=["thea-core>=99"])
    cli.write('[plugins]\nenabled = ["weather"]\n')
    listed = rows(cli)["weather"]
    assert listed["status"] == "does not fit"
    assert ">=99" in listed["reason"]


def test_a_module_of_the_configuration_is_listed(cli: Command) -> None:
    cli.write('[plugins]\nmodules = ["myapp.hooks"]\n')
    assert re.search(r"^hooks +module myapp\.hooks +- +yes ", cli.ok("plugins", "list"), re.MULTILINE)


def test_a_broken_configuration_is_a_warning_and_what_it_enables_is_still_shown(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write('nonsense = 1\n[plugins]\nenabled = ["weather"]\nmodules = "myapp"\n')
    result = cli("plugins", "list")
    assert result.exit_code == exits.OK
    assert "warning: the configuration is wrong" in result.stderr
    assert "nonsense" in result.stderr
    assert rows(cli)["weather"]["enabled"]
    assert rows(cli)["myapp"]["source"] == "modules"


def test_a_file_that_is_no_toml_leaves_the_installed_plugins(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write("this is no TOML")
    assert rows(cli)["weather"]["enabled"] is False
    assert "is not TOML" in cli("plugins", "list").stderr


def test_a_broken_variable_without_a_file_leaves_the_installed_plugins(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    assert "weather" in rows(cli, THEA__NONSENSE="1")


def test_a_plugins_key_that_is_no_table_enables_nothing(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write("plugins = 3\n")
    assert rows(cli)["weather"]["enabled"] is False


def test_loading_shows_hooks_and_priorities(cli: Command, site: FakeSite) -> None:
    site.plugin(HEARS)
    cli.write('[plugins]\nenabled = ["weather"]\n')
    listed = rows(cli, "--load")["weather"]
    assert (listed["status"], listed["hooks"], listed["priority"]) == ("loads", ["on_error", "on_message"], "0 to 7")
    assert "weather_plugin" not in sys.modules


def test_loading_leaves_the_operators_priority(cli: Command, site: FakeSite) -> None:
    site.plugin(HEARS)
    cli.write('[plugins]\nenabled = ["weather"]\n[plugins.weather]\npriority = 9\n')
    assert rows(cli, "--load")["weather"]["priority"] == "9"


def test_loading_fails_where_an_enabled_plugin_does_not_load(cli: Command, site: FakeSite) -> None:
    site.plugin(BOMB)
    cli.write('[plugins]\nenabled = ["weather", "sentry"]\n')
    result = cli("plugins", "list", "--load")
    assert result.exit_code == exits.PLUGIN
    assert "cannot be imported" in result.stdout


def test_where_there_is_no_plugin_it_says_how_to_get_one(cli: Command, monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "path", [str(cli.directory)])
    assert "thea plugins install" in cli.ok("plugins", "list")


def test_a_distribution_that_cannot_be_read_is_a_warning(cli: Command, site: FakeSite) -> None:
    info = site.distribution("thea-weather", plugins={"weather": "a"})
    (info / "entry_points.txt").write_bytes(b"[thea.plugins]\n\xff = a\n")
    assert "warning: the metadata of" in cli("plugins", "list").stderr
