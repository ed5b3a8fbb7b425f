"""The shape of a context: plain JSON values, copied at every depth and checked on the way."""

from __future__ import annotations

from math import isfinite
from typing import Any

from thea_core.errors import ContextError
from thea_core.types import Context

__all__ = ["MAX_DEPTH", "copy_context", "is_flat"]

MAX_DEPTH = 100
"""How deep values may be nested in a context."""

_LARGEST = 10**4300 - 1  # Python turns longer integers neither into text nor back
_LOW, _HIGH = -(2**62), 2**62
_NONE = type(None)
_SHAPE = "a context holds only dict with str keys, list, str, int, finite float, bool and None"


def copy_context(context: Context) -> Context:
    """Return a copy of ``context`` at every depth; keys and values of subclasses become plain ones.

    Raises:
        ContextError: it is not JSON-shaped, or lacks ``user_id`` or ``state`` (both ``str``); names the place.
    """
    if not issubclass(type(context), dict):  # not isinstance: an object may lie about its class
        raise ContextError(f"a context must be a dict, not {type(context).__name__}")
    copy = context.copy() if type(context) is dict else dict(dict.items(context))
    if not is_flat(copy):
        copy = _copy_deeply(copy)
    if type(copy.get("user_id")) is not str or type(copy.get("state")) is not str:
        raise _incomplete(copy)
    return copy


def is_flat(context: Context) -> bool:
    """Whether all values are plain scalars that need no copying; most contexts are, and this is quick."""
    for key, value in context.items():
        if type(key) is not str:
            return False
        kind = type(value)
        if kind is str:
            continue
        if kind is int:
            if not _LOW < value < _HIGH:
                return False
        elif kind is float:
            if value - value != 0.0:  # not finite
                return False
        elif kind is not bool and kind is not _NONE:
            return False
    return True


def _copy_deeply(context: Context) -> Context:
    try:
        return _copy_dict(context, MAX_DEPTH)
    except _Unfit as unfit:
        path = "context" + "".join(f"[{key!r}]" for key in reversed(unfit.path))
        raise ContextError(f"{path} {unfit.problem}; {_SHAPE}", path=path) from None
    except RecursionError:
        raise
    except RuntimeError as error:  # dictionary changed size during iteration
        raise ContextError(f"the context was changed while it was read: {error}") from error


def _incomplete(context: Context) -> ContextError:
    from reprlib import repr as short

    key = "state" if type(context.get("user_id")) is str else "user_id"
    found = f"is {short(context[key])}" if key in context else "is missing"
    return ContextError(f"context[{key!r}] {found}; it must be a str", path=f"context[{key!r}]")


class _Unfit(Exception):  # noqa: N818 -- carries a place up the recursion, never leaves this module
    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[Any] = []


def _copy_dict(source: dict[Any, Any], depth: int) -> dict[str, Any]:
    if depth < 1:
        raise _Unfit(f"is more than {MAX_DEPTH} deep, or contains itself")
    copy: dict[str, Any] = {}
    for key, value in source.items():
        name = key if type(key) is str else _plain_key(key)
        kind = type(value)
        if kind is str or kind is bool or kind is _NONE:
            copy[name] = value
        else:
            try:
                copy[name] = _copy_value(value, kind, depth - 1)
            except _Unfit as unfit:
                unfit.path.append(name)
                raise
    return copy


def _plain_key(key: Any) -> str:
    """Return a key that is of a subclass of str as a plain one. Others are not shown: their repr may do anything."""
    if issubclass(type(key), str):
        return str.__str__(key)
    raise _Unfit(f"has a key that is {type(key).__name__}, not str")


def _copy_list(source: list[Any], depth: int) -> list[Any]:
    if depth < 1:
        raise _Unfit(f"is more than {MAX_DEPTH} deep, or contains itself")
    copy: list[Any] = []
    for value in source:
        kind = type(value)
        if kind is str or kind is bool or kind is _NONE:
            copy.append(value)
        else:
            try:
                copy.append(_copy_value(value, kind, depth - 1))
            except _Unfit as unfit:
                unfit.path.append(len(copy))
                raise
    return copy


def _copy_value(value: Any, kind: type, depth: int) -> Any:
    if kind is int:
        if -_LARGEST <= value <= _LARGEST:
            return value
        raise _Unfit("is an integer of more than 4300 digits")
    if kind is float:
        if isfinite(value):
            return value
        raise _Unfit(f"is {value}, which is not finite")
    if kind is dict:
        return _copy_dict(value, depth)
    if kind is list:
        return _copy_list(value, depth)
    return _copy_subclass(value, kind, depth)


def _copy_subclass(value: Any, kind: type, depth: int) -> Any:
    """Take the plain value out of a subclass (a StrEnum, an OrderedDict), by the base class's own methods."""
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int):
        return _copy_value(int.__int__(value), int, depth)
    if issubclass(kind, float):
        return _copy_value(float.__float__(value), float, depth)
    if issubclass(kind, dict):
        return _copy_dict(dict(dict.items(value)), depth)
    if issubclass(kind, list):
        return _copy_list(list.__getitem__(value, slice(None)), depth)
    raise _Unfit(f"is {kind.__name__}")
