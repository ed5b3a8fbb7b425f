"""What the tests of callbacks share: one message, and short ways to fire it and to bring plugins in."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from thea_core import CallbackManager

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MESSAGE: dict[str, Any] = {"user_id": "ana", "message": "hola", "timestamp": NOW}


def say(callbacks: CallbackManager, **more: Any) -> None:
    """Fire ``on_message``."""
    callbacks.trigger("on_message", **MESSAGE, **more)


async def asay(callbacks: CallbackManager, **more: Any) -> None:
    """Fire ``on_message`` from async code."""
    await callbacks.atrigger("on_message", **MESSAGE, **more)


def plug(
    callbacks: CallbackManager,
    plugin: object,
    name: str = "shop",
    *,
    source: int = 1,
    position: int = 0,
    priority: int | None = None,
) -> None:
    """Put a plugin's callbacks into the chains."""
    binding = callbacks.bind_plugin(
        plugin, name, distribution=f"thea-{name}", source=source, position=position, priority=priority
    )
    callbacks.publish_plugins([binding])


def outcomes(callbacks: CallbackManager) -> list[tuple[str, str]]:
    """Return callback and outcome of each call in the history."""
    return [(each.callback.rpartition(".")[2], each.outcome) for each in callbacks.history]


@contextmanager
def ctrl_c(when: threading.Event) -> Iterator[None]:
    """Press Ctrl-C once ``when`` is set, until the main thread notices: it may be about to wait just then."""
    begun, noticed = threading.Event(), threading.Event()

    def handle(*_: object) -> None:
        if not noticed.is_set():
            noticed.set()
            raise KeyboardInterrupt

    def press() -> None:
        begun.wait(60)
        when.wait(60)
        while not noticed.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            noticed.wait(0.01)

    before = signal.signal(signal.SIGINT, handle)
    thread = threading.Thread(target=press)
    try:  # from here on: it may be pressed at once
        thread.start()
        begun.set()
        yield
    finally:
        noticed.set()
        thread.join(10)
        signal.signal(signal.SIGINT, before)
