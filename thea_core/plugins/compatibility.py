"""What is checked of a plugin before it is imported: its name, and its own requirement on ``thea-core``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from thea_core.errors import PluginError, PluginLoadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from thea_core.plugins.discovery import Candidate

__all__ = ["RESERVED", "check", "check_name", "name_problem", "requirement_problem", "running_version"]

RESERVED = frozenset({"enabled", "local", "modules", "startup_timeout"})
"""Names that no plugin may have: the keys of ``[plugins]``, and what callbacks of the application are called."""

_NAME = re.compile(r"\w[\w.-]*")


def running_version() -> str | None:
    """Return the version of the installed ``thea-core``; None where it runs without being installed."""
    import importlib_metadata

    try:
        return importlib_metadata.version("thea-core")
    except (importlib_metadata.PackageNotFoundError, LookupError, OSError):
        return None


def check(candidate: Candidate, version: Callable[[], str | None] = running_version) -> None:
    """Refuse what cannot work here.

    Args:
        candidate: what is about to be imported.
        version: gives the running version of ``thea-core``, or None if it is unknown: then nothing is required of it.
            Called only where the candidate requires something.

    Raises:
        PluginLoadError: it does not fit; the message says what is required, what runs and what to do.
    """
    problem = name_problem(candidate.name) or requirement_problem(candidate, version)
    if problem is not None:
        raise PluginLoadError(f"plugin {candidate.name!r} ({candidate.origin}): {problem}", plugin=candidate.name)


def check_name(name: str, origin: str) -> None:
    """Raise PluginError where a plugin may not be called ``name``; ``origin`` says where it comes from."""
    problem = name_problem(name)
    if problem is not None:
        raise PluginError(f"plugin {name!r} ({origin}): {problem}", plugin=name)


def name_problem(name: str) -> str | None:
    """Return why no plugin may be called ``name``, or None if one may."""
    if name in RESERVED:
        words = ", ".join(sorted(RESERVED))
        return f"{name!r} is a word of Thea's own and no name for a plugin (so are {words}); its author must rename it"
    if not _NAME.fullmatch(name):
        return f"{name!r} is no name for a plugin: letters, digits, '_', '-' and '.' only, and no '-' or '.' first"
    return None


def requirement_problem(candidate: Candidate, version: Callable[[], str | None] = running_version) -> str | None:
    """Return why ``candidate`` does not fit the running ``thea-core``, or None if it does.

    Only requirements that apply here count: those of an extra, or of another Python, do not.
    """
    if not candidate.requires:
        return None
    running = version()
    if running is None:
        return None
    for requirement in candidate.requires:
        problem = _unmet(requirement, running)
        if problem is not None:
            return f"{problem}: pip install --upgrade thea-core {candidate.distribution}"
    return None


def _unmet(requirement: str, running: str) -> str | None:
    from packaging.requirements import Requirement

    try:
        wanted = Requirement(requirement)
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
    except ValueError:  # what packaging's own errors are
        return f"its requirement {requirement!r} on thea-core cannot be read"
    if not applies or wanted.specifier.contains(running, prereleases=True):
        return None
    return f"it requires thea-core {wanted.specifier}, and thea-core {running} runs"
