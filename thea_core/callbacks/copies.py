"""Copies for those who may change what they are given: what one callback does to them, no other sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from thea_core.errors import RecordedError
from thea_core.types import HookResult, IntentMatch

__all__ = ["own", "own_results", "written"]


def own(value: Any) -> Any:
    """Return a copy of ``value``: its dicts and lists at every depth, and intents in them; all else is the same object.

    Runs no code of a plugin. What is nested too deep to be copied is returned as it is.
    """
    try:
        return _copied(value, {}, _itself)
    except RecursionError:
        return value


def written(value: Any) -> Any:
    """Return the same, as it may cross a queue: exceptions, which hold what is alive, are written down."""
    try:
        return _copied(value, {}, _recorded)
    except RecursionError:
        return value


def own_results(results: Any) -> Any:
    """Return the results of a result hook, a list or one of them or None, as a wrapper gets them."""
    if type(results) is list:
        return [_own_result(each) for each in results]
    return None if results is None else _own_result(results)


def _own_result(result: HookResult) -> HookResult:
    return HookResult(result.plugin, result.callback, own(result.value))


def _itself(value: Any) -> Any:
    return value


def _recorded(value: Any) -> Any:
    if not issubclass(type(value), BaseException):
        return value
    if type(value) is RecordedError:  # without the frames through which it came
        return RecordedError(value.type_name, value.message, value.traceback)
    try:
        return RecordedError.of(value)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # a class of somebody's, whose attributes may do anything
        name = vars(type)["__name__"].__get__(type(broken))
        return RecordedError("?", f"<writing the exception down raised {name}>")


def _copied(value: Any, made: dict[int, Any], leaf: Callable[[Any], Any]) -> Any:
    """Copy one value.

    Args:
        value: what to copy.
        made: what has been copied already, by the identity of the original.
        leaf: makes of what is neither a dict nor a list what stands in its place.
    """
    kind = type(value)
    if kind is IntentMatch:
        return replace(value, slots=_copied(value.slots, made, leaf), synonyms=_copied(value.synonyms, made, leaf))
    if id(value) in made:
        return made[id(value)]
    if kind is dict:
        table: dict[Any, Any] = {}
        made[id(value)] = table
        items = [*value.items()]  # at once: another thread may change it meanwhile
        table.update((key, _copied(each, made, leaf)) for key, each in items)
        return table
    if kind is list:
        row: list[Any] = []
        made[id(value)] = row
        row.extend([_copied(each, made, leaf) for each in value])
        return row
    return leaf(value)
