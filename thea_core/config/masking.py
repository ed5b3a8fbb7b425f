"""What must not be printed, and what is printed in its place. Pure functions, safe from any thread."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from thea_core.plugins.secrets import MASK, KeyPath, is_secret, leaks, secret_key, secret_texts

__all__ = [
    "MASK",
    "KeyPath",
    "is_secret",
    "leaks",
    "mask_line",
    "mask_url",
    "masked",
    "secret_key",
    "secret_texts",
]

_SECRET_QUERY = re.compile(r"([?&][^=&#]*(?:token|secret|password|key))=[^&#]*", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"""([\w.\-"']+)\s*=""")


def mask_url(url: str) -> str:
    """Return a store's URL without the user and password that it may carry."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return MASK if "@" in url or "=" in url else url
    if scheme.lower() != "sqlite" and "@" in rest:
        rest = f"{MASK}@{rest.rpartition('@')[2]}"  # the last one: a password may hold an @ that nobody escaped
    return _SECRET_QUERY.sub(rf"\1={MASK}", f"{scheme}://{rest}")


def mask_line(line: str) -> str:
    """Return a line of a broken TOML file, cut before the first value that may be a secret."""
    for match in _ASSIGNMENT.finditer(line):
        if secret_key(match[1].strip("\"'")):
            return f"{line[: match.end()]} {MASK}"
    return line if "@" not in line else MASK


def masked(value: Any, hidden: Collection[KeyPath], path: KeyPath = (), *, by_name: bool = False) -> Any:
    """Return a copy of ``value`` with ``***`` for each secret in it.

    Args:
        value: a table, an array or a single value.
        hidden: the paths of secrets, counted from where ``path`` is counted.
        path: where ``value`` stands.
        by_name: whether keys that sound like secrets hide what is under them.
    """
    if path in hidden or (by_name and path and secret_key(str(path[-1]))):
        return MASK
    if isinstance(value, dict):
        return {key: masked(each, hidden, (*path, key), by_name=by_name) for key, each in value.items()}
    if isinstance(value, list):
        return [masked(each, hidden, (*path, index), by_name=by_name) for index, each in enumerate(value)]
    return value
