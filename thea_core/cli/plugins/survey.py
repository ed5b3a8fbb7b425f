"""What is known of every plugin without importing one: metadata, configuration, and what became of it the last time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from thea_core.cli.output import duration, moment
from thea_core.cli.plugins.figures import Figures, PluginFigures, read_figures
from thea_core.errors import PluginError
from thea_core.plugins.compatibility import requirement_problem
from thea_core.plugins.discovery import Candidate, Discovery, discover
from thea_core.plugins.status import PluginStatus, StatusFile

if TYPE_CHECKING:
    from thea_core.cli.options import Known, Options
    from thea_core.config import PluginConfig
    from thea_core.plugins.inspection import HookInfo, Inspection

__all__ = ["Row", "Survey", "callback_json", "delivery_text", "limit_text"]


@dataclass(slots=True)
class Row:
    """One plugin.

    Attributes:
        candidate: where it comes from; without a value where nothing of that name is installed.
        source: ``"enabled"`` or ``"modules"``, which list it; empty where it is not enabled.
        status: one or two words.
        reason: why, where that needs to be said; else empty.
        since: when the status was recorded; None where it is not from a record.
        hooks: the hooks of which it has callbacks, where that is known.
        priority: of its callbacks, where that is known; a text, for there may be several.
        entry: what ``[plugins.NAME]`` says; None where the configuration could not be read.
        recorded: what became of it the last time; None where that is not known.
        figures: what the record of calls says of it.
        inspection: what loading it showed; None where it was not loaded.
    """

    candidate: Candidate
    source: str
    status: str
    reason: str = ""
    since: datetime | None = None
    hooks: tuple[str, ...] = ()
    priority: str = ""
    entry: PluginConfig | None = None
    recorded: PluginStatus | None = None
    figures: PluginFigures = field(default_factory=PluginFigures)
    inspection: Inspection | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.candidate.name

    @property
    def wrong(self) -> bool:
        """Whether it is enabled and cannot run, as far as that is known."""
        return bool(self.source) and bool(self.reason)

    @property
    def told(self) -> str:
        """The status as it is shown to people: with its time, and without alarm where all is well."""
        if self.since is None:
            return self.status
        if self.status == "stopped" and not self.reason:
            return f"ok (ran until {moment(self.since)})"
        return f"{self.status} ({'since ' if self.status == 'running' else ''}{moment(self.since)})"

    def add(self, inspection: Inspection) -> None:
        """Take over what loading the plugin showed."""
        self.inspection = inspection
        self.since = None
        self.status = "loads" if inspection.error is None else "fails"
        self.reason = inspection.error or ""
        self.hooks = tuple(sorted({each.hook for each in inspection.hooks}))
        if self.entry is None or self.entry.priority is None:
            self.priority = _range([each.priority for each in inspection.hooks])

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        candidate = self.candidate
        return {
            "name": self.name,
            "distribution": candidate.distribution,
            "version": candidate.version or None,
            "entry_point": candidate.value or None,
            "summary": candidate.summary,
            "enabled": bool(self.source),
            "source": self.source or None,
            "status": self.status,
            "since": None if self.since is None else self.since.isoformat(),
            "reason": self.reason or None,
            "hooks": list(self.hooks),
            "priority": self.priority or None,
            "required": self.entry is not None and self.entry.required,
            "guard": self.entry is not None and self.entry.on_failure == "veto",
            **self.figures.to_json(),
            "callbacks": None if self.inspection is None else [callback_json(each) for each in self.inspection.hooks],
        }


class Survey:
    """Every plugin that is installed, named by the configuration or found in the record of calls; imports none.

    Args:
        options: which configuration.
        since: from when on calls of the record count; None for all.

    Attributes:
        known: what is known of the configuration.
        found: what is installed.
        figures: what the record of calls says.
        rows: the plugins, by name.
    """

    def __init__(self, options: Options, since: datetime | None = None) -> None:
        self.known: Known = options.known()
        self.found: Discovery = discover()
        self.figures: Figures = read_figures(self.known.config, options.base, since)
        self._recorded: Mapping[str, PluginStatus] = _recorded(self.known).read()
        self.rows = sorted(self._rows(), key=lambda each: each.name)

    def row(self, name: str) -> Row:
        """Return the row of a plugin, by its name, its module's, or that of its distribution.

        Raises:
            PluginNotFoundError, PluginConflictError: there is none, or there are several; with advice.
        """
        for row in self.rows:
            if name in {row.name, row.candidate.value}:
                return row
        candidate = self.found.find(name)
        return next(row for row in self.rows if row.candidate == candidate)

    def load(self, rows: Sequence[Row]) -> None:
        """Load these plugins, each in a child process, and add to the rows what that shows."""
        from thea_core.cli.plugins.loads import inspect_all

        able = [each for each in rows if _loadable(each)]
        beside = [each.candidate for each in self.rows if each.source and each not in able and _loadable(each)]
        for name, inspection in inspect_all(self.known.config, [each.candidate for each in able], beside).items():
            next(each for each in able if each.name == name).add(inspection)

    def _rows(self) -> Iterator[Row]:
        enabled: set[Candidate] = set()
        for name in dict.fromkeys(self.known.enabled):
            try:
                candidate = self.found.find(name)
            except PluginError as error:
                status = "conflict" if self.found.named(name) else "not installed"
                yield self._row(Candidate(name=name, value=""), "enabled", (status, str(error)))
                enabled.update(self.found.named(name))
                continue
            if candidate not in enabled:
                enabled.add(candidate)
                problem = requirement_problem(candidate)
                yield self._row(candidate, "enabled", ("does not fit", problem) if problem else None)
        for module in dict.fromkeys(self.known.modules):
            yield self._row(Candidate.of_module(module), "modules", None)
        for candidate in self.found.candidates:
            if candidate not in enabled:
                conflict = self.found.conflict(candidate)
                yield self._row(candidate, "", ("conflict", conflict) if conflict else None)
        known = {each.name for each in (*enabled, *self.found.candidates)} | set(self.known.enabled)
        known |= {each.rpartition(".")[2] for each in self.known.modules}
        for name in self.figures.plugins.keys() - known:
            yield self._row(Candidate(name=name, value=""), "", ("not configured", ""))

    def _row(self, candidate: Candidate, source: str, certain: tuple[str, str] | None) -> Row:
        """Return a row; what is certain counts more than what was recorded the last time."""
        recorded = self._recorded.get(candidate.name)
        entry = None if self.known.config is None else self.known.config.plugins.entry(candidate.name)
        row = Row(
            candidate,
            source,
            "not enabled" if not source else "not started yet",
            entry=entry,
            recorded=recorded,
            figures=self.figures.of(candidate.name),
        )
        if entry is not None and entry.priority is not None:
            row.priority = str(entry.priority)
        if recorded is not None:
            row.hooks = recorded.hooks
            if source:
                row.status, row.reason, row.since = recorded.state, recorded.reason, recorded.when
        if certain is not None:
            row.since = None
            row.status, row.reason = certain
        return row


def callback_json(hook: HookInfo) -> dict[str, Any]:
    """Return the JSON form of a callback."""
    return asdict(hook) | {"limited": hook.limited}


def limit_text(hook: HookInfo) -> str:
    """Return the time limit of a callback as it is shown."""
    if hook.limited is None:
        return "-"
    if hook.timeout is not None:
        return duration(hook.timeout)
    return "unlimited (wrapper)" if hook.wrapper else "unlimited"


def delivery_text(hook: HookInfo) -> str:
    """Return the delivery of a callback as it is shown."""
    return "-" if hook.limited is None else hook.delivery


def _loadable(row: Row) -> bool:
    return bool(row.candidate.value) and row.status != "conflict"


def _recorded(known: Known) -> StatusFile:
    """Return the file in which the application keeps its plugins' status, beside its configuration."""
    return StatusFile("." if known.source is None else known.source.parent)


def _range(priorities: list[int]) -> str:
    if not priorities:
        return ""
    low, high = min(priorities), max(priorities)
    return str(low) if low == high else f"{low} to {high}"
