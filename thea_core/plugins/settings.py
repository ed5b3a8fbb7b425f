"""A plugin's ``Settings`` model: what it takes, and whether given settings fit it. No value is ever shown.

``describe`` and ``validated`` are for the child process that inspects a plugin, which gets settings without their
configuration. Where the application starts, the configuration checks them by the same rules, and tells file and line,
too. pydantic's errors hold the input, and a plugin's validator may write it into its message: see ``message_of``.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from thea_core.errors import ConfigError
from thea_core.plugins.models import ModelWalk, walk
from thea_core.plugins.secrets import KeyPath, is_secret, leaks, secret_key, secret_texts

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["declared_secrets", "describe", "existing_path", "message_of", "place_of_failure", "validated"]

# The messages of these tell of the model, never of the input.
_HARMLESS = frozenset({
    "missing", "string_type", "string_too_short", "string_too_long", "string_pattern_mismatch", "bool_type", "int_type",
    "float_type", "list_type", "dict_type", "model_type", "greater_than", "greater_than_equal", "less_than",
    "less_than_equal", "too_short", "too_long", "literal_error", "enum",
})  # fmt: skip
_QUALIFIED = re.compile(r"\b(?:\w+\.)+(?=\w)")


def describe(model: Any) -> Iterator[dict[str, Any]]:
    """Yield each key that ``model`` takes: name, type, required, default (as text, or None) and description.

    Yields nothing where ``model`` is no pydantic model. The default of what is secret by its name is not told.
    """
    for name, field in getattr(model, "model_fields", {}).items():
        yield {
            "name": field.alias or name,
            "type": _type_text(field.annotation),
            "required": field.is_required(),
            "default": _default_text(name, field),
            "description": field.description or "",
        }


def declared_secrets(model: Any, values: Mapping[str, Any] | None) -> set[KeyPath]:
    """Return the paths of what ``model`` declares as secrets in ``values``; none where it is no pydantic model."""
    return walk(model, dict(values or {})).secrets if hasattr(model, "model_fields") else set()


def validated(model: Any, values: Mapping[str, Any] | None, *, plugin: str) -> object:
    """Return an instance of ``model`` made of ``values``; None where the plugin has no model.

    Args:
        model: the plugin's ``Settings``, or None.
        values: the table ``[plugins.NAME.settings]``; None or empty where there is none.
        plugin: the plugin's name.

    Raises:
        ConfigError: a key is unknown or missing, or a value does not fit; or there are settings, but no model.
    """
    where = f"[plugins.{plugin}.settings]"
    if model is None:
        if values:
            raise ConfigError([f"{where}: the plugin takes no settings; remove the table"])
        return None
    import pydantic

    given = dict(values or {})
    found = walk(model, given)
    unknown = [f"{where} {_unknown(path, valid)}" for path, valid in found.unknown.items()]
    try:
        made: object = model.model_validate(given)
    except pydantic.ValidationError as error:
        problems = [each for each in error.errors(include_url=False) if each["type"] != "extra_forbidden"]
        raise ConfigError(unknown + [f"{where} {_problem(each, given, found)}" for each in problems]) from None
    except Exception as error:  # a validator is a plugin's code, and may raise anything
        raised = f"a validator raised {type(error).__name__} at {place_of_failure(error)}"
        raise ConfigError([*unknown, f"{where} cannot be checked: {raised}; tell the plugin's author"]) from None
    if unknown:
        raise ConfigError(unknown)
    return made


def existing_path(data: Any, location: tuple[int | str, ...]) -> KeyPath:
    """Return as much of pydantic's location as is in the data: it names branches of unions and validators too."""
    value: Any = data
    path: KeyPath = ()
    for each in location:
        if not _holds(value, each):
            break
        value, path = value[each], (*path, each)
    return path


def _holds(value: Any, key: int | str) -> bool:
    return key in value if isinstance(value, dict) else isinstance(value, list) and key in range(len(value))


def message_of(error: ErrorDetails, path: KeyPath, hidden: Collection[KeyPath], secrets: Collection[str]) -> str:
    """Return what pydantic or a validator says of a value; empty where that may give away a secret.

    Args:
        error: one of pydantic's errors.
        path: where the value stands in the settings.
        hidden: the paths of secrets.
        secrets: what stands there.
    """
    text = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    text = text.removeprefix("Input should be ")
    silent = is_secret(path, hidden) and error["type"] not in _HARMLESS
    return "" if silent or leaks(text, secrets) else text


def place_of_failure(error: Exception) -> str:
    """Return file and line where a validator raised what it should not."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


def _unknown(path: KeyPath, valid: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(path[-1]), valid, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"valid keys: {', '.join(valid) or 'none'}"
    return f"{_key_text(path)}: unknown key; {hint}"


def _problem(error: ErrorDetails, given: dict[str, Any], found: ModelWalk) -> str:
    path = existing_path(given, error["loc"])
    message = message_of(error, path, found.secrets, set(secret_texts(given, found.secrets)))
    return f"{_key_text(error['loc']) or 'as a whole'}: {message or 'does not fit; see its documentation'}"


def _key_text(path: KeyPath) -> str:
    return ".".join(map(str, path))


def _default_text(name: str, field: Any) -> str | None:
    if field.is_required():
        return None
    if field.default_factory is not None:
        return "(made when needed)"
    if field.default not in (None, "") and secret_key(name):
        return "(not shown)"
    return repr(field.default)


def _type_text(annotation: object) -> str:
    """Return an annotation as its author wrote it, without the modules."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    return _QUALIFIED.sub("", str(annotation))
