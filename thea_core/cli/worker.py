"""``thea worker``."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from thea_core.cli import exits
from thea_core.cli.application import application, warnings_to
from thea_core.cli.ending import Ending, wait_for_signal
from thea_core.cli.groups import verb
from thea_core.cli.messages.log import log_option, log_to
from thea_core.cli.messages.troubles import troubles_told
from thea_core.cli.options import Options
from thea_core.cli.output import say
from thea_core.cli.stores import refuse_memory

if TYPE_CHECKING:
    from thea_core.app import Thea

__all__ = ["command"]


@verb(
    "worker",
    statuses=(exits.CONFIG, exits.PLUGIN, exits.STORE),
    ok="SIGTERM or Ctrl-C has come, and everything is closed",
    interrupted="a second signal has come, Ctrl-C",
    terminated="a second signal has come, SIGTERM",
)
@log_option
@click.pass_obj
def command(options: Options, log: Path | None) -> None:
    """End expired sessions and deliver durable events, until a signal comes.

    It starts the application of the configuration and handles no message. So another process may serve alone, with
    Thea(..., worker=False), or with several workers each session is still ended once, and each event delivered by one
    of them.

    When it is ready it says so in a line on standard output. SIGTERM or Ctrl-C ends it within 5 seconds; what was not
    delivered then stays in the store. A second signal, not at once, does not wait.
    """
    work = _Work()
    with (
        Ending(),
        log_to(log),
        warnings_to(lambda text: click.echo(text, err=True)),
        troubles_told() as told,
    ):
        refuse_memory(options)
        with application(options, prepare=work.count) as thea:
            told.append(thea)
            work.begin(thea)
            wait_for_signal()
    say(f"worker: {work}")


class _Work:
    """What the worker has to do, and what it has done."""

    def __init__(self) -> None:
        self._thea: Thea | None = None
        self._durable: list[str] = []
        self._lock = threading.Lock()
        self._ended = 0

    def count(self, thea: Thea) -> None:
        """Count the sessions that this application will end."""
        thea.callbacks.register("on_session_timeout", self._note)

    def begin(self, thea: Thea) -> None:
        """Say that the application is ready, and what it does."""
        from thea_core.config.kinds import duration_text

        self._thea = thea
        self._durable = thea.callbacks.durable_plugins
        every = duration_text(thea.config.sessions.sweep_interval)
        tells = f"delivers events to {', '.join(self._durable)}" if self._durable else "no plugin has durable delivery"
        say(f"worker: ready; looks for expired sessions every {every}; {tells}")

    def __str__(self) -> str:
        if self._thea is None:
            return "stopped before it was ready"
        parts = ["stopped", f"sessions ended: {self._ended:,}"]
        if self._durable and self._thea.config.callbacks.history_size:  # else no call is counted
            outcomes = self._deliveries(self._thea)
            parts.append(f"events delivered: {outcomes['ok']:,}")
            if failed := outcomes["error"] + outcomes["timeout"]:
                parts.append(f"deliveries that failed: {failed:,}")
        return "; ".join(parts)

    def _note(self) -> None:
        with self._lock:
            self._ended += 1

    def _deliveries(self, thea: Thea) -> Counter[str]:
        """Return how the calls of plugins with durable delivery have ended."""
        found: Counter[str] = Counter()
        for (hook, plugin, _), totals in thea.callbacks.history.totals().items():
            if plugin in self._durable and hook != "on_flush":
                found.update(totals.outcomes)
        return found
