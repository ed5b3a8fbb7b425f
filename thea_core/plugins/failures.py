"""What is told of a plugin that failed: one message, without secrets, and whether the application may go on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from thea_core.errors import GuardRequiredError, PluginError, error_text, format_traceback

if TYPE_CHECKING:
    from thea_core.plugins.entries import Entry

__all__ = ["Failures", "log"]

logger = logging.getLogger("thea_core.plugins")

_PERMISSION = "--without-guards, THEA_WITHOUT_GUARDS=1 or without_guards=True"


class Failures:
    """Tells what went wrong. Thread-safe.

    Args:
        redact: takes the secrets of a plugin out of a text; gets the plugin's name and the text.
        without_guards: whether the application may run without its guards.
    """

    def __init__(self, redact: Callable[[str, str], str], *, without_guards: bool) -> None:
        self._redact = redact
        self.without_guards = without_guards

    def note(self, entry: Entry, error: PluginError) -> PluginError:
        """Note that a plugin has failed, and return what to tell: without secrets, and with its cause if that has none.

        The whole traceback goes to the log at DEBUG.
        """
        told = _like(error, self._redact(entry.name, error_text(error)))
        trace = format_traceback(error)
        shown = self._redact(entry.name, trace)
        log(logging.DEBUG, "why the plugin %r failed:\n%s", entry.name, shown)
        told.__cause__ = (error.__cause__ or error.__context__) if shown == trace else None
        entry.state, entry.reason = "failed", str(told)
        entry.plugin = entry.binding = None
        return told

    def leave_out(self, entry: Entry, told: PluginError) -> None:
        """Log that the application starts without a plugin.

        Raises:
            GuardRequiredError: it is a guard, and nothing allows to do without.
            PluginError: it is required: the same error, which says so.
        """
        if entry.options.guard and not self.without_guards:
            raise self.guard_missing(entry, told) from told.__cause__
        if entry.options.required and not entry.options.guard:
            remedy = f"mend it, or take required = true out of [plugins.{entry.name}]"
            text = f"{told}\nThe plugin is required, so the application does not start; {remedy}"
            raise _like(told, text) from told.__cause__
        log(logging.ERROR, "a plugin is left out: %s", told)

    def note_end(self, entry: Entry, text: str, level: int = logging.WARNING) -> None:
        """Note and log what went wrong when a plugin was shut down."""
        told = self._redact(entry.name, text)
        entry.reason = f"{entry.reason}; {told}" if entry.reason else told
        log(level, "%s", told)

    @staticmethod
    def guard_missing(entry: Entry, reason: object) -> GuardRequiredError:
        """Return the error for an application that would start without one of its guards."""
        return GuardRequiredError(
            f"the plugin {entry.name!r} is a guard, and the application does not start without it: {reason}\n"
            f"To start without it all the same: {_PERMISSION}",
            plugin=entry.name,
        )

    @staticmethod
    def guard_stays(entry: Entry) -> GuardRequiredError:
        """Return the error for switching off a guard."""
        return GuardRequiredError(
            f'the plugin {entry.name!r} is a guard (on_failure = "veto") and stays on. '
            f"To disable it all the same: {_PERMISSION}",
            plugin=entry.name,
        )


def log(level: int, text: str, *arguments: object) -> None:
    """Write to the log of plugins; what the host's handlers or filters raise stops nothing."""
    with suppress(Exception):  # there is nowhere to tell it
        logger.log(level, text, *arguments)


def _like(error: PluginError, text: str) -> PluginError:
    """Return an error of the same kind with another text."""
    return type(error)(text, plugin=error.plugin)
