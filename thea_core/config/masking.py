"""What must not be printed, and what is printed in its place. Pure functions, safe from any thread."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

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

KeyPath = tuple[str | int, ...]
"""Where a value stands: the keys, and the positions in arrays, that lead to it."""

MASK = "***"

_SECRET_KEY = re.compile(r"(token|secret|password|key|dsn|url)s?\Z", re.IGNORECASE)
_SECRET_QUERY = re.compile(r"([?&][^=&#]*(?:token|secret|password|key))=[^&#]*", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"""([\w.\-"']+)\s*=""")
_WINDOW = 5


def secret_key(key: str) -> bool:
    """Return whether a value under this name is a secret: it ends in token, secret, password, key, dsn or url."""
    return _SECRET_KEY.search(key) is not None


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


def secret_texts(value: Any, hidden: Collection[KeyPath], path: KeyPath = (), *, inside: bool = False) -> Iterator[str]:
    """Return every secret in a plugin's settings, as text: what :func:`masked` hides with ``by_name``."""
    inside = inside or path in hidden or (bool(path) and secret_key(str(path[-1])))
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in pairs:
            yield from secret_texts(each, hidden, (*path, key), inside=inside)
    elif inside:
        yield str(value)


def is_secret(path: KeyPath, hidden: Collection[KeyPath]) -> bool:
    """Return whether the value at ``path`` in a plugin's settings, or a table around it, is a secret."""
    return any(path[:size] in hidden or secret_key(str(path[size - 1])) for size in range(1, len(path) + 1))


def leaks(text: str, secrets: Collection[str]) -> bool:
    """Return whether ``text`` holds a secret or a piece of one: five characters in a row, or all of a shorter one."""
    return any(piece in text for secret in secrets for piece in _pieces(secret))


def _pieces(secret: str) -> set[str]:
    return {secret[start : start + _WINDOW] for start in range(max(1, len(secret) - _WINDOW + 1))} - {""}
