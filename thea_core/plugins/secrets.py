"""Which of a plugin's settings are secrets, and whether a text gives one away. Pure functions, safe from any thread."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

__all__ = ["MASK", "KeyPath", "is_secret", "leaks", "secret_key", "secret_texts"]

KeyPath = tuple[str | int, ...]
"""Where a value stands: the keys, and the positions in arrays, that lead to it."""

MASK = "***"

_SECRET_KEY = re.compile(r"(token|secret|password|key|dsn|url)s?\Z", re.IGNORECASE)
_WINDOW = 5


def secret_key(key: str) -> bool:
    """Return whether a value under this name is a secret: it ends in token, secret, password, key, dsn or url."""
    return _SECRET_KEY.search(key) is not None


def secret_texts(value: Any, hidden: Collection[KeyPath], path: KeyPath = (), *, inside: bool = False) -> Iterator[str]:
    """Return every secret in a plugin's settings, as text: what stands at a path in ``hidden``, or sounds like one."""
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
