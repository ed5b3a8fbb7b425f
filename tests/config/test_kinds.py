"""What each kind of value accepts."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thea_core.config import Config
from thea_core.config.kinds import Kind, duration_text, parse_duration
from thea_core.config.tree import Tree
from thea_core.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("5m", 300), ("1h", 3600), ("90d", 7776000), (3, 3), (0.25, 0.25), ("1.5h", 5400)],
)
def test_durations(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize("value", ["10", " 10 s "])
def test_a_duration_from_a_variable_may_be_a_bare_number_or_have_spaces(value: str) -> None:
    assert parse_duration(value) == 10


@pytest.mark.parametrize(
    "value",
    ["", "0s", 0, -1, True, float("inf"), float("nan"), "1w", "-5s", "5 parsecs", "36501d", 10**400, [], None, "٣s"],
)
def test_what_is_no_duration(value: object) -> None:
    assert parse_duration(value) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1800.0, "30m"), (0.5, "500ms"), (90.0, "90s"), (604800.0, "7d"), (0.0001, "0.0001s"), (3600.0, "1h")],
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.integers(1, 10**5), st.sampled_from(["ms", "s", "m", "h"]))
def test_a_shown_duration_reads_back_the_same(amount: int, unit: str) -> None:
    seconds = parse_duration(f"{amount}{unit}")
    assert seconds is not None
    assert parse_duration(duration_text(seconds)) == pytest.approx(seconds)


def problems(**sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Config.from_mapping(sections, environ={})
    return caught.value.problems


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("store", "url", "thea.db", "an address with its scheme"),
        ("store", "url", 5, "an address with its scheme"),
        ("store", "message_ids", "7 days", "a duration such as"),
        ("sessions", "timeout", 0, "more than 0"),
        ("conversation", "language", "fr", "valid: en, es"),
        ("conversation", "min_score", 1.5, "a number from 0 to 1"),
        ("conversation", "min_score", float("nan"), "a number from 0 to 1"),
        ("conversation", "min_score", True, "a number from 0 to 1"),
        ("conversation", "ambiguity_margin", "0.1", "a number from 0 to 1"),
        ("conversation", "max_message", 0, "a whole number from 1"),
        ("conversation", "max_message", 1.0, "a whole number from 1"),
        ("conversation", "texts", "hello", "a table of texts"),
        ("conversation", "texts", {"apology": " "}, "a string that is not empty"),
        ("conversation", "texts", {"apolgy": "x"}, "did you mean: apology?"),
        ("conversation", "texts", {"es": "x"}, "a table of the texts in this language"),
        ("conversation", "texts", {"es": {"apolgy": "x"}}, "did you mean: apology?"),
        ("conversation", "detect_timeout", "never", 'or "none" for no limit'),
        ("conversation", "agent_timeout", True, 'or "none" for no limit'),
        ("callbacks", "timeout", 0, "more than 0"),
        ("callbacks", "timeout", float("inf"), 'or "none" for no limit'),
        ("callbacks", "history_size", -1, "a whole number from 0"),
        ("callbacks", "breaker_failures", 0, "a whole number from 1 to 1000000"),
        ("callbacks", "breaker_seconds", "none", "a duration such as"),
        ("fsm", "initial", "", "a string that is not empty"),
        ("fsm", "final", "idle", "an array of strings"),
        ("fsm", "final", ["idle", "idle"], 'keep "idle" once'),
        ("fsm", "transitions", ["a"], 'a table, state = ["next state", ...]'),
        ("fsm", "transitions", {"a": "b"}, "an array of strings"),
        ("plugins", "enabled", "logging", "an array of strings"),
        ("plugins", "enabled", ["no good"], "the name of a plugin"),
        ("plugins", "enabled", [5], "the name of a plugin"),
        ("plugins", "enabled", ["modules"], "are keys of [plugins] and cannot be names"),
        ("plugins", "enabled", {"priority": 1}, "an array of strings"),
        ("plugins", "modules", ["my-app"], "the dotted name of a module"),
        ("plugins", "startup_timeout", {"priority": 1}, 'or "none" for no limit'),
        ("plugins", "enabled", ["startup_timeout"], "are keys of [plugins] and cannot be names"),
        ("plugins", "x", {"timeout": None}, 'or "none" for no limit'),
        ("plugins", "x", {"delivery": "later"}, "valid: background, durable, inline"),
        ("plugins", "x", {"delivery": "backgroud"}, "did you mean: background?"),
        ("plugins", "x", {"queue_size": 0}, "a whole number from 1"),
        ("plugins", "x", {"flush_interval": "none"}, "a duration such as"),
        ("plugins", "x", {"priority": "high"}, "a whole number"),
        ("plugins", "x", {"priority": True}, "a whole number"),
        ("plugins", "x", {"required": "yes"}, "true or false"),
        ("plugins", "x", {"on_failure": "vetoo"}, "did you mean: veto?"),
        ("plugins", "x", {"settings": "dsn"}, "a table, [plugins.x.settings]"),
    ],
)
def test_what_does_not_fit_is_told_once_with_what_does(section: str, key: str, value: object, expected: str) -> None:
    found = problems(**{section: {key: value}})
    assert len(found) == 1
    assert expected in found[0]
    assert f"{section}.{key}" in found[0]


def test_values_of_every_kind_are_read() -> None:
    config = Config.from_mapping({
        "store": {"url": "memory:", "message_ids": "1d"},
        "sessions": {"timeout": 60},
        "conversation": {"language": "es", "min_score": 1, "texts": {"apology": "perdón", "es": {"question": "¿?"}}},
        "fsm": {"transitions": {"a": ["b"], "*": ["error_handler"]}, "final": ["b"]},
        "plugins": {"enabled": ["a"], "modules": ["my.app"], "a": {"priority": -5, "required": True}},
    })  # fmt: skip
    assert (config.store.url, config.store.message_ids) == ("memory:", 86400)
    assert config.sessions.timeout == 60
    assert config.conversation.min_score == 1.0
    assert config.conversation.texts_for() == {"apology": "perdón", "question": "¿?"}
    assert config.fsm.transitions == {"a": ["b"], "*": ["error_handler"]}
    assert config.plugins.modules == ["my.app"]
    assert config.plugins.entry("a").priority == -5


LIMITS = [
    ("callbacks", "timeout"),
    ("conversation", "detect_timeout"),
    ("conversation", "agent_timeout"),
    ("plugins", "startup_timeout"),
]


@pytest.mark.parametrize(("section", "key"), LIMITS)
@pytest.mark.parametrize(("value", "seconds"), [("none", math.inf), ("${T}", math.inf), ("500ms", 0.5), (3, 3)])
def test_a_limit_is_a_duration_or_switched_off(section: str, key: str, value: object, seconds: float) -> None:
    config = Config.from_mapping({section: {key: value}}, environ={"T": "none"})
    assert getattr(getattr(config, section), key) == seconds


@pytest.mark.parametrize(
    ("table", "timeout"), [({}, None), ({"timeout": "none"}, math.inf), ({"timeout": "250ms"}, 0.25)]
)
def test_a_plugins_limit_tells_switched_off_from_not_given(table: dict[str, Any], timeout: float | None) -> None:
    assert Config.from_mapping({"plugins": {"x": table}}).plugins.entry("x").timeout == timeout


def test_how_a_plugin_gets_events_is_read() -> None:
    table = {"delivery": "background", "queue_size": 5, "flush_interval": "250ms"}
    plugin = Config.from_mapping({"plugins": {"x": table}}).plugins.entry("x")
    assert (plugin.delivery, plugin.queue_size, plugin.flush_interval) == ("background", 5, 0.25)


def test_a_limit_that_does_not_fit_is_mended_with_one_that_does() -> None:
    (text,) = problems(plugins={"x": {"timeout": "half a second"}})
    assert 'write timeout = "500ms"' in text


def test_a_file_without_a_scheme_gets_one() -> None:
    (text,) = problems(store={"url": "data/my.db"})
    assert 'write url = "sqlite:///data/my.db"' in text


def test_the_password_of_an_address_that_does_not_fit_is_not_shown() -> None:
    (text,) = problems(store={"url": "postgresql://me:hunter2@host /db"})
    assert "hunter2" not in text
    assert "postgresql://***@host /db" in text


def test_a_kind_of_its_own_must_say_how_it_reads() -> None:
    with pytest.raises(NotImplementedError):
        Kind(example="1", name="any").read(Tree().root())
