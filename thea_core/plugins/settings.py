"""A plugin's ``Settings`` model: what it takes, and whether given settings fit it. No value is ever shown.

This is for the child process that inspects a plugin, which gets settings without their configuration. Where the
application starts, the configuration checks them, and tells file and line, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from thea_core.errors import ConfigError

__all__ = ["describe", "validated"]

_SECRET = re.compile(r"(token|secret|password|key|dsn|url)$", re.IGNORECASE)
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
    unknown = [f"{where} {text}" for text in _unknown(model, given)]
    try:
        made = model.model_validate(given)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        told = [f"{where} {_problem(each)}" for each in problems if each["type"] != "extra_forbidden"]
        raise ConfigError(unknown + told) from None
    if unknown:
        raise ConfigError(unknown)
    return made


def _unknown(model: Any, given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a text for each key that ``model`` has not, also where it would allow it."""
    from difflib import get_close_matches

    known = [each["name"] for each in describe(model)]
    for key in given:
        if key not in known and key not in model.model_fields:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"valid keys: {', '.join(known) or 'none'}"
            yield f"{key}: unknown key; {hint}"


def _problem(problem: Any) -> str:
    return f"{'.'.join(map(str, problem['loc'])) or 'as a whole'}: {problem['msg']}"


def _default_text(name: str, field: Any) -> str | None:
    if field.is_required():
        return None
    if field.default_factory is not None:
        return "(made when needed)"
    if field.default not in (None, "") and _SECRET.search(name):
        return "(not shown)"
    return repr(field.default)


def _type_text(annotation: object) -> str:
    """Return an annotation as its author wrote it, without the modules."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    return _QUALIFIED.sub("", str(annotation))
