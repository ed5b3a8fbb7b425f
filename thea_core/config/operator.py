"""What the operator says of plugins: in the configuration and, before that is trusted, in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thea_core.config.masking import MASK, mask_url, secret_texts
from thea_core.config.model import Config
from thea_core.config.problems import Problem
from thea_core.config.settings import plugin_settings
from thea_core.errors import ConfigError
from thea_core.plugins.entries import PluginOptions
from thea_core.plugins.models import walk

__all__ = ["Operator", "switch"]

_YES = ("1", "true", "yes", "on")
_NO = ("", "0", "false", "no", "off")


class Operator:
    """The operator's configuration of plugins, in the form in which a plugin manager takes it. Thread-safe.

    Args:
        config: the configuration.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._models: dict[str, type[Any]] = {}
        self._edition = 0  # of the models
        self._found: tuple[int, list[str]] = -1, []

    def tables(self) -> dict[str, PluginOptions]:
        """Return what ``[plugins.NAME]`` says, by name."""
        return {
            name: PluginOptions(
                priority=each.priority,
                required=each.required,
                guard=each.on_failure == "veto",
                timeout=each.timeout,
                delivery=each.delivery,
                queue_size=each.queue_size,
                flush_interval=each.flush_interval,
                max_attempts=each.max_attempts,
            )
            for name, each in self._config.plugins.entries.items()
        }

    def settings(self, name: str, model: type[Any] | None) -> object:
        """Return a plugin's settings as an instance of its model; see :func:`~thea_core.config.plugin_settings`."""
        if model is not None:
            self._models[name] = model
            self._edition += 1
        return plugin_settings(self._config, name, model)

    def redact(self, _name: str, text: str) -> str:
        """Take every secret of the configuration out of a text, whichever plugin's it is: all of them can read it."""
        url = self._config.store.url
        text = text.replace(url, mask_url(url))
        for secret in self._secrets():
            text = text.replace(secret, MASK)
        return text

    def _secrets(self) -> list[str]:
        """Return the secrets, the longest first; they are looked for anew once another model is known."""
        edition, found = self._found
        if edition != (now := self._edition):
            found = sorted(filter(None, self._find()), key=len, reverse=True)
            self._found = now, found
        return found

    def _find(self) -> set[str]:
        found: set[str] = set()
        for name, each in self._config.plugins.entries.items():
            if each.settings is not None:
                data, model = each.settings.plain(), self._models.get(name)
                declared = walk(model, data).secrets if model is not None else set()
                found.update(secret_texts(data, each.settings.hidden | declared))
        return found


def switch(environ: Mapping[str, str], name: str) -> bool:
    """Return whether a variable of the environment, such as ``THEA_NO_PLUGINS``, says yes.

    Raises:
        ConfigError: it says neither yes nor no.
    """
    value = environ.get(name, "").strip().lower()
    if value not in (*_YES, *_NO):
        problem = Problem(name, "means neither yes nor no", found=repr(environ[name]), choices=(*_YES, *_NO[1:]))
        raise ConfigError([str(problem)])
    return value in _YES
