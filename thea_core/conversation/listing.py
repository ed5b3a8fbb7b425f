"""Reading the lists that plugins give, without running any code of theirs: an iterator may never end, or exit."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["listed"]

_VIEWS: Final[tuple[type, ...]] = (type({}.keys()), type({}.values()))
_KINDS: Final[tuple[type, ...]] = (list, tuple, set, frozenset, *_VIEWS)


def listed(value: Any) -> list[Any] | None:
    """Return the items of a list, tuple, set or view of a dict; None where ``value`` is no such thing.

    What iterates itself, such as a generator, is refused: it would run outside the call of the plugin, which neither
    contains what it raises nor ends it.
    """
    for kind in _KINDS:
        if issubclass(type(value), kind):  # not isinstance: an object may lie about its class
            return list(kind.__iter__(value))  # type: ignore[attr-defined]  # nor its own __iter__
    return None
