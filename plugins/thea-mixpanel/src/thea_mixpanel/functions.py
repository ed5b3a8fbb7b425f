"""Finding the functions that settings name as ``"module:name"``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from thea_core import ConfigError

__all__ = ["load_function"]


def load_function(key: str, setting: str | Callable[..., Any] | None) -> Callable[..., Any] | None:
    """Return the function that the setting ``key`` names, importing its module; one that is given is given back.

    Raises:
        ConfigError: the module cannot be imported, has no such name, or that is no function to be called.
    """
    found = _find(key, setting) if isinstance(setting, str) else setting
    if found is None:
        return None
    if not callable(found) or inspect.iscoroutinefunction(found):
        kind = "an async function" if callable(found) else f"a {type(found).__name__}"
        raise _problem(key, setting, f"is {kind}; name an ordinary function")
    return found


def _find(key: str, setting: str) -> Any:
    module_name, _, path = setting.partition(":")
    try:
        found: Any = import_module(module_name)
    except Exception as error:  # the module is the operator's own: importing it may raise anything
        reason = f"cannot be imported: {type(error).__name__}: {error}"
        advice = f"check that {module_name!r} can be imported by the Python that runs Thea"
        raise _problem(key, setting, f"{reason}; {advice}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise _problem(key, setting, f"does not exist: there is no {name!r} in {module_name!r}")
        found = getattr(found, name)
    return found


def _problem(key: str, setting: object, text: str) -> ConfigError:
    return ConfigError([f"[plugins.mixpanel.settings] {key}: {setting!r} {text}"])
