"""What settings stand for: a DSN that is one, and the functions and types that they name as ``"module:name"``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, cast
from urllib.parse import urlsplit

from pydantic import SecretStr

from thea_core import ConfigError

__all__ = ["load_dsn", "load_errors", "load_options", "load_redact"]

_TABLE = "[plugins.sentry.settings]"


def load_dsn(setting: SecretStr | None) -> str | None:
    """Return the DSN; None where there is none, or an empty text (``"${SENTRY_DSN:-}"``, where that is not set).

    It is checked here and not in the settings, since of a secret setting Thea does not tell what a validator says.

    Raises:
        ConfigError: it is no DSN.
    """
    dsn = "" if setting is None else setting.get_secret_value().strip()
    if dsn and (missing := _missing(dsn)):
        advice = "expected 'https://KEY@HOST/PROJECT', as Sentry shows it in the project's settings under Client Keys"
        raise ConfigError([f"{_TABLE} dsn: this is no DSN: {missing}; {advice}"])
    return dsn or None


def load_redact(setting: str | Callable[[str], str] | None) -> Callable[[str], str] | None:
    """Return the function itself, importing its module where ``setting`` is a ``"module:name"``.

    Raises:
        ConfigError: it names nothing that can be imported, or no ordinary function.
    """
    return None if setting is None else cast("Callable[[str], str]", _function("redact", setting))


def load_errors(setting: Sequence[str | type[BaseException]]) -> tuple[type[BaseException], ...]:
    """Return the types of exceptions.

    Raises:
        ConfigError: one names nothing that can be imported, or no type of exceptions.
    """
    return tuple(map(_error, setting))


def load_options(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``sentry_sdk`` with functions in place of the names of functions.

    Those are the options that begin with ``before_`` or end with ``_sampler``.

    Raises:
        ConfigError: one names nothing that can be imported, or no ordinary function.
    """
    options = dict(setting)
    for option, value in options.items():
        if isinstance(value, str) and (option.startswith("before_") or option.endswith("_sampler")):
            options[option] = _function(f"sentry_options.{option}", value)
    return options


def _error(setting: object) -> type[BaseException]:
    found = _find("ignore_errors", setting)
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    raise _problem("ignore_errors", setting, "is no type of exceptions", "name one, such as 'builtins:KeyError'")


def _function(key: str, setting: object) -> object:
    found = _find(key, setting)
    if not callable(found):
        raise _problem(key, setting, f"is a {type(found).__name__}", "name a function")
    if inspect.iscoroutinefunction(found):
        raise _problem(key, setting, "is an async function", "name an ordinary function")
    return found


def _find(key: str, setting: object) -> object:
    if not isinstance(setting, str):
        return setting
    module_name, _, path = setting.partition(":")
    try:
        found: object = import_module(module_name)
    except Exception as error:  # the module is the operator's own: importing it may raise anything
        reason = f"cannot be imported: {type(error).__name__}: {error}"
        advice = "write 'module:name', with a module that the Python that runs Thea can import"
        raise _problem(key, setting, reason, advice) from error
    for name in path.split("."):
        if not hasattr(found, name):
            reason = f"does not exist: there is no {name!r} in {module_name!r}"
            raise _problem(key, setting, reason, _near(found, name))
        found = getattr(found, name)
    return found


def _near(owner: object, name: str) -> str:
    close = difflib.get_close_matches(name, dir(owner), n=1)
    return f"did you mean {close[0]!r}?" if close else "write 'module:name', with a name of that module"


def _problem(key: str, setting: object, found: str, advice: str) -> ConfigError:
    return ConfigError([f"{_TABLE} {key}: {setting!r} {found}; {advice}"])


def _missing(text: str) -> str | None:
    """Return what a DSN lacks, without repeating any of it: whoever has one can send."""
    try:
        parts = urlsplit(text)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        return "its host or port cannot be read"
    project = parts.path.rpartition("/")[2]
    wanted = {
        "it does not begin with https:// or http://": parts.scheme in {"http", "https"},
        "it has no key before the @": bool(parts.username),
        "it has no host": bool(parts.hostname) and port_fits,
        "it does not end with the number of a project": project.isascii() and project.isdigit(),
    }
    return next((what for what, there in wanted.items() if not there), None)
