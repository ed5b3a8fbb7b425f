"""One plugin is imported, constructed and named; whatever goes wrong becomes one error that says what to do.

A plugin is

- a module with ``@hookimpl`` functions,
- a class, constructed as ``cls(settings)`` where it names ``Settings``, else as ``cls()``,
- or, for ``Thea(plugins=[...])``, an instance.

Code of plugins runs here, so every step is guarded: any exception, ``SystemExit`` included, becomes a
``PluginLoadError``. Only ``KeyboardInterrupt`` passes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from thea_core.errors import (
    CallbackTimeoutError,
    ConfigError,
    PluginConflictError,
    PluginLoadError,
    TheaError,
    error_text,
)
from thea_core.plugins.compatibility import check_name
from thea_core.plugins.discovery import Candidate

__all__ = [
    "SettingsFactory",
    "advice",
    "check_unique",
    "construct",
    "guarded",
    "load_object",
    "make_importable",
    "name_of",
]

_NOT_THE_PLUGINS = ("<frozen ", import_module.__code__.co_filename, __file__.rpartition("plugins")[0])
"""How the file names begin of code that runs while a plugin is loaded, but is not the plugin's."""

SettingsFactory = Callable[[type[Any] | None], object]
"""Gets a plugin's ``Settings`` class and returns an instance of it; gets None where the plugin has no such class, and
then raises if settings were configured all the same. It raises a TheaError for settings that do not fit."""


@contextmanager
def guarded(candidate: Candidate, step: str, remedy: str = "") -> Iterator[None]:
    """Run one step of loading; what it raises becomes a PluginLoadError.

    Args:
        candidate: the plugin whose code runs.
        step: what is being done, to follow "cannot be": ``"imported"``, ``"constructed"``.
        remedy: what to do; what always helps, if it is empty.

    Raises:
        PluginLoadError: the step raised anything but KeyboardInterrupt. An error of Thea keeps its text, and gets the
            plugin's line, unless it is about the configuration.
    """
    try:
        yield
    except (KeyboardInterrupt, PluginLoadError):
        raise
    except ConfigError as error:
        raise _load_error(candidate, step, error_text(error)) from error
    except CallbackTimeoutError as error:
        text = f"{error_text(error)}. {remedy or advice(candidate)}. If it needs the time, raise that limit"
        raise _load_error(candidate, step, text) from error
    except TheaError as error:
        raise _load_error(candidate, step, f"{error_text(error)}{_where(error)}") from error
    except BaseException as error:  # a plugin may raise SystemExit, or asyncio's CancelledError
        raise _load_error(candidate, step, f"{_told(error)}. {remedy or advice(candidate)}") from error


def load_object(candidate: Candidate) -> Any:
    """Import a plugin and return its module or class, not yet constructed.

    Raises:
        PluginLoadError: the module does not exist, or its import fails, or it has no such attribute.
    """
    module, attribute = _place(candidate)
    found: Any = _import_module(candidate, module)
    if attribute:
        found = _attribute(candidate, found, attribute)
    return found


def construct(candidate: Candidate, found: Any, settings: SettingsFactory) -> Any:
    """Return the plugin that ``found`` stands for: a module as it is, a class constructed.

    Args:
        candidate: where it comes from.
        found: what :func:`load_object` returned.
        settings: called once in any case, so that settings for a plugin that takes none are refused.

    Raises:
        PluginLoadError: it is neither a module nor a class, its settings do not fit, or its constructor raises.
    """
    if isinstance(found, ModuleType):
        _settings_of(candidate, None, settings)
        return found
    if not isinstance(found, type):
        kind = type(found).__qualname__
        reason = f"{candidate.value!r} is a {kind}, and a plugin is a module or a class. {advice(candidate)}"
        raise _load_error(candidate, "used", reason)
    with guarded(candidate, "given its settings"):
        wanted = getattr(found, "Settings", None)
    given = _settings_of(candidate, wanted, settings)
    with guarded(candidate, f"constructed ({found.__qualname__})"):
        return found() if wanted is None else found(given)


def name_of(plugin: object) -> str:
    """Return the name of a plugin given to ``Thea(plugins=[...])``.

    A module is named by its last part, an object by its ``name``, else by its class's name.

    Raises:
        PluginLoadError: it is a class, or its ``name`` is no text or raises.
        PluginError: plugins may not have that name.
    """
    candidate = Candidate(name=type(plugin).__name__, value=f"{type(plugin).__module__}.{type(plugin).__qualname__}")
    if isinstance(plugin, type):
        fix = f"Thea(plugins=[{plugin.__name__}()])"
        raise PluginLoadError(
            f"{plugin.__qualname__} is a class, and Thea(plugins=[...]) takes instances: {fix}", plugin=plugin.__name__
        )
    if isinstance(plugin, ModuleType):
        name = plugin.__name__.rpartition(".")[2]
    else:
        with guarded(candidate, "named", "Give its class an attribute name that is a str."):
            name = _own_name(plugin)
    check_name(name, candidate.value)
    return name


def advice(candidate: Candidate) -> str:
    """Return what always helps against a plugin that does not load."""
    if candidate.distribution is None:
        return f"Mend it, or take {candidate.value!r} out of [plugins] modules"
    return f"Tell its author, or switch it off: thea plugins disable {candidate.name}"


def check_unique(plugins: Iterable[tuple[str, str]]) -> None:
    """Refuse two plugins of one name.

    Args:
        plugins: of each, its name and where it comes from.

    Raises:
        PluginConflictError: naming both.
    """
    seen: dict[str, str] = {}
    for name, origin in plugins:
        if name in seen:
            raise PluginConflictError(
                f"two plugins are called {name!r}: one from {seen[name]}, one from {origin}. Rename one of them, "
                "or leave one out",
                plugin=name,
            )
        seen[name] = origin


def make_importable(directory: str | os.PathLike[str] | None = None) -> None:
    """Let modules of ``directory`` (the working directory, if None) be imported, for ``[plugins] modules``.

    It is put at the end of ``sys.path``, once: a file there never hides the standard library or what is installed.
    It stays, because plugins import at run time, too.
    """
    from pathlib import Path

    try:
        wanted = Path(directory or ".").absolute()
    except OSError:  # the working directory is gone, and with it whatever could be imported
        return
    if wanted not in {Path(each).absolute() for each in sys.path}:
        sys.path.append(str(wanted))


def _place(candidate: Candidate) -> tuple[str, str]:
    """Return module and attribute; the extras that a value may end in are pip's business."""
    module, _, attribute = candidate.value.partition("[")[0].partition(":")
    module, attribute = module.strip(), attribute.strip()
    parts = [*module.split("."), *(attribute.split(".") if attribute else ())]
    if not all(part.isidentifier() for part in parts):
        raise _load_error(
            candidate,
            "imported",
            f"{candidate.value!r} does not have the form package.module or package.module:attribute. "
            f"{advice(candidate)}",
        )
    return module, attribute


def _import_module(candidate: Candidate, module: str) -> ModuleType:
    with guarded(candidate, "imported"):
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            raise _load_error(candidate, "imported", _missing(candidate, module, error)) from error


def _missing(candidate: Candidate, module: str, error: ModuleNotFoundError) -> str:
    """Tell a plugin that does not exist from one that exists but lacks something."""
    if error.name is None or not f"{module}.".startswith(f"{error.name}."):
        return f"{module} exists, but its import failed: {_told(error)}. {_dependency_advice(candidate, error.name)}"
    if candidate.distribution is None:
        return (
            f"there is no module {error.name!r}. Correct the name in [plugins] modules; modules are looked for in the "
            "working directory, too"
        )
    return (
        f"the distribution names a module {error.name!r} that is not there: "
        f"pip install --force-reinstall {candidate.distribution}"
    )


def _dependency_advice(candidate: Candidate, missing: str | None) -> str:
    if missing is None:
        return advice(candidate)
    if candidate.distribution is None:
        return f"Install what provides {missing!r}, or mend the import"
    return (
        f"Let pip bring what the distribution requires: pip install {candidate.distribution}. If {missing!r} is still "
        "missing then, its author has forgotten to require it: install it yourself"
    )


def _attribute(candidate: Candidate, module: ModuleType, path: str) -> Any:
    found: Any = module
    for part in path.split("."):
        with guarded(candidate, "imported"):
            try:
                found = getattr(found, part)
            except AttributeError as error:
                raise _load_error(candidate, "imported", _no_attribute(found, part, error)) from error
    return found


def _no_attribute(holder: object, part: str, error: AttributeError) -> str:
    from difflib import get_close_matches

    close = get_close_matches(part, list(getattr(holder, "__dict__", ())), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{error_text(error)}{hint} Correct the entry point in the plugin's pyproject.toml and install it again"


def _settings_of(candidate: Candidate, wanted: type[Any] | None, settings: SettingsFactory) -> object:
    if wanted is not None and not isinstance(wanted, type):
        raise _load_error(candidate, "given its settings", f"its Settings must be a pydantic model, not {wanted!r}")
    with guarded(candidate, "given its settings"):
        return settings(wanted)


def _own_name(plugin: object) -> str:
    name = getattr(plugin, "name", None)
    if name is None:
        return type(plugin).__name__
    if not isinstance(name, str):
        raise TypeError(f"its name is a {type(name).__qualname__}, not a str")
    return name


def _load_error(candidate: Candidate, step: str, reason: str) -> PluginLoadError:
    whose = f"plugin {candidate.name!r} ({candidate.origin})"
    return PluginLoadError(f"{whose} cannot be {step}: {reason}", plugin=candidate.name)


def _told(error: BaseException) -> str:
    """Return type, text and place of ``error``, on one line."""
    text = " ".join(error_text(error).split())
    return f"{type(error).__qualname__}{': ' if text else ''}{text}{_where(error)}"


def _where(error: BaseException) -> str:
    """Return the innermost line that is neither Thea's nor the import system's; empty where there is none."""
    place = ""
    traceback = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(_NOT_THE_PLUGINS):
            place = f" ({file}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place
