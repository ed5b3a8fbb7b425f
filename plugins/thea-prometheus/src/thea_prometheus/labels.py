"""Labels whose values are bounded, and the children of metrics, remembered by them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

__all__ = ["OTHER", "Children", "Values", "text_of"]

OTHER: Final = "other"
"""The value that stands for all those for which there was no room."""

_LONGEST = 128

C = TypeVar("C")


class Values:
    """The values of one label: the first ``limit`` that come, and ``"other"`` for the rest. Thread-safe.

    Several metrics that have the label share them, so that a value is either known to all of them or to none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self._lock = threading.RLock()  # a finalizer may run within, and fire an event

    def admit(self, value: object) -> str:
        """Return the value as the label shows it; ``"other"`` where there is no room for it."""
        text = clean(value)
        if text in self._known:
            return text
        with self._lock:
            if text not in self._known and len(self._known) >= self._limit:
                return OTHER
            self._known.add(text)
        return text


class Children(Generic[C]):
    """What belongs to each combination of label values, made when it first occurs. Thread-safe.

    Args:
        make: gets the values that were admitted, and returns what belongs to them. Two threads may ask for the same
            at once; what they get must do the same.
        values: of each label.
    """

    def __init__(self, make: Callable[..., C], *values: Values) -> None:
        self._make = make
        self._values = values
        self._made: dict[tuple[object, ...], C] = {}  # by admitted values only: so it is bounded, too

    def of(self, *values: object) -> C:
        """Return what belongs to these values, whatever they are."""
        try:
            return self._made[values]
        except (KeyError, TypeError):  # new, without room, or something that cannot be a key
            admitted = tuple(label.admit(value) for label, value in zip(self._values, values, strict=True))
            if admitted not in self._made:
                self._made[admitted] = self._make(*admitted)
            return self._made[admitted]


def clean(value: object) -> str:
    """Return a value as a label can show it: at most 128 characters that can be written as UTF-8."""
    text = text_of(value)
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return short.encode("utf-8", "replace").decode()  # one lone surrogate, and /metrics could not be written any more


def text_of(value: object) -> str:
    """Return a value as a plain string. Raises nothing but KeyboardInterrupt: who fires an event may give anything."""
    if type(value) is str:
        return value
    try:
        return str.__str__(str(value))
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # a SystemExit too
        return f"<str() of a {type(value).__name__} raised {type(broken).__name__}>"
