"""What became of each plugin the last time, in a small JSON file, so that ``thea plugins list`` need import nothing.

The file is ``.thea/plugins.json`` beside the configuration file. It is a convenience: where it cannot be written or
read, the application goes on as if it were empty.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

__all__ = ["PluginStatus", "StatusFile"]

logger = logging.getLogger("thea_core.plugins")

_MAX_REASON = 2_000


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """What became of one plugin.

    Attributes:
        state: ``"running"``, ``"stopped"``, ``"failed"`` or ``"disabled"``.
        when: when that was, aware, in UTC.
        reason: why, where it failed; else empty.
        hooks: the hooks of which it has callbacks, sorted; empty where it was not loaded.
    """

    state: str
    when: datetime
    reason: str = ""
    hooks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; of a very long reason only the start."""
        return {**asdict(self), "when": self.when.isoformat(), "reason": self.reason[:_MAX_REASON]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PluginStatus:
        """Make it again from what :meth:`to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: that is not its form.
        """
        state, reason, hooks = data["state"], data["reason"], tuple(data["hooks"])
        if not all(isinstance(each, str) for each in (state, reason, *hooks)):
            raise TypeError("state, reason and hooks must be text")
        return cls(state, datetime.fromisoformat(data["when"]), reason, hooks)


class StatusFile:
    """The file in which the last status of every plugin stands.

    Thread-safe. Two processes may share it: a reader never sees half a file, and what is recorded last stands.

    Args:
        directory: where the configuration file is, or would be.
    """

    def __init__(self, directory: str | os.PathLike[str] = ".") -> None:
        from pathlib import Path

        self.path = Path(directory) / ".thea" / "plugins.json"
        self._lock = threading.Lock()
        self._complained = False

    def read(self) -> dict[str, PluginStatus]:
        """Return the status of each plugin by its name; what is missing or damaged is left out. Never raises."""
        import json

        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))["plugins"].items()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}
        found: dict[str, PluginStatus] = {}
        for name, data in entries:
            with suppress(KeyError, TypeError, ValueError):
                found[name] = PluginStatus.from_json(data)
        return found

    def record(self, statuses: Mapping[str, PluginStatus]) -> None:
        """Write down what became of these plugins; the others stay as they were. Never raises.

        A place that cannot be written is logged once, at DEBUG.
        """
        with self._lock:
            try:
                self._write({**self.read(), **statuses})
            except (OSError, ValueError) as error:
                self._complain(error)

    def forget(self, name: str) -> None:
        """Remove what is known of a plugin that is no longer there. Never raises."""
        with self._lock:
            known = self.read()
            if known.pop(name, None) is None:
                return
            try:
                self._write(known)
            except (OSError, ValueError) as error:
                self._complain(error)

    def after_fork_in_child(self) -> None:
        """Take a fresh lock: the parent's may be held."""
        self._lock = threading.Lock()

    def _write(self, statuses: Mapping[str, PluginStatus]) -> None:
        import json

        text = json.dumps({"plugins": {name: statuses[name].to_json() for name in sorted(statuses)}}, indent=2)
        self._make_directory()
        unfinished = self.path.with_name(f"plugins.json.{os.getpid()}-{threading.get_ident()}")
        try:
            unfinished.write_text(text + "\n", encoding="utf-8")
            unfinished.replace(self.path)
        finally:
            unfinished.unlink(missing_ok=True)

    def _make_directory(self) -> None:
        """Make the directory, with a note that keeps it out of version control."""
        if not self.path.parent.is_dir():
            self.path.parent.mkdir(exist_ok=True)
            (self.path.parent / ".gitignore").write_text("*\n", encoding="utf-8")

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            logger.debug("the status of plugins cannot be kept in %s: %s", self.path, error)
