"""The rows of `thea config show`."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, SecretStr

from thea_core.config import Config, load_config
from thea_core.config.model import keys_of, sections_of
from thea_core.config.show import Row, as_json, rows

TEXT = """\
[store]
url = "postgresql://me:hunter2@host/db"
[conversation.texts]
apology = "Sorry."
[plugins]
enabled = ["sentry"]
[plugins.sentry]
priority = 5
[plugins.sentry.settings]
dsn = "hunter2"
rate = "${RATE}"
day = 2026-01-01
"my x.key" = [1979-05-27, 1]
credential = "secret-by-type"
[plugins.other.settings]
[plugins.third]
required = true
"""


def load(directory: Path) -> Config:
    (directory / "thea.toml").write_text(TEXT)
    return load_config(environ={"RATE": "hunter2"}, directory=directory)


def by_key(config: Config) -> dict[str, Row]:
    return {each.key: each for each in rows(config)}


def test_every_default_is_there_with_its_source() -> None:
    found = by_key(Config())
    assert {f"{name}.{key}" for name, section in sections_of().items() for key in keys_of(section)} == found.keys()
    assert found["sessions.timeout"] == Row("sessions.timeout", "30m", "default")
    assert found["sessions.timeout"].text == '"30m"'
    assert found["fsm.transitions"].text == "-"


def test_what_was_set_is_there_with_its_line(tmp_path: Path) -> None:
    found = by_key(load(tmp_path))
    assert found["plugins.sentry.priority"] == Row("plugins.sentry.priority", 5, f"{tmp_path / 'thea.toml'}:8")
    assert found["conversation.texts.apology"].value == "Sorry."
    assert found["plugins.other.settings"].value == {}
    assert "plugins.other.priority" not in found
    assert "plugins.third.settings" not in found


def test_a_limit_that_is_switched_off_is_shown_as_it_is_written() -> None:
    config = Config.from_mapping({"callbacks": {"timeout": "none"}, "plugins": {"x": {"timeout": "none"}, "y": {}}})
    found = by_key(config)
    assert found["callbacks.timeout"].text == '"none"'
    assert found["plugins.x.timeout"].value == "none"
    assert "plugins.y.timeout" not in found
    assert json.loads(json.dumps(as_json(config))) == as_json(config)


def test_secrets_are_not(tmp_path: Path) -> None:
    found = by_key(load(tmp_path))
    assert found["store.url"].value == "postgresql://***@host/db"
    assert found["plugins.sentry.settings.dsn"].value == "***"
    assert found["plugins.sentry.settings.rate"].value == "***"
    assert found["plugins.sentry.settings.rate"].source.endswith("thea.toml:11, from ${RATE}")
    assert "hunter2" not in repr(found)


def test_what_a_model_declares_secret_is_not_shown_either(tmp_path: Path) -> None:
    class Settings(BaseModel):
        credential: SecretStr

    config = load(tmp_path)
    assert "secret-by-type" in json.dumps(as_json(config))
    assert "secret-by-type" not in json.dumps(as_json(config, {"sentry": Settings}))


def test_it_can_be_written_as_json(tmp_path: Path) -> None:
    data = json.loads(json.dumps(as_json(load(tmp_path))))
    assert data["file"] == str(tmp_path / "thea.toml")
    values = {each["key"]: each["value"] for each in data["values"]}
    assert values["plugins.sentry.settings.day"] == "2026-01-01"
    assert values['plugins.sentry.settings."my x.key"'] == "***"
    assert values["plugins.enabled"] == ["sentry"]


def test_a_number_that_json_has_not_is_written_as_text() -> None:
    config = Config.from_mapping({"plugins": {"x": {"settings": {"rate": float("inf")}}}})
    values = {each["key"]: each["value"] for each in as_json(config)["values"]}
    assert values["plugins.x.settings.rate"] == "inf"


def test_without_a_file_json_says_null() -> None:
    assert as_json(Config())["file"] is None
