"""A plugin's own settings, checked against its model."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from thea_core.config import Config, load_config, plugin_settings
from thea_core.errors import ConfigError, PluginLoadError


class Sink(BaseModel):
    name: str
    credential: SecretStr | None = None


class Settings(BaseModel):
    model_config = ConfigDict(extra="allow")

    dsn: str = "none"
    level: Literal["info", "debug"] = "info"
    rate: float = 1.0
    sinks: list[Sink] = []
    by_name: dict[str, Sink] = {}
    either: Sink | int | None = None
    tags: dict[str, str] = {}


def config(text: str, tmp_path: Path, **environ: str) -> Config:
    (tmp_path / "thea.toml").write_text(text, encoding="utf-8")
    return load_config(environ=environ, directory=tmp_path)


def problems(model: type[Any] | None, text: str, tmp_path: Path, **environ: str) -> list[str]:
    loaded = config(text, tmp_path, **environ)
    with pytest.raises(ConfigError) as caught:
        plugin_settings(loaded, "x", model)
    _no_secret("".join(traceback.format_exception(caught.value)))
    assert caught.value.__context__ is None
    return [each.replace(str(tmp_path / "thea.toml"), "thea.toml") for each in caught.value.problems]


def _no_secret(text: str) -> None:
    assert "hunter2" not in text


def test_settings_become_the_model(tmp_path: Path) -> None:
    text = '[plugins.x.settings]\ndsn = "${DSN}"\nrate = "0.5"\n[[plugins.x.settings.sinks]]\nname = "a"\n'
    settings = plugin_settings(config(text, tmp_path, DSN="hunter2"), "x", Settings)
    assert settings == Settings(dsn="hunter2", rate=0.5, sinks=[Sink(name="a")])


def test_without_a_table_the_models_defaults_count() -> None:
    assert plugin_settings(Config(), "x", Settings) == Settings()


def test_a_plugin_without_settings_gets_none() -> None:
    assert plugin_settings(Config(), "x", None) is None


@pytest.mark.parametrize("text", ["[plugins.x.settings]\n", "[plugins.x.settings]\na = 1\n"])
def test_a_settings_table_for_a_plugin_without_settings_is_refused(text: str, tmp_path: Path) -> None:
    (problem,) = problems(None, text, tmp_path)
    assert problem.startswith("thea.toml:1: plugins.x.settings is there, but the plugin x has no settings")
    assert "remove [plugins.x.settings]" in problem


@pytest.mark.parametrize("model", [dict, int])
def test_settings_that_are_no_model_are_the_plugins_fault(model: type[Any]) -> None:
    with pytest.raises(PluginLoadError, match="not a pydantic model") as caught:
        plugin_settings(Config(), "x", model)
    assert caught.value.plugin == "x"


def test_an_unknown_key_is_refused_even_if_the_model_allows_it(tmp_path: Path) -> None:
    (problem,) = problems(Settings, '[plugins.x.settings]\nlevl = "hunter2"\n', tmp_path)
    assert problem.startswith("thea.toml:2: plugins.x.settings.levl is not a known key")
    assert "did you mean: level?" in problem


def test_an_unknown_key_that_the_model_forbids_is_told_once(tmp_path: Path) -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid")

    (problem,) = problems(Strict, "[plugins.x.settings]\na = 1\n", tmp_path)
    assert "is not a known key" in problem


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('sinks = [{ name = "a", nam = 1 }]', "sinks[0].nam"),
        ('by_name.one = { name = "a", nam = 1 }', "by_name.one.nam"),
        ('either = { name = "a", nam = 1 }', "either.nam"),
    ],
)
def test_an_unknown_key_is_found_at_every_depth(text: str, path: str, tmp_path: Path) -> None:
    (problem,) = problems(Settings, f"[plugins.x.settings]\n{text}\n", tmp_path)
    assert problem.startswith(f"thea.toml:2: plugins.x.settings.{path} is not a known key")


def test_the_keys_of_a_plain_table_are_free(tmp_path: Path) -> None:
    settings = plugin_settings(config("[plugins.x.settings.tags]\nany = 'thing'\n", tmp_path), "x", Settings)
    assert isinstance(settings, Settings)
    assert settings.tags == {"any": "thing"}


def test_a_key_that_one_member_of_a_union_takes_is_known(tmp_path: Path) -> None:
    class Other(BaseModel):
        size: int

    class Either(BaseModel):
        sink: Sink | Other

    assert plugin_settings(config("[plugins.x.settings]\nsink.size = 1\n", tmp_path), "x", Either)
    (problem,) = problems(Either, "[plugins.x.settings]\nsink = { size = 1, siz = 2 }\n", tmp_path)
    assert "valid: credential, name, size" in problem


def test_aliases_are_the_keys(tmp_path: Path) -> None:
    class Aliased(BaseModel):
        one: int = Field(0, alias="uno")
        two: int = Field(0, validation_alias=AliasChoices("dos", AliasPath("zwei", 0)))

    text = "[plugins.x.settings]\nuno = 1\nzwei = [2]\n"
    settings = plugin_settings(config(text, tmp_path), "x", Aliased)
    assert isinstance(settings, Aliased)
    assert (settings.one, settings.two) == (1, 2)
    (problem,) = problems(Aliased, "[plugins.x.settings]\none = 1\n", tmp_path)
    assert "valid: dos, uno, zwei" in problem


def test_a_model_may_take_names_beside_aliases(tmp_path: Path) -> None:
    class Both(BaseModel):
        model_config = ConfigDict(populate_by_name=True)
        one: int = Field(0, alias="uno")

    assert plugin_settings(config("[plugins.x.settings]\none = 1\n", tmp_path), "x", Both) == Both(uno=1)


def test_a_wrong_value_is_told_with_its_line_and_what_was_expected(tmp_path: Path) -> None:
    (problem,) = problems(Settings, '[plugins.x.settings]\nrate = "fast"\n', tmp_path)
    assert problem == (
        "thea.toml:2: plugins.x.settings.rate has a value that does not fit\n"
        '    found: "fast" (a string)\n'
        "    expected: a valid number, unable to parse string as a number\n"
        "    to do: correct plugins.x.settings.rate in thea.toml:2"
    )


def test_a_wrong_choice_is_told_with_the_choices(tmp_path: Path) -> None:
    (problem,) = problems(Settings, '[plugins.x.settings]\nlevel = "inf"\n', tmp_path)
    assert "valid: info, debug" in problem
    assert "did you mean: info?" in problem


def test_a_number_in_place_of_a_text_wants_quotes(tmp_path: Path) -> None:
    (problem,) = problems(Settings, "[plugins.x.settings]\ndsn = 12345\n", tmp_path)
    assert "put the value of plugins.x.settings.dsn in quotes in thea.toml:2" in problem
    assert "12345" not in problem


def test_a_variable_that_reads_as_a_number_wants_quotes(tmp_path: Path) -> None:
    (problem,) = problems(Settings, "", tmp_path, THEA__PLUGINS__X__SETTINGS__DSN="12345")
    assert problem.startswith("THEA__PLUGINS__X__SETTINGS__DSN: ")
    assert "put the value in quotes: THEA__PLUGINS__X__SETTINGS__DSN='\"...\"'" in problem


def test_a_wrong_variable_is_to_be_corrected(tmp_path: Path) -> None:
    (problem,) = problems(Settings, "", tmp_path, THEA__PLUGINS__X__SETTINGS__RATE="fast")
    assert "to do: correct THEA__PLUGINS__X__SETTINGS__RATE, or unset it" in problem


def test_a_wrong_referenced_variable_is_not_shown(tmp_path: Path) -> None:
    (problem,) = problems(Settings, '[plugins.x.settings]\nrate = "${R}"\n', tmp_path, R="hunter2")
    assert "found: a string that is not shown (***)" in problem
    assert "give the environment variable R a value that fits" in problem


def test_a_missing_setting_is_told_with_the_table_it_belongs_to(tmp_path: Path) -> None:
    (problem,) = problems(Settings, "[plugins.x.settings]\nsinks = [{}]\n", tmp_path)
    assert problem.startswith("thea.toml:2: plugins.x.settings.sinks[0].name is missing")
    (problem,) = problems(Sink, "[plugins.x]\npriority = 1\n", tmp_path)
    assert problem.startswith("thea.toml:1: plugins.x.settings.name is missing")
    assert "add name = ... to [plugins.x.settings] in thea.toml" in problem


def test_a_missing_setting_without_any_file_is_told() -> None:
    with pytest.raises(ConfigError, match=r"the configuration: plugins\.x\.settings\.name is missing"):
        plugin_settings(Config(), "x", Sink)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    assert len(problems(Settings, '[plugins.x.settings]\nrate = "a"\nlevel = "b"\nqqq = 1\n', tmp_path)) == 3


def test_a_missing_variable_is_told_when_the_plugin_needs_it(tmp_path: Path) -> None:
    (problem,) = problems(Settings, '[plugins.x.settings]\ndsn = "${DSN}"\n', tmp_path)
    assert "needs the environment variable DSN" in problem


class Talkative(BaseModel):
    dsn: str = ""
    credential: SecretStr = SecretStr("")
    size: int = 0

    @field_validator("dsn", "size")
    @classmethod
    def refuse(cls, value: object) -> object:
        if value == 13:
            raise ValueError("thirteen is unlucky")
        if value:
            raise ValueError(f"bad value {value!r}")
        return value

    @model_validator(mode="after")
    def together(self) -> Talkative:
        if self.credential.get_secret_value() == "hunter2":
            raise ValueError("the credential hunter2 is too short")
        if self.credential.get_secret_value():
            raise ValueError("a credential needs a size")
        return self


def test_a_validator_that_shows_a_secret_is_not_quoted(tmp_path: Path) -> None:
    (problem,) = problems(Talkative, '[plugins.x.settings]\ndsn = "hunter2"\n', tmp_path)
    assert "expected: what the plugin's documentation says" in problem


def test_a_validator_of_the_whole_that_shows_a_secret_is_not_quoted(tmp_path: Path) -> None:
    (problem,) = problems(Talkative, '[plugins.x.settings]\ncredential = "hunter2"\n', tmp_path)
    assert problem.startswith("thea.toml:1: plugins.x.settings do not fit together")
    assert "expected: what the plugin's documentation says" in problem


def test_a_validator_that_shows_nothing_is_quoted(tmp_path: Path) -> None:
    (problem,) = problems(Talkative, "[plugins.x.settings]\nsize = 13\n", tmp_path)
    assert "expected: thirteen is unlucky" in problem
    (problem,) = problems(Talkative, '[plugins.x.settings]\ncredential = "other"\n', tmp_path)
    assert "expected: a credential needs a size" in problem


def test_a_secret_by_type_is_not_shown(tmp_path: Path) -> None:
    (problem,) = problems(Sink, '[plugins.x.settings]\nname = "a"\ncredential = ["hunter2"]\n', tmp_path)
    assert "found: an array that is not shown (***)" in problem


def test_a_validator_that_breaks_is_told_with_its_place_only(tmp_path: Path) -> None:
    class Broken(BaseModel):
        dsn: str

        @field_validator("dsn")
        @classmethod
        def fail(cls, value: str) -> str:
            raise KeyError(value)

    (problem,) = problems(Broken, '[plugins.x.settings]\ndsn = "hunter2"\n', tmp_path)
    assert "a validator of the plugin raised KeyError at" in problem
    assert "test_settings.py:" in problem


def test_a_union_that_takes_any_table_knows_every_key(tmp_path: Path) -> None:
    class Open(BaseModel):
        one: Sink | dict[str, int] | None = None
        two: Sink | Any = None
        three: Annotated[Sink | None, "note"] | int = None

    text = "[plugins.x.settings]\none = { a = 1 }\ntwo = { b = 1 }\n"
    assert plugin_settings(config(text, tmp_path), "x", Open)
    (problem,) = problems(Open, '[plugins.x.settings]\nthree = { name = "a", c = 1 }\n', tmp_path)
    assert "plugins.x.settings.three.c is not a known key" in problem
