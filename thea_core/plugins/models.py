"""What a plugin's pydantic model knows of some settings: the keys that it has not, and the fields that are secrets."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from thea_core.plugins.secrets import KeyPath

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["ModelWalk", "walk"]


@dataclass(slots=True)
class ModelWalk:
    """What was found in some settings.

    Attributes:
        unknown: the paths of keys that the model has not, with the keys that it has there.
        secrets: the paths of values that the model declares as secrets.
    """

    unknown: dict[KeyPath, list[str]] = field(default_factory=dict)
    secrets: set[KeyPath] = field(default_factory=set)


def walk(model: type[BaseModel], data: dict[str, Any]) -> ModelWalk:
    """Compare settings with a model, nested models included. Nothing is validated, and no code of the model runs."""
    found = ModelWalk()
    _value(model, data, (), found)
    return found


def _value(annotation: Any, value: Any, path: KeyPath, found: ModelWalk) -> None:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        _value(arguments[0], value, path, found)
    elif origin is Union or origin is types.UnionType:
        _union(arguments, value, path, found)
    elif _is_secret(origin or annotation):
        found.secrets.add(path)
    elif isinstance(value, dict):
        _table(annotation, origin, value, path, found)
    elif isinstance(value, list) and arguments:
        for index, each in enumerate(value):
            _value(arguments[0], each, (*path, index), found)


def _union(members: tuple[Any, ...], value: Any, path: KeyPath, found: ModelWalk) -> None:
    """Look at each member: a key is unknown to a union if it is unknown to every member that could take the value."""
    walks = []
    for each in members:
        one = ModelWalk()
        _value(each, value, path, one)
        found.secrets |= one.secrets
        if _takes(each, value):
            walks.append(one)
    for unknown in walks[0].unknown if walks else ():
        if all(unknown in one.unknown for one in walks):
            found.unknown[unknown] = sorted({key for one in walks for key in one.unknown[unknown]})


def _takes(annotation: Any, value: Any) -> bool:
    """Return whether a member of a union could take ``value``; True where that is not plain to see."""
    origin = get_origin(annotation) or annotation
    if origin is Annotated:
        return _takes(get_args(annotation)[0], value)
    if origin is Union or origin is types.UnionType:
        return any(_takes(each, value) for each in get_args(annotation))
    if not isinstance(value, dict) or not isinstance(origin, type) or origin in (Any, object):
        return True
    return issubclass(origin, Mapping) or hasattr(origin, "model_fields") or hasattr(origin, "__dataclass_fields__")


def _table(annotation: Any, origin: Any, value: dict[str, Any], path: KeyPath, found: ModelWalk) -> None:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = _fields(annotation)
        for key, each in value.items():
            if key in fields:
                _value(fields[key], each, (*path, key), found)
            else:
                found.unknown[*path, key] = sorted(fields)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        for key, each in value.items():
            _value(get_args(annotation)[1], each, (*path, key), found)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return the annotation of each key that the model takes: the fields' names, or their aliases."""
    by_name = bool(model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"))
    keys: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        aliases = _aliases(info.validation_alias or info.alias)
        for key in [*aliases, *([name] if by_name or not aliases else [])]:
            keys[key] = info.annotation
    return keys


def _aliases(alias: Any) -> list[str]:
    from pydantic import AliasChoices, AliasPath

    if isinstance(alias, AliasChoices):
        return [each for choice in alias.choices for each in _aliases(choice)]
    if isinstance(alias, AliasPath):
        return [str(alias.path[0])]
    return [] if alias is None else [str(alias)]


def _is_secret(annotation: Any) -> bool:
    from pydantic import Secret, SecretBytes, SecretStr

    return isinstance(annotation, type) and issubclass(annotation, (SecretStr, SecretBytes, Secret))
