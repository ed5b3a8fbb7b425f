"""On what conditions an application binds a plugin, for :mod:`thea_core.plugins.probe`, which does it in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from thea_core.plugins.entries import PluginOptions

__all__ = ["Conditions"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What configuration and state machine say of a plugin's callbacks. Times are in seconds; None is no limit.

    Attributes:
        options: what the operator says of this plugin.
        timeout: the limit of callbacks of which nobody says anything.
        timeouts: the same for single hooks, by name.
        states: the states that callbacks may be limited to; None where that is not known, and any may.
    """

    options: PluginOptions = field(default_factory=PluginOptions)
    timeout: float | None = 2.0
    timeouts: Mapping[str, float | None] = field(default_factory=dict)
    states: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the form in which it goes to another process of Python's: JSON, and infinity."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Conditions:
        """Make it again from what :meth:`to_json` gave."""
        states = data["states"]
        return cls(
            options=PluginOptions(**data["options"]),
            timeout=data["timeout"],
            timeouts=data["timeouts"],
            states=None if states is None else tuple(states),
        )
