"""What the tests of background delivery share: plugins with a queue, which hang where they are told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.callbacks.helpers import MESSAGE
from thea_core import CallbackManager, hookimpl, hookspec
from thea_core.callbacks.queues import EventQueue
from thea_core.callbacks.runtime import PluginLimits

SHORT = 0.05  # seconds: the limit of what hangs
LONG = 300.0  # seconds: of what does not, however slow the machine
PATIENCE = 60.0  # seconds until a test that waits for nothing fails


@contextmanager
def closed_afterwards(**options: Any) -> Iterator[CallbackManager]:
    """Give a manager that has to come to its end, with all of its threads."""
    before = set(threading.enumerate())
    manager = CallbackManager(timeout=LONG, history_size=100_000, **options)
    yield manager
    assert manager.running_calls == [], "a call was begun and never ended"
    assert manager.close(10.0) == 0, "something was left"
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(10)
    assert [thread.name for thread in left if thread.is_alive()] == [], "a thread is left"
    assert not manager.running_deliveries, "a delivery was begun and never ended"


class Shop:
    """A plugin with a queue: it notes what it hears, and hangs in each call until it is let go."""

    delivery = "background"

    def __init__(self, *, hangs: bool = False) -> None:
        self.heard: list[Any] = []
        self.threads: list[threading.Thread] = []
        self.inside = threading.Event()
        self.go = threading.Event()
        if not hangs:
            self.go.set()

    @hookimpl
    def on_message(self, message: str) -> None:
        self.heard.append(message)
        self.threads.append(threading.current_thread())
        self.inside.set()
        assert self.go.wait(PATIENCE)


def plug(callbacks: CallbackManager, plugin: object, name: str = "shop", **limits: Any) -> EventQueue:
    """Put a plugin's callbacks into the chains, and return its queue."""
    binding = callbacks.bind_plugin(plugin, name, source=3, position=0, limits=PluginLimits(**limits))
    callbacks.publish_plugins([binding])
    assert binding.runtime.queue is not None
    return binding.runtime.queue


def hooks(**functions: Callable[..., Any]) -> object:
    """Return a plugin with a queue that has these functions as its callbacks."""
    marked = {name: staticmethod(hookimpl(each)) for name, each in functions.items()}
    return type("Plugin", (), {"delivery": "background", **marked})()


def tell(callbacks: CallbackManager, *messages: str) -> None:
    """Fire ``on_message`` for each."""
    for message in messages:
        callbacks.trigger("on_message", **{**MESSAGE, "message": message})


def totals(callbacks: CallbackManager, name: str = "on_message", plugin: str = "shop") -> dict[str, int]:
    """Return how many calls of a plugin's callback ended how."""
    found: dict[str, int] = {}
    for (_, owner, callback), each in callbacks.history.totals().items():
        if owner == plugin and callback.endswith(name):
            for outcome, count in each.outcomes.items():
                found[outcome] = found.get(outcome, 0) + count
    return found


@contextmanager
def hanging(callbacks: CallbackManager, shop: Shop) -> Iterator[None]:
    """Let the plugin hang in one call, and go on afterwards."""
    tell(callbacks, "first")
    assert shop.inside.wait(PATIENCE)
    try:
        yield
    finally:
        shop.go.set()


def orders(count: int) -> object:
    """Return specifications of events without arguments, ``on_order_0`` and so on."""

    def make() -> Callable[[object], None]:
        def spec(self: object) -> None:
            """Something was ordered."""

        return spec

    class Orders:
        pass

    for number in range(count):
        setattr(Orders, f"on_order_{number}", hookspec(make()))
    return Orders()
