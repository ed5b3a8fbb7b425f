"""The order of a chain.

Higher priority first; ``tryfirst`` and ``trylast`` stand before and after every number. Ties: local callbacks, then the
plugins of ``[plugins] enabled``, of ``modules`` and of ``Thea(plugins=)``, as each lists them; within one of these, the
order of registration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from thea_core.callbacks.binding import Callback, Place, place_of

__all__ = ["ChainEntry", "local_place", "ordered", "plugin_place"]

_SOURCES = ("local", "enabled", "modules", "plugins=")


class ChainEntry(NamedTuple):
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
        timeout: its limit in seconds; None where it runs for as long as it takes.
        delivery: ``"background"`` where the call only puts it on the plugin's queue, ``"durable"`` where the event is
            stored, and handed over afterwards; else ``"inline"``.
    """

    plugin: str
    callback: str
    priority: int
    reason: str
    wrapper: bool
    is_async: bool
    states: tuple[str, ...]
    place: str
    timeout: float | None = None
    delivery: str = "inline"

    @classmethod
    def of(cls, callback: Callback) -> ChainEntry:
        """Describe a callback."""
        return cls(
            plugin=callback.plugin,
            callback=callback.name,
            priority=callback.place.priority,
            reason=callback.place.reason,
            wrapper=callback.wrapper,
            is_async=callback.is_async,
            states=tuple(sorted(callback.states)),
            place=place_of(callback.function),
            timeout=callback.timeout,
            delivery=callback.delivery,
        )


def ordered(callbacks: Iterable[Callback]) -> list[Callback]:
    """Return callbacks in the order of a chain: wrappers, which surround the others, first."""
    return sorted(callbacks, key=lambda each: (not each.wrapper, each.place.key))


def local_place(priority: int, sequence: int) -> Place:
    """Return where a local callback stands, the ``sequence``-th that was registered."""
    return Place((1, -priority, 0, 0, sequence), priority, f"priority {priority}, local")


def plugin_place(rank: tuple[int, ...], options: Mapping[str, Any], configured: int | None) -> Place:
    """Return where a plugin's callback stands.

    Args:
        rank: source (1 enabled, 2 modules, 3 ``plugins=``), position in that list, sequence of registration.
        options: ``priority``, ``tryfirst`` and ``trylast``, as its author gave them.
        configured: the operator's priority, which replaces all of them.
    """
    source = f"{_SOURCES[rank[0]]}[{rank[1]}]"
    if configured is not None:
        return Place((1, -configured, *rank), configured, f"priority {configured} by configuration, {source}")
    number = options["priority"]
    if options["tryfirst"] or options["trylast"]:
        first = options["tryfirst"]
        return Place((0 if first else 2, 0, *rank), number, f"{'tryfirst' if first else 'trylast'}, {source}")
    return Place((1, -number, *rank), number, f"priority {number}, {source}")
