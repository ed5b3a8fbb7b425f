"""The plugins of one application: which there are, and which of them is being switched on or off just now."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from thea_core.callbacks.hooks import suggestion
from thea_core.errors import PluginConflictError, PluginError, PluginNotFoundError
from thea_core.plugins.discovery import discover, normalised
from thea_core.plugins.entries import ENABLED, Entry, PluginInfo, Sources
from thea_core.plugins.status import PluginStatus, StatusFile

if TYPE_CHECKING:
    from thea_core.types import Clock

__all__ = ["Registry"]


class Registry:
    """Holds the entries. Thread-safe; its lock is never held while code of a plugin runs.

    Args:
        sources: where plugins come from.
        status_file: where to note what became of each; None: nowhere.
        clock: tells when that was.
    """

    def __init__(self, sources: Sources, status_file: StatusFile | None, clock: Clock) -> None:
        self._sources = sources
        self._status_file = status_file
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._started: list[Entry] = []
        self._changing: set[str] = set()

    # Looking

    @property
    def entries(self) -> list[Entry]:
        """All of them, in the order of the lists that name them."""
        with self._lock:
            entries = list(self._entries.values())
        return sorted(entries, key=lambda each: (each.source, each.position))

    @property
    def started(self) -> list[Entry]:
        """Those that are started, in the order in which they were."""
        with self._lock:
            return list(self._started)

    @property
    def quiet(self) -> bool:
        """Whether no plugin is being switched on or off."""
        return not self._changing

    def changing(self, entry: Entry) -> bool:
        """Whether a plugin is being switched on or off."""
        return entry.name in self._changing

    def find(self, name: str) -> Entry | None:
        """Return the plugin of that name, or that of the distribution of that name."""
        entries = self.entries
        named = [each for each in entries if each.name == name]
        offered = [each for each in entries if normalised(each.candidate.distribution or "") == normalised(name)]
        return next(iter(named or offered), None)

    def get(self, name: str) -> Entry:
        """Return the same; where there is none, raise PluginNotFoundError."""
        found = self.find(name)
        if found is None:
            names = [each.name for each in self.entries]
            raise PluginNotFoundError(
                f"the application has no plugin {name!r}{suggestion(name, names)}; "
                f"it has: {', '.join(names) or 'none'}",
                plugin=name,
            )
        return found

    def find_to_enable(self, name: str) -> Entry:
        """Return the plugin of that name, as it is installed now. Imports nothing.

        Raises:
            PluginNotFoundError, PluginConflictError: nothing of that name is installed, or too much.
        """
        known = self.find(name)
        if known is not None and (known.source != ENABLED or known.state == "running" or known.is_ambiguous):
            return known
        found = discover().find(name)
        taken = self.find(found.name)
        if taken is not None and taken.source != ENABLED:
            raise PluginConflictError(
                f"the application has a plugin {taken.name!r} already, {taken.candidate.origin}: {found.origin} cannot "
                "be enabled beside it",
                plugin=taken.name,
            )
        place = known or taken
        position = place.position if place is not None else self._next_position()
        return Entry(found, ENABLED, position, self._sources.options(found.name))

    # Changing

    def fill(self, entries: Iterable[Entry]) -> None:
        """Take the entries with which the application starts."""
        with self._lock:
            self._entries = {each.name: each for each in entries}

    def begin_enabling(self, found: Entry) -> Entry:
        """Note that a plugin is being switched on, and return its entry; nothing is noted where it runs already.

        Raises:
            PluginError: it is being switched on or off already.
        """
        with self._lock:
            entry = self._entries.setdefault(found.name, found)
            if entry.state != "running":
                self._begin(entry)
                entry.candidate, entry.problem = found.candidate, found.problem
                for name, each in list(self._entries.items()):
                    if each is not entry and (each.source, each.position) == (entry.source, entry.position):
                        del self._entries[name]  # stood for it under its distribution's name, while it was missing
            return entry

    def begin_disabling(self, entry: Entry) -> bool:
        """Note that a plugin is being switched off; whether it was running.

        Raises:
            PluginError: it is being switched on or off already.
        """
        with self._lock:
            self._begin(entry)
            return entry.state == "running"

    def end_change(self, entry: Entry) -> None:
        """Note that what began with one of these has ended, and record what came of it."""
        self.record([entry])
        with self._lock:
            self._changing.discard(entry.name)

    def add_started(self, entry: Entry) -> None:
        """Note that a plugin's ``on_startup`` has run."""
        with self._lock:
            self._started.append(entry)

    def remove_started(self, entry: Entry) -> None:
        """Note that a plugin's ``on_shutdown`` has run."""
        with self._lock:
            self._started.remove(entry)

    def record(self, entries: Iterable[Entry]) -> None:
        """Write down what became of plugins, where there is a place for it."""
        infos: list[PluginInfo] = [each.info for each in entries]
        if self._status_file is not None and infos:
            now = self._clock.now()
            self._status_file.record(
                {each.name: PluginStatus(each.state, now, each.reason, each.hooks) for each in infos}
            )

    def after_fork_in_child(self) -> None:
        """Take a fresh lock, and forget what the parent's threads were doing."""
        self._lock = threading.Lock()
        self._changing = set()
        if self._status_file is not None:
            self._status_file.after_fork_in_child()

    def _begin(self, entry: Entry) -> None:
        """Note that a plugin is being switched on or off; the lock is held."""
        if entry.name in self._changing:
            raise PluginError(
                f"plugin {entry.name!r} is being switched on or off already; try again when that is done",
                plugin=entry.name,
            )
        self._changing.add(entry.name)

    def _next_position(self) -> int:
        return max((each.position for each in self.entries if each.source == ENABLED), default=-1) + 1
