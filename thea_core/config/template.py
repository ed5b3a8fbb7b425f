"""The commented ``thea.toml`` that ``thea init`` writes, made from the keys themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from thea_core.config.kinds import TransitionsTable
from thea_core.config.model import Key, PluginConfig, PluginsConfig, Section, keys_of, sections_of
from thea_core.config.problems import key_text, toml_text

__all__ = ["template"]

_HEAD = """\
# The configuration of an assistant built with Thea. Every key is here with its default; to change one, remove the #
# before it.
# Check it with: thea config check. See what counts, and where it comes from, with: thea config show.
# A text "${NAME}" or "${NAME:-default}" comes from the environment, and is never printed.
# Durations are 500ms, 2s, 5m, 1h, 90d, or a number of seconds; a limit may be "none".
"""
_WIDTH = 100


def template(enabled: Sequence[str] = ()) -> str:
    """Return the text of a new ``thea.toml``: every key with its default and its meaning, ``enabled`` filled in."""
    parts = [_HEAD]
    for name, section in sections_of().items():
        parts.append(_table(f"[{name}]", section, enabled))
        if name == "fsm":
            parts.append(_transitions())
    header = "# What concerns one plugin, here one called sentry:\n#[plugins.sentry]"
    parts.append(_table(header, PluginConfig, enabled))
    return "\n".join(parts)


def _transitions() -> str:
    from thea_core.fsm.definition import DEFAULT_TRANSITIONS

    lines = [f"#{key_text((state,))} = {toml_text(list(targets))}" for state, targets in DEFAULT_TRANSITIONS.items()]
    return "\n".join(["# The transitions of the default state machine:", "#[fsm.transitions]", *lines]) + "\n"


def _table(header: str, section: type[Section], enabled: Sequence[str]) -> str:
    lines = [header]
    for name, key in keys_of(section).items():
        lines += textwrap.wrap(key.meaning, _WIDTH, initial_indent="# ", subsequent_indent="# ")
        lines.append(_setting(section, name, key, enabled))
    return "\n".join(lines) + "\n"


def _setting(section: type[Section], name: str, key: Key, enabled: Sequence[str]) -> str:
    if section is PluginsConfig and name == "enabled":
        return f"enabled = {toml_text(list(enabled))}"
    default = section().shown(name)
    if default not in (None, {}):
        return f"#{name} = {toml_text(default)}"
    return "# (see below)" if isinstance(key.kind, TransitionsTable) else f"#{name} = {key.kind.example}  # an example"
