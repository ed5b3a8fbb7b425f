"""The typed configuration."""

from __future__ import annotations

import math
import pprint
from dataclasses import FrozenInstanceError

import pytest

from thea_core.config import Config, ConversationConfig, FSMConfig, PluginConfig, PluginSettings
from thea_core.config.model import RESERVED_NAMES, PluginsConfig, keys_of, sections_of


def test_the_defaults_are_those_of_the_reference() -> None:
    config = Config()
    assert (config.store.url, config.store.message_ids) == ("sqlite:///thea.db", 7 * 86400)
    assert (config.sessions.timeout, config.sessions.sweep_interval) == (1800, 30)
    assert (config.conversation.language, config.conversation.max_message) == ("en", 65536)
    assert (config.conversation.min_score, config.conversation.ambiguity_margin) == (0.5, 0.1)
    assert (config.conversation.detect_timeout, config.conversation.agent_timeout) == (2, 60)
    assert (config.callbacks.timeout, config.callbacks.history_size) == (2, 1000)
    assert (config.callbacks.breaker_failures, config.callbacks.breaker_seconds) == (5, 30)
    assert (config.plugins.enabled, config.plugins.modules, config.plugins.entries) == ([], [], {})
    assert config.plugins.startup_timeout == 10


def test_it_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().store.url = "memory:"  # type: ignore[misc]


def test_the_default_state_machine_is_told_by_none() -> None:
    assert FSMConfig(max_callbacks=7).definition() is None


def test_a_definition_is_handed_over_as_plain_values() -> None:
    transitions = {"a": ["b"]}
    definition = FSMConfig(initial="a", final=["b"], transitions=transitions).definition()
    assert definition == {"initial": "a", "error": "error_handler", "final": ["b"], "transitions": {"a": ["b"]}}
    assert definition["transitions"] is not transitions


def test_a_list_of_states_is_handed_over_where_there_is_one() -> None:
    assert FSMConfig(states=["a", "b"]).definition() == {
        "initial": "initial",
        "error": "error_handler",
        "final": [],
        "states": ["a", "b"],
    }


def test_a_definition_without_transitions_says_nothing_of_them() -> None:
    assert FSMConfig(initial="a").definition() == {"initial": "a", "error": "error_handler", "final": []}


def test_the_text_of_a_language_wins_over_that_of_all() -> None:
    conversation = ConversationConfig(texts={"apology": "all", "question": "q", "es": {"apology": "perdón"}})
    assert conversation.texts_for() == {"apology": "all", "question": "q"}
    assert conversation.texts_for("es") == {"apology": "perdón", "question": "q"}


def test_a_plugin_without_a_table_has_the_defaults() -> None:
    assert Config().plugins.entry("x") == PluginConfig()
    assert (PluginConfig().timeout, PluginConfig().delivery) == (None, None)
    assert (PluginConfig().queue_size, PluginConfig().flush_interval) == (2048, 5)


def test_a_limit_that_is_switched_off_is_printed_as_it_is_written() -> None:
    assert repr(PluginConfig(timeout=math.inf)).startswith("PluginConfig(priority=None, timeout='none', ")


def test_settings_given_in_python_are_safe_to_print() -> None:
    plugin = PluginConfig(settings={"dsn": "hunter2"})  # type: ignore[arg-type]
    assert isinstance(plugin.settings, PluginSettings)
    assert "hunter2" not in repr(plugin)


def test_settings_are_a_mapping_that_hides_secrets_when_printed() -> None:
    settings = PluginSettings({"dsn": "hunter2", "deep": {"api_key": "k"}, "level": 7, "rate": 3}, [("level",)])
    assert settings["dsn"] == "hunter2"
    assert len(settings) == 4
    assert str(settings) == "{'dsn': '***', 'deep': {'api_key': '***'}, 'level': '***', 'rate': 3}"


def test_no_text_of_the_settings_is_printed_for_the_plugin_may_declare_it_a_secret() -> None:
    plugin = PluginConfig(settings=PluginSettings({"first": "hunter2", "list": ["hunter2", {"a": "hunter2"}]}))
    assert "hunter2" not in repr(plugin) + repr(plugin.settings)
    assert "'list': ['***', {'a': '***'}]" in repr(plugin)


def test_no_way_of_printing_shows_a_secret() -> None:
    config = Config.from_mapping(
        {
            "store": {"url": "postgresql://me:hunter2@host/db"},
            "plugins": {"modules": ["${M}"], "x": {"settings": {"dsn": "hunter2", "other": "${O}"}}},
            "conversation": {"texts": {"apology": "${O}"}},
        },
        environ={"O": "hunter2", "M": "hunter2"},
    )
    for text in (repr(config), str(config), pprint.pformat(config), f"{config.plugins}", repr(config.origins)):
        assert "hunter2" not in text
    assert "postgresql://***@host/db" in repr(config)


def test_every_key_has_a_meaning_and_an_example() -> None:
    for section in (*sections_of().values(), PluginConfig):
        for key in keys_of(section).values():
            assert key.meaning.endswith(".")
            assert key.kind.example


def test_the_reserved_names_are_the_keys_of_the_plugins_table() -> None:
    assert set(keys_of(PluginsConfig)) == RESERVED_NAMES
