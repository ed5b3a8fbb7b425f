"""What one plugin needs while it runs: threads, a queue, breakers, and what was said of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from thea_core.callbacks.breaker import Breaker
from thea_core.callbacks.couriers import DEFAULT_ATTEMPTS
from thea_core.callbacks.hooks import Kind
from thea_core.callbacks.limits import Ways
from thea_core.callbacks.queues import DEFAULT_SIZE, EventQueue
from thea_core.errors import RegistrationError

if TYPE_CHECKING:
    from thea_core.callbacks.binding import Callback, Origin
    from thea_core.callbacks.couriers import Courier
    from thea_core.callbacks.loops import LoopPool
    from thea_core.callbacks.runners import Bookkeeping
    from thea_core.callbacks.watching import Watch
    from thea_core.types import Clock

__all__ = ["BACKGROUND", "DURABLE", "INLINE", "PluginLimits", "Runtime", "declared"]

_ENDING = 1.0  # seconds

INLINE: Final = "inline"
BACKGROUND: Final = "background"
DURABLE: Final = "durable"
_DELIVERIES = (INLINE, BACKGROUND, DURABLE)


class PluginLimits(NamedTuple):
    """What the operator says of how a plugin is called.

    Attributes:
        timeout: seconds for each of its callbacks, in place of what its author wrote; ``math.inf`` for no limit, None
            where the operator says nothing.
        delivery: ``"inline"``, ``"background"`` or ``"durable"``; None for the plugin's own default.
        queue_size: how many calls wait on its queue at most.
        flush_interval: seconds between two calls of its ``on_flush``, at most.
        max_attempts: after how many failed deliveries an event out of the store is set aside.
    """

    timeout: float | None = None
    delivery: str | None = None
    queue_size: int = DEFAULT_SIZE
    flush_interval: float = 5.0
    max_attempts: int = DEFAULT_ATTEMPTS


class Runtime:
    """The threads, queue or courier, and breakers of one plugin. Thread-safe.

    Args:
        name: the plugin's name.
        one: whether its synchronous callbacks all run on one thread.
        limits: what the operator says; its events go to a queue where the delivery is ``"background"``, and come out of
            the store where it is ``"durable"``.
        loops: the event loops, of all plugins.
        watch: looks after what is left behind.
        clock: where time comes from.
        books: what is done around each delivery from the queue.
        new_breaker: makes the breaker of one of its hooks.
        tell: has the changes of breakers told, where no chain will do it.
        new_courier: makes what brings the events out of the store.
    """

    def __init__(
        self,
        name: str,
        *,
        one: bool,
        limits: PluginLimits,
        loops: LoopPool,
        watch: Watch,
        clock: Clock,
        books: Bookkeeping,
        new_breaker: Callable[[str], Breaker],
        tell: Callable[[], None],
        new_courier: Callable[[Ways, PluginLimits], Courier],
    ) -> None:
        self.ways = Ways(name, one=one, loops=loops, watch=watch, crowded=self.trip, relieved=self.relieve)
        self.queue: EventQueue | None = None
        if limits.delivery == BACKGROUND:
            size, interval = limits.queue_size, limits.flush_interval
            self.queue = EventQueue(self.ways, size=size, flush_interval=interval, clock=clock, books=books)
        self.courier = new_courier(self.ways, limits) if limits.delivery == DURABLE else None
        self._new_breaker = new_breaker
        self._tell = tell
        self._breakers: dict[str, Breaker] = {}

    @property
    def breakers(self) -> list[Breaker]:
        """The breakers, one for each hook that it implements and that is called again and again."""
        return list(self._breakers.values())

    def breaker(self, hook: str) -> Breaker:
        """Return the breaker of a hook."""
        if hook not in self._breakers:
            self._breakers[hook] = self._new_breaker(hook)
        return self._breakers[hook]

    def equip(self, callback: Callback) -> Callback:
        """Return the callback with what it needs of this.

        Of life-cycle hooks only what the queue or the courier calls has a breaker: nobody would ever ask the others.
        """
        hook = callback.hook
        flushed = hook.name == "on_flush" and (self.queue is not None or self.courier is not None)
        breaker = self.breaker(hook.name) if hook.kind is not Kind.LIFECYCLE or flushed else None
        durable = self.courier is not None and hook.kind is Kind.EVENT
        return callback._replace(breaker=breaker, ways=self.ways, queue=self.queue, durable=durable)

    def take(self, callbacks: Sequence[Callback]) -> None:
        """Take the plugin's callbacks, all of them, for what calls some by itself."""
        on_flush = next((each for each in callbacks if each.hook.name == "on_flush"), None)
        if self.queue is not None:
            self.queue.on_flush = on_flush
        if self.courier is not None:
            self.courier.take(callbacks, on_flush)

    def trip(self) -> None:
        """Open all breakers: as much is left behind as may be."""
        for breaker in self.breakers:
            breaker.trip("too many of its calls hang whose time was up")
        self._tell()

    def relieve(self) -> None:
        """Let the breakers probe, and queue or courier go on: one of the calls that hung has come back."""
        for breaker in self.breakers:
            breaker.let_probe()
        if self.queue is not None:
            self.queue.resume()
        if self.courier is not None:
            self.courier.wake()

    def close(self) -> None:
        """Let the threads end that have nothing to do; what is needed afterwards is started anew."""
        if self.courier is not None:
            self.courier.end()
        ending = [] if self.queue is None else self.queue.close()
        for thread in (*ending, *self.ways.threads.close()):
            if thread is not threading.current_thread():
                thread.join(_ENDING)  # it does no more than end

    def after_fork_in_child(self) -> None:
        """Start anew: nothing of the parent's runs here."""
        if self.queue is not None:  # before it is asked to go on, since nothing hangs here
            self.queue.after_fork_in_child()
        if self.courier is not None:  # the same
            self.courier.after_fork_in_child()
        self.ways.after_fork_in_child()


def declared(plugin: object, origin: Origin) -> tuple[bool, str]:
    """Return what a plugin says of itself: whether it is bound to one thread, and how it wants its events.

    Raises:
        RegistrationError: it says something else.
    """
    thread = _attribute(plugin, origin, "thread", ("one",))
    return thread == "one", _attribute(plugin, origin, "delivery", _DELIVERIES) or INLINE


def _attribute(plugin: object, origin: Origin, name: str, choices: tuple[str, ...]) -> Any:
    value = getattr(plugin, name, None)
    if value is not None and value not in choices:
        *others, last = map(repr, choices)
        valid = " or ".join([", ".join(others)] * bool(others) + [last])
        raise RegistrationError(
            f"{origin}: its attribute {name} is {value!r}; it must be {valid}, if it is there at all",
            plugin=origin.plugin,
        )
    return value
