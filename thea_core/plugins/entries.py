"""Which plugins there are to be: from the three places that name them to one list, before anything is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final

from thea_core.errors import PluginConflictError, PluginError, PluginNotFoundError
from thea_core.plugins.discovery import Candidate, Discovery, discover, normalised
from thea_core.plugins.loading import advice, check_unique, name_of

if TYPE_CHECKING:
    from thea_core.callbacks.registration import PluginBinding

__all__ = ["ENABLED", "GIVEN", "MODULES", "Entry", "PluginInfo", "PluginOptions", "Sources", "plan"]

ENABLED: Final = 1
MODULES: Final = 2
GIVEN: Final = 3

_SOURCE_NAMES = {ENABLED: "enabled", MODULES: "modules", GIVEN: "plugins="}


@dataclass(frozen=True, slots=True)
class PluginOptions:
    """What the operator says of one plugin in ``[plugins.NAME]``, for the core.

    Attributes:
        priority: replaces the priority of all its callbacks; None leaves what its author wrote.
        required: whether the application refuses to start without it.
        guard: whether its failures in transition hooks are vetoes; a guard is required, too.
        timeout: seconds that each of its callbacks may take; ``math.inf`` is no limit, None leaves what its author
            wrote, or else the default.
        delivery: ``"inline"``, ``"background"`` or ``"durable"``; None leaves what its author chose.
        queue_size: the most events that wait in its queue, if it has one.
        flush_interval: seconds between two calls of its ``on_flush``, if it has a queue.
        max_attempts: after how many failed deliveries an event is set aside, if its delivery is durable.
    """

    priority: int | None = None
    required: bool = False
    guard: bool = False
    timeout: float | None = None
    delivery: str | None = None
    queue_size: int = 2048
    flush_interval: float = 5.0
    max_attempts: int = 20


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """What is known of one plugin while the application runs.

    Attributes:
        name: its name.
        distribution: what it was installed from; None for a module or an object of the application's own.
        version: the distribution's version; empty where there is none.
        source: which list names it: ``"enabled"``, ``"modules"`` or ``"plugins="``.
        state: ``"running"``; ``"failed"``; ``"disabled"`` (by ``plugins.disable``, or all are off); ``"stopped"``: not
            started yet, being switched off, or the application is closed.
        reason: why it is not running, or what went wrong when it was shut down; empty where that needs no explanation.
        hooks: the hooks of which it has callbacks, sorted; empty where it was not loaded.
        priority: the operator's priority for all its callbacks; None where their author's count.
        guard: whether its failures in transition hooks are vetoes.
        required: whether the application refuses to start without it.
    """

    name: str
    distribution: str | None
    version: str
    source: str
    state: str
    reason: str
    hooks: tuple[str, ...]
    priority: int | None
    guard: bool
    required: bool


@dataclass(frozen=True, slots=True)
class Sources:
    """Where plugins come from, and what the operator says of each.

    Attributes:
        enabled: names of plugins, or of distributions that offer one.
        modules: dotted names of modules.
        objects: instances or modules, from ``Thea(plugins=[...])``.
        tables: what ``[plugins.NAME]`` says, by name; also of plugins that are not enabled.
    """

    enabled: Sequence[str]
    modules: Sequence[str]
    objects: Sequence[object]
    tables: Mapping[str, PluginOptions]

    def options(self, name: str) -> PluginOptions:
        """Return what the operator says of a plugin."""
        return self.tables.get(name, PluginOptions())


@dataclass(frozen=True, slots=True)
class _GivenObject(Candidate):
    """What stands for a plugin that the application's own code made."""

    @property
    def origin(self) -> str:
        return f"{self.value}, given to Thea(plugins=[...])"


@dataclass(slots=True, eq=False)
class Entry:
    """One plugin, and how far it has come. Belongs to one manager, under whose rules it changes.

    Attributes:
        candidate: where it comes from.
        source, position: which list names it, and where in it.
        options: what the operator says of it.
        given: the plugin itself, where the application's code made it.
        problem: why it cannot even be loaded.
        plugin: the module or instance, once it is constructed.
        binding: its callbacks, once they are checked.
        state, reason: see :class:`PluginInfo`.
    """

    candidate: Candidate
    source: int
    position: int
    options: PluginOptions
    given: object | None = None
    problem: PluginError | None = None
    plugin: object | None = None
    binding: PluginBinding | None = None
    state: str = "stopped"
    reason: str = ""

    @property
    def name(self) -> str:
        """Return the plugin's name."""
        return self.candidate.name

    @property
    def is_ambiguous(self) -> bool:
        """Whether several of the application's own lists name it; nothing that is installed mends that."""
        return isinstance(self.problem, PluginConflictError) and bool(self.candidate.value)

    @property
    def remedy(self) -> str:
        """Return what always helps when it fails."""
        if self.source == GIVEN:
            return "Mend it, or take it out of Thea(plugins=[...])"
        return advice(self.candidate)

    @property
    def info(self) -> PluginInfo:
        """Return what is known of it, for others."""
        hooks = {each.hook.name for each in self.binding.callbacks} if self.binding is not None else ()
        return PluginInfo(
            name=self.name,
            distribution=self.candidate.distribution,
            version=self.candidate.version,
            source=_SOURCE_NAMES[self.source],
            state=self.state,
            reason=self.reason,
            hooks=tuple(sorted(hooks)),
            priority=self.options.priority,
            guard=self.options.guard,
            required=self.options.required or self.options.guard,
        )


def plan(sources: Sources) -> list[Entry]:
    """Return an entry for each plugin that is wanted, in order; imports none of them.

    One that is not installed, or that shares its name with another, is there too, with its ``problem``.
    """
    found = discover() if sources.enabled else Discovery(())
    entries = [*_enabled(sources, found), *_modules(sources), *_given(sources)]
    _suspect_guards(entries, sources, found)
    return _one_of_each_name(entries)


def _enabled(sources: Sources, found: Discovery) -> Iterator[Entry]:
    seen: set[Candidate] = set()
    for position, name in enumerate(sources.enabled):
        try:
            candidate = found.find(name)
        except PluginError as error:
            options = _options_of_missing(sources, name)
            yield Entry(Candidate(name=name, value=""), ENABLED, position, options, problem=error)
            continue
        if candidate not in seen:  # else it is listed by its own name and by its distribution's
            seen.add(candidate)
            yield Entry(candidate, ENABLED, position, sources.options(candidate.name))


def _modules(sources: Sources) -> Iterator[Entry]:
    for position, module in enumerate(sources.modules):
        candidate = Candidate.of_module(module)
        yield Entry(candidate, MODULES, position, sources.options(candidate.name))


def _given(sources: Sources) -> Iterator[Entry]:
    for position, plugin in enumerate(sources.objects):
        kind = type(plugin)
        place = plugin.__name__ if isinstance(plugin, ModuleType) else f"{kind.__module__}.{kind.__qualname__}"
        problem: PluginError | None = None
        try:
            name = name_of(plugin)
        except PluginError as error:
            name, problem = error.plugin, error
        candidate = _GivenObject(name=name, value=place)
        yield Entry(candidate, GIVEN, position, sources.options(name), given=plugin, problem=problem)


def _options_of_missing(sources: Sources, name: str) -> PluginOptions:
    """Return what is said of a plugin that is named by its distribution and not installed, as far as it can be told."""
    return sources.tables.get(name) or sources.options(normalised(name).removeprefix("thea-"))


def _suspect_guards(entries: list[Entry], sources: Sources, found: Discovery) -> None:
    """Take for a guard what is missing and may offer one: a guard that cannot be found must not be left out in silence.

    Only where a table makes a plugin a guard, no plugin of that name is there, and a distribution that is not installed
    is enabled of which no table speaks.
    """
    known = {each.name for each in entries} | set(found.names)
    lost = [name for name, options in sources.tables.items() if options.guard and name not in known]
    for each in entries:
        if lost and isinstance(each.problem, PluginNotFoundError) and each.options == PluginOptions():
            each.options = PluginOptions(guard=True)
            each.problem = PluginNotFoundError(
                f"{each.problem}. It may be what offers the guard {lost[0]!r} of [plugins.{lost[0]}]", plugin=each.name
            )


def _one_of_each_name(entries: list[Entry]) -> list[Entry]:
    """Return the entries with those that share a name made one, which has that as its problem."""
    first: dict[str, Entry] = {}
    for each in entries:
        earlier = first.setdefault(each.name, each)
        if earlier is not each and not isinstance(earlier.problem, PluginConflictError):
            try:
                check_unique((entry.name, entry.candidate.origin) for entry in (earlier, each))
            except PluginConflictError as error:
                earlier.problem = error
    return list(first.values())
