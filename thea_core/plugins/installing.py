"""Plugins are installed and uninstalled by pip, of the Python that runs Thea. No plugin is ever imported here.

So a plugin that hangs or exits when it is imported can be removed like any other.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence

from thea_core.errors import PluginConflictError, PluginError, PluginNotFoundError
from thea_core.plugins.discovery import FIRST_PARTY, Candidate, Discovery, discover, normalised

__all__ = ["Runner", "how_to_enable", "install", "uninstall"]

Runner = Callable[[Sequence[str]], int]
"""Runs a command, lets its output through, and returns its exit status."""

_LEADING_NAME = re.compile(r"([A-Za-z0-9][\w.-]*)")


def install(requirements: Iterable[str], *, run: Runner = subprocess.call) -> tuple[Candidate, ...]:
    """Install distributions with pip, whose output passes through.

    Args:
        requirements: what pip takes: names, versions, paths. The bare name of a plugin of the project itself, such as
            ``sentry``, stands for its distribution, ``thea-sentry``: ``sentry`` itself is somebody else's.
        run: runs the command.

    Returns:
        The plugins that are there now and were not, or were asked for by the name of their distribution.

    Raises:
        PluginError: nothing was named, an option was given in place of a name, pip is missing, or pip failed.
    """
    wanted = [_distribution_of(each) for each in _checked(requirements, "install")]
    before = set(discover().candidates)
    _pip(["install", "--", *wanted], wanted[0], run)
    importlib.invalidate_caches()
    asked = {normalised(found[1]) for found in map(_LEADING_NAME.match, wanted) if found}
    return tuple(
        each for each in discover().candidates if each not in before or normalised(each.distribution or "") in asked
    )


def how_to_enable(installed: Sequence[Candidate]) -> str:
    """Return what to tell a user after :func:`install`."""
    if not installed:
        return "Nothing that was installed offers a plugin for Thea."
    lines = [f"  thea plugins enable {each.name}" for each in installed]
    return "\n".join(("Installed, but not yet enabled. To enable:", *lines))


def uninstall(names: Iterable[str], *, run: Runner = subprocess.call) -> tuple[Candidate, ...]:
    """Uninstall the distributions of plugins with pip, whose output passes through.

    Args:
        names: names of plugins, or of the distributions that offer them.
        run: runs the command.

    Returns:
        The plugins that are gone: all that these distributions offered.

    Raises:
        PluginNotFoundError: a name is no plugin's, and of no distribution that offers one; nothing was uninstalled.
        PluginConflictError: several distributions offer a plugin of that name: the distribution must be named.
        PluginError: nothing was named, an option was given in place of a name, pip is missing, or pip failed.
    """
    installed = discover()
    distributions = list(dict.fromkeys(_installed_as(each, installed) for each in _checked(names, "uninstall")))
    _pip(["uninstall", "--yes", "--", *distributions], distributions[0], run)
    importlib.invalidate_caches()
    return tuple(plugin for each in distributions for plugin in installed.of_distribution(each))


def _checked(names: Iterable[str], verb: str) -> list[str]:
    checked = [each.strip() for each in names]
    if not checked:
        raise PluginError(f"name what to {verb}: thea plugins {verb} NAME", plugin="")
    for name in checked:
        if not name or name.startswith("-"):
            raise PluginError(
                f"{name!r} is not the name of a plugin or distribution; options are for pip itself: "
                f"{sys.executable} -m pip {verb} ...",
                plugin=name,
            )
    return checked


def _distribution_of(requirement: str) -> str:
    """Return what pip is to install; ``sentry>=1`` becomes ``thea-sentry>=1``, a path or an address stays."""
    found = _LEADING_NAME.match(requirement)
    if found is None or found[1].lower() not in FIRST_PARTY or requirement[found.end() :].startswith(("/", ":")):
        return requirement
    return f"thea-{requirement}"


def _installed_as(name: str, installed: Discovery) -> str:
    """Return the distribution that is meant by the name of a plugin or of a distribution."""
    offering = installed.of_distribution(name) or installed.named(name)
    distributions = sorted({each.distribution for each in offering if each.distribution})
    if not distributions:
        raise PluginNotFoundError(
            f"{name!r} is no plugin, and no distribution that offers one: nothing was uninstalled. "
            f"{_choices(installed)}. For anything else use pip itself: {sys.executable} -m pip uninstall {name}",
            plugin=name,
        )
    if len(distributions) > 1:
        raise PluginConflictError(
            f"the plugin name {name!r} is offered by {' and by '.join(distributions)}: nothing was uninstalled. "
            f"Name the distribution: thea plugins uninstall {distributions[-1]}",
            plugin=name,
        )
    return distributions[0]


def _choices(installed: Discovery) -> str:
    return f"Installed are: {', '.join(installed.names)}" if installed.names else "No plugins are installed"


def _pip(arguments: Sequence[str], first: str, run: Runner) -> None:
    if importlib.util.find_spec("pip") is None:
        raise PluginError(
            f"{sys.executable} has no pip, which installs and uninstalls plugins: {sys.executable} -m ensurepip "
            "(on Debian and Ubuntu: make a virtual environment with python3 -m venv, after apt install python3-venv)",
            plugin=first,
        )
    status = run([sys.executable, "-P", "-m", "pip", *arguments])
    if status != 0:
        raise PluginError(f"pip {arguments[0]} failed with exit status {status}; it says why above", plugin=first)
