"""The order of a chain.

Higher priority first; ``tryfirst`` and ``trylast`` stand before and after every number. Ties: local callbacks, then the
plugins of ``[plugins] enabled``, of ``modules`` and of ``Thea(plugins=)``, as each lists them; within one of these, the
order of registration.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thea_core.callbacks.binding import place_of

if TYPE_CHECKING:
    from thea_core.callbacks.binding import Callback

__all__ = ["ChainEntry", "local_order", "ordered", "plugin_order"]

_SOURCES = ("local", "enabled", "modules", "plugins=")


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """One callback in a chain, as it is shown.

    Attributes:
        plugin: the plugin's name, or ``"local"``.
        callback: the function's qualified name.
        priority: the number that counts.
        reason: why it stands where it stands.
        wrapper: whether it surrounds the rest.
        is_async: whether it is asynchronous.
        states: the targets to which it is limited; empty means all.
        place: file and line.
    """

    plugin: str
    callback: str
    priority: int
    reason: str
    wrapper: bool
    is_async: bool
    states: tuple[str, ...]
    place: str

    @classmethod
    def of(cls, callback: Callback) -> ChainEntry:
        """Describe a callback."""
        return cls(
            plugin=callback.plugin,
            callback=callback.name,
            priority=callback.priority,
            reason=callback.reason,
            wrapper=callback.wrapper,
            is_async=callback.is_async,
            states=tuple(sorted(callback.states)),
            place=place_of(callback.function),
        )


def ordered(callbacks: Iterable[Callback]) -> list[Callback]:
    """Return callbacks in the order of a chain: wrappers, which surround the others, first."""
    return sorted(callbacks, key=lambda each: (not each.wrapper, each.order))


def local_order(priority: int, sequence: int) -> tuple[tuple[int, ...], str]:
    """Return sort key and reason of a local callback."""
    return (1, -priority, 0, 0, sequence), f"priority {priority}, local"


def plugin_order(
    rank: tuple[int, ...], *, number: int | None, tryfirst: bool, trylast: bool, configured: int | None
) -> tuple[tuple[int, ...], str]:
    """Return sort key and reason of a plugin's callback.

    Args:
        rank: source (1 enabled, 2 modules, 3 ``plugins=``), position in that list, sequence of registration.
        number, tryfirst, trylast: what its author said.
        configured: what the operator said, which replaces all of them.
    """
    source = f"{_SOURCES[rank[0]]}[{rank[1]}]"
    if configured is not None:
        return (1, -configured, *rank), f"priority {configured} by configuration, {source}"
    if tryfirst or trylast:
        return (0 if tryfirst else 2, 0, *rank), f"{'tryfirst' if tryfirst else 'trylast'}, {source}"
    return (1, -(number or 0), *rank), f"priority {number or 0}, {source}"
