"""How the command ends: every exit status, what it means, and which error gives it. In one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from thea_core.errors import ConfigError, DefinitionError, PluginError, StoreError, TheaError

__all__ = [
    "CONFIG",
    "FAILED",
    "INTERRUPTED",
    "MEANINGS",
    "OK",
    "PLUGIN",
    "STORE",
    "TERMINATED",
    "USAGE",
    "Refusal",
    "Terminated",
    "status_of",
]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
CONFIG: Final = 3
PLUGIN: Final = 4
STORE: Final = 5
INTERRUPTED: Final = 130
TERMINATED: Final = 143

MEANINGS: Final[Mapping[int, str]] = {
    OK: "done",
    FAILED: "it could not be done, or not all of it",
    USAGE: "the command was not written as it must be",
    CONFIG: "the configuration is wrong",
    PLUGIN: "a plugin is missing, cannot be loaded, or pip failed",
    STORE: "the store cannot be opened, read or written",
    INTERRUPTED: "stopped by Ctrl-C",
    TERMINATED: "stopped by SIGTERM",
}
"""What each status means; the help of every verb shows those that it can end with."""

_KINDS: tuple[tuple[type[TheaError] | tuple[type[TheaError], ...], int], ...] = (
    ((ConfigError, DefinitionError), CONFIG),
    (PluginError, PLUGIN),
    (StoreError, STORE),
)


class Refusal(Exception):  # noqa: N818 -- it ends a verb, and is no error of the library
    """A verb cannot do what was asked, for a reason of its own: a file that is in the way, a program that is missing.

    Attributes:
        code: stands in ``error[code]``.
        status: the exit status.
    """

    def __init__(self, message: str, *, code: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


def status_of(error: TheaError) -> int:
    """Return the exit status for an error of Thea's."""
    return next((status for kinds, status in _KINDS if isinstance(error, kinds)), FAILED)
