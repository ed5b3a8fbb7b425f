"""What the tests of durable delivery share: an outbox that fails where it is told to, and plugins that get from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.callbacks.helpers import MESSAGE
from tests.support import FakeClock
from thea_core import CallbackManager, hookimpl
from thea_core.callbacks.couriers import Courier
from thea_core.callbacks.runtime import PluginLimits
from thea_core.storage.memory import MemoryStore
from thea_core.types import ClaimedEvents, Outbox, OutgoingEvent, StoredEvent


class TestOutbox:
    """The memory store's outbox; each of its methods raises what is put under its name into ``errors``.

    Attributes:
        claims: how often anything was claimed.
    """

    __test__ = False

    def __init__(self, clock: FakeClock) -> None:
        outbox = MemoryStore(clock=clock).outbox
        assert outbox is not None
        self.real: Outbox = outbox
        self.errors: dict[str, BaseException] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.claims = 0

    def _ask(self, name: str) -> None:
        if name in self.before:
            self.before[name]()
        if name in self.errors:
            raise self.errors[name]

    def append(self, user_id: str, events: Sequence[OutgoingEvent]) -> None:
        self._ask("append")
        self.real.append(user_id, events)

    def claim(self, plugin: str, *, duration: float, limit: int) -> Sequence[ClaimedEvents]:
        self.claims += 1
        self._ask("claim")
        return self.real.claim(plugin, duration=duration, limit=limit)

    def settle(self, claimed: ClaimedEvents, **what: Any) -> bool:
        self._ask("settle")
        return self.real.settle(claimed, **what)

    def list(self, **which: Any) -> Sequence[StoredEvent]:
        return self.real.list(**which)

    def retry(self, numbers: Sequence[int]) -> int:
        return self.real.retry(numbers)

    def drop(self, numbers: Sequence[int]) -> int:
        return self.real.drop(numbers)

    @property
    def waiting(self) -> Sequence[tuple[str, int]]:
        """The ids of the events that are not parked, and how often each was tried."""
        return [(each.event_id, each.attempts) for each in self.list(parked=False)]

    @property
    def parked(self) -> Sequence[tuple[str, str | None]]:
        """The ids of those that are, and why."""
        return [(each.event_id, each.error) for each in self.list(parked=True)]


class Shop:
    """A plugin with durable delivery: it notes what it hears, and fails as often as ``errors`` holds something."""

    delivery = "durable"

    def __init__(self, *errors: BaseException) -> None:
        self.heard: list[Any] = []
        self.errors = list(errors)

    @hookimpl
    def on_message(self, message: str) -> None:
        self.heard.append(message)
        if self.errors:
            raise self.errors.pop(0)


def plug(callbacks: CallbackManager, plugin: object, name: str = "shop", **limits: Any) -> Courier:
    """Put a plugin's callbacks into the chains, and return its courier."""
    limits = {"delivery": "durable", **limits}
    binding = callbacks.bind_plugin(plugin, name, source=3, position=0, limits=PluginLimits(**limits))
    callbacks.publish_plugins([binding])
    assert binding.runtime.courier is not None
    return binding.runtime.courier


def hooks(**functions: Callable[..., Any]) -> object:
    """Return a plugin that has these functions as its callbacks."""
    return type("Plugin", (), {name: staticmethod(hookimpl(each)) for name, each in functions.items()})()


def tell(callbacks: CallbackManager, *messages: str, user: str = "ana") -> None:
    """Fire ``on_message`` for each; the message is the id of the event, too."""
    for message in messages:
        callbacks.trigger("on_message", **{**MESSAGE, "user_id": user, "message": message, "event_id": message})


def deliver(courier: Courier) -> None:
    """Let the courier deliver all that is due, in this thread."""
    while courier.run_once():
        pass
