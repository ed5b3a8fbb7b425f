from __future__ import annotations

import math

import pydantic
import pytest

from thea_core.config import Config
from thea_core.config.operator import Operator, switch
from thea_core.errors import ConfigError
from thea_core.plugins.entries import PluginOptions


def operator(plugins, environ=None, **others):
    return Operator(Config.from_mapping({"plugins": plugins, **others}, environ=environ or {"UNUSED": ""}))


class Settings(pydantic.BaseModel):
    dsn: str = ""
    pin: pydantic.SecretStr = pydantic.SecretStr("")
    place: str = ""


class TestTables:
    def test_each_plugin_of_which_something_is_said_has_its_options(self):
        tables = operator({"a": {"priority": 3}, "b": {"required": True}, "c": {"on_failure": "veto"}}).tables()
        assert tables == {
            "a": PluginOptions(priority=3),
            "b": PluginOptions(required=True),
            "c": PluginOptions(required=True, guard=True),
        }

    def test_limits_and_queues_are_among_them(self):
        queue = {"delivery": "background", "queue_size": 9, "flush_interval": "2s"}
        tables = operator(
            {"a": {"timeout": "none"}, "b": {"timeout": "500ms", "delivery": "inline"}, "c": queue}
        ).tables()
        assert tables == {
            "a": PluginOptions(timeout=math.inf),
            "b": PluginOptions(timeout=0.5, delivery="inline"),
            "c": PluginOptions(delivery="background", queue_size=9, flush_interval=2.0),
        }

    def test_how_often_a_durable_event_is_tried_is_among_them(self):
        tables = operator({"a": {"delivery": "durable", "max_attempts": 3}}).tables()
        assert tables == {"a": PluginOptions(delivery="durable", max_attempts=3)}

    def test_what_is_not_said_has_the_same_defaults_in_both_forms(self):
        assert operator({"a": {}}).tables() == {"a": PluginOptions()}


class TestSettings:
    def test_they_are_an_instance_of_the_model(self):
        assert operator({"a": {"settings": {"place": "Lugo"}}}).settings("a", Settings).place == "Lugo"

    def test_they_are_refused_where_the_plugin_has_no_model(self):
        with pytest.raises(ConfigError, match="has no settings"):
            operator({"a": {"settings": {"place": "Lugo"}}}).settings("a", None)


class TestRedact:
    def test_what_is_secret_by_its_name_or_came_from_the_environment_is_taken_out(self):
        settings = {"dsn": "https://abc@host", "place": "${PLACE}"}
        redact = operator({"a": {"settings": settings}}, {"PLACE": "Xanadu"}).redact
        assert redact("a", "no https://abc@host in Xanadu") == "no *** in ***"

    def test_what_the_model_declares_is_taken_out_once_it_is_known(self):
        each = operator({"a": {"settings": {"pin": "4711"}}})
        each.settings("a", Settings)
        assert each.redact("a", "wrong pin 4711") == "wrong pin ***"

    def test_the_secrets_of_another_plugin_are_taken_out_too(self):
        assert operator({"a": {"settings": {"dsn": "hunter2"}}}).redact("b", "hunter2") == "***"

    def test_a_longer_secret_goes_before_one_that_is_part_of_it(self):
        settings = {"dsn": "abc", "api_key": "abcdef"}
        assert operator({"a": {"settings": settings}}).redact("a", "abcdef abc") == "*** ***"

    def test_the_address_of_the_store_loses_its_password(self):
        redact = operator({}, store={"url": "redis://me:hunter2@host/1"}).redact
        assert redact("a", "cannot reach redis://me:hunter2@host/1") == "cannot reach redis://***@host/1"

    def test_an_empty_secret_hides_nothing(self):
        assert operator({"a": {"settings": {"dsn": ""}}}).redact("a", "boom") == "boom"


class TestSwitch:
    @pytest.mark.parametrize(("value", "meaning"), [("1", True), (" ON ", True), ("", False), ("0", False)])
    def test_it_says_yes_or_no(self, value, meaning):
        assert switch({"THEA_NO_PLUGINS": value}, "THEA_NO_PLUGINS") is meaning

    def test_one_that_is_not_set_says_no(self):
        assert switch({}, "THEA_NO_PLUGINS") is False

    def test_anything_else_is_refused_with_what_was_found_and_what_is_valid(self):
        with pytest.raises(
            ConfigError, match=r"THEA_NO_PLUGINS: means neither yes nor no\n +found: 'maybe'\n +valid: 1, "
        ):
            switch({"THEA_NO_PLUGINS": "maybe"}, "THEA_NO_PLUGINS")
