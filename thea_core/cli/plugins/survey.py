"""What is known of every plugin without importing one: metadata, configuration, and what became of it the last time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from thea_core.errors import PluginError
from thea_core.plugins.compatibility import requirement_problem
from thea_core.plugins.discovery import Candidate, Discovery, discover
from thea_core.plugins.status import PluginStatus, StatusFile

if TYPE_CHECKING:
    from thea_core.cli.options import Known, Options
    from thea_core.config import PluginConfig
    from thea_core.plugins.inspection import Inspection

__all__ = ["Row", "Survey"]


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
    inspection: Inspection | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The plugin's name."""
        return self.candidate.name

    @property
    def wrong(self) -> bool:
        """Whether it is enabled and cannot run, as far as that is known."""
        return bool(self.source) and bool(self.reason)

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
        }


class Survey:
    """Every plugin that is installed or named by the configuration, by name; imports none.

    Attributes:
        known: what is known of the configuration.
        found: what is installed.
        rows: the plugins.
    """

    def __init__(self, options: Options) -> None:
        self.known: Known = options.known()
        self.found: Discovery = discover()
        self._recorded: Mapping[str, PluginStatus] = _recorded(self.known).read()
        self.rows = sorted(self._rows(), key=lambda each: each.name)

    def load(self, rows: list[Row]) -> None:
        """Load these plugins, each in a child process, and add to the rows what that shows."""
        from thea_core.cli.plugins.loads import inspect_all

        able = [each for each in rows if each.candidate.value and each.status != "conflict"]
        for name, inspection in inspect_all(self.known.config, [each.candidate for each in able]).items():
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

    def _row(self, candidate: Candidate, source: str, certain: tuple[str, str] | None) -> Row:
        """Return a row; what is certain counts more than what was recorded the last time."""
        recorded = self._recorded.get(candidate.name)
        entry = None if self.known.config is None else self.known.config.plugins.entry(candidate.name)
        row = Row(candidate, source, "not enabled" if not source else "not started yet", entry=entry)
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


def _recorded(known: Known) -> StatusFile:
    """Return the file in which the application keeps its plugins' status, beside its configuration."""
    return StatusFile("." if known.source is None else known.source.parent)


def _range(priorities: list[int]) -> str:
    if not priorities:
        return ""
    low, high = min(priorities), max(priorities)
    return str(low) if low == high else f"{low} to {high}"
