"""``thea config show`` shows what counts, where it comes from, and no secret."""

from __future__ import annotations

from tests.cli.conftest import Command
from tests.plugins.conftest import FakeSite
from thea_core.cli import exits

PLUGIN = """
from pydantic import BaseModel, SecretStr

class Server(BaseModel):
    address: str = ""
    phrase: SecretStr = SecretStr("")

class Weather:
    class Settings(BaseModel):
        city: str = ""
        word: SecretStr = SecretStr("")
        days: int = 3
        places: list[str] = []
        server: Server = Server()

    def __init__(self, settings): ...
"""
SETTINGS = """
[plugins.weather.settings]
city = "Oslo"
word = "sesame"
days = 4
places = ["Rome"]
server = { address = "x", phrase = "abracadabra" }
"""


def values(cli: Command, *arguments: str) -> dict[str, object]:
    """Return the values by their keys."""
    return {each["key"]: each["value"] for each in cli.json("config", "show", *arguments)["values"]}


def test_every_value_is_shown_with_its_source(cli: Command) -> None:
    cli.write('[sessions]\ntimeout = "1h"\n')
    text = cli.ok("config", "show", THEA__STORE__URL="memory:")
    assert 'sessions.timeout               "1h"' in text
    assert "thea.toml:2" in text
    assert "THEA__STORE__URL" in text
    assert "default" in text


def test_changed_leaves_out_defaults(cli: Command) -> None:
    cli.write('[sessions]\ntimeout = "1h"\n')
    assert values(cli, "--changed") == {"sessions.timeout": "1h"}
    assert "default" not in cli.ok("config", "show", "--changed").splitlines()[2:]


def test_without_a_file_it_says_so(cli: Command) -> None:
    assert cli.ok("config", "show").startswith("# There is no configuration file")
    assert cli.json("config", "show")["file"] is None


def test_a_wrong_configuration_is_refused(cli: Command) -> None:
    cli.write("nonsense = 1\n")
    assert cli("config", "show").exit_code == exits.CONFIG


def test_what_an_enabled_plugin_declares_as_secret_is_not_shown(cli: Command, site: FakeSite) -> None:
    site.plugin(PLUGIN, value="weather_plugin:Weather")
    cli.write(f'[plugins]\nenabled = ["weather"]\n{SETTINGS}')
    result = cli("config", "show")
    assert "sesame" not in result.output
    assert "abracadabra" not in result.output
    shown = values(cli)
    assert shown["plugins.weather.settings.city"] == "Oslo"
    assert shown["plugins.weather.settings.places"] == ["Rome"]
    assert shown["plugins.weather.settings.days"] == 4
    assert shown["plugins.weather.settings.word"] == "***"
    assert shown["plugins.weather.settings.server.address"] == "***"


def test_of_a_plugin_that_is_not_asked_no_text_is_shown(cli: Command, site: FakeSite) -> None:
    site.plugin(PLUGIN, value="weather_plugin:Weather")
    cli.write(SETTINGS)
    result = cli("config", "show")
    assert not any(word in result.output for word in ("sesame", "abracadabra", "Oslo", "Rome"))
    assert "it is not enabled" in result.stderr
    assert values(cli)["plugins.weather.settings.days"] == 4


def test_of_a_plugin_that_does_not_load_no_text_is_shown(cli: Command, site: FakeSite) -> None:
    site.plugin("1 / 0")
    cli.write(f'[plugins]\nenabled = ["weather", "gone"]\n{SETTINGS}')
    result = cli("config", "show")
    assert result.exit_code == exits.OK
    assert "sesame" not in result.output
    assert "ZeroDivisionError" in result.stderr
