"""From files to a configuration, and the problems on the way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from thea_core.config import Config, load_config
from thea_core.errors import ConfigError


def load(directory: Path, text: str, **environ: str) -> Config:
    (directory / "thea.toml").write_text(text, encoding="utf-8")
    return load_config(environ=environ, directory=directory)


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory, text)
    return [each.replace(str(directory / "thea.toml"), "thea.toml") for each in caught.value.problems]


def test_without_a_file_all_is_default(tmp_path: Path) -> None:
    assert load_config(environ={}, directory=tmp_path) == Config()


def test_the_source_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thea.toml").write_text("[store]\n")
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("thea.toml"), environ={}).source == tmp_path / "thea.toml"


def test_a_value_knows_its_line_and_a_default_that_it_is_one(tmp_path: Path) -> None:
    config = load(tmp_path, '[store]\n\nurl = "memory:"\n')
    assert str(config.origin("store", "url")) == f"{tmp_path / 'thea.toml'}:3"
    assert str(config.origin("store", "message_ids")) == "default"


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    found = problems(tmp_path, '[sessions]\ntimeot = "1h"\nsweep_interval = -1\n[stor]\nurl = "x"\n')
    assert [each.partition(": ")[0] for each in found] == ["thea.toml:2", "thea.toml:3", "thea.toml:4"]


def test_problems_of_variables_come_after_those_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "\nqqq = 1\n", THEA__STORE__URL="x")
    assert [each.partition(": ")[0] for each in caught.value.problems] == [
        f"{tmp_path / 'thea.toml'}:2",
        "THEA__STORE__URL",
    ]


def test_the_error_is_all_problems(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "a = 1\nb = 2\n")
    assert str(caught.value) == "\n\n".join(caught.value.problems)


def test_an_unknown_key_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, '[sessions]\ntimeot = "hunter2"\n')
    assert text == (
        "thea.toml:2: sessions.timeot is not a known key\n"
        "    valid: timeout, sweep_interval\n"
        "    did you mean: timeout?\n"
        "    to do: rename timeot to timeout in line 2 of thea.toml, or remove it"
    )


def test_an_unknown_table_that_is_like_none_is_to_be_removed(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, "[qqq]\n")
    assert "valid: store, sessions, conversation, callbacks, fsm, plugins" in text
    assert "to do: remove qqq in line 1 of thea.toml" in text


def test_a_table_that_is_a_value_is_told_without_the_value(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, 'store = "postgresql://me:hunter2@host/db"\n')
    assert "hunter2" not in text
    assert "found: a string" in text
    assert "expected: a table, [store]" in text


def test_a_setting_outside_the_settings_table_is_sent_there(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, '[plugins.sentry]\ndsn = "https://hunter2@x"\n')
    assert "a setting of the plugin itself stands in [plugins.sentry.settings]" in text
    assert "hunter2" not in text


def test_a_plugin_that_is_no_table_is_an_unknown_key(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, "[plugins]\nlogging = true\n")
    assert "plugins.logging is not a known key" in text
    assert "what concerns one plugin stands in a table [plugins.NAME]" in text


def test_a_plugin_cannot_be_called_like_a_key(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, "[plugins.modules]\npriority = 1\n")
    assert "plugins.modules has a value that does not fit" in text


def test_a_guard_is_required(tmp_path: Path) -> None:
    config = load(tmp_path, '[plugins.x]\non_failure = "veto"\n')
    assert config.plugins.entry("x").required
    assert str(config.origin("plugins", "x", "required")) == str(config.origin("plugins", "x", "on_failure"))


def test_a_guard_cannot_be_optional(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, '[plugins.x]\non_failure = "veto"\nrequired = false\n')
    assert text.startswith('thea.toml:3: plugins.x.required contradicts on_failure = "veto"')


def test_a_missing_variable_of_a_disabled_plugin_stops_nothing(tmp_path: Path) -> None:
    config = load(tmp_path, '[plugins.sentry.settings]\ndsn = "${DSN}"\n')
    (text,) = config.deferred["sentry"]
    assert "plugins.sentry.settings.dsn needs the environment variable DSN" in text


def test_a_missing_variable_of_an_enabled_plugin_is_told(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, '[plugins]\nenabled = ["sentry"]\n[plugins.sentry.settings]\ndsn = "${DSN}"\n')
    assert text.startswith("thea.toml:4: plugins.sentry.settings.dsn needs the environment variable DSN")


def test_a_mapping_is_read_like_a_file() -> None:
    config = Config.from_mapping(
        {"store": {"url": "${S}"}, "plugins": {"enabled": ("a", "b")}}, environ={"S": "memory:"}
    )
    assert config.store.url == "memory:"
    assert config.plugins.enabled == ["a", "b"]
    assert config.origin("store", "url").kind == "code"


def test_an_empty_environment_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_FOR_TEST", "memory:")
    with pytest.raises(ConfigError, match="STORE_FOR_TEST"):
        Config.from_mapping({"store": {"url": "${STORE_FOR_TEST}"}}, environ={})


def test_a_mapping_looks_into_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEA_TEST_STORE", "memory:")
    assert Config.from_mapping({"store": {"url": "${THEA_TEST_STORE}"}}).store.url == "memory:"


def test_a_mapping_is_told_as_the_place_of_its_problems() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_mapping({"store": {"url": 5}})
    assert caught.value.problems[0].startswith("the mapping given to Config.from_mapping: store.url")
    assert 'write url = "sqlite:///thea.db" in the mapping' in caught.value.problems[0]


def test_a_mapping_is_not_changed() -> None:
    data = {"plugins": {"x": {"on_failure": "veto"}}}
    Config.from_mapping(data)
    assert data == {"plugins": {"x": {"on_failure": "veto"}}}


def test_loading_imports_no_pydantic_and_the_core_no_configuration() -> None:
    code = (
        "import sys; tools = {'tomllib', 'pydantic', 'tomlkit'} - set(sys.modules);"  # coverage brings some
        "import thea_core; assert 'thea_core.config' not in sys.modules;"
        "import thea_core.config as c; assert not tools & set(sys.modules);"
        "c.Config.from_mapping({'plugins': {'enabled': ['a']}}); assert not tools & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
