"""The assistants whose turns are measured: put together as an application does it, with real messages to handle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from benchmarks.measure import Contender, over
from benchmarks.peers import peer
from thea_core import Thea

__all__ = ["AGENDA", "BOTH", "LOGGING", "assistant", "in_memory", "installed", "on_disk"]

LOGGING, AGENDA = "logging", "agenda"
BOTH = (LOGGING, AGENDA)


def installed(plugins: Sequence[str]) -> bool:
    """Whether the distributions of these first-party plugins are there."""
    return all(peer(f"thea_{each}") for each in plugins)


@contextmanager
def assistant(
    store: str, plugins: Sequence[str], folder: Path, *, objects: Sequence[object] = (), worker: bool = True
) -> Iterator[Thea]:
    """Run an application with these plugins, whose files are in ``folder``.

    ``objects`` are plugins too; without ``worker`` nobody sweeps or delivers.

    The log is wanted, so that each event becomes a record; there is nowhere to write it but the plugin's own
    ``NullHandler``.
    """
    settings = {LOGGING: {"level": "INFO"}, AGENDA: {"path": str(folder / f"{'-'.join(plugins)}.db")}}
    tables = {each: {"settings": settings[each]} for each in plugins}
    config = {"store": {"url": store}, "plugins": {"enabled": list(plugins), **tables}}
    with Thea(config, plugins=objects, worker=worker) as thea:
        yield thea


def in_memory(name: str, thea: Thea, texts: Sequence[str]) -> Contender:
    """Return a contender of which one go handles every text once, each from a user of its own.

    So it is the same messages in the same conversations, whichever batch is the fastest.
    """
    messages = [(f"user-{number}", text) for number, text in enumerate(texts)]

    handle = thea.handle_request
    return over(name, messages, lambda each: handle(*each))


def on_disk(thea: Thea) -> Callable[[str, str], object]:
    """Return what handles one message of one user, with an id of its own."""
    numbers = count()
    return lambda user, text: thea.handle_request(user, text, f"message-{next(numbers)}")
