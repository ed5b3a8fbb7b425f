"""A plugin's own settings, checked against the plugin's pydantic model.

pydantic's errors hold the input, and a plugin's validator may write it into its message. So no error of pydantic's
leaves this module: each is told anew, in the words of the configuration's other errors and without secrets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from thea_core.config.masking import MASK, KeyPath, is_secret, secret_texts
from thea_core.config.model import Config
from thea_core.config.problems import Problem, article, key_text, suggestion
from thea_core.config.tree import Node, Origin, Tree
from thea_core.errors import ConfigError, PluginLoadError
from thea_core.plugins.models import ModelWalk, walk
from thea_core.plugins.settings import existing_path, message_of, place_of_failure

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

__all__ = ["plugin_settings"]

_QUOTED = re.compile(r"'([^']*)'")


def plugin_settings(config: Config, name: str, model: type[Any] | None) -> BaseModel | None:
    """Return ``[plugins.NAME.settings]`` as an instance of the plugin's model.

    Args:
        config: the configuration.
        name: the plugin's name.
        model: the plugin's ``Settings``, a pydantic model; None where it has none.

    Returns:
        The instance; None without a model.

    Raises:
        ConfigError: with every problem found: a value that does not fit, a key that the model has not (also where the
            model would allow it), or settings for a plugin that has none.
        PluginLoadError: ``Settings`` is no pydantic model.
    """
    if problems := config.deferred.get(name):
        raise ConfigError(list(problems))
    if model is None:
        _refuse_settings(config, name)
        return None
    _check_model(model, name)
    checked = _Checked(config, name, model)
    instance = checked.instance()
    if checked.problems:
        raise ConfigError(checked.problems)
    return instance


def _refuse_settings(config: Config, name: str) -> None:
    if config.plugins.entry(name).settings is not None:
        path: KeyPath = ("plugins", name, "settings")
        summary = f"{key_text(path)} is there, but the plugin {name} has no settings"
        raise ConfigError([str(Problem(str(config.origin(*path)), summary, todo=f"remove [{key_text(path)}]"))])


def _check_model(model: type[Any], name: str) -> None:
    from pydantic import BaseModel

    if not issubclass(model, BaseModel):
        message = f"Settings of the plugin {name!r} is not a pydantic model; its author must derive it from BaseModel"
        raise PluginLoadError(message, plugin=name)


class _Checked:
    """One check of one plugin's settings."""

    def __init__(self, config: Config, name: str, model: type[BaseModel]) -> None:
        settings = config.plugins.entry(name).settings
        self._model = model
        self._name = name
        self._path: KeyPath = ("plugins", name, "settings")
        self._data: dict[str, Any] = {} if settings is None else settings.plain()
        self._found: ModelWalk = walk(model, self._data)
        self._hidden = self._found.secrets | (settings.hidden if settings is not None else frozenset())
        self._secrets = set(secret_texts(self._data, self._hidden))
        place = "the configuration" if config.source is None else str(config.source)
        self._tree = Tree(origins={(): Origin("file", place), **config.origins})
        for unknown in self._found.unknown:
            self._node(unknown).unknown(self._found.unknown[unknown])

    @property
    def problems(self) -> list[str]:
        return [str(each) for each in self._tree.problems]

    def instance(self) -> BaseModel | None:
        from pydantic import ValidationError

        try:
            return self._model.model_validate(self._data)
        except ValidationError as error:
            for each in error.errors(include_url=False):
                self._tell(each)
        except Exception as error:  # a validator is a plugin's code, and may raise anything
            self._tell_failure(error)
        return None

    def _tell(self, error: ErrorDetails) -> None:
        path = existing_path(self._data, error["loc"])
        missing = error["type"] == "missing"
        if missing and len(error["loc"]) > len(path):
            path = (*path, error["loc"][len(path)])
        if error["type"] == "extra_forbidden" and path in self._found.unknown:
            return
        node, message = self._node(path), message_of(error, path, self._hidden, self._secrets)
        if missing:
            table = key_text(node.path[:-1])
            node.report("is missing", todo=f"add {key_text(path[-1:])} = ... to [{table}] in {node.origin.source}")
            return
        choices = tuple(_QUOTED.findall(str(error.get("ctx", {}).get("expected", "")))) if message else ()
        meant = (
            suggestion(node.value, choices) if isinstance(node.value, str) and not is_secret(path, self._hidden) else ""
        )
        summary = "has a value that does not fit" if path else "do not fit together"
        expected = message or "what the plugin's documentation says"
        node.report(summary, self._shown(node, path), expected, choices, meant, _mend(node, error["type"]))

    def _tell_failure(self, error: Exception) -> None:
        where = place_of_failure(error)
        summary = f"cannot be checked: a validator of the plugin raised {type(error).__name__} at {where}"
        self._node(()).report(summary, todo=f"tell the author of {self._name}; a validator raises ValueError")

    def _node(self, path: KeyPath) -> Node:
        value: Any = self._data
        for each in path:
            value = value.get(each) if isinstance(value, dict) else value[each]
        return Node(self._tree, self._path + path, value)

    def _shown(self, node: Node, path: KeyPath) -> str:
        if not path:
            return ""
        kind = article(node.value)
        return f"{kind} that is not shown ({MASK})" if is_secret(path, self._hidden) else node.found()


def _mend(node: Node, error: str) -> str:
    origin, key = node.origin, key_text(node.path)
    scalar = error == "string_type" and not isinstance(node.value, dict | list)
    if origin.substituted:
        return f"give the environment variable {origin.substituted} a value that fits"
    if origin.kind == "variable":
        return (
            f"put the value in quotes: {origin.source}='\"...\"'" if scalar else f"correct {origin.source}, or unset it"
        )
    return f"put the value of {key} in quotes in {origin.place}" if scalar else f"correct {key} in {origin.place}"
