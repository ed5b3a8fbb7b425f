"""One plugin, with its settings, and nothing else of the configuration that acts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.plugins.conftest import FakeSite
from thea_core.cli.replaying.alone import IN_FLIGHT, alone, running_alone
from thea_core.config import Config
from thea_core.errors import PluginConflictError, PluginLoadError, PluginNotFoundError

PLUGIN = """
from thea_core import hookimpl

@hookimpl
def on_message(message):
    pass
"""


def config(**tables: object) -> Config:
    return Config.from_mapping(tables, environ={})


def found(wanted: str, given: Config) -> tuple[str, list[str], list[str]]:
    """Return the plugin's name, and what is enabled then."""
    made, name = alone(given, wanted)
    return name, made.plugins.enabled, made.plugins.modules


class TestWhichOne:
    @pytest.mark.parametrize("wanted", ["weather", "thea-weather", "Thea_Weather"])
    @pytest.mark.parametrize("enabled", [[], ["weather"], ["other", "weather"]])
    def test_one_that_is_installed_enabled_or_not(self, site: FakeSite, wanted: str, enabled: list[str]) -> None:
        site.plugin(PLUGIN)
        assert found(wanted, config(plugins={"enabled": enabled})) == ("weather", ["weather"], [])

    @pytest.mark.parametrize("wanted", ["myapp.hooks", "hooks"])
    def test_a_module_of_the_configuration(self, wanted: str) -> None:
        given = config(plugins={"modules": ["other", "myapp.hooks"]})
        assert found(wanted, given) == ("hooks", [], ["myapp.hooks"])

    def test_any_other_module(self) -> None:
        assert found("myapp.hooks", config()) == ("hooks", [], ["myapp.hooks"])

    @pytest.mark.parametrize("name", ["shop.py", "shop/__init__.py"])
    def test_a_module_of_the_working_directory(self, cli: Command, name: str) -> None:
        (cli.directory / name).parent.mkdir(exist_ok=True)
        cli.write(PLUGIN, name)
        assert found("shop", config()) == ("shop", [], ["shop"])

    @pytest.mark.parametrize("wanted", ["shop", "my-shop", "my..shop", ""])
    def test_one_that_is_not_there_is_told_with_what_to_write(self, cli: Command, wanted: str) -> None:
        with pytest.raises(PluginNotFoundError, match=r"by its dotted name, such as myapp\.hooks"):
            alone(config(), wanted)

    def test_one_of_two_is_refused(self, site: FakeSite) -> None:
        site.distribution("thea-one", plugins={"weather": "one"})
        site.distribution("thea-two", plugins={"weather": "two"})
        with pytest.raises(PluginConflictError):
            alone(config(), "weather")


class TestConfiguration:
    def test_its_settings_and_limits_stay_and_those_of_others_go(self) -> None:
        table = {"settings": {"city": "Lugo"}, "timeout": "7s", "delivery": "background", "queue_size": 5}
        given = config(plugins={"hooks": table, "other": {"on_failure": "veto"}}, conversation={"language": "es"})
        made, _ = alone(given, "myapp.hooks")
        assert list(made.plugins.entries) == ["hooks"]
        entry = made.plugins.entry("hooks")
        assert entry.settings is not None
        assert (entry.settings.plain(), entry.timeout, entry.delivery) == ({"city": "Lugo"}, 7.0, "background")
        assert made.conversation == given.conversation

    def test_each_event_is_tried_none_is_dropped_and_nothing_is_recorded(self) -> None:
        given = config(plugins={"hooks": {"queue_size": 5}}, callbacks={"breaker_failures": 1, "record": "calls.jsonl"})
        made, _ = alone(given, "myapp.hooks")
        assert made.plugins.entry("hooks").queue_size > IN_FLIGHT
        assert made.callbacks.breaker_failures > 10**6
        assert made.callbacks.record is None

    def test_a_guard_is_a_plugin_like_any_other(self) -> None:
        made, _ = alone(config(plugins={"hooks": {"on_failure": "veto"}}), "myapp.hooks")
        entry = made.plugins.entry("hooks")
        assert (entry.on_failure, entry.required) == ("contain", False)


class TestApplication:
    def test_only_this_plugin_runs_and_nothing_is_left_on_disk(self, cli: Command, site: FakeSite) -> None:
        site.plugin(PLUGIN)
        site.plugin(PLUGIN, name="other", value="other_plugin")
        cli.write('[plugins]\nenabled = ["weather", "other"]\n[callbacks]\nrecord = "calls.jsonl"\n')
        from thea_core.config import load_config

        made, name = alone(load_config(None, environ={}), "weather")
        with running_alone(made, name, {"THEA_RECORD": "events.jsonl", "THEA_NO_PLUGINS": "1"}) as thea:
            assert [(each.name, each.state) for each in thea.plugins] == [("weather", "running")]
            assert thea.handle_request("ana", "hola").ok
            assert thea.store.load("ana") is not None
        assert [each.name for each in cli.directory.iterdir()] == ["thea.toml"]

    def test_one_that_does_not_load_is_told(self, cli: Command) -> None:
        cli.write("raise ValueError('not today')", "shop.py")
        made, name = alone(config(), "shop")
        with pytest.raises(PluginLoadError, match="not today"), running_alone(made, name, {}):
            pass
        assert not Path("thea.db").exists()
