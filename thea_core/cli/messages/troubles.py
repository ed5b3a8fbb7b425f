"""Which plugins were in trouble while messages were handled: a line for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from thea_core.cli.output import plain

if TYPE_CHECKING:
    from thea_core.app import Thea
    from thea_core.plugins.entries import PluginInfo

__all__ = ["troubles", "troubles_told"]

_WORDS = {
    "failure": ("failure", "failures"),
    "timeout": ("timeout", "timeouts"),
    "dropped": ("call dropped", "calls dropped"),
    "skipped": ("call skipped", "calls skipped"),
}


def troubles(thea: Thea) -> Iterator[str]:
    """Give a line for each plugin that failed, hung, lost calls or is left out, in the order of the configuration.

    Without a history (``history_size = 0``) nothing but failures is counted, those that hung among them.
    """
    outcomes: dict[str, Counter[str]] = {}
    for (_, plugin, _), totals in thea.callbacks.history.totals().items():
        outcomes.setdefault(plugin, Counter()).update(totals.outcomes)
    for info in thea.plugins:
        counts = outcomes.get(info.name, Counter())
        counts["failure"] = thea.callbacks.failures.of_plugin(info.name) - counts["timeout"]
        told = [_counted(counts[outcome], *words) for outcome, words in _WORDS.items() if counts[outcome] > 0]
        if info.reason and info.state in {"failed", "stopped"}:
            told.append(_reason(info))
        if told:
            yield f"{info.name}: {', '.join(told)}"


@contextmanager
def troubles_told() -> Iterator[list[Thea]]:
    """Tell at the end, once the application is closed, which plugins were in trouble; it is put on the list given."""
    started: list[Thea] = []
    try:
        yield started
    finally:
        lines = [line for thea in started for line in troubles(thea)]
        if lines:
            click.echo("\n".join(["Plugins in trouble:", *(f"  {plain(line)}" for line in lines)]), err=True)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _reason(info: PluginInfo) -> str:
    """Return on one line why it is left out, or how it ended."""
    text = " ".join(info.reason.split()).replace(f"plugin {info.name!r}: ", "")  # the line begins with the name
    return f"left out: {text}" if info.state == "failed" else text
