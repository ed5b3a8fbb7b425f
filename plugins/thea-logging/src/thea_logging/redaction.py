"""Finding the function that the setting ``redact`` names."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import cast

from thea_core import ConfigError

__all__ = ["load_redact"]

_KEY = "[plugins.logging.settings] redact"


def load_redact(setting: str | Callable[[str], str] | None) -> Callable[[str], str] | None:
    """Return the function itself, importing its module where ``setting`` is a ``"module:name"``.

    Raises:
        ConfigError: the module cannot be imported, has no such name, or that is no function to be called.
    """
    found = _find(setting) if isinstance(setting, str) else setting
    if found is None:
        return None
    if not callable(found):
        raise _problem(setting, f"is a {type(found).__name__}", "name a function that takes and returns a string")
    if inspect.iscoroutinefunction(found):
        raise _problem(setting, "is an async function", "name an ordinary function that takes and returns a string")
    return cast("Callable[[str], str]", found)


def _find(setting: str) -> object:
    module_name, _, path = setting.partition(":")
    try:
        found: object = import_module(module_name)
    except Exception as error:  # the module is the operator's own: importing it may raise anything
        reason = f"cannot be imported: {type(error).__name__}: {error}"
        raise _problem(
            setting, reason, f"check that {module_name!r} can be imported by the Python that runs Thea"
        ) from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise _problem(setting, f"does not exist: there is no {name!r} in {module_name!r}", _near(found, name))
        found = getattr(found, name)
    return found


def _near(owner: object, name: str) -> str:
    close = difflib.get_close_matches(name, dir(owner), n=1)
    return f"did you mean {close[0]!r}?" if close else "name a function of that module"


def _problem(setting: object, found: str, advice: str) -> ConfigError:
    return ConfigError([f"{_KEY}: {setting!r} {found}; {advice}"])
