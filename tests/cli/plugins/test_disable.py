"""``thea plugins disable`` works whatever a plugin and the configuration do."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Command
from tests.cli.plugins.test_enable import enabled
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits


def test_a_plugin_that_hangs_at_import_is_disabled(cli: Command, site: FakeSite) -> None:
    site.plugin("import time; time.sleep(3600)")
    cli.write('[plugins]\nenabled = ["weather", "other"]\n')
    assert cli.ok("plugins", "disable", "weather") == "weather is disabled in thea.toml\n"
    assert enabled(cli) == ["other"]


def test_a_plugin_that_is_gone_is_disabled(cli: Command) -> None:
    cli.write('[plugins]\nenabled = ["gone"]\n')
    assert cli.json("plugins", "disable", "gone") == {"plugin": "gone", "file": "thea.toml", "changed": True}
    assert enabled(cli) == []


def test_a_plugin_is_disabled_in_a_wrong_configuration(cli: Command) -> None:
    cli.write('nonsense = 1\n[plugins]\nenabled = ["gone"]\n')
    assert cli("plugins", "disable", "gone").exit_code == exits.OK
    assert enabled(cli) == []


@pytest.mark.parametrize(("listed", "named"), [("weather", "thea-weather"), ("thea-weather", "weather")])
def test_the_plugin_and_its_distribution_are_one(cli: Command, site: FakeSite, listed: str, named: str) -> None:
    site.plugin("")
    cli.write(f'[plugins]\nenabled = ["{listed}"]\n')
    cli.ok("plugins", "disable", named)
    assert enabled(cli) == []


def test_a_distribution_of_several_plugins_does_not_stand_for_one(cli: Command, site: FakeSite) -> None:
    site.distribution("thea-skies", plugins={"sun": "a", "rain": "b"})
    cli.write('[plugins]\nenabled = ["sun", "rain"]\n')
    assert "not enabled" in cli.ok("plugins", "disable", "thea-skies")
    assert enabled(cli) == ["sun", "rain"]


def test_an_installed_plugin_that_is_not_enabled_needs_nothing(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    assert cli.ok("plugins", "disable", "weather") == "weather is not enabled in thea.toml\n"


def test_a_name_that_nobody_knows_is_most_likely_misspelt(cli: Command) -> None:
    cli.write('[plugins]\nenabled = ["weather"]\n')
    result = cli("plugins", "disable", "wether")
    assert result.exit_code == exits.PLUGIN
    assert "did you mean 'weather'?" in result.stderr
    assert "enabled are: weather" in cli("plugins", "disable", "zzz").stderr


def test_a_module_is_taken_out_by_hand(cli: Command) -> None:
    cli.write('[plugins]\nmodules = ["myapp.hooks"]\n')
    result = cli("plugins", "disable", "hooks")
    assert result.exit_code == exits.PLUGIN
    assert "take 'myapp.hooks' out of it in thea.toml" in result.stderr


def test_a_variable_that_enables_it_all_the_same_is_told(cli: Command) -> None:
    cli.write('[plugins]\nenabled = ["weather"]\n')
    result = cli("plugins", "disable", "weather", THEA__PLUGINS__ENABLED='["weather"]')
    assert "THEA__PLUGINS__ENABLED replaces what the file says, and enables weather" in result.stderr


def test_disabling_a_guard_is_told(cli: Command) -> None:
    cli.write('[plugins]\nenabled = ["weather"]\n[plugins.weather]\non_failure = "veto"\n')
    assert "weather was a guard" in cli("plugins", "disable", "weather").stderr
