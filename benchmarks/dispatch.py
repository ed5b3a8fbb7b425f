"""Calls 1, 3 and 10 local callbacks of three arguments: Thea, a loop written by hand, and libraries for signals."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from benchmarks.measure import Contender, Effort, interleave, statement
from benchmarks.peers import peer
from benchmarks.rows import Row, cost, missing, speed
from benchmarks.utterances import utterances
from thea_core import CallbackManager

__all__ = ["measure"]

COUNTS = (1, 3, 10)
FLOOR = "a loop written by hand"
SMALL = "a manager of 20 lines"
OFF = "trigger, history off"
ON = "trigger"

logger = logging.getLogger(__name__)

ARGUMENTS = {"user_id": "ana", "message": utterances()[0], "timestamp": datetime(2026, 1, 1, tzinfo=UTC)}
_NAMED = "user_id=user_id, message=message, timestamp=timestamp"


def measure(effort: Effort) -> Iterator[Row]:
    """Give the rows of dispatch."""
    for count in COUNTS:
        yield from _measure_for(count, effort)


def _measure_for(count: int, effort: Effort) -> Iterator[Row]:
    peers = {name: make(count) for name, make in _PEERS.items()}
    ours = [_thea(OFF, count, history_size=0), _thea(ON, count)]
    floors = [_floor(count), _small(count)]
    timings = interleave([*floors, *ours, *(each for each in peers.values() if each)], effort)
    callbacks = f"{count} callback{'s' if count > 1 else ''}"

    def named(row: Row) -> Row:
        return Row(f"{row.what}, {callbacks}", row.beside, row.values, row.unit, row.target, row.note)

    yield named(cost(OFF, FLOOR, timings, at_most=2.5 if count == 3 else None))
    yield named(speed(OFF, SMALL, timings, at_least=1 if count > 1 else None))
    yield named(cost(ON, FLOOR, timings, at_most=5 if count == 3 else None))
    for name, contender in peers.items():
        found = speed(ON, name, timings, at_least=1) if contender else missing(ON, name, "not installed")
        yield named(found)


def _callbacks(count: int) -> list[Callable[..., None]]:
    """Return functions that do nothing, each of its own: one for all would keep the caches warmer than life does."""

    def make() -> Callable[..., None]:
        def callback(user_id: str, message: str, timestamp: datetime) -> None:
            pass

        return callback

    return [make() for _ in range(count)]


def _thea(name: str, count: int, history_size: int = 1000) -> Contender:
    manager = CallbackManager(history_size=history_size)
    for callback in _callbacks(count):
        manager.register("on_message", callback)
    return statement(name, f"trigger('on_message', {_NAMED})", {"trigger": manager.trigger, **ARGUMENTS})


def _floor(count: int) -> Contender:
    """What isolation costs at the least: nothing is looked up, packed or recorded."""
    callbacks = _callbacks(count)

    def fire(user_id: str, message: str, timestamp: datetime) -> None:
        for callback in callbacks:
            try:
                callback(user_id, message, timestamp)
            except Exception:
                logger.exception("a callback failed")

    return statement(FLOOR, "fire(user_id, message, timestamp)", {"fire": fire, **ARGUMENTS})


class SmallManager:
    """What one writes first: it loops over a list, and passes on what it is given."""

    def __init__(self) -> None:
        self._callbacks: defaultdict[str, list[Callable[..., Any]]] = defaultdict(list)

    def register(self, event: str, callback: Callable[..., Any]) -> None:
        """Add a callback."""
        self._callbacks[event].append(callback)

    def trigger(self, event: str, **arguments: Any) -> None:
        """Call the callbacks of an event."""
        for callback in self._callbacks[event]:
            try:
                callback(**arguments)
            except Exception:
                logger.exception("callback %r failed in %s", callback, event)


def _small(count: int) -> Contender:
    manager = SmallManager()
    for callback in _callbacks(count):
        manager.register("on_message", callback)
    return statement(SMALL, f"trigger('on_message', {_NAMED})", {"trigger": manager.trigger, **ARGUMENTS})


def _pluggy(count: int) -> Contender | None:
    if (pluggy := peer("pluggy")) is None:
        return None
    specification, implementation = pluggy.HookspecMarker("bench"), pluggy.HookimplMarker("bench")

    class Specification:
        @specification  # type: ignore[untyped-decorator]
        def on_message(self, user_id: str, message: str, timestamp: datetime) -> None:
            pass

    def make() -> object:
        class Plugin:
            @implementation  # type: ignore[untyped-decorator]
            def on_message(self, user_id: str, message: str, timestamp: datetime) -> None:
                pass

        return Plugin()

    manager = pluggy.PluginManager("bench")
    manager.add_hookspecs(Specification)
    for _ in range(count):
        manager.register(make())
    return statement("pluggy", f"hook.on_message({_NAMED})", {"hook": manager.hook, **ARGUMENTS})


def _receivers(count: int) -> list[Callable[..., None]]:
    """Return what blinker and Django call: they give the sender, and Django asks for ``**kwargs``."""

    def make() -> Callable[..., None]:
        def receiver(sender: object, user_id: str, message: str, timestamp: datetime, **kwargs: object) -> None:
            pass

        return receiver

    return [make() for _ in range(count)]


def _blinker(count: int) -> Contender | None:
    if (blinker := peer("blinker")) is None:
        return None
    signal = blinker.Signal()
    receivers = _receivers(count)
    for receiver in receivers:
        signal.connect(receiver, weak=False)
    return statement("blinker", f"send(None, {_NAMED})", {"send": signal.send, **ARGUMENTS})


def _pyee(count: int) -> Contender | None:
    if (pyee := peer("pyee")) is None:
        return None
    emitter = pyee.EventEmitter()
    for callback in _callbacks(count):
        emitter.on("on_message", callback)
    return statement("pyee", f"emit('on_message', {_NAMED})", {"emit": emitter.emit, **ARGUMENTS})


def _psygnal(count: int) -> Contender | None:
    if (psygnal := peer("psygnal")) is None:
        return None

    class Source:
        on_message = psygnal.Signal(str, str, datetime)

    source = Source()
    for callback in _callbacks(count):
        source.on_message.connect(callback)
    names = {"emit": source.on_message.emit, "source": source, **ARGUMENTS}
    return statement("psygnal", "emit(user_id, message, timestamp)", names)


def _django(count: int) -> Contender | None:
    if (dispatch := peer("django.dispatch")) is None:
        return None
    signal = dispatch.Signal()
    for receiver in _receivers(count):
        signal.connect(receiver, weak=False)
    names = {"send_robust": signal.send_robust, **ARGUMENTS}
    return statement("Django's send_robust", f"send_robust(None, {_NAMED})", names)


_PEERS: dict[str, Callable[[int], Contender | None]] = {
    "pluggy": _pluggy,
    "blinker": _blinker,
    "pyee": _pyee,
    "psygnal": _psygnal,
    "Django's send_robust": _django,
}
