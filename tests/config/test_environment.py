"""Variables: THEA__SECTION__KEY and "${NAME}"."""

from __future__ import annotations

from pathlib import Path

import pytest

from thea_core.config import Config, load_config
from thea_core.config.environment import toml_value
from thea_core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("true", True),
        ('["a", "b"]', ["a", "b"]),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_variable_is_read_as_toml_else_as_a_string(text: str, value: object) -> None:
    assert toml_value(text) == value


def load(directory: Path, text: str = "", **environ: str) -> Config:
    (directory / "thea.toml").write_text(text, encoding="utf-8")
    return load_config(environ=environ, directory=directory)


def problems(directory: Path, text: str = "", **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(directory, text, **environ)
    return caught.value.problems


def test_a_variable_overrides_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, '[sessions]\ntimeout = "1h"\n', THEA__SESSIONS__TIMEOUT="5m")
    assert config.sessions.timeout == 300
    assert str(config.origin("sessions", "timeout")) == "THEA__SESSIONS__TIMEOUT"


def test_a_variable_needs_no_file(tmp_path: Path) -> None:
    config = load_config(environ={"THEA__CALLBACKS__HISTORY_SIZE": "0"}, directory=tmp_path)
    assert config.callbacks.history_size == 0
    assert config.source is None


def test_a_table_is_set_before_the_keys_in_it(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        '[store]\nmessage_ids = "1d"\n',
        THEA__STORE__URL="memory:",
        THEA__STORE='{ url = "sqlite:///x.db", message_ids = "2d" }',
    )
    assert (config.store.url, config.store.message_ids) == ("memory:", 172800)
    assert str(config.origin("store", "message_ids")) == "THEA__STORE"


def test_a_plugin_is_matched_whatever_its_case_and_dashes(tmp_path: Path) -> None:
    text = '[plugins]\nenabled = ["My-Plugin"]\n'
    config = load(tmp_path, text, THEA__PLUGINS__MY_PLUGIN__PRIORITY="7")
    assert config.plugins.entry("My-Plugin").priority == 7


def test_a_plugin_that_a_variable_enables_is_matched_too(tmp_path: Path) -> None:
    config = load(tmp_path, THEA__PLUGINS__ENABLED='["a-b"]', THEA__PLUGINS__A_B__REQUIRED="true")
    assert config.plugins.entry("a-b").required


def test_a_module_is_matched_by_its_last_part(tmp_path: Path) -> None:
    config = load(tmp_path, '[plugins]\nmodules = ["app.Hooks"]\n', THEA__PLUGINS__HOOKS__PRIORITY="1")
    assert config.plugins.entry("Hooks").priority == 1


def test_a_plugin_that_nothing_names_gets_the_name_in_small_letters(tmp_path: Path) -> None:
    assert load(tmp_path, THEA__PLUGINS__SOME_ONE__PRIORITY="1").plugins.entry("some_one").priority == 1


def test_settings_are_set_key_by_key(tmp_path: Path) -> None:
    text = "[plugins.x.settings]\nSample-Rate = 1\nother = 2\n"
    settings = load(tmp_path, text, THEA__PLUGINS__X__SETTINGS__SAMPLE_RATE="0.5").plugins.entry("x").settings
    assert settings == {"Sample-Rate": 0.5, "other": 2}


def test_two_plugins_that_a_variable_may_mean_are_both_named(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, "[plugins.a-b]\n[plugins.a_b]\n", THEA__PLUGINS__A_B__PRIORITY="1")
    assert "may mean a-b or a_b" in text


def test_two_variables_for_one_key_are_both_named(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, THEA__STORE__URL="memory:", THEA__store__url="memory:")
    assert "store.url is set by THEA__STORE__URL too" in text
    assert text.startswith("THEA__store__url:")


@pytest.mark.parametrize("name", ["THEA__", "THEA____URL", "THEA__STORE__"])
def test_a_name_with_an_empty_part_is_told(tmp_path: Path, name: str) -> None:
    (text,) = problems(tmp_path, **{name: "1"})
    assert text.startswith(f"{name}: the name has an empty part")


def test_an_unknown_key_names_the_variable_and_the_one_that_was_meant(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, THEA__SESSIONS__TIMEOT="5m")
    assert text.startswith("THEA__SESSIONS__TIMEOT: sessions.timeot is not a known key")
    assert "rename the variable to THEA__SESSIONS__TIMEOUT, or unset it" in text
    assert "5m" not in text


def test_an_unknown_key_that_is_like_none_is_to_be_unset(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, THEA__QQQ="1")
    assert "to do: unset THEA__QQQ" in text


def test_a_wrong_value_names_the_variable_and_how_to_set_it(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, THEA__SESSIONS__TIMEOUT="soon")
    assert "THEA__SESSIONS__TIMEOUT: sessions.timeout has a value that does not fit" in text
    assert 'found: "soon" (a string)' in text
    assert "set THEA__SESSIONS__TIMEOUT='\"30m\"', or unset it" in text


@pytest.mark.parametrize("text", ["", '[store]\nurl = "memory:"\n'])
def test_a_variable_below_a_plain_value_names_itself(tmp_path: Path, text: str) -> None:
    (problem,) = problems(tmp_path, text, THEA__STORE__URL__HOST="x")
    assert problem.startswith("THEA__STORE__URL__HOST: store.url has a value that does not fit")


def test_a_reference_is_replaced_and_remembered(tmp_path: Path) -> None:
    config = load(tmp_path, '[store]\nurl = "${STORE}"\n', STORE="postgresql://me:hunter2@host/db")
    assert config.store.url == "postgresql://me:hunter2@host/db"
    assert str(config.origin("store", "url")) == f"{tmp_path / 'thea.toml'}:2, from ${{STORE}}"
    assert repr(config.store) == "StoreConfig(url='***', message_ids='7d')"


@pytest.mark.parametrize("environ", [{}, {"S": ""}])
def test_a_default_stands_for_a_variable_that_is_unset_or_empty(tmp_path: Path, environ: dict[str, str]) -> None:
    assert load(tmp_path, '[store]\nurl = "${S:-memory:}"\n', **environ).store.url == "memory:"


def test_numbers_and_booleans_may_come_from_a_variable(tmp_path: Path) -> None:
    text = '[conversation]\nmin_score = "${M}"\nmax_message = "${X}"\n[plugins.a]\nrequired = "${R}"\n'
    config = load(tmp_path, text, M="0.25", X="10", R="true")
    assert (config.conversation.min_score, config.conversation.max_message) == (0.25, 10)
    assert config.plugins.entry("a").required


def test_an_override_may_refer_to_another_variable(tmp_path: Path) -> None:
    config = load(tmp_path, THEA__STORE__URL="${S}", S="memory:")
    assert config.store.url == "memory:"
    assert str(config.origin("store", "url")) == "THEA__STORE__URL, from ${S}"


def test_a_reference_within_a_longer_text_is_plain_text(tmp_path: Path) -> None:
    text = '[conversation.texts]\napology = "cost: ${X}"\n'
    assert load(tmp_path, text).conversation.texts == {"apology": "cost: ${X}"}


def test_a_variable_that_is_not_set_is_named_once(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, '[sessions]\ntimeout = "${T}"\n')
    assert text.startswith(f"{tmp_path / 'thea.toml'}:2: sessions.timeout needs the environment variable T")
    assert "export T=..." in text


def test_a_variable_that_is_not_set_in_an_array_is_named_once(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, '[plugins]\nenabled = [\n"${T}",\n]\n')
    assert "thea.toml:3: plugins.enabled[0] needs the environment variable T" in text


def test_a_missing_variable_is_no_matter_where_an_override_takes_the_place(tmp_path: Path) -> None:
    assert load(tmp_path, '[store]\nurl = "${T}"\n', THEA__STORE__URL="memory:").store.url == "memory:"


def test_braces_without_a_proper_name_are_told(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, '[store]\nurl = "${MY-VAR}"\n')
    assert "store.url names no environment variable" in text


def test_a_wrong_value_from_a_reference_is_not_shown(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, '[sessions]\ntimeout = "${T}"\n', T="hunter2")
    assert "hunter2" not in text
    assert "found: a string that is not shown (***)" in text
    assert 'give the environment variable T such a value, for example "30m"' in text


def test_a_wrong_address_from_a_reference_is_not_shown(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, '[store]\nurl = "${T}"\n', T="hunter2")
    assert "hunter2" not in text


def test_a_wrong_choice_from_a_reference_is_not_shown(tmp_path: Path) -> None:
    (text,) = problems(tmp_path, '[plugins.a]\non_failure = "${T}"\n', T="vetoo")
    assert "vetoo" not in text
    assert "did you mean" not in text
