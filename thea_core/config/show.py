"""What counts, and where it comes from: the rows of ``thea config show``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from thea_core.config.masking import KeyPath
from thea_core.config.model import Config, PluginConfig, keys_of, sections_of
from thea_core.config.problems import key_text, toml_text
from thea_core.plugins.models import walk

__all__ = ["Row", "as_json", "rows"]


@dataclass(frozen=True, slots=True)
class Row:
    """One value.

    Attributes:
        key: its path, as in TOML: ``plugins.sentry.settings.dsn``.
        value: the value, ``***`` in place of secrets; None where there is none.
        source: file and line, variable, or ``default``.
    """

    key: str
    value: Any
    source: str

    @property
    def text(self) -> str:
        """The value as TOML; ``-`` where there is none."""
        return "-" if self.value is None else toml_text(self.value)


def rows(config: Config, models: Mapping[str, type[Any]] | None = None) -> list[Row]:
    """Return every value of a configuration, defaults included, without secrets.

    Args:
        config: the configuration.
        models: the ``Settings`` of plugins that are loaded, by name: what they declare as SecretStr is hidden too.
    """
    return [Row(key_text(path), value, str(config.origin(*path))) for path, value in _values(config, models or {})]


def as_json(config: Config, models: Mapping[str, type[Any]] | None = None) -> dict[str, Any]:
    """Return the same as plain values for ``json.dumps``."""
    values = [{"key": each.key, "value": _plain(each.value), "source": each.source} for each in rows(config, models)]
    return {"file": None if config.source is None else str(config.source), "values": values}


def _values(config: Config, models: Mapping[str, type[Any]]) -> Iterator[tuple[KeyPath, Any]]:
    for name, section in sections_of().items():
        for key in keys_of(section):
            yield from _flat((name, key), getattr(config, name).shown(key))
    for name, entry in config.plugins.entries.items():
        for key in keys_of(PluginConfig):
            value = _settings(entry, models.get(name)) if key == "settings" else entry.shown(key)
            if value is not None:
                yield from _flat(("plugins", name, key), value)


def _settings(entry: PluginConfig, model: type[Any] | None) -> Any:
    if entry.settings is None:
        return None
    return entry.settings.shown(walk(model, entry.settings.plain()).secrets if model is not None else ())


def _flat(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _flat((*path, key), each)
    else:
        yield path, value


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    known = isinstance(value, dict | str | int | None) or (isinstance(value, float) and math.isfinite(value))
    return value if known else str(value)  # a date, or a number that JSON has not
