"""The file that `thea init` writes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

from thea_core.config import Config, PluginConfig, load_config
from thea_core.config.model import keys_of, sections_of
from thea_core.config.template import template
from thea_core.fsm.definition import DEFAULT_TRANSITIONS


def load(directory: Path, text: str, **environ: str) -> Config:
    (directory / "thea.toml").write_text(text, encoding="utf-8")
    return load_config(environ=environ, directory=directory)


def without_marks(text: str) -> str:
    """Return the template with every key that is commented out put in force."""
    return re.sub(r"^#(?=\S)", "", text, flags=re.MULTILINE)


def test_it_is_the_default_configuration(tmp_path: Path) -> None:
    assert load(tmp_path, template()) == Config()


def test_it_enables_what_it_is_told_to(tmp_path: Path) -> None:
    assert load(tmp_path, template(["logging", "agenda"])).plugins.enabled == ["logging", "agenda"]


def test_with_every_key_in_force_it_loads_with_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, without_marks(template()), SENTRY_DSN="x")
    assert (config.store, config.sessions) == (Config().store, Config().sessions)
    assert config.callbacks == replace(Config().callbacks, record="calls.jsonl")
    assert config.plugins.startup_timeout == Config().plugins.startup_timeout
    assert config.conversation.texts == {"apology": "..."}
    assert config.plugins.entry("sentry").settings == {"dsn": "x"}


def test_the_transitions_in_it_are_those_of_the_default_state_machine() -> None:
    transitions = tomllib.loads(without_marks(template()))["fsm"]["transitions"]
    assert transitions == {state: list(targets) for state, targets in DEFAULT_TRANSITIONS.items()}


def test_every_key_is_in_it() -> None:
    data = tomllib.loads(without_marks(template()))
    for name, section in sections_of().items():
        assert keys_of(section).keys() - data[name].keys() == set()
    assert keys_of(PluginConfig).keys() == data["plugins"]["sentry"].keys()


def test_every_meaning_is_in_it() -> None:
    words = " ".join(template().replace("\n# ", " ").split())
    for section in (*sections_of().values(), PluginConfig):
        for key in keys_of(section).values():
            assert key.meaning in words


def test_no_line_is_too_long() -> None:
    assert max(map(len, template().splitlines())) <= 120
