"""Which plugins were in trouble while messages were handled: a line for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thea_core.app import Thea
    from thea_core.plugins.entries import PluginInfo

__all__ = ["troubles"]

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


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _reason(info: PluginInfo) -> str:
    """Return on one line why it is left out, or how it ended."""
    text = " ".join(info.reason.split()).replace(f"plugin {info.name!r}: ", "")  # the line begins with the name
    return f"left out: {text}" if info.state == "failed" else text
