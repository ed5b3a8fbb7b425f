"""What plugins are installed, from metadata alone: nothing here ever imports a plugin.

A plugin is an entry point of the group ``thea.plugins``; its name is the entry point's name::

    [project.entry-points."thea.plugins"]
    sentry = "thea_sentry:SentryPlugin"

Most distributions offer none. So only ``entry_points.txt`` is read of each, and the rest of the metadata only of those
whose text names the group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thea_core.errors import PluginConflictError, PluginError, PluginNotFoundError

if TYPE_CHECKING:
    from importlib_metadata import IDistribution

__all__ = ["FIRST_PARTY", "GROUP", "Candidate", "Discovery", "discover", "normalised"]

GROUP = "thea.plugins"
"""The group of entry points that plugins stand in."""

FIRST_PARTY = ("agenda", "logging", "mixpanel", "prometheus", "sentry")
"""The plugins that the project itself publishes; the distribution of each is called ``thea-NAME``."""

_OWN_REQUIREMENT = re.compile(r"\s*thea[-_.]+core(?![\w.-])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin that could be loaded, as metadata describes it.

    Attributes:
        name: the entry point's name, or the last part of a module of ``[plugins] modules``.
        value: where the plugin is: ``"package.module:attribute"`` or ``"package.module"``.
        distribution: the distribution that offers it; None for a module of ``[plugins] modules``.
        version: the distribution's version; empty where it has none.
        requires: the distribution's own requirements on ``thea-core``, as it writes them.
        summary: the distribution's one-line description; may be empty.
        location: the directory in which the distribution is installed; may be empty.
    """

    name: str
    value: str
    distribution: str | None = None
    version: str = ""
    requires: tuple[str, ...] = ()
    summary: str = ""
    location: str = ""

    @property
    def origin(self) -> str:
        """Return where it comes from, for messages: ``"thea-sentry 1.2"`` or ``"module myapp.hooks"``."""
        if self.distribution is None:
            return f"module {self.value}"
        return f"{self.distribution} {self.version}".rstrip()

    @classmethod
    def of_module(cls, module: str) -> Candidate:
        """Return the candidate for an entry of ``[plugins] modules``; it is named by the module's last part."""
        return cls(name=module.rpartition(".")[2], value=module)


class Discovery:
    """The plugins that were installed when :func:`discover` looked. Immutable.

    Attributes:
        candidates: all of them, by name and then by distribution; with two of one name, both.
        problems: one sentence for each distribution whose metadata could not be read.
    """

    def __init__(self, candidates: Iterable[Candidate], problems: Iterable[str] = ()) -> None:
        self.candidates: tuple[Candidate, ...] = tuple(
            sorted(candidates, key=lambda each: (each.name, each.distribution or ""))
        )
        self.problems: tuple[str, ...] = tuple(problems)

    @property
    def names(self) -> list[str]:
        """Return the names, sorted, each once."""
        return sorted({each.name for each in self.candidates})

    def find(self, name: str) -> Candidate:
        """Return the plugin of that name, or the only plugin of the distribution of that name.

        Raises:
            PluginNotFoundError: there is none; the message says what to install, or which name was meant.
            PluginConflictError: two distributions offer the name.
            PluginError: a distribution of that name offers several plugins.
        """
        found = self.named(name)
        if len(found) > 1:
            raise PluginConflictError(_conflict(found), plugin=name)
        return found[0] if found else self._only_plugin_of(name)

    def named(self, name: str) -> tuple[Candidate, ...]:
        """Return every candidate whose own name is ``name``; more than one is a conflict."""
        return tuple(each for each in self.candidates if each.name == name)

    def of_distribution(self, name: str) -> tuple[Candidate, ...]:
        """Return what the distribution ``name`` offers; ``Thea_Sentry`` and ``thea-sentry`` are one distribution."""
        wanted = normalised(name)
        return tuple(each for each in self.candidates if normalised(each.distribution or "") == wanted)

    def conflict(self, candidate: Candidate) -> str | None:
        """Return why the name of ``candidate`` cannot be used, or None if no other plugin has it."""
        found = self.named(candidate.name)
        return _conflict(found) if len(found) > 1 else None

    def _only_plugin_of(self, distribution: str) -> Candidate:
        first, *others = self.of_distribution(distribution) or (None,)
        if first is None:
            raise PluginNotFoundError("\n".join((self._advice(distribution), *self.problems)), plugin=distribution)
        if others:
            choices = ", ".join(each.name for each in self.of_distribution(distribution))
            raise PluginError(
                f"{distribution} offers {len(others) + 1} plugins ({choices}); give the name of one of them",
                plugin=distribution,
            )
        return self.find(first.name)

    def _advice(self, name: str) -> str:
        from difflib import get_close_matches

        short = _short(name)
        if short in FIRST_PARTY:
            return f"thea-{short} is not installed: pip install thea-{short}"
        known = self.names
        close = get_close_matches(name, known, n=1) or get_close_matches(short, (*known, *FIRST_PARTY), n=1)
        if close and close[0] in known:
            return f"no plugin {name!r} is installed; did you mean {close[0]!r}?"
        if close:
            return f"no plugin {name!r} is installed; did you mean {close[0]!r}? (pip install thea-{close[0]})"
        installed = f"installed are: {', '.join(known)}" if known else "no plugins are installed"
        return (
            f"no plugin {name!r} is installed; {installed}. "
            f"If its distribution is called thea-{short}: pip install thea-{short}"
        )


def discover() -> Discovery:
    """Return all installed plugins, without importing any of them.

    What cannot be read is left out and named in ``problems``; nothing is raised. Cheap enough to call at each use:
    a few milliseconds with 300 distributions. Thread-safe.
    """
    import importlib_metadata

    candidates: list[Candidate] = []
    problems: list[str] = []
    seen: set[str] = set()
    for distribution in importlib_metadata.distributions():
        try:
            candidates.extend(_offered_once(distribution, seen))
        except (OSError, ValueError, LookupError) as error:
            problems.append(
                f"the metadata of {distribution} cannot be read ({type(error).__name__}: {error}): "
                "reinstall that distribution"
            )
    return Discovery(candidates, problems)


def normalised(distribution: str) -> str:
    """Return a distribution's name as package indexes compare it: lower case, runs of ``-_.`` as one ``-``."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _offered_once(distribution: IDistribution, seen: set[str]) -> Sequence[Candidate]:
    """Return what ``distribution`` offers, or nothing where one of its name came before."""
    text = distribution.read_text("entry_points.txt")
    if not text or GROUP not in text:
        return ()
    [name, *_] = _headers(distribution).get("name") or [""]
    if not name:
        raise ValueError("it has no Name")
    if normalised(name) in seen:
        return ()
    seen.add(normalised(name))
    return tuple(_offered(_effective(distribution, name), name))


def _effective(distribution: IDistribution, name: str) -> IDistribution:
    """Return the distribution that an import would use: an earlier one on the path hides those after it."""
    import importlib_metadata

    try:
        return importlib_metadata.distribution(name)
    except importlib_metadata.PackageNotFoundError:
        return distribution  # its directory has another name than the metadata; it hides nothing


def _offered(distribution: IDistribution, name: str) -> Iterator[Candidate]:
    entries = [entry for entry in distribution.entry_points if entry.group == GROUP]
    if not entries:
        return
    headers = _headers(distribution)
    requirements = headers.get("requires-dist") or distribution.requires or ()
    own = tuple(each for each in requirements if _OWN_REQUIREMENT.match(each))
    for entry in entries:
        yield Candidate(
            name=entry.name,
            value=entry.value,
            distribution=name,
            version=headers.get("version", [""])[0],
            requires=own,
            summary=headers.get("summary", [""])[0],
            location=str(distribution.locate_file("")),
        )


def _headers(distribution: IDistribution) -> dict[str, list[str]]:
    """Return the headers of the metadata by their names in lower case.

    ``distribution.metadata`` would give them too, but imports the whole email package for it, which takes as long as
    looking through 300 distributions.
    """
    headers: dict[str, list[str]] = {}
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    for line in text.split("\n"):
        if not line.strip():
            break
        name, colon, value = line.partition(":")
        if colon and not name[:1].isspace():
            headers.setdefault(name.lower(), []).append(value.strip())
    return headers


def _conflict(candidates: Sequence[Candidate]) -> str:
    name = candidates[0].name
    sources = sorted({f"{each.origin} ({each.location})" for each in candidates})
    if len(sources) == 1:
        return f"the plugin name {name!r} is offered twice by {sources[0]}: its author must name them apart"
    return f"the plugin name {name!r} is offered by {' and by '.join(sources)}: uninstall all of them but one"


def _short(name: str) -> str:
    plain = normalised(name)
    return plain.removeprefix("thea-")
