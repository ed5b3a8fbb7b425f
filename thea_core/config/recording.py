"""What the environment says of recording events: ``THEA_RECORD`` and the variables beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from thea_core.config.operator import switch
from thea_core.config.problems import Problem, brief
from thea_core.errors import ConfigError

__all__ = [
    "DEFAULT_LIMIT",
    "KEY_VARIABLE",
    "LIMIT_VARIABLE",
    "MESSAGES_VARIABLE",
    "PATH_VARIABLE",
    "USER_IDS_VARIABLE",
    "Recording",
    "recording",
    "without_recording",
]

PATH_VARIABLE: Final = "THEA_RECORD"
MESSAGES_VARIABLE: Final = "THEA_RECORD_MESSAGES"
USER_IDS_VARIABLE: Final = "THEA_RECORD_USER_IDS"
KEY_VARIABLE: Final = "THEA_RECORD_KEY"
LIMIT_VARIABLE: Final = "THEA_RECORD_LIMIT"

DEFAULT_LIMIT: Final = 100
"""Megabytes."""

_MEGABYTE = 10**6
_LIMITS = range(1, 1_000_001)
_MOST_DIGITS = len(str(_LIMITS[-1]))
_KEY_SIZES = range(16, 65)


@dataclass(frozen=True, slots=True)
class Recording:
    """How events are recorded.

    Attributes:
        path: where to, absolute.
        messages: whether the texts of messages and errors are kept.
        user_ids: whether user ids are kept as they are.
        key: the key of the hashes that are kept in their place.
        limit: the most bytes.
    """

    path: Path
    messages: bool
    user_ids: bool
    key: bytes = field(repr=False)
    limit: int


def recording(environ: Mapping[str, str]) -> Recording | None:
    """Return how events are to be recorded; None where they are not. Without a key, a random one is made.

    Raises:
        ConfigError: a variable has a value that does not fit.
    """
    path = environ.get(PATH_VARIABLE)
    if not path:
        return None
    return Recording(
        path=Path(path).absolute(),
        messages=switch(environ, MESSAGES_VARIABLE),
        user_ids=switch(environ, USER_IDS_VARIABLE),
        key=_key(environ.get(KEY_VARIABLE)),
        limit=_limit(environ.get(LIMIT_VARIABLE)) * _MEGABYTE,
    )


def without_recording(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which nothing is recorded."""
    return {name: value for name, value in environ.items() if name != PATH_VARIABLE}


def _key(text: str | None) -> bytes:
    if not text:
        return os.urandom(32)
    key = text.encode("utf-8", "surrogatepass")
    if len(key) not in _KEY_SIZES:
        raise _problem(
            KEY_VARIABLE,
            f"{len(key)} bytes",
            f"{_KEY_SIZES[0]} to {_KEY_SIZES[-1]} bytes",
            'make one with: python -c "import secrets; print(secrets.token_hex(32))"',
        )
    return key


def _limit(text: str | None) -> int:
    if not text:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) in _LIMITS):
        raise _problem(
            LIMIT_VARIABLE,
            repr(brief(text)),
            f"a whole number of megabytes, {_LIMITS[0]} to {_LIMITS[-1]}",
            f"set {LIMIT_VARIABLE}={DEFAULT_LIMIT}, or unset it",
        )
    return int(text)


def _problem(variable: str, found: str, expected: str, todo: str) -> ConfigError:
    return ConfigError([str(Problem(variable, "does not fit", found=found, expected=expected, todo=todo))])
