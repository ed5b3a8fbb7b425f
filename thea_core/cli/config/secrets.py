"""Which settings of plugins must not be shown, beyond those that their names or ``${...}`` give away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from thea_core.cli.output import warn
from thea_core.config.masking import MASK
from thea_core.config.problems import key_text

if TYPE_CHECKING:
    from thea_core.config import Config, PluginSettings
    from thea_core.plugins.inspection import Inspection

__all__ = ["Secrets", "harmless_settings"]

_QUOTED = re.compile(r"'[^']*'")
_HARMLESS = frozenset(
    re.findall(
        r"\w+",
        "Any Callable Decimal Handler Literal Mapping None NoneType Optional Path Sequence UUID Union "
        "bool date datetime dict float frozenset int list set str time timedelta tuple",
    )
)
"""The words of a type whose values are certainly no secret. Any other may be a model with a secret in it."""


class Secrets:
    """What the plugins that have settings say of them. Loads each that is enabled, in a child process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._inspected = _inspect(config)
        self._types = {
            name: {each.name: each.type for each in found.settings} for name, found in self._inspected.items()
        }
        self._not_asked: set[str] = set()
        self._hidden = dict(self._find())

    def shown(self, key: str, value: Any) -> Any:
        """Return ``value``, or ``***`` where it is or may be a secret."""
        if not _has_text(value) or value == MASK:
            return value
        inside = (
            name
            for prefix, name in self._hidden.items()
            if key == prefix or key.startswith((f"{prefix}.", f"{prefix}["))
        )
        name = next(inside, None)
        if name is None:
            return value
        if name not in self._types or not self._types[name]:
            self._not_asked.add(name)
        return MASK

    def tell(self) -> None:
        """Say of which plugins it could not be known what is secret."""
        for name in sorted(self._not_asked):
            found = self._inspected.get(name)
            reason = "it is not enabled" if found is None else found.error or "it names no settings"
            warn(f"the texts of [plugins.{name}.settings] are not shown, for what is secret is not known: {reason}")

    def _find(self) -> Iterator[tuple[str, str]]:
        """Give the path of each setting that may be a secret, with its plugin."""
        for name, entry in self._config.plugins.entries.items():
            for setting in entry.settings or ():
                known = self._types.get(name, {}).get(setting)
                if known is None or not _harmless(known):
                    yield key_text(("plugins", name, "settings", setting)), name


def harmless_settings(settings: PluginSettings, found: Inspection | None) -> dict[str, Any]:
    """Return a plugin's settings with ``***`` for what is or may be a secret.

    Args:
        settings: as configured.
        found: what loading the plugin showed; None where it was not loaded, and any text may be a secret.
    """
    types = {} if found is None else {each.name: each.type for each in found.settings}
    return {
        key: MASK if _has_text(value) and not _harmless(types.get(key, "unknown")) else value
        for key, value in settings.shown().items()
    }


def _inspect(config: Config) -> dict[str, Inspection]:
    from thea_core.cli.plugins.loads import inspect_all, modules_of
    from thea_core.errors import PluginError
    from thea_core.plugins.discovery import discover

    wanted = []
    found = discover()
    for name in config.plugins.enabled:
        try:
            wanted.append(found.find(name))
        except PluginError:
            continue  # what is not there has no say; its settings stay hidden
    wanted += modules_of(config.plugins.modules)
    return inspect_all(config, [each for each in wanted if config.plugins.entry(each.name).settings])


def _harmless(annotation: str) -> bool:
    return set(re.findall(r"[^\W\d]\w*", _QUOTED.sub("", annotation))) <= _HARMLESS


def _has_text(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_text, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str)
