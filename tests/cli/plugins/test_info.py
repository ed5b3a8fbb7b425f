"""``thea plugins info`` shows all that is known of one plugin."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.cli.conftest import Command
from tests.cli.records import call, opened, write
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits
from thea_core.plugins.status import PluginStatus, StatusFile

PLUGIN = """
from pydantic import BaseModel, Field, SecretStr
from thea_core import hookimpl

class Weather:
    class Settings(BaseModel):
        city: str = Field(description="Where.")
        word: SecretStr = SecretStr("sun")
        days: int = 3

    def __init__(self, settings): print("hello")

    @hookimpl(tryfirst=True)
    def on_message(self, user_id): ...

    @hookimpl(priority=5, states=("executing",))
    def pre_transition(self, context): ...

    @hookimpl(wrapper=True)
    def on_error(self):
        yield
"""


@pytest.fixture
def weather(cli: Command, site: FakeSite) -> Command:
    """A plugin with settings, which are configured."""
    site.plugin(PLUGIN, value="weather_plugin:Weather")
    cli.write(
        '[plugins]\nenabled = ["weather"]\n[plugins.weather]\non_failure = "veto"\n'
        '[plugins.weather.settings]\ncity = "Oslo"\nword = "sesame"\ndays = 4\n'
    )
    return cli


@pytest.mark.parametrize("name", ["weather", "thea-weather", "Thea_Weather"])
def test_metadata_and_configuration_are_shown_without_importing(weather: Command, name: str) -> None:
    text = weather.ok("plugins", "info", name)
    assert "thea-weather 1.0" in text
    assert "weather_plugin:Weather" in text
    assert "guard           yes: its failures refuse a transition" in text
    assert "thea plugins info weather --load" in text
    assert "hello" not in text


def test_no_text_of_the_settings_is_shown_before_the_plugin_says_what_is_secret(weather: Command) -> None:
    assert weather.json("plugins", "info", "weather")["configured"] == {"city": "***", "word": "***", "days": 4}


def test_loading_shows_callbacks_settings_and_what_was_printed(weather: Command) -> None:
    text = weather.ok("plugins", "info", "weather", "--load")
    assert 'city = "Oslo"' in text
    assert "sesame" not in text
    assert "Where." in text
    assert "(required)" in text
    assert "tryfirst" in text
    assert "wrapper" in text
    assert "executing" in text
    assert "It printed\nhello" in text


def test_loading_in_json(weather: Command) -> None:
    shown = weather.json("plugins", "info", "weather", "--load")
    assert [each["hook"] for each in shown["callbacks"]] == ["on_error", "on_message", "pre_transition"]
    assert [each["name"] for each in shown["settings"]] == ["city", "word", "days"]
    assert shown["configured"] == {"city": "Oslo", "word": "***", "days": 4}
    assert shown["guard"]


def test_how_it_is_called_is_shown_as_configured(weather: Command) -> None:
    def shown(*lines: str) -> list[list[str]]:
        weather.write("\n".join(['[plugins]\nenabled = ["weather"]\n[plugins.weather]', *lines]))
        text = weather.ok("plugins", "info", "weather")
        names = ("delivery", "timeout", "queue_size", "flush_interval")
        return [each.split(maxsplit=1) for each in text.splitlines() if each.split()[:1] in [[name] for name in names]]

    assert shown() == [
        ["delivery", "as its author chose"],
        ["timeout", "as its author chose, else 2s"],
        ["queue_size", "2048"],
        ["flush_interval", "5s"],
    ]
    assert shown('delivery = "inline"', 'timeout = "none"') == [["delivery", "inline"], ["timeout", "none"]]
    assert shown('delivery = "background"', "queue_size = 9", 'flush_interval = "1m"', "timeout = 0.5") == [
        ["delivery", "background"],
        ["timeout", "500ms"],
        ["queue_size", "9"],
        ["flush_interval", "1m"],
    ]


def test_how_it_is_called_in_json(weather: Command) -> None:
    keys = ("delivery", "timeout", "queue_size", "flush_interval")
    shown = weather.json("plugins", "info", "weather")
    assert [shown[each] for each in keys] == [None, None, 2048, 5.0]
    weather.write('[plugins.weather]\ntimeout = "none"\n')
    assert weather.json("plugins", "info", "weather")["timeout"] == "none"
    weather.write("nonsense = 1\n")
    shown = weather.json("plugins", "info", "weather")
    assert [shown[each] for each in keys] == [None] * 4


def test_loading_shows_limit_and_delivery_of_each_callback(weather: Command) -> None:
    weather.write(
        '[plugins]\nenabled = ["weather"]\n[plugins.weather]\ntimeout = "250ms"\n'
        '[plugins.weather.settings]\ncity = "Oslo"\n'
    )
    text = weather.ok("plugins", "info", "weather", "--load")
    assert "on_message      Weather.on_message      tryfirst  -           250 ms               inline\n" in text
    assert "on_error        Weather.on_error        wrapper   -           unlimited (wrapper)  inline\n" in text
    callbacks = {each["hook"]: each for each in weather.json("plugins", "info", "weather", "--load")["callbacks"]}
    assert (callbacks["on_message"]["timeout"], callbacks["on_message"]["limited"]) == (0.25, True)
    assert (callbacks["on_error"]["timeout"], callbacks["on_error"]["limited"]) == (None, False)


def test_what_the_record_tells_is_shown(weather: Command) -> None:
    weather.write('[plugins]\nenabled = ["weather"]\n[callbacks]\nrecord = "calls.jsonl"\n')
    assert "calls  " not in weather.ok("plugins", "info", "weather")
    outcomes = ("error", "timeout", "dropped", "skipped")
    write(weather.directory / "calls.jsonl", call(duration=0.5), *map(call, outcomes), opened())
    text = weather.ok("plugins", "info", "weather")
    assert "  calls           3; 1 failed, 1 took too long; 1 events dropped, 1 calls left out\n" in text
    assert "  times           167 ms on average, 500 ms at worst (Weather.on_message for on_message)\n" in text
    assert "  breaker         open for on_message since 2026-01-01 12:00:00Z: 5 failures in a row, the last: " in text
    assert "  record          calls.jsonl, as of 2026-01-01 12:00:00Z\n" in text


def test_of_a_plugin_that_has_only_been_left_out_there_are_no_times(weather: Command) -> None:
    weather.write('[plugins]\nenabled = ["weather"]\n[callbacks]\nrecord = "calls.jsonl"\n')
    write(weather.directory / "calls.jsonl", call("skipped"))
    text = weather.ok("plugins", "info", "weather")
    assert "  breaker         closed\n" in text
    assert "  times" not in text


def test_the_recorded_status_is_shown_with_its_time(weather: Command) -> None:
    when = datetime(2026, 1, 1, 12, tzinfo=UTC)
    StatusFile(weather.directory).record({"weather": PluginStatus("running", when)})
    assert "running (since 2026-01-01 12:00:00Z)" in weather.ok("plugins", "info", "weather")


def test_a_plugin_that_is_not_there_is_told_with_advice(cli: Command) -> None:
    result = cli("plugins", "info", "sentri")
    assert result.exit_code == exits.PLUGIN
    assert result.stderr.startswith("error[plugin-not-found]: no plugin 'sentri' is installed; did you mean 'sentry'?")


@pytest.mark.usefixtures("lantern")
def test_a_plugin_that_is_enabled_and_not_there_is_shown_and_is_an_error(cli: Command) -> None:
    cli.write('[plugins]\nenabled = ["lantern"]\n')
    result = cli("plugins", "info", "lantern")
    assert result.exit_code == exits.PLUGIN
    assert "pip install thea-lantern" in result.stdout


def test_a_plugin_that_does_not_load_is_an_error(cli: Command, site: FakeSite) -> None:
    site.plugin("1 / 0")
    result = cli("plugins", "info", "weather", "--load", "--json")
    assert result.exit_code == exits.PLUGIN
    assert "ZeroDivisionError" in json.loads(result.stdout)["reason"]


def test_a_module_is_found_by_either_name(cli: Command) -> None:
    source = "from thea_core import hookimpl\n@hookimpl\ndef on_message(user_id): ...\n"
    (cli.directory / "myapp.py").write_text(source, encoding="utf-8")
    cli.write('[plugins]\nmodules = ["myapp"]\n')
    assert "yes, in [plugins] modules" in cli.ok("plugins", "info", "myapp", "--load")


def test_a_broken_configuration_is_a_warning(cli: Command, site: FakeSite) -> None:
    site.plugin("")
    cli.write("nonsense = 1\n")
    result = cli("plugins", "info", "weather")
    assert result.exit_code == exits.OK
    assert "warning: the configuration is wrong" in result.stderr
