from __future__ import annotations

from typing import Literal

import pydantic
import pytest

from thea_core.errors import ConfigError
from thea_core.plugins.settings import declared_secrets, describe, validated


class Settings(pydantic.BaseModel):
    town: str = pydantic.Field(description="where")
    days: int = 3
    unit: Literal["c", "f"] | None = None
    api_key: str = "swordfish"
    secret: pydantic.SecretStr = pydantic.SecretStr("swordfish")
    tags: list[str] = pydantic.Field(default_factory=list)
    renamed: int = pydantic.Field(default=1, alias="other")


class TestDescribe:
    def test_each_key_is_described(self):
        described = {each.pop("name"): each for each in describe(Settings)}
        assert described["town"] == {"type": "str", "required": True, "default": None, "description": "where"}
        assert described["days"] == {"type": "int", "required": False, "default": "3", "description": ""}
        assert described["unit"]["type"] == "Optional[Literal['c', 'f']]"
        assert described["tags"]["type"] == "list[str]"
        assert described["tags"]["default"] == "(made when needed)"
        assert described["other"]["default"] == "1"

    def test_the_default_of_a_secret_is_not_told(self):
        assert "swordfish" not in str(list(describe(Settings)))

    @pytest.mark.parametrize("model", [None, dict])
    def test_without_a_model_there_is_nothing_to_describe(self, model):
        assert list(describe(model)) == []


class TestValidated:
    def test_values_that_fit_make_an_instance(self):
        made = validated(Settings, {"town": "Lima", "other": 2}, plugin="weather")
        assert isinstance(made, Settings)
        assert (made.town, made.days, made.renamed) == ("Lima", 3, 2)

    def test_without_a_model_and_values_there_is_nothing(self):
        assert validated(None, {}, plugin="weather") is None

    def test_values_for_a_plugin_without_a_model_are_refused(self):
        with pytest.raises(ConfigError, match=r"\[plugins.weather.settings\]: the plugin takes no settings"):
            validated(None, {"town": "Lima"}, plugin="weather")

    def test_all_problems_are_told_at_once_and_none_of_the_values(self):
        with pytest.raises(ConfigError) as caught:
            validated(Settings, {"twon": "x", "days": "swordfish", "zzz": 1}, plugin="weather")
        assert len(caught.value.problems) == 4
        assert "twon: unknown key; did you mean 'town'?" in caught.value.problems[0]
        assert "zzz: unknown key; valid keys: api_key, days, other" in caught.value.problems[1]
        assert "swordfish" not in str(caught.value)

    def test_an_unknown_key_alone_is_refused(self):
        with pytest.raises(ConfigError, match="unknown key"):
            validated(Settings, {"town": "Lima", "x": 1}, plugin="weather")

    @pytest.mark.parametrize("extra", ["allow", "forbid", "ignore"])
    def test_an_unknown_key_is_refused_once_whatever_the_model_thinks_of_it(self, extra):
        class Model(pydantic.BaseModel, extra=extra): ...

        with pytest.raises(ConfigError) as caught:
            validated(Model, {"x": 1}, plugin="weather")
        assert caught.value.problems == ["[plugins.weather.settings] x: unknown key; valid keys: none"]

    def test_a_problem_of_the_whole_has_no_key(self):
        class Never(pydantic.BaseModel):
            @pydantic.model_validator(mode="after")
            def refuse(self):
                raise ValueError("never")

        with pytest.raises(ConfigError, match="as a whole: never"):
            validated(Never, None, plugin="weather")

    def test_an_unknown_key_is_refused_in_a_nested_model_too(self):
        class Outer(pydantic.BaseModel):
            inner: Settings

        with pytest.raises(ConfigError, match=r"inner.twon: unknown key; did you mean 'town'"):
            validated(Outer, {"inner": {"town": "Lima", "twon": "x"}}, plugin="weather")

    def test_a_message_that_gives_away_a_secret_is_not_told(self):
        class Talkative(pydantic.BaseModel):
            secret: pydantic.SecretStr

            @pydantic.model_validator(mode="after")
            def refuse(self):
                raise ValueError(f"{self.secret.get_secret_value()} is too short")

        with pytest.raises(ConfigError) as caught:
            validated(Talkative, {"secret": "swordfish"}, plugin="weather")
        assert caught.value.problems == ["[plugins.weather.settings] as a whole: does not fit; see its documentation"]

    def test_whatever_else_a_validator_raises_is_told_without_its_text(self):
        class Broken(pydantic.BaseModel):
            @pydantic.model_validator(mode="after")
            def refuse(self):
                raise KeyError("swordfish")

        with pytest.raises(ConfigError, match=r"a validator raised KeyError at .*test_settings.py:\d+") as caught:
            validated(Broken, {}, plugin="weather")
        assert "swordfish" not in str(caught.value)


class TestDeclaredSecrets:
    def test_they_are_those_of_the_model_that_are_there(self):
        assert declared_secrets(Settings, {"town": "Lima", "secret": "swordfish"}) == {("secret",)}
        assert declared_secrets(Settings, None) == set()

    def test_what_is_no_model_declares_none(self):
        assert declared_secrets(None, {"secret": "swordfish"}) == set()
